"""The trivial way that a network must beat: each pixel by its own intensity alone.

The joint histogram of intensity and target is counted over the slices that the network learns
from, with the same window and the same crop to the body, at the images' own pixel size. Without
pairs there are two histograms, that of the source and that of the target, which are matched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.cohort import Case
from DeepTranslateLib.cohort.case import SOURCE, TARGET
from DeepTranslateLib.engine.intensities import read_target
from DeepTranslateLib.engine.labelvalues import IGNORE, channels_of_values, values_of_channels
from DeepTranslateLib.engine.outputs import empty_output, on_grid_of
from DeepTranslateLib.engine.preprocessing import SliceStack, slice_stack
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import BACKWARD, PLANES, Recipe, in_direction

BINS = 256
_TARGET_BINS = 1024
_TAILS = (0.1, 99.9)  # percentiles of the intensities where a recipe has no window


class IntensityBaseline:
    """Translates pixels by a table of their intensities.

    For labels, each of 256 intensities gets the label, or none, that most of its pixels have:
    thresholds, as many as there is evidence for. For volumes it gets the mean of its pixels'
    targets, which is the regression with the least squared error, and their median, that with the
    least absolute error. An intensity without a pixel has what its neighbours have.

    Without pairs each intensity gets the value that as large a part of the target domain's pixels
    lies below as of the source domain's below the intensity: histogram matching.

    Args:
        recipe: With its spacing resolved.
        cases: What to learn from.
        slices: For each case the slices that count.
    """

    def __init__(
        self, recipe: Recipe, cases: Sequence[Case], slices: Sequence[Sequence[int]]
    ) -> None:
        self._recipe = recipe
        self._low, self._high = self._range(cases, slices)
        if recipe.is_unpaired:
            self.tables: dict[str, npt.NDArray[np.generic]] = {
                "histogram matching": self._matched(cases, slices)
            }
            return
        pixels = self._pixels(cases, slices)
        if recipe.target.kind == "labels":
            self.tables = {"intensity": _likeliest_labels(pixels, recipe)}
        else:
            self.tables = _regressions(pixels, recipe)

    def translate(self, image: Image, slices: Sequence[int]) -> dict[str, Image]:
        """Translate slices of a volume by each table; all others are as of `empty_output`."""
        stack = slice_stack(image, self._recipe)
        plane = PLANES[self._recipe.sampling.plane]
        outputs = {}
        for name, table in self.tables.items():
            whole = empty_output(self._recipe, image.oriented(plane).shape)
            for stored in slices:
                index = stack.index(stored)
                stack.paste(table[self._bins(stack, index)], index, whole[index])
            outputs[name] = on_grid_of(image, whole, self._recipe)
        return outputs

    def _pixels(
        self, cases: Sequence[Case], slices: Sequence[Sequence[int]]
    ) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.generic]]]:
        """Of each slice the bins and the target's values of pixels inside body and mask."""
        plane = PLANES[self._recipe.sampling.plane]
        for case, chosen in zip(cases, slices, strict=True):
            stack = slice_stack(case.read_image(), self._recipe)
            target = read_target(case, self._recipe).oriented(plane).voxels
            counted = case.counted(plane)
            for stored in chosen:
                index = stack.index(stored)
                inside = _inside(stack, index, counted)
                truth = stack.as_seen(target[index], index)
                yield self._bins(stack, index)[inside], truth[inside]

    def _matched(
        self, cases: Sequence[Case], slices: Sequence[Sequence[int]]
    ) -> npt.NDArray[np.float32]:
        """For each bin the target's value at the same place in the order of all pixels."""
        plane = PLANES[self._recipe.sampling.plane]
        recipes = {SOURCE: self._recipe, TARGET: in_direction(self._recipe, BACKWARD)}
        assert self._recipe.target.range is not None
        low, high = self._recipe.target.range
        found, wanted = np.zeros(BINS, np.int64), np.zeros(_TARGET_BINS, np.int64)
        for case, chosen in zip(cases, slices, strict=True):
            assert case.domain is not None
            stack = slice_stack(case.read_image(), recipes[case.domain])
            counted = case.counted(plane)
            for index in map(stack.index, chosen):
                inside = _inside(stack, index, counted)
                if case.domain == SOURCE:
                    found += np.bincount(self._bins(stack, index)[inside], minlength=BINS)
                else:
                    share = (_intensities(stack, index)[inside] - low) / (high - low)
                    wanted += np.bincount(_places(share, _TARGET_BINS), minlength=_TARGET_BINS)
        # The middle of a bin's pixels: the air of the one domain is the air of the other.
        below = (found.cumsum() - found / 2) / found.sum()
        places = (wanted.cumsum() / wanted.sum() >= below[:, None]).argmax(axis=1)
        return (low + (places + 0.5) * (high - low) / _TARGET_BINS).astype(np.float32)

    def _bins(self, stack: SliceStack, index: int) -> npt.NDArray[np.intp]:
        share = (_intensities(stack, index) - self._low) / (self._high - self._low)
        return _places(share, BINS)

    def _range(self, cases: Sequence[Case], slices: Sequence[Sequence[int]]) -> tuple[float, float]:
        window = self._recipe.preprocessing.window
        if window is not None:
            return window
        ends = []
        for case, chosen in zip(cases, slices, strict=True):
            stack = slice_stack(case.read_image(), self._recipe)
            values = [_intensities(stack, stack.index(i))[::4, ::4].ravel() for i in chosen]
            ends.append(np.percentile(np.concatenate(values), _TAILS))
        low, high = float(np.min(ends)), float(np.max(ends))
        return low, high if high > low else low + 1


def _places(share: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.intp]:
    """The bins that parts of a range, 0 to 1, fall into; what is outside goes to the ends."""
    return np.clip(np.floor(share * bins), 0, bins - 1).astype(np.intp)


def _inside(
    stack: SliceStack, index: int, counted: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.bool_]:
    """Which pixels of a slice's box are inside body and mask."""
    inside = stack.body.inside([index])[0]
    if counted is None:
        return inside
    top, bottom, left, right = stack.body.box
    return inside & counted[index, top:bottom, left:right]


def _intensities(stack: SliceStack, index: int) -> npt.NDArray[np.float64]:
    top, bottom, left, right = stack.body.box
    values = stack.voxels[index, top:bottom, left:right].astype(np.float64)
    if stack.body.mask is not None:
        values[~stack.body.inside([index])[0]] = stack.body.outside
    return values


def _likeliest_labels(
    pixels: Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.generic]]], recipe: Recipe
) -> npt.NDArray[np.generic]:
    channels = len(recipe.target.labels) + 1
    counts = np.zeros((BINS, channels), np.int64)
    for bins, truth in pixels:
        channel = channels_of_values(truth, recipe)
        known = channel != IGNORE
        place = bins[known] * channels + channel[known]
        counts += np.bincount(place, minlength=BINS * channels).reshape(BINS, channels)
    filled = np.flatnonzero(counts.sum(axis=1))
    nearest = filled[np.abs(np.arange(BINS)[:, None] - filled).argmin(axis=1)]
    return values_of_channels(counts.argmax(axis=1)[nearest], recipe)


def _regressions(
    pixels: Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.generic]]], recipe: Recipe
) -> dict[str, npt.NDArray[np.generic]]:
    assert recipe.target.range is not None
    low, high = recipe.target.range
    sums = np.zeros(BINS)
    counts = np.zeros((BINS, _TARGET_BINS), np.int64)
    for bins, truth in pixels:
        value = truth.astype(np.float64)
        sums += np.bincount(bins, weights=value, minlength=BINS)
        share = np.floor((value - low) / (high - low) * _TARGET_BINS)
        place = bins * _TARGET_BINS + np.clip(share, 0, _TARGET_BINS - 1).astype(np.intp)
        counts += np.bincount(place, minlength=counts.size).reshape(counts.shape)
    totals = counts.sum(axis=1)
    filled = np.flatnonzero(totals)
    below = counts.cumsum(axis=1)[filled]
    middle = (below >= totals[filled, None] / 2).argmax(axis=1)
    medians = low + (middle + 0.5) * (high - low) / _TARGET_BINS
    means = sums[filled] / totals[filled]
    return {
        name: np.interp(np.arange(BINS), filled, values).astype(np.float32)
        for name, values in (("intensity, mean", means), ("intensity, median", medians))
    }
