"""A recipe's networks with all that learning changes: one step, one validation, their state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from DeepTranslateLib.engine.augmentedslices import augmented_images, augmented_slices
from DeepTranslateLib.engine.dataset import LabelledSlice, Piece, as_batch, collate
from DeepTranslateLib.engine.device import autocast, full_precision
from DeepTranslateLib.engine.directions import joined, of_direction
from DeepTranslateLib.engine.freezing import freeze
from DeepTranslateLib.engine.methods import Batch, build_method
from DeepTranslateLib.engine.optimizers import learning_rate
from DeepTranslateLib.engine.patches import (
    PatchDraw,
    augmented_patch_images,
    augmented_patches,
)
from DeepTranslateLib.engine.unpairedset import Pair, ValidationPair
from DeepTranslateLib.engine.unpairedvalidation import UnpairedValidation
from DeepTranslateLib.engine.validationmetrics import ValidationMetrics
from DeepTranslateLib.recipe import BACKWARD, FORWARD, Recipe, in_direction


@dataclass(frozen=True)
class InitialWeights:
    """First weights of a training.

    Attributes:
        weights: Of the translating networks, as `directions.joined`; they must fit. Those of one
            direction are where both start from.
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
        earlier: Further channels of images, as of `build_network`.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        initial: InitialWeights | None = None,
        earlier: int = 0,
    ) -> None:
        self._recipe = recipe
        self._device = device
        self._backward = in_direction(recipe, BACKWARD) if recipe.is_unpaired else recipe
        torch.manual_seed(recipe.training.seed)
        self._method = build_method(recipe, device, earlier)
        if initial is not None:
            there = of_direction(initial.weights, FORWARD)
            for direction, network in self._translators().items():
                weights = of_direction(initial.weights, direction) or there
                network.load_state_dict(weights, strict=not initial.fresh)
        decay = recipe.training.ema
        self._averages = {
            direction: AveragedModel(
                network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
            )
            for direction, network in self._translators().items()
            if decay is not None
        }
        # Norms of the last step of each optimizer, where there is a game to watch.
        self._gradients: dict[str, float] = {}
        half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
        self._scaler = torch.amp.GradScaler("cuda", enabled=half)

    @property
    def translator(self) -> nn.Module:
        """The network that translates: the average of its weights where the recipe asks so."""
        return self.translators[FORWARD]

    @property
    def translators(self) -> dict[str, nn.Module]:
        """By direction the network that translates, as `translator`; the way there first."""
        if self._averages:
            return {direction: average.module for direction, average in self._averages.items()}
        return self._translators()

    def _translators(self) -> dict[str, nn.Module]:
        """The networks themselves, which learn."""
        names = self._method.translators
        return {direction: self._method.networks[name] for direction, name in names.items()}

    def begin_epoch(self, epoch: int) -> None:
        """Make the networks ready to learn, at the learning rate of this epoch (from 0)."""
        rate = learning_rate(self._recipe, epoch)
        for name, optimizer in self._method.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * self._method.rates.get(name, 1.0)
        for network in self._method.networks.values():
            network.train()
        for network in self._translators().values():
            freeze(network, self._recipe, epoch)
        self._method.begin_epoch(epoch)

    def step(
        self, slices: Sequence[LabelledSlice | PatchDraw | Pair], random: np.random.Generator
    ) -> dict[str, float]:
        """Learn from one batch of slices or patches, augmented.

        Args:
            slices: The batch.
            random: All that is random in this step is drawn from it.

        Returns:
            Losses and measures by name, "loss" among them.
        """
        # Dropout and the like draw from torch's own generator.
        torch.manual_seed(int(random.integers(2**62)))
        in_3d = self._recipe.is_volumetric
        augment: Any
        if self._recipe.is_unpaired:
            augment = augmented_patch_images if in_3d else augmented_images
            sources = [each.source for each in slices if isinstance(each, Pair)]
            others = [each.target for each in slices if isinstance(each, Pair)]
            images = augment(sources, self._recipe, random, self._device)
            targets = augment(others, self._backward, random, self._device)
            batch = Batch(images, targets, torch.ones_like(images))
        else:
            augment = augmented_patches if in_3d else augmented_slices
            images, targets = augment(slices, self._recipe, random, self._device)
            batch = as_batch(images, targets, self._recipe)
        found = self._method.training_step(batch, self._update)
        return {name: float(value) for name, value in found.items()} | self._gradients

    @torch.inference_mode()
    def validate(
        self, slices: Sequence[Piece | ValidationPair]
    ) -> tuple[float, ValidationMetrics | UnpairedValidation]:
        """Loss, averaged over pieces, and metrics on the pieces as they are.

        As when images are translated, volumes are computed in full precision.
        """
        if self._recipe.is_unpaired:
            return self._validate_unpaired(slices)
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

    def _validate_unpaired(self, pairs: Sequence[Any]) -> tuple[float, UnpairedValidation]:
        for network in self._method.networks.values():
            network.eval()
        networks = {name: network.eval() for name, network in self.translators.items()}
        assert self._recipe.target.range is not None
        metrics = UnpairedValidation(self._recipe.target.range)
        total = 0.0
        # Places that a loss draws are the same each time.
        torch.manual_seed(self._recipe.training.seed)
        for pair in pairs:
            source, other = (each[None].to(self._device) for each in (pair.image, pair.target))
            with full_precision():
                output = networks[FORWARD](source)[0].float()
                cycled = networks[BACKWARD](output)[0].float() if BACKWARD in networks else None
                batch = Batch(source, other, torch.ones_like(source))
                judged = output if cycled is None else cycled
                total += float(self._method.validation_loss(judged, batch)) * pair.weight
            metrics.add(
                source,
                output,
                cycled,
                other,
                source_mask=_counted(pair.source),
                target_mask=_counted(pair.other),
            )
        return total / sum(pair.weight for pair in pairs), metrics

    def weights(self) -> dict[str, Tensor]:
        """A copy of the translating networks' weights, on the CPU, as `directions.joined`."""
        networks = {name: network.state_dict() for name, network in self.translators.items()}
        return {
            name: tensor.detach().to("cpu", copy=True) for name, tensor in joined(networks).items()
        }

    def state(self) -> dict[str, Any]:
        """All that later steps depend on."""
        return {
            "networks": {n: net.state_dict() for n, net in self._method.networks.items()},
            **_averages_state(self._averages),
            "method": self._method.state(),
            "gradients": self._gradients,
            "optimizers": {n: opt.state_dict() for n, opt in self._method.optimizers.items()},
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that `state` gave."""
        for name, network in self._method.networks.items():
            network.load_state_dict(state["networks"][name])
        for direction, average in self._averages.items():
            average.load_state_dict(state[_average_key(direction)])
        # Of a checkpoint from before methods had a state there is none.
        self._method.restore(state.get("method", {}))
        self._gradients = dict(state.get("gradients", {}))
        for name, optimizer in self._method.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._scaler.load_state_dict(state["scaler"])

    def _update(self, name: str, loss: Tensor) -> None:
        optimizer = self._method.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        clip = self._recipe.optimizer.gradient_clip
        watched = len(self._method.optimizers) > 1
        if clip is not None or watched:
            self._scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            norm = nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip)
            # Beyond half precision the scaler skips the step, and scales less in the next.
            if watched and (math.isfinite(norm) or not self._scaler.is_enabled()):
                self._gradients[f"{name}_gradient"] = float(norm)
        self._scaler.step(optimizer)
        self._scaler.update()
        if self._averages and name == self._method.generator:
            for direction, network in self._translators().items():
                self._averages[direction].update_parameters(network)
                _copy_whole_numbers(network, self._averages[direction].module)


def _counted(piece: Piece) -> Tensor | None:
    """(1, 1, *S), 0 where another patch counts or a patch reaches beyond its volume; None: no."""
    target = piece.target
    return target[None, 1:] if len(target) == 2 else None


def _averages_state(averages: Mapping[str, AveragedModel]) -> dict[str, Any]:
    # The key of a single direction is that of checkpoints that know no other.
    states: dict[str, Any] = {_average_key(FORWARD): None}
    return states | {_average_key(name): each.state_dict() for name, each in averages.items()}


def _average_key(direction: str) -> str:
    return "average" if direction == FORWARD else f"average of {direction}"


def _copy_whole_numbers(source: nn.Module, average: nn.Module) -> None:
    """Counters and indices have no average: rounded down, some would be another number."""
    for mine, theirs in zip(average.buffers(), source.buffers(), strict=True):
        if not mine.is_floating_point():
            mine.copy_(theirs)
