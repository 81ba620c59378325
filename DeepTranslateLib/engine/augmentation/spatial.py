"""Where each pixel comes from: one homography and one deformation, in one sampling grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from DeepTranslateLib.engine.augmentation.chance import log_uniform, own_random
from DeepTranslateLib.recipe import Augmentation


@dataclass(frozen=True)
class Elastic:
    """A smooth deformation: shifts of control points, cubic B-splines in between.

    Rueckert et al. 1999 (doi:10.1109/42.796284). Beyond its control points the deformation goes
    on as at the outermost.

    Attributes:
        shifts: (axes, *points) float64 in pixels, x (columns) first, points along (slices,) rows,
            columns.
        spacing: Distance of the control points in pixels, along each axis of the points where it
            is not the same; their middle lies on the output's centre.
    """

    shifts: np.ndarray
    spacing: float | tuple[float, ...]

    def displacement(self, canvas: Sequence[int], device: torch.device) -> Tensor:
        """How far the source of each output pixel is moved: (axes, *canvas) fp32, pixels."""
        moved = torch.from_numpy(self.shifts)
        spacing = self.spacing
        spacings = spacing if isinstance(spacing, tuple) else (spacing,) * len(canvas)
        for axis, (length, points, apart) in enumerate(
            zip(canvas, self.shifts.shape[1:], spacings, strict=True), start=1
        ):
            weights = torch.from_numpy(_spline_weights(length, points, apart))
            moved = torch.tensordot(moved, weights, dims=([axis], [1])).movedim(-1, axis)
        return moved.to(device, torch.float32)


def sample_homography(
    augmentation: Augmentation, full_size: tuple[int, int], random: np.random.Generator, seed: int
) -> np.ndarray:
    """Draw flips, rotation, scale, translation and perspective as one (3, 3) homography.

    Args:
        augmentation: Ranges, in pixels of an image `reference_size` wide.
        full_size: Rows and columns of the whole slice.
        random: Draws what every change has.
        seed: Says which kinds take part.
    """
    pixel = max(full_size) / augmentation.reference_size
    turned, moved, slanted = (
        own_random(augmentation, kind, seed) is not None
        for kind in ("rotation", "translation", "perspective")
    )
    angle = np.deg2rad(random.uniform(-augmentation.rotation, augmentation.rotation)) * turned
    reach = augmentation.translation * pixel
    shift = random.uniform(-reach, reach, 2) * moved
    mirror = (
        -1.0 if random.random() < augmentation.flip_left_right else 1.0,
        -1.0 if random.random() < augmentation.flip_up_down else 1.0,
    )
    corners = _corners(full_size)
    reach = augmentation.perspective * pixel
    displaced = corners + random.uniform(-reach, reach, corners.shape) * slanted
    magnifying = own_random(augmentation, "scale", seed)
    magnification = 1.0 if magnifying is None else log_uniform(magnifying, augmentation.scale)
    return (
        np.diag([*mirror, 1.0])
        @ _rotation(float(angle))
        @ np.diag([1 / magnification, 1 / magnification, 1.0])
        @ _translation(-shift)
        @ perspective(corners, displaced)
    )


def sample_elastic(
    augmentation: Augmentation, full_size: tuple[int, int], seed: int
) -> Elastic | None:
    """Draw a deformation, or none."""
    random = own_random(augmentation, "elastic", seed)
    if random is None:
        return None
    pixel = max(full_size) / augmentation.reference_size
    spacing, reach = augmentation.elastic_spacing * pixel, augmentation.elastic * pixel
    points = int(np.ceil(max(full_size) / spacing)) + 4
    shifts = random.uniform(-reach, reach, (len(full_size), *[points] * len(full_size)))
    return Elastic(shifts, spacing)


def perspective(source: np.ndarray, destination: np.ndarray) -> np.ndarray:
    """The homography (3, 3) that takes four points (4, 2) to four others (4, 2).

    Hartley & Zisserman, Multiple View Geometry, 2nd ed., section 4.1 (direct linear transform
    with h33 = 1).
    """
    system = np.zeros((8, 8))
    for row, ((x, y), (u, v)) in enumerate(zip(source, destination, strict=True)):
        system[2 * row] = [x, y, 1, 0, 0, 0, -u * x, -u * y]
        system[2 * row + 1] = [0, 0, 0, x, y, 1, -v * x, -v * y]
    return np.append(np.linalg.solve(system, destination.ravel()), 1.0).reshape(3, 3)


def sampling_grid(
    images: Tensor,
    centres: Sequence[Sequence[float]],
    homographies: Sequence[np.ndarray],
    elastics: Sequence[Elastic | None],
    canvas: Sequence[int],
) -> Tensor:
    """Where each output pixel is read: (B, *canvas, axes) in grid_sample's -1..1 coordinates.

    Args:
        images: (B, C, *S), of which only the size and the device count.
        centres: (Slice,) row and column, in pixels from the image's outer corner, of the point
            that the homographies' sources are counted from.
        homographies: One for each image, as in `Change`.
        elastics: Likewise; moves the output's points before the homography does.
        canvas: (Slices,) rows and columns of the output.
    """
    device, axes = images.device, len(canvas)
    matrices = []
    for centre, homography in zip(centres, homographies, strict=True):
        # From pixels around the centre to -1..1 over the padded image.
        normalise = np.eye(axes + 1)
        for axis, (place, length) in enumerate(
            zip(reversed(centre), reversed(images.shape[2:]), strict=True)
        ):
            normalise[axis, axis] = 2 / length
            normalise[axis, axes] = 2 * place / length - 1
        matrices.append(normalise @ homography)
    matrix = torch.from_numpy(np.stack(matrices)).to(device, torch.float32)
    matrix = matrix.reshape(*matrix.shape, *[1] * axes)
    places = []
    for axis, length in enumerate(canvas):
        line = torch.arange(length, device=device, dtype=torch.float32) - (length - 1) / 2
        places.append(line.reshape(1, *[-1 if other == axis else 1 for other in range(axes)]))
    places.reverse()  # columns first
    if any(elastic is not None for elastic in elastics):
        still = torch.zeros(axes, *canvas, device=device)
        moved = torch.stack(
            [still if each is None else each.displacement(canvas, device) for each in elastics]
        )
        places = [place + moved[:, axis] for axis, place in enumerate(places)]
    points = matrix[:, :, 0] * places[0][:, None]
    for axis in range(1, axes):
        points = points + matrix[:, :, axis] * places[axis][:, None]
    points = points + matrix[:, :, axes]
    return torch.stack(points.unbind(1)[:axes], dim=-1) / points[:, axes, ..., None]


def _spline_weights(length: int, points: int, spacing: float) -> np.ndarray:
    """How much each control point counts at each of `length` pixels: (length, points)."""
    places = (np.arange(length) - (length - 1) / 2) / spacing + (points - 1) / 2
    places = np.clip(places, 1, points - 2)
    away = np.abs(places[:, None] - np.arange(points))
    near = 2 / 3 - away**2 + away**3 / 2
    return np.where(away < 1, near, np.clip(2 - away, 0, None) ** 3 / 6)


def _corners(size: tuple[int, int]) -> np.ndarray:
    y, x = size[0] / 2, size[1] / 2
    return np.array([[-x, -y], [x, -y], [x, y], [-x, y]])


def _rotation(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])


def _translation(shift: np.ndarray) -> np.ndarray:
    return np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]])
