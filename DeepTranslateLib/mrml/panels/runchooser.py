"""RunChooser: a training of before: go on with it, or make a model of one of its epochs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from DeepTranslateLib.model import ModelError, read_model
from DeepTranslateLib.mrml.jobs import PanelJob, newJobFolder, removeJobFolder
from DeepTranslateLib.mrml.modellibrary import addModel
from DeepTranslateLib.mrml.panels.jobslot import JobSlot
from DeepTranslateLib.mrml.panels.pathlistener import PathListener
from DeepTranslateLib.mrml.panels.trainingcurves import epochText
from DeepTranslateLib.mrml.runfolders import addRunModel, modelName
from DeepTranslateLib.mrml.training import startJob
from DeepTranslateLib.mrml.trainingaids import exportJob
from DeepTranslateLib.runfolder import Run, RunError, read_run


class RunChooser:
    """A run folder, what is in it, and what can be done with it.

    Args:
        parentLayout: Layout that everything is added to.
        slot: Runs the export of an epoch.
        onContinue: Called with the run's folder and the epochs to train up to.
        onModel: Called with the library's file when a model was added; the second argument tells
            whether the user wants to use it now.
    """

    def __init__(
        self,
        parentLayout: Any,
        slot: JobSlot,
        onContinue: Callable[[Path, int], None],
        onModel: Callable[[Path, bool], None],
    ) -> None:
        self._slot = slot
        self._onContinue, self._onModel = onContinue, onModel
        self.run: Run | None = None
        self.pathEdit = ctk.ctkPathLineEdit()
        self.pathEdit.objectName = "runPathEdit"
        self.pathEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.pathEdit.toolTip = _("The folder that a training was started in.")
        self.info = qt.QLabel()
        self.info.objectName = "runInfo"
        self.info.wordWrap = True
        self.epochs = qt.QSpinBox()
        self.epochs.objectName = "runEpochsSpinBox"
        self.epochs.maximum = 100_000
        self.epochs.toolTip = _("Epochs in all, those done before included.")
        self.continueButton = self._button(_("Continue training"), "continueButton", self._continue)
        self.epochCombo = qt.QComboBox()
        self.epochCombo.objectName = "epochCombo"
        self.epochCombo.toolTip = _(
            "Epochs whose weights were kept. The recipe's field 'Keep every Nth epoch' says which "
            "are, beside the best."
        )
        self.addButton = self._button(_("Add to library"), "addModelButton", self._add)
        self.useButton = self._button(_("Use this model"), "useModelButton", self._use)
        self.useButton.toolTip = _("Add the model to the library and open it in DeepTranslate.")
        form = qt.QFormLayout()
        form.setFieldGrowthPolicy(qt.QFormLayout.AllNonFixedFieldsGrow)
        parentLayout.addLayout(form)
        form.addRow(_("Run folder:"), self.pathEdit)
        form.addRow(self.info)
        form.addRow(_("Train up to epoch:"), _row(self.epochs, self.continueButton))
        form.addRow(_("Model of:"), self.epochCombo)
        form.addRow(_row(self.addButton, self.useButton))
        self._listener = PathListener(self.pathEdit, lambda path: self.refresh())
        self.refresh()

    def open(self, folder: str | Path) -> None:
        """Show a run folder."""
        self.pathEdit.currentPath = str(folder)
        self.refresh()

    def refresh(self) -> None:
        """Read the run folder again, as after a training."""
        path = self.pathEdit.currentPath.strip()
        self.run = None
        self.epochCombo.clear()
        if not path:
            self.info.text = _("Choose the folder of a training to go on with it tomorrow.")
        else:
            try:
                self.run = read_run(path)
                self.info.text = self._infoText(self.run)
                self._fillEpochs(self.run)
            except (RunError, OSError) as error:
                self.info.text = str(error)
        self.updateButtons()

    def updateButtons(self) -> None:
        """Enable what can be done now."""
        run, free = self.run, not self._slot.busy
        for widget in (self.epochCombo, self.addButton, self.useButton):
            widget.enabled = run is not None and free and self.epochCombo.count > 0
        for widget in (self.epochs, self.continueButton):
            widget.enabled = run is not None and free
        self.pathEdit.enabled = free

    def selectEpoch(self, epoch: int) -> None:
        """Choose an epoch, counted from 1.

        Raises:
            ValueError: It was not kept.
        """
        if self.run is None or epoch not in self.run.saved_epochs:
            raise ValueError(f"Epoch {epoch} was not kept.")
        self.epochCombo.currentIndex = self._order(self.run).index(epoch)

    @staticmethod
    def _order(run: Run) -> list[int]:
        """The best epoch first."""
        return sorted(run.saved_epochs, key=lambda epoch: (epoch != run.best_epoch, epoch))

    def _fillEpochs(self, run: Run) -> None:
        records = {record["epoch"] + 1: record for record in run.history}
        for epoch in self._order(run):
            text = epochText(records[epoch], run.recipe) if epoch in records else f"{epoch}"
            self.epochCombo.addItem(
                _("{epoch} (best)").format(epoch=text) if epoch == run.best_epoch else text
            )
        self.epochs.minimum = run.epochs_done + (run.state == "finished")
        wanted = run.recipe.training.epochs
        self.epochs.value = wanted if wanted > run.epochs_done else run.epochs_done + 50

    def _infoText(self, run: Run) -> str:
        states = {
            "new": _("not begun"),
            "unfinished": _("can be continued"),
            "finished": _("finished, its model is made"),
        }
        lines = [
            _("{title}: {done} of {epochs} epochs, {state}.").format(
                title=run.recipe.title or run.recipe.name,
                done=run.epochs_done,
                epochs=run.recipe.training.epochs,
                state=states[run.state],
            )
        ]
        return "\n".join([*lines, *run.warnings])

    def _continue(self) -> None:
        if self.run is not None:
            self._onContinue(self.run.folder, self.epochs.value)

    def _add(self) -> None:
        self._toLibrary(False)

    def _use(self) -> None:
        self._toLibrary(True)

    def _toLibrary(self, use: bool) -> None:
        run = self.run
        if run is None or self.epochCombo.currentIndex < 0:
            return
        epoch = self._order(run)[self.epochCombo.currentIndex]
        try:
            isMade = run.model is not None and read_model(run.model).card.epoch == epoch
            if isMade:
                self._added(addRunModel(run.folder), use)
                return
        except (ModelError, OSError) as error:
            self.info.text = str(error)
            return
        folder = newJobFolder("export")

        def start(**callbacks: Any) -> PanelJob:
            output = folder / modelName(run, epoch)
            return startJob(folder, exportJob(run.folder, epoch, output), **callbacks)

        def finished(result: dict[str, Any]) -> None:
            self._added(addModel(result["model"]), use)

        self._slot.begin(
            start, self._say, onFinished=finished, onEnded=lambda: removeJobFolder(folder)
        )

    def _added(self, path: Path, use: bool) -> None:
        self._say(_("{name} is in the library.").format(name=path.name))
        self._onModel(path, use)

    def _say(self, text: str) -> None:
        self.info.text = text

    def _button(self, text: str, name: str, clicked: Callable[[], None]) -> Any:
        button = qt.QPushButton(text)
        button.objectName = name
        button.connect("clicked()", clicked)
        return button


def _row(*widgets: Any) -> Any:
    holder = qt.QWidget()
    row = qt.QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget, 1)
    return holder
