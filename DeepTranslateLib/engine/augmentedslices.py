"""Slices as a training step sees them: changed at random, in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.engine.augmentation import (
    Change,
    apply_changes,
    apply_to_images,
    sample_change,
)
from DeepTranslateLib.engine.dataset import LabelledSlice, collate, together
from DeepTranslateLib.engine.noisy_inputs import noisy_images
from DeepTranslateLib.recipe import Recipe


def augmented_slices(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    random: np.random.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Slices of one batch, each changed at random, on a square as long as the longest side.

    Args:
        slices: At least one.
        recipe: Says what may be changed, how far, and which noise is added.
        random: Where the changes are drawn from, slice by slice.
        device: Where to compute.

    Returns:
        Images (B, C, S, S) fp32 and targets (B, S, S) uint8 or (B, 1, S, S) fp32.
    """
    changes, canvas = _drawn(slices, recipe, random)
    images, targets = collate(slices)
    images, targets = apply_changes(
        images.to(device, non_blocking=True),
        targets.to(device, non_blocking=True),
        [piece.size for piece in slices],
        changes,
        canvas,
    )
    return noisy_images(images, recipe, random), targets


def augmented_images(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    random: np.random.Generator,
    device: torch.device,
) -> Tensor:
    """The images that `augmented_slices` gives, by a recipe without pairs, which adds no noise."""
    changes, canvas = _drawn(slices, recipe, random)
    images = together([piece.image for piece in slices], 2).to(device, non_blocking=True)
    return apply_to_images(images, [piece.size for piece in slices], changes, canvas)


def _drawn(
    slices: Sequence[LabelledSlice], recipe: Recipe, random: np.random.Generator
) -> tuple[list[Change], tuple[int, int]]:
    """The change of each slice, and the size of what is made of all."""
    changes = [sample_change(recipe.augmentation, piece.full_size, random) for piece in slices]
    # A square, so that a turned body stays in view.
    side = max(max(piece.size) for piece in slices)
    return changes, (side, side)
