"""The module manager, and scripted modules as the application loads, shows and unloads them."""

import importlib.util
import os
import sys

import slicer
from PySide6 import QtCore
from PySide6.QtCore import Signal

from .widgets.base import signals


class CoreModule:
    """What slicer.modules.<name> is for a C++ module, as far as Python code uses it."""

    def __init__(self, name, logic):
        self.name, self.title, self._logic = name, name, logic

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        return None


class FactoryManager:
    def __init__(self, manager):
        self._manager = manager

    def loadedModuleNames(self):
        return self._manager.modulesNames()

    registeredModuleNames = instantiatedModuleNames = loadedModuleNames

    def isLoaded(self, name):
        return self._manager.module(name) is not None


@signals(
    moduleAboutToBeUnloaded=["moduleAboutToBeUnloaded(QString)"],
    moduleLoaded=["moduleLoaded(QString)"],
)
class ModuleManager(QtCore.QObject):
    _contractKey = "slicer.app.moduleManager()"
    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)

    def __init__(self):
        super().__init__()
        self._modules = {}
        self._factory = FactoryManager(self)

    def module(self, name):
        return self._modules.get(name)

    def modulesNames(self):
        return tuple(self._modules)

    def factoryManager(self):
        return self._factory

    def add(self, module):
        self._modules[module.name] = module
        self.moduleLoaded.emit(module.name)


class ScriptedModule(CoreModule):
    """qSlicerScriptedLoadableModule: what `parent` is in MyModule.__init__(self, parent)."""

    def __init__(self, name, path):
        super().__init__(name, None)
        self.path = path
        self.categories, self.dependencies, self.contributors = [], [], []
        self.associatedNodeTypes = []
        self.helpText = self.acknowledgementText = self.defaultDocumentationLink = ""
        self.icon = self.python = self._representation = None
        self.hidden = False

    def createNewWidgetRepresentation(self):
        return _representationOf(self)

    def widgetRepresentation(self):
        if self._representation is None:
            self._representation = _representationOf(self)
        return self._representation


def _representationOf(module):
    import qt

    frame = slicer.qSlicerScriptedLoadableModuleWidget()
    frame.module = module
    frame.setLayout(qt.QVBoxLayout())
    frame.setMRMLScene(slicer.mrmlScene)
    frame.reload()
    return frame


def makeWidgetClass():
    """qSlicerScriptedLoadableModuleWidget: the frame around the Python widget (`parent` in it)."""

    class qSlicerScriptedLoadableModuleWidget(slicer.qMRMLWidget):
        _offered = ("self", "reload", "enter", "exit", "isEntered", "module", "moduleName")
        isEntered = False

        def self(this):
            return this.python

        def reload(this):
            source = sys.modules[this.module.name]
            this.python = getattr(source, this.module.name + "Widget")(this)
            setattr(slicer.modules, this.module.name + "Widget", this.python)
            this.python.setup()
            if this.isEntered:
                this.isEntered = False
                this.enter()

        def enter(this):
            if not this.isEntered:
                this.isEntered = True
                getattr(this.python, "enter", lambda: None)()

        def exit(this):
            if this.isEntered:
                this.isEntered = False
                getattr(this.python, "exit", lambda: None)()

    return qSlicerScriptedLoadableModuleWidget


def loadModule(path):
    """Load <Name>.py as the application does; return what slicer.modules.<name> is."""
    path = os.path.abspath(path)
    name = os.path.splitext(os.path.basename(path))[0]
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    spec.loader.exec_module(source)
    module = ScriptedModule(name, path)
    module.python = getattr(source, name)(module)
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, name + "Instance", module.python)
    setattr(slicer.moduleNames, name, name)
    slicer.app.moduleManager().add(module)
    return module


def selectModule(module):
    """Show the module's panel as a user does; return its Python widget."""
    if isinstance(module, str):
        module = slicer.util.getModule(module)
    slicer.util.selectModule(module.name)
    return module.widgetRepresentation().self()


def unloadModules():
    """What the application does to the modules before it ends."""
    manager = slicer.app.moduleManager()
    for name in manager.modulesNames():
        manager.moduleAboutToBeUnloaded.emit(name)
