"""What is done to one slice: drawn, and applied to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.augmentation import artefacts, intensity, sharpness, spatial
from DeepTranslateLib.engine.augmentation import noise as noises
from DeepTranslateLib.engine.augmentation.chance import own_random
from DeepTranslateLib.engine.augmentation.effect import Effect
from DeepTranslateLib.recipe import Augmentation


@dataclass(frozen=True)
class Change:
    """What is done to one slice.

    Attributes:
        homography: (3, 3) float64; takes a point of the output (column, row, 1), in pixels from
            the centre of the output, to the point of the source, in pixels from its centre,
            whose value it shows.
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
    noise_sd = float(random.uniform(0, augmentation.noise_sd))
    noisy = own_random(augmentation, "noise", seed) is not None
    pixel = max(full_size) / augmentation.reference_size
    return Change(
        homography,
        augmentation.noise_fraction if noisy else 0.0,
        noise_sd if noisy else 0.0,
        seed,
        spatial.sample_elastic(augmentation, full_size, seed),
        # As an image comes about: what is there, how sharply it is seen, what disturbs it.
        (
            *intensity.sample(augmentation, seed),
            *sharpness.sample(augmentation, seed),
            *noises.sample(augmentation, seed),
            *artefacts.sample(augmentation, seed, pixel),
        ),
    )


def apply_changes(
    images: Tensor,
    targets: Tensor,
    sizes: Sequence[tuple[int, int]],
    changes: Sequence[Change],
    canvas: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Apply one change to each slice of a batch, image and target by the same grid.

    Args:
        images: (B, C, H, W) fp32; 0 is what lies outside a slice (air).
        targets: (B, H, W) uint8 label channels, sampled nearest; or (B, 1, H, W) fp32 values.
        sizes: Rows and columns of each slice, which lies in the top left corner of its image.
        changes: One for each slice.
        canvas: Rows and columns of the result.

    Returns:
        Images (B, C, *canvas) fp32 and targets (B, *canvas) uint8 or (B, 1, *canvas) fp32.
    """
    grid = spatial.sampling_grid(
        images,
        sizes,
        [change.homography for change in changes],
        [change.elastic for change in changes],
        canvas,
    )
    warped = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    if targets.dtype == torch.uint8:
        channels = targets[:, None].to(images.dtype)
        nearest = F.grid_sample(channels, grid, mode="nearest", align_corners=False)
        warped_targets = nearest[:, 0].to(torch.uint8)
    else:
        warped_targets = F.grid_sample(targets, grid, mode="bilinear", align_corners=False)
    for image, change in zip(warped, changes, strict=True):
        for effect in change.effects:
            image.copy_(effect(image))
        noises.add_pixel_noise(image, change.noise_fraction, change.noise_sd, change.noise_seed)
    return warped, warped_targets
