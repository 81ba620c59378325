"""TranslationMonitor: tells the progress bar, the batch table and the views what becomes of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from DeepTranslateLib.mrml.errordialog import showError
from DeepTranslateLib.mrml.panels.batchtable import BatchTable
from DeepTranslateLib.mrml.panels.jobprogress import JobProgress
from DeepTranslateLib.mrml.panels.translationresult import (
    batchText,
    hide,
    showInViews,
    showTable,
    summaryText,
)
from DeepTranslateLib.mrml.translationitems import Translated
from DeepTranslateLib.mrml.translationrun import CANCELLED, DONE, FAILED, RUNNING, Translation


class TranslationMonitor:
    """Between a running translation and what the user sees of it.

    Args:
        progress: Progress bar.
        batch: Table of many volumes.
        resultLabel: QLabel for the outcome.
        onEnd: Called after the last outcome was shown.
        parent: Widget that error dialogs lie over.
    """

    def __init__(
        self,
        progress: JobProgress,
        batch: BatchTable,
        resultLabel: Any,
        onEnd: Callable[[], None],
        parent: Any,
    ) -> None:
        self._progress = progress
        self._batch = batch
        self._resultLabel = resultLabel
        self._onEnd = onEnd
        self._parent = parent
        self._rows: list[int] | None = None
        self._inputNode: Any = None
        self._began = 0.0
        self._outcomes: dict[int, Translated] = {}
        self.translation: Translation | None = None

    def start(
        self, begin: Callable[..., Translation], *, inputNode: Any = None, rows: Any = None
    ) -> None:
        """Start a translation and show what becomes of it.

        Args:
            begin: Starts it, given the callbacks of `startTranslation`.
            inputNode: The volume, where there is one; shown below the result.
            rows: The rows of the batch table, where there are many.

        Raises:
            ValueError: What `begin` raises.
        """
        self._rows, self._inputNode = rows, inputNode
        self._began = time.monotonic()
        self.clear()
        self.translation = begin(
            onEvent=self._onEvent, onItem=self._onItem, onFinished=self._onFinished
        )
        for row in rows or ():
            self._batch.showState(row, _("waiting"))
        self._progress.start(_("Starting"))
        self._batch.setEditable(False)

    def clear(self) -> None:
        """Forget what an earlier translation came to."""
        self._outcomes = {}
        self._resultLabel.text = ""
        self._batch.clearOutcomes()

    def cancel(self) -> None:
        """Cancel what runs; volumes that are finished stay."""
        if self.translation is not None:
            self.translation.cancel()

    def showRow(self, row: int) -> None:
        """Show the outcome of a row of the batch table, where it is one of the scene."""
        if row in self._outcomes:
            source = self._batch.allSources[row]
            isNode = hasattr(source, "GetID") and source.GetScene() is not None
            showInViews(self._outcomes[row], source if isNode else None)

    def showError(self, error: BaseException) -> None:
        """Say in a dialog what went wrong; returns at once."""
        report = getattr(error, "report", "") or "".join(
            traceback.format_exception(type(error), error, error.__traceback__)
        )
        showError(_("DeepTranslate"), str(error), report, self._parent)

    def _onEvent(self, event: dict[str, Any]) -> None:
        if event["event"] != "progress":
            return
        stages = {
            "reading": _("Reading"),
            "loading the model": _("Loading the model"),
            "translating": _("Translating"),
            "writing": _("Writing"),
            "measuring": _("Measuring"),
        }
        stage = stages.get(event["stage"], event["stage"])
        done, total = event["done"], event["total"]
        fraction = done / total if total else 0.0
        if self._rows is not None:
            index, count = event["item"], len(self._rows)
            text = _("running {percent} %").format(percent=round(100 * fraction))
            self._batch.showState(self._rows[index], text if total else stage)
            stage = f"{index + 1}/{count} {event['name']}: {stage}"
            fraction = (index + fraction) / count
        self._progress.update(stage, done, total, _("slices"), fraction)

    def _onItem(self, index: int, state: str, outcome: Translated | None) -> None:
        if self._rows is None:
            return
        row = self._rows[index]
        if state == RUNNING:
            self._batch.showState(row, _("starting"))
        elif state == CANCELLED:
            self._batch.showState(row, _("cancelled"))
        elif outcome is not None:
            self._outcomes[row] = outcome
            self._batch.showOutcome(row, outcome)
            hide(outcome.output)  # one at a time can be looked at

    def _onFinished(self, outcomes: list[Translated]) -> None:
        assert self.translation is not None
        translation, self.translation = self.translation, None
        self._progress.finish()
        self._batch.setEditable(True)
        if self._rows is not None:
            seconds = time.monotonic() - self._began
            self._resultLabel.text = batchText(outcomes, translation.states, seconds)
            for row, outcome in sorted(self._outcomes.items()):
                if outcome.output is not None:
                    self.showRow(row)
                    break
            table = translation.tableNode
            if table is not None and table.GetScene() is not None:
                showTable(table)
        elif translation.states == [DONE]:
            self._resultLabel.text = summaryText(outcomes[0], translation.model)
            showInViews(outcomes[0], self._inputNode)
        elif translation.states == [FAILED]:
            assert outcomes[0].cause is not None
            self.showError(outcomes[0].cause)
        else:
            self._resultLabel.text = _("Cancelled. Nothing was changed.")
        self._onEnd()
