"""Patches of prepared volumes: drawn at random to learn from, laid side by side to validate on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.engine.augmentation import (
    Change,
    PatchShape,
    apply_changes,
    apply_to_images,
    sample_patch_change,
)
from DeepTranslateLib.engine.augmentation.volumetric import reach
from DeepTranslateLib.engine.centralhalf import Core
from DeepTranslateLib.engine.dataset import collate, together
from DeepTranslateLib.engine.labelledvolume import LabelledVolume, Place, last_start
from DeepTranslateLib.engine.labelvalues import IGNORE
from DeepTranslateLib.engine.noisy_inputs import noisy_images
from DeepTranslateLib.recipe import Recipe


@dataclass(frozen=True)
class PatchDraw:
    """A patch still to be placed in a volume.

    Attributes:
        volume: Where it lies.
        centred: On a voxel of a label, the label chosen among those that occur.
    """

    volume: LabelledVolume
    centred: bool

    def start(self, size: Place, random: np.random.Generator) -> Place:
        """Draw the first slice, row and column of what counts of it, which is of this size.

        That lies inside the volume; a volume that is too small for it lies in its middle. Where not
        all slices teach, it holds one that does.
        """
        spans = [_span(whole, length) for whole, length in zip(self.volume.size, size, strict=True)]
        if self.centred and self.volume.centres:
            of_label = self.volume.centres[int(random.integers(len(self.volume.centres)))]
            centre = of_label[int(random.integers(len(of_label)))]
            slices, rows, columns = (
                min(max(int(place) - length // 2, span[0]), span[-1])
                for place, length, span in zip(centre, size, spans, strict=True)
            )
            return (slices, rows, columns)
        teaching = [
            first
            for first in spans[0]
            if self.volume.counted[max(0, first) : first + size[0]].any()
        ]
        slices, rows, columns = (
            int(among[int(random.integers(len(among)))]) for among in (teaching, *spans[1:])
        )
        return (slices, rows, columns)


@dataclass(frozen=True)
class Tile:
    """A patch to validate on; what another tile counts already is ignored here.

    Attributes:
        volume: Where it lies.
        start: First slice, row and column.
        size: Slices, rows and columns.
        own: First slice, row and column that this tile counts.
        end: First slice, row and column after those that it counts.
        weight: How many voxels count, or the sum of their weights.
    """

    volume: LabelledVolume
    start: Place
    size: Place
    own: Place
    end: Place
    weight: float

    @property
    def image(self) -> Tensor:
        """(channels, *size) fp32, 0 to 1."""
        return self.volume.cut(self.start, self.size)[0]

    @property
    def target(self) -> Tensor:
        """(*size) uint8 channels, or (2, *size) fp32 values times weights, and the weights."""
        _, target = self.volume.cut(self.start, self.size)
        nothing = IGNORE if target.dtype == torch.uint8 else 0
        for axis, first in enumerate(self.start):
            along = target.movedim(axis - 3, 0)
            along[: self.own[axis] - first] = nothing
            along[self.end[axis] - first :] = nothing
        return target


def tiles(volume: LabelledVolume, size: Place, core: Core | None = None) -> Iterator[Tile]:
    """Patches that cover a volume, each voxel counted once; those that count nothing are left out.

    The last one along an axis ends with the volume, so that no patch sees more air than it must;
    a volume that is too small for one lies in its middle. All of this is said of what counts.

    Args:
        volume: To be covered.
        size: Slices, rows and columns of a patch.
        core: What counts of it; None: all.
    """
    core = core or Core.whole(size)
    axes = []
    for whole, length in zip(volume.size, core.size, strict=True):
        owns = range(0, whole, length)
        axes.append([(min(own, last_start(whole, length)), own) for own in owns])
    for slices, rows, columns in itertools.product(*axes):
        at, own = (slices[0], rows[0], columns[0]), (slices[1], rows[1], columns[1])
        end = (at[0] + core.size[0], at[1] + core.size[1], at[2] + core.size[2])
        rest = [last - first for last, first in zip(end, own, strict=True)]
        _, target = volume.cut(own, rest)
        counted = target != IGNORE if target.dtype == torch.uint8 else target[1]
        weight = float(counted.sum(dtype=torch.float64))
        if weight > 0:
            yield Tile(volume, _around(at, core), size, own, end, weight)


def augmented_patches(
    draws: Sequence[PatchDraw],
    recipe: Recipe,
    random: np.random.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Patches of one batch, each placed and changed at random.

    A changed patch is read from the volume around it, so that turning it brings in no empty
    corners; only what lies outside the volume is air.

    Args:
        draws: At least one.
        recipe: Says their size, what may be changed, how far, and which noise is added.
        random: Where places and changes are drawn from, patch by patch.
        device: Where to compute.

    Returns:
        Images (B, C, *patch) fp32 and targets (B, *patch) uint8 or (B, 2, *patch) fp32; what
        the stage before made of the images is moved with them, and not changed otherwise.
    """
    assert recipe.sampling.patch is not None
    changes, boxes = [], []
    for draw in draws:
        change, start, read = _drawn(draw, recipe, random)
        image, target = draw.volume.cut(start, read)
        if target.dtype == torch.uint8:
            # What is ignored is 0 from here on, as is all that lies outside.
            target = target + 1
        changes.append(change)
        boxes.append(_Box(image, target))
    images, targets = collate(boxes)
    images, targets = apply_changes(
        images.to(device, non_blocking=True),
        targets.to(device, non_blocking=True),
        [box.image.shape[1:] for box in boxes],
        changes,
        recipe.sampling.patch,
        recipe.input_channels,
    )
    if targets.dtype == torch.uint8:
        targets = targets - 1
    return noisy_images(images, recipe, random), targets


def augmented_patch_images(
    draws: Sequence[PatchDraw],
    recipe: Recipe,
    random: np.random.Generator,
    device: torch.device,
) -> Tensor:
    """The images that `augmented_patches` gives, by a recipe without pairs, which adds no noise."""
    assert recipe.sampling.patch is not None
    drawn = [_drawn(draw, recipe, random) for draw in draws]
    boxes = [
        draw.volume.cut_image(start, read)
        for draw, (_, start, read) in zip(draws, drawn, strict=True)
    ]
    return apply_to_images(
        together(boxes, 3).to(device, non_blocking=True),
        [box.shape[1:] for box in boxes],
        [change for change, _, _ in drawn],
        recipe.sampling.patch,
    )


def _drawn(
    draw: PatchDraw, recipe: Recipe, random: np.random.Generator
) -> tuple[Change, list[int], list[int]]:
    """The change of a patch, and where begins and how large is what of the volume it reads."""
    size, core = recipe.sampling.patch, Core.of(recipe)
    assert size is not None
    volume, start = draw.volume, _around(draw.start(core.size, random), core)
    shape = PatchShape(size, volume.full_size, volume.spacing)
    change = sample_patch_change(recipe.augmentation, shape, random)
    far = reach(change.homography, change.elastic, size)
    margins = _margins(start, size, volume.size, far)
    return (
        change,
        [first - margin for first, margin in zip(start, margins, strict=True)],
        [length + 2 * margin for length, margin in zip(size, margins, strict=True)],
    )


@dataclass(frozen=True)
class _Box:
    """What is read of a volume for one patch, its middle that of the patch."""

    image: Tensor
    target: Tensor
    weight: float = 1.0


def _around(start: Place, core: Core) -> Place:
    """Where a patch begins whose counting part begins there."""
    return (
        start[0] - core.before[0],
        start[1] - core.before[1],
        start[2] - core.before[2],
    )


def _span(whole: int, length: int) -> range:
    """Where a patch may begin along an axis."""
    last = last_start(whole, length)
    return range(min(0, last), last + 1)


def _margins(start: Place, size: Place, whole: Place, far: tuple[float, ...] | None) -> list[int]:
    """Voxels that a change reads beyond a patch at both ends of each axis; below 0: fewer."""
    margins = []
    for axis, (first, length, end) in enumerate(zip(start, size, whole, strict=True)):
        all_there_is = max(0, first, end - first - length)
        # A value lies between the centres of two voxels.
        needed = all_there_is if far is None else math.ceil(far[axis] + 1.5 - length / 2)
        margins.append(min(needed, all_there_is))
    return margins
