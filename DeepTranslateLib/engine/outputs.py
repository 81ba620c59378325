"""What the outputs of a recipe's network mean: labels by logits, or values on a scale."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.engine.labelvalues import values_of_channels
from DeepTranslateLib.engine.losses import EXCLUSIVE
from DeepTranslateLib.engine.losses.cross_entropy import with_background_logit
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import PLANES, Recipe


def channels_of(logits: Tensor) -> Tensor:
    """The likeliest label of each pixel where its probability is above a half, else none.

    Args:
        logits: (N, labels, H, W).

    Returns:
        (N, H, W) uint8: 0 none, n the nth label.
    """
    best, channel = logits.max(dim=1)
    return torch.where(best > 0, channel + 1, 0).to(torch.uint8)


def finished(recipe: Recipe, output: Tensor) -> Tensor:
    """Of outputs (N, C, H, W): channels (uint8, 0 is no label), or values in units, fp32."""
    target = recipe.target
    if target.kind == "labels":
        return channels_of(output)
    assert target.range is not None
    low, high = target.range
    return output[:, 0] * (high - low) + low


def values(recipe: Recipe, pieces: Tensor) -> np.ndarray:
    """Of what `finished` gives: the values of the label map, or those of the volume as they are."""
    if recipe.target.kind == "labels":
        return values_of_channels(pieces.numpy(), recipe)
    return pieces.numpy()


def empty_output(recipe: Recipe, shape: tuple[int, ...]) -> np.ndarray:
    """What a translation holds before slices are pasted: no label, or the lowest value."""
    if recipe.target.kind == "labels":
        return np.zeros(shape, dtype=np.uint8)
    assert recipe.target.range is not None
    return np.full(shape, recipe.target.range[0], dtype=np.float32)


def on_grid_of(image: Image, output: np.ndarray, recipe: Recipe) -> Image:
    """Slices of the recipe's plane, (slices, rows, columns), as the image stores its voxels."""
    upright = image.oriented(PLANES[recipe.sampling.plane]).with_voxels(output)
    return image.with_voxels(upright.oriented(image.orientation).voxels)


def shares(recipe: Recipe, output: Tensor) -> Tensor:
    """Of outputs (N, C, H, W) what several may be averaged in: probabilities, or values."""
    if recipe.target.kind == "volume":
        return output
    if excludes(recipe):
        return with_background_logit(output).softmax(dim=1)[:, 1:]
    return output.sigmoid()


def fused(recipe: Recipe, mean: Tensor) -> Tensor:
    """As `finished`, of the mean of what `shares` gives.

    The likeliest label counts where it is likelier than none or, where a pixel may have several,
    likelier than not.
    """
    if recipe.target.kind == "volume":
        return finished(recipe, mean)
    least = 1 - mean.sum(dim=1, keepdim=True) if excludes(recipe) else 0.5
    return channels_of(mean - least)


def excludes(recipe: Recipe) -> bool:
    """The network has learnt that a pixel has one label or none."""
    return any(term.name in EXCLUSIVE for term in recipe.method.losses)
