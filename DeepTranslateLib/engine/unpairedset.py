"""Images of two kinds that do not belong together, prepared as a network sees them."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from DeepTranslateLib.cohort import Case, CohortError, Selection
from DeepTranslateLib.engine.dataset import LabelledSlice, Piece, SliceSet
from DeepTranslateLib.engine.patches import PatchDraw
from DeepTranslateLib.engine.volumeset import VolumeSet, prepared_set
from DeepTranslateLib.recipe import BACKWARD, Recipe, in_direction

# Shuffles of one epoch, far more than the longer of two sets has for each of the shorter.
_SHUFFLES = 1_000_000


@dataclass(frozen=True)
class Pair:
    """A slice or patch of the source, and one of the target that chance put beside it."""

    source: LabelledSlice | PatchDraw
    target: LabelledSlice | PatchDraw


@dataclass(frozen=True)
class ValidationPair:
    """A piece of each kind to validate on.

    Attributes:
        source: Its image is what is translated.
        other: Its image shows what images of the target are like.
    """

    source: Piece
    other: Piece

    @property
    def image(self) -> Tensor:
        """(1, *S) fp32, 0 to 1, of the source."""
        return self.source.image

    @property
    def target(self) -> Tensor:
        """(1, *S) fp32, 0 to 1, of the target's kind; of its own size."""
        return self.other.image

    @property
    def weight(self) -> float:
        """How much its loss counts."""
        return self.source.weight


class UnpairedSet:
    """All slices or volumes of a source and of a target.

    Those of the target are prepared by the recipe turned round: as the network of the way back
    reads them. Slices of one value are left out.

    Attributes:
        backward: That recipe.

    Args:
        selections: Cases, each with its domain, and their slices.
        recipe: With its spacings resolved.
        cache: Folder for what does not fit into memory.

    Raises:
        CohortError: Nothing is left of one of them.
    """

    def __init__(self, selections: Sequence[Selection], recipe: Recipe, cache: Path) -> None:
        # Another seed, so that both sides are not shuffled alike.
        turned = in_direction(recipe, BACKWARD)
        training = dataclasses.replace(turned.training, seed=(turned.training.seed + 1) % 2**31)
        self.backward = dataclasses.replace(turned, training=training)
        by_domain = {
            domain: [each for each in selections if each.case.domain == domain]
            for domain in ("source", "target")
        }
        self._source = prepared_set(by_domain["source"], recipe, cache / "source")
        self._target = prepared_set(by_domain["target"], self.backward, cache / "target")
        for domain, part in (("source", self._source), ("target", self._target)):
            if not len(part):
                raise CohortError(
                    f"Each slice of the {domain} has one value within the window, such as air, so "
                    "that there is nothing to learn from. Check the images, and the recipe's "
                    "preprocessing.window and target.range."
                )

    def __len__(self) -> int:
        """Number of slices of both."""
        return len(self._source) + len(self._target)

    @property
    def digest(self) -> str:
        """Changes when any pixel of any slice does."""
        both = self._source.digest + self._target.digest
        return hashlib.sha256(both.encode()).hexdigest()

    @property
    def size_in_bytes(self) -> int:
        """Of all that was prepared."""
        return self._source.size_in_bytes + self._target.size_in_bytes

    @property
    def pieces(self) -> list[ValidationPair]:
        """What is validated on: each of the source once, beside those of the target.

        These are spread evenly over all of the target, since the first ones alone may be of one
        end of one volume.
        """
        sources: Sequence[Piece] = self._source.pieces
        others: Sequence[Piece] = self._target.pieces
        chosen = [others[n * len(others) // len(sources)] for n in range(len(sources))]
        return [ValidationPair(*both) for both in zip(sources, chosen, strict=True)]

    @property
    def contents(self) -> list[float]:
        """How much there is to see in each of `sources`."""
        return self._source.contents

    @property
    def sources(self) -> list[tuple[Case, int]]:
        """Of each slice of the source its case and its index there."""
        return self._source.sources

    def epoch(self, epoch: int) -> list[Pair]:
        """What an epoch (from 0) learns from; a function of seed and epoch alone.

        Of the longer side each once; the shorter is shuffled anew as often as it takes.
        """
        orders = (_shuffles(self._source, epoch), _shuffles(self._target, epoch))
        count = max(len(self._source.epoch(epoch)), len(self._target.epoch(epoch)))
        return [Pair(*both) for both in itertools.islice(zip(*orders, strict=False), count)]

    def fingerprint(self) -> dict[str, Any]:
        """What the slices of the source are like, and, under "target", those of the target."""
        return {**self._source.fingerprint(), "target": self._target.fingerprint()}


def _shuffles(part: SliceSet | VolumeSet, epoch: int) -> Iterator[Any]:
    yield from part.epoch(epoch)
    for again in itertools.count(1):
        yield from part.epoch(_SHUFFLES * again + epoch)


def training_set(
    selections: Sequence[Selection], recipe: Recipe, cache: Path, teaching: bool = False
) -> SliceSet | VolumeSet | UnpairedSet:
    """What a recipe learns from or is validated on, of some selections; as `prepared_set`."""
    if recipe.is_unpaired:
        return UnpairedSet(selections, recipe, cache)
    return prepared_set(selections, recipe, cache, teaching)
