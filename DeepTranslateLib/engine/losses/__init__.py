"""Losses, one idea a file; `build_loss` makes the one that a recipe names.

A loss takes predictions (B, C, H, W) as the network gives them (logits for labels, values scaled
to 0..1 for a volume), a target of the same shape and a mask (B, 1, H, W) with the weight of each
pixel, 0 where the pixel is to be ignored. It returns a scalar. The training loop calls losses in
fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

_LOSSES = {
    "binary_cross_entropy": ("cross_entropy", "binary_cross_entropy"),
    "dice_binary_cross_entropy": ("dice", "dice_binary_cross_entropy"),
    "mse": ("intensity", "mean_squared_error"),
    "mae": ("intensity", "mean_absolute_error"),
}


def build_loss(name: str) -> Loss:
    """The loss with this name in recipes."""
    module, function = _LOSSES[name]
    # One by one: MONAI, which some build on, takes seconds to import.
    loss: Loss = getattr(import_module(f"{__name__}.{module}"), function)
    return loss


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, C, H, W) weighted by a mask (B, 1, H, W); 0 where nothing counts."""
    total = mask.sum() * values.shape[1]
    return (values * mask).sum() / total.clamp_min(1e-6)
