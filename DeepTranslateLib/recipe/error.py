"""RecipeError: a recipe holds something impossible."""

from __future__ import annotations

from DeepTranslateLib.schema import SchemaError


class RecipeError(SchemaError):
    """A recipe holds something impossible; the message begins with its JSON path."""


def increasing(values: tuple[float, float], path: str) -> None:
    """Refuse a range that is empty or upside down."""
    if not values[0] < values[1]:
        raise RecipeError(
            path, f"expected [lowest, highest], found [{values[0]:g}, {values[1]:g}]."
        )
