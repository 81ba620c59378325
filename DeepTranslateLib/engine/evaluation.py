"""A translator held against references, on their own grid rather than the network's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from DeepTranslateLib.cohort import Selection
from DeepTranslateLib.engine.intensities import read_target
from DeepTranslateLib.engine.metrics import DiceCounter, mean_of_known
from DeepTranslateLib.engine.preprocessing import IGNORE, channels_of_values, slice_stack
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
    for selection in selections:
        stack = slice_stack(selection.case.read_image(), recipe)
        truth = (
            read_target(selection.case, translator.recipe)
            .oriented(PLANES[recipe.sampling.plane])
            .voxels
        )
        counted = selection.case.counted(PLANES[recipe.sampling.plane])
        chosen = range(len(stack)) if selection.slices is None else selection.slices
        for indices, channels in translator.slices(stack, [stack.index(i) for i in chosen]):
            for index, piece in zip(indices, channels.numpy(), strict=True):
                whole = np.zeros(stack.voxels.shape[1:], dtype=np.uint8)
                stack.paste(piece, index, whole)
                reference = channels_of_values(truth[index], recipe)
                if counted is not None:
                    reference[~counted[index]] = IGNORE
                counter.add(torch.from_numpy(whole), torch.from_numpy(reference))
    names = [label.name for label in recipe.target.labels]
    return {
        name: None if value != value else value
        for name, value in zip(names, counter.dice(), strict=True)
    }


def _mean_absolute_error(translator: Translator, selections: Sequence[Selection]) -> float:
    errors = []
    for selection in selections:
        image = selection.case.read_image()
        stack = slice_stack(image, translator.recipe)
        plane = PLANES[translator.recipe.sampling.plane]
        truth = read_target(selection.case, translator.recipe).oriented(plane).voxels
        counted = selection.case.counted(plane)
        assert translator.recipe.target.range is not None
        lowest = translator.recipe.target.range[0]
        chosen = range(len(stack)) if selection.slices is None else selection.slices
        for indices, values in translator.slices(stack, [stack.index(i) for i in chosen]):
            for index, piece in zip(indices, values.numpy(), strict=True):
                whole = np.full(stack.voxels.shape[1:], lowest, dtype=np.float32)
                stack.paste(piece, index, whole)
                error = np.abs(whole - truth[index])
                errors.append(
                    float(error.mean() if counted is None else error[counted[index]].mean())
                )
    return mean_of_known(errors)
