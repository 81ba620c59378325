"""The GUI side of the host: slicer.app with Qt members, module manager, scripted module loading."""

import importlib.util
import os
import sys

import slicer

from . import core, pythonqt


class ModuleManager:
    def __init__(self):
        self.modules = {}

    def module(self, name):
        return self.modules.get(name)

    def modulesNames(self):
        return tuple(self.modules)

    factoryManager = lambda self: self
    loadedModuleNames = modulesNames

    def connect(self, *_):
        return True

    disconnect = connect


class ScriptedModule(core.CoreModule):
    """qSlicerScriptedLoadableModule: what `parent` is in MyModule.__init__(self, parent)."""

    def __init__(self, name, path):
        super().__init__(name, None)
        self.path = path
        self.categories, self.dependencies, self.contributors, self.associatedNodeTypes = (
            [],
            [],
            [],
            [],
        )
        self.helpText = self.acknowledgementText = self.defaultDocumentationLink = ""
        self.icon = self.python = self._repr = None
        self.hidden = False

    def createNewWidgetRepresentation(self):
        return WidgetRepresentation.make(self)

    def widgetRepresentation(self):
        if self._repr is None:
            self._repr = WidgetRepresentation.make(self)
        return self._repr


class WidgetRepresentation:
    """made at start(): qSlicerScriptedLoadableModuleWidget, a QWidget with a vertical layout."""

    @staticmethod
    def make(module):
        import qt

        frame = slicer.qSlicerScriptedLoadableModuleWidget()
        frame.module = module
        frame.setLayout(qt.QVBoxLayout())
        frame.setMRMLScene(slicer.mrmlScene)
        frame.reload()
        return frame


def _makeWidgetClass():
    class qSlicerScriptedLoadableModuleWidget(slicer.qMRMLWidget):
        isEntered = False

        def self(this):
            return this.python

        def reload(this):
            source = sys.modules[this.module.name]
            this.python = getattr(source, this.module.name + "Widget")(this)
            setattr(slicer.modules, this.module.name + "Widget", this.python)
            this.python.setup()

        def enter(this):
            this.isEntered = True
            getattr(this.python, "enter", lambda: None)()

        def exit(this):
            this.isEntered = False
            getattr(this.python, "exit", lambda: None)()

    return qSlicerScriptedLoadableModuleWidget


def start(share=None, testing=True):
    if hasattr(slicer, "app") and hasattr(slicer.app, "qapp"):
        return slicer.app
    qapp = pythonqt.install()
    app = core.start(share)
    app.qapp = qapp
    from . import packaging, parameternode, sampledata, slm, views, widgets  # noqa: F401

    layoutManager = views.LayoutManager()

    manager = ModuleManager()
    for name in core.LOGICS:
        module = getattr(slicer.modules, name)
        manager.modules[module.name] = module
    settings = pythonqt.qt.QSettings(
        os.path.join(app.temporaryPath, "settings.ini"), pythonqt.qt.QSettings.IniFormat
    )
    pythonqt.qt.QSettings.setPath(
        pythonqt.qt.QSettings.IniFormat, pythonqt.qt.QSettings.UserScope, app.temporaryPath
    )
    pythonqt.qt.QSettings.setDefaultFormat(pythonqt.qt.QSettings.IniFormat)
    pending = {"startupCompleted": []}
    # PythonSlicer: in the application a launcher on PATH; here a script that starts this interpreter
    app.slicerHome = os.path.join(app.temporaryPath, "home")
    os.makedirs(os.path.join(app.slicerHome, "bin"))
    shim = os.path.join(app.slicerHome, "bin", "PythonSlicer")
    with open(shim, "w") as f:
        f.write(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    os.chmod(shim, 0o755)
    os.environ["PATH"] = os.path.dirname(shim) + os.pathsep + os.environ["PATH"]

    def connect(signature, function):
        pending.setdefault(signature.partition("(")[0], []).append(function)
        return True

    extra = dict(
        moduleManager=lambda: manager,
        layoutManager=lambda: layoutManager,
        processEvents=lambda *a: qapp.processEvents(),
        testingEnabled=lambda: testing,
        userSettings=lambda: settings,
        settings=lambda: settings,
        topLevelWidgets=qapp.topLevelWidgets,
        setOverrideCursor=qapp.setOverrideCursor,
        restoreOverrideCursor=qapp.restoreOverrideCursor,
        mainWindow=lambda: None,
        connect=connect,
        style=qapp.style,
        palette=qapp.palette,
        clipboard=qapp.clipboard,
        startupEnvironment=pythonqt.qt.QProcessEnvironment.systemEnvironment,
        startupCompleted=lambda: [f() for f in pending["startupCompleted"]],
    )
    for key, value in extra.items():
        setattr(app, key, value)
    slicer.qSlicerScriptedLoadableModuleWidget = _makeWidgetClass()
    slicer.qSlicerScriptedLoadableModule = ScriptedModule
    for name, module in (
        ("ScriptedLoadableModule", slm),
        ("i18n", slm.i18n),
        ("parameterNodeWrapper", parameternode),
        ("packaging", packaging),
    ):
        sys.modules["slicer." + name] = module
        setattr(slicer, name, module)
    sys.modules["SampleData"] = sampledata
    slicer.modules.sampleDataSources = {}
    return app


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
    slicer.app.moduleManager().modules[name] = module
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, name + "Instance", module.python)
    setattr(slicer.moduleNames, name, name)
    return module


def selectModule(module):
    """Show the module's panel: make the widget if need be, and enter() it."""
    if isinstance(module, str):
        module = slicer.util.getModule(module)
    frame = module.widgetRepresentation()
    frame.enter()
    return frame.self()
