"""What an image shows that is not there: rings, streaks, and holes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.engine.augmentation.chance import own_random, torch_seed
from DeepTranslateLib.engine.augmentation.effect import Effect
from DeepTranslateLib.engine.augmentation.patchshape import PatchShape
from DeepTranslateLib.recipe import Augmentation

_DIRECTIONS = 360  # streaks are as wide as one degree


@dataclass(frozen=True)
class Ring:
    """Concentric rings of one pixel, as detectors of unequal gain leave them in CT.

    Each slice of a volume has detectors, and rings, of its own.

    Attributes:
        sd: Of the rings' offsets, as a part of the window.
        centre: Row and column, as parts of the image's size.
        seed: Of the offsets.
    """

    sd: float
    centre: tuple[float, float]
    seed: int

    def __call__(self, image: Tensor) -> Tensor:
        """Add the offset of each pixel's distance from the centre."""
        rows, columns = _around(self.centre, image)
        radius = torch.hypot(rows, columns).floor().long()
        offsets = _offsets(int(radius.max()) + 1, self.seed, image)
        return (image + self.sd * offsets[..., radius]).clamp(0, 1)


@dataclass(frozen=True)
class Streak:
    """Streaks of one degree out of a point, as from metal in CT; those of each slice are its own.

    Attributes:
        sd: Of the streaks' offsets, as a part of the window.
        centre: Row and column, as parts of the image's size.
        seed: Of the offsets.
    """

    sd: float
    centre: tuple[float, float]
    seed: int

    def __call__(self, image: Tensor) -> Tensor:
        """Add the offset of each pixel's direction from the centre."""
        rows, columns = _around(self.centre, image)
        turns = torch.atan2(rows, columns) / (2 * math.pi) + 0.5
        direction = (turns * _DIRECTIONS).floor().long() % _DIRECTIONS
        offsets = _offsets(_DIRECTIONS, self.seed, image)
        return (image + self.sd * offsets[..., direction]).clamp(0, 1)


@dataclass(frozen=True)
class Dropout:
    """Rectangles, in volumes boxes, that become air.

    Attributes:
        rectangles: (Slice,) row and column of the middle, as parts of the image's size, then
            (slices,) rows and columns in pixels.
    """

    rectangles: tuple[tuple[float, ...], ...]

    def __call__(self, image: Tensor) -> Tensor:
        """Empty them."""
        image = image.clone()
        for rectangle in self.rectangles:
            axes = len(rectangle) // 2
            box: tuple[Any, ...] = (...,)
            for middle, length, whole in zip(
                rectangle[:axes], rectangle[axes:], image.shape[-axes:], strict=True
            ):
                first = middle * whole - length / 2
                box += (slice(max(0, round(first)), max(0, round(first + length))),)
            image[box] = 0
        return image


def sample(
    augmentation: Augmentation, seed: int, pixel: float, patch: PatchShape | None = None
) -> list[Effect]:
    """Draw those that take part.

    Args:
        augmentation: Probabilities and ranges.
        seed: Of the change.
        pixel: Pixels of this image to one of an image `reference_size` wide.
        patch: Where the image is a patch of a volume.
    """
    effects: list[Effect] = []
    for kind, make, largest in (
        ("ring", Ring, augmentation.ring_sd),
        ("streak", Streak, augmentation.streak_sd),
    ):
        if random := own_random(augmentation, kind, seed):
            # The axis of the scanner lies in the body, but seldom in its middle.
            row, column = random.uniform(0.25, 0.75, 2)
            if patch is not None:
                row, column = patch.place_of(row, column)
            sd = float(random.uniform(0, largest))
            effects.append(make(sd, (float(row), float(column)), torch_seed(random)))
    if random := own_random(augmentation, "dropout", seed):
        count = int(random.integers(1, augmentation.dropout_count + 1))
        axes = 2 if patch is None else 3
        middles = random.uniform(0, 1, (count, axes))
        sides = random.uniform(0, augmentation.dropout_size * pixel, (count, axes))
        if patch is not None:
            sides[:, 0] /= patch.thickness
        effects.append(
            Dropout(tuple(tuple(map(float, each)) for each in np.hstack([middles, sides])))
        )
    return effects


def _around(centre: tuple[float, float], image: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (H, 1) and columns (1, W) from a centre, in pixels."""
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device) + 0.5 - centre[0] * height
    columns = torch.arange(width, device=image.device) + 0.5 - centre[1] * width
    return rows[:, None], columns[None, :]


def _offsets(count: int, seed: int, image: Tensor) -> Tensor:
    """Gaussian offsets of SD 1: (count) for a slice, (slices, count) for a volume."""
    generator = torch.Generator(device=image.device).manual_seed(seed)
    return torch.randn(*image.shape[1:-2], count, generator=generator, device=image.device)
