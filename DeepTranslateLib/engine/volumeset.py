"""The labelled volumes of a cohort, prepared as a 3D network sees them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from DeepTranslateLib.cohort import Case, CohortError, Selection
from DeepTranslateLib.engine.centralhalf import Core
from DeepTranslateLib.engine.dataset import CaseSet, SliceSet
from DeepTranslateLib.engine.intensities import read_target
from DeepTranslateLib.engine.patches import LabelledVolume, PatchDraw, Tile, tiles
from DeepTranslateLib.engine.sampling import epoch_order, random_state
from DeepTranslateLib.engine.volumestack import volume_stack
from DeepTranslateLib.recipe import PLANES, Recipe


class VolumeSet(CaseSet):
    """All volumes of some selections, in memory or, where they are large, in files.

    Slices that a selection does not name are seen, but neither teach nor count (Cicek et al. 2016,
    doi:10.1007/978-3-319-46723-8_49).

    Attributes:
        volumes: As the network sees them.
        cases: Of each volume.

    Args:
        selections: Cases and their labelled slices.
        recipe: With its spacings resolved.
        cache: Folder for the files.
    """

    def __init__(self, selections: Sequence[Selection], recipe: Recipe, cache: Path) -> None:
        super().__init__(recipe, cache)
        assert recipe.sampling.patch is not None
        self._patch = recipe.sampling.patch
        self.volumes: list[LabelledVolume] = []
        self.cases: list[Case] = []
        self._contents: list[float] = []
        for selection in selections:
            self._add(selection, recipe)
        core = Core.of(recipe)
        self._tiles = [list(tiles(volume, self._patch, core)) for volume in self.volumes]
        if not self.pieces:
            raise CohortError(
                "Nothing of these volumes teaches or counts: all of their voxels are ignored or "
                "masked out. Label some slices of "
                f"{', '.join(sorted({case.name for case, _ in self.sources}))}."
            )

    @property
    def pieces(self) -> list[Tile]:
        """What is validated on: patches side by side that cover all volumes."""
        return [tile for of_volume in self._tiles for tile in of_volume]

    @property
    def contents(self) -> list[float]:
        """How much there is to see in each of `sources`, as of `SliceSet`."""
        return self._contents

    @property
    def patches(self) -> int:
        """Patches of an epoch: as the recipe says, or as many as cover the volumes once."""
        return self._recipe.sampling.patches_per_epoch or len(self.pieces)

    def epoch(self, epoch: int) -> list[PatchDraw]:
        """What an epoch (from 0) learns from, in order; a function of seed and epoch alone.

        Volumes are drawn in proportion to the patches that cover them. The patches that are
        centred on a label are spread evenly over the epoch, so that batches have their share.
        """
        seed, share = self._recipe.training.seed, self._recipe.sampling.foreground_share
        # Of a volume in which nothing teaches there are no tiles.
        covered = [n for n, of_volume in enumerate(self._tiles) if of_volume]
        weights = [float(len(self._tiles[n])) for n in covered]
        order = epoch_order(weights, seed, epoch, self.patches)
        # A place of its own: steps have two numbers, the fixed noise of images three and four.
        offset = random_state(seed, epoch, 0, 0, 0).random()
        passed = np.floor(np.arange(len(order) + 1) * share + offset)
        return [
            PatchDraw(self.volumes[covered[index]], bool(step))
            for index, step in zip(order, np.diff(passed) > 0, strict=True)
        ]

    def without(self, subjects: Collection[str]) -> VolumeSet:
        """The set without the volumes of some subjects; its measures are those of the whole."""
        kept = [n for n, case in enumerate(self.cases) if case.subject not in subjects]
        found = copy.copy(self)
        found.volumes = [self.volumes[n] for n in kept]
        found.cases = [self.cases[n] for n in kept]
        found._tiles = [self._tiles[n] for n in kept]
        of_slices = zip(self.sources, self._contents, strict=True)
        known = [(source, much) for source, much in of_slices if source[0].subject not in subjects]
        found.sources = [source for source, _ in known]
        found._contents = [much for _, much in known]
        found._digest = hashlib.sha256(f"{self.digest} without {sorted(subjects)}".encode())
        return found

    def beside(self, earlier: Sequence[Tensor], origin: str) -> VolumeSet:
        """The set with what the stage before made of each volume, (1, D, H, W).

        Args:
            earlier: In the order of `volumes`.
            origin: Tells what they were made by; part of the digest in their place.
        """
        found, name = copy.copy(self), f"earlier-{origin[:16]}"
        found._digest = hashlib.sha256()  # not that of `self`, which keeping would change
        found.volumes = [
            volume.beside(found._keep(made, f"{name}-{n}"))
            for n, (volume, made) in enumerate(zip(self.volumes, earlier, strict=True))
        ]
        found._tiles = [
            [dataclasses.replace(tile, volume=volume) for tile in of_volume]
            for volume, of_volume in zip(found.volumes, self._tiles, strict=True)
        ]
        found._digest = hashlib.sha256(f"{self.digest} beside {origin}".encode())
        return found

    def _add(self, selection: Selection, recipe: Recipe) -> None:
        case, chosen = selection.case, selection.slices
        image = case.read_image()
        stack = volume_stack(image, recipe)
        prepared = self._keep(stack.prepared(0, stack.depth), "image")
        counted = case.counted(PLANES[recipe.sampling.plane])
        if recipe.is_unpaired:
            truth = prepared
        elif recipe.target.kind == "labels":
            truth = stack.labels(read_target(case, recipe), recipe, chosen, counted)
        else:
            truth = stack.targets(read_target(case, recipe), recipe, chosen, counted)
        volume = LabelledVolume(
            prepared,
            truth if recipe.is_unpaired else self._keep(truth, "target"),
            stack.full_size,
            stack.spacing,
        )
        self.volumes.append(volume)
        self.cases.append(case)
        stored = range(len(stack.slices)) if chosen is None else chosen
        self.sources.extend((case, index) for index in stored)
        indices = [stack.slices.index(index) for index in stored]
        self._measure(image, indices)
        scale = stack.depth / len(stack.slices)
        self._contents += [volume.content(int((index + 0.5) * scale)) for index in indices]


def prepared_set(
    selections: Sequence[Selection], recipe: Recipe, cache: Path, teaching: bool = False
) -> SliceSet | VolumeSet:
    """The slices or, for a recipe of patches, the volumes of some selections.

    Args:
        selections: Cases and their labelled slices.
        recipe: With its spacings resolved.
        cache: Folder for what does not fit into memory.
        teaching: It is learnt from; where the recipe fuses planes, from all of them.
    """
    if recipe.is_volumetric:
        return VolumeSet(selections, recipe, cache)
    return SliceSet(selections, recipe, cache, every_plane=teaching and recipe.sampling.fusion)
