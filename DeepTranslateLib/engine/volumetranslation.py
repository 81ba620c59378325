"""Patches of a volume through a network and back to the stored slices, within a memory limit.

Outputs are stitched slab by slab (see `stitching`), brought back to the stored slices and rows as
soon as the prepared ones that these are made of are finished, and given out one at a time. Where
even a slab of whole slices is too large, it is cut into bands of rows; the windows on the borders
of bands are computed for each, so that the result is the same.

Where a recipe has stages (`engine.autocontext`), each reads the slices that the one before
finishes, so that no whole volume is held, either; of the stages before the last all rows are
computed, anew for each band.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.centralhalf import Core
from DeepTranslateLib.engine.memory import (
    MemoryPeak,
    memory_use,
    refuse_above,
    resident_memory,
)
from DeepTranslateLib.engine.resampling import LinearAxis
from DeepTranslateLib.engine.stages import channels_before
from DeepTranslateLib.engine.stitching import SLICES_READ, Predictor, Stitcher, Windows
from DeepTranslateLib.engine.volumestack import VolumeStack
from DeepTranslateLib.recipe import Recipe

Rows = tuple[int, int]
_FLOAT = 4
_MARGIN = 64 * 2**20  # what allocators keep
_SHARE_WITHOUT_LIMIT = 0.25  # of the machine's memory, for the slab


class VolumeTranslation:
    """Translates a volume by patches.

    Args:
        stack: The volume.
        recipe: Says the patches and how far they overlap.
        predictors: What the network of each stage makes of patches, fp32 on the CPU; those after
            the first see what the one before made, 0 to 1, behind the channels of the volume.
        batch: Patches at a time.
        memory_limit: Bytes that the process may hold; None: a quarter of the machine's memory for
            the slab alone.
        reserved: Bytes of them that the caller will need meanwhile.

    Raises:
        MemoryLimitError: Not even a slab one row high would fit.
    """

    def __init__(
        self,
        stack: VolumeStack,
        recipe: Recipe,
        predictors: Sequence[Predictor],
        batch: int,
        memory_limit: int | None,
        reserved: int,
    ) -> None:
        self._stack = stack
        self._windows = windows_of(recipe, stack.size)
        self._predictors = predictors
        self._batch = batch
        self._inputs = recipe.input_channels
        self._channels = recipe.output_channels
        top, bottom, self._left, self._right = stack.body.box
        self._height = bottom - top
        self._along = LinearAxis.between(stack.depth, len(stack.slices))
        self._down = LinearAxis.between(stack.size[1], self._height)
        self.bands = self._divided(memory_limit, reserved)

    def pieces(
        self, wanted: Sequence[int], progress: Callable[[int, int], None]
    ) -> Iterator[tuple[int, Rows, Tensor]]:
        """Outputs of stored slices, at the pixel size of the crop.

        Args:
            wanted: Places in the stack of stored slices, rising.
            progress: Called with the number of windows done and of all.

        Yields:
            The place of a slice, the crop's rows [first, last) and their values (K, rows, columns).
        """
        needed = self._along.needed(wanted)
        done = 0

        def count(windows: int) -> None:
            nonlocal done
            done += windows
            progress(done, total)

        last = len(self._predictors) - 1
        total = sum(
            self._windows_needed(last, needed, self._prepared_rows(rows)) for rows in self.bands
        )
        for rows in self.bands:
            prepared = self._prepared_rows(rows)
            finished = self._stage(last, needed, prepared, count)
            for index, values in self._along_slices(finished, wanted):
                restored = self._down.rows(values, prepared[0], rows)
                yield index, rows, self._across(restored)

    def _stage(
        self, stage: int, wanted: Sequence[int], rows: Rows, count: Callable[[int], None]
    ) -> Iterator[tuple[int, Tensor]]:
        """Prepared slices of what a stage (from 0) makes, as of `Stitcher.slices`."""
        stitcher = self._stitcher(stage, count)
        if stage == 0:
            return stitcher.slices(self._stack.prepared, wanted, rows)
        whole = (0, self._stack.size[1])
        before = self._stage(stage - 1, stitcher.slices_read(wanted), whole, count)

        def read(first: int, last: int) -> Tensor:
            # In the order of `slices_read`, each once.
            made = [next(before)[1].clone() for _ in range(first, last)]
            return beside(self._stack.prepared(first, last), torch.stack(made, dim=1))

        return stitcher.slices(read, wanted, rows)

    def _windows_needed(self, stage: int, wanted: Sequence[int], rows: Rows) -> int:
        """How many windows `_stage` takes."""
        stitcher = self._stitcher(stage)
        needed = stitcher.windows_needed(wanted, rows)
        if stage == 0:
            return needed
        whole = (0, self._stack.size[1])
        return needed + self._windows_needed(stage - 1, stitcher.slices_read(wanted), whole)

    def _stitcher(
        self, stage: int, count: Callable[[int], None] = lambda windows: None
    ) -> Stitcher:
        predict = self._predictors[stage]
        return Stitcher(self._windows, predict, self._channels, self._batch, count)

    def _along_slices(
        self, finished: Iterator[tuple[int, Tensor]], wanted: Sequence[int]
    ) -> Iterator[tuple[int, Tensor]]:
        """Stored slices out of prepared ones, which come in rising order."""
        if self._stack.depth == len(self._stack.slices):
            yield from finished
            return
        held: dict[int, Tensor] = {}
        for index in wanted:
            sources = self._along.sources(index)
            held = {place: held[place] for place, _ in sources if place in held}
            while not all(place in held for place, _ in sources):
                place, values = next(finished)
                held[place] = values.clone()
            yield index, torch.stack([held[n] * weight for n, weight in sources]).sum(dim=0)

    def _across(self, values: Tensor) -> Tensor:
        size = (values.shape[1], self._right - self._left)
        if tuple(values.shape[1:]) == size:
            return values
        return F.interpolate(values[None], size=size, mode="bilinear", antialias=True)[0]

    def _prepared_rows(self, rows: Rows) -> Rows:
        """The prepared rows that rows of the crop are made of."""
        needed = self._down.needed(range(*rows))
        return needed[0], needed[-1] + 1

    def _divided(self, limit: int | None, reserved: int) -> list[Rows]:
        """Bands of the crop's rows, as few as fit."""
        free = self._free(limit, reserved)
        most = self._height
        while most > 1 and self._bytes_of(most) > free:
            most -= 1
        if limit is not None:
            refuse_above(limit, limit + self._bytes_of(most) - free)
        count = math.ceil(self._height / most)
        ends = [round(self._height * n / count) for n in range(count + 1)]
        return list(pairwise(ends))

    def _free(self, limit: int | None, reserved: int) -> float:
        """Bytes for a slab and what is made of it."""
        if limit is None:
            return memory_use(torch.device("cpu"))["total"] * _SHARE_WITHOUT_LIMIT
        held = resident_memory()
        patch = self._windows.patch
        with MemoryPeak() as windows:
            for stage, predict in enumerate(self._predictors):
                predict(torch.zeros(1, self._inputs + channels_before(stage + 1), *patch))
        _, height, width = self._stack.size
        stored = math.prod(self._stack.slices.shape[1:])
        before = len(self._predictors) - 1
        channels = self._inputs + before * (self._inputs + 1)
        seen = channels * (patch[0] + SLICES_READ) * height * width
        # The slabs of the stages before the last, which hold all rows.
        slab = (self._channels + 1) * self._windows.core.size[0] + SLICES_READ
        seen += before * slab * height * width
        reading = _FLOAT * (seen + 6 * stored + 3 * math.prod(patch))
        return limit - held - reserved - windows.bytes - reading - _MARGIN

    def _bytes_of(self, rows: int) -> int:
        """Memory for a band of so many of the crop's rows."""
        _, height, width = self._stack.size
        prepared = min(
            height, math.ceil(rows * height / self._height) + self._down.weights.shape[1]
        )
        depth = self._windows.core.size[0]
        slices = self._channels * (depth + 2 * self._along.weights.shape[1])
        slab = prepared * width * (slices + depth)
        # Rows restored, columns restored, what is chosen of them, each beside what it is made of.
        restored = self._channels * rows * (3 * width + 3 * (self._right - self._left))
        return _FLOAT * (slab + restored)


def windows_of(recipe: Recipe, size: tuple[int, int, int]) -> Windows:
    """The windows that a recipe lays over a prepared volume."""
    assert recipe.sampling.patch is not None
    return Windows(size, recipe.sampling.patch, recipe.sampling.overlap, Core.of(recipe))


def beside(image: Tensor, made: Tensor) -> Tensor:
    """Images (C, D, H, W) with what a stage made of them (1, D, H, W), kept to 0 to 1."""
    return torch.cat([image, made.clamp(0, 1)])
