"""How far the intensities of two sets of images are apart, wherever in the images they are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FINE = 65536


class Histogram:
    """Counts of numbers in bins of equal width, so that any amount of them takes little memory.

    Args:
        value_range: From the first bin's lower to the last one's upper edge; numbers outside are
            counted in the nearest bin.
        bins: How many.

    Raises:
        ValueError: The range is empty.
    """

    def __init__(self, value_range: tuple[float, float], bins: int = FINE) -> None:
        if not value_range[1] > value_range[0]:
            raise ValueError(f"Expected a lower and then a higher value, found {value_range}.")
        self.value_range = value_range
        self.counts = np.zeros(bins, np.int64)

    @property
    def width(self) -> float:
        """Of a bin."""
        return (self.value_range[1] - self.value_range[0]) / len(self.counts)

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Count finite numbers of any shape."""
        low, high = self.value_range
        inside = values.astype(np.float64).clip(low, high)
        self.counts += np.histogram(inside, len(self.counts), (low, high))[0]

    def wasserstein(self, other: Histogram) -> float:
        """Wasserstein-1 distance to a histogram of the same bins.

        The area between the two cumulative distributions, which is the least mean shift of
        intensity that makes one the other.

        Returns:
            From 0, in the numbers' unit, right to within the width of a bin for numbers inside
            the range; NaN where a side is empty.
        """
        shares = self._shares(other)
        if shares is None:
            return math.nan
        mine, theirs = shares
        return float(np.abs(np.cumsum(mine - theirs)).sum() * self.width)

    def jensen_shannon(self, other: Histogram) -> float:
        """Jensen-Shannon divergence to a histogram of the same bins (Lin 1991), in bits.

        Unlike Wasserstein's distance it does not ask how far apart intensities are, only how many
        have a bin that the other side has less often, so it depends on the number of bins.

        Returns:
            0 (the same) to 1 (no bin in common); NaN where a side is empty.
        """
        shares = self._shares(other)
        if shares is None:
            return math.nan
        mean = (shares[0] + shares[1]) / 2
        return sum(_bits(share, mean) for share in shares) / 2

    def percentile(self, percent: float) -> float:
        """The value below which so many percent of the numbers are; NaN where there is none.

        Linear inside a bin.
        """
        total = int(self.counts.sum())
        if not total:
            return math.nan
        edges = np.linspace(*self.value_range, len(self.counts) + 1)
        below = np.concatenate([[0], np.cumsum(self.counts)]) / total
        return float(np.interp(percent / 100, below, edges))

    def _shares(
        self, other: Histogram
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        if self.value_range != other.value_range or len(self.counts) != len(other.counts):
            raise ValueError(
                f"Expected histograms of the same bins, found {len(self.counts)} in "
                f"{self.value_range} and {len(other.counts)} in {other.value_range}."
            )
        totals = self.counts.sum(), other.counts.sum()
        if not all(totals):
            return None
        return self.counts / totals[0], other.counts / totals[1]


def _bits(share: npt.NDArray[np.float64], of: npt.NDArray[np.float64]) -> float:
    known = share > 0
    return float((share[known] * np.log2(share[known] / of[known])).sum())
