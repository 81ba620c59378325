"""The training loop, once for all methods.

Everything random belongs to a place (seed, epoch, step) and not to a running generator, so a run
that is killed at any moment and started again ends in the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from DeepTranslateLib.engine.augmentation import apply_changes, sample_change
from DeepTranslateLib.engine.checkpoint import load_state, save_state
from DeepTranslateLib.engine.dataset import SliceSet, as_batch, collate
from DeepTranslateLib.engine.device import autocast, without_denormals
from DeepTranslateLib.engine.methods import Batch, build_method
from DeepTranslateLib.engine.metrics import DiceCounter, mean_of_known
from DeepTranslateLib.engine.sampling import epoch_order, random_state
from DeepTranslateLib.engine.translation import channels_of
from DeepTranslateLib.jobs import Events, Stopped
from DeepTranslateLib.recipe import Recipe


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclass
class Progress:
    """How far a run is, and its best epoch; epochs and steps are counted from 0.

    `epoch` and `step` are the next to be done, `loss_sum` the losses of the steps of the
    current epoch so far.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best_epoch: int = -1
    best_value: float = float("inf")
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains a recipe's method on prepared slices.

    Args:
        recipe: With its spacing resolved.
        training: Slices to learn from.
        validation: Slices that choose the best epoch.
        folder: Checkpoints are written to `folder/checkpoints`, and found there again.
        device: Where to compute.
        events: Told of the start, of each epoch and, at most twice a second, of steps.
        should_stop: Asked after each step; when it says yes, a checkpoint is saved.
        checkpoint_seconds: Least time between two checkpoints.

    Raises:
        TrainingError: The folder's checkpoint is of another run.
        CheckpointError: It is damaged.
    """

    def __init__(
        self,
        recipe: Recipe,
        training: SliceSet,
        validation: SliceSet,
        folder: Path,
        device: torch.device,
        events: Events,
        should_stop: Callable[[], bool] = lambda: False,
        checkpoint_seconds: float = 15.0,
    ) -> None:
        self._recipe = recipe
        self._training = training
        self._validation = validation
        self._device = device
        self._events = events
        self._should_stop = should_stop
        self._checkpoint_seconds = checkpoint_seconds
        self._last_path = folder / "checkpoints" / "last.safetensors"
        self._best_path = folder / "checkpoints" / "best.safetensors"
        torch.manual_seed(recipe.training.seed)
        self._method = build_method(recipe, device)
        translator = self._method.networks[self._method.translator]
        decay = recipe.training.ema
        self._average = (
            AveragedModel(translator, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
            if decay is not None
            else None
        )
        half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
        self._scaler = torch.amp.GradScaler("cuda", enabled=half)
        self._weights = [
            recipe.sampling.foreground_weight if piece.has_foreground else 1.0
            for piece in training.slices
        ]
        self.progress = Progress()
        self._best: dict[str, Tensor] = {}
        self._best_is_saved = True
        self._saved_at = self._started_at = self._reported_at = time.monotonic()
        self._resumed = self._last_path.is_file()
        if self._resumed:
            self._restore(load_state(self._last_path))

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
        while self.progress.epoch < self._recipe.training.epochs and not self._is_exhausted():
            self._train_epoch()
            self._finish_epoch()
            if time.monotonic() - self._saved_at >= self._checkpoint_seconds:
                self._save()
        self._save()
        return self._best

    def _is_exhausted(self) -> bool:
        patience = self._recipe.training.patience
        return patience is not None and self.progress.epoch - 1 - self.progress.best_epoch >= (
            patience
        )

    def _train_epoch(self) -> None:
        progress, training = self.progress, self._recipe.training
        order = epoch_order(self._weights, training.seed, progress.epoch)
        steps = -(-len(order) // training.batch_size)
        self._set_learning_rate()
        for network in self._method.networks.values():
            network.train()
        while progress.step < steps:
            first = progress.step * training.batch_size
            batch = self._augmented(order[first : first + training.batch_size])
            losses = self._method.training_step(batch, self._update)
            loss = float(losses["loss"])
            self._refuse_divergence("loss", loss)
            progress.loss_sum += loss
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
        loss, dice = self._validate()
        self._refuse_divergence("validation loss", loss)
        monitor = self._recipe.training.monitor
        value = -mean_of_known(dice) if monitor == "dice" else loss
        # The first epoch is kept whatever its value: Dice is NaN where no label is to be found.
        if value < progress.best_value or not self._best:
            progress.best_value, progress.best_epoch = value, progress.epoch
            self._best = {
                name: tensor.detach().to("cpu", copy=True)
                for name, tensor in self._translator().state_dict().items()
            }
            self._best_is_saved = False
        names = [label.name for label in self._recipe.target.labels]
        record = {
            "epoch": progress.epoch,
            "loss": progress.loss_sum / max(1, progress.step),
            "validation_loss": loss,
            "validation_dice": {
                name: None if score != score else score
                for name, score in zip(names, dice, strict=True)
            },
            "best_epoch": progress.best_epoch,
        }
        progress.history.append(record)
        progress.epoch += 1
        progress.step, progress.loss_sum = 0, 0.0
        self._events.emit(
            "epoch",
            **record,
            epochs=self._recipe.training.epochs,
            seconds=round(self.seconds, 3),
        )

    def _augmented(self, chosen: list[int]) -> Batch:
        progress, augmentation = self.progress, self._recipe.augmentation
        random = random_state(self._recipe.training.seed, progress.epoch, progress.step)
        # Dropout and the like draw from torch's own generator.
        torch.manual_seed(int(random.integers(2**62)))
        slices = [self._training.slices[index] for index in chosen]
        changes = [sample_change(augmentation, piece.full_size, random) for piece in slices]
        images, targets = collate(slices)
        # A square as long as the longest side, so that a turned body stays in view.
        side = max(max(piece.size) for piece in slices)
        images, targets = apply_changes(
            images.to(self._device, non_blocking=True),
            targets.to(self._device, non_blocking=True),
            [piece.size for piece in slices],
            changes,
            (side, side),
        )
        return as_batch(images, targets, self._recipe)

    def _update(self, name: str, loss: Tensor) -> None:
        optimizer = self._method.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        clip = self._recipe.optimizer.gradient_clip
        if clip is not None:
            self._scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, clip)
        self._scaler.step(optimizer)
        self._scaler.update()
        if self._average is not None and name == self._method.translator:
            self._average.update_parameters(self._method.networks[name])

    @torch.inference_mode()
    def _validate(self) -> tuple[float, list[float]]:
        """Loss, averaged over slices, and Dice of each label on the slices as they are."""
        network = self._translator().eval()
        counter = DiceCounter(len(self._recipe.target.labels))
        total = 0.0
        for piece in self._validation.slices:
            images, targets = (tensor.to(self._device) for tensor in collate([piece]))
            batch = as_batch(images, targets, self._recipe)
            with autocast(self._device):
                output = network(batch.images)[0]
            total += float(self._method.validation_loss(output, batch))
            if targets.dtype == torch.uint8:
                counter.add(channels_of(output), targets)
        return total / len(self._validation), counter.dice()

    def _translator(self) -> nn.Module:
        if self._average is not None:
            return self._average.module
        return self._method.networks[self._method.translator]

    def _set_learning_rate(self) -> None:
        optimizer, training = self._recipe.optimizer, self._recipe.training
        rate = optimizer.learning_rate
        if optimizer.schedule == "poly":
            rate *= (1 - self.progress.epoch / training.epochs) ** 0.9
        for each in self._method.optimizers.values():
            for group in each.param_groups:
                group["lr"] = rate

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
            )

    @property
    def seconds(self) -> float:
        """Time spent on this training, in all its sessions."""
        return self.progress.seconds + time.monotonic() - self._started_at

    def _save(self) -> None:
        self._last_path.parent.mkdir(parents=True, exist_ok=True)
        if not self._best_is_saved:
            save_state(self._best_path, {"weights": self._best, "epoch": self.progress.best_epoch})
            self._best_is_saved = True
        state = {
            "identity": self._identity(),
            "networks": {n: net.state_dict() for n, net in self._method.networks.items()},
            "average": None if self._average is None else self._average.state_dict(),
            "optimizers": {n: opt.state_dict() for n, opt in self._method.optimizers.items()},
            "scaler": self._scaler.state_dict(),
            "best": self._best,
            "progress": {**vars(self.progress), "seconds": self.seconds},
        }
        save_state(self._last_path, state)
        self._saved_at = time.monotonic()

    def _restore(self, state: Any) -> None:
        for what, now in self._identity().items():
            if state["identity"].get(what) != now:
                raise TrainingError(
                    f"The checkpoint {self._last_path} was made with another {what} than the one "
                    "given now, so going on from it would mix two trainings. Train into a new "
                    "folder, or give the same recipe, seed and images again."
                )
        for name, network in self._method.networks.items():
            network.load_state_dict(state["networks"][name])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        for name, optimizer in self._method.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._scaler.load_state_dict(state["scaler"])
        self._best = state["best"]
        self.progress = Progress(**state["progress"])

    def _identity(self) -> dict[str, str]:
        """What must be the same for a run to go on; a run may be given more epochs."""
        recipe = self._recipe.with_training(epochs=1, patience=None)
        return {
            "recipe": repr(recipe),
            "set of training slices": self._training.digest,
            "set of validation slices": self._validation.digest,
        }
