"""Where the body lies in a CT: what to crop to, and what beside it (table, arms) to leave out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

AIR_HU = -1000.0
THRESHOLD_HU = -400.0
_PIXEL_MM = 4.0  # the body is looked for on a grid of about this size
_OPENING_MM = 4.0  # the shells of tables, sheets and cables are thinner than twice this
_NECK_MM = 12.0  # parts that hang together by less than twice this are parts of their own
_REACH_MM = 4.0  # what lies this close to the body stays
_SMALLEST_PART = 0.1  # of the largest; legs are parts of the body, arms beside the trunk are not


@dataclass(frozen=True)
class Body:
    """The body in a stack of slices.

    Attributes:
        box: First and last row + 1, first and last column + 1 that hold it, with a margin.
        mask: On a coarse grid, what belongs to the body; None where everything does.
        steps: Slices, rows and columns to a voxel of the coarse grid.
        outside: What the network sees where nothing belongs to the body, in the image's units.
    """

    box: tuple[int, int, int, int]
    mask: np.ndarray | None
    steps: tuple[int, int, int]
    outside: float = AIR_HU

    def inside(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Which pixels of the box belong to the body, bool (len(indices), rows, columns)."""
        top, bottom, left, right = self.box
        if self.mask is None:
            return np.ones((len(indices), bottom - top, right - left), dtype=bool)
        slices = np.asarray(indices) // self.steps[0]
        rows = np.arange(top, bottom) // self.steps[1]
        columns = np.arange(left, right) // self.steps[2]
        return self.mask[np.ix_(slices, rows, columns)]


def find_body(voxels: np.ndarray, spacing: tuple[float, float, float], margin: float) -> Body:
    """Find the body in a CT stack.

    It is what lies above -400 HU and is thicker than the shell of a table, with what it encloses
    in a slice (lungs, gas): the largest part and those at least a tenth of its size, where parts
    that touch along less than 24 mm (arms beside the trunk) count as separate.

    Args:
        voxels: (slices, rows, columns) in HU.
        spacing: Of slices, rows and columns, mm.
        margin: mm kept around the body.

    Returns:
        The body; the whole slices where there is none.
    """
    rows, columns = voxels.shape[1:]
    steps = (
        max(1, int(_PIXEL_MM / spacing[0])),
        max(1, int(_PIXEL_MM / spacing[1])),
        max(1, int(_PIXEL_MM / spacing[2])),
    )
    coarse = voxels[:: steps[0], :: steps[1], :: steps[2]] > THRESHOLD_HU
    pixel = (spacing[1] * steps[1], spacing[2] * steps[2])
    # Opened before it is filled: the shell of a table encloses its foam as skin does a body.
    solid = _dilated(_eroded(coarse, _OPENING_MM, pixel), _OPENING_MM, pixel)
    holes = _filled(solid) & ~solid
    # A narrow one, as between an arm and the trunk, parts what it lies between.
    wide = _dilated(_eroded(holes, _OPENING_MM, pixel), 2 * _OPENING_MM, pixel) & holes
    solid |= wide
    cores = _numbered(_eroded(solid, _NECK_MM, pixel))
    sizes = np.bincount(cores.ravel())[1:]
    if sizes.size == 0:
        return Body((0, rows, 0, columns), None, steps)
    large = np.isin(cores, 1 + np.flatnonzero(sizes >= sizes.max() * _SMALLEST_PART))
    # Only what has a core of its own goes: a thin chest wall has none, and stays.
    beside = _dilated((cores > 0) & ~large, _NECK_MM + _REACH_MM, pixel)
    parts = _numbered(_filled(solid & ~(beside & ~_dilated(large, _NECK_MM, pixel))))
    body = np.isin(parts, np.unique(parts[large]))
    mask = _dilated(body, _REACH_MM, pixel)
    return Body(box_around(body, steps, (rows, columns), spacing, margin), mask, steps)


def box_around(
    mask: np.ndarray,
    steps: tuple[int, int, int],
    size: tuple[int, int],
    spacing: tuple[float, float, float],
    margin: float,
) -> tuple[int, int, int, int]:
    """Where a mask lies in whole slices, as in `Body.box`.

    Args:
        mask: (slices, rows, columns) on a coarse grid, not empty.
        steps: As in `Body`.
        size: Rows and columns of whole slices.
        spacing: Of slices, rows and columns, mm.
        margin: mm kept around it.
    """
    bounds = []
    for axis, length in ((1, size[0]), (2, size[1])):
        occupied = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        reach = math.ceil(margin / spacing[axis])
        first = max(0, int(occupied[0]) * steps[axis] - reach)
        bounds += [first, min(length, (int(occupied[-1]) + 1) * steps[axis] + reach)]
    return (bounds[0], bounds[1], bounds[2], bounds[3])


def _filled(coarse: np.ndarray) -> np.ndarray:
    """Each slice with its holes filled: lungs are open at the ends of a volume, not in a slice."""
    slices = (sitk.BinaryFillhole(_mask(piece)) for piece in coarse)
    return np.stack([sitk.GetArrayFromImage(piece) for piece in slices]).astype(bool)


def _numbered(mask: np.ndarray) -> np.ndarray:
    """Connected parts, numbered from 1."""
    return sitk.GetArrayFromImage(sitk.ConnectedComponent(_mask(mask)))


def _eroded(mask: np.ndarray, size_mm: float, pixel: tuple[float, float]) -> np.ndarray:
    # The border counts as foreground, so that a body cut by the field of view is not eroded there.
    result = sitk.BinaryErode(_mask(mask), _radius(size_mm, pixel), sitk.sitkBall, 0.0, 1.0, True)
    return sitk.GetArrayFromImage(result).astype(bool)


def _dilated(mask: np.ndarray, size_mm: float, pixel: tuple[float, float]) -> np.ndarray:
    result = sitk.BinaryDilate(_mask(mask), _radius(size_mm, pixel), sitk.sitkBall)
    return sitk.GetArrayFromImage(result).astype(bool)


def _radius(size_mm: float, pixel: tuple[float, float]) -> list[int]:
    """In columns, rows and slices: every slice is treated alone."""
    return [max(1, round(size_mm / pixel[1])), max(1, round(size_mm / pixel[0])), 0]


def _mask(array: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(array.astype(np.uint8))
