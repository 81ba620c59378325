"""Noisy inputs of a denoising recipe: new ones in every step, the same ones in every validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.cohort import Selection
from DeepTranslateLib.engine.intensities import prepare
from DeepTranslateLib.engine.noise import add_noise, noisy_values
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.recipe import PLANES, Recipe


def noisy_images(images: Tensor, recipe: Recipe, random: np.random.Generator) -> Tensor:
    """Images of a batch with the recipe's noise; as they are where it asks for none.

    Args:
        images: (B, C, H, W) fp32, the window mapped to 0..1.
        recipe: Says kind and level, in the units of the window.
        random: Where the noise is drawn from.

    Returns:
        Clipped to 0..1, as noisy images are when they are read.
    """
    noise, window = recipe.noise, recipe.preprocessing.window
    if not recipe.is_denoising or window is None:
        return images
    low, high = window
    values = images.cpu().numpy().astype(np.float64) * (high - low) + low
    for piece in values.reshape(-1, *values.shape[-2:]):
        piece[...] = noisy_values(piece, noise.kind, random, noise.level, high - low)
    scaled = np.clip((values - low) / (high - low), 0, 1)
    return torch.from_numpy(scaled.astype(np.float32)).to(images.device)


def noisy_selections(
    selections: Sequence[Selection], recipe: Recipe, folder: Path
) -> tuple[Selection, ...]:
    """Selections whose images have the recipe's noise, fixed by its seed; the targets stay.

    Args:
        selections: Cases with clean images.
        recipe: Says kind, level and seed; where it asks for no noise, nothing is changed.
        folder: For the noisy images of those that are files; the others stay in memory.

    Raises:
        ImageError: An image cannot be read, or a noisy one not be written.
        NoiseError: An image is none that has this noise.
        OSError: The folder may not be written to.
    """
    if not recipe.is_denoising:
        return tuple(selections)
    found = []
    for number, selection in enumerate(selections):
        case = selection.case
        # A place of its own: epochs and steps have one and two numbers.
        seed = int(random_state(recipe.training.seed, 0, 0, number).integers(2**31))
        noisy = _noisy(case.read_image(), recipe, seed)
        kept: Image | Path = noisy
        if not isinstance(case.image, Image):
            place = folder / str(number)
            place.mkdir(parents=True, exist_ok=True)
            kept = write_image(noisy, place / f"{case.name}.nrrd", compressed=False)
        found.append(dataclasses.replace(selection, case=dataclasses.replace(case, image=kept)))
    return tuple(found)


def _noisy(image: Image, recipe: Recipe, seed: int) -> Image:
    noise, window = recipe.noise, recipe.preprocessing.window
    if not recipe.undoes_intensities:
        return add_noise(image, noise.kind, seed, noise.level, window)
    # Window and level are on the standard scale, as in training.
    upright = image.oriented(PLANES[recipe.sampling.plane])
    prepared = prepare(upright, recipe)
    seen = upright.with_voxels(prepared.voxels)
    noisy = add_noise(seen, noise.kind, seed, noise.level, window)
    changed = upright.with_voxels(prepared.changes.undone(noisy.voxels))
    return image.with_voxels(changed.oriented(image.orientation).voxels)


def noisy_sample(values: np.ndarray, recipe: Recipe, number: int) -> np.ndarray:
    """Some values (rows, columns) of a clean slice, in its units, as noisy images have them.

    Args:
        values: In the image's units; returned where the recipe asks for no noise, or for one on
            the standard scale.
        recipe: Says kind, level and seed.
        number: Of the slice; each has noise of its own.
    """
    noise, window = recipe.noise, recipe.preprocessing.window
    if not recipe.is_denoising or window is None or recipe.undoes_intensities:
        return values
    random = random_state(recipe.training.seed, 0, 0, 0, number)
    return noisy_values(
        values.astype(np.float64), noise.kind, random, noise.level, window[1] - window[0]
    )
