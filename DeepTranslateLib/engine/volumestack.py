"""A volume as a 3D network sees it: prepared slice by slice, then resampled along the slices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.engine.body import Body
from DeepTranslateLib.engine.labelvalues import IGNORE
from DeepTranslateLib.engine.preprocessing import SliceStack, resolve_spacing, slice_stack
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import PLANES, Preprocessing, Recipe


@dataclass(frozen=True)
class VolumeStack:
    """A volume, upright, cropped, and at the network's pixel size and distance of slices.

    The prepared grid and the stored slices share their outer faces: prepared slice i of n has its
    centre at (i + 0.5) / n of the volume's length.

    Attributes:
        slices: The stored slices, prepared one by one.
        depth: Number of the prepared slices.
        spacing: Of the prepared slices, rows and columns, mm.
    """

    slices: SliceStack
    depth: int
    spacing: tuple[float, float, float]

    @property
    def voxels(self) -> np.ndarray:
        """(slices, rows, columns) as stored, a view of the whole volume, upright."""
        return self.slices.voxels

    @property
    def body(self) -> Body:
        """The crop, and what in it belongs to the body."""
        return self.slices.body

    @property
    def window(self) -> tuple[float, float] | None:
        """Intensities mapped to 0 and 1, or None."""
        return self.slices.window

    @property
    def size(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the prepared volume."""
        return (self.depth, *self.slices.size)

    @property
    def full_size(self) -> tuple[int, int, int]:
        """Slices, rows and columns at the prepared spacing, before the crop to the body."""
        return (self.depth, *self.slices.full_size)

    def prepared(self, first: int, last: int) -> Tensor:
        """Slices [first, last) of the prepared volume: (1, last - first, H, W) fp32, 0 to 1.

        Only the stored slices that these need are read, one at a time, and each prepared slice is
        the same whichever others are asked for.
        """
        return self._resampled(lambda index: self.slices.images([index])[0], first, last)

    def targets(
        self,
        volume: Image,
        recipe: Recipe,
        slices: Sequence[int] | None = None,
        counted: np.ndarray | None = None,
    ) -> Tensor:
        """Values of a target volume, its range mapped to 0..1: (1, D, H, W) fp32.

        Args:
            volume: On the grid of the volume this stack was made from.
            recipe: Says the range.
            slices: Those that count, as in `Case.slices`. None: all do.
            counted: Where it counts, bool of the shape of `voxels`. None: everywhere.

        Returns:
            With `slices` or `counted` (2, D, H, W): values times weights, and the weights, as of
            `SliceStack.targets`.
        """
        if slices is not None:
            known = np.zeros(self.voxels.shape, dtype=bool)
            known[[self.slices.index(stored) for stored in slices]] = True
            counted = known if counted is None else known & counted
        return self._resampled(
            lambda index: self.slices.targets(volume, recipe, [index], counted)[0], 0, self.depth
        )

    def labels(
        self,
        labels: Image,
        recipe: Recipe,
        slices: Sequence[int] | None = None,
        counted: np.ndarray | None = None,
    ) -> Tensor:
        """Channel of each voxel, uint8 (D, H, W): 0 none, n the nth label, 255 ignored.

        Args:
            labels: Label map on the grid of the volume this stack was made from.
            recipe: Says which values stand for which label.
            slices: Labelled slices, as in `Case.slices`; the others are ignored. None: all are.
            counted: Where the label map counts, bool of the shape of `voxels`. None: everywhere.
        """
        channels = torch.full(self.size, IGNORE, dtype=torch.uint8)
        for place, index in enumerate(self.labelled(slices)):
            if index is not None:
                channels[place] = self.slices.labels(labels, recipe, [index], counted)[0]
        return channels

    def labelled(self, slices: Sequence[int] | None = None) -> list[int | None]:
        """The slice of `self.slices` whose labels a prepared slice has; None where there are none.

        It is the labelled one nearest to the prepared slice's centre, among those whose centres
        lie in the prepared slice and the one that holds its centre.

        Args:
            slices: Labelled slices, as in `Case.slices`. None: all are.
        """
        count = len(self.slices)
        known = set(range(count)) if slices is None else {self.slices.index(i) for i in slices}
        step = count / self.depth
        found: list[int | None] = []
        for place in range(self.depth):
            centre = (place + 0.5) * step
            holding = min(count - 1, int(centre))
            inside = range(int(np.ceil(place * step - 0.5)), int(np.ceil((place + 1) * step - 0.5)))
            near = [index for index in {holding, *inside} if index in known]
            # Of two that are equally near, the one that holds the centre.
            nearness = [(round(abs(index + 0.5 - centre), 9), index != holding) for index in near]
            found.append(near[nearness.index(min(nearness))] if near else None)
        return found

    def weights(self, place: int) -> list[tuple[int, float]]:
        """Stored slices, ascending, that a prepared slice is a weighted mean of.

        Linear between slices; where prepared slices are farther apart than stored ones, over as
        many of these, so that none goes unseen (a triangle filter, as of antialiased resizing).
        """
        step = len(self.slices) / self.depth
        centre, reach = (place + 0.5) * step, max(1.0, step)
        first = max(0, int(np.floor(centre - reach)))
        last = min(len(self.slices), int(np.ceil(centre + reach)))
        near = {index: 1 - abs(index + 0.5 - centre) / reach for index in range(first, last)}
        total = sum(weight for weight in near.values() if weight > 0)
        return [(index, weight / total) for index, weight in near.items() if weight > 0]

    def _resampled(self, read: Callable[[int], Tensor], first: int, last: int) -> Tensor:
        """Slices [first, last) of the prepared volume, of slices (1, H, W) read one at a time."""
        weights = [dict(self.weights(place)) for place in range(first, last)]
        result = torch.zeros(0)
        # Ascending, whatever the range, so that each slice is the same sum in the same order.
        for index in sorted({index for each in weights for index in each}):
            piece = read(index)
            if not result.numel():
                result = torch.zeros(len(piece), last - first, *self.slices.size)
            for place, each in enumerate(weights):
                if index in each:
                    result[:, place] += piece * each[index]
        return result


def volume_stack(image: Image, recipe: Recipe) -> VolumeStack:
    """Prepare a volume for a 3D recipe, whose spacings must be resolved (not "auto")."""
    slices = slice_stack(image, recipe)
    upright = image.oriented(PLANES[recipe.sampling.plane])
    column_mm, row_mm, slice_mm = (float(value) for value in upright.spacing)
    top, bottom, left, right = slices.body.box
    depth = len(slices)
    if not _close(recipe.preprocessing, slice_mm):
        wanted = recipe.preprocessing.slice_spacing
        depth = max(1, round(depth * slice_mm / float(wanted)))  # type: ignore[arg-type]
    spacing = (
        slice_mm * len(slices) / depth,
        row_mm * (bottom - top) / slices.size[0],
        column_mm * (right - left) / slices.size[1],
    )
    return VolumeStack(slices, depth, spacing)


def resolved_spacings(recipe: Recipe, images: Iterable[Image]) -> Recipe:
    """The recipe with the spacings that "auto" stands for with these images: their medians.

    Args:
        recipe: Where nothing is "auto", it is returned and no image is read.
        images: Of the training.
    """
    preprocessing = recipe.preprocessing
    if "auto" not in (preprocessing.spacing, preprocessing.slice_spacing):
        return recipe
    plane = PLANES[recipe.sampling.plane]
    # Voxels are not needed any more: a cohort's volumes may not fit into memory together.
    grids = [Image(np.broadcast_to(np.uint8(0), image.shape), image.affine) for image in images]
    slice_spacing = preprocessing.slice_spacing
    if slice_spacing == "auto":
        distances = [float(grid.oriented(plane).spacing[2]) for grid in grids]
        slice_spacing = round(float(np.exp(np.median(np.log(distances)))), 3)
    changed = dataclasses.replace(
        preprocessing, spacing=resolve_spacing(recipe, grids), slice_spacing=slice_spacing
    )
    return dataclasses.replace(recipe, preprocessing=changed)


def taken_spacings(recipe: Recipe, other: Recipe) -> Recipe:
    """The recipe with spacings of another one where its own are "auto" and those are known."""
    changes = {
        name: getattr(other.preprocessing, name)
        for name in ("spacing", "slice_spacing")
        if getattr(recipe.preprocessing, name) == "auto"
        and isinstance(getattr(other.preprocessing, name), float)
    }
    preprocessing = dataclasses.replace(recipe.preprocessing, **changes)
    return dataclasses.replace(recipe, preprocessing=preprocessing)


def _close(preprocessing: Preprocessing, slice_mm: float) -> bool:
    """Whether slices keep their own distance."""
    wanted = preprocessing.slice_spacing
    assert wanted != "auto"
    if wanted is None:
        return True
    limit = 1 + preprocessing.spacing_tolerance
    return 1 / limit <= slice_mm / float(wanted) <= limit
