"""A volume as a 3D network sees it, with what it should make of it; and boxes cut out of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.engine.labelvalues import IGNORE

Place = tuple[int, int, int]
# Voxels of a label, or of tissue, that patches may be centred on; Isensee et al. 2021 keep as many.
_CENTRES = 10_000


def last_start(whole: int, length: int) -> int:
    """Where the last box of a length begins along an axis; below 0 if the axis is shorter.

    It ends with the axis; an axis that is too short for it lies in its middle.
    """
    return whole - length if whole >= length else -((length - whole) // 2)


@dataclass(frozen=True)
class LabelledVolume:
    """A prepared volume.

    Attributes:
        image: (1, D, H, W) fp32, 0 to 1.
        target: (D, H, W) uint8 channels, 0 none, 255 ignored; or (1, D, H, W) fp32 values, 0 to
            1; or (2, D, H, W) fp32 values times weights, and the weights.
        full_size: Slices, rows and columns before the crop to the body, at this voxel size.
        spacing: Of slices, rows and columns, mm.
        earlier: (1, D, H, W) fp32, 0 to 1, what the stage before made of the image.
        counted: (D,) bool, slices in which any voxel teaches.
        centres: Of each label that occurs, places (n, 3) of voxels spread evenly over all of its;
            of a target volume those of what is not air.
    """

    image: Tensor
    target: Tensor
    full_size: Place
    spacing: tuple[float, float, float]
    earlier: Tensor | None = field(init=False, default=None)
    counted: np.ndarray = field(init=False)
    centres: tuple[np.ndarray, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find out what counts, slice by slice: the volume may be a file larger than memory."""
        histograms = np.array(
            [np.bincount(self._channels(n).ravel(), minlength=256) for n in range(self.size[0])]
        )
        counted = histograms.sum(axis=1) > histograms[:, IGNORE]
        object.__setattr__(self, "counted", counted)
        present = [n for n in range(1, IGNORE) if histograms[:, n].any()]
        centres = tuple(self._places(n, histograms[:, n]) for n in present)
        object.__setattr__(self, "centres", centres)

    @property
    def size(self) -> Place:
        """Slices, rows and columns."""
        slices, rows, columns = self.image.shape[1:]
        return (slices, rows, columns)

    def beside(self, earlier: Tensor) -> LabelledVolume:
        """The same volume with what the stage before made of it."""
        found = copy.copy(self)
        object.__setattr__(found, "earlier", earlier)
        return found

    @property
    def channels(self) -> Tensor:
        """(C, D, H, W), all that a network sees of it."""
        return self.image if self.earlier is None else torch.cat([self.image, self.earlier])

    def cut(self, start: Sequence[int], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A box of the volume, which may reach beyond it: air that neither teaches nor counts.

        Args:
            start: First slice, row and column; may be negative.
            size: Slices, rows and columns.

        Returns:
            Image (C, *size) fp32 and target, (*size) uint8 or (2, *size) fp32, as in the class.
        """
        here, there = self._inside(start, size)
        image = self.cut_image(start, size)
        if self.target.dtype == torch.uint8:
            target = torch.full(tuple(size), IGNORE, dtype=torch.uint8)
            target[there] = self.target[here]
            return image, target
        target = torch.zeros(2, *size)
        target[1:][there] = 1
        target[: len(self.target)][there] = self.target[here]
        return image, target

    def cut_image(self, start: Sequence[int], size: Sequence[int]) -> Tensor:
        """The image alone of a box, as of `cut`."""
        here, there = self._inside(start, size)
        parts = [self.image] if self.earlier is None else [self.image, self.earlier]
        image = torch.zeros(len(parts), *size)
        for channel, part in zip(image, parts, strict=True):
            channel[there] = part[0][here]
        return image

    def content(self, place: int) -> float:
        """How much there is to see in a slice, as of `LabelledSlice`."""
        if self.target.dtype != torch.uint8:
            return float(self.target[0, place].std(correction=0))
        channels = self.target[place]
        return float(torch.count_nonzero((channels > 0) & (channels != IGNORE)))

    def _inside(
        self, start: Sequence[int], size: Sequence[int]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What of a box lies in the volume: where there, and where in the box."""
        inner, outer = [], []
        for first, length, whole in zip(start, size, self.size, strict=True):
            low, high = np.clip([first, first + length], 0, whole)
            inner.append(slice(low, high))
            outer.append(slice(low - first, high - first))
        return (..., *inner), (..., *outer)

    def _channels(self, place: int) -> np.ndarray:
        """Of a slice (H, W): 0 none, 255 ignored, else a label, or 1 for what is not air."""
        if self.target.dtype == torch.uint8:
            return self.target[place].numpy()
        channels = (self.image[0, place] > 0).to(torch.uint8)
        if len(self.target) == 2:
            channels[self.target[1, place] == 0] = IGNORE
        return channels.numpy()

    def _places(self, channel: int, numbers: np.ndarray) -> np.ndarray:
        """Some voxels (n, 3) of a channel, of which each slice has these numbers."""
        ends = np.cumsum(numbers)
        kept = min(_CENTRES, int(ends[-1]))
        ordinals = ((np.arange(kept) + 0.5) * ends[-1] / kept).astype(np.int64)
        places = []
        for place in map(int, np.flatnonzero(numbers)):
            begin = ends[place] - numbers[place]
            mine = ordinals[(ordinals >= begin) & (ordinals < ends[place])] - begin
            if len(mine):
                rows, columns = np.nonzero(self._channels(place) == channel)
                places.append(np.c_[np.full(len(mine), place), rows[mine], columns[mine]])
        return np.concatenate(places).astype(np.int32)
