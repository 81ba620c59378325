"""TrainingMonitor: how far a training is, its curves, a preview, and its brakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from DeepTranslateLib.image import ImageError
from DeepTranslateLib.mrml.panels.jobprogress import Pace, durationText
from DeepTranslateLib.mrml.panels.trainingcurves import (
    LOSS,
    bestText,
    curveColors,
    curveRows,
    metricTitle,
    shownMetrics,
)
from DeepTranslateLib.mrml.panels.trainingtexts import configuredText, exportingText, stageText
from DeepTranslateLib.mrml.plots import Curves
from DeepTranslateLib.mrml.trainingpreview import TrainingPreview
from DeepTranslateLib.recipe import Recipe, recipe_from_json

_GIGABYTE = 1 << 30


class TrainingMonitor:
    """Progress, four buttons, curves in a plot view and a preview in the slice views.

    Args:
        parentLayout: Layout that everything is added to; hidden until the first training.
        onPause, onResume, onKeepBest, onCancel: Called when the user clicks.
    """

    def __init__(
        self,
        parentLayout: Any,
        onPause: Callable[[], None],
        onResume: Callable[[], None],
        onKeepBest: Callable[[], None],
        onCancel: Callable[[], None],
    ) -> None:
        self._recipe: Recipe | None = None
        self._folder = Path()
        self._history: list[dict[str, Any]] = []
        self._pace = Pace()
        self._curvesAreShown = False
        self._isEntered = True
        self._metrics: list[str] = []
        self.curves: Any = None
        self.preview = TrainingPreview()
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        self.bar = qt.QProgressBar()
        self.bar.objectName = "trainingBar"
        column.addWidget(self.bar)
        self.status = _label(column, "trainingStatus")
        self.best = _label(column, "trainingBest")
        self.memory = _label(column, "trainingMemory")
        self.notes = _label(column, "trainingNotes")
        row = qt.QHBoxLayout()
        column.addLayout(row)
        self.pauseButton = _button(
            row, _("Pause"), "pauseButton", _("Save what is learnt and stop for now."), onPause
        )
        self.resumeButton = _button(
            row, _("Resume"), "resumeButton", _("Go on where it was stopped."), onResume
        )
        self.keepBestButton = _button(
            row,
            _("Stop and keep the best"),
            "keepBestButton",
            _("End after this epoch and make the model of the best one."),
            onKeepBest,
        )
        self.cancelButton = _button(
            row,
            _("Cancel"),
            "cancelTrainingButton",
            _("Stop at once. What was saved last can be continued."),
            onCancel,
        )
        self.showViews = qt.QCheckBox(_("Show curves and preview in the views"))
        self.showViews.objectName = "showViewsCheckBox"
        self.showViews.checked = True
        self.showViews.connect("toggled(bool)", self._showViews)
        views = qt.QHBoxLayout()
        column.addLayout(views)
        views.addWidget(self.showViews, 1)
        self.metricCombo = qt.QComboBox()
        self.metricCombo.objectName = "shownMetricCombo"
        self.metricCombo.toolTip = _("What the curves show")
        self.metricCombo.setSizeAdjustPolicy(qt.QComboBox.AdjustToContents)
        self.metricCombo.connect("currentIndexChanged(int)", lambda index: self._plot())
        views.addWidget(self.metricCombo)
        self.widget.visible = False
        parentLayout.addWidget(self.widget)

    def start(self, recipe: Recipe, folder: Path, history: Sequence[dict[str, Any]] = ()) -> None:
        """Show a training that begins or goes on.

        Args:
            recipe: What is trained.
            folder: The run's folder.
            history: The epochs done before.
        """
        if self.curves is None or folder != self._folder:
            title = _("Training {name}").format(name=folder.name)
            self.curves = Curves(title, colors=curveColors(recipe))
        self._recipe, self._folder, self._history = recipe, folder, list(history)
        self._offerMetrics([])
        self._pace = Pace()
        self.bar.setRange(0, 0)
        self.bar.visible = True
        self.status.text = _("Preparing the images")
        self.best.text = self.memory.text = self.notes.text = ""
        self.setRunning(True)
        self.resumeButton.enabled = False
        self.widget.visible = True
        self._curvesAreShown = False
        self._plot()

    def setRunning(self, running: bool, canResume: bool = False) -> None:
        """Enable the buttons that make sense while a training runs, or while none does."""
        for button in (self.pauseButton, self.keepBestButton, self.cancelButton):
            button.enabled = running
        self.resumeButton.enabled = not running and canResume

    def hear(self, event: dict[str, Any]) -> None:
        """Show an event of the training."""
        kind = event["event"]
        if kind == "exporting":
            self.status.text = exportingText(event)
            self._setBar(event["done"], event["total"])
        elif kind == "checking_cohort":
            self.bar.setRange(0, 0)
            self.status.text = _("Checking {n} images").format(n=event["cases"])
        elif kind == "configured":
            self._configure(event)
        elif kind == "split":
            self._note(event["note"])
        elif kind == "warning":
            subject = event.get("subject", "")
            self._note(f"{subject}: {event['message']}" if subject else event["message"])
        elif kind == "training_started":
            # Of a recipe with stages, another network; its curves begin anew.
            self._history = [row for row in self._history if row["epoch"] < event["epoch"]]
        elif kind in ("step", "epoch"):
            self._advance(event)
        elif kind == "preview":
            self._preview(event)
        elif kind == "validating":
            self.bar.setRange(0, 0)
            self.status.text = _("Measuring the best model on the validation images")
        if event.get("memory"):
            self.memory.text = memoryText(event["memory"])

    def say(self, text: str) -> None:
        """Replace the line of status, as when the training has come to its end."""
        self.widget.visible = True
        self.bar.visible = False
        self.status.text = text

    def enter(self) -> None:
        """Show the preview of a training that runs, as when its user comes back to the module."""
        self._isEntered = True
        if self.cancelButton.enabled:
            self._showPreview()

    def leave(self) -> None:
        """Give the slice views back, as when the user goes to another module."""
        self._isEntered = False
        self.preview.hide()

    def forget(self) -> None:
        """Let go of nodes, as when the scene was closed."""
        self.curves = None
        self.preview.forget()

    def _configure(self, event: dict[str, Any]) -> None:
        """Show what was chosen from the images."""
        assert self._folder is not None
        self._recipe = recipe_from_json(event["recipe"])
        title = _("Training {name}").format(name=self._folder.name)
        self.curves = Curves(title, colors=curveColors(self._recipe))
        self._note(configuredText(event["reasons"]))

    def _advance(self, event: dict[str, Any]) -> None:
        epochs = event["epochs"]
        if event["event"] == "epoch":
            self._history = [row for row in self._history if row["epoch"] != event["epoch"]]
            self._history.append(event)
            self._plot()
            done = event["epoch"] + 1.0
            text = _("Epoch {epoch} of {epochs} done").format(epoch=round(done), epochs=epochs)
        else:
            done = event["epoch"] + event["step"] / event["steps"]
            text = _("Epoch {epoch} of {epochs}, step {step} of {steps}").format(
                epoch=event["epoch"] + 1, epochs=epochs, step=event["step"], steps=event["steps"]
            )
        before, trainings = event.get("training", 1) - 1, event.get("trainings", 1)
        done, total = before * epochs + done, trainings * epochs
        self._setBar(done, total)
        pace = self._pace.observe("training", done, total)
        if pace is not None:
            text += _(", about {duration} left").format(duration=durationText(pace[1]))
        self.status.text = stageText(event) + text

    def _setBar(self, done: float, total: float) -> None:
        self.bar.setRange(0, 1000)
        self.bar.value = round(1000 * done / max(total, 1e-9))

    def _offerMetrics(self, names: list[str]) -> None:
        """Let the user choose among the metrics; at first that which epochs are compared by."""
        if names == self._metrics or self._recipe is None:
            return
        self._metrics = names
        labels = self._recipe.target.kind == "labels"
        loss = _("loss and Dice") if labels else _("loss")
        titles = [loss if name == LOSS else metricTitle(name, self._recipe) for name in names]
        monitor = self._recipe.training.monitor
        self.metricCombo.blockSignals(True)
        self.metricCombo.clear()
        self.metricCombo.addItems(titles)
        self.metricCombo.currentIndex = names.index(monitor) if monitor in names else 0
        self.metricCombo.blockSignals(False)
        self.metricCombo.visible = len(names) > 1

    def _plot(self) -> None:
        recipe = self._recipe
        if not self._history or recipe is None:
            return
        self._offerMetrics(shownMetrics(self._history))
        best = self._history[-1].get("best_epoch")
        if best is not None:
            row = next((row for row in self._history if row["epoch"] == best), None)
            if row is not None:
                self.best.text = bestText(row, recipe)
        if self.curves is not None:
            metric = self._metrics[max(0, self.metricCombo.currentIndex)]
            self.curves.setHistory(curveRows(self._history, recipe, metric))
            if self.showViews.checked and not self._curvesAreShown:
                self._curvesAreShown = True
                self.curves.show()

    def _preview(self, event: dict[str, Any]) -> None:
        assert self._recipe is not None
        try:
            self.preview.update(event, self._folder, self._recipe)
        except (ImageError, OSError) as error:
            self._note(_("The preview cannot be shown: {error}").format(error=error))
            return
        self._showPreview()

    def _showPreview(self) -> None:
        if self._isEntered and self.showViews.checked and self._recipe is not None:
            self.preview.show(self._recipe.sampling.plane)

    def _showViews(self, on: bool) -> None:
        if not on:
            self.preview.hide()
            return
        if self.curves is not None:
            self.curves.show()
        self._showPreview()

    def _note(self, text: str) -> None:
        lines = self.notes.text.split("\n") if self.notes.text else []
        if text not in lines:
            self.notes.text = "\n".join([*lines, text])


def memoryText(memory: dict[str, Any]) -> str:
    """Return the memory in use, and of how much where that is known."""
    used, total = memory.get("used"), memory.get("total")
    if not used:
        return ""
    kind = _("GPU memory") if memory.get("kind") == "GPU" else _("Memory")
    if not total:
        return _("{kind}: {used:.1f} GB").format(kind=kind, used=used / _GIGABYTE)
    return _("{kind}: {used:.1f} of {total:.1f} GB").format(
        kind=kind, used=used / _GIGABYTE, total=total / _GIGABYTE
    )


def _label(column: Any, name: str) -> Any:
    label = qt.QLabel()
    label.objectName = name
    label.wordWrap = True
    column.addWidget(label)
    return label


def _button(row: Any, text: str, name: str, tip: str, clicked: Callable[[], None]) -> Any:
    button = qt.QPushButton(text)
    button.objectName = name
    button.toolTip = tip
    button.enabled = False
    button.connect("clicked()", clicked)
    row.addWidget(button)
    return button
