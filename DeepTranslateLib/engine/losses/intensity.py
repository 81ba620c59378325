"""Differences of intensities."""

from __future__ import annotations

import torch
from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision, masked_mean


@in_full_precision
def mean_squared_error(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference over counted pixels, all (B, C, *S), mask (B, 1, *S)."""
    return masked_mean((prediction - target) ** 2, mask)


@in_full_precision
def mean_absolute_error(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference over counted pixels, all (B, C, *S), mask (B, 1, *S)."""
    return masked_mean((prediction - target).abs(), mask)


@in_full_precision
def charbonnier(prediction: Tensor, target: Tensor, mask: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean over counted pixels of sqrt(d^2 + e^2) (Charbonnier et al. 1994; Lai et al. 2017).

    The absolute difference, made smooth at 0: robust like it, and with a gradient that fades.

    Args:
        prediction: (B, C, *S), 0 to 1.
        target: (B, C, *S), 0 to 1.
        mask: (B, 1, *S), 0 to 1.
        epsilon: e, the difference below which the loss is round rather than straight.
    """
    return masked_mean(torch.sqrt((prediction - target) ** 2 + epsilon**2), mask)
