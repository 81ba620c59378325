"""Differences of intensities."""

from __future__ import annotations

from torch import Tensor

from DeepTranslateLib.engine.losses import masked_mean


def mean_squared_error(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference over counted pixels, all (B, C, H, W), mask (B, 1, H, W)."""
    return masked_mean((prediction - target) ** 2, mask)


def mean_absolute_error(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference over counted pixels, all (B, C, H, W), mask (B, 1, H, W)."""
    return masked_mean((prediction - target).abs(), mask)
