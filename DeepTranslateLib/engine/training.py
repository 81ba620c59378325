"""The training loop, once for all methods.

Everything random belongs to a place (seed, epoch, step) and not to a running generator, so a run
that is killed at any moment and started again ends in the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from DeepTranslateLib.engine.checkpoint import load_state, save_state
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.device import without_denormals
from DeepTranslateLib.engine.identity import is_same_training
from DeepTranslateLib.engine.learner import InitialWeights, Learner
from DeepTranslateLib.engine.memory import memory_use
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.engine.unpairedset import UnpairedSet
from DeepTranslateLib.engine.volumeset import VolumeSet
from DeepTranslateLib.engine.watch import new_warnings
from DeepTranslateLib.jobs import Events, Stopped
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.recipe.learning import LAST
from DeepTranslateLib.runfolder import BEST_CHECKPOINT, LAST_CHECKPOINT, kept_checkpoint
from DeepTranslateLib.schema import to_json

AfterEpoch = Callable[[Mapping[str, nn.Module], int, bool], None]


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclass
class Progress:
    """How far a run is, and its best epoch; epochs and steps are counted from 0.

    `epoch` and `step` are the next to be done, `loss_sum` the losses of the steps of the
    current epoch so far, `sums` by name of all losses and measures where there are others.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    best_epoch: int = -1
    best_value: float = float("inf")
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains a recipe's method on prepared slices.

    Args:
        recipe: With its spacing resolved.
        training: Slices or volumes to learn from.
        validation: Those that choose the best epoch.
        folder: Checkpoints are written to `folder/checkpoints`, and found there again.
        device: Where to compute.
        events: Told of the start, of each epoch and, at most twice a second, of steps.
        should_stop: Asked after each step; when it says yes, a checkpoint is saved.
        checkpoint_seconds: Least time between two checkpoints.
        should_finish: Asked after each epoch; when it says yes, that epoch was the last.
        after_epoch: Given the translating networks by direction (not to be changed), the epoch
            (from 0) and whether it is the last one.
        initial: Weights to start from; a run that goes on has started already.
        earlier: Further channels of images: 1 where a stage before has made something of them.

    Raises:
        TrainingError: The folder's checkpoint is of another run.
        CheckpointError: It is damaged.
    """

    def __init__(
        self,
        recipe: Recipe,
        training: SliceSet | VolumeSet | UnpairedSet,
        validation: SliceSet | VolumeSet | UnpairedSet,
        folder: Path,
        device: torch.device,
        events: Events,
        should_stop: Callable[[], bool] = lambda: False,
        checkpoint_seconds: float = 15.0,
        should_finish: Callable[[], bool] = lambda: False,
        after_epoch: AfterEpoch = lambda networks, epoch, last: None,
        initial: InitialWeights | None = None,
        earlier: int = 0,
    ) -> None:
        self._recipe = recipe
        self._training = training
        self._validation = validation
        self._device = device
        self._events = events
        self._should_stop = should_stop
        self._should_finish = should_finish
        self._after_epoch = after_epoch
        self._checkpoint_seconds = checkpoint_seconds
        self._folder = folder
        self._last_path = folder / LAST_CHECKPOINT
        self._learner = Learner(recipe, device, initial, earlier)
        self.progress = Progress()
        self.initial = None if initial is None else initial.origin
        self._best: dict[str, Tensor] = {}
        self._best_is_saved = True
        self._saved_at = self._started_at = self._reported_at = time.monotonic()
        self._resumed = self._last_path.is_file()
        if self._resumed:
            self._restore(load_state(self._last_path))
        elif initial is not None:
            # From here on the run goes on by itself, even where the initial model is gone.
            self._save()

    @without_denormals()
    def run(self) -> dict[str, Tensor]:
        """Train to the end, from the last checkpoint where there is one.

        Returns:
            Weights of the translating network at its best validation.

        Raises:
            Stopped: `should_stop` said so; a checkpoint was saved.
            TrainingError: The loss is no longer a number.
        """
        self._events.emit(
            "training_started",
            epoch=self.progress.epoch,
            epochs=self._recipe.training.epochs,
            resumed=self._resumed,
            slices=len(self._training),
            validation_slices=len(self._validation),
            device=str(self._device),
        )
        finishing = False
        while not self.is_complete and not finishing:
            self._train_epoch()
            self._finish_epoch()
            finishing = self._should_finish()
            last = finishing or self.is_complete
            self._after_epoch(self._learner.translators, self.progress.epoch - 1, last)
            if time.monotonic() - self._saved_at >= self._checkpoint_seconds:
                self._save()
        self._save()
        return self._best

    @property
    def is_complete(self) -> bool:
        """Whether all epochs are done, or as many without a better one as the recipe bears."""
        epoch, patience = self.progress.epoch, self._recipe.training.patience
        if patience is not None and epoch - 1 - self.progress.best_epoch >= patience:
            return True
        return epoch >= self._recipe.training.epochs

    def _train_epoch(self) -> None:
        progress, training = self.progress, self._recipe.training
        order = self._training.epoch(progress.epoch)
        steps = -(-len(order) // training.batch_size)
        self._learner.begin_epoch(progress.epoch)
        while progress.step < steps:
            first = progress.step * training.batch_size
            chosen = order[first : first + training.batch_size]
            found = self._learner.step(
                chosen,
                random_state(training.seed, progress.epoch, progress.step),
            )
            loss = found["loss"]
            for name, value in found.items():
                self._refuse_divergence("loss" if name == "loss" else f"measure '{name}'", value)
            progress.loss_sum += loss
            if len(found) > 1:
                sums = progress.sums
                progress.sums = {name: sums.get(name, 0.0) + value for name, value in found.items()}
            progress.step += 1
            self._report_step(steps, loss)
            if self._should_stop():
                self._save()
                raise Stopped(f"stopped in epoch {progress.epoch + 1}, step {progress.step}")
            if time.monotonic() - self._saved_at >= max(self._checkpoint_seconds, 1e-9):
                self._save()

    def _refuse_divergence(self, what: str, loss: float) -> None:
        if not np.isfinite(loss):
            raise TrainingError(
                f"The {what} became {loss} in epoch {self.progress.epoch + 1}, so the weights are "
                f"lost. Lower the learning rate (now {self._recipe.optimizer.learning_rate:g}) or "
                "set gradient_clip to 1, and train again into a new folder."
            )

    def _finish_epoch(self) -> None:
        progress = self.progress
        loss, metrics = self._learner.validate(self._validation.pieces)
        self._refuse_divergence("validation loss", loss)
        last = self._recipe.training.monitor == LAST
        value = -float(progress.epoch) if last else metrics.monitored(loss)
        if math.isnan(value):
            # As of Dice where no label is to be found: worse than any that is known.
            value = math.inf
        # While nothing is known, what was learnt last counts.
        if value < progress.best_value or value == progress.best_value == math.inf:
            progress.best_value, progress.best_epoch = value, progress.epoch
            self._best = self._learner.weights()
            self._best_is_saved = False
        self._keep_weights()
        names = [label.name for label in self._recipe.target.labels]
        record = {
            "epoch": progress.epoch,
            "loss": progress.loss_sum / max(1, progress.step),
            "validation_loss": loss,
            "validation_dice": {
                name: None if score != score else score
                for name, score in zip(names, metrics.dice, strict=True)
            },
            "validation_metrics": {
                name: score if np.isfinite(score) else None
                for name, score in metrics.values().items()
            },
            "best_epoch": progress.best_epoch,
        }
        if progress.sums:
            steps = max(1, progress.step)
            record["losses"] = {name: value / steps for name, value in progress.sums.items()}
        progress.history.append(record)
        progress.epoch += 1
        progress.step, progress.loss_sum, progress.sums = 0, 0.0, {}
        self._events.emit(
            "epoch",
            **record,
            epochs=self._recipe.training.epochs,
            seconds=round(self.seconds, 3),
            memory=memory_use(self._device),
        )
        for advice in new_warnings(progress.history, self._recipe):
            self._events.emit("warning", subject="", message=advice)

    def _keep_weights(self) -> None:
        every, epoch = self._recipe.training.keep_every, self.progress.epoch
        if every is not None and (epoch + 1) % every == 0:
            path = self._folder / kept_checkpoint(epoch + 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_state(path, {"weights": self._learner.weights(), "epoch": epoch})

    def _report_step(self, steps: int, loss: float) -> None:
        now = time.monotonic()
        if now - self._reported_at >= 0.5:
            self._reported_at = now
            self._events.emit(
                "step",
                epoch=self.progress.epoch,
                epochs=self._recipe.training.epochs,
                step=self.progress.step,
                steps=steps,
                loss=loss,
                seconds=round(self.seconds, 3),
                memory=memory_use(self._device),
            )

    @property
    def seconds(self) -> float:
        """Time spent on this training, in all its sessions."""
        return self.progress.seconds + time.monotonic() - self._started_at

    def _save(self) -> None:
        self._last_path.parent.mkdir(parents=True, exist_ok=True)
        if not self._best_is_saved:
            best = {"weights": self._best, "epoch": self.progress.best_epoch}
            save_state(self._folder / BEST_CHECKPOINT, best)
            self._best_is_saved = True
        state = {
            "identity": {"recipe": to_json(self._recipe), **self._data_identity()},
            "initial": self.initial,
            **self._learner.state(),
            "best": self._best,
            "progress": {**vars(self.progress), "seconds": self.seconds},
        }
        save_state(self._last_path, state)
        self._saved_at = time.monotonic()

    def _restore(self, state: Any) -> None:
        stored = dict(state["identity"])
        if not is_same_training(stored.get("recipe"), self._recipe):
            raise self._another("recipe")
        for what, now in self._data_identity().items():
            if stored.get(what) != now:
                raise self._another(what)
        # Not given again, the initial model is what it was.
        if self.initial is not None and self.initial != state.get("initial"):
            raise self._another("initial model")
        self.initial = state.get("initial")
        self._learner.restore(state)
        self._best = state["best"]
        self.progress = Progress(**state["progress"])

    def _another(self, what: str) -> TrainingError:
        return TrainingError(
            f"The checkpoint {self._last_path} was made with another {what} than the one "
            "given now, so going on from it would mix two trainings. Train into a new "
            "folder, or give the same recipe, seed and images again."
        )

    def _data_identity(self) -> dict[str, str]:
        """What must be the same, besides the recipe, for a run to go on."""
        return {
            "set of training slices": self._training.digest,
            "set of validation slices": self._validation.digest,
        }
