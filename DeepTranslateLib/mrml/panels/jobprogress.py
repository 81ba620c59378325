"""JobProgress: what a running job is doing, how fast, how much longer, and a way to cancel it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

# Before that, a rate is a guess from too few steps.
_SECONDS_BEFORE_RATE = 0.5


def durationText(seconds: float) -> str:
    """Return a duration as a person says it: "8 s", "3 min", "1 h 5 min"."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return _("{seconds} s").format(seconds=max(seconds, 1))
    minutes = round(seconds / 60)
    if minutes < 60:
        return _("{minutes} min").format(minutes=minutes)
    return _("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)


class Pace:
    """How fast a stage goes: units a second, and the seconds that are left.

    Args:
        clock: Returns seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: str | None = None
        self._began = 0.0
        self._doneAtBeginning = 0.0

    def observe(self, stage: str, done: float, total: float) -> tuple[float, float] | None:
        """Return (units a second, seconds left), or None while too little is known."""
        now = self._clock()
        if stage != self._stage or done < self._doneAtBeginning:
            self._stage, self._began, self._doneAtBeginning = stage, now, done
        elapsed, steps = now - self._began, done - self._doneAtBeginning
        if elapsed < _SECONDS_BEFORE_RATE or steps <= 0:
            return None
        rate = steps / elapsed
        return rate, max(0.0, total - done) / rate


class JobProgress:
    """Progress bar with a line of text and a Cancel button; hidden while nothing runs.

    Args:
        parentLayout: Layout that the widget is added to.
        onCancel: Called when the user clicks Cancel.
        clock: Returns seconds; only differences count.
    """

    def __init__(
        self,
        parentLayout: Any,
        onCancel: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._pace = Pace(clock)
        self._onCancel = onCancel
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        row = qt.QHBoxLayout()
        column.addLayout(row)
        self.bar = qt.QProgressBar()
        self.bar.objectName = "progressBar"
        row.addWidget(self.bar, 1)
        self.cancelButton = qt.QPushButton(_("Cancel"))
        self.cancelButton.objectName = "cancelButton"
        row.addWidget(self.cancelButton)
        self.label = qt.QLabel()
        self.label.objectName = "progressLabel"
        self.label.wordWrap = True
        column.addWidget(self.label)
        self.cancelButton.connect("clicked()", self._cancel)
        self.widget.visible = False
        parentLayout.addWidget(self.widget)

    def start(self, text: str) -> None:
        """Show that a job has begun whose length is not known yet."""
        self._pace = Pace(self._clock)
        self.bar.setRange(0, 0)
        self.cancelButton.enabled = True
        self.cancelButton.text = _("Cancel")
        self.label.text = text
        self.widget.visible = True

    def update(
        self, stage: str, done: float, total: float, unit: str = "", fraction: float | None = None
    ) -> None:
        """Show how far a stage is.

        Args:
            stage: What is being done, as the user shall read it.
            done: Steps done.
            total: Steps in all; 0 where nobody knows.
            unit: What a step is, such as "slices"; without one no rate is shown.
            fraction: What the bar shows, from 0 to 1, where the stage is a part of something
                longer; by default done / total.
        """
        if total <= 0:
            self.bar.setRange(0, 0)
            self.label.text = stage
            return
        self.bar.setRange(0, 1000)
        self.bar.value = round(1000 * (done / total if fraction is None else fraction))
        parts = [stage]
        if unit:
            count = _("{done:g} of {total:g} {unit}")
            parts.append(count.format(done=done, total=total, unit=unit))
        pace = self._pace.observe(stage, done, total)
        if pace is not None:
            rate, left = pace
            if unit:
                parts.append(_("{rate:.1f} {unit} a second").format(rate=rate, unit=unit))
            parts.append(_("about {duration} left").format(duration=durationText(left)))
        self.label.text = ", ".join(parts)

    def say(self, text: str) -> None:
        """Replace the line of text; the bar stays as it is."""
        self.label.text = text

    def finish(self) -> None:
        """Hide the widget: the job has come to its end."""
        self.bar.setRange(0, 1)
        self.bar.value = 0
        self.widget.visible = False

    def _cancel(self) -> None:
        self.cancelButton.enabled = False
        self.cancelButton.text = _("Cancelling...")
        self._onCancel()
