"""Voxels that two segmentations share, and those that one of them has alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Overlap:
    """Voxels of one label in a prediction and a reference; sums of them are pooled counts.

    Attributes:
        both: Voxels that are of the label on both sides (true positives).
        extra: Only in the prediction (false positives).
        missed: Only in the reference (false negatives).
        neither: On no side (true negatives).
    """

    both: int = 0
    extra: int = 0
    missed: int = 0
    neither: int = 0

    def __add__(self, other: Overlap) -> Overlap:
        """The counts of both pieces together."""
        return Overlap(
            self.both + other.both,
            self.extra + other.extra,
            self.missed + other.missed,
            self.neither + other.neither,
        )

    @property
    def predicted(self) -> int:
        """Voxels of the label in the prediction."""
        return self.both + self.extra

    @property
    def reference(self) -> int:
        """Voxels of the label in the reference."""
        return self.both + self.missed

    @property
    def dice(self) -> float:
        """2 both / (predicted + reference); NaN where the label is on neither side."""
        return _quotient(2 * self.both, self.predicted + self.reference)

    @property
    def sensitivity(self) -> float:
        """Part of the reference that was found, both / reference; NaN where it has none."""
        return _quotient(self.both, self.reference)

    @property
    def specificity(self) -> float:
        """Part of the rest that was left alone, neither / (neither + extra); NaN without a rest."""
        return _quotient(self.neither, self.neither + self.extra)

    @property
    def fractional_area_difference(self) -> float:
        """(predicted - reference) / reference: 0.1 is a tenth too much, -0.1 too little.

        Its sign is kept, so that a mean over subjects shows a bias; NaN where the reference has
        none of the label. Pooled over the slices of a volume it is the difference of volumes.
        """
        return _quotient(self.predicted - self.reference, self.reference)


def label_overlaps(
    predicted: npt.NDArray[np.integer],
    reference: npt.NDArray[np.integer],
    values: Sequence[int],
    counted: npt.NDArray[np.bool_] | None = None,
) -> tuple[Overlap, ...]:
    """The overlap of each label of two label maps, pooled over their slices.

    Args:
        predicted: (slices, rows, columns) whole numbers.
        reference: Of the same shape.
        values: The labels' values; all others are no label.
        counted: Voxels that count, of the same shape; default: all.

    Returns:
        One overlap a value, in the order of `values`.
    """
    known = np.unique(np.asarray(values, dtype=np.int64))
    size = len(known) + 1
    table = np.zeros((size, size), dtype=np.int64)
    # Slice by slice: a whole body's channels, as 64-bit numbers, would take gigabytes.
    for index in range(len(predicted)):
        mine, theirs = _places(predicted[index], known), _places(reference[index], known)
        pairs = mine * size + theirs
        if counted is not None:
            pairs = pairs[counted[index]]
        table += np.bincount(pairs.ravel(), minlength=size * size).reshape(size, size)
    total = int(table.sum())
    result = []
    for value in values:
        place = int(np.searchsorted(known, value)) + 1
        both = int(table[place, place])
        extra = int(table[place].sum()) - both
        missed = int(table[:, place].sum()) - both
        result.append(Overlap(both, extra, missed, total - both - extra - missed))
    return tuple(result)


class DiceCounter:
    """Dice per label, pooled over all slices that it is shown: 2 |A and B| / (|A| + |B|).

    A label that neither side has anywhere has no Dice (NaN), rather than a perfect one.
    """

    def __init__(self, labels: int) -> None:
        self._both = np.zeros(labels, dtype=np.int64)
        self._sum = np.zeros(labels, dtype=np.int64)

    def add(self, predicted: Tensor, reference: Tensor, ignore: int = 255) -> None:
        """Count pixels of two uint8 channel maps of one shape; 0 is no label.

        Args:
            predicted: Channels, 1 to `labels`.
            reference: Channels; pixels with the value `ignore` do not count.
            ignore: Value of `reference` that is left out.
        """
        counted = reference != ignore
        predicted, reference = predicted[counted], reference[counted]
        for channel in range(1, len(self._both) + 1):
            mine, theirs = predicted == channel, reference == channel
            self._both[channel - 1] += int((mine & theirs).sum())
            self._sum[channel - 1] += int(mine.sum() + theirs.sum())

    def dice(self) -> list[float]:
        """Dice of each label, NaN where it occurs on neither side."""
        return [
            2 * int(both) / int(total) if total else float("nan")
            for both, total in zip(self._both, self._sum, strict=True)
        ]


def mean_of_known(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN where there is none."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


def _quotient(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _places(labels: npt.NDArray[np.integer], known: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Number of each voxel's value among the known ones, from 1; 0 for any other."""
    places = np.searchsorted(known, labels)
    found = known[np.minimum(places, len(known) - 1)] == labels
    return np.where(found, places + 1, 0)
