"""From a volume to the slices that a network sees, and from its outputs back to the grid.

Nothing here changes the geometry of an image: a `SliceStack` remembers which pixels of which
slices it took, at which size, and puts outputs back exactly there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.body import Body
from DeepTranslateLib.engine.intensities import Changes, prepare
from DeepTranslateLib.engine.labelvalues import IGNORE, channels_of_values
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import PLANES, Preprocessing, Recipe


@dataclass(frozen=True)
class SliceStack:
    """A volume as slices of the recipe's plane, cropped and at the network's pixel size.

    Attributes:
        voxels: (slices, rows, columns), whole slices: a view of the volume's voxels, or what
            standardisation made of them.
        flipped: The stack runs against the order in which the volume stores its slices.
        body: The crop, and what in it belongs to the body.
        size: Rows and columns of the slices that the network sees.
        full_size: Rows and columns of the whole slice at the same pixel size.
        window: Intensities mapped to 0 and 1, or None.
        context: Neighbours that the network sees on each side of a slice.
        margin: Slices at each end of the voxels that are there as neighbours alone.
        undo: What is undone on outputs, and the lowest value of the target's range; None where
            outputs have the target's own scale.
    """

    voxels: np.ndarray
    flipped: bool
    body: Body
    size: tuple[int, int]
    full_size: tuple[int, int]
    window: tuple[float, float] | None
    context: int = 0
    margin: int = 0
    undo: tuple[Changes, float] | None = None

    def __len__(self) -> int:
        return len(self.voxels) - 2 * self.margin

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of whole slices."""
        return (len(self), *self.voxels.shape[1:])

    def index(self, stored: int) -> int:
        """Place in the stack of the slice that the volume stores at this index."""
        return len(self) - 1 - stored if self.flipped else stored

    def alone(self, index: int) -> SliceStack:
        """One slice of the stack, copied out of the volume and prepared as it is there."""
        (places,) = self._places([index])
        mask, steps = self.body.mask, self.body.steps
        undo = self.undo
        if undo is not None and undo[0].field is not None:
            undo = (dataclasses.replace(undo[0], field=undo[0].field[places]), undo[1])
        if mask is not None:
            mask = mask[places // steps[0]]
        return dataclasses.replace(
            self,
            voxels=self.voxels[places],
            body=dataclasses.replace(self.body, mask=mask, steps=(1, *steps[1:])),
            margin=self.context,
            undo=undo,
        )

    def images(self, indices: Sequence[int]) -> Tensor:
        """What the network sees of these slices of the stack, fp32.

        Returns:
            (len(indices), 1 + 2 * context, *size): each slice between its neighbours, in the
            order of the stack. At its ends the last slice stands for those that are missing.
        """
        places = self._places(indices)
        if self.context == 0:
            return self._prepared(places[:, 0])
        needed, where = np.unique(places, return_inverse=True)
        return self._prepared(needed)[torch.from_numpy(where.reshape(places.shape))][:, :, 0]

    def _places(self, indices: Sequence[int]) -> np.ndarray:
        """Where in the voxels slices and their neighbours are: (len(indices), 1 + 2 * context)."""
        around = np.arange(-self.context, self.context + 1)
        places = np.asarray(indices, dtype=np.int64)[:, None] + self.margin + around
        return places.clip(0, len(self.voxels) - 1)

    def _prepared(self, places: np.ndarray) -> Tensor:
        """Slices of the voxels as the network sees them: (len(places), 1, *size) fp32."""
        values = self._crop(self.voxels, places).astype(np.float32)
        if self.body.mask is not None:
            values[~self.body.inside(places)] = self.body.outside
        slices = torch.from_numpy(values)[:, None]
        if self.window is not None:
            low, high = self.window
            # Clipped before it is resized, so that padding (-3024) and metal do not bleed.
            slices = ((slices - low) / (high - low)).clamp_(0, 1)
        return _resize(slices, self.size)

    def labels(
        self,
        labels: Image,
        recipe: Recipe,
        indices: Sequence[int],
        counted: np.ndarray | None = None,
    ) -> Tensor:
        """Channel of each pixel, uint8 (len(indices), *size): 0 none, n the nth label, 255 ignore.

        Args:
            labels: Label map on the grid of the volume this stack was made from.
            recipe: Says which values stand for which label.
            indices: Slices of the stack.
            counted: Where the label map counts, as `voxels` are stored; default: everywhere.
        """
        view = labels.oriented(PLANES[recipe.sampling.plane]).voxels
        channels = channels_of_values(self._crop(view, indices), recipe)
        # Where the network is shown air, it cannot learn tissue.
        channels[~self._inside(indices)] = 0
        if counted is not None:
            channels[~self._crop(counted, indices)] = IGNORE
        return _resize_nearest(torch.from_numpy(channels), self.size)

    def targets(
        self,
        volume: Image,
        recipe: Recipe,
        indices: Sequence[int],
        counted: np.ndarray | None = None,
    ) -> Tensor:
        """Values of a target volume, its range mapped to 0..1: (len(indices), 1, *size) fp32.

        Args:
            volume: On the grid of the volume this stack was made from.
            recipe: Says its range.
            indices: Slices of the stack.
            counted: Where it counts, as `voxels` are stored. The result is then (len(indices), 2,
                *size): values times weights, and the weights, so that what does not count stays
                out of every average that interpolation takes (premultiplied alpha: Porter & Duff
                1984).
        """
        assert recipe.target.range is not None
        low, high = recipe.target.range
        view = volume.oriented(PLANES[recipe.sampling.plane]).voxels
        pieces = np.stack([self.as_seen(view[index], index) for index in indices])
        values = torch.from_numpy(pieces.astype(np.float32))[:, None]
        values = ((values - low) / (high - low)).clamp_(0, 1)
        if recipe.preprocessing.mask != "none":
            # As in the output: what the network is not shown has the lowest value.
            values[torch.from_numpy(~self._inside(indices))[:, None]] = 0
        if counted is not None:
            weights = torch.from_numpy(self._crop(counted, indices).astype(np.float32))[:, None]
            # Not multiplied: 0 times what is no number would be none.
            values = torch.cat([values.where(weights > 0, torch.zeros(())), weights], dim=1)
        return _resize(values, self.size)

    def as_seen(self, target: np.ndarray, index: int) -> np.ndarray:
        """The crop of a target's whole slice (rows, columns), on the scale that outputs have."""
        top, bottom, left, right = self.body.box
        values = target[top:bottom, left:right]
        if self.undo is None:
            return values
        return self.undo[0].made(values[None], self._where(index, top, bottom))[0]

    def restore(self, outputs: Tensor) -> Tensor:
        """Outputs (N, C, *size) at the pixel size of the crop: (N, C, rows, columns)."""
        top, bottom, left, right = self.body.box
        return _resize(outputs, (bottom - top, right - left))

    def paste(
        self,
        values: np.ndarray,
        index: int,
        whole: np.ndarray,
        rows: tuple[int, int] | None = None,
    ) -> None:
        """Write the body's pixels of a crop (rows, columns) into that whole slice of the stack.

        With `rows` the values are those of the crop's rows [first, last) alone.
        """
        top, bottom, left, right = self.body.box
        first, last = (0, bottom - top) if rows is None else rows
        inside = self._inside([index])[0, first:last]
        if self.undo is not None:
            changes, lowest = self.undo
            values = changes.undone(values[None], self._where(index, top + first, top + last))[0]
            # What lies around the crop has the lowest value of its scale, too.
            begin = 0 if first == 0 else top + first
            end = len(whole) if last == bottom - top else top + last
            around = whole[begin:end]
            where = self._where(index, begin, end, whole=True)
            around[...] = changes.undone(np.full((1, *around.shape), lowest), where)[0]
        np.copyto(whole[top + first : top + last, left:right], values, where=inside)

    def _where(self, index: int, top: int, bottom: int, whole: bool = False) -> tuple[slice, ...]:
        """Rows of a slice in the voxels, with the columns of the crop or all of them."""
        _, _, left, right = self.body.box
        place = index + self.margin
        columns = slice(None) if whole else slice(left, right)
        return (slice(place, place + 1), slice(top, bottom), columns)

    def _inside(self, indices: Sequence[int]) -> np.ndarray:
        return self.body.inside([index + self.margin for index in indices])

    def _crop(self, stack: np.ndarray, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        top, bottom, left, right = self.body.box
        return np.stack([stack[index, top:bottom, left:right] for index in indices])


def slice_stack(image: Image, recipe: Recipe) -> SliceStack:
    """Prepare a volume as a recipe says; the recipe's spacing must be resolved (not "auto")."""
    preprocessing = recipe.preprocessing
    plane = PLANES[recipe.sampling.plane]
    upright = image.oriented(plane)
    column_mm, row_mm = (float(value) for value in upright.spacing[:2])
    rows, columns = upright.voxels.shape[1:]
    prepared = prepare(upright, recipe)
    top, bottom, left, right = prepared.body.box
    scale = _scale(preprocessing, (row_mm, column_mm))
    return SliceStack(
        voxels=prepared.voxels,
        flipped=plane[2] not in image.orientation,
        body=prepared.body,
        size=_scaled((bottom - top, right - left), scale),
        full_size=_scaled((rows, columns), scale),
        window=preprocessing.window,
        context=recipe.sampling.context,
        undo=_undo(prepared.changes, recipe),
    )


def _undo(changes: Changes, recipe: Recipe) -> tuple[Changes, float] | None:
    if not recipe.undoes_intensities or recipe.target.range is None:
        return None
    return changes, recipe.target.range[0]


def resolve_spacing(recipe: Recipe, images: Iterable[Image]) -> float | None:
    """The in-plane pixel size (mm) that "auto" stands for with these images: their median."""
    if recipe.preprocessing.spacing != "auto":
        return recipe.preprocessing.spacing  # type: ignore[return-value]
    plane = PLANES[recipe.sampling.plane]
    sizes = [math.sqrt(math.prod(image.oriented(plane).spacing[:2])) for image in images]
    # Sizes differ by factors, not by millimetres: of 0.8 and 3 mm the middle is 1.5 mm.
    return round(float(np.exp(np.median(np.log(sizes)))), 3)


def _scale(preprocessing: Preprocessing, spacing: tuple[float, float]) -> tuple[float, float]:
    assert preprocessing.spacing != "auto"
    wanted = preprocessing.spacing
    if wanted is None:
        return (1.0, 1.0)
    scale = (spacing[0] / float(wanted), spacing[1] / float(wanted))
    limit = 1 + preprocessing.spacing_tolerance
    if all(1 / limit <= factor <= limit for factor in scale):
        return (1.0, 1.0)
    return scale


def _scaled(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    return (max(1, round(size[0] * scale[0])), max(1, round(size[1] * scale[1])))


def _resize(slices: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(slices.shape[2:]) == size:
        return slices
    # Antialias averages over the area of a larger pixel instead of picking points in it.
    return F.interpolate(slices, size=size, mode="bilinear", antialias=True)


def _resize_nearest(channels: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(channels.shape[1:]) == size:
        return channels
    return F.interpolate(channels[:, None], size=size, mode="nearest-exact")[:, 0]
