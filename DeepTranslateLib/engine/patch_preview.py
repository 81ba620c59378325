"""The patch around one slice of a volume, for a preview of what augmentation makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.engine.centralhalf import Core
from DeepTranslateLib.engine.intensities import prepared_target
from DeepTranslateLib.engine.labelledvolume import LabelledVolume, Place, last_start
from DeepTranslateLib.engine.labelvalues import IGNORE
from DeepTranslateLib.engine.patches import PatchDraw, augmented_patches
from DeepTranslateLib.engine.volumestack import resolved_spacings, volume_stack
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe


@dataclass(frozen=True)
class ShownPatch(PatchDraw):
    """A patch in a fixed place, of which one slice is shown.

    Attributes:
        place: First slice, row and column.
        shown: The slice of the patch.
        recipe: With its spacings resolved.
    """

    place: Place
    shown: int
    recipe: Recipe

    def start(self, size: Place, random: np.random.Generator) -> Place:
        """Where what counts of it begins, having drawn a place as training does."""
        super().start(size, random)
        before = Core.of(self.recipe).before
        return (
            self.place[0] + before[0],
            self.place[1] + before[1],
            self.place[2] + before[2],
        )

    @property
    def unchanged(self) -> tuple[Tensor, Tensor]:
        """The slice as it is: (1, 1, H, W) fp32 and (1, H, W) uint8 or (1, 1, H, W) fp32."""
        assert self.recipe.sampling.patch is not None
        image, target = self.volume.cut(self.place, self.recipe.sampling.patch)
        return self._slice(image[None], target[None])

    def changed(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The slice as augmentation shows it, of the shapes of `unchanged`."""
        images, targets = augmented_patches([self], self.recipe, random, torch.device("cpu"))
        return self._slice(images, targets)

    def _slice(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if targets.dtype == torch.uint8:
            return images[:, :, self.shown], targets[:, self.shown]
        values, weights = targets[:, :, self.shown].split(1, dim=1)
        return images[:, :, self.shown], values / weights.clamp_min(1e-6)


def shown_patch(recipe: Recipe, image: Image, target: Image, stored: int) -> ShownPatch:
    """The patch around a slice, in the middle of what is labelled there.

    Args:
        recipe: Of patches.
        image: A volume in the units of the recipe.
        target: Label map or volume on its grid.
        stored: The slice's index as in `Case.slices`.
    """
    recipe = resolved_spacings(recipe, [image])
    assert recipe.sampling.patch is not None
    stack = volume_stack(image, recipe)
    if recipe.target.kind == "labels":
        truth = stack.labels(target, recipe)
    else:
        truth = stack.targets(prepared_target(target, recipe), recipe)
    volume = LabelledVolume(stack.prepared(0, stack.depth), truth, stack.full_size, stack.spacing)
    place = int((stack.slices.index(stored) + 0.5) * stack.depth / len(stack.slices))
    middle = [place, *(length // 2 for length in volume.size[1:])]
    if truth.dtype == torch.uint8:
        labelled = ((truth[place] > 0) & (truth[place] != IGNORE)).nonzero()
        if len(labelled):
            middle[1:] = labelled.double().mean(dim=0).round().int().tolist()
    starts = [
        min(max(0, at - length // 2), last_start(whole, length))
        for at, length, whole in zip(middle, recipe.sampling.patch, volume.size, strict=True)
    ]
    start = (starts[0], starts[1], starts[2])
    return ShownPatch(volume, False, start, place - start[0], recipe)
