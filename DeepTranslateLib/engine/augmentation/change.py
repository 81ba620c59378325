"""What is done to one slice or patch: drawn, and applied to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.augmentation import (
    artefacts,
    intensity,
    sharpness,
    spatial,
    volumetric,
)
from DeepTranslateLib.engine.augmentation import noise as noises
from DeepTranslateLib.engine.augmentation.chance import own_random
from DeepTranslateLib.engine.augmentation.effect import Effect
from DeepTranslateLib.engine.augmentation.patchshape import PatchShape
from DeepTranslateLib.recipe import Augmentation


@dataclass(frozen=True)
class Change:
    """What is done to one slice or patch.

    Attributes:
        homography: (3, 3) float64; takes a point of the output (column, row, 1), in pixels from
            the centre of the output, to the point of the source, in pixels from its centre,
            whose value it shows. Of a patch (4, 4), with points (column, row, slice, 1).
        noise_fraction: Part of the pixels that receive noise.
        noise_sd: Standard deviation of that noise, as a part of the window.
        noise_seed: Seed of the noise.
        elastic: Deformation before the homography, or None.
        effects: Changes of the image's values, in this order, before the noise.
    """

    homography: np.ndarray
    noise_fraction: float
    noise_sd: float
    noise_seed: int
    elastic: spatial.Elastic | None = None
    effects: tuple[Effect, ...] = ()


def sample_change(
    augmentation: Augmentation, full_size: tuple[int, int], random: np.random.Generator
) -> Change:
    """Draw the change of one slice.

    Args:
        augmentation: Ranges, in pixels of an image `reference_size` wide.
        full_size: Rows and columns of the whole slice, before it was cropped to the body.
        random: Source of randomness.
    """
    seed = int(random.integers(2**62))
    if random.random() >= augmentation.probability:
        return Change(np.eye(3), 0.0, 0.0, seed)
    homography = spatial.sample_homography(augmentation, full_size, random, seed)
    elastic = spatial.sample_elastic(augmentation, full_size, seed)
    pixel = max(full_size) / augmentation.reference_size
    return _with_values(augmentation, homography, elastic, pixel, random, seed)


def sample_patch_change(
    augmentation: Augmentation, patch: PatchShape, random: np.random.Generator
) -> Change:
    """Draw the change of one patch of a volume, as `sample_change` does that of a slice."""
    seed = int(random.integers(2**62))
    if random.random() >= augmentation.probability:
        return Change(np.eye(4), 0.0, 0.0, seed)
    homography = volumetric.sample_homography(augmentation, patch, random, seed)
    elastic = volumetric.sample_elastic(augmentation, patch, seed)
    pixel = patch.width / augmentation.reference_size
    return _with_values(augmentation, homography, elastic, pixel, random, seed, patch)


def _with_values(
    augmentation: Augmentation,
    homography: np.ndarray,
    elastic: spatial.Elastic | None,
    pixel: float,
    random: np.random.Generator,
    seed: int,
    patch: PatchShape | None = None,
) -> Change:
    """A change that moves pixels so, with what is drawn for their values."""
    noise_sd = float(random.uniform(0, augmentation.noise_sd))
    noisy = own_random(augmentation, "noise", seed) is not None
    axes, thickness = (2, 1.0) if patch is None else (3, patch.thickness)
    return Change(
        homography,
        augmentation.noise_fraction if noisy else 0.0,
        noise_sd if noisy else 0.0,
        seed,
        elastic,
        # As an image comes about: what is there, how sharply it is seen, what disturbs it.
        (
            *intensity.sample(augmentation, seed, axes),
            *sharpness.sample(augmentation, seed, thickness),
            *noises.sample(augmentation, seed),
            *artefacts.sample(augmentation, seed, pixel, patch),
        ),
    )


def apply_changes(
    images: Tensor,
    targets: Tensor,
    sizes: Sequence[Sequence[float]],
    changes: Sequence[Change],
    canvas: Sequence[int],
    seen: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Apply one change to each slice or patch of a batch, image and target by the same grid.

    Args:
        images: (B, C, *S) fp32, S is (H, W) or (D, H, W); 0 is what lies outside (air).
        targets: (B, *S) uint8 label channels, sampled nearest; or (B, 1 or 2, *S) fp32 values.
        sizes: (Slices,) rows and columns of each piece, which lies in the first corner of its
            image. A change turns it about its middle.
        changes: One for each piece.
        canvas: (Slices,) rows and columns of the result.
        seen: Channels that are images; the others are only moved. None: all are.

    Returns:
        Images (B, C, *canvas) fp32 and targets (B, *canvas) uint8 or (B, 1 or 2, *canvas) fp32.
    """
    grid = _grid(images, sizes, changes, canvas)
    changed = _changed(images, grid, changes, seen)
    if targets.dtype == torch.uint8:
        channels = targets[:, None].to(images.dtype)
        nearest = F.grid_sample(channels, grid, mode="nearest", align_corners=False)
        return changed, nearest[:, 0].to(torch.uint8)
    return changed, F.grid_sample(targets, grid, mode="bilinear", align_corners=False)


def apply_to_images(
    images: Tensor,
    sizes: Sequence[Sequence[float]],
    changes: Sequence[Change],
    canvas: Sequence[int],
) -> Tensor:
    """The images that `apply_changes` gives, of pieces that have no targets to be moved along."""
    return _changed(images, _grid(images, sizes, changes, canvas), changes)


def _grid(
    images: Tensor,
    sizes: Sequence[Sequence[float]],
    changes: Sequence[Change],
    canvas: Sequence[int],
) -> Tensor:
    return spatial.sampling_grid(
        images,
        [[length / 2 for length in size] for size in sizes],
        [change.homography for change in changes],
        [change.elastic for change in changes],
        canvas,
    )


def _changed(
    images: Tensor, grid: Tensor, changes: Sequence[Change], seen: int | None = None
) -> Tensor:
    warped = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    for image, change in zip(warped[:, :seen], changes, strict=True):
        for effect in change.effects:
            image.copy_(effect(image))
        noises.add_pixel_noise(image, change.noise_fraction, change.noise_sd, change.noise_seed)
    return warped
