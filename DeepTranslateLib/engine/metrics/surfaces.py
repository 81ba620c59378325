"""Distances between the surfaces of two segmentations, in mm.

A surface is the set of voxels of a label that have a neighbour, through a face, which is not of
the label; distances are between the centres of such voxels. What is not counted, and what lies
outside the image, is unknown and makes no surface: where the field of view cuts a body, the cut
is none of its faces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Mask = npt.NDArray[np.bool_]
# Distances are computed in single precision.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class SurfaceDistances:
    """How far each voxel of either surface is from the other surface, in mm.

    Where one side has no surface, the distances of the other's voxels are infinite. The metrics
    are NaN where neither side has one.

    Attributes:
        predicted: Distances of the prediction's surface voxels to the reference's surface.
        reference: Distances of the reference's surface voxels to the prediction's surface.
    """

    predicted: npt.NDArray[np.float64]
    reference: npt.NDArray[np.float64]

    @property
    def hausdorff95(self) -> float:
        """The larger of the two 95th percentiles (Maier-Hein et al. 2024, Metrics Reloaded)."""
        sides = [side for side in (self.predicted, self.reference) if len(side)]
        if not sides:
            return math.nan
        if not all(np.isfinite(side).all() for side in sides):
            return math.inf
        return max(float(np.percentile(side, 95)) for side in sides)

    @property
    def average(self) -> float:
        """Mean over the voxels of both surfaces (ASSD; Heimann et al. 2009, section II-C)."""
        both = np.concatenate([self.predicted, self.reference])
        return float(both.mean()) if len(both) else math.nan

    def dice(self, tolerance: float) -> float:
        """Part of both surfaces within a tolerance of the other (Nikolov et al. 2021), 0 to 1.

        Args:
            tolerance: In mm, and counted as near enough.
        """
        both = np.concatenate([self.predicted, self.reference])
        near = both <= tolerance * (1 + _ROUNDING)
        return float(near.mean()) if len(both) else math.nan


def surface_distances(
    predicted: _Mask,
    reference: _Mask,
    spacing: Sequence[float] | npt.NDArray[np.float64],
    counted: _Mask | None = None,
) -> SurfaceDistances:
    """Distances between the surfaces of two masks.

    Args:
        predicted: (K, J, I).
        reference: Of the same shape.
        spacing: Distances of voxel centres along I, J, K in mm.
        counted: Voxels that count, of the same shape; default: all.
    """
    box = _box(predicted | reference)
    if box is None:
        return SurfaceDistances(np.empty(0), np.empty(0))
    inside = None if counted is None else counted[box]
    mine, theirs = _surface(predicted[box], inside), _surface(reference[box], inside)
    return SurfaceDistances(_distances(mine, theirs, spacing), _distances(theirs, mine, spacing))


def _box(mask: _Mask) -> tuple[slice, ...] | None:
    """The box around a mask and its neighbours; distances outside it are nobody's."""
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        if not len(places):
            return None
        box.append(slice(max(0, int(places[0]) - 1), int(places[-1]) + 2))
    return tuple(box)


def _surface(mask: _Mask, counted: _Mask | None) -> _Mask:
    outside = ~mask if counted is None else ~mask & counted
    surface = np.zeros_like(mask)
    for axis in range(3):
        before = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        after = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        surface[before] |= outside[after]
        surface[after] |= outside[before]
    surface &= mask
    return surface if counted is None else surface & counted


def _distances(
    start: _Mask, goal: _Mask, spacing: Sequence[float] | npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Distance in mm of each voxel of `start` to the nearest one of `goal`."""
    if not goal.any():
        return np.full(np.count_nonzero(start), np.inf)
    import SimpleITK

    image = SimpleITK.GetImageFromArray(goal.astype(np.uint8))
    image.SetSpacing([float(size) for size in spacing])
    distance = SimpleITK.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    # Inside a thick surface the signed distance is negative; a voxel of the goal has arrived.
    return np.maximum(SimpleITK.GetArrayViewFromImage(distance)[start].astype(np.float64), 0)
