"""Whether volumes are large enough for the patches that a 3D network sees."""

from __future__ import annotations

from collections.abc import Iterator

from DeepTranslateLib.cohort.fault import Fault
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import PLANES, Recipe
from DeepTranslateLib.recipe.methods import least_patch


def check_patch(subject: str, image: Image, recipe: Recipe) -> Iterator[Fault]:
    """Warn where more than half of every patch along an axis would be padding.

    Args:
        subject: Whose image it is.
        image: As it is stored.
        recipe: Says the patch, and the spacings where they are numbers.
    """
    patch = recipe.sampling.patch
    if patch is None:
        return
    upright = image.oriented(PLANES[recipe.sampling.plane])
    preprocessing, least = recipe.preprocessing, least_patch(recipe)
    wanted = (preprocessing.slice_spacing, preprocessing.spacing, preprocessing.spacing)
    for what, length, whole, own, spacing in zip(
        ("slices", "rows", "columns"),
        patch,
        upright.shape,
        reversed(upright.spacing),
        wanted,
        strict=True,
    ):
        size = round(whole * own / spacing) if isinstance(spacing, float) else whole
        if length > 2 * size:
            yield Fault(
                subject,
                "smaller_than_half_a_patch",
                "warning",
                f"The image has {size} {what} at the network's spacing, a patch {length}: more "
                "than half of it is air.",
                f"Give sampling.patch fewer {what}."
                if length > least
                else f"This recipe's discriminator needs patches of {least} voxels: take a recipe "
                "of slices, or leave the image out.",
            )
