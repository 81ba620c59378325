"""Images whose place in the world is known in closed form, for tests of registration."""

from __future__ import annotations

import numpy as np
from engine_samples import OBLIQUE

from DeepTranslateLib.image import Image

_RNG = np.random.default_rng(0)
_CENTRES, _WIDTHS = _RNG.uniform(-22, 22, (14, 3)), _RNG.uniform(4, 8, 14)
_HEIGHTS = _RNG.uniform(0.3, 1, 14)
LANDMARKS = np.random.default_rng(1).uniform(-20, 20, (50, 3))


def blobs(ras: np.ndarray) -> np.ndarray:
    """The value of a sum of Gaussians at positions (..., 3), 0 to about 2."""
    parts = zip(_CENTRES, _WIDTHS, _HEIGHTS, strict=True)
    return sum(
        (h * np.exp(-((ras - c) ** 2).sum(-1) / (2 * s**2)) for c, s, h in parts),
        start=np.zeros(ras.shape[:-1]),
    )


def centred(size: tuple[int, int, int], spacing: tuple[float, ...], axes: np.ndarray) -> Image:
    """An empty image of `size` (I, J, K) around the world's origin."""
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(size) - 1) / 2)
    return Image(np.zeros(size[::-1], np.float32), affine)


UPRIGHT = centred((32, 32, 32), (2.0, 2.0, 2.0), np.diag([-1.0, -1.0, 1.0]))
TILTED = centred((36, 30, 26), (2.0, 2.3, 2.5), OBLIQUE)


def positions(grid: Image) -> np.ndarray:
    """RAS positions (K, J, I, 3) of a grid's voxels."""
    k, j, i = np.indices(grid.shape)
    return grid.ras(np.stack([i, j, k], axis=-1))


def painted(grid: Image, places: np.ndarray, modality: int = 1) -> Image:
    """The blobs as two modalities show them, at places that need not be the grid's own."""
    values = blobs(places) if modality == 1 else 100 * np.sqrt(blobs(places))
    return grid.with_voxels(values.astype(np.float32))


def rotation(degrees: float, axis: tuple[float, float, float]) -> np.ndarray:
    """A (3, 3) rotation about an axis (Rodrigues' formula)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def placed(matrix: np.ndarray, ras: np.ndarray) -> np.ndarray:
    """Positions (..., 3) moved by a (4, 4) matrix."""
    return ras @ matrix[:3, :3].T + matrix[:3, 3]


RIGID = np.eye(4)
RIGID[:3, :3], RIGID[:3, 3] = rotation(7, (1, 2, 3)), (3, -4, 2)
AFFINE = RIGID.copy()
AFFINE[:3, :3] = RIGID[:3, :3] @ [[1.08, 0.03, 0], [0, 0.94, 0], [0.02, 0, 1.0]]


def pair(matrix: np.ndarray = RIGID) -> tuple[Image, Image]:
    """A fixed image, and a moving one of another modality whose world `matrix` leads to."""
    moving = painted(TILTED, placed(np.linalg.inv(matrix), positions(TILTED)), 2)
    return painted(UPRIGHT, positions(UPRIGHT)), moving
