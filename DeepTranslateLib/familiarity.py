"""Does a volume look like what a model was trained on? Asked before it is translated.

The limits were chosen by measuring on real CTs and MRs which images a model of some others does
well on: `docs/recipes.md` says what they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.cohort.hounsfield import why_not_hounsfield
from DeepTranslateLib.image import Image
from DeepTranslateLib.model import Model
from DeepTranslateLib.recipe import PLANES, Recipe

BINS = 64
# Largest Jensen-Shannon distance of intensities that is familiar.
LARGEST_DISTANCE = 0.5
# Slices this many times as far apart, or closer, than any that trained the model.
SLICE_FACTOR = 2.0
# Fields of view smaller or larger than any that trained the model by these factors.
SMALLEST_FIELD, LARGEST_FIELD = 0.7, 1.6
# What scanners pad with outside the field of view (-2000, -3024, ...) is no tissue.
_PADDING_BELOW = -1500
_SAMPLES = 500_000


@dataclass(frozen=True)
class Doubt:
    """A reason to look twice at what a model makes of a volume.

    Attributes:
        kind: "units", "spacing", "field of view" or "intensities".
        message: What was expected, what was found, what to do.
    """

    kind: str
    message: str


def doubts(image: Image, model: Model) -> tuple[Doubt, ...]:
    """Hold a volume against what the model's card says of its training images.

    Older cards do not say everything; what they do not say is not asked.

    Args:
        image: The volume to translate, in any orientation.
        model: What shall translate it.

    Returns:
        All that is unlike; nothing where the volume is familiar.
    """
    recipe = model.recipe
    known = model.card.cohort.get("training")
    known = known if isinstance(known, dict) else {}
    found: list[Doubt] = []
    if recipe.inputs[0].units == "HU":
        reason = why_not_hounsfield(image.voxels)
        if reason is not None:
            found.append(Doubt("units", f"The image is not in HU: {reason[0]} {reason[1]}"))
    upright = image.oriented(PLANES[recipe.sampling.plane])
    found.extend(_spacing_doubts(upright, recipe, known))
    found.extend(_field_doubts(upright, known))
    # In other units the intensities differ, of course; and what is standardised has none.
    if recipe.preprocessing.standardisation == "none" and not any(
        doubt.kind == "units" for doubt in found
    ):
        found.extend(_intensity_doubts(upright, recipe, known))
    return tuple(found)


def intensity_histogram(values: npt.NDArray[Any], units: str) -> dict[str, Any]:
    """How often intensities occur, as JSON for a model's card.

    Args:
        values: Intensities, any shape; in HU, those that only pad a slice are left out.
        units: As in the recipe's input.

    Returns:
        `low` and `high`: the 0.5th and 99.5th percentile and a twentieth of their distance
        beyond; `shares` of 64 bins between them, of which the outermost hold what lies beyond.
    """
    values = _counted(values, units)
    first, last = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    # Of an image of one value, too, the bins have a width.
    beyond = 0.05 * (last - first) or 0.5
    low, high = first - beyond, last + beyond
    shares = _shares(values, low, high)
    return {"low": low, "high": high, "shares": [float(f"{share:.4g}") for share in shares]}


def intensity_distance(
    values: npt.NDArray[Any], histogram: dict[str, Any], recipe: Recipe
) -> float:
    """How unlike a card's histogram intensities are, 0 (alike) to 1 (nothing in common).

    The Jensen-Shannon distance (Endres & Schindelin 2003; the square root of the divergence to
    base 2) of both histograms, smoothed over a bin, so that a narrow peak that lies in the next
    bin is no difference. What the recipe's window clips counts as one value, as it does for the
    network: air at -1000 or -1024 HU is all the same.

    Args:
        values: Intensities, any shape.
        histogram: Made by `intensity_histogram`.
        recipe: Says units and window.
    """
    low, high = float(histogram["low"]), float(histogram["high"])
    counted = _counted(values, recipe.inputs[0].units)
    pair = []
    for shares in (np.asarray(histogram["shares"], float), _shares(counted, low, high)):
        smooth = _smoothed(shares / shares.sum())
        centres = low + (np.arange(len(smooth)) + 0.5) * (high - low) / len(smooth)
        pair.append(_clipped(smooth, centres, recipe.preprocessing.window))
    mean = (pair[0] + pair[1]) / 2
    divergence = sum(float((p[p > 0] * np.log2(p[p > 0] / mean[p > 0])).sum()) for p in pair) / 2
    return math.sqrt(min(1.0, max(0.0, divergence)))


def _spacing_doubts(upright: Image, recipe: Recipe, known: dict[str, Any]) -> Iterator[Doubt]:
    least, most = _numbers(known, "spacing_min", 3), _numbers(known, "spacing_max", 3)
    if least is None or most is None:
        return
    spacing = [float(value) for value in upright.spacing]
    wanted = recipe.preprocessing.spacing
    factor = 1 + recipe.preprocessing.spacing_tolerance
    coarse = any(spacing[axis] > most[axis] * factor for axis in (0, 1))
    # Finer pixels lose nothing when they are brought to the size that the network works at.
    fine = wanted is None and any(spacing[axis] < least[axis] / factor for axis in (0, 1))
    if coarse or fine:
        pixels = f"{spacing[0]:.2f} x {spacing[1]:.2f}"
        advice = (
            f"They are brought to {wanted} mm, but detail that was not recorded stays missing: "
            "check fine structures and thin layers in the result."
            if isinstance(wanted, (int, float))
            else "Resample the image to such pixels, or check the result with care."
        )
        yield Doubt(
            "spacing",
            f"The pixels are {pixels} mm; the model has learnt from {_span(least[:2], most[:2])} "
            f"mm. {advice}",
        )
    if not least[2] / SLICE_FACTOR <= spacing[2] <= most[2] * SLICE_FACTOR:
        yield Doubt(
            "spacing",
            f"The slices are {spacing[2]:.2f} mm apart; the model has learnt from "
            f"{_span(least[2:], most[2:])} mm. Thicker slices blur borders and thinner ones are "
            "noisier than it knows: check the result, or use a reconstruction with such slices.",
        )


def _field_doubts(upright: Image, known: dict[str, Any]) -> Iterator[Doubt]:
    least, most = _numbers(known, "field_of_view_min", 2), _numbers(known, "field_of_view_max", 2)
    if least is None or most is None:
        return
    rows, columns = upright.shape[1] * upright.spacing[1], upright.shape[2] * upright.spacing[0]
    # One number: crops to the body are wide and low.
    size, small, large = (math.sqrt(a * b) for a, b in ((rows, columns), least, most))
    if small * SMALLEST_FIELD <= size <= large * LARGEST_FIELD:
        return
    yield Doubt(
        "field of view",
        f"The slices are {rows:.0f} x {columns:.0f} mm; those the model has learnt from were "
        f"{least[0]:.0f} x {least[1]:.0f} to {most[0]:.0f} x {most[1]:.0f} mm. Check that the "
        "image shows the part of the body that the model is for"
        + (", and all of it." if size < small else "."),
    )


def _intensity_doubts(upright: Image, recipe: Recipe, known: dict[str, Any]) -> Iterator[Doubt]:
    histogram = known.get("intensity_histogram")
    if not isinstance(histogram, dict) or _numbers(histogram, "shares", BINS) is None:
        return
    step = max(1, round((upright.voxels.size / _SAMPLES) ** (1 / 3)))
    sample = upright.voxels[:: min(step, len(upright.voxels)), ::step, ::step]
    distance = intensity_distance(sample, histogram, recipe)
    if distance <= LARGEST_DISTANCE:
        return
    units = f" {recipe.inputs[0].units}" if recipe.inputs[0].units else ""
    low, middle, high = np.percentile(_counted(sample, recipe.inputs[0].units), (5, 50, 95))
    learnt = known.get("intensity_percentiles")
    levels = [learnt.get(level) for level in ("5", "50", "95")] if isinstance(learnt, dict) else []
    span = (
        ", ".join(f"{level:.4g}" for level in levels) + units
        if levels and all(isinstance(level, (int, float)) for level in levels)
        else "others"
    )
    yield Doubt(
        "intensities",
        f"The intensities are unlike those the model has learnt from (Jensen-Shannon distance "
        f"{distance:.2f}, at most {LARGEST_DISTANCE:g} is familiar): their 5th, 50th and 95th "
        f"percentiles are {low:.4g}, {middle:.4g}, {high:.4g}{units}, in training they were "
        f"{span}. Check that the image is of the same kind, sequence and scale.",
    )


def _counted(values: npt.NDArray[Any], units: str) -> npt.NDArray[np.float64]:
    flat = values.astype(np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if units == "HU" and (flat > _PADDING_BELOW).any():
        flat = flat[flat > _PADDING_BELOW]
    return flat if flat.size else np.zeros(1)


def _shares(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    counts, _ = np.histogram(values.clip(low, high), BINS, (low, high))
    return counts / counts.sum()


def _smoothed(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Shares blurred by a Gaussian of one bin; what would leave the range stays in its end."""
    reach = 4
    kernel = np.exp(-0.5 * np.arange(-reach, reach + 1) ** 2)
    wide = np.convolve(shares, kernel / kernel.sum(), "full")
    smooth = wide[reach:-reach].copy()
    smooth[0] += wide[:reach].sum()
    smooth[-1] += wide[-reach:].sum()
    return smooth


def _clipped(
    shares: npt.NDArray[np.float64],
    centres: npt.NDArray[np.float64],
    window: tuple[float, float] | None,
) -> npt.NDArray[np.float64]:
    if window is None:
        return shares
    below, above = centres < window[0], centres > window[1]
    inside = ~(below | above)
    return np.array([shares[below].sum(), *shares[inside], shares[above].sum()])


def _numbers(content: dict[str, Any], name: str, count: int) -> Sequence[float] | None:
    """A list of so many numbers in a card, which anybody may have written; None otherwise."""
    values = content.get(name)
    if not isinstance(values, (list, tuple)) or len(values) != count:
        return None
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        return None
    return values


def _span(least: Sequence[float], most: Sequence[float]) -> str:
    low, high = min(least), max(most)
    return f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
