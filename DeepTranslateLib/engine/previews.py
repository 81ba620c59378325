"""How well one slice is translated after each epoch, for whoever watches a training."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from DeepTranslateLib.cohort import Case
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.intensities import read_target
from DeepTranslateLib.engine.labelvalues import channels_of_values, values_of_channels
from DeepTranslateLib.engine.outputs import on_grid_of
from DeepTranslateLib.engine.preprocessing import SliceStack, slice_stack
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.engine.unpairedset import UnpairedSet
from DeepTranslateLib.engine.volumeset import VolumeSet
from DeepTranslateLib.engine.volumestack import VolumeStack, volume_stack
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.jobs import Events
from DeepTranslateLib.recipe import BACKWARD, FORWARD, PLANES, Recipe, in_direction

FOLDER = "previews"
KEPT = 20
_SECONDS = 5.0
_SHARE = 0.025  # of the time of a training that previews may take


class Previews:
    """Translates one validation slice, the one with most to see, after an epoch.

    After the first epoch and the last one, and between them after every `preview_every`-th, or,
    where the recipe names no number, as often as a watcher can follow and the training can bear.
    Writes images of one slice, in their place in the patient, to `folder/previews`: `input.nrrd`
    and, of pairs, `target.nrrd` once, `epoch_NNNN.nrrd` (from 1) of the epochs that were asked for
    or else of the last, and `cycled_NNNN.nrrd`, what the way back makes of that, where there is
    one.

    With fusion of planes, what is shown is made by the slices of the recipe's own plane.

    Args:
        folder: The run's folder.
        recipe: With its spacing resolved.
        validation: The slices to choose from.
        device: Where the network is.
        events: Told of each preview.
        earlier: Networks of the stages before, as `Translator` takes them.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        validation: SliceSet | VolumeSet | UnpairedSet,
        device: torch.device,
        events: Events,
        earlier: Sequence[nn.Module] = (),
    ) -> None:
        self._earlier = earlier
        self._folder = folder
        self._recipe = recipe
        self._validation = validation
        self._device = device
        self._events = events
        self._next = -float("inf")
        self._chosen: tuple[SliceStack | VolumeStack, int, range, Image, Image] | None = None

    def __call__(self, networks: Mapping[str, nn.Module], epoch: int, last: bool) -> None:
        """Write a preview, if it is time for one.

        Args:
            networks: What translates, by direction.
            epoch: The one just done, from 0.
            last: No other will follow.
        """
        if not (last or self._is_due(epoch)):
            return
        if self._chosen is None:
            self._chosen = self._choose()
        stack, index, near, image, around = self._chosen
        if image.is_sheared:  # no file can hold it
            return
        started = time.monotonic()
        translator = Translator(
            networks[FORWARD], self._recipe, self._device, earlier=self._earlier
        )
        prediction = f"{FOLDER}/epoch_{epoch + 1:04d}.nrrd"
        seen = near if BACKWARD in networks else range(index, index + 1)
        slices = translator.translate_stack(stack, seen)
        place = index - seen.start
        output = on_grid_of(image, slices[place : place + 1], self._recipe)
        write_image(output, self._folder / prediction)
        files = {"input": f"{FOLDER}/input.nrrd", "prediction": prediction}
        if not self._recipe.is_unpaired:
            files["target"] = f"{FOLDER}/target.nrrd"
        if BACKWARD in networks:
            translated = on_grid_of(around, slices, self._recipe)
            files |= self._cycled(networks[BACKWARD], translated, place, epoch)
        if self._every is None:
            self._drop_old()
        self._events.emit("preview", epoch=epoch, **files)
        now = time.monotonic()
        self._next = now + max(_SECONDS, (now - started) / _SHARE)

    @property
    def _every(self) -> int | None:
        return self._recipe.training.preview_every

    def _is_due(self, epoch: int) -> bool:
        if self._every is None:
            return time.monotonic() >= self._next
        return epoch == 0 or (epoch + 1) % self._every == 0

    @property
    def _plane(self) -> str:
        return PLANES[self._recipe.sampling.plane]

    def _choose(self) -> tuple[SliceStack | VolumeStack, int, range, Image, Image]:
        """Write input and target; returns a stack, the slice's place in it and it as stored.

        Between place and slice those of what the way back must see to make the slice again; at the
        end they as stored. A network that sees slices needs no more of the volume than this one
        and its neighbours.
        """
        contents = self._validation.contents
        case, stored = self._validation.sources[int(np.argmax(contents))]
        whole = case.read_image()
        stack: SliceStack | VolumeStack
        if self._recipe.is_volumetric:
            stack = volume_stack(whole, self._recipe)
            index = stack.slices.index(stored)
        else:
            stack = slice_stack(whole, self._recipe)
            index = stack.index(stored)
        image = _one_slice(whole, index, self._plane)
        if not image.is_sheared:
            (self._folder / FOLDER).mkdir(exist_ok=True)
            write_image(image, self._folder / FOLDER / "input.nrrd")
            if not self._recipe.is_unpaired:
                target = self._target(case, index).oriented(image.orientation)
                write_image(target, self._folder / FOLDER / "target.nrrd")
        if isinstance(stack, VolumeStack):
            near = self._near(stack, index)
            return stack, index, near, image, _slices(whole, near, self._plane)
        return stack.alone(index), 0, range(1), image, image

    def _near(self, stack: VolumeStack, index: int) -> range:
        """A patch's depth of slices on both sides of a slice."""
        assert self._recipe.sampling.patch is not None
        count = len(stack.slices)
        reach = math.ceil(self._recipe.sampling.patch[0] * count / stack.depth)
        return range(max(0, index - reach), min(count, index + reach + 1))

    def _target(self, case: Case, index: int) -> Image:
        target = _one_slice(read_target(case, self._recipe), index, self._plane)
        if self._recipe.target.kind == "volume":
            return target
        channels = channels_of_values(target.voxels, self._recipe)
        return target.with_voxels(values_of_channels(channels, self._recipe))

    def _cycled(self, back: nn.Module, translated: Image, place: int, epoch: int) -> dict[str, str]:
        """Write what the way back makes of a translated slice; its file, by the event's field."""
        recipe = in_direction(self._recipe, BACKWARD)
        whole = Translator(back, recipe, self._device).translate(translated)
        again = _one_slice(whole, place, self._plane)
        name = f"{FOLDER}/cycled_{epoch + 1:04d}.nrrd"
        write_image(again, self._folder / name)
        return {"cycled": name}

    def _drop_old(self) -> None:
        for kind in ("epoch", "cycled"):
            names = sorted((self._folder / FOLDER).glob(f"{kind}_*.nrrd"), key=_epoch_of)
            for path in names[:-KEPT]:
                path.unlink(missing_ok=True)


def _one_slice(image: Image, index: int, plane: str) -> Image:
    """A slice of an image's upright stack, as the image stores it, copied out of it."""
    return _slices(image, range(index, index + 1), plane)


def _slices(image: Image, indices: range, plane: str) -> Image:
    upright = image.oriented(plane)
    columns, rows, _ = upright.shape[::-1]
    first, end = indices.start, indices.stop
    piece = upright.cropped((0, 0, first), (columns, rows, end)).oriented(image.orientation)
    return piece.with_voxels(piece.voxels.copy())


def _epoch_of(path: Path) -> int:
    number = path.stem.rpartition("_")[2]
    return int(number) if number.isdigit() else 0
