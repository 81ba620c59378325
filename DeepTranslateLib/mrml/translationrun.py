"""Translation: items going through the worker one after the other, while the panel stays usable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.jobs import Stopped, TranslateJob, write_job
from DeepTranslateLib.model import Model
from DeepTranslateLib.mrml.jobs import PanelJob, applicationWorker, newJobFolder, removeJobFolder
from DeepTranslateLib.mrml.provenance import recordProvenance
from DeepTranslateLib.mrml.tables import statisticsTable
from DeepTranslateLib.mrml.translationitems import Item, Part, Translated

_GRACE_SECONDS = 0.5

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"


class Translation:
    """Translates items; what is finished stays, whatever becomes of the others.

    Args:
        items: What to translate.
        model: With which model.
        device: "auto", "cpu", "cuda" or "mps".
        tableName: Name of a new table of label statistics.
        tableNode: Table that receives them instead.
        onEvent: Called with each event of the worker, to which `item` (index) and `name` are added.
        onItem: Called with an item's index and state, and with its outcome once there is one.
        onFinished: Called with all outcomes, also after a cancel.
    """

    def __init__(
        self,
        items: Sequence[Item],
        model: Model,
        *,
        device: str = "auto",
        tableName: str = "",
        tableNode: Any = None,
        onEvent: Callable[[dict[str, Any]], None] | None = None,
        onItem: Callable[[int, str, Translated | None], None] | None = None,
        onFinished: Callable[[list[Translated]], None] | None = None,
    ) -> None:
        self._items = list(items)
        self._model = model
        self._device = device
        self._tableName = tableName
        self._tableNode = tableNode
        self._onEvent = onEvent or (lambda event: None)
        self._onItem = onItem or (lambda index, state, outcome: None)
        self._onFinished = onFinished or (lambda outcomes: None)
        self.states = [WAITING] * len(self._items)
        self.outcomes = [Translated(item.name) for item in self._items]
        self._index = -1
        self._parts: Iterator[Part] = iter(())
        self._job: Any = None
        self._folder: Path | None = None
        self._cancelled = False
        self.isRunning = False
        self._sceneObserver: int | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._step)
        self._then: Callable[[], None] = self._nextItem

    @property
    def model(self) -> Model:
        """The model that the items go through."""
        return self._model

    @property
    def tableNode(self) -> Any:
        """Table of all outcomes so far, or None."""
        return self._tableNode

    def start(self) -> None:
        """Begin; returns at once."""
        self.isRunning = True
        self._sceneObserver = slicer.mrmlScene.AddObserver(
            slicer.vtkMRMLScene.StartCloseEvent, self._onSceneClose
        )
        self._later(self._nextItem)

    def cancel(self) -> None:
        """End the worker's job; what is finished stays. Returns at once."""
        if not self.isRunning or self._cancelled:
            return
        self._cancelled = True
        if self._job is not None:
            self._job.cancel(_GRACE_SECONDS)
        else:
            self._later(self._stopped)

    def wait(self) -> list[Translated]:
        """Return the outcomes once all items are done; the application stays alive meanwhile."""
        while self.isRunning:
            slicer.app.processEvents()
            time.sleep(0.01)
        return self.outcomes

    def _later(self, function: Callable[[], None]) -> None:
        # From the event loop, never from inside the worker's own callback.
        self._then = function
        self._timer.start(0)

    def _step(self) -> None:
        self._then()

    def _onSceneClose(self, caller: Any, event: str) -> None:
        self.cancel()

    def _nextItem(self) -> None:
        self._index += 1
        if self._cancelled or self._index == len(self._items):
            self._end()
            return
        self._say(RUNNING)
        self._parts = iter(self._items[self._index].parts())
        self._nextPart()

    def _nextPart(self) -> None:
        if self._cancelled:
            self._stopped()
            return
        try:
            part = next(self._parts, None)
            if part is None:
                self._itemDone()
                return
            self._begin(part)
        except Exception as error:  # one item must not stop the others, whatever is wrong with it
            self._itemFailed(error)

    def _begin(self, part: Part) -> None:
        self._folder = folder = newJobFolder("translate")
        self._event({"event": "progress", "stage": "reading", "done": 0, "total": 0})
        job = TranslateJob(
            model=str(self._model.path),
            images=part.write(folder),
            output=part.output(folder),
            name=part.name,
            device=self._device,
            direction=self._model.direction,
        )
        write_job(folder, job)
        self._job = PanelJob(
            applicationWorker().start(folder),
            onEvent=self._event,
            onFinished=lambda result: self._partDone(part, result),
            onStopped=lambda: self._later(self._stopped),
            onFailed=self._partFailed,
        )

    def _partDone(self, part: Part, result: dict[str, Any]) -> None:
        self._job = None
        if self._cancelled:
            self._later(self._stopped)
            return
        assert self._folder is not None
        try:
            part.take(self._folder, result)
        except Exception as error:
            self._itemFailed(error)
            return
        self._removeFolder()
        self._later(self._nextPart)

    def _partFailed(self, error: BaseException) -> None:
        self._job = None
        if self._cancelled:
            self._later(self._stopped)
        else:
            self._itemFailed(error)

    def _itemDone(self) -> None:
        outcome = self._items[self._index].outcome()
        self.outcomes[self._index] = outcome
        self._fillTable()
        outcome.table = self._tableNode if outcome.rows else None
        if outcome.table is not None and len(self._items) == 1:
            self._items[0].placeTable(outcome.table)
        self._say(DONE, outcome)
        self._later(self._nextItem)

    def _itemFailed(self, error: BaseException) -> None:
        self._job = None
        self._removeFolder()
        self._items[self._index].discard()
        outcome = self.outcomes[self._index]
        outcome.error = str(error).strip() or type(error).__name__
        outcome.cause = error
        self._say(FAILED, outcome)
        self._later(self._nextItem)

    def _stopped(self) -> None:
        self._job = None
        self._removeFolder()
        if 0 <= self._index < len(self._items) and self.states[self._index] == RUNNING:
            self._items[self._index].discard()
        self._end()

    def _end(self) -> None:
        for index, state in enumerate(self.states):
            if state in (WAITING, RUNNING):
                outcome = self.outcomes[index]
                outcome.error, outcome.cause = _("Cancelled."), Stopped(_("Cancelled."))
                self._index = index
                self._say(CANCELLED, outcome)
        if self._sceneObserver is not None:
            slicer.mrmlScene.RemoveObserver(self._sceneObserver)
            self._sceneObserver = None
        self.isRunning = False
        # Its connection would keep this object, and with it every node, alive.
        self._timer.deleteLater()
        self._onFinished(self.outcomes)

    def _fillTable(self) -> None:
        rows = [row for outcome in self.outcomes for row in outcome.rows]
        if not rows:
            return
        if self._tableNode is not None and self._tableNode.GetScene() is None:
            self._tableNode = None  # deleted meanwhile
        units = self._model.recipe.inputs[0].units
        self._tableNode = statisticsTable(rows, self._tableName, self._tableNode, units)
        recordProvenance(self._tableNode, self._model, [], synthetic=False)

    def _event(self, event: dict[str, Any]) -> None:
        item = {"item": self._index, "name": self._items[self._index].name}
        self._onEvent({**event, **item})

    def _say(self, state: str, outcome: Translated | None = None) -> None:
        self.states[self._index] = state
        self._onItem(self._index, state, outcome)

    def _removeFolder(self) -> None:
        if self._folder is not None:
            removeJobFolder(self._folder)
            self._folder = None
