"""PythonQt's manners on top of PySide6: the modules `qt` and (base of) `ctk`.

What is imitated (all by patching the PySide6 classes in place, so that *every* QObject, also those that
Qt itself makes, shows it):
  w.text / w.text = "x"               Qt properties are attributes; the getter of the same name is hidden
  w.name                              alias of objectName
  w.connect("clicked(bool)", f), w.disconnect("clicked(bool)", f), and w.clicked.connect(f)
  w.className(), w.delete(), w.exec_(), dynamic properties as attributes
  setting an unknown attribute on a C++ object is an error (as in PythonQt), so typos are found
  exceptions in slots are kept in `slotErrors`, so a test can fail on them
"""

import ctypes
import os
import sys
import threading
import types
import xml.etree.ElementTree as ET

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtPrintSupport, QtSvg, QtUiTools, QtWidgets, QtXml

if sys.version_info < (3, 12):
    # PySide6 6.12 drops one reference to None too many whenever a method returns nothing. None is
    # immortal from Python 3.12 on; before, a long test would end with "deallocating None".
    ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40

QT_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtPrintSupport, QtSvg, QtXml, QtUiTools)
qt = types.ModuleType("qt", "Qt as PythonQt shows it (PySide6 underneath)")
ctk = types.ModuleType("ctk", "stand-ins for the CTK widgets")
slotErrors = []
_busy = threading.local()
_patched = set()


class QtAttribute:
    """A Qt property as a data descriptor. On the class it gives the original method (QTimer.singleShot, super().x)."""

    def __init__(self, name, original, getter, setter):
        self.name, self.original, self.getter, self.setter = name, original, getter, setter

    def __get__(self, obj, owner=None):
        if obj is None:
            if self.original is None:
                raise AttributeError(self.name)
            return self.original
        # Shiboken asks for Python overrides of C++ virtuals (sizeHint, spacing, ...) through this descriptor:
        # while the C++ getter runs, answer "no override".
        running = _busy.__dict__.setdefault("running", set())
        key = (id(obj), self.name)
        if key in running:
            return None
        running.add(key)
        try:
            return self.getter(obj) if self.getter else obj.property(self.name)
        finally:
            running.discard(key)

    def __set__(self, obj, value):
        if self.setter:
            self.setter(obj, value)
        elif not obj.setProperty(self.name, value):
            raise AttributeError(
                f"property {self.name} of {type(obj).__name__} is read-only or has another type"
            )


def _attribute(cls, name):
    for base in cls.__mro__:
        if name in base.__dict__:
            value = base.__dict__[name]
            return value.original if isinstance(value, QtAttribute) else getattr(cls, name)
    return None


def _setattr(self, name, value):
    kind = type(self)
    for base in kind.__mro__:
        if name in base.__dict__:
            descriptor = base.__dict__[name]
            if hasattr(type(descriptor), "__set__"):
                descriptor.__set__(self, value)
                return
            if isinstance(
                descriptor, QtCore.Property
            ):  # a property made in Python: not a Python descriptor
                if not self.setProperty(name, list(value) if isinstance(value, tuple) else value):
                    raise TypeError(f"{kind.__name__}.{name} does not take {value!r}")
                return
            if kind in _patched and not isinstance(
                value, QtCore.SignalInstance
            ):  # PySide6 keeps bound signals there
                raise AttributeError(f"{name} is a method of {kind.__name__}")
            break
    else:
        sealed = (
            self.__dict__.get("_sealed") and not name.startswith("_") and name not in self.__dict__
        )
        if kind in _patched or sealed:
            if getattr(_busy, "loading", False) and isinstance(value, QtCore.QObject):
                return  # PySide6's QUiLoader sets the children as attributes of the top widget; PythonQt's does not
            if name.encode() in [bytes(n) for n in self.dynamicPropertyNames()]:
                self.setProperty(name, value)
                return
            raise AttributeError(
                f"Attribute '{name}' does not exist on {kind.__name__}, and new attributes cannot be made on C++ objects"
            )
    self.__dict__[name] = value


def _patchClass(cls):
    if cls in _patched or not hasattr(cls, "staticMetaObject"):
        return
    _patched.add(cls)
    meta = cls.staticMetaObject
    for i in range(meta.propertyCount()):
        name = meta.property(i).name()
        if i < meta.propertyOffset() and name not in cls.__dict__:
            continue  # inherited, and not hidden by a method of this class (QBoxLayout.spacing, QPushButton.sizeHint)
        cap = name[0].upper() + name[1:]
        original = _attribute(cls, name)
        getter = (
            original
            if callable(original) and name != "singleShot"
            else _attribute(cls, "is" + cap) or _attribute(cls, "has" + cap)
        )
        setter = _attribute(cls, "set" + cap)
        setattr(
            cls,
            name,
            QtAttribute(
                name,
                original,
                getter if callable(getter) else None,
                setter if callable(setter) else None,
            ),
        )
    cls.__setattr__ = _setattr
    if hasattr(cls, "exec") and not hasattr(cls, "exec_"):
        cls.exec_ = cls.exec


def _find(self, signature):
    name, _, rest = signature.partition("(")
    signal = getattr(self, name, None)
    if not isinstance(signal, QtCore.SignalInstance) and not hasattr(signal, "connect"):
        raise AttributeError(f"{self.className()} has no signal {signature}")
    if rest:
        normal = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
        if self.metaObject().indexOfSignal(normal) < 0 and normal.split("(")[0] not in getattr(
            type(self), "_pySignals", {}
        ):
            raise AttributeError(f"{self.className()} has no signal {signature}")
        declared = getattr(type(self), "_pySignals", {}).get(name)
        if declared and normal not in declared:
            raise AttributeError(f"{self.className()} has no signal {signature}, only {declared}")
        args = normal.partition("(")[2].rstrip(")")
        try:
            if args and not declared:
                signal = signal[args]
        except (IndexError, KeyError, TypeError):
            pass
    return signal


def _connect(self, *args):
    if len(args) == 2 and isinstance(args[0], str):
        _find(self, args[0]).connect(args[1])
        return True
    if len(args) == 3 and isinstance(args[0], str):  # signal, receiver, "slot()"
        _find(self, args[0]).connect(getattr(args[1], args[2].partition("(")[0]))
        return True
    return QtCore.QObject.connect(*args)


def _disconnect(self, *args):
    if len(args) == 2 and isinstance(args[0], str):
        try:
            _find(self, args[0]).disconnect(args[1])
        except (RuntimeError, TypeError):
            return False
        return True
    if len(args) == 1 and isinstance(args[0], str):
        _find(self, args[0]).disconnect()
        return True
    return False


_EXTRA = {
    "connect": _connect,
    "disconnect": _disconnect,
    "className": lambda self: self.metaObject().className(),
    "delete": lambda self: shiboken6.delete(self),
}


class UiLoader(QtUiTools.QUiLoader):
    """QUiLoader that knows the Slicer and CTK widgets and makes the .ui file's connections in Python."""

    customWidgets = []

    def __init__(self, parent=None):
        super().__init__(parent)
        for cls in self.customWidgets:
            self.registerCustomWidget(cls)

    def load(self, device, parent=None):
        if isinstance(device, (str, os.PathLike)):
            data = open(device, "rb").read()
        else:
            data = bytes(device.readAll())
        root = ET.fromstring(data)
        unknown = {e.get("class") for e in root.iter("widget")} - set(self.availableWidgets())
        if unknown:
            raise RuntimeError(f"no stand-in for the widget classes {sorted(unknown)}")
        connections = root.find("connections")
        wires = []
        if connections is not None:
            wires = [{c.tag: c.text for c in e} for e in connections]
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        _busy.loading = True
        try:
            widget = super().load(buffer, parent)
        finally:
            _busy.loading = False
        if widget is None:
            raise RuntimeError(self.errorString())
        for w in wires:
            ends = [
                widget if n == widget.objectName else widget.findChild(QtCore.QObject, n)
                for n in (w["sender"], w["receiver"])
            ]
            slot = getattr(ends[1], w["slot"].partition("(")[0])
            _connect(ends[0], w["signal"], slot)
        return widget


def install():
    """Make `import qt` and `import ctk` work in this process; return the QApplication."""
    if "qt" in sys.modules:
        return QtWidgets.QApplication.instance()
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["SlicerHost"])
    app.setOrganizationName("SlicerHost")
    app.setApplicationName("SlicerHost")
    for module in QT_MODULES:
        for name in dir(module):  # dir: PySide6 makes its classes lazily
            if name.startswith("Q"):
                setattr(qt, name, getattr(module, name))
    qt.QUiLoader = UiLoader
    for value in list(vars(qt).values()):
        if isinstance(value, type) and issubclass(value, QtCore.QObject):
            for base in reversed(value.__mro__):
                if issubclass(base, QtCore.QObject):
                    _patchClass(base)
    QObject = QtCore.QObject
    QObject.name = QtAttribute(
        "objectName", None, _attribute(QObject, "objectName"), QObject.setObjectName
    )

    def hooked(baseGet):
        def __getattribute__(self, name):
            if name in _EXTRA:
                return _EXTRA[name].__get__(self)
            return baseGet(self, name)

        return __getattribute__

    # PySide6 answers `connect` itself before it looks at the class, so it must be caught here; a few classes
    # (QFile, QProcess, QMenu, ...) have their own slot
    for cls in [c for c in _patched if "__getattribute__" in c.__dict__]:
        cls.__getattribute__ = hooked(cls.__dict__["__getattribute__"])

    def __getattr__(self, name):  # dynamic properties
        if not name.startswith("_") and name.encode() in [
            bytes(n) for n in self.dynamicPropertyNames()
        ]:
            return self.property(name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    QObject.__getattr__ = __getattr__
    hook = sys.excepthook

    def excepthook(kind, value, trace):
        slotErrors.append(value)
        hook(kind, value, trace)

    sys.excepthook = excepthook
    sys.modules["qt"], sys.modules["ctk"] = qt, ctk
    return app
