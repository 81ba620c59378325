"""@parameterNodeWrapper: typed access to a vtkMRMLScriptedModuleNode, tied to widgets."""

import weakref

import qt
import slicer
import vtk

from .annotations import split
from .connectors import GuiConnector, createGuiConnector
from .packs import isParameterPack, membersOf

SlicerParameterNamePropertyName = "SlicerParameterName"


class _Stored:
    """One parameter in one node; what is kept in memory follows the node."""

    def __init__(self, member, node, key):
        self.member, self.node, self.key = member, node, key
        self._writing = False
        kind = member.kind
        if not kind.isStored(node, key):
            kind.write(node, key, member.default())
        if kind.cached:
            self._value = self._fromNode()
            ref = weakref.ref(self)

            def modified(caller, event):
                stored = ref()
                if stored is not None and not stored._writing:
                    stored._value = stored._fromNode()

            self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, modified)

    def __del__(self):
        if hasattr(self, "_tag"):
            self.node.RemoveObserver(self._tag)

    def _fromNode(self):
        kind = self.member.kind
        if not kind.isStored(self.node, self.key):
            kind.write(self.node, self.key, self.member.default())
        return kind.read(self.node, self.key, self._changed)

    def _changed(self):
        """The list, dictionary or pack that was handed out has been changed."""
        if self.member.kind.cached:
            self.write(self._value)

    def read(self):
        return self._value if self.member.kind.cached else self._fromNode()

    def write(self, value):
        kind = self.member.kind
        value = kind.check(value)
        self._writing = True
        try:
            with slicer.util.NodeModify(self.node):
                kind.write(self.node, self.key, value)
                if kind.cached:
                    self._value = self._fromNode()
        finally:
            self._writing = False


class _Methods:
    """What the decorator adds to a class."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._guis, self._nextTag, self._updating = {}, 0, False
        self._guiObserver = None
        self._stored = {
            name: _Stored(member, parameterNode, f"{prefix or ''}{name}")
            for name, member in self.allParameters.items()
        }

    def default(self, name):
        _check(type(self), name)
        from .annotations import Default

        return Default(self.allParameters[name].default())

    def isCached(self, name):
        _check(type(self), name)
        return self.allParameters[name].kind.cached

    def getValue(self, name):
        top, rest = _check(type(self), name)
        value = self._stored[top].read()
        return value.getValue(rest) if rest else value

    def setValue(self, name, value):
        top, rest = _check(type(self), name)
        if rest:
            self._stored[top].read().setValue(rest, value)
        else:
            self._stored[top].write(value)

    def connectGui(self, gui):
        widgets = gui.findChildren(qt.QWidget) if _isWidget(gui) else vars(gui).values()
        named = {w.property(SlicerParameterNamePropertyName): w for w in widgets}
        return self.connectParametersToGui({name: w for name, w in named.items() if name})

    def connectParametersToGui(self, mapping):
        for name in mapping:
            _check(type(self), name)
        connectors = {
            name: w if isinstance(w, GuiConnector) else createGuiConnector(w, self.dataType(name))
            for name, w in mapping.items()
        }
        tag = self._nextTag
        self._nextTag += 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda n=name, c=connector: self._fromGui(n, c))
        if self._guiObserver is None:
            self._guiObserver = self._observe()
        return tag

    def _observe(self):
        # A closure that held this object would be a cycle through the node, which Python's garbage
        # collector would take apart while VTK still calls it.
        ref = weakref.ref(self)

        def modified(caller, event):
            wrapper = ref()
            if wrapper is not None:
                wrapper._toGui()

        return self.AddObserver(vtk.vtkCommand.ModifiedEvent, modified)

    def _release(self):
        if self._guiObserver is not None:
            self.RemoveObserver(self._guiObserver)
            self._guiObserver = None

    def _fromGui(self, name, connector):
        with slicer.util.NodeModify(self):
            if not self._updating:
                self.setValue(name, connector.read())

    def _toGui(self):
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._guis.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating = False

    def disconnectGui(self, tag):
        for connector in self._guis.pop(tag, {}).values():
            connector.onChanged(None)
        if not self._guis:
            self._release()

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        return self.parameterNode.Modified()


def _isWidget(gui):
    return getattr(gui, "isWidgetType", lambda: False)()


def _check(cls, name):
    """(parameter, name within its pack); ValueError where there is no such parameter."""
    top, _, rest = name.partition(".")
    if top not in cls.allParameters:
        known = ", ".join(cls.allParameters)
        raise ValueError(f"Cannot find a param with the given name: {top}; there are {known}")
    if rest:
        plain = split(cls.allParameters[top].annotation)[0]
        if not isParameterPack(plain):
            raise ValueError(f"{top} is no parameter pack and has no {rest}")
        plain.dataType(rest)
    return top, rest


def _dataType(cls, name):
    top, rest = _check(cls, name)
    annotation = cls.allParameters[top].annotation
    return split(annotation)[0].dataType(rest) if rest else annotation


def _property(name):
    return property(
        lambda self: self._stored[name].read(),
        lambda self, value: self._stored[name].write(value),
    )


def _setattr(self, name, value):
    """The application takes any name here and keeps nothing of it in the scene; we say so."""
    if not name.startswith("_") and name != "parameterNode" and not hasattr(type(self), name):
        raise AttributeError(f"{type(self).__name__} has no parameter {name}")
    object.__setattr__(self, name, value)


def parameterNodeWrapper(cls=None):
    if cls is None:
        return parameterNodeWrapper
    members = membersOf(cls)
    for name in members:
        setattr(cls, name, _property(name))
    for name, method in vars(_Methods).items():
        if name.startswith("__") and name != "__init__":
            continue
        if name != "__init__" and hasattr(cls, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(cls, name, method)
    cls.allParameters = members
    cls._is_parameter_node_wrapper = True
    cls.dataType = classmethod(_dataType)
    cls.__setattr__ = _setattr
    cls.__del__ = _Methods._release
    return cls


def isParameterNodeWrapper(classOrObject):
    return getattr(classOrObject, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget, parameter):
    for child in widget.findChildren(qt.QWidget):
        if child.property(SlicerParameterNamePropertyName) == parameter:
            return child
    return None
