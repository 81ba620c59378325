"""behaviour.json: what the application answered, the host answers."""

import json
import shutil
import sys

import ctk
import numpy as np
import pytest
import qt
import slicer

from Testing.host import strict

ANSWERS = json.loads((strict.FOLDER / "behaviour.json").read_text())


def told(function):
    """The answer in the words of behaviour.json."""
    try:
        return repr(function())
    except Exception as error:
        return f"RAISES {type(error).__name__}: {error}"


def assigned(obj, name, value):
    setattr(obj, name, value)
    return getattr(obj, name)


def button():
    return qt.QPushButton("a")


def afterSetText():
    w = button()
    return w.setText("x"), w.text


def clickedArguments():
    heard = []
    w = qt.QPushButton()
    w.connect("clicked(bool)", lambda *a: heard.append(("1", *a)))
    w.connect("clicked()", lambda *a: heard.append(a or "0"))
    w.clicked.connect(lambda *a: heard.append(("attr", a)))
    w.click()
    return heard


def comboBox():
    combo = qt.QComboBox()
    combo.addItems(["a", "b"])
    return combo


def chosen(text):
    combo = comboBox()
    combo.currentText = text
    return combo.currentText, combo.currentIndex


def chosenUnknown():
    combo = comboBox()
    combo.currentIndex = 1
    return combo.setCurrentText("zz"), combo.currentIndex


def volume(name):
    return slicer.util.addVolumeFromArray(np.zeros((2, 2, 2), np.int16), name=name)


def nodeCombo(noneEnabled, nodeBefore):
    def name():
        return combo.currentNode().GetName() if combo.currentNode() else None

    if nodeBefore:
        volume("V0")
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.noneEnabled = noneEnabled
    combo.setMRMLScene(slicer.mrmlScene)
    names = [name()]
    added = volume("V1")
    names.append(name())
    slicer.mrmlScene.RemoveNode(added)
    return (*names, name())


def nodeComboWithNode(ask):
    node = volume("V0")
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.setMRMLScene(slicer.mrmlScene)
    assert combo.currentNode() is node
    return ask(combo)


def continuesAfterSlot():
    def fail():
        raise RuntimeError("in a slot")

    w = qt.QPushButton()
    w.connect("clicked()", fail)
    w.click()
    return "continues"


def settings():
    kept = qt.QSettings()
    kept.remove("HostTest")
    return kept


def boolRoundTrip():
    kept = settings()
    done = kept.setValue("HostTest/bool", True)
    value = kept.value("HostTest/bool")
    return done, value, type(value).__name__


def afterSingleShot():
    heard = []
    qt.QTimer.singleShot(0, lambda: heard.append("shot"))
    for _ in range(20):
        slicer.app.processEvents()
    return heard[0]


def withInterval():
    timer = qt.QTimer()
    return timer.setInterval(50), timer.interval


def shown():
    w = qt.QWidget()
    return w.show(), w.visible


def isPythonSlicer(path):
    return "PythonSlicer" in path


PATH = "path=/tmp/x"
EXPRESSIONS = {
    "button.text": lambda: button().text,
    "button.text()": lambda: button().text(),
    "button.setText('x') then text": afterSetText,
    "button.text='y'": lambda: assigned(button(), "text", "y"),
    "button.nosuch": lambda: button().nosuch,
    "button.nosuch=1 (python attribute on widget)": lambda: assigned(button(), "nosuch", 1),
    "button.enabled": lambda: button().enabled,
    "button.isEnabled()": lambda: button().isEnabled(),
    "button.connect('clicked(bool)', f)": lambda: button().connect("clicked(bool)", print),
    "button.connect('clicked()', f)": lambda: button().connect("clicked()", print),
    "button.connect('clickd(bool)', f)": lambda: button().connect("clickd(bool)", print),
    "button.clicked.connect(f)": lambda: button().clicked.connect(print),
    "button.clickd.connect": lambda: button().clickd.connect,
    "args of clicked slots": clickedArguments,
    "spin.value": lambda: qt.QSpinBox().value,
    "spin.value='x'": lambda: assigned(qt.QSpinBox(), "value", "x"),
    "spin.value=3.7": lambda: assigned(qt.QSpinBox(), "value", 3.7),
    "lineEdit.text=None": lambda: assigned(qt.QLineEdit(), "text", None),
    "lineEdit.text=5": lambda: assigned(qt.QLineEdit(), "text", 5),
    "combo.currentText='b'": lambda: chosen("b"),
    "combo.count": lambda: comboBox().count,
    "combo.findText": lambda: comboBox().findText("b"),
    "combo.setCurrentText('zz')": chosenUnknown,
    "ctkSlider.value=5": lambda: assigned(ctk.ctkSliderWidget(), "value", 5),
    "ctkSlider.decimals": lambda: ctk.ctkSliderWidget().decimals,
    "path.currentPath='/tmp/x'": lambda: assigned(ctk.ctkPathLineEdit(), "currentPath", "/tmp/x"),
    "path.currentPath type": lambda: type(ctk.ctkPathLineEdit().currentPath),
    "nodeCombo.nodeTypes": lambda: nodeComboWithNode(lambda c: c.nodeTypes),
    "nodeCombo.currentNodeID": lambda: nodeComboWithNode(lambda c: c.currentNodeID),
    "nodeCombo.addNode()": lambda: nodeComboWithNode(lambda c: c.addNode().GetClassName()),
    "exception in slot": continuesAfterSlot,
    "qt.Qt.AlignCenter": lambda: int(qt.Qt.AlignCenter),
    "qt.QMessageBox.Yes": lambda: int(qt.QMessageBox.Yes),
    "qt.QSettings value default": lambda: settings().value("HostTest/none", 7),
    "qt.QSettings bool roundtrip": boolRoundTrip,
    "QTimer.singleShot": lambda: qt.QTimer.singleShot(0, lambda: None),
    "after singleShot": afterSingleShot,
    "tm.setInterval;interval": withInterval,
    "tm.timeout.connect": lambda: qt.QTimer().timeout.connect(print),
    "tm.active": lambda: qt.QTimer().active,
    "slicer.app.layoutManager() plot": lambda: slicer.app.layoutManager().plotWidget(0),
    "tab.currentIndex": lambda: qt.QTabWidget().currentIndex,
    "pb.value": lambda: assigned(qt.QProgressBar(), "value", 5),
    "plainTextEdit.plainText=": lambda: assigned(qt.QPlainTextEdit(), "plainText", "q"),
    "widget.show visible": shown,
}
for none in (False, True):
    for before in (False, True):
        key = (
            f"nodeCombo noneEnabled={none} nodeBefore={before}: "
            "after setMRMLScene, after add, after remove"
        )
        EXPRESSIONS[key] = lambda none=none, before=before: nodeCombo(none, before)

# answered by the tests below, not by a value that could be compared
APART = {
    "slicer.app.testingEnabled()",
    "sys.executable",
    "shutil.which('PythonSlicer')",
    "slicer.packaging names",
    "QFileDialog names",
    "parameterNodeWrapper names",
}


def test_every_answer_is_compared():
    assert set(ANSWERS) == set(EXPRESSIONS) | APART


@pytest.mark.parametrize("expression", sorted(EXPRESSIONS))
def test_the_host_answers_as_the_application(expression, slotErrors):
    assert told(EXPRESSIONS[expression]) == ANSWERS[expression]


def test_a_slot_s_exception_is_kept(slotErrors):
    continuesAfterSlot()
    assert [str(e) for e in slotErrors] == ["in a slot"]


def test_pythonslicer_is_on_the_path_and_starts_this_python():
    import subprocess

    program = shutil.which("PythonSlicer")
    asked = [program, "-c", "import sys; print(sys.prefix)"]
    out = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == sys.prefix


def test_packaging_has_no_name_that_the_application_has_not():
    listed = set(eval(ANSWERS["slicer.packaging names"]))
    names = {n for n in vars(slicer.packaging) if not n.startswith("__")}
    assert names <= listed
    functions = {"pip_check", "pip_ensure", "pip_install", "pip_uninstall", "load_requirements"}
    assert functions <= names


def test_parameter_node_wrapper_has_no_name_that_the_application_has_not():
    listed = set(eval(ANSWERS["parameterNodeWrapper names"]))
    names = {n for n in vars(slicer.parameterNodeWrapper) if not n.startswith("_")}
    assert names <= listed


def test_file_dialogs_give_text_not_a_pair(tmp_path):
    from Testing.host import dialogs

    for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        dialogs.answer("file", tmp_path)
        assert getattr(qt.QFileDialog, name)(None, "title", "") == str(tmp_path)
        assert getattr(qt.QFileDialog, name)(None, "title", "") == ""
