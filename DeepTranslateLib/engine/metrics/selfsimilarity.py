"""What a translation keeps of its own input, where no reference exists.

Input and translation show the same patient on one grid, so a translation that moves, adds or
removes anatomy is found without knowing what it should look like. Kida et al. 2020
(doi:10.1002/mp.13963) took SSIM of the two, "SelfSSIM"; Ozaki et al. 2022
(doi:10.1002/mp.15626) report NSelfSSIM and DIG. Their exact formulas were not at hand: what
`normalised_self_ssim` and `gradient_difference` compute is written in their docstrings and is a
reading of these names, so that numbers compare among translations measured here, not with the
paper's.

Intensities of two domains differ, and that is no fault of a translation. Both functions first
bring the translation to the mean and SD that the input has, over what counts; neither depends on
the units of the translation, nor on any other shift or positive scale.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.engine.metrics.structure import slice_similarity

_Mask = npt.NDArray[np.bool_]
# Sobel's filter as an outer product: a derivative per pixel along one axis, a mean along the other.
_DERIVATIVE = (-0.5, 0.0, 0.5)
_MEAN = (0.25, 0.5, 0.25)


def normalised_self_ssim(
    source: npt.NDArray[np.generic],
    translated: npt.NDArray[np.generic],
    counted: _Mask | None = None,
    *,
    value_range: tuple[float, float] | None = None,
) -> float:
    """NSelfSSIM: SSIM of an input and its translation at one mean and SD.

    SSIM(x, (y - mean y) / SD y * SD x + mean x), of slices, pooled over their pixels. Where the
    domains show contrasts of other signs (bright fluid, dark fluid) it stays below 1 however well
    structure is kept: compare it among translations of the same inputs.

    Args:
        source: The input x, (slices, rows, columns) numbers.
        translated: Its translation y, of the same shape.
        counted: Voxels that count, of the same shape; default: all.
        value_range: Lowest and highest possible value of the input, for SSIM's constants;
            default: those of its voxels that count.

    Returns:
        -1 to 1, and 1 where the translation is the input up to a shift and a positive scale; NaN
        where nothing counts or an image is constant.
    """
    x, y = _alike(source, translated, counted)
    if value_range is None:
        inside = x if counted is None else x[counted]
        value_range = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)
    return slice_similarity(y, x, value_range, counted)


def gradient_difference(
    source: npt.NDArray[np.generic],
    translated: npt.NDArray[np.generic],
    counted: _Mask | None = None,
    *,
    pixel_mm: tuple[float, float] = (1.0, 1.0),
) -> float:
    """DIG, the difference of image gradients of an input and its translation.

    The mean of | |grad x| - |grad y| | over pixels, with x and y at mean 0 and SD 1 and the
    gradient in each slice by Sobel's filter. Magnitudes, since an edge that is bright on the other
    side is still at its place.

    Args:
        source: The input x, (slices, rows, columns) numbers.
        translated: Its translation y, of the same shape.
        counted: Voxels that count, of the same shape: those are averaged whose eight neighbours
            count as well. Default: all.
        pixel_mm: Distance of rows and of columns in mm; default: gradients per pixel.

    Returns:
        In SDs per mm, from 0, which says that all edges are where they were and as strong; NaN
        where nothing counts or an image is constant.
    """
    x, y = _alike(source, translated, counted)
    inside = np.ones(x.shape, np.bool_) if counted is None else counted
    if not inside.any() or min(x.shape[1:]) < 3:
        return math.nan
    total, pixels = 0.0, 0
    for mine, theirs, counts in zip(x, y, inside, strict=True):
        centre = _all_around(counts)
        difference = np.abs(_steepness(mine, pixel_mm) - _steepness(theirs, pixel_mm))[centre]
        total += float(difference.sum())
        pixels += difference.size
    # Not a number already where an image is constant.
    return total / float(x[inside].std()) / pixels if pixels and total == total else math.nan


def cycle_ssim(
    source: npt.NDArray[np.generic],
    cycled: npt.NDArray[np.generic],
    value_range: tuple[float, float],
    counted: _Mask | None = None,
) -> float:
    """SSIM of an input and what came of it by translating to the other domain and back.

    It says that a pair of translators is consistent, never that a translation is right: networks
    that hide the input in their output (Chu et al. 2017) reach 1.

    Args:
        source: The input, (slices, rows, columns) numbers.
        cycled: Translated and translated back, of the same shape, in the same unit.
        value_range: Lowest and highest possible value.
        counted: Voxels that count, of the same shape; default: all.

    Returns:
        -1 to 1; NaN where nothing counts or the range is empty.
    """
    return slice_similarity(cycled, source, value_range, counted)


def _alike(
    source: npt.NDArray[np.generic], translated: npt.NDArray[np.generic], counted: _Mask | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Both in double precision, the translation at the input's mean and SD; NaN if constant."""
    if source.shape != translated.shape:
        raise ValueError(
            f"Expected an input and a translation of one shape, found {source.shape} and "
            f"{translated.shape}."
        )
    x, y = source.astype(np.float64), translated.astype(np.float64)
    mine, theirs = (values if counted is None else values[counted] for values in (x, y))
    if not mine.size:
        return x, y
    spreads = [values.std() for values in (mine, theirs)]
    # What rounding leaves of a constant image is no structure.
    least = [1e-12 * max(1.0, np.abs(values).max()) for values in (mine, theirs)]
    if any(spread <= limit for spread, limit in zip(spreads, least, strict=True)):
        return x, np.full_like(y, math.nan)
    return x, (y - theirs.mean()) * (spreads[0] / spreads[1]) + mine.mean()


def _steepness(
    pixels: npt.NDArray[np.float64], pixel_mm: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Magnitude of the gradient of (rows, columns), without the border."""
    down = _filtered(pixels, _DERIVATIVE, _MEAN) / pixel_mm[0]
    across = _filtered(pixels, _MEAN, _DERIVATIVE) / pixel_mm[1]
    return np.hypot(down, across)


def _filtered(
    pixels: npt.NDArray[np.float64], down: tuple[float, ...], across: tuple[float, ...]
) -> npt.NDArray[np.float64]:
    rows, columns = (size - 2 for size in pixels.shape)
    half = np.zeros((rows, columns + 2))
    for start, weight in enumerate(down):
        half += weight * pixels[start : start + rows]
    whole = np.zeros((rows, columns))
    for start, weight in enumerate(across):
        whole += weight * half[:, start : start + columns]
    return whole


def _all_around(counts: _Mask) -> _Mask:
    """Pixels (but the border) that count with all their neighbours."""
    rows, columns = (size - 2 for size in counts.shape)
    shifts = [
        counts[row : row + rows, column : column + columns]
        for row in range(3)
        for column in range(3)
    ]
    return np.asarray(np.logical_and.reduce(shifts))
