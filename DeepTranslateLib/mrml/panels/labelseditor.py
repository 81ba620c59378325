"""LabelsEditor: the labels of a recipe as a table, so that a person can teach other structures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from DeepTranslateLib.mrml.panels.casetable import fitRows
from DeepTranslateLib.mrml.segmentlabels import LARGEST_VALUE, labelsOf
from DeepTranslateLib.schema import to_json

_VALUE, _NAME, _COLOR = range(3)
_VISIBLE_ROWS = 8


class LabelsEditor:
    """Table of value, name and colour of each label; codes and further values are kept as they are.

    Args:
        parentLayout: Layout that the table is added to.
        onChange: Called with the labels as JSON after each change by the user.
        segments: Returns the segments that "Take from segmentations" makes labels of.
    """

    def __init__(
        self,
        parentLayout: Any,
        onChange: Callable[[list[dict[str, Any]]], None],
        segments: Callable[[], Iterable[Any]],
    ) -> None:
        self._onChange = onChange
        self._segments = segments
        self._labels: list[dict[str, Any]] = []
        self._filling = False
        self._colorButtons: list[Any] = []
        self.table = qt.QTableWidget()
        self.table.objectName = "labelsTable"
        self.table.setColumnCount(3)
        self.table.setHorizontalHeaderLabels([_("Value"), _("Name"), _("Colour")])
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(_NAME, qt.QHeaderView.Stretch)
        self.table.setColumnWidth(_VALUE, 60)
        self.table.setColumnWidth(_COLOR, 70)
        self.table.verticalHeader().visible = False
        self.table.setSelectionBehavior(qt.QTableWidget.SelectRows)
        self.table.toolTip = _("What the model learns to mark. Click a cell to change it.")
        self.table.connect("cellChanged(int,int)", self._edited)
        parentLayout.addWidget(self.table)
        buttons = qt.QHBoxLayout()
        parentLayout.addLayout(buttons)
        self.addButton = self._button(buttons, _("Add label"), self._add)
        self.removeButton = self._button(buttons, _("Remove"), self._remove)
        self.fromSegmentsButton = self._button(
            buttons, _("Take from segmentations"), self._takeFromSegments
        )
        self.fromSegmentsButton.toolTip = _(
            "Replace the labels by the segments found in the images above, with their names, "
            "colours and terminology."
        )

    def setLabels(self, labels: list[dict[str, Any]]) -> None:
        """Show labels (JSON of `Label`s)."""
        if labels == self._labels and self.table.rowCount == len(labels):
            return
        self._labels = copy.deepcopy(labels)
        self._filling = True
        self._colorButtons = []
        self.table.setRowCount(0)
        self.table.setRowCount(len(labels))
        for row, label in enumerate(self._labels):
            self.table.setItem(row, _VALUE, qt.QTableWidgetItem(str(label["value"])))
            self.table.setItem(row, _NAME, qt.QTableWidgetItem(str(label["name"])))
            self._setColorButton(row, label["color"])
        self._filling = False
        fitRows(self.table, min(max(len(labels), 2), _VISIBLE_ROWS))

    def _setColorButton(self, row: int, color: list[int]) -> None:
        button = ctk.ctkColorPickerButton()
        button.displayColorName = False
        button.color = qt.QColor(*color)
        button.connect("colorChanged(QColor)", lambda color, row=row: self._recolor(row, color))
        self.table.setCellWidget(row, _COLOR, button)
        self._colorButtons.append(button)

    def _edited(self, row: int, column: int) -> None:
        if self._filling or column not in (_VALUE, _NAME):
            return
        text = self.table.item(row, column).text().strip()
        if column == _NAME:
            self._labels[row]["name"] = text
        else:
            # A text that is no number stays one, so that the recipe's check names the place.
            self._labels[row]["value"] = int(text) if text.isdecimal() else text
        self._tell()

    def _recolor(self, row: int, color: Any) -> None:
        if not self._filling:
            self._labels[row]["color"] = [color.red(), color.green(), color.blue()]
            self._tell()

    def _add(self) -> None:
        value = self._freeValue()
        names = {label["name"] for label in self._labels}
        name = next(
            name
            for number in range(1, LARGEST_VALUE + 2)
            if (name := _("structure {number}").format(number=number)) not in names
        )
        color = [(47 * value) % 256, (151 * value) % 256, (211 * value) % 256]
        self._replace([*self._labels, _label(value, name, color)])

    def _remove(self) -> None:
        row = self.table.currentRow()
        if 0 <= row < len(self._labels):
            self._replace(self._labels[:row] + self._labels[row + 1 :])

    def _takeFromSegments(self) -> None:
        labels = labelsOf(list(self._segments()))
        if labels:
            self._replace(to_json(labels))

    def _replace(self, labels: list[dict[str, Any]]) -> None:
        self.setLabels(labels)
        self._tell()

    def _freeValue(self) -> int:
        taken = {label["value"] for label in self._labels}
        taken.update(value for label in self._labels for value in label.get("also", ()))
        return next(v for v in range(1, LARGEST_VALUE + 1) if v not in taken)

    def _tell(self) -> None:
        self._onChange(copy.deepcopy(self._labels))

    def _button(self, row: Any, text: str, clicked: Callable[[], None]) -> Any:
        button = qt.QPushButton(text)
        button.connect("clicked()", clicked)
        row.addWidget(button)
        return button


def _label(value: int, name: str, color: list[int]) -> dict[str, Any]:
    return {
        "value": value,
        "name": name,
        "color": color,
        "category": None,
        "type": None,
        "region": None,
        "also": [],
    }
