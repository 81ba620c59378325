"""A translator held against references, on their own grid rather than the network's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from DeepTranslateLib.cohort import Selection
from DeepTranslateLib.engine.intensities import read_target
from DeepTranslateLib.engine.labelvalues import IGNORE, channels_of_values
from DeepTranslateLib.engine.metrics import DiceCounter, mean_of_known
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.recipe import PLANES


def evaluate(translator: Translator, selections: Sequence[Selection]) -> dict[str, Any]:
    """Translate the labelled slices of some cases and compare, at full resolution.

    Returns:
        For labels: `dice` by label name, pooled over all slices (None for a label that occurs
        nowhere). For volumes: `mean_absolute_error` in the target's units.
    """
    if translator.recipe.target.kind == "labels":
        return {"dice": _dice(translator, selections)}
    return {"mean_absolute_error": _mean_absolute_error(translator, selections)}


def _dice(translator: Translator, selections: Sequence[Selection]) -> dict[str, float | None]:
    recipe = translator.recipe
    counter = DiceCounter(len(recipe.target.labels))
    for found, truth, counted in _slices(translator, selections):
        reference = channels_of_values(truth, recipe)
        if counted is not None:
            reference[~counted] = IGNORE
        output = channels_of_values(found, recipe)
        counter.add(torch.from_numpy(output), torch.from_numpy(reference))
    names = [label.name for label in recipe.target.labels]
    return {
        name: None if value != value else value
        for name, value in zip(names, counter.dice(), strict=True)
    }


def _mean_absolute_error(translator: Translator, selections: Sequence[Selection]) -> float:
    errors = []
    for found, truth, counted in _slices(translator, selections):
        error = np.abs(found - truth)
        errors.append(float(error.mean() if counted is None else error[counted].mean()))
    return mean_of_known(errors)


def _slices(
    translator: Translator, selections: Sequence[Selection]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Of each labelled slice the output, the truth and where it counts (None: everywhere)."""
    plane = PLANES[translator.recipe.sampling.plane]
    for selection in selections:
        case = selection.case
        truth = read_target(case, translator.recipe).oriented(plane).voxels
        counted = case.counted(plane)
        outputs = translator.translate_slices(case.read_image(), selection.slices)
        for index, output in zip(*outputs, strict=True):
            yield output, truth[index], None if counted is None else counted[index]
