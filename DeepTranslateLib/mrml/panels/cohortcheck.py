"""CohortCheck: what is wrong with the images, what to do about it, and who is used for what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from DeepTranslateLib.cohort.case import slices_to_text
from DeepTranslateLib.jobs import JobError
from DeepTranslateLib.mrml.cohortcache import CohortCache
from DeepTranslateLib.mrml.pairs import Pair
from DeepTranslateLib.mrml.panels.jobprogress import JobProgress
from DeepTranslateLib.mrml.panels.jobslot import JobSlot, Say
from DeepTranslateLib.mrml.panels.trainingtexts import exportingText
from DeepTranslateLib.mrml.trainingaids import startCheck
from DeepTranslateLib.recipe import Recipe

_SUBJECT, _FOUND, _ADVICE = range(3)
_VISIBLE_HEIGHT = 320


class CohortCheck:
    """A button, a table of faults and the split by subject.

    Args:
        parentLayout: Layout that everything is added to.
        slot: Runs the job.
        inputs: Returns recipe and cohort; raises ValueError where one cannot be used.
        cache: Keeps the images that are exported.
        onFaulty: Called without arguments when another job was refused for faults shown here.
    """

    def __init__(
        self,
        parentLayout: Any,
        slot: JobSlot,
        inputs: Callable[[], tuple[Recipe, str | list[Pair]]],
        cache: CohortCache,
        onFaulty: Callable[[], None],
    ) -> None:
        self._slot = slot
        self._cache, self._onFaulty = cache, onFaulty
        self._isFaulty = False
        self._inputs = inputs
        self._remarks: list[tuple[str, str]] = []
        self.button = qt.QPushButton(_("Check images"))
        self.button.objectName = "checkButton"
        self.button.toolTip = _(
            "Look at every image: do volume and labels fit, are the units right, does anybody "
            "appear twice?"
        )
        parentLayout.addWidget(self.button)
        self.progress = JobProgress(parentLayout, slot.cancel)
        self.summary = qt.QLabel(
            _("Checking finds mistakes before they are learnt. Training checks again.")
        )
        self.summary.objectName = "checkSummary"
        self.summary.wordWrap = True
        parentLayout.addWidget(self.summary)
        self.table = qt.QTableWidget()
        self.table.objectName = "faultTable"
        self.table.setColumnCount(3)
        self.table.setHorizontalHeaderLabels([_("Subject"), _("What was found"), _("What to do")])
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(_FOUND, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(_ADVICE, qt.QHeaderView.Stretch)
        self.table.verticalHeader().visible = False
        self.table.setEditTriggers(qt.QTableWidget.NoEditTriggers)
        self.table.setSelectionMode(qt.QTableWidget.NoSelection)
        self.table.wordWrap = True
        self.table.visible = False
        parentLayout.addWidget(self.table)
        self.split = qt.QLabel()
        self.split.objectName = "splitLabel"
        self.split.wordWrap = True
        self.split.visible = False
        parentLayout.addWidget(self.split)
        self.button.connect("clicked()", self.run)

    def run(self) -> None:
        """Check the images as they are chosen now."""
        self._remarks = []
        self.table.visible = self.split.visible = False
        self.progress.start(_("Checking the images"))
        self._slot.begin(
            lambda **callbacks: startCheck(*self._inputs(), cache=self._cache, **callbacks),
            self._say,
            onFinished=self._show,
            onEvent=self._hear,
            onStopped=lambda: self._say(_("The check was cancelled.")),
            onEnded=self.progress.finish,
        )

    def explain(self, error: JobError, say: Say) -> bool:
        """Point to the table here where another job failed for the cohort's faults.

        Returns:
            Whether it did; `runIfFaulty` fills the table when that job has ended.
        """
        message, _line, table = str(error).partition("\n")
        self._isFaulty = bool(table)
        if self._isFaulty:
            say(message + " " + _("They are listed in section 3."))
            self._onFaulty()
        return self._isFaulty

    def runIfFaulty(self) -> None:
        """Check the images if `explain` found that they have faults."""
        if self._isFaulty:
            self._isFaulty = False
            self.run()

    def clear(self) -> None:
        """Forget the last check."""
        self.table.visible = self.split.visible = False
        self.summary.text = _(
            "Checking finds mistakes before they are learnt. Training checks again."
        )

    def _say(self, text: str) -> None:
        self.summary.text = text

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "exporting":
            self.progress.update(exportingText(event), event["done"], event["total"])
        elif event["event"] == "progress":
            self.progress.update(_("Checking"), event["done"], event["total"], _("images"))
        elif event["event"] == "warning":
            self._remarks.append((event.get("subject", ""), event["message"]))

    def _show(self, result: dict[str, Any]) -> None:
        rows = [
            (fault["severity"], fault["subject"], fault["found"], fault["advice"])
            for fault in sorted(result["faults"], key=lambda fault: fault["severity"])
        ]
        advice = _("Change the segments so that each voxel belongs to one of them.")
        rows += [("warning", subject, message, advice) for subject, message in self._remarks]
        errors = sum(1 for row in rows if row[0] == "error")
        if errors:
            text = _("To be mended before anything is trained: {n} (red).").format(n=errors)
            if len(rows) > errors:
                text += _(" For you to judge: {n} (yellow).").format(n=len(rows) - errors)
            self._say(text)
        elif rows:
            self._say(_("Training is possible. For you to judge: {n}.").format(n=len(rows)))
        else:
            self._say(_("No faults were found."))
        self._fill(rows)
        split = result.get("split") or {}
        self.split.text = splitText(split)
        self.split.visible = bool(self.split.text)

    def _fill(self, rows: list[tuple[str, str, str, str]]) -> None:
        self.table.visible = bool(rows)
        self.table.setRowCount(0)
        self.table.setRowCount(len(rows))
        colors = {"error": qt.QColor(255, 205, 205), "warning": qt.QColor(255, 240, 190)}
        for index, (severity, *texts) in enumerate(rows):
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                item.setBackground(qt.QBrush(colors[severity]))
                item.setForeground(qt.QBrush(qt.QColor(0, 0, 0)))
                self.table.setItem(index, column, item)
        self.table.resizeRowsToContents()
        heights = sum(self.table.rowHeight(index) for index in range(len(rows)))
        self.table.setFixedHeight(min(heights + 32, _VISIBLE_HEIGHT))


def splitText(split: dict[str, Any]) -> str:
    """Return who trains, validates and tests, a line each, with the slices where they are named."""
    titles = {
        "training": _("Training"),
        "validation": _("Validation"),
        "test": _("Test, never seen"),
    }
    lines = []
    for part, title in titles.items():
        people = []
        for case in split.get(part, []):
            slices = case.get("slices")
            people.append(
                case["subject"] + (f" ({slices_to_text(slices)})" if slices is not None else "")
            )
        if people:
            lines.append(f"<b>{title}:</b> {', '.join(people)}")
    note = split.get("note", "")
    return "<br>".join([*lines, note] if note and lines else lines)
