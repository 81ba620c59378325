"""Weights of both directions of a translation in one set: those of the way back have a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from DeepTranslateLib.recipe import BACKWARD, FORWARD

T = TypeVar("T")
_PREFIX = f"{BACKWARD}/"


def joined(by_direction: Mapping[str, Mapping[str, T]]) -> dict[str, T]:
    """One set of what belongs to the directions; that of the way there keeps its names."""
    return {
        (name if direction == FORWARD else f"{_PREFIX}{name}"): value
        for direction, values in by_direction.items()
        for name, value in values.items()
    }


def of_direction(values: Mapping[str, T], direction: str) -> dict[str, T]:
    """The part of a set that `joined` made; empty where it has no such direction."""
    if direction == FORWARD:
        return {name: value for name, value in values.items() if not name.startswith(_PREFIX)}
    return {
        name.removeprefix(_PREFIX): value
        for name, value in values.items()
        if name.startswith(_PREFIX)
    }
