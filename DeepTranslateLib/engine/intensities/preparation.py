"""What is done to the intensities of a volume before it is cut into slices, and how to undo it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.cohort import Case
from DeepTranslateLib.cohort.case import SOURCE, TARGET
from DeepTranslateLib.engine.body import AIR_HU, Body, box_around, find_body
from DeepTranslateLib.engine.intensities.bias import bias_field
from DeepTranslateLib.engine.intensities.foreground import filled, find_foreground, padded, reaching
from DeepTranslateLib.engine.intensities.standardisation import (
    foreground_scale,
    learnt_landmarks,
)
from DeepTranslateLib.engine.intensities.undo import Changes
from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.recipe import PLANES, Preprocessing, Recipe, Target

_PADDING_HU = -1500  # what scanners pad with (-2000, -3024, ...) is no tissue and no air


@dataclass(frozen=True)
class Prepared:
    """An upright volume whose intensities are as a recipe asks.

    Attributes:
        voxels: (slices, rows, columns).
        body: The crop, and what belongs to the body or the mask.
        changes: What was done to the intensities.
    """

    voxels: npt.NDArray[np.generic]
    body: Body
    changes: Changes


def prepare(upright: Image, recipe: Recipe) -> Prepared:
    """Prepare the intensities of an input, oriented as the recipe's plane says.

    Raises:
        ImageError: The image cannot be brought to a standard scale, or has no mask of this kind.
    """
    preprocessing = recipe.preprocessing
    field, scale = _field(upright, recipe), None
    if field is not None:
        upright = upright.with_voxels(Changes(None, field).made(upright.voxels))
    if preprocessing.standardisation != "none":
        scale = foreground_scale(
            _foreground(upright), preprocessing.standardisation, preprocessing.landmarks
        )
    voxels = Changes(scale).made(upright.voxels)
    return Prepared(voxels, _body(upright, recipe), Changes(scale, field))


def prepared_target(target: Image, recipe: Recipe) -> Image:
    """A target as the recipe means it; label maps as they are.

    With `target.standardisation` a volume is brought to the standard scale. Of a volume in HU what
    only pads it (below -1500) has the lowest value of the target's range.

    Raises:
        ImageError: The volume cannot be brought to a standard scale.
    """
    wanted = recipe.target
    if wanted.kind == "labels":
        return target
    if wanted.standardisation != "none":
        upright = target.oriented(PLANES[recipe.sampling.plane])
        scale = foreground_scale(_foreground(upright), wanted.standardisation, wanted.landmarks)
        return target.with_voxels(scale.apply(target.voxels))
    if wanted.units == "HU" and target.voxels.min() < _PADDING_HU:
        assert wanted.range is not None
        lowest = target.voxels.dtype.type(wanted.range[0])
        return target.with_voxels(np.where(target.voxels < _PADDING_HU, lowest, target.voxels))
    return target


def read_target(case: Case, recipe: Recipe) -> Image:
    """The target of a case, as of `prepared_target`.

    Raises:
        CohortError: The case has none.
        ImageError: It cannot be read, or not be brought to a standard scale.
        OSError: It may not be opened.
    """
    return prepared_target(case.read_target(), recipe)


def with_landmarks(recipe: Recipe, cases: Iterable[Case]) -> Recipe:
    """The recipe with standard landmarks, learnt from these cases where it has none yet.

    Args:
        recipe: Where nothing is to be learnt, it is returned and no image is read.
        cases: Of the training, read one at a time. Those of a domain tell of its scale alone.
    """
    wants_input = _wants_landmarks(recipe.preprocessing)
    wants_target = _wants_landmarks(recipe.target)
    if not (wants_input or wants_target):
        return recipe
    plane = PLANES[recipe.sampling.plane]
    inputs, targets = [], []
    for case in cases:
        # A sample is enough for percentiles, and a cohort's volumes may not fit into memory.
        if wants_input and case.domain != TARGET:
            upright = case.read_image().oriented(plane)
            field = _field(upright, recipe)
            corrected = upright.with_voxels(Changes(None, field).made(upright.voxels))
            inputs.append(_sampled(_foreground(corrected)))
        if wants_target and case.domain != SOURCE:
            made = case.read_target() if case.domain is None else case.read_image()
            targets.append(_sampled(_foreground(made.oriented(plane))))
    preprocessing, target = recipe.preprocessing, recipe.target
    if wants_input:
        preprocessing = dataclasses.replace(preprocessing, landmarks=learnt_landmarks(inputs))
    if wants_target:
        target = dataclasses.replace(target, landmarks=learnt_landmarks(targets))
    return dataclasses.replace(recipe, preprocessing=preprocessing, target=target)


def taken_landmarks(recipe: Recipe, known: Recipe) -> Recipe:
    """The recipe with the landmarks of another one, where it wants some.

    What a network has learnt holds on the scale that it was trained on.
    """
    parts: dict[str, Any] = {}
    for name in ("preprocessing", "target"):
        part, other = getattr(recipe, name), getattr(known, name)
        if _wants_landmarks(part) and other.landmarks is not None:
            parts[name] = dataclasses.replace(part, landmarks=other.landmarks)
    return dataclasses.replace(recipe, **parts)


def _field(upright: Image, recipe: Recipe) -> npt.NDArray[np.float32] | None:
    if not recipe.preprocessing.bias_correction:
        return None
    spacing = _stack_spacing(upright)
    return bias_field(upright.voxels, spacing, find_foreground(upright.voxels, spacing))


def _body(upright: Image, recipe: Recipe) -> Body:
    """The crop to the body or to the mask; of a mask over HU, whole slices."""
    preprocessing = recipe.preprocessing
    rows, columns = upright.voxels.shape[1:]
    everything = Body((0, rows, 0, columns), None, (1, 1, 1))
    spacing = _stack_spacing(upright)
    if preprocessing.body_crop:
        return find_body(upright.voxels, spacing, preprocessing.body_margin)
    if preprocessing.mask == "none":
        return everything
    if recipe.inputs[0].units == "HU":
        found = find_body(upright.voxels, spacing, 0)
        return dataclasses.replace(found, box=everything.box, outside=AIR_HU)
    window = preprocessing.window
    outside = 0.0 if window is None else window[0]
    if preprocessing.mask == "brain":
        mask, steps = _brain(upright), (1, 1, 1)
    else:
        foreground = reaching(find_foreground(upright.voxels, spacing), spacing)
        mask, steps = foreground.mask, foreground.steps
    box = box_around(mask, steps, (rows, columns), spacing, preprocessing.body_margin)
    return Body(box, mask, steps, outside)


def _brain(upright: Image) -> npt.NDArray[np.bool_]:
    padding = padded(upright.voxels)
    if padding is None:
        raise ImageError(
            "The mask 'brain' is for brain-extracted images, whose background is one value, such "
            "as 0; this image's is not. Extract the brain first (SynthStrip and HD-BET do so), or "
            "set the recipe's preprocessing.mask to 'body'."
        )
    return np.stack([filled(piece) for piece in ~padding])


def _foreground(upright: Image) -> npt.NDArray[np.generic]:
    """Intensities of the patient."""
    return find_foreground(upright.voxels, _stack_spacing(upright)).values(upright.voxels)


def _stack_spacing(upright: Image) -> tuple[float, float, float]:
    """Of slices, rows and columns, mm."""
    column_mm, row_mm, slice_mm = (float(value) for value in upright.spacing)
    return (slice_mm, row_mm, column_mm)


def _sampled(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return values[:: max(1, values.size // 1_000_000)].copy()


def _wants_landmarks(part: Preprocessing | Target) -> bool:
    return part.standardisation == "histogram" and part.landmarks is None
