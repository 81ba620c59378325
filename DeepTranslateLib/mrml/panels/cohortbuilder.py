"""CohortBuilder: the images to learn from, taken from the scene or from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from DeepTranslateLib.cohort import CohortError
from DeepTranslateLib.image import ImageError
from DeepTranslateLib.mrml.cohortcache import stateOf
from DeepTranslateLib.mrml.cohorts import foundSlices
from DeepTranslateLib.mrml.pairs import (
    Pair,
    checkPairs,
    isSegmentation,
    likelyDomain,
    pairsFromScene,
    volumesInScene,
)
from DeepTranslateLib.mrml.panels.caserow import Row
from DeepTranslateLib.mrml.panels.casetable import CaseTable
from DeepTranslateLib.mrml.panels.cohortfiles import CohortFiles
from DeepTranslateLib.mrml.panels.cohortstate import restoreRows, saveRows
from DeepTranslateLib.mrml.panels.cohorttexts import (
    forLabels,
    kindNames,
    needTargets,
    nothingFoundText,
    sceneText,
)
from DeepTranslateLib.mrml.panels.segmenttable import SegmentTable
from DeepTranslateLib.mrml.segmentations import Segment, segmentsOf
from DeepTranslateLib.mrml.segmentlabels import matchSegments
from DeepTranslateLib.recipe import Recipe

_SCENE, _FILES = 0, 1


class CohortBuilder:
    """Two ways to name the images: a table of nodes, or a folder or CSV.

    Args:
        parentLayout: Layout that the builder is added to.
        onChange: Called without arguments when the cohort changed.
    """

    def __init__(self, parentLayout: Any, onChange: Callable[[], None]) -> None:
        self._onChange = onChange
        self._recipe: Recipe | None = None
        self._restoring = False
        self.tabs = qt.QTabWidget()
        self.tabs.objectName = "cohortTabs"
        parentLayout.addWidget(self.tabs)
        self._makeSceneTab()
        self.files = CohortFiles(self._changed)
        self.tabs.addTab(self.files.widget, _("Folder or CSV"))
        self.tabs.connect("currentChanged(int)", lambda index: self._changed())
        self._say()

    def _makeSceneTab(self) -> None:
        page = qt.QWidget()
        column = qt.QVBoxLayout(page)
        column.setContentsMargins(4, 4, 4, 4)
        buttons = qt.QHBoxLayout()
        column.addLayout(buttons)
        self.addFromSceneButton = _button(buttons, _("Add from scene"), "addFromSceneButton")
        self.addRowButton = _button(buttons, _("Add row"), "addRowButton")
        self.removeButton = _button(buttons, _("Remove"), "removeRowButton")
        self.removeButton.toolTip = _("Remove the selected rows; the nodes stay in the scene.")
        self.addFromSceneButton.connect("clicked()", self.addFromScene)
        self.addRowButton.connect("clicked()", self._addRow)
        self.removeButton.connect("clicked()", self._removeRows)
        self.masksBox = qt.QCheckBox(_("Masks"))
        self.masksBox.objectName = "masksCheckBox"
        self.masksBox.toolTip = _(
            "Choose a mask for images of which only a part is to teach and to be measured, such as "
            "the field of view that two scanners had."
        )
        buttons.addWidget(self.masksBox)
        self.cases = CaseTable(column, self._rowChanged)
        self.masksBox.connect("toggled(bool)", self.cases.showMasks)
        self.hint = qt.QLabel()
        self.hint.objectName = "cohortHint"
        self.hint.wordWrap = True
        column.addWidget(self.hint)
        self.segments = SegmentTable(column, self._mappingChanged)
        column.addStretch(1)
        self.tabs.addTab(page, _("In the scene"))

    def setRecipe(self, recipe: Recipe | None) -> None:
        """Tell which labels there are and in which plane slices are counted; None: not known."""
        before, self._recipe = self._recipe, recipe
        if recipe is None:
            return
        if not recipe.is_unpaired:  # which asks for none; those chosen before are kept
            self.cases.setTargets(recipe.target.kind == "labels", needed=not recipe.is_denoising)
        if before is None or _expected(before) != _expected(recipe):
            self.cases.showKinds(kindNames(recipe) if recipe.is_unpaired else ())
            self.addFromSceneButton.toolTip = _(
                "Add every volume in the scene."
                if not needTargets(recipe)
                else "Add every volume with its segmentation or label map, as far as they can be "
                "told."
            )
            self.refresh()

    def refresh(self) -> None:
        """Look again at the segmentations: which segments there are, which slices are labelled."""
        self.segments.show(self._segmentsOfCases(), self._recipe)
        for row in self.cases.rows:
            self._find(row)
            self.cases.refresh(row)
        self._say()

    def cohort(self) -> str | list[Pair]:
        """Return what the jobs take: the path of a folder or CSV, or pairs of nodes.

        Raises:
            CohortError: Nothing is chosen, or a row cannot be used; the message names it.
        """
        if self.tabs.currentIndex == _FILES:
            return self.files.cohort()
        pairs = self.pairs()
        checkPairs(pairs, self._recipe)
        return pairs

    def pairs(self) -> list[Pair]:
        """Return a pair for each row, complete or not.

        Raises:
            CohortError: A list of slices cannot be read.
        """
        pairs = []
        for row in self.cases.rows:
            try:
                slices = row.chosenSlices()
            except CohortError as error:
                raise CohortError(f"{row.subject or _('A row')}: {error}") from error
            pairs.append(self._pair(row, slices))
        return pairs

    def segmentsFound(self) -> list[Segment]:
        """Return every segment of the chosen segmentations."""
        return [segment for segments in self._segmentsOfCases() for segment in segments]

    def addFromScene(self) -> None:
        """Add what can be learnt from in the scene and is not in the table yet.

        For labels that are pairs, for denoising and without pairs every volume. Which volume is
        the target of which is for the user to say.
        """
        recipe = self._recipe
        known = {(row.volumeNode, self._targetOf(row)) for row in self.cases.rows}
        used = {node for nodes in known for node in nodes}
        found: list[Pair] = []
        if forLabels(self._recipe):
            found = [p for p in pairsFromScene() if (p.volumeNode, p.targetNode) not in known]
        elif not needTargets(recipe):
            found = [Pair(volume) for volume in volumesInScene() if volume not in used]
        for pair in found:
            row = self._rowWithout(pair.volumeNode)
            if row is None:
                domain = likelyDomain(pair.volumeNode, recipe)
                self.cases.add(pair.volumeNode, pair.targetNode, domain=domain)
            else:
                row.targetSelector.setCurrentNode(pair.targetNode)
        self.refresh()
        self._changed()
        if not found and not known:
            self.hint.text = nothingFoundText(self._recipe)

    def _rowWithout(self, volumeNode: Any) -> Row | None:
        """The row of a volume that has no target yet."""
        rows = self.cases.rows
        without = (row for row in rows if row.targetNode is None and row.volumeNode is volumeNode)
        return next(without, None)

    def clear(self) -> None:
        """Remove every row and choice."""
        self._restoring = True
        self.cases.clear()
        self.segments.chosen = {}
        self.masksBox.checked = False
        self.files.setPath("")
        self.tabs.currentIndex = _SCENE
        self._restoring = False
        self.refresh()

    def save(self, parameterNode: Any) -> str:
        """Return the builder's state as JSON; nodes become references of the parameter node."""
        state = {
            "source": self.tabs.currentIndex,
            "path": self.files.path,
            "rows": saveRows(self.cases.rows, parameterNode),
            "segments": self.segments.chosen,
        }
        return json.dumps(state)

    def restore(self, text: str, parameterNode: Any) -> None:
        """Show what `save` returned; an empty text clears the builder."""
        state = json.loads(text) if text else {}
        self._restoring = True
        try:
            restoreRows(self.cases, state.get("rows", []), parameterNode)
            self.masksBox.checked = self.cases.hasMasks
            self.segments.chosen = dict(state.get("segments", {}))
            self.files.setPath(str(state.get("path", "")))
            self.tabs.currentIndex = _FILES if state.get("source") == _FILES else _SCENE
        finally:
            self._restoring = False
        self.refresh()

    def _pair(self, row: Row, slices: tuple[int, ...] | None) -> Pair:
        values = None
        target = self._targetOf(row)
        if isSegmentation(target):
            values = self.segments.values(segmentsOf(target))
        mask = row.maskNode
        unpaired = self._recipe is not None and self._recipe.is_unpaired
        domain = row.domain if unpaired else None
        return Pair(row.volumeNode, target, row.subject, values, slices, row.split, mask, domain)

    def _targetOf(self, row: Row) -> Any:
        """The target of a row where the recipe learns from pairs."""
        unpaired = self._recipe is not None and self._recipe.is_unpaired
        return None if unpaired else row.targetNode

    def _segmentsOfCases(self) -> list[list[Segment]]:
        targets = {row.targetNode for row in self.cases.rows if isSegmentation(row.targetNode)}
        return [segmentsOf(target) for target in sorted(targets, key=lambda node: node.GetID())]

    def _find(self, row: Row) -> None:
        recipe = self._recipe
        if recipe is None or recipe.target.kind != "labels":
            row.found, row.foundIn = None, None
            row.foundProblem = _("All slices count where none is named.")
            return
        row.foundProblem = CaseTable.nodeProblem(row)
        if row.volumeNode is None or row.targetNode is None or row.foundProblem:
            row.found, row.foundIn = None, None
            return
        pair = self._pair(row, None)
        state = stateOf(pair, recipe)
        if row.found is not None and row.foundIn == state:
            return
        row.found, row.foundIn = None, state
        if pair.values == {}:
            automatic = matchSegments(segmentsOf(row.targetNode), recipe.target.labels)
            row.foundProblem = _("No segment is a label of the recipe.") if not automatic else ""
            return
        try:
            row.found = foundSlices(pair, recipe)
        except (CohortError, ImageError) as error:
            row.foundProblem = str(error)

    def _addRow(self) -> None:
        self.cases.add()
        self._changed()

    def _removeRows(self) -> None:
        self.cases.remove(self.cases.selected())
        self.refresh()
        self._changed()

    def _rowChanged(self, row: Row) -> None:
        self.segments.show(self._segmentsOfCases(), self._recipe)
        self._find(row)
        self._changed()

    def _mappingChanged(self) -> None:
        for row in self.cases.rows:
            self._find(row)
            self.cases.refresh(row)
        self.segments.show(self._segmentsOfCases(), self._recipe)
        self._changed()

    def _changed(self) -> None:
        self._say()
        if not self._restoring:
            self._onChange()

    def _say(self) -> None:
        self.hint.text = sceneText(self.cases.rows, self._recipe)
        self.files.refresh()


def _expected(recipe: Recipe) -> tuple[Any, ...]:
    """All that rows depend on."""
    kinds = recipe.is_unpaired, recipe.is_denoising
    return recipe.target, recipe.inputs, recipe.sampling.plane, *kinds


def _button(row: Any, text: str, name: str) -> Any:
    button = qt.QPushButton(text)
    button.objectName = name
    row.addWidget(button)
    return button
