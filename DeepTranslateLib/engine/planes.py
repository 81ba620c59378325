"""Three planes as one: slices of each teach one network, and the mean of its outputs counts.

QuickNAT (Guha Roy et al. 2019) averages for each voxel what networks of axial, coronal and
sagittal slices say, with weights; here one network has learnt from all three, and they weigh alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from DeepTranslateLib.cohort import Selection
from DeepTranslateLib.cohort.case import stack_axis
from DeepTranslateLib.engine.memory import (
    MemoryLimitError,
    memory_use,
    refuse_above,
    resident_memory,
)
from DeepTranslateLib.engine.outputs import finished
from DeepTranslateLib.engine.preprocessing import SliceStack, slice_stack
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import PLANES, Recipe

# Slices of a stack made with a recipe to (N, K, rows, columns) of its crop: probabilities of the
# labels, or a volume's values from 0 to 1.
Outputs = Callable[[SliceStack, Sequence[int]], Iterator[tuple[Sequence[int], Tensor]]]

_SHARE_WITHOUT_LIMIT = 0.25  # of the machine's memory
_SLICES_READ = 16  # at a time: a file's parts that were looked at count as memory


def recipe_of_plane(recipe: Recipe, plane: str) -> Recipe:
    """The recipe for slices of one plane alone."""
    sampling = dataclasses.replace(recipe.sampling, plane=plane, fusion=False)
    return dataclasses.replace(recipe, sampling=sampling)


def selections_of_planes(selection: Selection, recipe: Recipe) -> list[tuple[Selection, Recipe]]:
    """What a case teaches in each plane, the recipe's own first.

    Of each other plane as many slices teach as of the recipe's own, at even distances among those
    that hold a labelled voxel. What lies in no labelled slice of the recipe's own plane does not
    count there.
    """
    image = selection.case.read_image()
    own = recipe.sampling.plane
    length = image.shape[stack_axis(image, own)]
    labelled = range(length) if selection.slices is None else selection.slices
    case = selection.case
    if selection.slices is not None:
        case = dataclasses.replace(case, slices=None, mask=_mask(selection, image, own))
    found = [(selection, recipe_of_plane(recipe, own))]
    for plane in PLANES:
        if plane == own:
            continue
        possible = case.counted_slices(plane)
        if possible is None:
            possible = tuple(range(image.shape[stack_axis(image, plane)]))
        count = min(len(labelled), len(possible))
        places = (np.arange(count) + 0.5) * len(possible) / max(1, count)
        chosen = tuple(possible[int(place)] for place in places)
        if chosen:
            found.append((Selection(case, chosen), recipe_of_plane(recipe, plane)))
    return found


def _mask(selection: Selection, image: Image, plane: str) -> Image:
    """1 in the labelled slices, and where the case's own mask counts."""
    axis = stack_axis(image, plane)
    labelled = np.zeros(image.shape[axis], dtype=np.uint8)
    labelled[list(selection.slices or ())] = 1
    # A line of numbers that takes no more memory for being seen as a volume.
    shape = [-1 if n == axis else 1 for n in range(3)]
    voxels = np.broadcast_to(labelled.reshape(shape), image.shape)
    counted = selection.case.counted(image.orientation)
    return image.with_voxels(voxels if counted is None else voxels * counted)


class PlaneFusion:
    """The mean of what a network makes of the three planes of a volume.

    The outputs of two planes are kept, in memory or, where the limit leaves too little of it, in a
    file; those of the recipe's own plane are added to them slice by slice.

    Args:
        image: The volume.
        recipe: With fusion.
        outputs: What the network makes of slices.
        memory_limit: Bytes that the process may hold; None: a quarter of the machine's memory for
            what is kept.
        reserved: Bytes of them that the caller will need meanwhile.

    Raises:
        MemoryLimitError: Too little memory or, where a file is needed, room on the disk.
    """

    def __init__(
        self,
        image: Image,
        recipe: Recipe,
        outputs: Outputs,
        memory_limit: int | None,
        reserved: int,
    ) -> None:
        self._image = image
        self._recipe = recipe
        self._outputs = outputs
        others = [plane for plane in PLANES if plane != recipe.sampling.plane]
        self._others = [recipe_of_plane(recipe, plane) for plane in others]
        self._own = recipe_of_plane(recipe, recipe.sampling.plane)
        self._channels = recipe.output_channels
        kept = 4 * self._channels * math.prod(image.shape) * len(others)
        slice_size = 4 * self._channels * math.prod(sorted(image.shape)[1:])
        free = memory_use(torch.device("cpu"))["total"] * _SHARE_WITHOUT_LIMIT
        if memory_limit is not None:
            # Slices read of files and of what was read, and those on their way there.
            held = resident_memory() + reserved + (4 * _SLICES_READ + 8) * slice_size
            refuse_above(memory_limit, held)
            free = memory_limit - held
        self.in_file = kept > free
        if self.in_file:
            _refuse_full_disk(kept)

    def slices(
        self, stack: SliceStack, indices: Sequence[int], progress: Callable[[int, int], None]
    ) -> Iterator[tuple[int, Tensor]]:
        """Mean outputs of slices of the recipe's own plane.

        Args:
            stack: Of that plane.
            indices: Places in it.
            progress: Called with the number of slices done, of all planes, and of all.

        Yields:
            The place and (K, rows, columns) of the whole slice: mean probabilities, 0 where a
            plane saw no body; or mean values, from 0 to 1 or, where the recipe undoes what was
            done to intensities, in the image's units.
        """
        stacks = [slice_stack(self._image, recipe) for recipe in self._others]
        total = sum(len(each) for each in stacks) + len(indices)
        done = 0
        with contextlib.ExitStack() as files:
            stores = [self._store(each, files) for each in stacks]
            for each, store in zip(stacks, stores, strict=True):
                for index, values in self._whole_slices(each, range(len(each))):
                    store.append(index, values)
                    done += 1
                    progress(done, total)
            for start in range(0, len(indices), _SLICES_READ):
                chosen = indices[start : start + _SLICES_READ]
                kept = [
                    self._seen_as_own(store.voxels(), recipe, chosen)
                    for store, recipe in zip(stores, self._others, strict=True)
                ]
                for place, (index, values) in enumerate(self._whole_slices(stack, chosen)):
                    mean = (values + sum(each[place] for each in kept)) / (1 + len(kept))
                    yield index, torch.from_numpy(mean)
                    done += 1
                    progress(done, total)

    def _store(self, stack: SliceStack, files: contextlib.ExitStack) -> _Store:
        shape = (len(stack), self._channels, *stack.shape[1:])
        if not self.in_file:
            return _Store(shape)
        return _Store(shape, files.enter_context(tempfile.TemporaryFile(prefix="deeptranslate-")))

    def _whole_slices(
        self, stack: SliceStack, indices: Sequence[int]
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Outputs (K, rows, columns) of whole slices; outside of the body 0, or the lowest value.

        Where intensities are undone they are in the image's units: each plane has a scale of its
        own.
        """
        for some, outputs in self._outputs(stack, indices):
            if stack.undo is not None:
                outputs = finished(self._recipe, outputs)[:, None]
            for index, output in zip(some, outputs.numpy(), strict=True):
                whole = np.zeros((self._channels, *stack.shape[1:]), dtype=np.float32)
                for channel, values in zip(whole, output, strict=True):
                    stack.paste(values, index, channel)
                yield index, whole

    def _seen_as_own(
        self, voxels: npt.NDArray[np.float32], recipe: Recipe, indices: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        """Of another plane's outputs those in slices of the own one: (slices, K, rows, columns)."""
        upright = self._image.oriented(PLANES[recipe.sampling.plane])
        own = PLANES[self._own.sampling.plane]
        parts = [
            upright.with_voxels(voxels[:, channel]).oriented(own).voxels[list(indices)]
            for channel in range(self._channels)
        ]
        return np.stack(parts, axis=1)


class _Store:
    """Outputs of a plane's slices, kept in order and read in any.

    Args:
        shape: (slices, K, rows, columns).
        file: Where they are kept; None: in memory.
    """

    def __init__(self, shape: tuple[int, int, int, int], file: IO[bytes] | None = None) -> None:
        self._shape = shape
        self._file = file
        self._array = np.empty(shape if file is None else 0, dtype=np.float32)

    def append(self, index: int, values: npt.NDArray[np.float32]) -> None:
        """Keep the outputs (K, rows, columns) of the next slice."""
        if self._file is None:
            self._array[index] = values
        else:
            self._file.write(values.data)

    def voxels(self) -> npt.NDArray[np.float32]:
        """All of it; as long as it is held, what is read of a file stays in memory."""
        if self._file is None:
            return self._array
        self._file.flush()
        return np.memmap(self._file, np.float32, "r", shape=self._shape)


def _refuse_full_disk(needed: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MemoryLimitError(
            f"The outputs of the planes take {needed / 2**30:.1f} GB, more than there is memory "
            f"for, and {folder} has {free / 2**30:.1f} GB free. Make room there, name another "
            "folder in the environment variable TMPDIR, or give a higher limit."
        )
