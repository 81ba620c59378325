"""Checks of a label map: known values, and labels where the cohort says there are some."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.cohort.case import Case, slices_to_text
from DeepTranslateLib.cohort.fault import Fault, listed
from DeepTranslateLib.recipe import Recipe

_Voxels = npt.NDArray[np.generic]
_LISTED = 8  # how many values one message lists


def check_labels(case: Case, slices: _Voxels, recipe: Recipe) -> Iterator[Fault]:
    """Check the values of a label map, slice by slice along the first axis."""
    known = {value for label in recipe.target.labels for value in (label.value, *label.also)}
    if not recipe.is_configured:  # labels are found, and 255 is left undecided
        known.update(range(1, 256))
    neutral = {0, recipe.target.ignore}
    counts = [_value_counts(plane) for plane in slices]
    chosen = range(len(slices)) if case.slices is None else sorted(set(case.slices))
    chosen = [index for index in chosen if 0 <= index < len(slices)]
    total: Counter[float] = sum((counts[index] for index in chosen), Counter())
    unknown = {value: n for value, n in sorted(total.items()) if value not in known | neutral}
    if unknown:
        expected = ", ".join(
            f"{value} {label.name}"
            for label in recipe.target.labels
            for value in (label.value, *label.also)
        )
        fractions = any(not float(value).is_integer() for value in unknown)
        yield Fault(
            case.subject,
            "label_values",
            "error",
            f"The label map holds values that the recipe does not know: {_values(unknown)}. It "
            f"knows 0 background, {expected or 'whole numbers to 255'}"
            + (f", {recipe.target.ignore} ignored." if recipe.target.ignore else "."),
            "The labels were interpolated or are no label map: export them anew, nearest neighbour."
            if fractions
            else "Correct the label map, or add the values to a label's 'also' in the recipe, or "
            "name one in its 'ignore'.",
        )
    empty = [index for index in chosen if not counts[index].keys() - {0}]
    elsewhere = [index for index, count in enumerate(counts) if count.keys() - {0}]
    if not chosen:
        return
    if not total.keys() - neutral:
        yield _nothing_labelled(case, elsewhere)
    elif empty and case.slices is None:
        labelled = slices_to_text(elsewhere)
        yield Fault(
            case.subject,
            "partly_labelled",
            "warning",
            f"Labels lie on {len(elsewhere)} of {len(slices)} slices; the other {len(empty)} will "
            "be learnt as background.",
            "If those were not labelled, name the ones that were, in the CSV's column slices: "
            f"{textwrap.shorten(labelled.replace(';', '; '), 60).replace('; ', ';')}.",
        )
    elif empty:
        yield Fault(
            case.subject,
            "empty_slices",
            "warning",
            f"Slices {listed(empty)} are listed as labelled and hold no label.",
            "Check the list, which counts from 0; right only if these slices show none of the "
            "labels.",
        )


def _nothing_labelled(case: Case, elsewhere: Sequence[int]) -> Fault:
    if case.slices is None:
        return Fault(
            case.subject,
            "empty_labels",
            "error",
            "The label map holds no label.",
            "Check that it is the right file. If the subject truly shows none of the labels, say "
            "so by naming its slices in the CSV's column slices.",
        )
    if elsewhere:
        return Fault(
            case.subject,
            "empty_labels",
            "error",
            f"No listed slice holds a label; labels lie on slices {listed(elsewhere)}.",
            "Correct the list of slices, which counts from 0.",
        )
    return Fault(
        case.subject,
        "empty_labels",
        "warning",
        "The label map holds no label; its listed slices will be learnt as background.",
        "Right only if they show none of the labels.",
    )


def _value_counts(plane: _Voxels) -> Counter[float]:
    if plane.dtype == np.uint8:
        counts = np.bincount(plane.ravel())
        return Counter({int(value): int(counts[value]) for value in counts.nonzero()[0]})
    values, numbers = np.unique(plane, return_counts=True)
    return Counter(dict(zip(values.tolist(), numbers.tolist(), strict=True)))


def _values(counts: dict[float, int]) -> str:
    listed = [f"{value:g} ({n} voxels)" for value, n in list(counts.items())[:_LISTED]]
    more = f" and {len(counts) - _LISTED} more" if len(counts) > _LISTED else ""
    return ", ".join(listed) + more
