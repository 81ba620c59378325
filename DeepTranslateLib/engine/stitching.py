"""Overlapping windows of a volume put together, with no more of it in memory than a slab.

Where windows overlap, the mean of their outputs counts, each weighted by a Gaussian about the
middle of its window, where a network sees most of what lies around, as in nnU-Net (Isensee et al.
2021); windows and weights are those of MONAI's SlidingWindowInferer. Of windows whose central half
alone counts, it is the halves that are laid over the volume so, and what lies around them is seen,
too, also beyond the volume. Windows follow each other along the slices, and slices that no later
window reaches are finished and given out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import EllipsisType

import torch
from torch import Tensor

from DeepTranslateLib.engine.centralhalf import Core
from DeepTranslateLib.engine.labelledvolume import last_start

Size = tuple[int, int, int]
Place = tuple[EllipsisType, slice, slice]  # rows and columns of a tensor
# Slices first to last - 1 of the volume, (C, last - first, H, W) fp32.
Reader = Callable[[int, int], Tensor]
# Windows (B, C, *patch) to outputs (B, K, *patch) fp32 on the CPU.
Predictor = Callable[[Tensor], Tensor]

_SIGMA = 0.125  # of the window's length
_LEAST_WEIGHT = 1e-3
SLICES_READ = 8  # at a time: what reading leaves behind is a few times as large as the slices


@dataclass(frozen=True)
class Windows:
    """Where windows lie on a volume.

    The last one of each axis ends where the volume ends; a volume shorter than a window lies in
    its middle, with 0 around it. What is said of windows here is said of the part that counts.

    Attributes:
        size: Slices, rows and columns of the volume.
        patch: Slices, rows and columns that the network sees at a time.
        overlap: Share of a window that the next one covers, too; at least 0 and below 1.
        part: What counts of a patch; None: all of it.
    """

    size: Size
    patch: Size
    overlap: float
    part: Core | None = None

    @property
    def core(self) -> Core:
        """What counts of a patch."""
        return self.part or Core.whole(self.patch)

    def starts(self, axis: int) -> list[int]:
        """First voxel of each window along an axis; negative where the volume is shorter."""
        size, patch = self.size[axis], self.core.size[axis]
        if size <= patch:
            return [last_start(size, patch)]
        step = max(1, int(patch * (1 - self.overlap)))
        last = size - patch
        return [*range(0, last, step), last]

    def __len__(self) -> int:
        return len(self.starts(0)) * len(self.starts(1)) * len(self.starts(2))

    def weights(self) -> Tensor:
        """Weight of each voxel of a window, fp32, 1 at its middle."""
        weights = torch.ones(())
        for length in self.core.size:
            away = torch.arange(length) - (length - 1) / 2
            along = torch.exp(-(away**2) / (2 * (_SIGMA * length) ** 2))
            weights = weights[..., None] * along
        return weights.clamp_(min=_LEAST_WEIGHT)


class Stitcher:
    """Applies a network to the windows of a volume.

    Args:
        windows: Where they are.
        predict: What the network makes of them.
        channels: Of its outputs.
        batch: Windows at a time; halved when the device's memory does not hold them.
        on_windows: Called with the number of windows done, after each batch.
    """

    def __init__(
        self,
        windows: Windows,
        predict: Predictor,
        channels: int,
        batch: int = 1,
        on_windows: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._windows = windows
        self._core = windows.core
        self._predict = predict
        self._channels = channels
        self._batch = batch
        self._on_windows = on_windows
        self._weights = windows.weights()

    def windows_needed(self, wanted: Sequence[int], rows: tuple[int, int]) -> int:
        """How many windows `slices` takes for the same arguments."""
        starts = [z for z in self._windows.starts(0) if self._reaches(z, wanted)]
        return len(starts) * len(self._places(rows))

    def slices_read(self, wanted: Sequence[int]) -> list[int]:
        """The slices, in rising order, that `slices` reads for these; each once."""
        starts = [
            z - self._core.before[0] for z in self._windows.starts(0) if self._reaches(z, wanted)
        ]
        depth, length = self._windows.size[0], self._windows.patch[0]
        return sorted(
            {
                index
                for first in starts
                for index in range(max(first, 0), min(first + length, depth))
            }
        )

    def slices(
        self, read: Reader, wanted: Sequence[int], rows: tuple[int, int]
    ) -> Iterator[tuple[int, Tensor]]:
        """Slices of the stitched outputs, each as soon as no window is left that changes it.

        Args:
            read: Gives the volume.
            wanted: Slices, in rising order; windows that hold none of them are left out.
            rows: First row and last row + 1 that are wanted of them. The others take no memory;
                windows on the border of two such bands are computed for both.

        Yields:
            The slice and its values (K, rows, columns), which may be changed and are only there
            until the next is asked for.
        """
        depth, _, width = self._windows.size
        length = self._core.size[0]
        top, bottom = rows
        seen = torch.empty(0)
        sums = torch.zeros(length, self._channels, bottom - top, width)
        totals = torch.zeros(length, bottom - top, width)
        starts = self._windows.starts(0)
        before: int | None = None
        for start, end in zip(starts, [*starts[1:], depth], strict=True):
            if not self._reaches(start, wanted):
                continue
            shift = self._windows.patch[0] if before is None else start - before
            for held in (sums, totals):
                _move_up(held, shift)
            seen = self._read(read, start - self._core.before[0], seen, shift)
            before = start
            self._add(seen, sums, totals, rows)
            for index in wanted:
                if max(start, 0) <= index < end:
                    yield index, sums[index - start].div_(totals[index - start])

    def _reaches(self, start: int, wanted: Sequence[int]) -> bool:
        return any(start <= index < start + self._core.size[0] for index in wanted)

    def _places(self, rows: tuple[int, int]) -> list[tuple[int, int]]:
        """First row and column of the windows that reach into these rows."""
        height = self._core.size[1]
        return [
            (row, column)
            for row in self._windows.starts(1)
            if row < rows[1] and row + height > rows[0]
            for column in self._windows.starts(2)
        ]

    def _read(self, read: Reader, start: int, seen: Tensor, shift: int) -> Tensor:
        """The slices of a row of windows, (windows' slices, C, H, W), of which some are there."""
        (depth, *_), patch = self._windows.size, self._windows.patch
        there = 0 if not len(seen) else max(0, patch[0] - shift)
        if there:
            _move_up(seen, shift)
        first, last = max(start + there, 0), min(start + patch[0], depth)
        for begin in range(first, last, SLICES_READ):
            end = min(begin + SLICES_READ, last)
            piece = read(begin, end)
            if not len(seen):
                seen = torch.zeros(patch[0], piece.shape[0], *piece.shape[2:])
            seen[begin - start : end - start] = piece.transpose(0, 1)
        return seen

    def _add(self, seen: Tensor, sums: Tensor, totals: Tensor, rows: tuple[int, int]) -> None:
        """Apply the network to a row of windows, and add its weighted outputs."""
        places = self._places(rows)
        done = 0
        while done < len(places):
            chosen = places[done : done + self._batch]
            try:
                outputs = self._predict(torch.stack([self._window(seen, *at) for at in chosen]))
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch //= 2
                torch.cuda.empty_cache()
                continue
            counted = self._core.of_patches(outputs)
            for at, output in zip(chosen, counted, strict=True):
                here, within = self._overlap(at, rows, self._core.size)
                weights = self._weights[within]
                sums[here].addcmul_(output[within].transpose(0, 1), weights[:, None])
                totals[here] += weights
            done += len(chosen)
            self._on_windows(len(chosen))

    def _window(self, seen: Tensor, row: int, column: int) -> Tensor:
        """The patch (C, *patch) around a window, with 0 where there is no volume."""
        _, above, left = self._core.before
        whole, patch = (0, self._windows.size[1]), self._windows.patch
        here, within = self._overlap((row - above, column - left), whole, patch)
        window = torch.zeros(seen.shape[1], *self._windows.patch)
        window[within] = seen[here].transpose(0, 1)
        return window

    def _overlap(
        self, at: tuple[int, int], rows: tuple[int, int], size: Size
    ) -> tuple[Place, Place]:
        """What a box and rows of the volume share: in those rows, and in the box."""
        (row, column), (_, height, width) = at, size
        first, last = max(row, rows[0]), min(row + height, rows[1])
        left, right = max(column, 0), min(column + width, self._windows.size[2])
        return (
            (..., slice(first - rows[0], last - rows[0]), slice(left, right)),
            (..., slice(first - row, last - row), slice(left - column, right - column)),
        )


def _move_up(held: Tensor, shift: int) -> None:
    """Drop the first slices and add as many that are 0, in place."""
    kept = max(0, len(held) - shift)
    for index in range(kept if shift else 0):  # one by one: where they overlap, order matters
        held[index] = held[index + shift]
    held[kept:] = 0
