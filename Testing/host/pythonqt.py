"""PythonQt's manners on top of PySide6: the modules `qt` and (base of) `ctk`.

The PySide6 classes are patched in place, so every QObject shows it, also those of Qt itself:
  w.text / w.text = "x"     Qt properties are attributes; the getter of the same name is hidden
  w.name                    alias of objectName
  w.connect("clicked(bool)", f), w.disconnect(...), w.clicked.connect(f)       see signals.py
  w.className(), w.delete(), w.exec_(), dynamic properties as attributes
  a name that the application does not have is an error, read or written       see strict.py
"""

import ctypes
import os
import sys
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtPrintSupport, QtSvg, QtUiTools, QtWidgets, QtXml

from . import strict, uiloader
from .conversion import convert, kindOf, refusal
from .signals import BoundSignal, connectSignal, disconnectSignal, slotErrors
from .uiloader import UiLoader

__all__ = ["UiLoader", "ctk", "install", "qt", "slotErrors"]

if sys.version_info < (3, 12):
    # PySide6 6.12 drops one reference to None too many whenever a method returns nothing. None is
    # immortal from Python 3.12 on; before, a long test would end with "deallocating None".
    ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40

QT_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtPrintSupport, QtSvg, QtXml, QtUiTools)
qt = types.ModuleType("qt", "Qt as PythonQt shows it (PySide6 underneath)")
ctk = types.ModuleType("ctk", "stand-ins for the CTK widgets")
_patched = set()
_running = set()


class QtAttribute:
    """A Qt property as a data descriptor; on the class, the original method (QTimer.singleShot)."""

    def __init__(self, name, original, getter, setter):
        self.name, self.original, self.getter, self.setter = name, original, getter, setter

    def __get__(self, obj, owner=None):
        if obj is None:
            if self.original is None:
                raise AttributeError(self.name)
            return self.original
        # Shiboken asks for Python overrides of C++ virtuals (sizeHint, spacing, ...) through this
        # descriptor: while the C++ getter runs, answer "no override".
        key = (id(obj), self.name)
        if key in _running:
            return None
        _running.add(key)
        try:
            value = self.getter(obj) if self.getter else obj.property(self.name)
        finally:
            _running.discard(key)
        return tuple(value) if isinstance(value, list) and _isTexts(obj, self.name) else value

    def __set__(self, obj, value):
        value = convert(obj, self.name, value)
        if self.setter:
            try:
                self.setter(obj, value)
            except TypeError:
                raise refusal(self.name, kindOf(obj, self.name), value) from None
        elif not obj.setProperty(self.name, value):
            raise refusal(self.name, kindOf(obj, self.name), value)


def _isTexts(obj, name):
    return kindOf(obj, name) == "QStringList"


def _attribute(cls, name):
    for base in cls.__mro__:
        if name in base.__dict__:
            value = base.__dict__[name]
            return value.original if isinstance(value, QtAttribute) else getattr(cls, name)
    return None


def _isDynamic(obj, name):
    return name.encode() in [bytes(n) for n in obj.dynamicPropertyNames()]


def _setattr(self, name, value):
    kind = type(self)
    tested = strict.callerIsTested() and not strict.isPythonSubclass(kind)
    if tested and not strict.isListed(kind, name):
        if _isDynamic(self, name):
            self.setProperty(name, value)
            return
        raise _newAttribute(kind, name)
    for base in kind.__mro__:
        if name not in base.__dict__:
            continue
        descriptor = base.__dict__[name]
        if hasattr(type(descriptor), "__set__"):
            descriptor.__set__(self, value)
            return
        if isinstance(descriptor, QtCore.Property):  # made in Python: not a Python descriptor
            value = convert(self, name, value)
            if not self.setProperty(name, list(value) if isinstance(value, tuple) else value):
                raise refusal(name, kindOf(self, name), value)
            return
        # PySide6 keeps bound signals in the instance
        isSignal = isinstance(value, QtCore.SignalInstance)
        if not isSignal and (tested or kind in _patched):
            raise AttributeError(f"{name} is a method of {kind.__name__}")
        break
    else:
        if tested or kind in _patched:
            # PySide6's QUiLoader sets the children as attributes of the top widget; PythonQt's
            # does not
            loading = getattr(uiloader.state, "loading", False)
            if loading and isinstance(value, QtCore.QObject):
                return
            if _isDynamic(self, name):
                self.setProperty(name, value)
                return
            raise _newAttribute(kind, name)
    self.__dict__[name] = value


def _newAttribute(kind, name):
    return AttributeError(
        f"'{name}' does not exist on {kind.__name__} and creating new attributes on C++ objects "
        "is not allowed"
    )


def _bindable(function):
    """The function as one that takes the object first, also where C++ has it static."""
    if not callable(function):
        return None
    if isinstance(function, types.BuiltinFunctionType):
        return lambda obj, *arguments: function(*arguments)
    return function


def _patchClass(cls):
    if cls in _patched or not hasattr(cls, "staticMetaObject"):
        return
    _patched.add(cls)
    meta = cls.staticMetaObject
    described = strict.ofClass(cls)
    for i in range(meta.propertyCount()):
        name = meta.property(i).name()
        if i < meta.propertyOffset() and name not in cls.__dict__:
            continue  # inherited, and not hidden by a method (QBoxLayout.spacing)
        if described and name in described.names and name not in described.properties:
            continue  # a property of Qt 6 that is a method in Qt 5 (QLayout.contentsMargins)
        cap = name[0].upper() + name[1:]
        original = _attribute(cls, name)
        getter = (
            original
            if callable(original) and name != "singleShot"
            else _attribute(cls, "is" + cap) or _attribute(cls, "has" + cap)
        )
        setter = _attribute(cls, "set" + cap)
        usable = (original, *(_bindable(f) for f in (getter, setter)))
        setattr(cls, name, QtAttribute(name, *usable))
    cls.__setattr__ = _setattr
    for name in ("exec", "raise"):
        if hasattr(cls, name) and not hasattr(cls, name + "_"):
            setattr(cls, name + "_", getattr(cls, name))


def _connect(self, *args):
    if len(args) == 2 and isinstance(args[0], str):
        return connectSignal(self, *args)
    if len(args) == 3 and isinstance(args[0], str):  # signal, receiver, "slot()"
        return connectSignal(self, args[0], getattr(args[1], args[2].partition("(")[0]))
    if len(args) == 3 and args[0] is self:  # PySide itself, in QTimer.singleShot
        return connectSignal(self, args[1].lstrip("2"), args[2])
    raise TypeError("connect(signal, callable) or connect(signal, receiver, slot)")


def _disconnect(self, *args):
    if len(args) == 2 and isinstance(args[0], str):
        return disconnectSignal(self, *args)
    if len(args) == 1 and isinstance(args[0], str):
        return disconnectSignal(self, args[0])
    raise TypeError("disconnect(signal[, callable])")


def _findChildren(self, kind=QtCore.QObject, name=""):
    cls = QtCore.QObject if isinstance(kind, str) else kind
    found = QtCore.QObject.findChildren(self, cls, name) if name else None
    found = QtCore.QObject.findChildren(self, cls) if found is None else found
    if isinstance(kind, str) and kind:
        found = [c for c in found if c.inherits(kind) or type(c).__name__ == kind]
    return found


def _className(self):
    kind = type(self)
    return kind.__name__ if "_contractKey" in kind.__dict__ else self.metaObject().className()


_EXTRA = {
    "connect": _connect,
    "disconnect": _disconnect,
    "className": _className,
    "delete": lambda self: shiboken6.delete(self),  # noqa: PLW0108 - a bound method is wanted
    "findChildren": _findChildren,
    "findChild": lambda self, *args: next(iter(_findChildren(self, *args)), None),
}


def _watched(baseGet, isObject=True):
    """__getattribute__ that shows code under test only what the application has."""

    def __getattribute__(self, name):
        if isObject and name in _EXTRA:
            return _EXTRA[name].__get__(self)
        if not strict.callerIsTested():
            return baseGet(self, name)
        kind = type(self)
        if not strict.isListed(kind, name):
            if strict.isPythonSubclass(kind) and name in baseGet(self, "__dict__"):
                return baseGet(self, name)
            raise AttributeError(f"{kind.__name__} has no attribute named '{name}'")
        value = baseGet(self, name)
        if isinstance(value, QtCore.SignalInstance):
            return BoundSignal(self, name, value)
        return value

    return __getattribute__


def _getattr(self, name):
    if not name.startswith("_") and isinstance(self, QtCore.QObject) and _isDynamic(self, name):
        return self.property(name)
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _fill():
    listed = set(strict.OBJECTS["qt"])
    for module in QT_MODULES:
        for name in dir(module):  # dir: PySide6 makes its classes lazily
            if name in listed:
                setattr(qt, name, getattr(module, name))
    qt.QUiLoader = UiLoader


def _patchObjects():
    for module in QT_MODULES:
        for name in dir(module):
            value = getattr(module, name) if name.startswith("Q") else None
            if isinstance(value, type) and issubclass(value, QtCore.QObject):
                for base in reversed(value.__mro__):
                    if issubclass(base, QtCore.QObject):
                        _patchClass(base)
    QObject = QtCore.QObject
    QObject.name = QtAttribute(
        "objectName", None, _attribute(QObject, "objectName"), QObject.setObjectName
    )
    # PySide6 answers `connect` itself before it looks at the class, so it must be caught here;
    # a few classes (QFile, QProcess, QMenu, ...) have their own slot
    for cls in [c for c in _patched if "__getattribute__" in c.__dict__]:
        cls.__getattribute__ = _watched(cls.__dict__["__getattribute__"])
    QObject.__getattr__ = _getattr


def _patchValues():
    for key in strict.CLASSES:
        cls = getattr(qt, key[3:], None) if key.startswith("qt.") else None
        if cls is not None and not issubclass(cls, QtCore.QObject):
            cls.__getattribute__ = _watched(cls.__getattribute__, isObject=False)


def _message(kind, context, text):
    """Qt's own messages, but for what the offscreen platform says at every resize."""
    if "propagateSizeHints" not in text:
        print(text, file=sys.stderr)


def install():
    """Make `import qt` and `import ctk` work in this process; return the QApplication."""
    if "qt" in sys.modules:
        return QtWidgets.QApplication.instance()
    QtCore.qInstallMessageHandler(_message)
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["SlicerHost"])
    app.setOrganizationName("SlicerHost")
    app.setApplicationName("SlicerHost")
    _fill()
    _patchObjects()
    _patchValues()
    hook = sys.excepthook

    def excepthook(kind, value, trace):
        slotErrors.append(value)
        hook(kind, value, trace)

    sys.excepthook = excepthook
    sys.modules["qt"], sys.modules["ctk"] = qt, ctk
    return app
