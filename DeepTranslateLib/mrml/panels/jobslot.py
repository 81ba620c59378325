"""JobSlot: the one job that a panel runs at a time, and where its failures are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from DeepTranslateLib.jobs import JobError
from DeepTranslateLib.mrml.errordialog import showError
from DeepTranslateLib.mrml.jobs import PanelJob

Say = Callable[[str], None]


class JobSlot:
    """Starts jobs for the sections of a panel, one at a time.

    Args:
        onBusyChanged: Called without arguments when a job has begun or come to its end.
    """

    def __init__(self, onBusyChanged: Callable[[], None]) -> None:
        self._onBusyChanged = onBusyChanged
        self._job: PanelJob | None = None
        self.isPreparing = False

    @property
    def busy(self) -> bool:
        """Whether a job runs or is being prepared."""
        return self.isPreparing or self._job is not None

    @property
    def job(self) -> PanelJob | None:
        """The job that runs."""
        return self._job

    def begin(
        self,
        start: Callable[..., PanelJob],
        say: Say,
        onFinished: Callable[[dict[str, Any]], None],
        onEvent: Callable[[dict[str, Any]], None] | None = None,
        onStopped: Callable[[], None] | None = None,
        onEnded: Callable[[], None] | None = None,
        explain: Callable[[JobError], bool] | None = None,
    ) -> bool:
        """Start a job.

        Args:
            start: Called with onEvent, onFinished, onStopped and onFailed; returns the job.
            say: Called with a sentence when it cannot be started or fails.
            onFinished: Called with the result.
            onEvent: Called with each event, also with those of the preparation.
            onStopped: Called when it was stopped or cancelled.
            onEnded: Called at the end, whatever it was, also if nothing was started.
            explain: Called when it fails; where it returns True, no dialog follows.

        Returns:
            Whether it was started.
        """
        if self.busy:
            say(_("Another job of this panel runs. Wait until it has finished, or cancel it."))
            return False

        def ending(callback: Callable[..., None] | None) -> Callable[..., None]:
            def end(*arguments: Any) -> None:
                self._job = None
                try:
                    if callback is not None:
                        callback(*arguments)
                finally:
                    if onEnded is not None:
                        onEnded()
                    self._onBusyChanged()

            return end

        def failed(error: JobError) -> None:
            if explain is not None and explain(error):
                return
            say(str(error))
            showError(_("DeepTranslate"), str(error), error.report)

        self.isPreparing = True
        self._onBusyChanged()
        try:
            self._job = start(
                onEvent=onEvent,
                onFinished=ending(onFinished),
                onStopped=ending(onStopped),
                onFailed=ending(failed),
            )
        except (ValueError, OSError, JobError) as error:
            say(str(error))
            if onEnded is not None:
                onEnded()
        finally:
            self.isPreparing = False
            self._onBusyChanged()
        return self._job is not None

    def cancel(self) -> None:
        """End the job that runs, if any."""
        if self._job is not None:
            self._job.cancel()

    def release(self) -> None:
        """End the job and hear no more of it; for a panel that goes away."""
        job, self._job = self._job, None
        if job is not None:
            job.release()
