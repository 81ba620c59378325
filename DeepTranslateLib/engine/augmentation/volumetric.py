"""Where each voxel of a patch comes from: rigid in millimetres, whatever the voxels are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from DeepTranslateLib.engine.augmentation.chance import log_uniform, own_random
from DeepTranslateLib.engine.augmentation.patchshape import PatchShape
from DeepTranslateLib.engine.augmentation.spatial import Elastic
from DeepTranslateLib.recipe import Augmentation

# Part of a patch that it may be shifted by: what it is centred on stays in view.
_LARGEST_SHIFT = 0.25


def sample_homography(
    augmentation: Augmentation, patch: PatchShape, random: np.random.Generator, seed: int
) -> np.ndarray:
    """Draw flips, rotation, scale, translation and perspective as one (4, 4) homography.

    Args:
        augmentation: Ranges, in pixels of a slice `reference_size` wide.
        patch: In whose voxels the homography is.
        random: Draws what every change has.
        seed: Says which kinds take part.
    """
    pixel = patch.width / augmentation.reference_size
    turned, moved, slanted = (
        own_random(augmentation, kind, seed) is not None
        for kind in ("rotation", "translation", "perspective")
    )
    # Turned out of their plane, thick slices leave stairs.
    tilt = augmentation.tilt / max(1.0, patch.thickness)
    largest = np.array([tilt, tilt, augmentation.rotation])
    angles = np.deg2rad(random.uniform(-largest, largest)) * turned
    size = np.array(patch.size[::-1]) * patch.scales
    reach = np.minimum(augmentation.translation * pixel, _LARGEST_SHIFT * size)
    shift = random.uniform(-reach, reach) * moved
    chances = (augmentation.flip_left_right, augmentation.flip_up_down, augmentation.flip_slices)
    mirror = np.where(random.random(3) < chances, -1.0, 1.0)
    corners = _corners(patch.width)
    reach = augmentation.perspective * pixel
    displaced = corners + random.uniform(-reach, reach, corners.shape) * slanted
    magnifying = own_random(augmentation, "scale", seed)
    magnification = 1.0 if magnifying is None else log_uniform(magnifying, augmentation.scale)
    to_pixels = np.diag([*patch.scales, 1.0])
    return (
        np.linalg.inv(to_pixels)
        @ np.diag([*mirror, 1.0])
        @ rotation(*angles)
        @ np.diag([*[1 / magnification] * 3, 1.0])
        @ _translation(-shift)
        @ (perspective(corners, displaced) if slanted else np.eye(4))
        @ to_pixels
    )


def sample_elastic(augmentation: Augmentation, patch: PatchShape, seed: int) -> Elastic | None:
    """Draw a deformation whose control points span the patch, or none."""
    random = own_random(augmentation, "elastic", seed)
    if random is None:
        return None
    pixel = patch.width / augmentation.reference_size
    # In voxels; slices, rows, columns.
    sides = patch.scales[::-1]
    spacing = augmentation.elastic_spacing * pixel / sides
    points = np.ceil(np.array(patch.size) / spacing).astype(int) + 4
    reach = augmentation.elastic * pixel / patch.scales[:, None, None, None]
    shifts = random.uniform(-1, 1, (3, *points)) * reach
    return Elastic(shifts, tuple(map(float, spacing)))


def perspective(source: np.ndarray, destination: np.ndarray) -> np.ndarray:
    """The homography (4, 4) that comes closest to taking points (n, 3) to others (n, 3).

    The direct linear transform (Hartley & Zisserman, Multiple View Geometry, 2nd ed., section
    4.1) with the last element 1, solved by least squares of the algebraic error: eight points
    moved freely are more than a homography has parameters for.
    """
    rows, values = [], []
    for point, moved in zip(source, destination, strict=True):
        extended = np.append(point, 1.0)
        for axis in range(3):
            row = np.zeros(15)
            row[4 * axis : 4 * axis + 4] = extended
            row[12:] = -moved[axis] * point
            rows.append(row)
            values.append(moved[axis])
    solution, *_ = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)
    return np.append(solution, 1.0).reshape(4, 4)


def rotation(about_x: float, about_y: float, about_z: float) -> np.ndarray:
    """Turn in the plane of slices first, then out of it: (4, 4); angles in radians."""
    result = np.eye(4)
    for first, second, angle in ((0, 1, about_z), (0, 2, about_y), (1, 2, about_x)):
        turn = np.eye(4)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def reach(
    homography: np.ndarray, elastic: Elastic | None, size: Sequence[int]
) -> tuple[float, ...] | None:
    """How far from its middle a change reads: (slices, rows, columns) in voxels, each way.

    Args:
        homography: (4, 4), as in `Change`.
        elastic: As in `Change`.
        size: Slices, rows and columns of the patch.

    Returns:
        None where a point lies on the horizon of the perspective, so that there is no bound.
    """
    half = (np.array(size[::-1]) - 1) / 2
    if elastic is not None:
        half = half + np.abs(elastic.shifts).max(axis=(1, 2, 3))
    # A homography takes a box whose corners lie before the horizon into their convex hull.
    corners = np.array(list(itertools.product(*([-side, side] for side in half))))
    points = np.c_[corners, np.ones(len(corners))] @ homography.T
    if points[:, 3].min() < 0.05:
        return None
    farthest = np.abs(points[:, :3] / points[:, 3:]).max(axis=0)
    return tuple(map(float, farthest[::-1]))


def _corners(width: float) -> np.ndarray:
    """Those of a cube as wide as the slices, so that thin volumes are not slanted more: (8, 3)."""
    return np.array(list(itertools.product([-width / 2, width / 2], repeat=3)))


def _translation(shift: np.ndarray) -> np.ndarray:
    result = np.eye(4)
    result[:3, 3] = shift
    return result
