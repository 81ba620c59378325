"""How well a translation fits its reference."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


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
            self._both[channel - 1] += int(torch.count_nonzero(mine & theirs))
            self._sum[channel - 1] += int(torch.count_nonzero(mine) + torch.count_nonzero(theirs))

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
