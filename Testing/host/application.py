"""slicer.app: what the application object offers, over a real QApplication and a real scene."""

import os
import sys
import types

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from . import strict
from .iomanager import IOManager
from .mainwindow import MainWindow, dress
from .modules import ModuleManager
from .views import LayoutManager
from .widgets.base import prop, signals

VERSION = (5, 12, 4)


@signals(
    aboutToQuit=["aboutToQuit()"],
    startupCompleted=["startupCompleted()"],
    mrmlSceneChanged=["mrmlSceneChanged(vtkMRMLScene*)"],
    lastWindowClosed=["lastWindowClosed()"],
)
class HostApplication(QtCore.QObject):
    _contractKey = "slicer.app"
    aboutToQuit = Signal()
    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)
    lastWindowClosed = Signal()

    applicationName = prop(str, "Slicer")
    applicationVersion = prop(str, ".".join(map(str, VERSION)))
    majorVersion = prop(int, VERSION[0])
    minorVersion = prop(int, VERSION[1])
    revision = prop(str, "0")
    repositoryRevision = prop(str, "0")
    releaseType = prop(str, "Experimental")
    os = prop(str, {"linux": "linux", "darwin": "macosx", "win32": "win"}.get(sys.platform, ""))
    temporaryPath = prop(str, "")
    slicerHome = prop(str, "")

    def __init__(self, qapp, world, temporaryPath, testing):
        super().__init__()
        self.temporaryPath = temporaryPath
        self._qapp, self._world, self._testing = qapp, world, testing
        self._io = IOManager()
        self._modules = ModuleManager()
        self._settings = QtCore.QSettings()
        self._window = self._layout = None
        self._home(os.path.join(temporaryPath, "home"))

    def _home(self, folder):
        """A PythonSlicer on PATH that starts this interpreter, as the application's launcher."""
        self.slicerHome = folder
        programs = os.path.join(folder, "bin")
        os.makedirs(programs)
        launcher = os.path.join(programs, "PythonSlicer")
        with open(launcher, "w") as file:
            file.write(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        os.chmod(launcher, 0o755)
        os.environ["PATH"] = programs + os.pathsep + os.environ["PATH"]

    def openWindow(self):
        dress(self._qapp)
        self._window = MainWindow()
        self._layout = LayoutManager(self._window.viewArea)
        self._window.show()

    def __getattr__(self, name):
        if not strict.isListed(type(self), name):
            raise AttributeError(f"qSlicerApplication has no attribute named '{name}'")
        return getattr(self._qapp, name)

    slicerSharePath = Property(str, lambda self: os.path.join(self.slicerHome, "share"))
    defaultScenePath = Property(str, lambda self: self.temporaryPath)

    def mrmlScene(self):
        return self._world.scene

    def applicationLogic(self):
        return self._world.logic

    def moduleLogic(self, name):
        return self._world.logic.GetModuleLogic(name)

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def moduleManager(self):
        return self._modules

    def layoutManager(self):
        return self._layout

    def userSettings(self):
        return self._settings

    settings = revisionUserSettings = userSettings

    def testingEnabled(self):
        return self._testing

    def commandOptions(self):
        return types.SimpleNamespace(noMainWindow=False, isTestingEnabled=self._testing)

    def processEvents(self, *arguments):
        self._qapp.processEvents()

    def translate(self, context, text, *rest):
        return text

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass

    def setRenderPaused(self, paused):
        pass

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    environment = startupEnvironment

    def openUrl(self, url):
        return False

    def topLevelWidgets(self):
        return QtWidgets.QApplication.topLevelWidgets()
