"""How large a patch is, in voxels and in the pixels that ranges of augmentation are meant in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PatchShape:
    """A patch of a volume whose voxels need not be cubes.

    Attributes:
        size: Slices, rows and columns.
        full_size: Those of the whole volume at this voxel size.
        spacing: Of slices, rows and columns, mm.
    """

    size: tuple[int, int, int]
    full_size: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def scales(self) -> np.ndarray:
        """(3,) sides of a voxel along columns, rows and slices, in pixels.

        A pixel is as long as the square root of its area in the slice: in these units a rotation
        is rigid whatever the voxels are.
        """
        slice_mm, row_mm, column_mm = self.spacing
        return np.array([column_mm, row_mm, slice_mm]) / math.sqrt(row_mm * column_mm)

    @property
    def thickness(self) -> float:
        """Distance of slices, in pixels."""
        return float(self.scales[2])

    @property
    def width(self) -> float:
        """Of the whole slice, in pixels: its longer side."""
        _, rows, columns = self.full_size
        return max(columns * float(self.scales[0]), rows * float(self.scales[1]))

    def place_of(self, row: float, column: float) -> tuple[float, float]:
        """Take a place in parts of the whole slice to one in parts of a patch in its middle."""
        (_, rows, columns), (_, full_rows, full_columns) = self.size, self.full_size
        return 0.5 + (row - 0.5) * full_rows / rows, 0.5 + (column - 0.5) * full_columns / columns
