"""CaseTable: the images to learn from, a row for each: who, which nodes, which slices, what for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.cohort import CohortError
from DeepTranslateLib.cohort.case import DOMAINS, PARTS, SOURCE, slices_to_text
from DeepTranslateLib.mrml.pairs import problemOf, subjectOf
from DeepTranslateLib.mrml.panels.casecolumns import (
    KIND,
    MASK,
    SLICES,
    SUBJECT,
    TARGET,
    USE,
    VOLUME,
    columnTips,
    columnTitles,
    targetTexts,
)
from DeepTranslateLib.mrml.panels.caserow import Row

_LABEL_TYPES = ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"]
_VOLUME_TYPES = ["vtkMRMLScalarVolumeNode"]
# Colour images are no choice, but one that is shown can say why.
_IMAGE_TYPES = [*_VOLUME_TYPES, "vtkMRMLVectorVolumeNode"]
_MASK_TYPES = [*_LABEL_TYPES, *_VOLUME_TYPES]
_VISIBLE_ROWS = 8


def fitRows(table: Any, rows: int) -> None:
    """Make a table just as high as so many rows and its header."""
    header = table.horizontalHeader().sizeHint.height()
    table.setFixedHeight(header + rows * table.verticalHeader().defaultSectionSize + 4)


class CaseTable:
    """A table of rows that the user edits in place.

    Args:
        parentLayout: Layout that the table is added to.
        onChange: Called with the row when the user changed it.
    """

    def __init__(self, parentLayout: Any, onChange: Callable[[Row], None]) -> None:
        self._onChange = onChange
        self._filling = False
        self._forLabels = True
        self._needTargets = True
        self._kinds: tuple[str, ...] = ()
        self.rows: list[Row] = []
        self.table = qt.QTableWidget()
        self.table.objectName = "caseTable"
        self.table.setColumnCount(7)
        self.table.setHorizontalHeaderLabels(columnTitles())
        header = self.table.horizontalHeader()
        header.minimumSectionSize = 30
        for column in (VOLUME, TARGET, MASK):
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch)
        for column, width in ((SUBJECT, 72), (SLICES, 58), (USE, 78), (KIND, 100)):
            self.table.setColumnWidth(column, width)
        header.moveSection(KIND, TARGET)
        self.table.verticalHeader().visible = False
        self.table.setSelectionBehavior(qt.QTableWidget.SelectRows)
        self.table.setEditTriggers(qt.QTableWidget.AllEditTriggers)
        self.table.wordWrap = False
        for column, tip in columnTips().items():
            self.table.horizontalHeaderItem(column).setToolTip(tip)
        self.table.connect("cellChanged(int,int)", self._edited)
        parentLayout.addWidget(self.table)
        self.showMasks(False)
        self.showKinds(())
        self._describeTargets()
        self._fit()

    def showKinds(self, kinds: Sequence[str]) -> None:
        """Ask for the kind of each image in the place of its target, or for its target.

        Args:
            kinds: What source and target are called, for images that are not paired; else empty.
        """
        self._kinds = tuple(kinds)
        self.table.setColumnHidden(KIND, not kinds)
        self.table.setColumnHidden(TARGET, bool(kinds))
        for row in self.rows:
            self._fillKinds(row)
        self._describeTargets()

    def setTargets(self, forLabels: bool, needed: bool = True) -> None:
        """Say what targets are: segmentations and label maps, or volumes; and whether all need one.

        A recipe for which none is needed makes its inputs of the images themselves.
        """
        changed = forLabels != self._forLabels
        self._forLabels, self._needTargets = forLabels, needed
        self._describeTargets()
        if changed:
            self._setTargetTypes()

    def showMasks(self, shown: bool) -> None:
        """Show or hide the column of masks."""
        self.table.setColumnHidden(MASK, not shown)

    @property
    def hasMasks(self) -> bool:
        """Whether a mask is chosen in any row."""
        return any(row.maskNode is not None for row in self.rows)

    def _describeTargets(self) -> None:
        forLabels = self._forLabels and not self._kinds
        title, tip, slices = targetTexts(forLabels, self._needTargets)
        for column, text in ((TARGET, tip), (SLICES, slices)):
            self.table.horizontalHeaderItem(column).setToolTip(text)
        self.table.horizontalHeaderItem(TARGET).setText(title)

    def add(
        self,
        volumeNode: Any = None,
        targetNode: Any = None,
        subject: str = "",
        slices: str = "",
        split: str | None = None,
        maskNode: Any = None,
        domain: str | None = None,
    ) -> Row:
        """Add a row and return it; the caller's `onChange` is not called."""
        row = Row()
        row.subject, row.slices = subject, slices
        row.namedByUser = bool(subject)
        self._filling = True
        index = self.table.rowCount
        self.table.setRowCount(index + 1)
        row.volumeSelector = self._selector(_IMAGE_TYPES)
        row.targetSelector = self._selector(self._targetTypes())
        row.maskSelector = self._selector(_MASK_TYPES)
        row.volumeSelector.setCurrentNode(volumeNode)
        row.targetSelector.setCurrentNode(targetNode)
        row.maskSelector.setCurrentNode(maskNode)
        row.useCombo = qt.QComboBox()
        row.useCombo.addItems([_("auto"), _("train"), _("validate"), _("test")])
        row.useCombo.currentIndex = (None, *PARTS).index(split)
        row.kindCombo = qt.QComboBox()
        self._fillKinds(row)
        row.kindCombo.currentIndex = DOMAINS.index(domain or SOURCE)
        for column, widget in (
            (VOLUME, row.volumeSelector),
            (TARGET, row.targetSelector),
            (USE, row.useCombo),
            (MASK, row.maskSelector),
            (KIND, row.kindCombo),
        ):
            self.table.setCellWidget(index, column, widget)
        for column in (SUBJECT, SLICES):
            self.table.setItem(index, column, qt.QTableWidgetItem(""))
        self.rows.append(row)
        row.told = row.nodeIds
        self._filling = False
        for selector in (row.volumeSelector, row.targetSelector, row.maskSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self._nodeTold(row))
        for combo in (row.useCombo, row.kindCombo):
            combo.connect("currentIndexChanged(int)", lambda index: self._tell(row))
        self.refresh(row)
        self._fit()
        return row

    def remove(self, indices: Sequence[int]) -> None:
        """Remove rows by their index."""
        self._filling = True
        for index in sorted(set(indices), reverse=True):
            del self.rows[index]
            self.table.removeRow(index)
        self._filling = False
        self._fit()

    def clear(self) -> None:
        """Remove all rows."""
        self.remove(range(len(self.rows)))

    def selected(self) -> list[int]:
        """Return the indices of the rows that are selected, else that with the cursor."""
        chosen = {item.row() for item in self.table.selectedItems()}
        current = self.table.currentRow()
        return sorted(chosen) or ([current] if 0 <= current < len(self.rows) else [])

    def refresh(self, row: Row) -> None:
        """Show a row's subject and slices, and what is wrong with them."""
        index = self.rows.index(row)
        self._filling = True
        self._nameSubject(row)
        self.table.item(index, SUBJECT).setText(row.subject)
        problem = self.nodeProblem(row, not self._kinds)
        _mark(self.table.item(index, SUBJECT), problem, row.subject)
        for selector, node in (
            (row.volumeSelector, row.volumeNode),
            (row.targetSelector, row.targetNode),
            (row.maskSelector, row.maskNode),
        ):
            selector.toolTip = node.GetName() if node is not None else ""
        item = self.table.item(index, SLICES)
        text = row.slices or (slices_to_text(row.found) if row.found else "")
        item.setText(text)
        problem = self.problem(row)
        font = item.font()
        font.setItalic(not row.slices)
        item.setFont(font)
        found = _("Found: {slices}").format(slices=text) if text else row.foundProblem
        _mark(item, problem, found if not row.slices else _("Named by you: ") + text)
        self._filling = False

    @staticmethod
    def problem(row: Row) -> str:
        """Return what is wrong with a row's list of slices; empty if nothing."""
        try:
            row.chosenSlices()
        except CohortError as error:
            return str(error)
        return ""

    @staticmethod
    def nodeProblem(row: Row, withTarget: bool = True) -> str:
        """Return why a row's volumes cannot be learnt from; empty if they can."""
        nodes = (row.volumeNode, row.targetNode if withTarget else None, row.maskNode)
        return next(filter(None, map(problemOf, nodes)), "")

    def _edited(self, index: int, column: int) -> None:
        if self._filling or column not in (SUBJECT, SLICES) or index >= len(self.rows):
            return
        row = self.rows[index]
        text = self.table.item(index, column).text().strip()
        if column == SUBJECT:
            row.subject, row.namedByUser = text, bool(text)
        else:
            same = row.found is not None and text == slices_to_text(row.found)
            row.slices = "" if same else text
        self._tell(row)

    def _nodeTold(self, row: Row) -> None:
        if row in self.rows and row.nodeIds != row.told:
            self._tell(row)

    def _tell(self, row: Row) -> None:
        # A selector whose row was removed may still hear of the scene.
        if self._filling or row not in self.rows:
            return
        row.told = row.nodeIds
        self._nameSubject(row)
        self._onChange(row)
        self.refresh(row)

    @staticmethod
    def _nameSubject(row: Row) -> None:
        if not row.namedByUser and row.volumeNode is not None:
            row.subject = subjectOf(row.volumeNode)

    def _fillKinds(self, row: Row) -> None:
        combo = row.kindCombo
        chosen = max(0, combo.currentIndex)
        blocked = combo.blockSignals(True)
        combo.clear()
        combo.addItems(list(self._kinds or DOMAINS))
        combo.currentIndex = chosen
        combo.blockSignals(blocked)

    def _setTargetTypes(self) -> None:
        """Offer targets of another kind; a row whose target is none of them has no target."""
        types = self._targetTypes()
        self._filling = True
        for row in self.rows:
            node = row.targetNode
            row.targetSelector.nodeTypes = types
            # Left to itself, a selector shows its next node, which nobody chose.
            fits = node is not None and node.GetClassName() in types
            row.targetSelector.setCurrentNode(node if fits else None)
            row.told = row.nodeIds
        self._filling = False

    def _targetTypes(self) -> list[str]:
        return _LABEL_TYPES if self._forLabels else _VOLUME_TYPES

    def _selector(self, nodeTypes: list[str]) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = nodeTypes
        selector.showChildNodeTypes = False
        selector.noneEnabled = True
        selector.addEnabled = selector.removeEnabled = selector.renameEnabled = False
        selector.setMRMLScene(slicer.mrmlScene)
        return selector

    def _fit(self) -> None:
        fitRows(self.table, min(max(len(self.rows), 2), _VISIBLE_ROWS))


def _mark(item: Any, problem: str, tip: str) -> None:
    """Show a cell in red with its problem as its tool tip, or as usual with another tip."""
    item.setBackground(qt.QBrush(qt.QColor(255, 190, 190)) if problem else qt.QBrush())
    item.setForeground(qt.QBrush(qt.QColor(120, 0, 0)) if problem else qt.QBrush())
    item.setToolTip(problem or tip)
