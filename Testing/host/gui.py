"""Starting the host: after start(), `import slicer, qt, ctk` find what the application offers."""

import atexit
import shutil
import sys
import tempfile

import slicer

from . import pythonqt

_started = []


def start(share=None, testing=True):
    """Make this process look like the application; `share`: a folder with terminologies/."""
    if _started:
        return _started[0]
    temporaryPath = tempfile.mkdtemp(prefix="slicerhost-")
    atexit.register(shutil.rmtree, temporaryPath, ignore_errors=True)
    qapp = pythonqt.install()
    QSettings = pythonqt.qt.QSettings
    QSettings.setPath(QSettings.IniFormat, QSettings.UserScope, temporaryPath)
    QSettings.setDefaultFormat(QSettings.IniFormat)
    # these define classes on top of the patched Qt, so they must wait for it
    from . import core, dialogs, modules, packaging, parameters, sampledata, slm, widgets  # noqa: F401
    from .application import HostApplication

    dialogs.install()
    core.nameModules()
    world = core.SceneWorld(temporaryPath, share)
    slicer.app = app = HostApplication(qapp, world, temporaryPath, testing)
    slicer.mrmlScene = world.scene
    core.addModules(app.moduleManager(), world, share)
    app.openWindow()
    slicer.qSlicerScriptedLoadableModuleWidget = modules.makeWidgetClass()
    slicer.qSlicerScriptedLoadableModule = modules.ScriptedModule
    for name, module in (
        ("ScriptedLoadableModule", slm),
        ("i18n", slm.i18n),
        ("parameterNodeWrapper", parameters.asModule()),
        ("packaging", packaging.asModule()),
    ):
        sys.modules["slicer." + name] = module
        setattr(slicer, name, module)
    sys.modules["SampleData"] = sampledata
    atexit.register(shutDown)
    _started.append(app)
    return app


def loadModule(path):
    """Load <Name>.py as the application does; return what slicer.modules.<name> is."""
    from .modules import loadModule

    return loadModule(path)


def selectModule(module):
    """Show a module's panel as a user does; return its Python widget."""
    from .modules import selectModule

    return selectModule(module)


def shutDown():
    """What happens when the user closes the application: signals, then the modules' clean-up."""
    from .modules import unloadModules

    if _started:
        app = _started.pop()
        app.aboutToQuit.emit()
        unloadModules()
