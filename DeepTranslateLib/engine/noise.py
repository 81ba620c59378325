"""Noise models: images as they would be at a lower dose, with weaker signal, or with rings.

They act on an image's values in their units and on its own grid. The noise belongs to a seed: the
same image, kind, level and seed give the same voxels, however the image is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image import Image

# A scan of the trunk at full dose, to which dose factors refer.
FULL_DOSE_WATER_SD = 10.0
ELECTRONIC_SD = 2.0

_PERCENTILES = (0.5, 99.5)

Voxels = npt.NDArray[np.float64]


class NoiseError(ValueError):
    """The noise cannot be added to this image, or its level is impossible."""


@dataclass(frozen=True)
class NoiseKind:
    """A noise model.

    Attributes:
        meaning: What its level is.
        default: The level where none is given; of `in_units`, a part of the window's width.
        maximum: Largest level, or None.
        in_units: The level is in the units of the image.
    """

    meaning: str
    default: float
    maximum: float | None
    in_units: bool


KINDS: dict[str, NoiseKind] = {
    "pixel-subset": NoiseKind(
        "part of the voxels that receive Gaussian noise whose SD is the window's width (Ye et al. "
        "2021: 0.3, and 0.5 as a stress test)",
        0.3,
        1.0,
        False,
    ),
    "gaussian": NoiseKind("SD in the image's units", 0.05, None, True),
    "poisson": NoiseKind(
        "dose as a part of the full one, above 0; for CT in HU, with 10 HU of noise in water at "
        "full dose",
        0.25,
        1.0,
        False,
    ),
    "rician": NoiseKind(
        "SD of the real and of the imaginary part, in the image's units; for MR magnitudes",
        0.05,
        None,
        True,
    ),
    "ring": NoiseKind("SD of the rings in the image's units", 0.02, None, True),
}


def add_noise(
    image: Image,
    kind: str,
    seed: int,
    level: float | None = None,
    window: tuple[float, float] | None = None,
) -> Image:
    """Add noise to an image.

    Args:
        image: In HU for "poisson", without negative values for "rician".
        kind: One of `KINDS`.
        seed: 0 or more.
        level: As `KINDS` says; None: its default.
        window: Lowest and highest intensity; None: the 0.5th and 99.5th percentile of the image.

    Returns:
        The image's grid and data type; integers are rounded and kept within their type.

    Raises:
        NoiseError: An unknown kind, an impossible level, or an image that the kind cannot be for.

    Example:
        >>> flat = Image(np.full((1, 64, 64), 40, np.int16), np.eye(4))
        >>> add_noise(flat, "gaussian", seed=1, level=10).voxels.dtype
        dtype('int16')
    """
    width = window_width(image, window)
    resolve_level(kind, level, width)
    if kind == "rician" and image.voxels.min() < 0:
        raise NoiseError(
            f"Rician noise is that of MR magnitudes, which are not negative; the smallest value is "
            f"{image.voxels.min():g}. Choose 'gaussian', or 'poisson' for CT."
        )
    upright = image.oriented("LPS")
    pixel = (float(upright.spacing[0]), float(upright.spacing[1]))
    noisy = np.empty(upright.voxels.shape, dtype=image.voxels.dtype)
    for number, piece in enumerate(upright.voxels):
        # By slice, so that a long volume needs no more memory than it has itself.
        random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
        values = noisy_values(piece.astype(np.float64), kind, random, level, width, pixel)
        noisy[number] = _as_type(values, noisy.dtype)
    # The affine is kept from the image, to its last digit.
    return image.with_voxels(Image(noisy, upright.affine).oriented(image.orientation).voxels)


def noisy_values(
    values: Voxels,
    kind: str,
    random: np.random.Generator,
    level: float | None,
    width: float,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Voxels:
    """Values of one slice with noise.

    Args:
        values: (rows, columns), in the image's units.
        kind: One of `KINDS`.
        random: Where the noise is drawn from.
        level: None for the default.
        width: Of the window, in the image's units.
        spacing: Distances of columns and rows, of which their ratio counts.

    Raises:
        NoiseError: An unknown kind or an impossible level.
    """
    level = resolve_level(kind, level, width)
    return _MODELS[kind](values, random, _Setting(level, width, spacing))


def resolve_level(kind: str, level: float | None, width: float) -> float:
    """The level that None stands for, checked.

    Args:
        kind: One of `KINDS`.
        level: None, or as `KINDS` says.
        width: Of the window, in the image's units.

    Raises:
        NoiseError: An unknown kind or an impossible level.
    """
    if kind not in KINDS:
        raise NoiseError(f"There is no noise '{kind}'. Possible: {', '.join(KINDS)}.")
    about = KINDS[kind]
    if level is None:
        return about.default * (width if about.in_units else 1)
    highest = np.inf if about.maximum is None else about.maximum
    lowest_excluded = kind == "poisson" and level <= 0
    if not 0 <= level <= highest or lowest_excluded or not np.isfinite(level):
        span = "at least 0" if about.maximum is None else f"from 0 to {about.maximum:g}"
        raise NoiseError(f"The level of '{kind}' is {level:g}; expected {span}: {about.meaning}.")
    return float(level)


def window_width(image: Image, window: tuple[float, float] | None = None) -> float:
    """Width of a window, or of the one that the image's own percentiles make, in its units.

    Raises:
        NoiseError: The window is empty, or the image has no finite values.
    """
    if window is not None:
        if not (window[0] < window[1] and np.isfinite(window).all()):
            raise NoiseError(
                f"The window is [{window[0]:g}, {window[1]:g}]; expected [lowest, highest]."
            )
        return window[1] - window[0]
    step = max(1, round((image.voxels.size / 2_000_000) ** (1 / 3)))
    sample = image.voxels[:: min(step, image.shape[0]), ::step, ::step]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        raise NoiseError("The image has no finite values.")
    low, high = np.percentile(sample, _PERCENTILES)
    return float(high - low)


@dataclass(frozen=True)
class _Setting:
    level: float
    width: float
    spacing: tuple[float, float]


def _pixel_subset(values: Voxels, random: np.random.Generator, setting: _Setting) -> Voxels:
    chosen = random.random(values.shape) < setting.level
    return values + chosen * random.normal(0, setting.width, values.shape)


def _gaussian(values: Voxels, random: np.random.Generator, setting: _Setting) -> Voxels:
    return values + random.normal(0, setting.level, values.shape)


def _poisson(values: Voxels, random: np.random.Generator, setting: _Setting) -> Voxels:
    """What a scan at full dose lacks of the noise of one at a lower dose.

    Quanta are counted (variance as the attenuation, in inverse proportion to the dose), and
    electronics add Gaussian noise (SD in inverse proportion); Foi et al. 2008,
    doi:10.1109/TIP.2008.2001399.
    """
    dose = setting.level
    if dose == 1:
        return values
    attenuation = np.clip(1 + values / 1000, 0, None)  # 1 for water, 0 for air
    attenuation[~np.isfinite(attenuation)] = 0
    quanta = (1000 / FULL_DOSE_WATER_SD) ** 2 * dose / (1 - dose)
    counted = random.poisson(attenuation * quanta) / quanta - attenuation
    electronic = random.normal(0, ELECTRONIC_SD * np.sqrt(1 / dose**2 - 1), values.shape)
    return values + 1000 * counted + electronic


def _rician(values: Voxels, random: np.random.Generator, setting: _Setting) -> Voxels:
    real, imaginary = random.normal(0, setting.level, (2, *values.shape))
    return np.hypot(values + real, imaginary)


def _ring(values: Voxels, random: np.random.Generator, setting: _Setting) -> Voxels:
    """One offset for each ring, as wide as a pixel, around the middle of the axial slice."""
    column_mm, row_mm = setting.spacing
    rows, columns = values.shape
    y = (np.arange(rows) - (rows - 1) / 2) * row_mm
    x = (np.arange(columns) - (columns - 1) / 2) * column_mm
    rings = (np.hypot(y[:, None], x) / min(row_mm, column_mm)).astype(np.int64)
    return values + random.normal(0, setting.level, int(rings.max()) + 1)[rings]


_MODELS: dict[str, Callable[[Voxels, np.random.Generator, _Setting], Voxels]] = {
    "pixel-subset": _pixel_subset,
    "gaussian": _gaussian,
    "poisson": _poisson,
    "rician": _rician,
    "ring": _ring,
}


def _as_type(values: Voxels, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.kind == "f":
        return values.astype(dtype)
    kind = np.iinfo(dtype)
    return np.clip(np.rint(values), kind.min, kind.max).astype(dtype)
