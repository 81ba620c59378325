"""Weights of all stages of auto-context in one set: those of further stages have a prefix.

Stages are counted from 1; the weights of the first keep their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.recipe import Recipe

T = TypeVar("T")


def stages_of(recipe: Recipe) -> int:
    """How many stages a recipe has, 1 or more."""
    return 1 + recipe.method.auto_context


def joined_stages(stages: Sequence[Mapping[str, T]]) -> dict[str, T]:
    """One set of what belongs to the stages, the first stage first."""
    return {
        f"{_prefix(number)}{name}": value
        for number, values in enumerate(stages, start=1)
        for name, value in values.items()
    }


def of_stage(values: Mapping[str, T], number: int) -> dict[str, T]:
    """The part of a set that `joined_stages` made; stages are counted from 1."""
    if number == 1:
        return {name: value for name, value in values.items() if not name.startswith("stage ")}
    prefix = _prefix(number)
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }


def split_stages(values: Mapping[str, T], recipe: Recipe) -> list[dict[str, T]]:
    """The parts of a set that `joined_stages` made, the first stage first."""
    return [of_stage(values, number) for number in range(1, stages_of(recipe) + 1)]


def stage_networks(
    stages: Sequence[Mapping[str, Tensor]], recipe: Recipe, device: torch.device
) -> list[nn.Module]:
    """The networks of some stages, the first stage first.

    Args:
        stages: Their weights.
        recipe: What they were trained by.
        device: Where to compute.

    Raises:
        RuntimeError: The weights do not fit.
    """
    networks = []
    for number, weights in enumerate(stages, start=1):
        network = build_network(recipe, earlier=channels_before(number))
        network.load_state_dict(weights)
        networks.append(place(network, recipe, device))
    return networks


def channels_before(number: int) -> int:
    """Channels that a stage, from 1, has of the one before it."""
    return 0 if number == 1 else 1


def _prefix(number: int) -> str:
    return "" if number == 1 else f"stage {number}/"
