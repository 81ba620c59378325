"""Held-out cases measured: labelled slices at full resolution, on the images' own grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from DeepTranslateLib.cohort import Case
from DeepTranslateLib.cohort.case import labelled_slices, stack_axis
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.engine.intensities import read_target
from DeepTranslateLib.engine.labelvalues import channels_of_values, values_of_channels
from DeepTranslateLib.engine.metrics.images import label_metrics, volume_metrics
from DeepTranslateLib.engine.outputs import empty_output, on_grid_of
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import PLANES, Recipe
from DeepTranslateLib.schema import to_json

NETWORK = "network"


def measure_held_out(
    translator: Translator, baseline: IntensityBaseline, cases: Sequence[Case]
) -> list[dict[str, Any]]:
    """Translate and compare the labelled slices of some cases.

    Returns:
        One row for each case, method (`NETWORK` and the baseline's tables) and label: `subject`,
        `image`, `slices` (their number), `method`, `label` ("" for volumes) and the metrics of
        `engine.metrics.images`.
    """
    recipe = translator.recipe
    rows = []
    for case in cases:
        image, target = case.read_image(), read_target(case, recipe)
        chosen = labelled_slices(case, recipe.sampling.plane)
        outputs = {
            NETWORK: translated_slices(translator, image, chosen),
            **baseline.translate(image, chosen),
        }
        for method, output in outputs.items():
            rows += [
                {
                    "subject": case.subject,
                    "image": case.name,
                    "slices": len(chosen),
                    "method": method,
                    **row,
                }
                for row in compared_slices(output, target, recipe, chosen, case.read_mask())
            ]
    return rows


def translated_slices(translator: Translator, image: Image, slices: Sequence[int]) -> Image:
    """Translate some slices of a volume; the others have no label, or the lowest value.

    Args:
        translator: Of any recipe.
        image: The volume.
        slices: Stored indices along the recipe's plane, as in `Case.slices`.

    Returns:
        On the volume's grid, as of `Translator.translate`.
    """
    indices, found = translator.translate_slices(image, slices)
    plane = PLANES[translator.recipe.sampling.plane]
    whole = empty_output(translator.recipe, image.oriented(plane).shape)
    whole[indices] = found
    return on_grid_of(image, whole, translator.recipe)


def compared_slices(
    output: Image,
    target: Image,
    recipe: Recipe,
    slices: Sequence[int],
    mask: Image | None = None,
) -> list[dict[str, Any]]:
    """Metrics of an output on the slices that count: a row a label, or one for a volume.

    Args:
        output: Label map with the recipe's values, or volume.
        target: As in the cohort, on the same grid.
        recipe: Says what they are.
        slices: Stored indices in the output.
        mask: On the same grid; only voxels where it is not 0 count. Default: all do.
    """
    counted = np.zeros(output.shape, dtype=bool)
    np.moveaxis(counted, stack_axis(output, recipe.sampling.plane), 0)[list(slices)] = True
    if mask is not None:
        counted &= mask.oriented(output.orientation).voxels != 0
    inside = output.with_voxels(counted)
    if recipe.target.kind == "volume":
        found = volume_metrics(
            output,
            target,
            mask=inside,
            value_range=recipe.target.range,
            plane=recipe.sampling.plane,
        )
        return [{"label": "", **to_json(found)}]
    names = {label.value: label.name for label in recipe.target.labels}
    # Several values of the label map may stand for one label.
    known = values_of_channels(channels_of_values(target.voxels, recipe), recipe)
    found_labels = label_metrics(
        output,
        target.with_voxels(known),
        tuple(names),
        mask=inside,
        ignore=recipe.target.ignore,
    )
    return [{"label": names[row.value], **to_json(row)} for row in found_labels]
