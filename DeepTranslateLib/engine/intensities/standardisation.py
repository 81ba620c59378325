"""MR intensities on one scale: median or percentiles of the foreground become standard values."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image import ImageError
from DeepTranslateLib.recipe.intensities import ENDS, LEVELS

Values = npt.NDArray[np.float64]


class Scale:
    """A piecewise linear, increasing map of intensities, the first and last piece going on.

    Args:
        points: Intensities, increasing; equal ones are taken together.
        standard: What they become, increasing.
    """

    def __init__(self, points: npt.ArrayLike, standard: npt.ArrayLike) -> None:
        raw, scaled = np.asarray(points, float), np.asarray(standard, float)
        # Images of few whole numbers have several percentiles at one of them.
        self._points, which = np.unique(raw, return_inverse=True)
        self._standard = np.bincount(which, scaled) / np.bincount(which)

    def apply(self, voxels: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Intensities (slices, ...) on the standard scale."""
        return _mapped(voxels, self._points, self._standard)

    def undo(self, voxels: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Standard values (slices, ...) as the intensities they stand for."""
        return _mapped(voxels, self._standard, self._points)


def foreground_scale(
    values: npt.NDArray[np.generic], standardisation: str, landmarks: tuple[float, ...] | None
) -> Scale:
    """The map of one volume's intensities onto the standard scale.

    "median" leaves 0 and maps the median of the foreground to 1. "percentiles" maps the 1st and
    99th percentile of the foreground to 0 and 1; "histogram" the deciles between them, too, to
    their landmarks (Nyul & Udupa 1999, doi:10.1002/
    (SICI)1522-2594(199912)42:6<1072::AID-MRM11>3.0.CO;2-M; deciles as in Nyul, Udupa & Zhang
    2000, doi:10.1109/42.836373). Without landmarks they are the volume's own.

    Args:
        values: Of the foreground, any shape.
        standardisation: "median", "percentiles" or "histogram".
        landmarks: Standard values of `LEVELS`.

    Raises:
        ImageError: The foreground is empty or has one intensity, or a median of 0 or less.
    """
    if standardisation == "median":
        _percentiles(values, ENDS)
        middle = float(np.median(np.asarray(values)))
        if middle <= 0:
            raise ImageError(
                "Intensities cannot be divided by their median: expected the magnitudes of an MR, "
                f"found a median of {middle:g}. Set the recipe's standardisation to 'percentiles'."
            )
        return Scale((0.0, middle), (0.0, 1.0))
    if standardisation == "histogram" and landmarks is not None:
        return Scale(_percentiles(values, LEVELS), landmarks)
    return Scale(_percentiles(values, ENDS), (0.0, 1.0))


def learnt_landmarks(foregrounds: Iterable[npt.NDArray[np.generic]]) -> tuple[float, ...]:
    """The standard landmarks of some volumes.

    The percentiles of each are scaled so that the first is 0 and the last is 1, and averaged over
    the volumes (training of Nyul, Udupa & Zhang 2000).

    Args:
        foregrounds: Intensities of the foreground of each volume, any shape; at least one.

    Returns:
        Standard values of `LEVELS`, from 0 to 1, each above the one before.

    Raises:
        ImageError: A foreground is empty or has one intensity.
    """
    scaled = []
    for values in foregrounds:
        found = _percentiles(values, LEVELS)
        scaled.append((found - found[0]) / (found[-1] - found[0]))
    mean = np.mean(scaled, axis=0)
    # Of images of few whole numbers percentiles are equal; a scale that is undone has none so.
    least = np.linspace(0, 1e-4, len(mean))
    mean = np.maximum.accumulate(mean) * (1 - least[-1]) + least
    return tuple(round(float(value), 7) for value in mean)


def _percentiles(values: npt.NDArray[np.generic], levels: tuple[float, ...]) -> Values:
    flat = np.asarray(values).ravel()
    if flat.size:
        found = np.percentile(flat, levels).astype(np.float64)
        if found[-1] > found[0]:
            return found
    raise ImageError(
        "Intensities cannot be brought to a standard scale: expected tissue of different "
        "brightness before a darker background, found "
        + ("no foreground" if not flat.size else f"the value {found[0]:g} nearly everywhere")
        + ". Check that this is the image that was meant, or set the recipe's standardisation to "
        "'none'."
    )


def _mapped(
    voxels: npt.NDArray[np.generic], points: Values, standard: Values
) -> npt.NDArray[np.float32]:
    slopes = np.diff(standard) / np.diff(points)
    mapped = np.empty(voxels.shape, np.float32)
    for index, piece in enumerate(voxels):  # whole volumes of doubles would be large
        values = piece.astype(np.float64)
        mapped[index] = (
            np.interp(values, points, standard)
            + np.minimum(values - points[0], 0) * slopes[0]
            + np.maximum(values - points[-1], 0) * slopes[-1]
        )
    return mapped
