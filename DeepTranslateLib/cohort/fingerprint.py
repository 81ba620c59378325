"""What a cohort is like: the facts that a recipe can be proposed from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from DeepTranslateLib.recipe import PLANES

# Customary for voxels of label maps that nobody decided on.
UNKNOWN_VALUE = 255


@dataclass(frozen=True)
class Fingerprint:
    """Measured from the cases that teach; subjects named "test" are left out.

    Attributes:
        kind: What the targets are, "labels" or "volume".
        cases: How many.
        subjects: How many.
        units: "HU" where every image can be in them, else "".
        modality: "CT", "MR" or "other"; all but CT is a guess from the values.
        spacing: Median over cases along patient axes: left-right, front-back, foot-head, in mm.
        spacing_min: Least.
        spacing_max: Largest.
        size: Median number of voxels along the same axes.
        size_min: Least.
        planes: Planes in which the lists of labelled slices make sense; all three without lists.
        labelled_slices: In each plane; how many count.
        shown_slices: In each plane; how many of them show a label (volumes: all).
        foreground: Percentiles (0.5, 5, 50, 95, 99.5) of the intensities at labelled voxels, or,
            for volumes, of those that are not air.
        label_quartiles: The lowest first and the highest third quartile of a label's intensities,
            of all labels; None for volumes.
        image_range: The 0.5th and 99.5th percentile of all voxels.
        target_range: The same of the targets of volumes; None for labels.
        labels: For each value but 0 its part of the labelled slices' voxels, ascending.
        label_subjects: For each value the number of subjects that have it.
        body_area_cm2: Median cross-section of what is denser than -300 HU; None without HU.
        targets_in_hu: Volumes only: whether the targets can be in HU.
    """

    kind: str
    cases: int
    subjects: int
    units: str
    modality: str
    spacing: tuple[float, float, float]
    spacing_min: tuple[float, float, float]
    spacing_max: tuple[float, float, float]
    size: tuple[int, int, int]
    size_min: tuple[int, int, int]
    planes: tuple[str, ...]
    labelled_slices: dict[str, int]
    shown_slices: dict[str, int]
    foreground: dict[str, float]
    label_quartiles: tuple[float, float] | None
    image_range: tuple[float, float]
    target_range: tuple[float, float] | None
    labels: dict[str, float]
    label_subjects: dict[str, int]
    body_area_cm2: float | None
    targets_in_hu: bool


def in_plane(plane: str) -> tuple[int, int, int]:
    """Places, in `spacing` and `size`, of a plane's columns, rows and slices."""
    axes = {"L": 0, "R": 0, "A": 1, "P": 1, "S": 2, "I": 2}
    columns, rows, slices = (axes[letter] for letter in PLANES[plane])
    return columns, rows, slices


def names_a_side(name: str) -> bool:
    """Whether a label's name says left or right."""
    return bool(re.search(r"\b(left|right)\b", name.replace("_", " "), re.IGNORECASE))
