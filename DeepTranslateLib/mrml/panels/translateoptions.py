"""TranslateOptions: device, folder of the models and Python of the worker; "Advanced"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.mrml.jobs import WORKER_PYTHON_SETTING, shutDown
from DeepTranslateLib.mrml.modellibrary import modelsFolder, setModelsFolder
from DeepTranslateLib.mrml.panels.pathlistener import PathListener

DEVICE_SETTING = "DeepTranslate/Device"


class TranslateOptions:
    """Wires the widgets of the section; folder and Python are kept in the user's settings.

    Args:
        deviceComboBox: QComboBox.
        modelsFolderEdit: ctkPathLineEdit.
        workerPythonEdit: ctkPathLineEdit.
        onDevice: Called after another device was chosen.
        onModelsFolder: Called after another folder was chosen.
        onWorkerPython: Called after another Python was chosen.
        isBusy: Says whether a job runs, whose worker is then left alone.
    """

    def __init__(
        self,
        deviceComboBox: Any,
        modelsFolderEdit: Any,
        workerPythonEdit: Any,
        *,
        onDevice: Callable[[], None],
        onModelsFolder: Callable[[], None],
        onWorkerPython: Callable[[], None],
        isBusy: Callable[[], bool],
    ) -> None:
        self._deviceComboBox = deviceComboBox
        self._onDevice = onDevice
        self._onModelsFolder = onModelsFolder
        self._onWorkerPython = onWorkerPython
        self._isBusy = isBusy
        devices = (
            (_("Automatic"), "auto"),
            (_("Processor (CPU)"), "cpu"),
            (_("NVIDIA graphics card (CUDA)"), "cuda"),
            (_("Apple graphics card (MPS)"), "mps"),
        )
        for text, device in devices:
            deviceComboBox.addItem(text, device)
        settings = slicer.app.userSettings()
        modelsFolderEdit.filters = ctk.ctkPathLineEdit.Dirs
        modelsFolderEdit.currentPath = str(modelsFolder())
        workerPythonEdit.filters = ctk.ctkPathLineEdit.Files
        workerPythonEdit.currentPath = settings.value(WORKER_PYTHON_SETTING, "") or ""
        deviceComboBox.connect("currentIndexChanged(int)", self._deviceChanged)
        self._listeners = (
            PathListener(modelsFolderEdit, self._modelsFolderChanged),
            PathListener(workerPythonEdit, self._workerPythonChanged),
        )

    @property
    def device(self) -> str:
        """The chosen one: "auto", "cpu", "cuda" or "mps"."""
        return str(self._deviceComboBox.itemData(self._deviceComboBox.currentIndex))

    def setDevice(self, device: str) -> None:
        """Choose a device; an empty text is the one of the settings."""
        device = device or slicer.app.userSettings().value(DEVICE_SETTING, "auto")
        self._deviceComboBox.currentIndex = max(0, self._deviceComboBox.findData(device))

    def _deviceChanged(self, index: int) -> None:
        self._onDevice()

    def _modelsFolderChanged(self, path: str) -> None:
        setModelsFolder(path)
        self._onModelsFolder()

    def _workerPythonChanged(self, path: str) -> None:
        slicer.app.userSettings().setValue(WORKER_PYTHON_SETTING, path)
        if not self._isBusy():
            shutDown()  # the next job starts the other Python
        self._onWorkerPython()
