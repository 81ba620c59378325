"""TrainingOptions: where a training is kept, and where it is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
from slicer.i18n import tr as _

from DeepTranslateLib.mrml.panels.pathlistener import PathListener
from DeepTranslateLib.mrml.runfolders import newRunFolder, runsFolder, setRunsFolder
from DeepTranslateLib.recipe import Recipe


class TrainingOptions:
    """Wires the widgets of the section; a new run folder is suggested until the user names one.

    Args:
        runFolderEdit: ctkPathLineEdit of the next training's folder.
        runsFolderEdit: ctkPathLineEdit of the folder that suggestions lie in, a setting.
        deviceComboBox: QComboBox.
        recipe: Returns the recipe that suggestions are named after; None while there is none.
        onChange: Called without arguments when the user chose.
    """

    def __init__(
        self,
        runFolderEdit: Any,
        runsFolderEdit: Any,
        deviceComboBox: Any,
        recipe: Callable[[], Recipe | None],
        onChange: Callable[[], None],
    ) -> None:
        self._runFolderEdit, self._runsFolderEdit = runFolderEdit, runsFolderEdit
        self._deviceComboBox = deviceComboBox
        self._recipe, self._onChange = recipe, onChange
        self._suggestion = ""
        self._filling = False
        for text, device in (
            (_("Automatic"), "auto"),
            (_("Processor (CPU)"), "cpu"),
            (_("NVIDIA graphics card (CUDA)"), "cuda"),
            (_("Apple graphics card (MPS)"), "mps"),
        ):
            deviceComboBox.addItem(text, device)
        for edit in (runFolderEdit, runsFolderEdit):
            edit.filters = ctk.ctkPathLineEdit.Dirs
        self.refresh()
        self._listeners = (
            PathListener(runFolderEdit, lambda path: self._changed()),
            PathListener(runsFolderEdit, self._runsFolderChanged),
        )
        deviceComboBox.connect("currentIndexChanged(int)", lambda index: self._changed())

    @property
    def folder(self) -> str:
        """The next training's folder; empty for none."""
        return str(self._runFolderEdit.currentPath).strip()

    @property
    def chosenFolder(self) -> str:
        """The same, but empty while it is the suggested one."""
        return "" if self.folder == self._suggestion else self.folder

    @property
    def device(self) -> str:
        """Where to compute."""
        return str(self._deviceComboBox.itemData(self._deviceComboBox.currentIndex))

    def show(self, chosenFolder: str, device: str) -> None:
        """Show choices of before without telling of it."""
        self._filling = True
        self._deviceComboBox.currentIndex = max(0, self._deviceComboBox.findData(device))
        self._runFolderEdit.currentPath = chosenFolder
        self._filling = False

    def refresh(self) -> None:
        """Show the setting as it is now."""
        self._filling = True
        self._runsFolderEdit.currentPath = str(runsFolder())
        self._filling = False

    def suggest(self) -> None:
        """Suggest a new run folder, unless the user has chosen one."""
        recipe = self._recipe()
        if recipe is None or self.chosenFolder:
            return
        self._suggestion = str(newRunFolder(recipe))
        self._filling = True
        self._runFolderEdit.currentPath = self._suggestion
        self._filling = False

    def suggestAfter(self, folder: Path) -> None:
        """Suggest another folder where this one, which is used now, is shown."""
        if Path(self.folder).absolute() == folder.absolute():
            self._suggestion = self.folder
        self.suggest()

    def setEnabled(self, on: bool) -> None:
        """Let the user choose, or not."""
        for widget in (self._runFolderEdit, self._runsFolderEdit, self._deviceComboBox):
            widget.enabled = on

    def _runsFolderChanged(self, path: str) -> None:
        if not self._filling:
            setRunsFolder(path)
            self.suggest()
            self._onChange()

    def _changed(self) -> None:
        if not self._filling:
            self._onChange()
