"""How intensities without a unit become comparable: what a recipe may ask for."""

from __future__ import annotations

import itertools

from DeepTranslateLib.recipe.error import RecipeError

STANDARDISATIONS = ("none", "median", "percentiles", "histogram")
MASKS = ("none", "body", "brain")
# Percentiles of the foreground that become 0 and 1, and the deciles between them that standard
# landmarks are learnt for (Nyul, Udupa & Zhang 2000).
ENDS = (1.0, 99.0)
LEVELS = (1.0, *(10.0 * decile for decile in range(1, 10)), 99.0)


def check_standardisation(
    standardisation: str, landmarks: tuple[float, ...] | None, units: str, path: str
) -> None:
    """Refuse to standardise HU, and landmarks that are none.

    Args:
        standardisation: One of `STANDARDISATIONS`.
        landmarks: Where the `LEVELS` of a foreground go on the standard scale; None: to be learnt.
        units: Of the intensities.
        path: Of the part that holds both fields.
    """
    if standardisation != "none" and units == "HU":
        raise RecipeError(
            f"{path}.standardisation",
            "HU mean the same on every scanner; use 'none' and a window or range.",
        )
    if landmarks is None:
        return
    if standardisation != "histogram":
        raise RecipeError(
            f"{path}.landmarks", "only the standardisation 'histogram' has landmarks."
        )
    if len(landmarks) != len(LEVELS):
        raise RecipeError(
            f"{path}.landmarks",
            f"expected {len(LEVELS)} values, for the percentiles "
            f"{', '.join(f'{level:g}' for level in LEVELS)}, found {len(landmarks)}.",
        )
    if any(after <= before for before, after in itertools.pairwise(landmarks)):
        raise RecipeError(f"{path}.landmarks", "expected each value above the one before.")
