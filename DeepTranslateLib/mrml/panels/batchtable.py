"""BatchTable: many volumes, one a row, each with a check mark and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.image import ImageError
from DeepTranslateLib.mrml.folderitems import FileSource, findSources
from DeepTranslateLib.mrml.panels.pathlistener import PathListener
from DeepTranslateLib.mrml.provenance import readProvenance
from DeepTranslateLib.mrml.translationitems import Translated

SCENE, FOLDER = "scene", "folder"
_NAME, _STATE = range(2)
_MOST_LINES = 6
_DONE_COLOR, _FAILED_COLOR = "#2e7d32", "#c62828"


class BatchTable:
    """Where the volumes come from, which of them, and how far each is.

    Args:
        parentLayout: Layout that the widget is added to.
        onChanged: Called after the choice of volumes or of a folder has changed.
    """

    def __init__(self, parentLayout: Any, onChanged: Callable[[], None]) -> None:
        self._onChanged = onChanged
        self._sources: list[Any] = []
        self._filling = False
        self.problem = ""
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        form = qt.QFormLayout()
        column.addLayout(form)
        self.sourceComboBox = qt.QComboBox()
        self.sourceComboBox.objectName = "batchSourceComboBox"
        self.sourceComboBox.addItem(_("All volumes of the scene"), SCENE)
        self.sourceComboBox.addItem(_("A folder of image files or DICOM"), FOLDER)
        form.addRow(_("Translate:"), self.sourceComboBox)
        self.folderEdit = _folderEdit(_("Folder with NRRD, NIfTI, MetaImage or DICOM files"))
        self.folderEdit.objectName = "batchFolderEdit"
        self.folderLabel = qt.QLabel(_("Folder:"))
        form.addRow(self.folderLabel, self.folderEdit)
        self.outputEdit = _folderEdit(_("Where label maps or volumes and the table are written"))
        self.outputEdit.objectName = "batchOutputFolderEdit"
        self.outputLabel = qt.QLabel(_("Output folder:"))
        form.addRow(self.outputLabel, self.outputEdit)
        self.table = _table()
        column.addWidget(self.table)
        row = qt.QHBoxLayout()
        column.addLayout(row)
        self.countLabel = qt.QLabel()
        row.addWidget(self.countLabel, 1)
        self.allButton = qt.QPushButton(_("All"))
        self.noneButton = qt.QPushButton(_("None"))
        self.refreshButton = qt.QPushButton(_("Refresh"))
        self.refreshButton.toolTip = _("Look again at what the scene or the folder holds")
        for button in (self.allButton, self.noneButton, self.refreshButton):
            row.addWidget(button)
        parentLayout.addWidget(self.widget)
        self.sourceComboBox.connect("currentIndexChanged(int)", lambda index: self.refresh())
        self._listeners = (
            PathListener(self.folderEdit, lambda path: self.refresh()),
            PathListener(self.outputEdit, lambda path: self._onChanged()),
        )
        self.table.connect("itemChanged(QTableWidgetItem*)", self._itemChanged)
        self.allButton.connect("clicked()", lambda: self.checkAll(True))
        self.noneButton.connect("clicked()", lambda: self.checkAll(False))
        self.refreshButton.connect("clicked()", self.refresh)
        self.refresh()

    @property
    def mode(self) -> str:
        """SCENE or FOLDER."""
        return FOLDER if self.sourceComboBox.currentIndex == 1 else SCENE

    @property
    def outputFolder(self) -> Path | None:
        """Where files go; None for volumes of the scene, or while none is chosen."""
        path = self.outputEdit.currentPath.strip()
        return Path(path) if self.mode == FOLDER and path else None

    @property
    def folder(self) -> str:
        """The folder with the images; empty while none is chosen."""
        return str(self.folderEdit.currentPath).strip()

    @property
    def allSources(self) -> list[Any]:
        """Volume nodes or FileSource, one a row."""
        return list(self._sources)

    def checkedRows(self) -> list[int]:
        """Rows with a check mark."""
        return [row for row in range(len(self._sources)) if self._isChecked(row)]

    def checkedSources(self) -> list[Any]:
        """Volume nodes or FileSource that are to be translated, in the order of their rows."""
        return [self._sources[row] for row in self.checkedRows()]

    def checkAll(self, checked: bool) -> None:
        """Set or take away all check marks."""
        self._filling = True
        for row in range(len(self._sources)):
            self.table.item(row, _NAME).setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
        self._filling = False
        self._changed()

    def refresh(self) -> None:
        """Fill the rows anew; volumes without a check mark keep none."""
        inFolder = self.mode == FOLDER
        for widget in (self.folderLabel, self.folderEdit, self.outputLabel, self.outputEdit):
            widget.visible = inFolder
        unchecked = [s for row, s in enumerate(self._sources) if not self._isChecked(row)]
        self.problem = ""
        if inFolder:
            self._sources = self._ofFolder()
        else:
            self._sources = _volumesOfScene()
            if not self._sources:
                self.problem = _("There are no volumes in the scene. Load some first.")
        self._filling = True
        self.table.setRowCount(len(self._sources))
        for row, source in enumerate(self._sources):
            self._fillRow(row, source, _isLikely(source) and source not in unchecked)
        self._filling = False
        self._changed()

    def showState(self, row: int, text: str, detail: str = "", color: str = "") -> None:
        """Say in a row how far it is.

        Args:
            row: From 0.
            text: Such as "waiting".
            detail: What follows in lines of its own.
            color: Of the text; empty for the usual one.
        """
        item = self.table.item(row, _STATE)
        if item is None:  # the scene was closed, and its volumes with it
            return
        item.setText(f"{text}\n{detail}" if detail else text)
        item.setToolTip(detail or text)
        item.setData(qt.Qt.ForegroundRole, qt.QBrush(qt.QColor(color)) if color else None)
        self.table.resizeRowToContents(row)

    def showOutcome(self, row: int, outcome: Translated) -> None:
        """Say in a row what it came to: volumes of the labels or what was made, or why not."""
        if outcome.error:
            self.showState(row, _("failed"), outcome.error, _FAILED_COLOR)
            return
        lines = [f"{each.name} {each.volume_ml:,.0f} mL" for each in outcome.rows[:_MOST_LINES]]
        if len(outcome.rows) > _MOST_LINES:
            lines.append("...")
        if not lines and outcome.output is not None:
            lines = [outcome.output.GetName()]
        elif outcome.path is not None:
            lines.append(outcome.path.name)
        if outcome.doubts:
            lines.append(_("\u26a0 unlike the training images"))
        self.showState(row, _("done"), "\n".join(lines), _DONE_COLOR)
        self.table.item(row, _STATE).setToolTip("\n".join([*lines, *outcome.doubts]))

    def clearOutcomes(self) -> None:
        """Forget what an earlier run came to."""
        for row in range(len(self._sources)):
            self.showState(row, "")

    def setEditable(self, editable: bool) -> None:
        """Allow another choice, or not while one is being worked through."""
        for widget in (
            self.sourceComboBox,
            self.folderEdit,
            self.outputEdit,
            self.allButton,
            self.noneButton,
            self.refreshButton,
        ):
            widget.enabled = editable
        self._filling = True
        for row in range(len(self._sources)):
            item = self.table.item(row, _NAME)
            item.setFlags(_flags(editable))
        self._filling = False

    def _ofFolder(self) -> list[FileSource]:
        path = self.folder
        if not path:
            self.problem = _("Choose a folder with images.")
            return []
        try:
            return findSources(path, self.outputEdit.currentPath.strip() or None)
        except (ImageError, OSError) as error:
            self.problem = str(error)
            return []

    def _fillRow(self, row: int, source: Any, checked: bool) -> None:
        onDisk = isinstance(source, FileSource)
        item = qt.QTableWidgetItem(source.name if onDisk else source.GetName())
        item.setFlags(_flags(True))
        item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
        item.setToolTip(source.detail if onDisk else source.GetName())
        self.table.setItem(row, _NAME, item)
        cell = qt.QTableWidgetItem("")
        cell.setFlags(qt.Qt.ItemIsEnabled)
        cell.setTextAlignment(qt.Qt.AlignTop)
        self.table.setItem(row, _STATE, cell)
        self.table.resizeRowToContents(row)

    def _isChecked(self, row: int) -> bool:
        item = self.table.item(row, _NAME)
        return item is not None and item.checkState() == qt.Qt.Checked

    def _itemChanged(self, item: Any) -> None:
        if not self._filling and item.column() == _NAME:
            self._changed()

    def _changed(self) -> None:
        chosen = _("{checked} of {count} chosen")
        text = chosen.format(checked=len(self.checkedRows()), count=len(self._sources))
        self.countLabel.text = self.problem or text
        self._onChanged()


def _volumesOfScene() -> list[Any]:
    nodes: Sequence[Any] = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [
        node
        for node in nodes
        if not node.IsA("vtkMRMLLabelMapVolumeNode") and not node.GetHideFromEditors()
    ]


def _isLikely(source: Any) -> bool:
    """Whether somebody would want it translated: no localizer, and nothing that was made here."""
    if isinstance(source, FileSource):
        return source.isVolume
    return not readProvenance(source)


def _folderEdit(toolTip: str) -> Any:
    edit = ctk.ctkPathLineEdit()
    edit.filters = ctk.ctkPathLineEdit.Dirs
    edit.toolTip = toolTip
    return edit


def _table() -> Any:
    table = qt.QTableWidget()
    table.objectName = "batchTable"
    table.setColumnCount(2)
    table.setHorizontalHeaderLabels([_("Volume"), _("State")])
    table.verticalHeader().hide()
    table.horizontalHeader().setStretchLastSection(True)
    table.setColumnWidth(_NAME, 150)
    table.setSelectionMode(qt.QTableWidget.NoSelection)
    table.minimumHeight = 180
    return table


def _flags(editable: bool) -> Any:
    flags = qt.Qt.ItemIsEnabled
    return flags | qt.Qt.ItemIsUserCheckable if editable else flags
