"""Losses, one idea a file; `build_loss` makes the one, or the weighted sum, that a recipe names.

A loss takes predictions (B, C, *S) as the network gives them (logits for labels, values scaled to
0..1 for a volume), a target of the same shape and a mask (B, 1, *S) with the weight of each pixel,
0 where the pixel is to be ignored; S is (H, W) or (D, H, W). It returns a scalar, computed in fp32
whatever autocast is about: differences of squares, logarithms and quotients of sums lose too much
in half precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
LossSpec = str | Sequence[tuple[str, float]]

# Name in recipes: the file, and the function in it.
_FOR_LABELS = {
    "binary_cross_entropy": ("cross_entropy", "binary_cross_entropy"),
    "cross_entropy": ("cross_entropy", "cross_entropy"),
    "sparse_cross_entropy": ("cross_entropy", "sparse_cross_entropy"),
    "dice": ("dice", "dice"),
    "dice_binary_cross_entropy": ("dice", "dice_binary_cross_entropy"),
    "dice_cross_entropy": ("dice", "dice_cross_entropy"),
    "focal": ("focal", "focal"),
    "tversky": ("tversky", "tversky"),
}
_FOR_VOLUMES = {
    "mse": ("intensity", "mean_squared_error"),
    "mae": ("intensity", "mean_absolute_error"),
    "charbonnier": ("intensity", "charbonnier"),
    "ssim": ("structural_similarity", "structural_similarity"),
    "ms_ssim": ("structural_similarity", "multiscale_structural_similarity"),
    "gradient_difference": ("gradient_difference", "gradient_difference"),
    "total_variation": ("total_variation", "total_variation"),
}
LABEL_LOSSES = tuple(_FOR_LABELS)
VOLUME_LOSSES = tuple(_FOR_VOLUMES)
# Those by which a pixel has one label or none, so that the logits belong into one softmax.
EXCLUSIVE = ("cross_entropy", "sparse_cross_entropy", "dice_cross_entropy")

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class LossError(ValueError):
    """No such loss, or a weight that cannot be."""


def build_loss(spec: LossSpec) -> Loss:
    """The loss with a name, or the sum of several, each times its weight.

    Args:
        spec: A name such as "mae", or pairs such as (("mae", 1.0), ("gradient_difference", 0.5)).

    Raises:
        LossError: An unknown name, or a weight that is not a positive number.
    """
    if isinstance(spec, str):
        return _named(spec)
    if not spec:
        raise LossError("A sum of losses needs at least one (name, weight); none was given.")
    for name, weight in spec:
        if not (math.isfinite(weight) and weight > 0):
            raise LossError(f"The weight of '{name}' is {weight}; it must be a positive number.")
    parts = tuple((_named(name), weight) for name, weight in spec)

    def weighted_sum(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return torch.stack([w * loss(output, target, mask) for loss, w in parts]).sum()

    return weighted_sum


def _named(name: str) -> Loss:
    places = {**_FOR_LABELS, **_FOR_VOLUMES}
    if name not in places:
        raise LossError(f"There is no loss '{name}'. Possible: {', '.join(places)}.")
    module, function = places[name]
    loss: Loss = getattr(import_module(f"{__name__}.{module}"), function)
    return loss


def in_full_precision(loss: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Compute a loss in fp32 (fp64 for fp64 tensors), also where it is called under autocast."""

    @wraps(loss)
    def computed(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        with torch.autocast(tensors[0].device.type, enabled=False):
            return loss(
                *(_precise(value) for value in args),  # type: ignore[arg-type]
                **{name: _precise(value) for name, value in kwargs.items()},  # type: ignore[arg-type]
            )

    return computed


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, C, *S) weighted by a mask (B, 1, *S); 0 where nothing counts."""
    total = mask.sum() * values.shape[1]
    return (values * mask).sum() / total.clamp_min(1e-6)


def _precise(value: object) -> object:
    if not isinstance(value, Tensor):
        return value
    return value.to(torch.promote_types(value.dtype, torch.float32))
