"""SegmentTable: which label of the recipe each segment is, by the segments' names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from DeepTranslateLib.mrml.panels.casetable import fitRows
from DeepTranslateLib.mrml.segmentations import Segment
from DeepTranslateLib.mrml.segmentlabels import matchSegments
from DeepTranslateLib.recipe import Recipe

_VISIBLE_ROWS = 8
_SEGMENT, _CASES, _LABEL = range(3)


class SegmentTable:
    """A row for each name of a segment, with a choice of the recipe's labels.

    What names and terminology say is chosen at first; what the user chose is kept by name.

    Args:
        parentLayout: Layout that the table is added to; hidden while there are no segments.
        onChange: Called without arguments when the user chose.
    """

    def __init__(self, parentLayout: Any, onChange: Callable[[], None]) -> None:
        self._onChange = onChange
        self._found: dict[str, int | None] = {}
        self._recipe: Recipe | None = None
        self._filling = False
        self._combos: list[Any] = []
        self.chosen: dict[str, int | None] = {}
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        self.label = qt.QLabel(_("Which label is each segment?"))
        self.label.wordWrap = True
        column.addWidget(self.label)
        self.table = qt.QTableWidget()
        self.table.objectName = "segmentTable"
        self.table.setColumnCount(3)
        self.table.setHorizontalHeaderLabels([_("Segment"), _("Cases"), _("Label of the recipe")])
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(_SEGMENT, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(_LABEL, qt.QHeaderView.Stretch)
        self.table.setColumnWidth(_CASES, 50)
        self.table.verticalHeader().visible = False
        self.table.setEditTriggers(qt.QTableWidget.NoEditTriggers)
        self.table.setSelectionMode(qt.QTableWidget.NoSelection)
        column.addWidget(self.table)
        self.widget.visible = False
        parentLayout.addWidget(self.widget)

    def show(self, cases: Sequence[Sequence[Segment]], recipe: Recipe | None) -> None:
        """Fill the table.

        Args:
            cases: The segments of each segmentation.
            recipe: Whose labels are offered; None, or one that makes volumes, hides the table.
        """
        forLabels = recipe is not None and recipe.target.kind == "labels"
        self._recipe = recipe if forLabels else None
        byName: dict[str, Segment] = {}
        counts: dict[str, int] = {}
        for segments in cases:
            for segment in segments:
                byName.setdefault(segment.name, segment)
            for name in {segment.name for segment in segments}:
                counts[name] = counts.get(name, 0) + 1
        if recipe is not None and forLabels:
            self._found = {
                name: matchSegments([segment], recipe.target.labels).get(segment.id)
                for name, segment in byName.items()
            }
        self.widget.visible = bool(byName) and forLabels
        if self.widget.visible or forLabels:
            self._fill(byName, counts)

    def values(self, segments: Sequence[Segment]) -> dict[str, int]:
        """Return the label value of each segment id; those left out are missing.

        Segments of lower values come first, so that the higher one counts where two overlap.
        """
        pairs = [(segment.id, self._valueOf(segment.name)) for segment in segments]
        known = [(identifier, value) for identifier, value in pairs if value is not None]
        return dict(sorted(known, key=lambda pair: pair[1]))

    def combo(self, name: str) -> Any:
        """Return the combo box of a segment's name.

        Raises:
            KeyError: There is no such row.
        """
        for row, combo in enumerate(self._combos):
            if self.table.item(row, _SEGMENT).text() == name:
                return combo
        raise KeyError(name)

    def _valueOf(self, name: str) -> int | None:
        value = self.chosen.get(name, self._found.get(name))
        return value if value in [choice for choice, _text in self._choices()] else None

    def _choices(self) -> list[tuple[int | None, str]]:
        if self._recipe is None:
            return [(None, _("leave out"))]
        target = self._recipe.target
        choices: list[tuple[int | None, str]] = [
            (label.value, f"{label.value}  {label.name}") for label in target.labels
        ]
        if target.ignore is not None:
            choices.append((target.ignore, _("neither teach nor count")))
        return [*choices, (None, _("leave out"))]

    def _fill(self, byName: dict[str, Segment], counts: dict[str, int]) -> None:
        choices = self._choices()
        self._filling = True
        self._combos = []
        self.table.setRowCount(0)
        self.table.setRowCount(len(byName))
        for row, (name, segment) in enumerate(byName.items()):
            item = qt.QTableWidgetItem(name)
            item.setIcon(_swatch(segment.color))
            self.table.setItem(row, _SEGMENT, item)
            self.table.setItem(row, _CASES, qt.QTableWidgetItem(str(counts[name])))
            combo = qt.QComboBox()
            combo.addItems([text for _value, text in choices])
            values = [value for value, _text in choices]
            combo.currentIndex = values.index(self._valueOf(name))
            combo.connect(
                "currentIndexChanged(int)",
                lambda index, name=name, values=values: self._choose(name, values[index]),
            )
            self.table.setCellWidget(row, _LABEL, combo)
            self._combos.append(combo)
        self._filling = False
        left = [name for name in byName if self._valueOf(name) is None]
        self.label.text = (
            _("Which label is each segment? Left out: {names}.").format(names=", ".join(left))
            if left
            else _("Which label is each segment?")
        )
        fitRows(self.table, min(max(len(byName), 1), _VISIBLE_ROWS))

    def _choose(self, name: str, value: int | None) -> None:
        if not self._filling:
            self.chosen[name] = value
            self._onChange()


def _swatch(color: Sequence[int]) -> Any:
    pixmap = qt.QPixmap(12, 12)
    pixmap.fill(qt.QColor(*color))
    return qt.QIcon(pixmap)
