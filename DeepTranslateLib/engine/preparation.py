"""A case made ready for training: its images on one grid, the table gone, at a common spacing."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from DeepTranslateLib.cohort.hounsfield import why_not_hounsfield
from DeepTranslateLib.engine.body import AIR_HU
from DeepTranslateLib.engine.registration import ITERATIONS, Registration, register
from DeepTranslateLib.engine.table import TableError, remove_table
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.affine import closest_axes
from DeepTranslateLib.image.finite import refuse_not_finite
from DeepTranslateLib.image.transform import Transform

_MOST_LABELS = 255
# A registration that loses as much of the foregrounds' overlap is doubted.
_OVERLAP_LOST = 0.05
_WIDEST_KERNEL = 64  # pixels


class PreparationError(ValueError):
    """A case cannot be prepared as asked: what was expected, what was found, what to do."""


@dataclass(frozen=True)
class Steps:
    """What is done to each case.

    Attributes:
        register: "rigid", "affine", "deformable", or None for no registration.
        reference: What images are registered to; None: the target volume to its image.
        remove_table: Make all but the patient air, in CT.
        spacing: mm from right to left, front to back, foot to head; None: as it is.
        iterations: Of the registration.
    """

    register: str | None = None
    reference: Image | None = None
    remove_table: bool = False
    spacing: tuple[float, float, float] | None = None
    iterations: int = ITERATIONS


@dataclass(frozen=True)
class Prepared:
    """A case that is ready.

    Attributes:
        image: The image.
        target: Label map or volume on the image's grid, or None.
        mask: Where the target is known, uint8 on the image's grid; None: everywhere.
        transform: From the prepared image's world to the original image's.
        target_transform: From the prepared image's world to the original target's, where that is
            another one; None elsewhere.
        registration: What was found; None where nothing was registered.
        notes: What a person should look at, as sentences.
    """

    image: Image
    target: Image | None
    mask: Image | None
    transform: Transform
    target_transform: Transform | None
    registration: Registration | None
    notes: tuple[str, ...]


def prepare_case(
    image: Image, target: Image | None, mask: Image | None, steps: Steps, labels: bool
) -> Prepared:
    """Prepare one case; every image is resampled at most once.

    A registration after which the images say less about each other than before is not kept: the
    case is then prepared as its headers place it, and a note says so. Where the field of view of
    a target does not reach, the mask is 0, so that its filling teaches nothing.

    Args:
        image: The image.
        target: Label map or volume, or None.
        mask: On the image's grid, or None.
        steps: What is done.
        labels: Whether the target is a label map.

    Raises:
        ImageError: Voxels are no numbers, which smoothing would spread.
        PreparationError: There is nothing that could be registered, or the mask lies elsewhere.
        RegistrationError, TableError: See there.
    """
    for what, each in (("the image", image), ("the target", target)):
        if each is not None:
            refuse_not_finite(each, what)
    if mask is not None and not mask.oriented(image.orientation).same_grid(image):
        raise PreparationError(
            "The mask lies on another grid than the image. Resample it onto that grid (nearest "
            "neighbour) first."
        )
    notes: list[str] = []
    if steps.remove_table:
        image, target = _without_table(image, target, labels)
    registration = None
    if steps.register is not None:
        if steps.reference is None:
            if target is None or labels:
                what = "no target" if target is None else "a label map as its target"
                raise PreparationError(
                    f"The case has {what}, and only a volume can be registered to its image. Give "
                    "a --reference to register images to, leave --register out, or, where it is "
                    "a volume of few values, say --targets volume."
                )
            registration = register(
                image, target, steps.register, mask=mask, iterations=steps.iterations
            )
        else:
            registration = register(
                steps.reference, image, steps.register, iterations=steps.iterations
            )
        notes.extend(_doubts(registration))
    kept = registration is not None and registration.improved
    moved = registration.transform if registration is not None and kept else Transform()
    still = Transform()
    first, second = (still, moved) if steps.reference is None else (moved, moved)
    grid = image if steps.reference is None else steps.reference
    if steps.spacing is not None:
        grid = _at_spacing(grid, steps.spacing)
    made = _onto(image, grid, first, labels=False)
    known = _reached(mask, image, target, grid, (first, second))
    if target is not None:
        target = _onto(target, grid, second, labels)
    return Prepared(
        image=made,
        target=target,
        mask=known,
        transform=first,
        target_transform=second if kept and steps.reference is None else None,
        registration=registration,
        notes=tuple(notes),
    )


def is_label_map(image: Image) -> bool:
    """Whether the values look like those of a label map: at most 255 whole numbers from 0."""
    values: set[float] = set()
    for plane in image.voxels:
        values.update(np.unique(plane).tolist())
        if len(values) > _MOST_LABELS + 1:
            return False
    return all(math.isfinite(v) and v >= 0 and v == int(v) for v in values)


def outside_value(image: Image) -> float:
    """What stands where an image does not reach: air in CT, its least value elsewhere."""
    if why_not_hounsfield(image.voxels) is None:
        return AIR_HU
    return float(image.voxels.min())


def _without_table(image: Image, target: Image | None, labels: bool) -> tuple[Image, Image | None]:
    volumes = [image] if target is None or labels else [image, target]
    cleaned = [
        remove_table(volume) if why_not_hounsfield(volume.voxels) is None else None
        for volume in volumes
    ]
    if all(new is None for new in cleaned):
        raise TableError(
            "A table can be removed from CT in Hounsfield units, and no image of the case is one. "
            "Leave --remove-table out, or export the CT anew from DICOM."
        )
    made = [old if new is None else new for new, old in zip(cleaned, volumes, strict=True)]
    return made[0], made[1] if len(made) == 2 else target


def _doubts(registration: Registration) -> list[str]:
    before, after = registration.before, registration.after
    if not registration.improved:
        return [
            "The registration is not kept: the images say no more about each other than before "
            f"(mutual information {before.information:.3f}, then {after.information:.3f})."
        ]
    if after.overlap < before.overlap - _OVERLAP_LOST:
        return [
            "The registration may be wrong, look at it: the foregrounds overlap less than before "
            f"({before.overlap:.2f}, then {after.overlap:.2f})."
        ]
    return []


def _at_spacing(image: Image, spacing: tuple[float, float, float]) -> Image:
    """The grid of an image with voxels of a spacing along the patient's axes."""
    worlds = closest_axes(image.directions)
    empty = image.with_voxels(np.zeros(image.shape, np.uint8))
    return empty.resampled([spacing[world] for world in worlds], "nearest")


def _onto(image: Image, grid: Image, transform: Transform, labels: bool) -> Image:
    """An image on a grid; voxel by voxel as it was where it lies there already."""
    if not transform.steps and image.same_grid(grid):
        return image
    if labels:
        return transform.resampled(image, grid, "nearest", 0)
    return transform.resampled(_smoothed(image, grid), grid, "linear", outside_value(image))


def _smoothed(image: Image, grid: Image) -> Image:
    """An image blurred along the axes that become coarser, so that fine structure cannot alias.

    The blur brings the width of a voxel's response to that of the new one (Cardoso et al. 2015,
    doi:10.1007/978-3-319-24571-3_81): its full width at half maximum is the root of the
    difference of the squared spacings.
    """
    along = np.abs(image.directions.T @ grid.directions).argmax(axis=1)
    wanted, own = grid.spacing[along], image.spacing
    # Headers are rounded; a hundredth more is no coarser grid.
    squares = np.where(wanted > 1.01 * own, wanted**2 - own**2, 0.0)
    if not squares.any():
        return image
    variances = squares / (8 * math.log(2))
    real = sitk.Cast(image.to_sitk(), sitk.sitkFloat32)
    blurred = sitk.GetArrayFromImage(
        sitk.DiscreteGaussian(real, variances.tolist(), _WIDEST_KERNEL, 0.01, True)
    )
    dtype = image.voxels.dtype
    return image.with_voxels((np.rint(blurred) if dtype.kind in "iu" else blurred).astype(dtype))


def _reached(
    mask: Image | None,
    image: Image,
    target: Image | None,
    grid: Image,
    transforms: tuple[Transform, Transform],
) -> Image | None:
    """Where the mask counts and both images reach, on the grid; None where that is everywhere."""
    known = np.ones(grid.shape, bool)
    if mask is not None:
        known &= _onto(mask, grid, transforms[0], labels=True).voxels != 0
    for moving, transform in zip((image, target), transforms, strict=True):
        if moving is not None and (transform.steps or not moving.same_grid(grid)):
            everywhere = moving.with_voxels(np.ones(moving.shape, np.uint8))
            known &= transform.resampled(everywhere, grid, "nearest", 0).voxels != 0
    if known.all() and mask is None:
        return None
    return Image(known.astype(np.uint8), grid.affine)


def summary(prepared: Prepared) -> dict[str, object]:
    """What a report says of a case, as plain JSON."""
    found = prepared.registration
    return {
        "registered": None if found is None else found.improved,
        "start": None if found is None else found.start,
        "before": None if found is None else dataclasses.asdict(found.before),
        "after": None if found is None else dataclasses.asdict(found.after),
        "masked": None if prepared.mask is None else float(np.mean(prepared.mask.voxels == 0)),
        "notes": list(prepared.notes),
    }
