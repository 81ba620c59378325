"""Differences of intensities, in the unit of the images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class IntensityErrors:
    """Sums over voxels of the errors (prediction - reference); sums of them are pooled.

    All metrics are NaN where no voxel counted.

    Attributes:
        voxels: How many counted.
        total: Sum of the errors.
        absolute: Sum of their absolute values.
        squared: Sum of their squares.
        lowest: Least value of the reference.
        highest: Largest value of the reference.
    """

    voxels: int = 0
    total: float = 0.0
    absolute: float = 0.0
    squared: float = 0.0
    lowest: float = math.inf
    highest: float = -math.inf

    def __add__(self, other: IntensityErrors) -> IntensityErrors:
        """The sums of both pieces together."""
        return IntensityErrors(
            self.voxels + other.voxels,
            self.total + other.total,
            self.absolute + other.absolute,
            self.squared + other.squared,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
        )

    @property
    def bias(self) -> float:
        """Mean error: above 0 where the prediction is brighter."""
        return self._mean(self.total)

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return self._mean(self.absolute)

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return self._mean(self.squared)

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return math.sqrt(self.mse)

    @property
    def value_range(self) -> tuple[float, float]:
        """Lowest and highest value of the reference."""
        return (self.lowest, self.highest) if self.voxels else (math.nan, math.nan)

    def psnr(self, value_range: tuple[float, float]) -> float:
        """Peak signal-to-noise ratio in dB: 10 log10((highest - lowest)^2 / MSE).

        Args:
            value_range: Lowest and highest possible value. A PSNR says nothing without it: for
                CT, a window of 2000 HU gives 6 dB more than one of 1000.

        Returns:
            Infinity for equal images; NaN for an empty range.
        """
        lowest, highest = value_range
        if not self.voxels or not highest > lowest:
            return math.nan
        if self.squared == 0:
            return math.inf
        return 20 * math.log10(highest - lowest) - 10 * math.log10(self.mse)

    def _mean(self, value: float) -> float:
        return value / self.voxels if self.voxels else math.nan


def intensity_errors(
    predicted: npt.NDArray[np.generic],
    reference: npt.NDArray[np.generic],
    counted: npt.NDArray[np.bool_] | None = None,
) -> IntensityErrors:
    """Errors of a prediction, summed slice by slice in double precision.

    Args:
        predicted: (slices, rows, columns) numbers.
        reference: Of the same shape.
        counted: Voxels that count, of the same shape; default: all.
    """
    errors = IntensityErrors()
    for index in range(len(predicted)):
        mine, theirs = predicted[index], reference[index]
        if counted is not None:
            mine, theirs = mine[counted[index]], theirs[counted[index]]
        if not theirs.size:
            continue
        truth = theirs.astype(np.float64)
        error = mine.astype(np.float64) - truth
        errors += IntensityErrors(
            error.size,
            float(error.sum()),
            float(np.abs(error).sum()),
            float((error * error).sum()),
            float(truth.min()),
            float(truth.max()),
        )
    return errors
