"""What turns slices into features for KID and FID. Nothing is downloaded.

A distance of features means something only with the name of what made them, so each extractor
has one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeepTranslateLib.engine.features import feature_network
from DeepTranslateLib.engine.metrics.images import MetricError
from DeepTranslateLib.engine.preprocessing import slice_stack
from DeepTranslateLib.image import Image
from DeepTranslateLib.model import read_model
from DeepTranslateLib.recipe import PLANES

_CHANNELS = (16, 32, 64)
_AT_ONCE = 8


class Extractor(Protocol):
    """Features of the slices of a volume."""

    @property
    def name(self) -> str:
        """Belongs to every distance of these features."""

    @property
    def plane(self) -> str:
        """Of the slices: axial, coronal or sagittal."""

    def features(self, image: Image) -> npt.NDArray[np.float64]:
        """One row a slice, in the order of the plane: (slices, length)."""
        ...


class RandomConvolutions(nn.Module):
    """A small network whose weights are drawn from a seed and never learn.

    Three convolutions of 3 x 3 with stride 2 (16, 32, 64 channels; reflected borders) with ReLU,
    weights of He et al. 2015 and biases of SD 0.5, both from numpy's PCG64. The features are mean
    and SD of each channel over the image, 224 in all: how often there are which intensities,
    edges and textures, at three scales. Random networks tell distributions apart where features
    of photographs do not fit the images (Naeem et al. 2020).

    Args:
        seed: Of the weights.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = np.random.Generator(np.random.PCG64(seed))
        self.name = f"random convolutions, seed {seed}"
        self.layers = nn.ModuleList()
        before = 1
        for channels in _CHANNELS:
            # Initialising it would take numbers from the generator that a training uses.
            layer = nn.utils.skip_init(nn.Conv2d, before, channels, 3, stride=2)
            weights = (
                generator.standard_normal((channels, before, 3, 3)) * math.sqrt(2 / before) / 3
            )
            biases = generator.standard_normal(channels) / 2
            layer.weight.data = torch.from_numpy(weights.astype(np.float32))
            layer.bias.data = torch.from_numpy(biases.astype(np.float32))
            self.layers.append(layer)
            before = channels
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 224) of images (B, 1, H, W) in 0..1, of any size from 1 pixel on."""
        found, values = [], images.float()
        for layer in self.layers:
            mode = "reflect" if min(values.shape[2:]) > 1 else "replicate"
            values = F.relu(layer(F.pad(values, (1, 1, 1, 1), mode=mode)))
            flat = values.flatten(2)
            found += [flat.mean(2), flat.std(2, correction=0)]
        return torch.cat(found, dim=1)


class SliceExtractor:
    """Features of slices at one pixel size and window, by any network.

    Args:
        network: Takes images (B, 1, H, W) fp32 in 0..1 and gives features (B, length), or
            (B, length, *S), whose mean over S is taken.
        name: Of the network, for reports.
        value_range: Mapped to 0..1; what lies outside is clipped.
        pixel_mm: Slices with other pixels are resized to it, averaging where they are smaller;
            None: every slice as it is.
        plane: Of the slices: axial, coronal or sagittal.
        device: Where the network is.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        name: str,
        value_range: tuple[float, float],
        pixel_mm: float | None = None,
        plane: str = "axial",
        device: torch.device | str = "cpu",
    ) -> None:
        self._network = network
        self._low, self._high = value_range
        self._pixel_mm = pixel_mm
        self._device = device
        self.name = name
        self.plane = plane

    @torch.inference_mode()
    def features(self, image: Image) -> npt.NDArray[np.float64]:
        """One row a slice, in the order of the plane: (slices, length)."""
        upright = image.oriented(PLANES[self.plane])
        size = _size(upright, self._pixel_mm)
        found = []
        for chosen in _chunks(len(upright.voxels)):
            slices = torch.from_numpy(upright.voxels[chosen].astype(np.float32))[:, None]
            slices = ((slices - self._low) / (self._high - self._low)).clamp_(0, 1)
            if tuple(slices.shape[2:]) != size:
                slices = F.interpolate(slices, size=size, mode="bilinear", antialias=True)
            found.append(_pooled(self._network(slices.to(self._device))))
        return np.concatenate(found)


def random_extractor(
    value_range: tuple[float, float],
    pixel_mm: float | None = None,
    plane: str = "axial",
    seed: int = 0,
) -> SliceExtractor:
    """Features of `RandomConvolutions`; arguments as of these and of `SliceExtractor`."""
    network = RandomConvolutions(seed)
    return SliceExtractor(network, network.name, value_range, pixel_mm, plane)


class ModelExtractor:
    """Features of the encoder of a model, of slices prepared as its recipe says.

    Its name is that of network, level and file, with the first digits of the file's SHA-256.

    Args:
        path: A .dtmodel of slices, with an encoder and one input.
        device: Where it computes.
        level: Of the encoder, 0 being the full resolution; default: the coarsest.

    Raises:
        MetricError: The model is of patches.
        ModelError: It is damaged.
        PretrainedError: It has no such encoder or level.
    """

    def __init__(
        self, path: str | Path, device: torch.device | str = "cpu", level: int | None = None
    ) -> None:
        self._device = torch.device(device)
        self._recipe = read_model(path).recipe
        if self._recipe.is_volumetric:
            raise MetricError(
                f"The model {path} sees patches of volumes, and features are of slices. Give a "
                "model of slices."
            )
        level = self._recipe.network.levels - 1 if level is None else level
        self._network = feature_network(path, None, level, self._device)
        self.name = self._network.description
        self.plane = self._recipe.sampling.plane

    @torch.inference_mode()
    def features(self, image: Image) -> npt.NDArray[np.float64]:
        """One row a slice, in the order of the plane: (slices, channels of the level)."""
        stack = slice_stack(image, self._recipe)
        found = []
        for chosen in _chunks(len(stack)):
            images = stack.images(range(len(stack))[chosen])
            # The encoder is shown a slice as its own neighbour, as in perceptual losses.
            alone = images[:, stack.context : stack.context + 1]
            found.append(_pooled(self._network(alone.to(self._device))))
        return np.concatenate(found)


def _pooled(features: Tensor) -> npt.NDArray[np.float64]:
    means = features.flatten(2).mean(2) if features.ndim > 2 else features
    return means.double().cpu().numpy()


def _size(upright: Image, pixel_mm: float | None) -> tuple[int, int]:
    rows, columns = upright.voxels.shape[1:]
    if pixel_mm is None:
        return rows, columns
    column_mm, row_mm = (float(mm) for mm in upright.spacing[:2])
    return max(1, round(rows * row_mm / pixel_mm)), max(1, round(columns * column_mm / pixel_mm))


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, _AT_ONCE):
        yield slice(start, start + _AT_ONCE)
