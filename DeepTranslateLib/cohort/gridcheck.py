"""Checks of what must lie on an image's grid: its target, and the mask of what counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.cohort.case import Case, stack_axis
from DeepTranslateLib.cohort.fault import Fault
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe


def grid_fault(
    subject: str, image: Image, other: Image, name: str, short_name: str
) -> Fault | None:
    """The fault of an image that does not have another's voxels; None where it has.

    Args:
        subject: Whose images they are.
        image: Whose grid is needed.
        other: Stored in the image's orientation.
        name: What the message calls the other image.
        short_name: What the advice calls it.
    """
    if other.shape != image.shape:
        return Fault(
            subject,
            "shape_mismatch",
            "error",
            f"The image has {_size(image)} voxels, the {name} {_size(other)}.",
            f"Check that they belong together, and resample the {short_name} onto the image's grid "
            "(nearest neighbour).",
        )
    if other.same_grid(image):
        return None
    return Fault(
        subject,
        "geometry_mismatch",
        "error",
        f"The image and the {name} have the same number of voxels and lie in "
        f"different places: {_difference(image, other)}.",
        f"Check that they belong together; then resample the {short_name} onto the image's grid "
        "(nearest neighbour), or copy the image's geometry if only the header is wrong.",
    )


def check_mask(case: Case, image: Image, mask: Image, recipe: Recipe) -> Iterator[Fault]:
    """Check that a mask lies on the image's grid and leaves something to learn from."""
    mask = mask.oriented(image.orientation)
    elsewhere = grid_fault(case.subject, image, mask, "mask", "mask")
    if elsewhere is not None:
        yield elsewhere
        return
    counted = np.moveaxis(mask.voxels != 0, stack_axis(image, recipe.sampling.plane), 0)
    chosen = range(len(counted)) if case.slices is None else case.slices
    if any(counted[index].any() for index in chosen if 0 <= index < len(counted)):
        return
    where = "on all slices that are listed" if case.slices is not None else "everywhere"
    yield Fault(
        case.subject,
        "empty_mask",
        "error",
        f"The mask is 0 {where}, so nothing of the case counts.",
        "Check that it is the right file, and the list of slices; or leave the mask out.",
    )


def _size(image: Image) -> str:
    return " x ".join(str(n) for n in reversed(image.shape))


def _difference(image: Image, target: Image) -> str:
    """Say what differs in the first of spacing, position and direction that does."""
    if not np.allclose(image.spacing, target.spacing, rtol=1e-3):
        return f"spacings {_mm(image.spacing)} and {_mm(target.spacing)} mm"
    centre = (np.array(image.shape[::-1]) - 1) / 2
    apart = float(np.linalg.norm(image.ras(centre) - target.ras(centre)))
    if apart > 0.01 * image.spacing.min():
        return f"centres {apart:.2f} mm apart"
    return "their axes point in different directions"


def _mm(spacing: npt.NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.3f}" for value in spacing)
