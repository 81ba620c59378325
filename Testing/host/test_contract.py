"""The host offers what the application offers, less what is listed, and nothing more."""

import pytest
import qt
import slicer
from PySide6 import QtCore

from Testing.host import notoffered, strict

OFFERED = sorted(notoffered.makers())
CLASSES = [key for key in OFFERED if key in strict.CLASSES]
# Names that PySide6 has, and that no code under test may see.
ABSENT = ("emit", "receivers", "staticMetaObject", "nosuch", "blockSignal", "tr_")


def example(key):
    return notoffered.makers()[key]()


def isQObject(key):
    return "connect" in strict.contractOf(key).names and key != "slicer.util"


def test_what_is_missing_is_listed():
    recorded, found = notoffered.recorded(), notoffered.missing()
    assert set(found["classes"]) <= set(recorded["classes"])
    for key, names in found["names"].items():
        assert set(names) <= set(recorded["names"].get(key, ())), key


@pytest.mark.parametrize("key", OFFERED)
def test_unknown_names_are_refused(key):
    thing = example(key)
    listed = strict.contractOf(key).names
    public = {n for n in dir(type(thing)) if not n.startswith("__")} | set(ABSENT)
    leaked = {n for n in public - listed - strict.VIRTUALS if hasattr(thing, n)}
    if key == "slicer.util":
        leaked = {n for n in dir(thing) if n[0] != "_"} - listed
    assert not leaked


@pytest.mark.parametrize("key", [k for k in OFFERED if isQObject(k)])
def test_unknown_names_cannot_be_set(key):
    thing = example(key)
    for name in (*ABSENT, "_private"):
        with pytest.raises(AttributeError, match="not allowed"):
            setattr(thing, name, 1)


@pytest.mark.parametrize("key", [k for k in OFFERED if isQObject(k)])
def test_only_listed_signals_connect(key):
    thing = example(key)
    assert thing.connect("nosuch()", print) is False
    meta = QtCore.QObject.metaObject(thing)
    listed = strict.contractOf(key).signals
    for i in range(meta.methodCount()):
        method = meta.method(i)
        if method.methodType() != QtCore.QMetaMethod.MethodType.Signal or not listed:
            continue
        signature = bytes(method.methodSignature()).decode()
        if signature not in listed:
            assert thing.connect(signature, print) is False, signature


@pytest.mark.parametrize("key", CLASSES)
def test_listed_signals_connect_unless_their_name_is_not_offered(key):
    thing = example(key)
    if not isQObject(key):
        return
    for signature in strict.contractOf(key).signals:
        name = signature.partition("(")[0]
        if hasattr(thing, name) and signature not in QT5_ONLY and name not in strict.VIRTUALS:
            assert thing.connect(signature, lambda *_: None) is True, signature
            assert thing.disconnect(signature) is True


# Signals of Qt 5 that Qt 6 has not: code that shall run in both cannot use them.
QT5_ONLY = {
    "activated(QString)",
    "buttonClicked(int)",
    "buttonPressed(int)",
    "buttonReleased(int)",
    "buttonToggled(int,bool)",
    "currentIndexChanged(QString)",
    "dataChanged(QModelIndex,QModelIndex,QVector<int>)",
    "error(QProcess::ProcessError)",
    "highlighted(QString)",
    "valueChanged(QString)",
}


def writable(key):
    """Properties of a simple type that can be set, with a value and its wrong types."""
    right = {"QString": "x", "int": 1, "double": 1.0, "bool": True}
    for name, kind in strict.contractOf(key).properties.items():
        if kind in right:
            yield name, kind, right[kind]


@pytest.mark.parametrize("key", CLASSES)
def test_properties_refuse_values_of_other_types(key):
    thing = example(key)
    for name, kind, _ in writable(key):
        if kind == "QString" or not hasattr(thing, name):
            continue
        for wrong in ("x", None, [], object()):
            with pytest.raises(AttributeError):
                setattr(thing, name, wrong)


def test_numbers_become_what_the_property_is():
    spin, button, line = qt.QDoubleSpinBox(), qt.QPushButton(), qt.QLineEdit()
    spin.value = True
    assert spin.value == 1.0
    button.enabled = 0
    assert button.enabled is False
    line.text = 2.5
    assert line.text == "2.5"


def test_only_the_application_s_modules_and_classes_are_there():
    for module, key in ((qt, "qt"),):
        public = {n for n in vars(module) if not n.startswith("__")}
        assert public <= set(strict.OBJECTS[key])
    import ctk

    assert {n for n in vars(ctk) if not n.startswith("__")} <= set(strict.OBJECTS["ctk"])
    ours = {n for n in vars(slicer) if n.startswith(("qMRML", "qSlicer"))}
    assert ours <= set(strict.OBJECTS["slicer"])


def test_a_class_of_python_s_own_may_have_attributes():
    class Marked(qt.QWidget):
        def __init__(self):
            super().__init__()
            self.mark = 1

        def twice(self):
            return 2 * self.mark

    widget = Marked()
    widget.mark = 3
    assert widget.twice() == 6
    assert not hasattr(widget, "emit")


def test_objects_that_qt_makes_are_watched_too():
    box = qt.QDialogButtonBox(qt.QDialogButtonBox.Ok)
    button = box.button(qt.QDialogButtonBox.Ok)
    assert button.text == "OK"
    with pytest.raises(AttributeError):
        button.nosuch = 1
    with pytest.raises(TypeError):
        button.text()


def test_a_misspelt_panel_is_refused_at_every_mistake():
    """A throwaway panel that does everything wrong."""
    spin, combo, label = qt.QSpinBox(), slicer.qMRMLNodeComboBox(), qt.QLabel()
    mistakes = [
        lambda: setattr(label, "txt", "a"),
        lambda: label.text().strip(),
        lambda: label.setTxt("a"),
        lambda: spin.setValues(3),
        lambda: combo.setNodeTypes(["vtkMRMLNode"]),  # a property only
        lambda: setattr(combo, "nodeTypes", "vtkMRMLNode"),
        lambda: combo.currentNodeChangd.connect(print),
        lambda: qt.QComboBox().setLabelDrawingMode,  # Qt 6
        lambda: qt.QCheckBox().checkStateChanged,  # Qt 6
        lambda: qt.QFormLayout().setRowVisible,  # Qt 6
        lambda: qt.QRegExp,  # Qt 5
        lambda: qt.QTextCodec,  # Qt 5
        lambda: slicer.app.mainWindow().show(),
        lambda: slicer.app.layoutManager().sliceWidgets,
        lambda: slicer.util.errorDisplays,
        lambda: slicer.modules.nosuch,
        lambda: slicer.util.mainWindow().viewArea,
        lambda: slicer.app.layoutManager().renderNow(),
        lambda: slicer.packaging.pipCalls,
    ]
    for mistake in mistakes:
        with pytest.raises((AttributeError, TypeError)):
            mistake()
    assert spin.connect("valueChanged(float)", print) is False
    assert combo.connect("currentNodeChanged()", print) is False
