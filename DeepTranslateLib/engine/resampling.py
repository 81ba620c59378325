"""Linear resampling along one axis, a piece at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearAxis:
    """What each place of an axis is made of when it is resampled to another number of voxels.

    As `torch.nn.functional.interpolate` with linear interpolation and antialiasing: both axes
    have the same outer edges, and a larger voxel is the mean of those it covers, by a triangle.

    Attributes:
        first: (new size,) where the voxels that count begin.
        weights: (new size, most that count) of these voxels, fp32; each row sums to 1.
    """

    first: np.ndarray
    weights: np.ndarray

    @classmethod
    def between(cls, size: int, new_size: int) -> LinearAxis:
        """The way from an axis of `size` voxels to one of `new_size`."""
        scale = size / new_size
        reach = max(1.0, scale)
        centres = (np.arange(new_size) + 0.5) * scale
        first = np.maximum(np.floor(centres - reach + 0.5).astype(np.int64), 0)
        taps = int(np.ceil(2 * reach)) + 1
        places = first[:, None] + np.arange(taps)
        weights = np.maximum(0, 1 - np.abs(places + 0.5 - centres[:, None]) / reach)
        weights[places >= size] = 0
        used = int((weights > 0).any(axis=0).nonzero()[0].max()) + 1
        weights = weights[:, :used] / weights.sum(axis=1, keepdims=True)
        return cls(first, weights.astype(np.float32))

    def __len__(self) -> int:
        return len(self.first)

    def needed(self, places: Sequence[int]) -> list[int]:
        """The old voxels, in rising order, that some new ones are made of."""
        where = self.first[list(places), None] + np.arange(self.weights.shape[1])
        return np.unique(where[self.weights[list(places)] > 0]).tolist()

    def sources(self, place: int) -> list[tuple[int, float]]:
        """The old voxels that a new one is made of, and the weight of each."""
        first = int(self.first[place])
        return [(first + n, float(w)) for n, w in enumerate(self.weights[place]) if w > 0]

    def rows(self, values: Tensor, begin: int, wanted: tuple[int, int]) -> Tensor:
        """Resample rows.

        Args:
            values: (..., rows, columns), rows of the old axis from `begin` on.
            begin: The first of them.
            wanted: First row and last row + 1 of the new axis; `values` holds all they need.

        Returns:
            (..., rows wanted, columns).
        """
        first = torch.from_numpy(self.first[slice(*wanted)]) - begin
        weights = torch.from_numpy(self.weights[slice(*wanted)])
        result = values.new_zeros(*values.shape[:-2], len(first), values.shape[-1])
        for tap in range(weights.shape[1]):
            places = (first + tap).clamp_(max=values.shape[-2] - 1)
            result += values.index_select(-2, places) * weights[:, tap, None]
        return result
