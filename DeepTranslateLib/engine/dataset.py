"""The labelled slices of a cohort, prepared as the network sees them, and batches of pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine.intensities import read_target
from DeepTranslateLib.engine.labelvalues import IGNORE
from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.noisy_inputs import noisy_sample
from DeepTranslateLib.engine.planes import selections_of_planes
from DeepTranslateLib.engine.preprocessing import SliceStack, slice_stack
from DeepTranslateLib.engine.sampling import epoch_order
from DeepTranslateLib.familiarity import intensity_histogram
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import PLANES, Recipe

# Prepared slices beyond this many bytes live in files that the system pages in.
MEMORY_LIMIT = 4 * 2**30


class Piece(Protocol):
    """What a network sees at a time, and what it should make of it."""

    @property
    def image(self) -> Tensor:
        """(channels, *S) fp32, 0 to 1; S is (H, W) or (D, H, W)."""

    @property
    def target(self) -> Tensor:
        """(*S) uint8, or (1 or 2, *S) fp32, as in `LabelledSlice`."""

    @property
    def weight(self) -> float:
        """How much its loss counts in validation."""


@dataclass(frozen=True)
class LabelledSlice:
    """One slice as the network sees it.

    Attributes:
        image: (channels, H, W) fp32, 0 to 1: the slice between its neighbours, if any.
        target: (H, W) uint8 channels, 0 none, 255 ignored; or (1, H, W) fp32 values, 0 to 1; or,
            where a mask says what counts, (2, H, W) fp32 values times weights, and the weights.
            Without pairs, the image itself.
        full_size: Rows and columns of the whole slice at this pixel size.
    """

    image: Tensor
    target: Tensor
    full_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.image.shape[1:]
        return (height, width)

    @property
    def weight(self) -> float:
        """Each slice counts the same in validation."""
        return 1.0

    @property
    def has_foreground(self) -> bool:
        """Any pixel carries a label; always so for volumes."""
        if self.target.dtype != torch.uint8:
            return True
        return bool(((self.target > 0) & (self.target != IGNORE)).any())

    @property
    def content(self) -> float:
        """How much there is to see: labelled pixels, or how far a volume's values spread."""
        if self.target.dtype != torch.uint8:
            return float(self.target[:1].std(correction=0))
        return float(torch.count_nonzero((self.target > 0) & (self.target != IGNORE)))


class CaseSet:
    """What slices and volumes of a cohort have in common: where they are from, and their measures.

    Attributes:
        sources: For each labelled slice its case and its index there, as in `Case.slices`.
        size_in_bytes: Of all that was prepared, in memory and in files.

    Args:
        recipe: With its spacing resolved.
        cache: Folder for what does not fit into memory.
    """

    def __init__(self, recipe: Recipe, cache: Path) -> None:
        self.sources: list[tuple[Case, int]] = []
        self._recipe = recipe
        self._digest = hashlib.sha256()
        self._intensities: list[np.ndarray] = []
        self._spacings: list[list[float]] = []
        self._fields_of_view: list[list[float]] = []
        self._units = recipe.inputs[0].units
        self._held = 0
        self.size_in_bytes = 0
        self._cache = cache

    def __len__(self) -> int:
        """Number of labelled slices."""
        return len(self.sources)

    @property
    def digest(self) -> str:
        """Changes when any pixel of any slice does."""
        return self._digest.hexdigest()

    def fingerprint(self) -> dict[str, Any]:
        """What the slices are like, as JSON.

        Returns:
            `slices`, their number; `spacing_min` and `spacing_max` (mm; columns, rows, slices);
            `field_of_view_min` and `field_of_view_max` (mm; rows, columns) of whole slices;
            `intensity_percentiles` by level; `intensity_histogram` as in `familiarity`.
        """
        spacings, fields = np.array(self._spacings), np.array(self._fields_of_view)
        levels = (0.5, 5, 25, 50, 75, 95, 99.5)
        values = np.concatenate(self._intensities)
        return {
            "slices": len(self),
            "spacing_min": _rounded(spacings.min(axis=0), 4),
            "spacing_max": _rounded(spacings.max(axis=0), 4),
            "field_of_view_min": _rounded(fields.min(axis=0), 1),
            "field_of_view_max": _rounded(fields.max(axis=0), 1),
            "intensity_percentiles": {
                str(level): round(float(value), 2)
                for level, value in zip(levels, np.percentile(values, levels), strict=True)
            },
            "intensity_histogram": intensity_histogram(values, self._units),
        }

    def _measure(self, image: Image, indices: Sequence[int]) -> None:
        """Note what slices of an image, in the order of the upright stack, are like."""
        recipe = self._recipe
        upright = image.oriented(PLANES[recipe.sampling.plane])
        column_mm, row_mm, slice_mm = (float(value) for value in upright.spacing)
        self._spacings.append([column_mm, row_mm, slice_mm])
        rows, columns = upright.voxels.shape[1:]
        self._fields_of_view.append([rows * row_mm, columns * column_mm])
        # As the model will meet them: a denoising recipe's images are clean only here.
        seen = [noisy_sample(upright.voxels[index, ::4, ::4], recipe, index) for index in indices]
        self._intensities.append(np.concatenate([values.ravel() for values in seen]))

    def _keep(self, tensor: Tensor, what: str) -> Tensor:
        """The tensor, in memory or as a file that is paged in; the digest is of all of them."""
        self._digest.update(str(tuple(tensor.shape)).encode())
        self._digest.update(tensor.contiguous().numpy().data)
        size = tensor.numel() * tensor.element_size()
        self.size_in_bytes += size
        if self._held + size <= MEMORY_LIMIT:
            self._held += size
            return tensor
        self._cache.mkdir(parents=True, exist_ok=True)
        path = self._cache / f"{len(self.sources)}-{what}.npy"
        np.save(path, tensor.numpy())
        return torch.from_numpy(np.load(path, mmap_mode="c"))


class SliceSet(CaseSet):
    """All slices of some selections, in memory or, where they are many, in files.

    Attributes:
        slices: As the network sees them.

    Args:
        selections: Cases and their labelled slices.
        recipe: With its spacing resolved.
        cache: Folder for the files.
        every_plane: Slices of the other planes, too, as a recipe with fusion learns from them.
    """

    def __init__(
        self,
        selections: Sequence[Selection],
        recipe: Recipe,
        cache: Path,
        every_plane: bool = False,
    ) -> None:
        super().__init__(recipe, cache)
        self.slices: list[LabelledSlice] = []
        parts = [(selection, recipe) for selection in selections]
        if every_plane:
            parts = [part for each in selections for part in selections_of_planes(each, recipe)]
        self._masked = any(selection.case.mask is not None for selection, _ in parts)
        for selection, plane_recipe in parts:
            self._add(selection, plane_recipe)
        weight = recipe.sampling.foreground_weight
        self._weights = [weight if piece.has_foreground else 1.0 for piece in self.slices]

    @property
    def pieces(self) -> Sequence[LabelledSlice]:
        """What is validated on."""
        return self.slices

    @property
    def contents(self) -> list[float]:
        """How much there is to see in each of `sources`, as of `LabelledSlice`."""
        return [piece.content for piece in self.slices]

    def epoch(self, epoch: int) -> list[LabelledSlice]:
        """What an epoch (from 0) learns from, in order; a function of seed and epoch alone."""
        order = epoch_order(self._weights, self._recipe.training.seed, epoch)
        return [self.slices[index] for index in order]

    def _add(self, selection: Selection, recipe: Recipe) -> None:
        image = selection.case.read_image()
        stack = slice_stack(image, recipe)
        chosen = range(len(stack)) if selection.slices is None else selection.slices
        indices = [stack.index(stored) for stored in chosen]
        images = stack.images(indices)
        if recipe.is_unpaired:
            # Of a slice of one value, such as air beyond a scan, instance norm makes gradients
            # without bound, and a discriminator has nothing to judge.
            shown = [place for place, each in enumerate(images) if each.min() < each.max()]
            if not shown:
                return
            images = images[shown]
            chosen = tuple(chosen[place] for place in shown)
            indices = [indices[place] for place in shown]
        images = targets = self._keep(images, "images")
        if not recipe.is_unpaired:
            found = self._targets(selection.case, stack, recipe, indices)
            targets = self._keep(found, "targets")
        self.slices.extend(
            LabelledSlice(picture, truth, stack.full_size)
            for picture, truth in zip(images, targets, strict=True)
        )
        self.sources.extend((selection.case, stored) for stored in chosen)
        if recipe.sampling.plane == self._recipe.sampling.plane:
            self._measure(image, indices)

    def _targets(
        self, case: Case, stack: SliceStack, recipe: Recipe, indices: Sequence[int]
    ) -> Tensor:
        target = read_target(case, recipe)
        counted = case.counted(PLANES[recipe.sampling.plane])
        if recipe.target.kind == "labels":
            return stack.labels(target, recipe, indices, counted)
        if counted is None and self._masked:
            # All slices of a batch have the same channels.
            counted = np.ones(stack.voxels.shape, dtype=bool)
        return stack.targets(target, recipe, indices, counted)


def collate(pieces: Sequence[Piece]) -> tuple[Tensor, Tensor]:
    """Pieces of different sizes in one batch, each in the first corner, 0 elsewhere.

    Returns:
        Images (B, C, *S) and targets (B, *S), (B, 1, *S) or (B, 2, *S), as in `LabelledSlice`.
    """
    axes = pieces[0].image.ndim - 1
    images = together([piece.image for piece in pieces], axes)
    return images, together([piece.target for piece in pieces], axes)


def together(tensors: Sequence[Tensor], axes: int) -> Tensor:
    """Tensors (..., *S) whose last axes differ in one batch, each in the first corner, else 0."""
    sizes = [tensor.shape[-axes:] for tensor in tensors]
    size = [max(lengths) for lengths in zip(*sizes, strict=True)]
    first = tensors[0]
    batch = torch.zeros(len(tensors), *first.shape[:-axes], *size, dtype=first.dtype)
    for place, tensor in enumerate(tensors):
        corner: tuple[Any, ...] = (..., *(slice(length) for length in sizes[place]))
        batch[place][corner] = tensor
    return batch


def as_batch(images: Tensor, targets: Tensor, recipe: Recipe) -> Batch:
    """A batch for a method: channels become one plane for each label, and a mask."""
    if targets.dtype != torch.uint8 and targets.shape[1] == 2:
        weights = targets[:, 1:]
        return Batch(images, targets[:, :1] / weights.clamp_min(1e-6), weights)
    if targets.dtype != torch.uint8:
        return Batch(images, targets, torch.ones_like(images[:, :1]))
    labels = torch.arange(1, recipe.output_channels + 1, device=targets.device)
    planes = (targets[:, None] == labels.reshape(-1, *[1] * (targets.dim() - 1))).float()
    return Batch(images, planes, (targets[:, None] != IGNORE).float())


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
