"""How a stand-in is declared: its properties, its signals, where it is registered.

Inside the host, too, Qt properties are attributes: `self.text`, not `self.text()`.
"""

import weakref

import shiboken6
import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property

from ..pythonqt import UiLoader
from ..signals import accepted


def prop(kind, default, changed=None):
    """A Qt property kept in Python; `changed` is the name of a method called after a change."""
    isTexts = kind == "QStringList"
    key = []

    def get(self):
        value = self.__dict__.get(key[0], default)
        return tuple(value) if isTexts else value  # as PythonQt gives string lists

    def put(self, value):
        if get(self) != (tuple(value) if isTexts else value):
            self.__dict__[key[0]] = value
            if changed:
                getattr(self, changed)()

    key.append(f"_prop{id(get)}")
    return Property(kind, get, put)


def forward(kind, child, name, extra=()):
    """A property that is the one of a child widget (and of further children)."""

    def put(self, value):
        for owner in (child, *extra):
            setattr(getattr(self, owner), name, value)

    return Property(kind, lambda self: getattr(getattr(self, child), name), put)


def signals(**kw):
    """Class decorator: which C++ signatures each Python Signal answers to in connect("...")."""

    def decorate(cls):
        merged = dict(getattr(cls, "_pySignals", {}))
        merged.update({k: set(v) for k, v in kw.items()})
        cls._pySignals = merged
        return cls

    return decorate


def _setters(cls):
    """setX methods for the Python-made properties, as C++ has them."""
    own = [b for b in cls.__mro__ if not b.__module__.startswith(("PySide6", "Shiboken"))]
    for name, value in [entry for base in own for entry in vars(base).items()]:
        if isinstance(value, Property):
            setter = "set" + name[0].upper() + name[1:]
            if not hasattr(cls, setter):
                setattr(cls, setter, lambda self, v, n=name: setattr(self, n, v))
    return cls


def widget(module):
    """Class decorator: known as module.<name> (`ctk` or `slicer`), also in .ui files."""

    def decorate(cls):
        _setters(cls)
        cls._contractKey = f"{module.__name__}.{cls.__name__}"
        setattr(module, cls.__name__, cls)
        UiLoader.customWidgets.append(cls)
        return cls

    return decorate


def calls(owner, method):
    """A slot that calls a method of a widget while that lives, without keeping it alive."""
    ref = weakref.ref(owner)

    def call(*arguments):
        target = ref()
        if target is not None and shiboken6.isValid(target):
            bound = getattr(target, method)
            bound(*arguments[: accepted(bound)])

    return call


def parentIn(arguments):
    return next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None)


def textIn(arguments):
    return next((a for a in arguments if isinstance(a, str)), "")


def row(owner, *children):
    """A horizontal layout without margins; the first child takes the room."""
    box = QtWidgets.QHBoxLayout(owner)
    box.setContentsMargins(0, 0, 0, 0)
    box.setSpacing(4)
    for i, child in enumerate(children):
        box.addWidget(child, 0 if i else 1)
    return box


class SceneObserver:
    """Observes the real vtkMRMLScene for a widget; never calls into a deleted one."""

    EVENTS = (
        "NodeAddedEvent",
        "NodeRemovedEvent",
        "EndBatchProcessEvent",
        "EndCloseEvent",
        "EndImportEvent",
    )

    def __init__(self, owner, scene, method):
        ref = weakref.ref(owner)
        self.scene = scene

        def call(caller, event):
            target = ref()
            if target is None or not shiboken6.isValid(target):
                self.stop()
            elif not scene.IsBatchProcessing():
                getattr(target, method)()

        self.tags = [scene.AddObserver(getattr(slicer.vtkMRMLScene, e), call) for e in self.EVENTS]

    def stop(self):
        for tag in self.tags:
            self.scene.RemoveObserver(tag)
        self.tags = []


class NodeObserver:
    """Calls a method of a widget when a node (or another VTK object) is modified."""

    def __init__(self, owner, node, method, events=("ModifiedEvent",)):
        ref = weakref.ref(owner)
        self.node = node

        def call(caller, event):
            target = ref()
            if target is None or not shiboken6.isValid(target):
                self.stop()
            else:
                getattr(target, method)()

        self.tags = [node.AddObserver(event, call) for event in events]

    def stop(self):
        for tag in self.tags:
            self.node.RemoveObserver(tag)
        self.tags = []
