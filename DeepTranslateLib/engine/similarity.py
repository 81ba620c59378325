"""Structural similarity of images, at one scale and at several; loss and metric are made of it.

Local statistics are of the pixels that count: each window's weights are those of a Gaussian times
the mask, brought to a sum of 1. Where all pixels count this is SSIM as published.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Wang et al. 2004, section III.C: an 11 x 11 Gaussian of SD 1.5, and K1, K2.
WINDOW = 11
_SD = 1.5
_K1, _K2 = 0.01, 0.03
# Wang et al. 2003, section 3.2: the finest scale first.
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Below it a contrast term, which may be negative, has no root and no gradient.
_LEAST = 1e-6


def ssim(x: Tensor, y: Tensor, mask: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """SSIM of each image and channel (Wang et al. 2004, eq. 13), over windows inside the image.

    Along an axis shorter than a window (11 pixels) the window is as long as an odd number of
    pixels allows.

    Args:
        x: (B, C, *S), two or three axes in S.
        y: (B, C, *S).
        mask: (B, 1, *S), the weight of each pixel, 0 to 1.
        data_range: Highest minus lowest possible value.

    Returns:
        (B, C) means over windows, each as important as its middle pixel, and (B, 1) sums of
        these importances.
    """
    similarity, _, importance = _similarity(x, y, mask, data_range)
    return _means(similarity, importance), importance.flatten(1).sum(1, keepdim=True)


def multiscale_ssim(x: Tensor, y: Tensor, mask: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """MS-SSIM of each image and channel (Wang et al. 2003, eq. 7).

    Contrast and structure at all scales, luminance at the coarsest; each scale has half the
    pixels, averaged, of the one before along each axis that holds a window. Images too small for
    five scales have as many as hold a window, with the weights of these brought to a sum of 1.

    Args and Returns: As of `ssim`; the importances are those of the finest scale.
    """
    scales = scales_of(tuple(x.shape[2:]))
    weights = [weight / sum(_SCALE_WEIGHTS[:scales]) for weight in _SCALE_WEIGHTS[:scales]]
    halved = tuple(2 if size >= WINDOW else 1 for size in x.shape[2:])
    result = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
    total = torch.zeros(x.shape[0], 1, dtype=x.dtype, device=x.device)
    for scale, weight in enumerate(weights):
        if scale:
            coarse = _pool(mask, halved)
            x, y = (_pool(v * mask, halved) / coarse.clamp_min(_LEAST) for v in (x, y))
            mask = coarse
        similarity, contrast, importance = _similarity(x, y, mask, data_range)
        if not scale:
            total = importance.flatten(1).sum(1, keepdim=True)
        term = similarity if scale == scales - 1 else contrast
        # A mask near the image's edge may leave no window at a coarse scale, which says nothing.
        silent = importance.flatten(2).sum(2) == 0
        value = _means(term, importance).clamp_min(_LEAST).masked_fill(silent, 1)
        result = result * value**weight
    return result, total


def scales_of(size: tuple[int, ...]) -> int:
    """How many scales, at most five, hold a window along each axis that holds one at all."""
    long = [length for length in size if length >= WINDOW]
    if not long:
        return 1
    return min(len(_SCALE_WEIGHTS), 1 + int(math.log2(min(long) // WINDOW)))


def pooled(values: Tensor, importance: Tensor) -> Tensor:
    """Mean of values (B, C) by the importance (B, 1) of the images; 1 where nothing counts."""
    total = importance.sum() * values.shape[1]
    return 1 - ((1 - values) * importance).sum() / total.clamp_min(_LEAST)


def _similarity(
    x: Tensor, y: Tensor, mask: Tensor, data_range: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Similarity and its contrast-structure term of each window, and the windows' importance."""
    windows = [_gaussian(length) for length in x.shape[2:]]
    weight = _smooth(mask, windows).clamp_min(_LEAST**2)

    def mean(values: Tensor) -> Tensor:
        return _smooth(values * mask, windows) / weight

    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    contrast = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    importance = mask
    for axis, window in enumerate(windows, start=2):
        radius = len(window) // 2
        importance = importance.narrow(axis, radius, mask.shape[axis] - 2 * radius)
    return luminance * contrast, contrast, importance


def _gaussian(length: int) -> list[float]:
    """Weights of the window along an axis of this length."""
    radius = (min(WINDOW, length) - 1) // 2
    weights = [math.exp(-(place**2) / (2 * _SD**2)) for place in range(-radius, radius + 1)]
    return [weight / sum(weights) for weight in weights]


def _smooth(values: Tensor, windows: list[list[float]]) -> Tensor:
    """Convolve (B, C, *S) with a window along each axis, where it lies inside.

    As a sum of shifted images, which on a CPU takes a fifth of the time of torch's convolutions
    with one channel.
    """
    for axis, window in enumerate(windows, start=2):
        size = values.shape[axis] - len(window) + 1
        smooth = values.narrow(axis, 0, size) * window[0]
        for shift, weight in enumerate(window[1:], start=1):
            smooth = smooth.add_(values.narrow(axis, shift, size), alpha=weight)
        values = smooth
    return values


def _pool(values: Tensor, sides: tuple[int, ...]) -> Tensor:
    if len(sides) == 2:
        return F.avg_pool2d(values, sides)
    return F.avg_pool3d(values, sides)


def _means(values: Tensor, importance: Tensor) -> Tensor:
    total = importance.flatten(2).sum(2)
    return (values * importance).flatten(2).sum(2) / total.clamp_min(_LEAST)
