"""What the tests of augmentation share: all kinds, one kind alone, confidence intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from engine_samples import STILL

from DeepTranslateLib.engine.augmentation import Change, sample_change
from DeepTranslateLib.recipe import Augmentation

SIZE = (512, 512)
# Standard errors; a correct program leaves them less than once in a million.
Z = 5
EFFECTS = (
    "bias_field",
    "brightness",
    "contrast",
    "gamma",
    "blur",
    "low_resolution",
    "poisson",
    "rician",
    "ring",
    "streak",
    "dropout",
)
NEW = ("scale", "elastic", *EFFECTS)


def only(kind: str, probability: float = 1.0, **ranges: Any) -> Augmentation:
    """One kind, with its probability."""
    return Augmentation(**{**STILL, f"{kind}_probability": probability, **ranges})


def everything(**ranges: Any) -> Augmentation:
    """All kinds at once."""
    return Augmentation(**{f"{kind}_probability": 1.0 for kind in NEW}, **ranges)


def changes(augmentation: Augmentation, count: int, size: tuple[int, int] = SIZE) -> list[Change]:
    rng = np.random.default_rng(11)
    return [sample_change(augmentation, size, rng) for _ in range(count)]


def effects(kind: str, count: int = 400, size: tuple[int, int] = SIZE, **ranges: Any) -> list[Any]:
    """As many draws of one kind of effect."""
    drawn = [change.effects for change in changes(only(kind, **ranges), count, size)]
    assert all(len(each) == 1 for each in drawn)
    return [each[0] for each in drawn]


def assert_even(values: list[float], low: float, high: float) -> None:
    """Values are uniform between two ends, by Kolmogorov and Smirnov's distance."""
    places = np.sort((np.array(values) - low) / (high - low))
    assert places[0] >= 0
    assert places[-1] <= 1
    steps = np.arange(len(places) + 1) / len(places)
    distance = max(np.abs(places - steps[1:]).max(), np.abs(places - steps[:-1]).max())
    # P(distance > d) is about 2 exp(-2 n d^2); one in a million.
    assert distance < math.sqrt(math.log(2e6) / 2 / len(places))


def assert_share(share: float, chance: float, count: int) -> None:
    assert abs(share - chance) <= Z * math.sqrt(chance * (1 - chance) / count) + 1e-12
