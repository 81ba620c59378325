"""The smooth brightness that coils leave over an MR, found by N4 and divided out."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from DeepTranslateLib.engine.intensities.foreground import Foreground

SHRUNK_MM = 5.0  # N4 works at about this size of voxels; a field is far smoother
ITERATIONS = (50, 50, 50, 50)  # at most, at 1, 2, 4 and 8 pieces of the spline along each axis
_LEAST_SIZE = 12  # voxels along an axis that may still be halved
_KEPT = 32

_fields: OrderedDict[bytes, tuple[sitk.N4BiasFieldCorrectionImageFilter, float]] = OrderedDict()


def bias_field(
    voxels: npt.NDArray[np.generic],
    spacing: tuple[float, float, float],
    foreground: Foreground,
) -> npt.NDArray[np.float32]:
    """The field that an MR is the product of with the true image.

    N4 (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908) inside the patient, on voxels averaged
    to about 5 mm, with at most 50 iterations at each of four levels of its B-spline; the spline is
    then evaluated at every voxel. Its mean logarithm in the patient is 0, so that the image's level
    stays. The same volume is not worked on twice while it is among the last 32.

    Args:
        voxels: (slices, rows, columns).
        spacing: Of slices, rows and columns, mm.
        foreground: Where the patient is.

    Returns:
        The shape of the voxels, above 0.
    """
    whole = sitk.GetImageFromArray(voxels.astype(np.float32))
    whole.SetSpacing(spacing[::-1])
    key = hashlib.blake2b(repr((voxels.shape, str(voxels.dtype), spacing)).encode())
    key.update(np.ascontiguousarray(voxels).data)
    key.update(foreground.mask.tobytes())
    found = _fields.pop(key.digest(), None) or _found(whole, foreground)
    _fields[key.digest()] = found
    while len(_fields) > _KEPT:
        _fields.popitem(last=False)
    n4, level = found
    log = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(whole))
    return np.exp(log - np.float32(level), dtype=np.float32)


def _found(
    whole: sitk.Image, foreground: Foreground
) -> tuple[sitk.N4BiasFieldCorrectionImageFilter, float]:
    """N4 that has run, and the mean logarithm of its field in the patient."""
    factors = [
        max(1, min(int(SHRUNK_MM / mm), size // _LEAST_SIZE))
        for mm, size in zip(whole.GetSpacing(), whole.GetSize(), strict=True)
    ]
    image = sitk.BinShrink(whole, factors)
    # The logarithm of what is not above 0 is none.
    inside = sitk.And(_mask_like(whole, foreground, image), sitk.Cast(image > 0, sitk.sitkUInt8))
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.SetNumberOfThreads(1)  # sums in another order would make another field
    n4.Execute(image, inside)
    log = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image))
    return n4, float(log[sitk.GetArrayFromImage(inside) > 0].mean())


def _mask_like(whole: sitk.Image, foreground: Foreground, image: sitk.Image) -> sitk.Image:
    """The patient's mask on the grid of a shrunk image."""
    mask = sitk.GetImageFromArray(foreground.mask.astype(np.uint8))
    spacing = np.array(whole.GetSpacing())
    steps = np.array(foreground.steps[::-1])
    mask.SetSpacing((spacing * steps).tolist())
    return sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor)
