"""TrainingRun: a training of the panel, from its start to what comes next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from DeepTranslateLib.mrml.jobs import PanelJob
from DeepTranslateLib.mrml.panels.cohortcheck import CohortCheck
from DeepTranslateLib.mrml.panels.jobslot import JobSlot
from DeepTranslateLib.mrml.panels.panelsections import PanelSections
from DeepTranslateLib.mrml.panels.trainingmonitor import TrainingMonitor
from DeepTranslateLib.mrml.training import isUnfinished
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.runfolder import read_run


class TrainingRun:
    """Starts trainings, shows them in a monitor, and ends them as the user says.

    Args:
        parentLayout: Layout that the monitor is added to.
        slot: Runs the trainings.
        logic: The module's logic, which starts them.
        check: Shows the faults of images that a training refused.
        sections: Folded while a training runs.
        onEnded: Called with the run's folder when a training has come to its end.
    """

    def __init__(
        self,
        parentLayout: Any,
        slot: JobSlot,
        logic: Any,
        check: CohortCheck,
        sections: PanelSections,
        onEnded: Callable[[Path], None],
    ) -> None:
        self._slot, self._logic, self._check = slot, logic, check
        self._sections, self._onEnded = sections, onEnded
        self._ending = ""
        self._device = "auto"
        self.folder: Path | None = None
        self.monitor = TrainingMonitor(
            parentLayout, self.pause, self.resume, self.keepBest, self.cancel
        )

    @property
    def isRunning(self) -> bool:
        """Whether a training runs, and no other job."""
        return self._slot.busy and bool(self._ending)

    def start(self, recipe: Recipe, cohort: Any, folder: Path, **options: Any) -> None:
        """Start a new training; arguments and options as `training.startTraining` takes them."""
        self._device = options.get("device", "auto")
        self._begin(
            lambda **callbacks: self._logic.startTraining(
                recipe, cohort, folder, **options, **callbacks
            ),
            recipe,
            folder,
        )

    def goOn(self, folder: Path, device: str, epochs: int | None = None) -> None:
        """Go on with the training of a run folder."""
        try:
            run = read_run(folder)
        except ValueError as error:
            self.monitor.say(str(error))
            return
        self._device = device
        self._begin(
            lambda **callbacks: self._logic.startContinuation(
                folder, epochs=epochs, device=device, **callbacks
            ),
            run.recipe,
            Path(folder),
            run.history,
        )

    def resume(self) -> None:
        """Go on with the training that was paused or cancelled."""
        if self.folder is not None:
            self.goOn(self.folder, self._device)

    def pause(self) -> None:
        """Let the training save what it has learnt, and stop."""
        self._end("paused", lambda job: job.stop(), _("Saving what is learnt"))

    def keepBest(self) -> None:
        """Let the training end after this epoch and make its model."""
        self._end("kept", lambda job: job.finish(), _("Finishing this epoch"))

    def cancel(self) -> None:
        """Stop the training at once."""
        self._end("cancelled", lambda job: job.cancel(), _("Cancelling"))

    def _begin(
        self,
        start: Callable[..., PanelJob],
        recipe: Recipe,
        folder: Path,
        history: Sequence[dict[str, Any]] = (),
    ) -> None:
        if self._slot.busy:
            return
        self._ending = "running"
        self.folder = folder
        self._sections.fold()
        self.monitor.start(recipe, folder, history)
        self._slot.begin(
            start,
            self.monitor.say,
            onFinished=self._finished,
            onEvent=self.monitor.hear,
            onStopped=self._stopped,
            onEnded=self._ended,
            explain=lambda error: self._check.explain(error, self.monitor.say),
        )

    def _end(self, ending: str, end: Callable[[PanelJob], None], text: str) -> None:
        if self._slot.job is not None:
            self._ending = ending
            self.monitor.setRunning(False)
            self.monitor.status.text = text + " ..."
            end(self._slot.job)

    def _finished(self, result: dict[str, Any]) -> None:
        self._ending = "finished"
        self.monitor.say(
            _("Finished. The model of epoch {epoch} is ready: see section 5.").format(
                epoch=result["best_epoch"]
            )
        )

    def _stopped(self) -> None:
        self.monitor.say(
            _("Paused. Resume when you like, or continue tomorrow from section 5.")
            if self._ending == "paused"
            else _("Cancelled. What was saved last can be resumed.")
        )

    def _ended(self) -> None:
        assert self.folder is not None
        if self._ending == "finished":
            self._sections.goOn()
        elif self._ending != "paused":
            self._sections.giveBack()
        self._ending = ""
        self.monitor.setRunning(False, canResume=isUnfinished(self.folder))
        self._onEnded(self.folder)
        self._check.runIfFaulty()
