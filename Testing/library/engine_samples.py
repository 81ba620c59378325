"""Small recipes, images and stand-ins that the engine's tests share."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from DeepTranslateLib.cohort import Cohort, cohort_from_lists
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe, recipe_from_json

# Every way to store a volume: which way I, J and K point.
ORIENTATIONS = tuple(
    "".join(letters)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*axes)
)
# Orthonormal and left-handed; each axis is some degrees off an anatomical one ("RAI").
OBLIQUE = -np.linalg.qr([[1.0, 0.20, -0.10], [-0.15, 1.0, 0.25], [0.12, -0.20, 1.0]])[0]

STILL = {
    "perspective": 0,
    "rotation": 0,
    "translation": 0,
    "flip_left_right": 0,
    "flip_up_down": 0,
    "noise_fraction": 0,
    "noise_sd": 0,
}


def labels_recipe(labels: int = 1, **parts: dict[str, Any]) -> Recipe:
    """A recipe for `labels` labels of CT with a tiny network; parts replace its fields."""
    named = [{"value": 10 * n, "name": f"label {n}"} for n in range(1, labels + 1)]
    return _recipe({"kind": "labels", "labels": named}, "binary_cross_entropy", parts)


def volume_recipe(**parts: dict[str, Any]) -> Recipe:
    """A recipe for a volume in HU, -1000 to 1000."""
    target = {"kind": "volume", "units": "HU", "range": [-1000, 1000]}
    return _recipe(target, "mse", parts)


def _recipe(target: dict[str, Any], loss: str, parts: dict[str, dict[str, Any]]) -> Recipe:
    content: dict[str, dict[str, Any]] = {
        "target": target,
        "preprocessing": {"window": [-1000, 1000], "spacing": None},
        "network": {"levels": 2, "channels": 2},
        "method": {"loss": loss},
        "optimizer": {"learning_rate": 0.01},
        "training": {"epochs": 3},
    }
    for part, fields in parts.items():
        content[part] = {**content.get(part, {}), **fields}
    content["inputs"] = [{"name": "image", "modality": "CT", "units": "HU"}]  # type: ignore[assignment]
    return recipe_from_json({"name": "tiny", **content})


def random_hu(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Voxels from -1000 to 999 HU, int16."""
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)


def lps_affine(spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """Affine of an upright image: columns to the left, rows to the back, slices to the head."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (12.0, -7.0, 30.0)
    return affine


def oblique_affine(spacing: tuple[float, float, float] = (0.8, 1.3, 4.0)) -> np.ndarray:
    """Affine of a tilted grid with pixels that are not square."""
    affine = np.eye(4)
    affine[:3, :3] = OBLIQUE * spacing
    affine[:3, 3] = (-40.25, 12.5, 900.125)
    return affine


def stored_as(image: Image, orientation: str) -> Image:
    """The same patient in another file: axes permuted and flipped, and really copied."""
    turned = image.oriented(orientation)
    return Image(np.ascontiguousarray(turned.voxels), turned.affine)


def blobs(seed: int, slices: int = 4, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Noisy slices with a bright square (label 10) and a dark one (20); the last one has none."""
    rng = np.random.default_rng(seed)
    voxels = rng.normal(-300, 60, (slices, size, size))
    labels = np.zeros(voxels.shape, np.uint8)
    for number in range(slices - 1):
        for value, hu in ((10, 400), (20, -900)):
            row, column = rng.integers(0, size - 6, 2)
            here = (number, slice(row, row + 6), slice(column, column + 6))
            labels[here] = value
            voxels[here] += hu + 300
    return voxels.round().astype(np.int16), labels


def blobs_cohort(subjects: int = 3) -> Cohort:
    """Subjects in memory, each with four slices of `blobs`."""
    pairs = [blobs(seed) for seed in range(subjects)]
    return cohort_from_lists(
        [Image(voxels, lps_affine()) for voxels, _ in pairs],
        [Image(labels, lps_affine()) for _, labels in pairs],
        [f"subject {seed}" for seed in range(subjects)],
    )
