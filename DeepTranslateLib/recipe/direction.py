"""Both ways of a translation: from source to target, and back."""

from __future__ import annotations

import dataclasses

from DeepTranslateLib.recipe.error import RecipeError
from DeepTranslateLib.recipe.images import Input, Target
from DeepTranslateLib.recipe.whole import Recipe

FORWARD, BACKWARD = "source-to-target", "target-to-source"
DIRECTIONS = (FORWARD, BACKWARD)


def names_of_sides(recipe: Recipe) -> tuple[str, str]:
    """Words for what a recipe reads and for what it makes: modalities where they tell them apart.

    Returns:
        Such as ("MR", "CT"), or ("source", "target").
    """
    source, target = recipe.inputs[0].modality, recipe.target.modality
    if source == target or "other" in (source, target):
        return "source", "target"
    return source, target


def in_direction(recipe: Recipe, direction: str) -> Recipe:
    """The recipe that a volume is translated by in one direction.

    Backward, the target is what is read, and what is made is of the input's kind: the window and
    the target's range change places, as do units and standard scales. The crop to a body that is
    found by its HU becomes the mask of a body that is found otherwise, and the mask of a brain,
    which HU do not have, that of a body. Corrections of bias are of the forward direction alone.

    Args:
        recipe: Of a volume, with a window.
        direction: One of `DIRECTIONS`.

    Raises:
        RecipeError: There is no such direction, or the recipe cannot be turned round.
    """
    if direction == FORWARD:
        return recipe
    if direction != BACKWARD:
        raise RecipeError(
            "$", f"expected the direction {' or '.join(DIRECTIONS)}, found '{direction}'."
        )
    window, target, source = recipe.preprocessing.window, recipe.target, recipe.inputs[0]
    if target.kind != "volume" or window is None:
        raise RecipeError(
            "$",
            f"the recipe '{recipe.name}' makes no images of the input's kind; translate "
            f"'{FORWARD}'.",
        )
    preprocessing = recipe.preprocessing
    crops = preprocessing.body_crop
    reads_hu = target.units == "HU"
    return dataclasses.replace(
        recipe,
        inputs=(Input(source.name, target.modality, target.units),),
        target=Target(
            "volume",
            units=source.units,
            modality=source.modality,
            range=window,
            standardisation=preprocessing.standardisation,
            landmarks=preprocessing.landmarks,
        ),
        preprocessing=dataclasses.replace(
            preprocessing,
            window=target.range,
            standardisation=target.standardisation,
            landmarks=target.landmarks,
            body_crop=crops and reads_hu,
            mask=_mask(recipe),
            # Of the coils of the other scanner nothing is known.
            bias_correction=False,
        ),
    )


def _mask(recipe: Recipe) -> str:
    """What counts of an image of the target, where its crop cannot tell."""
    crops, mask = recipe.preprocessing.body_crop, recipe.preprocessing.mask
    if recipe.target.units == "HU":
        return "body" if mask == "brain" else mask
    return "body" if crops else mask
