"""From a volume to the slices that a network sees, and from its outputs back to the grid.

Nothing here changes the geometry of an image: a `SliceStack` remembers which pixels of which
slices it took, at which size, and puts outputs back exactly there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Preprocessing, Recipe

# Directions in which columns, rows and slices grow, so that every slice is seen upright.
PLANES = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}
BODY_THRESHOLD_HU = -400.0
IGNORE = 255  # channel of pixels that neither teach nor count
_BODY_PIXEL_MM = 4.0


@dataclass(frozen=True)
class SliceStack:
    """A volume as slices of the recipe's plane, cropped and at the network's pixel size.

    Attributes:
        voxels: (slices, rows, columns), a view of the volume's voxels, whole slices.
        flipped: The stack runs against the order in which the volume stores its slices.
        box: First and last row + 1, first and last column + 1 of the crop.
        size: Rows and columns of the slices that the network sees.
        full_size: Rows and columns of the whole slice at the same pixel size.
        window: Intensities mapped to 0 and 1, or None.
    """

    voxels: np.ndarray
    flipped: bool
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    full_size: tuple[int, int]
    window: tuple[float, float] | None

    def __len__(self) -> int:
        return len(self.voxels)

    def index(self, stored: int) -> int:
        """Place in the stack of the slice that the volume stores at this index."""
        return len(self) - 1 - stored if self.flipped else stored

    def images(self, indices: Sequence[int]) -> Tensor:
        """What the network sees of these slices of the stack: (len(indices), 1, *size) fp32."""
        slices = torch.from_numpy(self._crop(self.voxels, indices).astype(np.float32))[:, None]
        if self.window is not None:
            low, high = self.window
            # Clipped before it is resized, so that padding (-3024) and metal do not bleed.
            slices = ((slices - low) / (high - low)).clamp_(0, 1)
        return _resize(slices, self.size)

    def labels(self, labels: Image, recipe: Recipe, indices: Sequence[int]) -> Tensor:
        """Channel of each pixel, uint8 (len(indices), *size): 0 none, n the nth label, 255 ignore.

        Args:
            labels: Label map on the grid of the volume this stack was made from.
            recipe: Says which values stand for which label.
            indices: Slices of the stack.
        """
        view = labels.oriented(PLANES[recipe.sampling.plane]).voxels
        channels = channels_of_values(self._crop(view, indices), recipe)
        return _resize_nearest(torch.from_numpy(channels), self.size)

    def targets(self, volume: Image, recipe: Recipe, indices: Sequence[int]) -> Tensor:
        """Values of a target volume, its range mapped to 0..1: (len(indices), 1, *size) fp32."""
        assert recipe.target.range is not None
        low, high = recipe.target.range
        view = volume.oriented(PLANES[recipe.sampling.plane]).voxels
        values = torch.from_numpy(self._crop(view, indices).astype(np.float32))[:, None]
        return _resize((values - low) / (high - low), self.size)

    def restore(self, outputs: Tensor) -> Tensor:
        """Outputs (N, C, *size) at the pixel size of the crop: (N, C, rows, columns)."""
        top, bottom, left, right = self.box
        return _resize(outputs, (bottom - top, right - left))

    def paste(self, values: np.ndarray, indices: Sequence[int], output: np.ndarray) -> None:
        """Write (N, rows, columns) of the crop into these slices of a stack like `voxels`."""
        top, bottom, left, right = self.box
        for value, index in zip(values, indices, strict=True):
            output[index, top:bottom, left:right] = value

    def _crop(self, stack: np.ndarray, indices: Sequence[int]) -> np.ndarray:
        top, bottom, left, right = self.box
        return np.stack([stack[index, top:bottom, left:right] for index in indices])


def channels_of_values(values: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Channels (uint8: 0 none, n the nth label, 255 ignored) of label map values, any shape."""
    lookup = np.zeros(256, dtype=np.uint8)
    for channel, label in enumerate(recipe.target.labels, start=1):
        lookup[[label.value, *label.also]] = channel
    if recipe.target.ignore is not None:
        lookup[recipe.target.ignore] = IGNORE
    return lookup[values.astype(np.int64)]


def slice_stack(image: Image, recipe: Recipe) -> SliceStack:
    """Prepare a volume as a recipe says; the recipe's spacing must be resolved (not "auto")."""
    preprocessing = recipe.preprocessing
    plane = PLANES[recipe.sampling.plane]
    upright = image.oriented(plane)
    column_mm, row_mm, slice_mm = (float(value) for value in upright.spacing)
    rows, columns = upright.voxels.shape[1:]
    box = (0, rows, 0, columns)
    if preprocessing.body_crop:
        box = body_box(upright.voxels, (slice_mm, row_mm, column_mm), preprocessing.body_margin)
    scale = _scale(preprocessing, (row_mm, column_mm))
    return SliceStack(
        voxels=upright.voxels,
        flipped=plane[2] not in image.orientation,
        box=box,
        size=_scaled((box[1] - box[0], box[3] - box[2]), scale),
        full_size=_scaled((rows, columns), scale),
        window=preprocessing.window,
    )


def body_box(
    voxels: np.ndarray, spacing: tuple[float, float, float], margin: float
) -> tuple[int, int, int, int]:
    """Rows and columns that hold the body in a CT stack, with a margin.

    The body is what remains above -400 HU after thin things (table, sheets, cables) are opened
    away: the largest connected part, and those at least a tenth of its size (arms). Found on a
    grid of about 4 mm.

    Args:
        voxels: (slices, rows, columns) in HU.
        spacing: Of slices, rows and columns, mm.
        margin: mm kept around the body.

    Returns:
        First and last row + 1, first and last column + 1; the whole slice where there is no body.
    """
    rows, columns = voxels.shape[1:]
    steps = [max(1, int(_BODY_PIXEL_MM / size)) for size in spacing]
    coarse = voxels[:: steps[0], :: steps[1], :: steps[2]] > BODY_THRESHOLD_HU
    mask = sitk.GetImageFromArray(coarse.astype(np.uint8))
    radius = [max(1, round(8.0 / (spacing[axis] * steps[axis]))) for axis in (2, 1)]
    # The border counts as foreground, so that a body cut by the field of view is not eroded there.
    opened = sitk.BinaryErode(mask, [*radius, 0], sitk.sitkBall, 0, 1, True)
    opened = sitk.BinaryDilate(opened, [*radius, 0], sitk.sitkBall)
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(opened), sortByObjectSize=True)
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(parts)
    if shape.GetNumberOfLabels() == 0:
        return (0, rows, 0, columns)
    largest = shape.GetNumberOfPixels(1)
    boxes = [
        shape.GetBoundingBox(part)
        for part in shape.GetLabels()
        if shape.GetNumberOfPixels(part) >= largest / 10
    ]
    bounds = []
    for axis, (size, step) in enumerate(((columns, steps[2]), (rows, steps[1]))):
        margin_px = math.ceil(margin / spacing[2 - axis])
        first = min(box[axis] for box in boxes) * step - margin_px
        last = max(box[axis] + box[axis + 3] for box in boxes) * step + margin_px
        bounds.append((max(0, first), min(size, last)))
    (left, right), (top, bottom) = bounds
    return (top, bottom, left, right)


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
