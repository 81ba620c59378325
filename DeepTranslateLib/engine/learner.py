"""A recipe's networks with all that learning changes: one step, one validation, their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from DeepTranslateLib.engine.augmentation import apply_changes, sample_change
from DeepTranslateLib.engine.dataset import LabelledSlice, Piece, as_batch, collate
from DeepTranslateLib.engine.device import autocast, full_precision
from DeepTranslateLib.engine.freezing import freeze
from DeepTranslateLib.engine.methods import build_method
from DeepTranslateLib.engine.noisy_inputs import noisy_images
from DeepTranslateLib.engine.optimizers import learning_rate
from DeepTranslateLib.engine.patches import PatchDraw, augmented_patches
from DeepTranslateLib.engine.validationmetrics import ValidationMetrics
from DeepTranslateLib.recipe import Recipe


@dataclass(frozen=True)
class InitialWeights:
    """First weights of a training.

    Attributes:
        weights: Of the translating network; they must fit.
        origin: The `name` of the model they are from and their `weights_sha256`.
        fresh: Names of the network's tensors that start anew; all others are in the weights.
    """

    weights: Mapping[str, Tensor]
    origin: dict[str, str]
    fresh: tuple[str, ...] = ()


class Learner:
    """Learns from batches of slices by the method of a recipe.

    Args:
        recipe: What to learn; its seed gives the networks' first weights.
        device: Where to compute.
        initial: First weights of the translating network instead.
    """

    def __init__(
        self, recipe: Recipe, device: torch.device, initial: InitialWeights | None = None
    ) -> None:
        self._recipe = recipe
        self._device = device
        torch.manual_seed(recipe.training.seed)
        self._method = build_method(recipe, device)
        translator = self._method.networks[self._method.translator]
        if initial is not None:
            translator.load_state_dict(initial.weights, strict=not initial.fresh)
        decay = recipe.training.ema
        self._average = (
            AveragedModel(translator, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
            if decay is not None
            else None
        )
        half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
        self._scaler = torch.amp.GradScaler("cuda", enabled=half)

    @property
    def translator(self) -> nn.Module:
        """The network that translates: the average of its weights where the recipe asks so."""
        if self._average is not None:
            return self._average.module
        return self._method.networks[self._method.translator]

    def begin_epoch(self, epoch: int) -> None:
        """Make the networks ready to learn, at the learning rate of this epoch (from 0)."""
        rate = learning_rate(self._recipe, epoch)
        for each in self._method.optimizers.values():
            for group in each.param_groups:
                group["lr"] = rate
        for network in self._method.networks.values():
            network.train()
        freeze(self._method.networks[self._method.translator], self._recipe, epoch)

    def step(
        self, slices: Sequence[LabelledSlice | PatchDraw], random: np.random.Generator
    ) -> float:
        """Learn from one batch of slices or patches, augmented; returns the loss.

        Args:
            slices: The batch.
            random: All that is random in this step is drawn from it.
        """
        # Dropout and the like draw from torch's own generator.
        torch.manual_seed(int(random.integers(2**62)))
        augment: Any = augmented_patches if self._recipe.is_volumetric else augmented_slices
        images, targets = augment(slices, self._recipe, random, self._device)
        batch = as_batch(images, targets, self._recipe)
        return float(self._method.training_step(batch, self._update)["loss"])

    @torch.inference_mode()
    def validate(self, slices: Sequence[Piece]) -> tuple[float, ValidationMetrics]:
        """Loss, averaged over pieces, and metrics on the pieces as they are.

        As when images are translated, volumes are computed in full precision.
        """
        network = self.translator.eval()
        exact = self._recipe.target.kind == "volume"
        metrics = ValidationMetrics(self._recipe)
        total = 0.0
        for piece in slices:
            images, targets = (tensor.to(self._device) for tensor in collate([piece]))
            batch = as_batch(images, targets, self._recipe)
            with full_precision() if exact else autocast(self._device):
                output = network(batch.images)[0]
            total += float(self._method.validation_loss(output, batch)) * piece.weight
            metrics.add(output, batch)
        return total / sum(piece.weight for piece in slices), metrics

    def weights(self) -> dict[str, Tensor]:
        """A copy of the translating network's weights, on the CPU."""
        return {
            name: tensor.detach().to("cpu", copy=True)
            for name, tensor in self.translator.state_dict().items()
        }

    def state(self) -> dict[str, Any]:
        """All that later steps depend on."""
        return {
            "networks": {n: net.state_dict() for n, net in self._method.networks.items()},
            "average": None if self._average is None else self._average.state_dict(),
            "optimizers": {n: opt.state_dict() for n, opt in self._method.optimizers.items()},
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that `state` gave."""
        for name, network in self._method.networks.items():
            network.load_state_dict(state["networks"][name])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        for name, optimizer in self._method.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._scaler.load_state_dict(state["scaler"])

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
            network = self._method.networks[name]
            self._average.update_parameters(network)
            _copy_whole_numbers(network, self._average.module)


def _copy_whole_numbers(source: nn.Module, average: nn.Module) -> None:
    """Counters and indices have no average: rounded down, some would be another number."""
    for mine, theirs in zip(average.buffers(), source.buffers(), strict=True):
        if not mine.is_floating_point():
            mine.copy_(theirs)


def augmented_slices(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    random: np.random.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Slices of one batch, each changed at random, on a square as long as the longest side.

    Args:
        slices: At least one.
        recipe: Says what may be changed, how far, and which noise is added.
        random: Where the changes are drawn from, slice by slice.
        device: Where to compute.

    Returns:
        Images (B, C, S, S) fp32 and targets (B, S, S) uint8 or (B, 1, S, S) fp32.
    """
    changes = [sample_change(recipe.augmentation, piece.full_size, random) for piece in slices]
    images, targets = collate(slices)
    # A square, so that a turned body stays in view.
    side = max(max(piece.size) for piece in slices)
    images, targets = apply_changes(
        images.to(device, non_blocking=True),
        targets.to(device, non_blocking=True),
        [piece.size for piece in slices],
        changes,
        (side, side),
    )
    return noisy_images(images, recipe, random), targets
