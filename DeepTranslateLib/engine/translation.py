"""A trained network applied to whole volumes, slice by slice, back on the input's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from DeepTranslateLib.engine.device import autocast, batch_that_fits, place, without_denormals
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.preprocessing import SliceStack, slice_stack
from DeepTranslateLib.image import Image
from DeepTranslateLib.model import Model, ModelError
from DeepTranslateLib.recipe import PLANES, Recipe

Progress = Callable[[int, int], None]


class Translator:
    """Turns volumes into label maps or volumes.

    Args:
        network: Takes (B, C, H, W) and returns a list with the output first.
        recipe: The recipe it was trained with, its spacing resolved.
        device: Where the network is.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device) -> None:
        self._network = network.eval()
        self._device = device
        self.recipe = recipe

    @classmethod
    def from_model(cls, model: Model, device: torch.device) -> Translator:
        """Load a model's weights onto a device.

        Raises:
            ModelError: The weights are damaged or do not fit the model's own recipe.
        """
        network = build_network(model.recipe)
        try:
            network.load_state_dict(load(model.weights()))
        except (SafetensorError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"The weights in {model.path} do not fit its recipe ({error}). The file was "
                "damaged or put together by hand; get it again from where it came from."
            ) from error
        return cls(place(network, model.recipe, device), model.recipe, device)

    def translate(self, image: Image, progress: Progress | None = None) -> Image:
        """Translate a volume.

        Args:
            image: The input, in the units of the recipe.
            progress: Called with the number of slices done and of all slices.

        Returns:
            On the input's grid: a uint8 label map with the recipe's values, or a float32 volume
            in the recipe's units. What the body crop left out is background, or the lowest value.
        """
        output = self.translate_stack(slice_stack(image, self.recipe), progress)
        upright = image.oriented(PLANES[self.recipe.sampling.plane]).with_voxels(output)
        return image.with_voxels(upright.oriented(image.orientation).voxels)

    def translate_stack(self, stack: SliceStack, progress: Progress | None = None) -> np.ndarray:
        """Translate whole slices: values as of `translate`, (slices, rows, columns) of the stack.

        Args:
            stack: Made with the translator's recipe.
            progress: As for `translate`.
        """
        target = self.recipe.target
        if target.kind == "labels":
            values = np.array([0, *(label.value for label in target.labels)], dtype=np.uint8)
            output = np.zeros(stack.shape, dtype=np.uint8)
        else:
            assert target.range is not None
            output = np.full(stack.shape, target.range[0], dtype=np.float32)
        done = 0
        for indices, slices in self.slices(stack, range(len(stack))):
            pieces = slices.numpy()
            if target.kind == "labels":
                pieces = values[pieces]
            for index, piece in zip(indices, pieces, strict=True):
                stack.paste(piece, index, output[index])
            done += len(indices)
            if progress is not None:
                progress(done, len(stack))
        return output

    def slices(
        self, stack: SliceStack, indices: Sequence[int]
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        """Translate slices of a stack, as many at a time as fit into memory.

        Yields:
            The indices, and for them (N, rows, columns) of the stack's crop on the CPU: channels
            (uint8, 0 is no label) or values (fp32) in the target's units.
        """
        batch = batch_that_fits(self.recipe, stack.size, self._device)
        start = 0
        while start < len(indices):
            chosen = indices[start : start + batch]
            try:
                result = self._translate_slices(stack, chosen)
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
    def _translate_slices(self, stack: SliceStack, indices: Sequence[int]) -> Tensor:
        images = stack.images(indices).to(self._device)
        with autocast(self._device):
            output = self._network(images)[0]
        output = stack.restore(output.float())
        target = self.recipe.target
        if target.kind == "labels":
            return channels_of(output).cpu()
        assert target.range is not None
        low, high = target.range
        return (output[:, 0] * (high - low) + low).cpu()


def channels_of(logits: Tensor) -> Tensor:
    """The likeliest label of each pixel where its probability is above a half, else none.

    Args:
        logits: (N, labels, H, W).

    Returns:
        (N, H, W) uint8: 0 none, n the nth label.
    """
    best, channel = logits.max(dim=1)
    return torch.where(best > 0, channel + 1, 0).to(torch.uint8)
