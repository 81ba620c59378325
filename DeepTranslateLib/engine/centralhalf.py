"""The part of a patch that counts: all of it or, with `context_gan`, its central half.

Nie et al. 2018 make 16^3 voxels of patches of 32^3, so that each voxel is made of what lies around
it and none of a patch's border. Here the network makes the whole patch; loss, discriminator,
validation and stitching know the central half alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from DeepTranslateLib.recipe import Recipe

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Core:
    """What counts of a patch.

    Attributes:
        before: Slices, rows and columns at its beginning that are seen alone.
        size: Slices, rows and columns that count.
    """

    before: Place
    size: Place

    @classmethod
    def whole(cls, patch: Place) -> Core:
        """All of a patch."""
        return cls((0, 0, 0), patch)

    @classmethod
    def half(cls, patch: Place) -> Core:
        """Its central half along each axis."""
        (slices, depth), (rows, height), (columns, width) = map(_middle, patch)
        return cls((slices, rows, columns), (depth, height, width))

    @classmethod
    def of(cls, recipe: Recipe) -> Core:
        """That of a recipe of patches."""
        patch = recipe.sampling.patch
        assert patch is not None
        return cls.half(patch) if recipe.method.name == "context_gan" else cls.whole(patch)

    def of_patches(self, patches: Tensor) -> Tensor:
        """What counts of patches (B, C, D, H, W)."""
        for axis, (first, length) in enumerate(zip(self.before, self.size, strict=True), start=2):
            patches = patches.narrow(axis, first, length)
        return patches


def central_half(images: Tensor) -> Tensor:
    """The middle (B, C, D // 2, H // 2, W // 2) of patches (B, C, D, H, W)."""
    depth, height, width = images.shape[2:]
    return Core.half((depth, height, width)).of_patches(images)


def _middle(length: int) -> tuple[int, int]:
    """Where the central half of an axis begins, and how long it is."""
    return length // 4, length // 2
