"""A trained network applied to whole volumes, by slices or patches, back on the input's grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from DeepTranslateLib.engine.device import (
    autocast,
    batch_that_fits,
    full_precision,
    without_denormals,
)
from DeepTranslateLib.engine.directions import of_direction
from DeepTranslateLib.engine.memory import refuse_above, resident_memory
from DeepTranslateLib.engine.mirroring import mirrored_mean
from DeepTranslateLib.engine.outputs import (
    channels_of,
    empty_output,
    finished,
    fused,
    on_grid_of,
    shares,
    values,
)
from DeepTranslateLib.engine.planes import PlaneFusion
from DeepTranslateLib.engine.preprocessing import SliceStack, slice_stack
from DeepTranslateLib.engine.stages import split_stages, stage_networks
from DeepTranslateLib.engine.stitching import Stitcher
from DeepTranslateLib.engine.volumestack import VolumeStack, volume_stack
from DeepTranslateLib.engine.volumetranslation import VolumeTranslation, windows_of
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.finite import refuse_not_finite
from DeepTranslateLib.model import Model, ModelError
from DeepTranslateLib.recipe import Recipe

__all__ = ["Progress", "Translator", "channels_of"]

Progress = Callable[[int, int], None]


class Translator:
    """Turns volumes into label maps or volumes, by slices or by patches as its recipe says.

    Args:
        network: Takes (B, C, *S) and returns a list with the output first; S is (H, W), or a patch.
        recipe: The recipe it was trained with, its spacing resolved.
        device: Where the network is.
        memory_limit: Bytes that the process may hold, this input and its output among them. Slices
            are translated one by one and need little; the slab that patches are added up in is
            divided where it is too large. None: as much as a quarter of the machine's for it.
        earlier: Networks of the stages before, the first stage first, of a recipe that has stages.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        device: torch.device,
        memory_limit: int | None = None,
        earlier: Sequence[nn.Module] = (),
    ) -> None:
        self._network = network.eval()
        self._earlier = [each.eval() for each in earlier]
        self._device = device
        self._memory_limit = memory_limit
        self.recipe = recipe

    @classmethod
    def from_model(
        cls,
        model: Model,
        device: torch.device,
        memory_limit: int | None = None,
        direction: str | None = None,
    ) -> Translator:
        """Load a model's weights onto a device.

        Args:
            model: What translates.
            device: Where it computes.
            memory_limit: As of the class.
            direction: FORWARD, or BACKWARD where the model has both; None: that of the model.

        Raises:
            ModelError: The weights are damaged or do not fit the model's own recipe, or it has no
                such direction.
        """
        model = model.in_direction(direction or model.direction)
        recipe = model.recipe
        try:
            weights = of_direction(load(model.weights()), model.direction)
            return cls.of_weights(weights, recipe, device, memory_limit)
        except (SafetensorError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"The weights in {model.path} do not fit its recipe ({error}). The file was "
                "damaged or put together by hand; get it again from where it came from."
            ) from error

    @classmethod
    def of_weights(
        cls,
        weights: Mapping[str, Tensor],
        recipe: Recipe,
        device: torch.device,
        memory_limit: int | None = None,
    ) -> Translator:
        """A translator of one direction's weights, of all stages.

        Raises:
            RuntimeError: They do not fit the recipe.
        """
        *earlier, last = stage_networks(split_stages(weights, recipe), recipe, device)
        return cls(last, recipe, device, memory_limit, earlier)

    def translate(self, image: Image, progress: Progress | None = None) -> Image:
        """Translate a volume.

        Args:
            image: The input, in the units of the recipe.
            progress: Called with the number of slices, or of windows of patches, done and of all.

        Returns:
            On the input's grid: a uint8 label map with the recipe's values, or a float32 volume
            in the recipe's units. What the body crop left out is background, or the lowest value.

        Raises:
            ImageError: Voxels are no numbers, or the recipe cannot prepare the intensities.
            MemoryLimitError: The memory limit is too low for this volume.
        """
        output = self._upright(image, self._stack(image), None, progress)
        return on_grid_of(image, output, self.recipe)

    def translate_slices(
        self, image: Image, slices: Sequence[int] | None
    ) -> tuple[list[int], np.ndarray]:
        """Translate some slices of a volume.

        Args:
            image: The input, whole.
            slices: Stored indices along the recipe's plane, as in `Case.slices`. None: all.

        Returns:
            Their places in the upright volume, and (slices, rows, columns) of it: values as of
            `translate`.
        """
        stack = self._stack(image)
        whole = stack.slices if isinstance(stack, VolumeStack) else stack
        stored = range(len(whole)) if slices is None else slices
        indices = [whole.index(each) for each in stored]
        return indices, self._upright(image, stack, indices, None)

    def translate_stack(
        self,
        stack: SliceStack | VolumeStack,
        indices: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Translate slices of a stack, as slices of its plane alone see them.

        Args:
            stack: Made with the translator's recipe.
            indices: Places in the stack; default: all.
            progress: As for `translate`.

        Returns:
            (slices, rows, columns) whole slices, values as of `translate`.
        """
        whole = stack.slices if isinstance(stack, VolumeStack) else stack
        chosen = range(len(whole)) if indices is None else indices
        tell = progress if progress is not None else lambda done, total: None
        if isinstance(stack, VolumeStack):
            return self._translate_volume(stack, chosen, tell)
        if self._memory_limit is not None:
            refuse_above(self._memory_limit, resident_memory() + self._bytes(len(chosen), stack))
        output = empty_output(self.recipe, (len(chosen), *stack.shape[1:]))
        places = iter(output)
        done = 0
        for some, pieces in self._slices(stack, chosen, partial(finished, self.recipe)):
            for index, piece in zip(some, values(self.recipe, pieces), strict=True):
                stack.paste(piece, index, next(places))
            done += len(some)
            tell(done, len(chosen))
        return output

    def translate_prepared(self, volume: Tensor) -> Tensor:
        """What the network makes of the patches of a prepared volume, stitched.

        Args:
            volume: (C, D, H, W) fp32, 0 to 1, with what the stage before made of it, if there is
                one; the translator's own earlier stages are left aside.

        Returns:
            (K, D, H, W) fp32, as the network writes it.
        """
        depth, height, width = volume.shape[1:]
        batch = batch_that_fits(self.recipe, self.recipe.sampling.patch or (), self._device)
        stitcher = Stitcher(
            windows_of(self.recipe, (depth, height, width)),
            partial(self._predicted, self._network),
            self.recipe.output_channels,
            batch,
        )
        slices = stitcher.slices(
            lambda first, last: volume[:, first:last], range(depth), (0, height)
        )
        return torch.stack([values.clone() for _, values in slices], dim=1)

    def _upright(
        self,
        image: Image,
        stack: SliceStack | VolumeStack,
        indices: Sequence[int] | None,
        progress: Progress | None,
    ) -> np.ndarray:
        """Slices of a volume's stack, as of `translate`."""
        if isinstance(stack, VolumeStack) or not self.recipe.sampling.fusion:
            return self.translate_stack(stack, indices, progress)
        chosen = range(len(stack)) if indices is None else indices
        fusion = PlaneFusion(
            image,
            self.recipe,
            lambda each, some: self._slices(each, some, partial(shares, self.recipe)),
            self._memory_limit,
            reserved=self._bytes(len(chosen), stack),
        )
        output = empty_output(self.recipe, (len(chosen), *stack.shape[1:]))
        tell = progress if progress is not None else lambda done, total: None
        for whole, (_, mean) in zip(output, fusion.slices(stack, chosen, tell), strict=True):
            if stack.undo is not None:
                whole[...] = mean[0]
            else:
                whole[...] = values(self.recipe, fused(self.recipe, mean[None]))[0]
        return output

    def _stack(self, image: Image) -> SliceStack | VolumeStack:
        refuse_not_finite(image, "the image")
        if self.recipe.is_volumetric:
            return volume_stack(image, self.recipe)
        return slice_stack(image, self.recipe)

    def _translate_volume(
        self, stack: VolumeStack, indices: Sequence[int], progress: Progress
    ) -> np.ndarray:
        wanted = sorted(set(indices))
        assert self.recipe.sampling.patch is not None
        translation = VolumeTranslation(
            stack,
            self.recipe,
            [partial(self._predicted, network) for network in (*self._earlier, self._network)],
            batch_that_fits(self.recipe, self.recipe.sampling.patch, self._device),
            self._memory_limit,
            reserved=self._bytes(len(indices), stack.slices),
        )
        output = empty_output(self.recipe, (len(wanted), *stack.slices.shape[1:]))
        places = {index: place for place, index in enumerate(wanted)}
        for index, rows, outputs in translation.pieces(wanted, progress):
            piece = values(self.recipe, finished(self.recipe, outputs[None]))[0]
            stack.slices.paste(piece, index, output[places[index]], rows)
        if list(indices) == wanted:
            return output
        return output[[places[index] for index in indices]]

    def _bytes(self, count: int, stack: SliceStack) -> int:
        """Of what `empty_output` gives."""
        itemsize = 1 if self.recipe.target.kind == "labels" else 4
        return count * math.prod(stack.shape[1:]) * itemsize

    def _slices(
        self, stack: SliceStack, indices: Sequence[int], finish: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        """Translate slices of a stack, as many at a time as fit into memory.

        Yields:
            The indices, and on the CPU what `finish` makes of their outputs (N, C, rows, columns)
            at the pixel size of the crop.
        """
        batch = batch_that_fits(self.recipe, stack.size, self._device)
        start = 0
        while start < len(indices):
            chosen = indices[start : start + batch]
            try:
                result = self._translated(stack, chosen, finish)
            except torch.OutOfMemoryError:
                if batch == 1:
                    raise
                batch //= 2
                torch.cuda.empty_cache()
                continue
            yield chosen, result
            start += len(chosen)

    @without_denormals()
    @torch.inference_mode()
    def _translated(
        self, stack: SliceStack, indices: Sequence[int], finish: Callable[[Tensor], Tensor]
    ) -> Tensor:
        return finish(stack.restore(self._output(stack.images(indices), self._network))).cpu()

    @without_denormals()
    @torch.inference_mode()
    def _predicted(self, network: nn.Module, windows: Tensor) -> Tensor:
        return self._output(windows, network).cpu()

    def _output(self, images: Tensor, network: nn.Module) -> Tensor:
        """What a network makes of images and their mirrored copies, fp32, on its device."""
        images = images.to(self._device)
        # Half precision has 8 bits (bf16): enough to choose a label, and steps of 16 HU of 4000.
        exact = self.recipe.target.kind == "volume"
        with full_precision() if exact else autocast(self._device):
            return mirrored_mean(lambda copies: network(copies)[0].float(), images, self.recipe)
