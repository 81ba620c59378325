"""What the outputs of a network's coarser levels are held to, and how much they count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.networks.coarser import averaged

_QUARTER = 2  # place of the output at a quarter of the size


@dataclass(frozen=True)
class Level:
    """One output and what it should be.

    Attributes:
        weight: Of its loss; those of all levels add up to 1.
        output: (B, outputs, *S), of this level or enlarged.
        targets: (B, outputs, *S).
        mask: (B, 1, *S).
    """

    weight: float
    output: Tensor
    targets: Tensor
    mask: Tensor


def levels_of(outputs: Sequence[Tensor], batch: Batch, coarse_targets: str) -> list[Level]:
    """The outputs of a network, finest first, that take part in the loss.

    Args:
        outputs: The first has the size of the targets.
        batch: Says what that one should be.
        coarse_targets: As in `recipe.Method`.
    """
    finest = Level(1.0, outputs[0], batch.targets, batch.mask)
    if len(outputs) == 1:
        return [finest]
    if coarse_targets == "full_size":
        size = batch.targets.shape[2:]
        enlarged = F.interpolate(outputs[_QUARTER], size=size, mode="nearest")
        both = (outputs[0], enlarged)
        return [Level(0.5, output, batch.targets, batch.mask) for output in both]
    if coarse_targets == "nearest":
        outputs = outputs[:-1]
    weights = [0.5**level for level in range(len(outputs))]
    reduce = _nearest if coarse_targets == "nearest" else _averaged
    return [
        Level(weight / sum(weights), output, *reduce(batch, tuple(output.shape[2:])))
        for weight, output in zip(weights, outputs, strict=True)
    ]


def _averaged(batch: Batch, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    if size == tuple(batch.targets.shape[2:]):
        return batch.targets, batch.mask
    mask = averaged(batch.mask, size)
    # Ignored pixels take no part in the average of a coarse pixel's target.
    targets = averaged(batch.targets * batch.mask, size)
    return targets / mask.clamp_min(1e-6), mask


def _nearest(batch: Batch, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return (
        F.interpolate(batch.targets, size=size, mode="nearest-exact"),
        F.interpolate(batch.mask, size=size, mode="nearest-exact"),
    )
