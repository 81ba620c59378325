"""How bright tissues are: bias field, brightness, contrast, gamma. Air stays 0."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from DeepTranslateLib.engine.augmentation.chance import either_side_of_one, log_uniform, own_random
from DeepTranslateLib.engine.augmentation.effect import Effect
from DeepTranslateLib.recipe import Augmentation

_DEGREE = 3


@dataclass(frozen=True)
class BiasField:
    """A smooth factor, as the coils of an MR scanner leave it.

    Its logarithm is a polynomial of third degree (Van Leemput et al. 1999,
    doi:10.1109/42.811268).

    Attributes:
        coefficients: Of the monomials, as many as `monomials` of the image's axes has.
        amplitude: Largest absolute value of the logarithm in the image.
    """

    coefficients: tuple[float, ...]
    amplitude: float

    def __call__(self, image: Tensor) -> Tensor:
        """Multiply by the field, at most up to 1."""
        axes = image.shape[1:]
        logarithm = torch.zeros(axes, device=image.device)
        for powers, coefficient in zip(monomials(len(axes)), self.coefficients, strict=True):
            term = torch.full((1,) * len(axes), coefficient, device=image.device)
            for axis, (length, power) in enumerate(zip(axes, powers, strict=True)):
                shape = [-1 if other == axis else 1 for other in range(len(axes))]
                line = torch.linspace(-1, 1, length, device=image.device)
                term = term * line.reshape(shape) ** power
            logarithm = logarithm + term
        largest = logarithm.abs().max().clamp(min=1e-12)
        return (image * torch.exp(logarithm * (self.amplitude / largest))).clamp(0, 1)


@dataclass(frozen=True)
class Brightness:
    """All values times a factor, at most up to 1."""

    factor: float

    def __call__(self, image: Tensor) -> Tensor:
        """Multiply."""
        return (image * self.factor).clamp(0, 1)


@dataclass(frozen=True)
class Contrast:
    """Distances from the mean of what is not air times a factor, between 0 and 1."""

    factor: float

    def __call__(self, image: Tensor) -> Tensor:
        """Stretch around the mean."""
        tissue = image > 0
        mean = (image * tissue).sum() / tissue.sum().clamp(min=1)
        return torch.where(tissue, mean + self.factor * (image - mean), image).clamp(0, 1)


@dataclass(frozen=True)
class Gamma:
    """Values to a power; 0 and 1 stay."""

    exponent: float

    def __call__(self, image: Tensor) -> Tensor:
        """Raise."""
        return image.clamp(0, 1) ** self.exponent


def monomials(axes: int) -> list[tuple[int, ...]]:
    """Powers of each axis in the monomials of degree 1 to 3."""
    powers = itertools.product(range(_DEGREE + 1), repeat=axes)
    return [each for each in powers if 1 <= sum(each) <= _DEGREE]


def sample(augmentation: Augmentation, seed: int, axes: int = 2) -> list[Effect]:
    """Draw those that take part.

    Args:
        augmentation: Probabilities and ranges.
        seed: Of the change.
        axes: Of the images.
    """
    effects: list[Effect] = []
    if random := own_random(augmentation, "bias_field", seed):
        coefficients = random.standard_normal(len(monomials(axes)))
        amplitude = float(random.uniform(0, augmentation.bias_field))
        effects.append(BiasField(tuple(map(float, coefficients)), amplitude))
    if random := own_random(augmentation, "brightness", seed):
        effects.append(Brightness(either_side_of_one(random, augmentation.brightness)))
    if random := own_random(augmentation, "contrast", seed):
        effects.append(Contrast(either_side_of_one(random, augmentation.contrast)))
    if random := own_random(augmentation, "gamma", seed):
        effects.append(Gamma(log_uniform(random, augmentation.gamma)))
    return effects
