"""How well two images agree in space, of whatever modalities they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from DeepTranslateLib.cohort.hounsfield import why_not_hounsfield
from DeepTranslateLib.engine.body import AIR_HU, THRESHOLD_HU
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.transform import Transform

_BINS = 32
_SAMPLES = 500_000
# Of fewer voxels a joint histogram of 32 x 32 says nothing.
_FEWEST = _BINS * _BINS
_SMALLEST_SIZE = 4  # voxels along an axis, without which no gradient of a volume is known


class RegistrationError(ValueError):
    """Images cannot be registered: what was expected, what was found, what to do."""


@dataclass(frozen=True)
class Alignment:
    """How well a moving image agrees with a fixed one.

    Attributes:
        information: Normalised mutual information (Studholme et al. 1999,
            doi:10.1016/S0031-3203(98)00091-0), which does not depend on how much of the fields
            of view overlap: from 1 (the images say nothing about each other) to 2.
        overlap: Dice coefficient of the foregrounds, 0 to 1: above -400 HU in CT, above Otsu's
            threshold elsewhere.
        coverage: Part of the fixed image's voxels, those of the mask, that the moving one reaches.
    """

    information: float
    overlap: float
    coverage: float


def measure_alignment(
    fixed: Image, moving: Image, transform: Transform, mask: Image | None = None
) -> Alignment:
    """Measure how well a moving image, resampled through a transform, agrees with a fixed one.

    About half a million voxels of the fixed image are taken, evenly spread.

    Args:
        fixed: The fixed image.
        moving: The moving image, with its own grid.
        transform: From the fixed image's world to the moving image's.
        mask: On the fixed image's grid; voxels where it is 0 do not count.
    """
    step = max(1, round((fixed.voxels.size / _SAMPLES) ** (1 / 3)))
    here = _thinned(fixed, step)
    counts = np.ones(here.shape, bool) if mask is None else _thinned(mask, step).voxels != 0
    there = transform.resampled(
        moving.with_voxels(moving.voxels.astype(np.float32)), here, "linear", np.nan
    ).voxels
    reached = counts & np.isfinite(there)
    foreground = here.voxels > foreground_threshold(fixed)
    with np.errstate(invalid="ignore"):
        other = there > foreground_threshold(moving)
    foreground, other = foreground & counts, other & counts
    both = int(foreground.sum()) + int(other.sum())
    return Alignment(
        information=_normalised_information(here.voxels[reached], there[reached]),
        overlap=2 * int((foreground & other).sum()) / both if both else 0.0,
        coverage=int(reached.sum()) / max(1, int(counts.sum())),
    )


def checked_pair(fixed: Image, moving: Image, mask: Image | None) -> None:
    """Refuse images that cannot be registered.

    Raises:
        RegistrationError: Too few slices, constant or not finite values, a mask on another grid
            or without a voxel.
    """
    for name, image in (("fixed", fixed), ("moving", moving)):
        if min(image.shape) < _SMALLEST_SIZE:
            size = " x ".join(str(n) for n in image.shape)
            raise RegistrationError(
                f"The {name} image has {size} voxels (K x J x I), and registration needs at least "
                f"{_SMALLEST_SIZE} along each axis. Give the whole volume, not a slice."
            )
        low, high = float(image.voxels.min()), float(image.voxels.max())
        if not np.isfinite([low, high]).all():
            raise RegistrationError(
                f"The {name} image holds values that are no numbers. Export it again."
            )
        if low == high:
            raise RegistrationError(
                f"Every voxel of the {name} image is {low:g}, so there is nothing to register by. "
                "Check the file."
            )
    if mask is None:
        return
    if not mask.same_grid(fixed):
        raise RegistrationError(
            "The mask lies on another grid than the fixed image. Resample it onto that grid first."
        )
    if not mask.voxels.any():
        raise RegistrationError("The mask is 0 everywhere. Give one that marks what counts.")


def comparable(image: Image) -> np.ndarray:
    """Return voxels without extremes, float32, so that no histogram is spent on padding or metal.

    Values are kept within the 0.5th to the 99.5th percentile; in CT also above that of air.
    """
    low, high = np.percentile(_thinned(image, _thinning(image)).voxels, (0.5, 99.5))
    if _is_ct(image):
        low = max(low, AIR_HU)
    if low >= high:
        low, high = image.voxels.min(), image.voxels.max()
    return np.clip(image.voxels.astype(np.float32), low, high)


def foreground_threshold(image: Image) -> float:
    """Return the value above which voxels are foreground: -400 HU in CT, else Otsu's."""
    if _is_ct(image):
        return THRESHOLD_HU
    voxels = _thinned(image, _thinning(image)).voxels.astype(np.float32)
    low, high = np.percentile(voxels, (0.5, 99.5))
    statistic = sitk.OtsuThresholdImageFilter()
    statistic.SetNumberOfHistogramBins(256)
    statistic.Execute(sitk.GetImageFromArray(np.clip(voxels, low, high) if low < high else voxels))
    return float(statistic.GetThreshold())


def foreground_centre(image: Image) -> np.ndarray:
    """Return the centre of gravity of an image's foreground, RAS in mm (3,)."""
    thin = _thinned(image, _thinning(image))
    k, j, i = np.nonzero(thin.voxels > foreground_threshold(image))
    if not i.size:
        return image.ras((np.array(image.shape[::-1]) - 1) / 2)
    return thin.ras([i.mean(), j.mean(), k.mean()])


def _is_ct(image: Image) -> bool:
    return why_not_hounsfield(image.voxels) is None


def _thinning(image: Image) -> int:
    return max(1, round((image.voxels.size / _SAMPLES) ** (1 / 3)))


def _thinned(image: Image, step: int) -> Image:
    """Return every step-th voxel along each axis, where it is."""
    affine = image.affine.copy()
    affine[:3, :3] *= step
    return Image(image.voxels[::step, ::step, ::step], affine)


def _normalised_information(first: np.ndarray, second: np.ndarray) -> float:
    """(H(A) + H(B)) / H(A, B) of a joint histogram of 32 x 32 bins."""
    if first.size < _FEWEST:
        return 1.0
    joint = np.histogram2d(_binned(first), _binned(second), bins=_BINS)[0]
    joint /= joint.sum()
    together = _entropy(joint.ravel())
    if together == 0:
        return 1.0
    return float((_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / together)


def _binned(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, (0.5, 99.5))
    return np.clip(values.astype(np.float64), low, high)


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
