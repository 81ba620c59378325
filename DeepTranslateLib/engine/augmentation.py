"""Random changes of training slices, sampled first and applied second.

All spatial changes of a slice are composed into one homography, and image and labels are sampled
once, batched, on the training device. The kinds and their ranges are those of Ye et al. 2021
(doi:10.1101/2021.05.15.444315).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

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
    """

    homography: np.ndarray
    noise_fraction: float
    noise_sd: float
    noise_seed: int


def sample_change(
    augmentation: Augmentation, full_size: tuple[int, int], random: np.random.Generator
) -> Change:
    """Draw the change of one slice.

    Args:
        augmentation: Ranges, in pixels of an image `reference_size` wide.
        full_size: Rows and columns of the whole slice, before it was cropped to the body.
        random: Source of randomness.
    """
    scale = max(full_size) / augmentation.reference_size
    noise_seed = int(random.integers(2**62))
    if random.random() >= augmentation.probability:
        return Change(np.eye(3), 0.0, 0.0, noise_seed)
    angle = np.deg2rad(random.uniform(-augmentation.rotation, augmentation.rotation))
    reach = augmentation.translation * scale
    shift = random.uniform(-reach, reach, 2)
    mirror = (
        -1.0 if random.random() < augmentation.flip_left_right else 1.0,
        -1.0 if random.random() < augmentation.flip_up_down else 1.0,
    )
    corners = _corners(full_size)
    reach = augmentation.perspective * scale
    moved = corners + random.uniform(-reach, reach, corners.shape)
    homography = (
        np.diag([*mirror, 1.0])
        @ _rotation(float(angle))
        @ _translation(-shift)
        @ perspective(corners, moved)
    )
    return Change(
        homography,
        augmentation.noise_fraction,
        float(random.uniform(0, augmentation.noise_sd)),
        noise_seed,
    )


def perspective(source: np.ndarray, destination: np.ndarray) -> np.ndarray:
    """The homography (3, 3) that takes four points (4, 2) to four others (4, 2).

    Hartley & Zisserman, Multiple View Geometry, 2nd ed., section 4.1 (direct linear transform
    with h33 = 1).
    """
    system = np.zeros((8, 8))
    for row, ((x, y), (u, v)) in enumerate(zip(source, destination, strict=True)):
        system[2 * row] = [x, y, 1, 0, 0, 0, -u * x, -u * y]
        system[2 * row + 1] = [0, 0, 0, x, y, 1, -v * x, -v * y]
    return np.append(np.linalg.solve(system, destination.ravel()), 1.0).reshape(3, 3)


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
    grid = _grid(images, sizes, changes, canvas)
    warped = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    if targets.dtype == torch.uint8:
        channels = targets[:, None].to(images.dtype)
        nearest = F.grid_sample(channels, grid, mode="nearest", align_corners=False)
        warped_targets = nearest[:, 0].to(torch.uint8)
    else:
        warped_targets = F.grid_sample(targets, grid, mode="bilinear", align_corners=False)
    for image, change in zip(warped, changes, strict=True):
        _add_noise(image, change)
    return warped, warped_targets


def _grid(
    images: Tensor,
    sizes: Sequence[tuple[int, int]],
    changes: Sequence[Change],
    canvas: tuple[int, int],
) -> Tensor:
    """Where each output pixel is read: (B, *canvas, 2) in grid_sample's -1..1 coordinates."""
    device = images.device
    height, width = images.shape[2:]
    rows = torch.arange(canvas[0], device=device, dtype=torch.float32) - (canvas[0] - 1) / 2
    columns = torch.arange(canvas[1], device=device, dtype=torch.float32) - (canvas[1] - 1) / 2
    matrices = []
    for (slice_height, slice_width), change in zip(sizes, changes, strict=True):
        # From pixels around the slice's centre to -1..1 over the padded image.
        normalise = np.array(
            [
                [2 / width, 0, slice_width / width - 1],
                [0, 2 / height, slice_height / height - 1],
                [0, 0, 1],
            ]
        )
        matrices.append(normalise @ change.homography)
    matrix = torch.from_numpy(np.stack(matrices)).to(device, torch.float32)[:, :, :, None, None]
    x, y = columns[None, None, :], rows[None, :, None]
    points = matrix[:, :, 0] * x + matrix[:, :, 1] * y + matrix[:, :, 2]
    return torch.stack([points[:, 0], points[:, 1]], dim=-1) / points[:, 2, :, :, None]


def _add_noise(image: Tensor, change: Change) -> None:
    """Add Gaussian noise to a random part of the pixels of an image (C, H, W), in place."""
    if change.noise_sd == 0 or change.noise_fraction == 0:
        return
    generator = torch.Generator(device=image.device).manual_seed(change.noise_seed)
    chosen = torch.rand(image.shape, generator=generator, device=image.device)
    noise = torch.randn(image.shape, generator=generator, device=image.device)
    image += noise * change.noise_sd * (chosen < change.noise_fraction)


def _corners(size: tuple[int, int]) -> np.ndarray:
    y, x = size[0] / 2, size[1] / 2
    return np.array([[-x, -y], [x, -y], [x, y], [-x, y]])


def _rotation(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])


def _translation(shift: np.ndarray) -> np.ndarray:
    return np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]])
