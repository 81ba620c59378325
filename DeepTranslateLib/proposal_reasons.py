"""Choices of a proposed recipe with their reasons, and what a recipe to begin with keeps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.schema import to_json

T = TypeVar("T")


@dataclass(frozen=True)
class Reason:
    """Why a field of the proposed recipe is as it is.

    Attributes:
        field: Such as "preprocessing.window".
        value: As in the recipe's JSON.
        reason: A sentence that begins with what was measured.
    """

    field: str
    value: Any
    reason: str


class Reasons:
    """Collects choices; fields that are kept stay what they are.

    Of a recipe that is configured from a cohort, what differs from the defaults is kept.

    Args:
        base: The recipe to begin with, or None.
        fixed: Fields, or parts such as "network", that stay as they are in the base.

    Attributes:
        all: Of the choices so far, in their order.
    """

    def __init__(self, base: Recipe | None, fixed: Collection[str] = ()) -> None:
        self._fixed = tuple(fixed)
        self._base = base
        self._plain = None if base is None else Recipe(base.name, base.target)
        self.all: list[Reason] = []

    def keeps(self, field: str) -> bool:
        """Whether a field stays what it is in the recipe to begin with."""
        if self._base is None or self._plain is None:
            return False
        if any(field == name or field.startswith(f"{name}.") for name in self._fixed):
            return True
        return not self._base.is_configured and _at(self._base, field) != _at(self._plain, field)

    def choose(self, field: str, value: T, reason: str) -> T:
        """Add a choice and its reason; returns the value that counts."""
        if self.keeps(field):
            value, reason = _at(self._base, field), "Given; nothing was measured for it."
        self.add(field, value, reason)
        return value

    def add(self, field: str, value: Any, reason: str) -> None:
        """Add the reason of a choice that is made in any case."""
        self.all.append(Reason(field, to_json(value), reason))


def _at(recipe: Any, field: str) -> Any:
    for name in field.split("."):
        recipe = getattr(recipe, name)
    return recipe
