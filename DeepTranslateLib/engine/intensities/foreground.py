"""What in an image without units is the patient, and what is air or padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

_PIXEL_MM = 2.0  # the body is looked for on a grid of about this size
_OPENING_MM = 2.0  # noise and ghosts are thinner than twice this
_REACH_MM = 4.0  # what lies this close to the body stays
_SMALLEST_PART = 0.1  # of the largest; both legs are the body
_PADDED = 0.05  # part of a volume that one value must fill to be its padding
_AIR = 0.15  # of the way from dark to bright; noise is darker
_FAR = 0.02  # part of what is not padding that may lie away from the patient
_RANGE = (2, 98)  # percentiles that stand for dark and bright, whatever a few voxels hold

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Foreground:
    """The patient in a stack of slices.

    Attributes:
        mask: On a coarse grid, what belongs to the patient.
        steps: Slices, rows and columns to a voxel of that grid.
        is_exact: The background is one value, and all else the patient, with what it encloses.
    """

    mask: Mask
    steps: tuple[int, int, int]
    is_exact: bool

    def values(self, voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Intensities of the patient, one for each voxel of the coarse grid."""
        planes, rows, columns = self.steps
        return voxels[::planes, ::rows, ::columns][self.mask]


def find_foreground(voxels: npt.NDArray[Any], spacing: tuple[float, float, float]) -> Foreground:
    """Find the patient in an image whose air is dark: MR in any scale.

    It is what lies above the lower one of Otsu's thresholds for three classes (Otsu 1979, section
    IV), or above 15 % of the way from dark to bright if that is less (as in the first step of
    Smith 2002, section 2.1), with what it encloses in a slice, opened: the largest part and those
    at least a tenth of its size. Where a solid region of one value is all that lies around, as in
    brain-extracted images, the patient is exactly the rest, with what it encloses.

    A change of all intensities to a x + b, a > 0, does not change what is found.

    Args:
        voxels: (slices, rows, columns).
        spacing: Of slices, rows and columns, mm.

    Returns:
        The patient; the whole image where nothing stands out.
    """
    steps = (
        max(1, int(_PIXEL_MM / spacing[0])),
        max(1, int(_PIXEL_MM / spacing[1])),
        max(1, int(_PIXEL_MM / spacing[2])),
    )
    coarse = voxels[:: steps[0], :: steps[1], :: steps[2]]
    padding = padded(voxels)
    rest, dark = None, None
    if padding is not None:
        rest = ~padding[:: steps[0], :: steps[1], :: steps[2]]
        dark = float(voxels[padding].flat[0])
    threshold = _threshold(coarse if rest is None else coarse[rest], dark)
    if threshold is None:
        mask = np.ones(coarse.shape, bool) if rest is None else rest
        return Foreground(mask, steps, is_exact=False)
    pixel = (spacing[1] * steps[1], spacing[2] * steps[2])
    found = Foreground(_solid(coarse > threshold, pixel), steps, is_exact=False)
    if padding is not None and rest is not None:
        far = rest & ~reaching(found, spacing).mask
        if np.count_nonzero(far) <= _FAR * np.count_nonzero(rest):
            # Fluid may have the padding's value, too.
            patient = np.stack([filled(piece) for piece in ~padding])
            return Foreground(patient, (1, 1, 1), is_exact=True)
    return found


def padded(voxels: npt.NDArray[Any]) -> Mask | None:
    """Where a volume is padded with one value; None where it is not.

    The value is the most common one on the volume's faces. Interpolation may have left lower ones
    inside the patient.

    Args:
        voxels: (slices, rows, columns).
    """
    faces = [np.take(voxels, end, axis).ravel() for axis in range(3) for end in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    found = voxels == values[counts.argmax()]
    if not _PADDED <= found.mean() < 1:
        return None
    # Noise has the same value here and there; padding has nothing but padding around it.
    inner = sitk.BinaryErode(_image(found), [1, 1, 0], sitk.sitkBox, 0.0, 1.0, True)
    if sitk.GetArrayViewFromImage(inner).mean() < 0.5 * found.mean():
        return None
    return found


def reaching(foreground: Foreground, spacing: tuple[float, float, float]) -> Foreground:
    """The patient with what lies within 4 mm in a slice; as it is where its border is exact."""
    if foreground.is_exact:
        return foreground
    pixel = (spacing[1] * foreground.steps[1], spacing[2] * foreground.steps[2])
    grown = sitk.BinaryDilate(_image(foreground.mask), _radius(_REACH_MM, pixel), sitk.sitkBall)
    return Foreground(sitk.GetArrayFromImage(grown).astype(bool), foreground.steps, False)


def _threshold(voxels: npt.NDArray[Any], dark: float | None) -> float | None:
    """What is darker is air; None where all values are nearly the same.

    Args:
        voxels: Without padding, any shape.
        dark: Value of the padding, if there is some.
    """
    values = voxels.astype(np.float64).ravel()
    if not values.size:
        return None
    low, high = (float(value) for value in np.percentile(values, _RANGE))
    low = low if dark is None else min(low, dark)
    if not high > low:
        return None
    # On a scale of their own, so that the classes do not depend on that of the image.
    share = np.clip((values - low) / (high - low), 0, 1)
    otsu = sitk.OtsuMultipleThresholdsImageFilter()
    otsu.SetNumberOfThresholds(2)
    otsu.SetNumberOfHistogramBins(128)
    otsu.Execute(sitk.GetImageFromArray(share[None].astype(np.float32)))
    return low + min(_AIR, otsu.GetThresholds()[0]) * (high - low)


def _solid(mask: Mask, pixel: tuple[float, float]) -> Mask:
    """The large parts with what they enclose in a slice, opened; all where nothing is left."""
    radius = _radius(_OPENING_MM, pixel)
    # Filled first: the scalp is a thin shell around a skull that is as dark as air.
    whole = _image(np.stack([filled(piece) for piece in mask]))
    opened = sitk.BinaryErode(whole, radius, sitk.sitkBall, 0.0, 1.0, True)
    opened = sitk.BinaryDilate(opened, radius, sitk.sitkBall)
    numbered = sitk.GetArrayFromImage(sitk.ConnectedComponent(opened))
    sizes = np.bincount(numbered.ravel())[1:]
    if not sizes.size:
        return mask if mask.any() else np.ones_like(mask)
    large = np.isin(numbered, 1 + np.flatnonzero(sizes >= sizes.max() * _SMALLEST_PART))
    return np.stack([filled(piece) for piece in large])


def filled(piece: Mask) -> Mask:
    """A slice of a mask (rows, columns) with what it encloses."""
    return sitk.GetArrayFromImage(sitk.BinaryFillhole(_image(piece))).astype(bool)


def _radius(size_mm: float, pixel: tuple[float, float]) -> list[int]:
    """In columns, rows and slices: slices may lie far apart, and are treated alone."""
    return [max(1, round(size_mm / pixel[1])), max(1, round(size_mm / pixel[0])), 0]


def _image(mask: Mask) -> sitk.Image:
    return sitk.GetImageFromArray(mask.astype(np.uint8))
