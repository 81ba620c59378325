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
    """

    sd: float

    def __call__(self, image: Tensor) -> Tensor:
        """Blur along each axis."""
        reach = math.ceil(4 * self.sd)
        if reach == 0:
            return image
        places = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
        kernel = torch.exp(-((places / self.sd) ** 2) / 2)
        kernel = (kernel / kernel.sum())[None, None]
        for axis in range(1, image.dim()):
            lines = image.movedim(axis, -1)
            flat = F.conv1d(lines.reshape(-1, 1, lines.shape[-1]), kernel, padding=reach)
            image = flat.reshape(lines.shape).movedim(-1, axis)
        return image


@dataclass(frozen=True)
class LowResolution:
    """Averages over larger pixels, with straight lines between them.

    Attributes:
        factor: How many times larger, along each axis.
    """

    factor: float

    def __call__(self, image: Tensor) -> Tensor:
        """Average, and go back to the size."""
        size = list(image.shape[1:])
        coarse = [max(1, round(length / self.factor)) for length in size]
        averages = F.interpolate(image[None], size=coarse, mode="area")
        return F.interpolate(averages, size=size, mode=_LINEAR[len(size)])[0]


def sample(augmentation: Augmentation, seed: int) -> list[Effect]:
    """Draw those that take part."""
    effects: list[Effect] = []
    if random := own_random(augmentation, "blur", seed):
        effects.append(Blur(float(random.uniform(*augmentation.blur))))
    if random := own_random(augmentation, "low_resolution", seed):
        effects.append(LowResolution(log_uniform(random, augmentation.low_resolution)))
    return effects
