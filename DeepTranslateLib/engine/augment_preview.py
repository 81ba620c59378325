"""What augmentation makes of a slice, shown before anything is trained."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.cohort.case import stack_axis
from DeepTranslateLib.engine.augmentedslices import augmented_slices
from DeepTranslateLib.engine.dataset import LabelledSlice
from DeepTranslateLib.engine.intensities import prepared_target
from DeepTranslateLib.engine.labelvalues import values_of_channels
from DeepTranslateLib.engine.patch_preview import shown_patch
from DeepTranslateLib.engine.preprocessing import slice_stack
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.engine.volumestack import resolved_spacings
from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.recipe import Recipe

_CPU = torch.device("cpu")


def augmented(
    recipe: Recipe, image: Image, target: Image, slice: int | None, seed: int, count: int = 1
) -> dict[str, np.ndarray]:
    """One slice as the network sees it, and as augmentation shows it in as many steps.

    The changes are those of the first step of epochs 0, 1, ... of a training with this seed
    whose batch begins with this slice. Of a recipe of patches it is one slice of the patch around
    it that is shown, on a square as long as the patch's longer side.

    Args:
        recipe: Says how slices are prepared and changed.
        image: A volume in the units of the recipe.
        target: Label map or volume on its grid.
        slice: Index as in `Case.slices`; None for the one with most to see.
        seed: The same seed makes the same changes.
        count: How many.

    Returns:
        On a square of S pixels, rows from front to back or head to foot: `image` (S, S) and
        `images` (count, S, S) fp32, in the units of the input and clipped to the recipe's window;
        `target` (S, S) and `targets` (count, S, S), uint8 label values, or fp32 in the units of
        the target.

    Raises:
        ImageError: The target is on another grid, or there is no such slice.
    """
    target = target.oriented(image.orientation)
    if not target.same_grid(image):
        raise ImageError(
            "The image and its labels or target lie on different grids, so a slice of both cannot "
            "be shown. Resample the labels onto the image's grid (nearest neighbour)."
        )
    slices = image.shape[stack_axis(image, recipe.sampling.plane)]
    if slice is None:
        slice = _fullest(target, recipe)
    if not 0 <= slice < slices:
        raise ImageError(
            f"There is no slice {slice}: the image has {slices} {recipe.sampling.plane} slices, "
            f"0 to {slices - 1}."
        )
    if recipe.is_volumetric:
        patch = shown_patch(recipe, image, target, slice)
        unchanged, change = patch.unchanged, patch.changed
    else:
        piece = _prepared(recipe, image, target, slice)
        unchanged = piece.image[None], piece.target[None]
        change = functools.partial(_changed, piece, recipe)
    side = max(unchanged[0].shape[-2:])
    before = _centred(unchanged[0], side), _centred(unchanged[1], side)
    after_images, after_targets = [], []
    for epoch in range(count):
        random = random_state(seed, epoch, 0)
        random.integers(2**62)  # a step's draw for dropout comes first
        images, targets = change(random)
        after_images.append(_centred(images, side))
        after_targets.append(_centred(targets, side))
    empty = torch.zeros(0, *before[0].shape[1:]), before[1][:0]
    return {
        "image": _in_units(before[0], recipe)[0],
        "target": _in_values(before[1], recipe)[0],
        "images": _in_units(torch.cat(after_images or [empty[0]]), recipe),
        "targets": _in_values(torch.cat(after_targets or [empty[1]]), recipe),
    }


def _changed(
    piece: LabelledSlice, recipe: Recipe, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    return augmented_slices([piece], recipe, random, _CPU)


def _prepared(recipe: Recipe, image: Image, target: Image, stored: int) -> LabelledSlice:
    recipe = resolved_spacings(recipe, [image])
    stack = slice_stack(image, recipe)
    indices = [stack.index(stored)]
    if recipe.target.kind == "labels":
        truth = stack.labels(target, recipe, indices)[0]
    else:
        truth = stack.targets(prepared_target(target, recipe), recipe, indices)[0]
    return LabelledSlice(stack.images(indices)[0], truth, stack.full_size)


def _fullest(target: Image, recipe: Recipe) -> int:
    """Index of the stored slice with most labelled voxels, or with the widest spread of values."""
    slices = np.moveaxis(target.voxels, stack_axis(target, recipe.sampling.plane), 0)
    if recipe.target.kind == "volume":
        return int(np.argmax([piece[::4, ::4].std() for piece in slices]))
    values = [value for label in recipe.target.labels for value in (label.value, *label.also)]
    return int(np.argmax([np.count_nonzero(np.isin(piece, values)) for piece in slices]))


def _centred(pixels: Tensor, side: int) -> Tensor:
    """Pixels (..., H, W) in the middle of a square, whose rest is 0."""
    height, width = pixels.shape[-2:]
    square = pixels.new_zeros(*pixels.shape[:-2], side, side)
    top, left = (side - height) // 2, (side - width) // 2
    square[..., top : top + height, left : left + width] = pixels
    return square


def _in_units(images: Tensor, recipe: Recipe) -> np.ndarray:
    # The slice itself, between its neighbours.
    values: np.ndarray = images[:, images.shape[1] // 2].numpy()
    if recipe.preprocessing.window is None:
        return values
    low, high = recipe.preprocessing.window
    return values * np.float32(high - low) + np.float32(low)


def _in_values(targets: Tensor, recipe: Recipe) -> np.ndarray:
    if targets.dtype == torch.uint8:
        return values_of_channels(targets.numpy(), recipe)
    assert recipe.target.range is not None
    low, high = recipe.target.range
    return targets[:, 0].numpy() * np.float32(high - low) + np.float32(low)
