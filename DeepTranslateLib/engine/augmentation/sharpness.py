"""How sharply an image is seen: blur and low resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.augmentation.chance import log_uniform, own_random
from DeepTranslateLib.engine.augmentation.effect import Effect
from DeepTranslateLib.recipe import Augmentation

_LINEAR = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Blur:
    """Convolution with a Gaussian; air lies around the image.

    Attributes:
        sd: Of the Gaussian, in pixels; it is cut off at four of them.
        thickness: Distance of slices, in pixels.
    """

    sd: float
    thickness: float = 1.0

    def __call__(self, image: Tensor) -> Tensor:
        """Blur along each axis."""
        for axis in range(1, image.dim()):
            sd = self.sd / self.thickness if axis == image.dim() - 3 else self.sd
            reach = math.ceil(4 * sd)
            if reach == 0:
                continue
            places = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
            kernel = torch.exp(-((places / sd) ** 2) / 2)
            kernel = (kernel / kernel.sum())[None, None]
            lines = image.movedim(axis, -1)
            flat = F.conv1d(lines.reshape(-1, 1, lines.shape[-1]), kernel, padding=reach)
            image = flat.reshape(lines.shape).movedim(-1, axis)
        return image


@dataclass(frozen=True)
class LowResolution:
    """Averages over larger pixels, with straight lines between them.

    Attributes:
        factor: How many times larger, along each axis; slices that are thicker still stay.
        thickness: Distance of slices, in pixels.
    """

    factor: float
    thickness: float = 1.0

    def __call__(self, image: Tensor) -> Tensor:
        """Average, and go back to the size."""
        size = list(image.shape[1:])
        factors = [max(1.0, self.factor / self.thickness), self.factor, self.factor][-len(size) :]
        coarse = [
            max(1, round(length / factor)) for length, factor in zip(size, factors, strict=True)
        ]
        averages = F.interpolate(image[None], size=coarse, mode="area")
        return F.interpolate(averages, size=size, mode=_LINEAR[len(size)])[0]


def sample(augmentation: Augmentation, seed: int, thickness: float = 1.0) -> list[Effect]:
    """Draw those that take part.

    Args:
        augmentation: Probabilities and ranges.
        seed: Of the change.
        thickness: Distance of slices, in pixels.
    """
    effects: list[Effect] = []
    if random := own_random(augmentation, "blur", seed):
        effects.append(Blur(float(random.uniform(*augmentation.blur)), thickness))
    if random := own_random(augmentation, "low_resolution", seed):
        factor = log_uniform(random, augmentation.low_resolution)
        effects.append(LowResolution(factor, thickness))
    return effects
