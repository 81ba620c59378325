"""Structural similarity of the slices of two volumes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from DeepTranslateLib.engine.similarity import multiscale_ssim, ssim


def slice_similarity(
    predicted: npt.NDArray[np.generic],
    reference: npt.NDArray[np.generic],
    value_range: tuple[float, float],
    counted: npt.NDArray[np.bool_] | None = None,
    *,
    multiscale: bool = False,
) -> float:
    """SSIM, or MS-SSIM, of slices, pooled over their pixels; computed in double precision.

    Each slice by itself, as SSIM is defined for images and as thick slices are looked at. A
    window's statistics are those of its counted pixels, so nothing outside a mask plays a part,
    and a slice is as important as the windows whose middle counts are many.

    Args:
        predicted: (slices, rows, columns) numbers.
        reference: Of the same shape.
        value_range: Lowest and highest possible value. SSIM is defined for values from 0 on, so
            the lowest is subtracted; values outside the range are not clipped.
        counted: Voxels that count, of the same shape; default: all.
        multiscale: MS-SSIM in place of SSIM.

    Returns:
        -1 to 1 (0 to 1 for MS-SSIM); NaN where no window counts or the range is empty.
    """
    lowest, highest = value_range
    if not highest > lowest:
        return math.nan
    similarity = multiscale_ssim if multiscale else ssim
    total = weight = 0.0
    for index in range(len(predicted)):
        if counted is not None and not counted[index].any():
            continue
        x, y = (
            torch.from_numpy(volume[index].astype(np.float64) - lowest)[None, None]
            for volume in (predicted, reference)
        )
        mask = torch.ones_like(x)
        if counted is not None:
            mask = torch.from_numpy(counted[index].astype(np.float64))[None, None]
        value, importance = similarity(x, y, mask, highest - lowest)
        total += float(value) * float(importance)
        weight += float(importance)
    return total / weight if weight else math.nan
