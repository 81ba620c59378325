"""Which kinds of change take part, and the random numbers of each."""

from __future__ import annotations

import zlib

import numpy as np

from DeepTranslateLib.recipe import Augmentation


def own_random(augmentation: Augmentation, kind: str, seed: int) -> np.random.Generator | None:
    """The random numbers of one kind of change, or None where it does not take part.

    Each kind has numbers of its own, so that one more or less changes nothing about the others.

    Args:
        augmentation: Has a field `{kind}_probability`.
        kind: Such as "rotation".
        seed: Of the slice's change.
    """
    probability = getattr(augmentation, f"{kind}_probability")
    if probability == 0:
        return None
    place = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(kind.encode()),))
    random = np.random.default_rng(place)
    return random if random.random() < probability else None


def log_uniform(random: np.random.Generator, between: tuple[float, float]) -> float:
    """A positive number whose logarithm is uniform, for what counts in factors."""
    return float(np.exp(random.uniform(*np.log(between))))


def either_side_of_one(random: np.random.Generator, between: tuple[float, float]) -> float:
    """A factor that enlarges as often as it makes smaller, uniform on either side of 1."""
    low, high = between
    if low < 1 < high:
        low, high = (low, 1.0) if random.random() < 0.5 else (1.0, high)
    return float(random.uniform(low, high))


def torch_seed(random: np.random.Generator) -> int:
    """A seed for torch's generators."""
    return int(random.integers(2**62))
