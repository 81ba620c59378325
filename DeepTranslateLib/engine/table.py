"""The table and the headrest taken out of a CT: what is not the patient becomes air."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk

from DeepTranslateLib.cohort.hounsfield import why_not_hounsfield
from DeepTranslateLib.engine.body import AIR_HU, THRESHOLD_HU
from DeepTranslateLib.image import Image

_PIXEL_MM = 2.0  # the patient is looked for on a grid of about this size
_OPENING_MM = 5.0  # the shells of tables, headrests and masks are thinner than twice this
_REACH_MM = 3.0  # what lies this close to the patient stays
_SMALLEST_ML = 30.0  # of the cores of parts, which erosion leaves: a forearm has more
_SMALLEST_PART = 0.03  # of the largest core
_THIN_MM = 40.0  # ears, nose and fingers are shorter, the shell of a table is longer
_TISSUE_HU = -250.0  # on average; cushions are lighter


class TableError(ValueError):
    """The table cannot be taken out of an image: what was expected, what was found."""


def remove_table(image: Image) -> Image:
    """Return a CT in which everything but the patient is air (-1000 HU).

    What lies above -400 HU is eroded by 5 mm in its slice, so that shells vanish and what they
    touch comes apart; the largest part stays, and others of tissue that are large enough to be
    limbs. They are dilated again, thin pieces of less than 40 mm that touch them (ears, nose,
    fingers) are added, and what each slice of them encloses (lungs, airways, gas) is filled.

    A part of a table that is thicker than 10 mm, as heavy as tissue and larger than 3 % of the
    patient is not told from a limb; a shell that lies flush against the skin stays there. Hands
    that do not hang together with the rest in the image are lost with the table.

    Args:
        image: In HU, of any orientation.

    Raises:
        TableError: The values are not in HU, or nothing is large enough to be a patient.
    """
    inside = patient_mask(image)
    voxels = image.voxels.copy()
    voxels[~inside] = AIR_HU
    return image.with_voxels(voxels)


def patient_mask(image: Image) -> np.ndarray:
    """Return which voxels belong to the patient, bool (K, J, I); see `remove_table`.

    Raises:
        TableError: As `remove_table`.
    """
    fault = why_not_hounsfield(image.voxels)
    if fault is not None:
        raise TableError(f"A table is found by Hounsfield units, and {fault[0]} {fault[1]}")
    # Slices of the body, whatever way the image is stored; only views until here.
    upright = image.oriented("LPS")
    steps = [max(1, round(_PIXEL_MM / mm)) for mm in upright.spacing[:2]]
    thin = upright.voxels[:, :: steps[1], :: steps[0]]
    pixel = upright.spacing * [steps[0], steps[1], 1]
    coarse = _patient(thin, pixel)
    rows, columns = (np.arange(n) // s for n, s in zip(upright.shape[1:], steps[::-1], strict=True))
    whole = coarse[:, rows[:, None], columns[None]]
    return _stored(whole, image)


def _patient(voxels: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """The patient in (slices, rows, columns) of HU with pixels of mm along I, J, K."""
    dense = voxels > THRESHOLD_HU
    cores = sitk.ConnectedComponent(_changed(sitk.BinaryErode, dense, _OPENING_MM, pixel))
    numbers = sitk.GetArrayFromImage(cores)
    counts = np.bincount(numbers.ravel())[1:]
    voxel_ml = float(np.prod(pixel)) / 1000
    if not counts.size or counts.max() * voxel_ml < _SMALLEST_ML:
        raise TableError(
            "Nothing in the image is above -400 HU, thicker than 10 mm and large enough to be a "
            "patient. Check that it shows one."
        )
    least = max(_SMALLEST_ML / voxel_ml, _SMALLEST_PART * counts.max())
    sums = np.bincount(numbers.ravel(), weights=voxels.ravel())[1:]
    tissue = sums / np.maximum(counts, 1) > _TISSUE_HU
    parts = 1 + np.flatnonzero((counts >= least) & tissue)
    kept = np.isin(numbers, [*parts, 1 + int(counts.argmax())])
    body = _array(_changed(sitk.BinaryDilate, kept, _OPENING_MM + _REACH_MM, pixel))
    body |= _thin_pieces(dense & ~body, body, pixel)
    return np.stack([_array(sitk.BinaryFillhole(_image(piece))) for piece in body])


def _thin_pieces(rest: np.ndarray, body: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Pieces beside the body, in each slice, that touch it and are too short for a table."""
    found = np.zeros_like(body)
    for k in np.flatnonzero(rest.any(axis=(1, 2)) & body.any(axis=(1, 2))):
        pieces = sitk.ConnectedComponent(_image(rest[k]))
        numbers = _array(pieces, int)
        near = _array(sitk.BinaryDilate(_image(body[k]), [1, 1], sitk.sitkBall))
        shapes = sitk.LabelShapeStatisticsImageFilter()
        shapes.Execute(pieces)
        for number in set(np.unique(numbers[near]).tolist()) - {0}:
            columns, rows = shapes.GetBoundingBox(number)[2:]
            if np.hypot(columns * pixel[0], rows * pixel[1]) < _THIN_MM:
                found[k] |= numbers == number
    return found


def _changed(change: Any, mask: np.ndarray, size_mm: float, pixel: np.ndarray) -> sitk.Image:
    """A mask eroded or dilated, each slice alone."""
    radius = [*(max(1, round(size_mm / float(mm))) for mm in pixel[:2]), 0]
    if change is sitk.BinaryErode:
        # The border counts as foreground, for a patient whom the field of view cuts off.
        return change(_image(mask), radius, sitk.sitkBall, 0.0, 1.0, True)
    return change(_image(mask), radius, sitk.sitkBall)


def _image(mask: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(mask.astype(np.uint8))


def _array(image: sitk.Image, kind: type = bool) -> np.ndarray:
    return sitk.GetArrayFromImage(image).astype(kind)


def _stored(upright: np.ndarray, image: Image) -> np.ndarray:
    """A mask of the axial stack "LPS" in the order in which the image is stored."""
    view = image.with_voxels(np.arange(image.voxels.size).reshape(image.shape)).oriented("LPS")
    stored = np.empty(image.voxels.size, bool)
    stored[view.voxels.ravel()] = upright.ravel()
    return stored.reshape(image.shape)
