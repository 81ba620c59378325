"""Noise of images: on a part of the pixels, of counts, of MR magnitudes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from DeepTranslateLib.engine.augmentation.chance import log_uniform, own_random, torch_seed
from DeepTranslateLib.engine.augmentation.effect import Effect
from DeepTranslateLib.recipe import Augmentation


@dataclass(frozen=True)
class Poisson:
    """Counted quanta: the variance is in proportion to the value, and air has none.

    Attributes:
        counts: Mean count of a pixel at the window's end.
        seed: Of the noise.
    """

    counts: float
    seed: int

    def __call__(self, image: Tensor) -> Tensor:
        """Count, at most up to 1."""
        generator = torch.Generator(device=image.device).manual_seed(self.seed)
        counted = torch.poisson(image.clamp(0, 1) * self.counts, generator=generator)
        return (counted / self.counts).clamp(0, 1)


@dataclass(frozen=True)
class Rician:
    """Magnitude of a complex signal with Gaussian noise (Gudbjartsson & Patz 1995).

    Air is no longer 0 but follows Rayleigh's distribution, as it does in MR images.

    Attributes:
        sd: Of the real and of the imaginary part, as a part of the window.
        seed: Of the noise.
    """

    sd: float
    seed: int

    def __call__(self, image: Tensor) -> Tensor:
        """Take the magnitude, at most up to 1."""
        generator = torch.Generator(device=image.device).manual_seed(self.seed)
        parts = torch.randn((2, *image.shape), generator=generator, device=image.device) * self.sd
        return torch.hypot(image + parts[0], parts[1]).clamp(0, 1)


def add_pixel_noise(image: Tensor, fraction: float, sd: float, seed: int) -> None:
    """Add Gaussian noise to a random part of the pixels of an image (C, ...), in place."""
    if sd == 0 or fraction == 0:
        return
    generator = torch.Generator(device=image.device).manual_seed(seed)
    chosen = torch.rand(image.shape, generator=generator, device=image.device)
    noise = torch.randn(image.shape, generator=generator, device=image.device)
    image += noise * sd * (chosen < fraction)


def sample(augmentation: Augmentation, seed: int) -> list[Effect]:
    """Draw those that take part."""
    effects: list[Effect] = []
    if random := own_random(augmentation, "poisson", seed):
        counts = log_uniform(random, augmentation.poisson_counts)
        effects.append(Poisson(counts, torch_seed(random)))
    if random := own_random(augmentation, "rician", seed):
        sd = float(random.uniform(0, augmentation.rician_sd))
        effects.append(Rician(sd, torch_seed(random)))
    return effects
