"""Whether a segmentation finds in a translation what its input shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from DeepTranslateLib.engine.labelvalues import IGNORE, channels_of_values
from DeepTranslateLib.engine.metrics.images import MetricError, mask_on_grid_of, on_grid_of
from DeepTranslateLib.engine.metrics.overlap import Overlap, label_overlaps
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe


@dataclass(frozen=True)
class LabelAgreement:
    """Whether a segmentation finds a label at the same places in inputs and translations.

    Attributes:
        name: Of the label.
        dice: Pooled over all volumes; NaN where it was found on neither side.
        cases: Dice of each volume.
    """

    name: str
    dice: float
    cases: tuple[float, ...]


def segmentation_agreement(
    segmentor: Translator,
    predictions: Sequence[Image],
    inputs: Sequence[Image] = (),
    labels: Sequence[Image] = (),
    masks: Sequence[Image] = (),
) -> tuple[LabelAgreement, ...]:
    """Dice of the labels that a model finds in translations with those of their inputs.

    A segmentor knows the domain that it was trained on. Where inputs are of another, such as MR
    with a segmentor of CT, give their label maps; without these it segments the inputs as well.

    Args:
        segmentor: Makes labels.
        predictions: Translated volumes.
        inputs: What each was made from, on its grid; not used where there are label maps.
        labels: Label map of each input, with values as of the segmentor's recipe. Voxels that
            the recipe says to ignore do not count.
        masks: Of each prediction: only voxels where it is not 0 count. The segmentor sees all.

    Raises:
        MetricError: The segmentor makes no labels, another grid, no label map, or a mask with NaN.
    """
    recipe = segmentor.recipe
    if recipe.target.kind != "labels":
        raise MetricError(
            f"The model '{recipe.name}' makes volumes, not labels. Give one that segments."
        )
    overlaps = []
    for place, prediction in enumerate(predictions):
        name, other = f"label map {place + 1}", f"prediction {place + 1}"
        if labels:
            truth = on_grid_of(prediction, labels[place], name, other)
            _refuse_other_values(truth, name)
        else:
            source = on_grid_of(prediction, inputs[place], f"input {place + 1}", other)
            truth = segmentor.translate(source)
        mask = None
        if masks:
            mask = mask_on_grid_of(prediction, masks[place], f"mask of {other}", other)
        overlaps.append(_overlaps(segmentor.translate(prediction), truth, mask, recipe))
    pooled = [sum(each, Overlap()) for each in zip(*overlaps, strict=True)]
    return tuple(
        LabelAgreement(label.name, pooled[n].dice, tuple(case[n].dice for case in overlaps))
        for n, label in enumerate(recipe.target.labels)
    )


def _refuse_other_values(labels: Image, name: str) -> None:
    values = np.unique(labels.voxels)
    if values.min() < 0 or values.max() > 255 or (values != np.floor(values)).any():
        raise MetricError(
            f"The {name} is none: its values are not whole numbers from 0 to 255. Give the labels "
            "of the input."
        )


def _overlaps(
    found: Image, truth: Image, mask: Image | None, recipe: Recipe
) -> tuple[Overlap, ...]:
    mine, theirs = (channels_of_values(image.voxels, recipe) for image in (found, truth))
    values = tuple(range(1, len(recipe.target.labels) + 1))
    counted = theirs != IGNORE
    if mask is not None:
        counted &= mask.voxels != 0
    return label_overlaps(mine, theirs, values, counted)
