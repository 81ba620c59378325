"""What is changed at random in training images, and the noise that is to be taken away."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from DeepTranslateLib.recipe.error import RecipeError, increasing
from DeepTranslateLib.schema import limits


def _chance(default: float) -> Any:
    return limits(default, minimum=0, maximum=1, help="How often it takes part.")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training slices (toolbox of Ye et al. 2021, and more).

    Distances are in pixels of an image `reference_size` pixels wide, and scale with the image;
    those of blur and low resolution are in the pixels that the network sees. A slice is changed
    with `probability`, and each kind then takes part with its own. What acts on intensities
    changes images only, and needs a `window`: it takes 0 for air and 1 for the window's end.

    Patches are turned in the plane by `rotation` and out of it by `tilt`, divided by the distance
    of slices where this is larger than the pixels, and shifted by at most a quarter of their size.
    Turns and distances are the same in millimetres along all axes.
    """

    probability: float = limits(
        1.0, minimum=0, maximum=1, help="How many of the slices are changed at all."
    )
    reference_size: float = limits(
        512.0, minimum=1, unit="px", help="Width of the image that distances are meant for."
    )
    perspective_probability: float = _chance(1.0)
    perspective: float = limits(
        30.0, minimum=0, maximum=200, unit="px", help="How far each corner may move, each way."
    )
    rotation_probability: float = _chance(1.0)
    rotation: float = limits(
        70.0, minimum=0, maximum=180, unit="degrees", help="Largest angle, each way."
    )
    tilt: float = limits(
        15.0,
        minimum=0,
        maximum=180,
        unit="degrees",
        help="Largest angle out of the plane, each way; patches only, less for thick slices.",
    )
    translation_probability: float = _chance(1.0)
    translation: float = limits(
        30.0, minimum=0, maximum=500, unit="px", help="Largest shift, each way."
    )
    flip_left_right: float = limits(0.5, minimum=0, maximum=1, help="How often, 0 to 1.")
    flip_up_down: float = limits(0.5, minimum=0, maximum=1, help="How often, 0 to 1.")
    flip_slices: float = limits(0.5, minimum=0, maximum=1, help="How often; patches only.")
    scale_probability: float = _chance(0.0)
    scale: tuple[float, float] = limits(
        (0.8, 1.25), minimum=0.2, maximum=5, help="Smallest and largest magnification."
    )
    elastic_probability: float = _chance(0.0)
    elastic: float = limits(
        2.0, minimum=0, maximum=100, unit="px", help="Largest shift of a control point, each way."
    )
    elastic_spacing: float = limits(
        7.0, minimum=2, maximum=512, unit="px", help="Distance of the control points."
    )
    bias_field_probability: float = _chance(0.0)
    bias_field: float = limits(
        0.3, minimum=0, maximum=2, help="Largest logarithm of the smooth factor of MR coils."
    )
    brightness_probability: float = _chance(0.0)
    brightness: tuple[float, float] = limits(
        (0.3, 1.5), minimum=0.05, maximum=10, help="Factors of all values; air stays 0."
    )
    contrast_probability: float = _chance(0.0)
    contrast: tuple[float, float] = limits(
        (0.3, 1.5),
        minimum=0.05,
        maximum=10,
        help="Factors of the distance from the mean of what is not air.",
    )
    gamma_probability: float = _chance(0.0)
    gamma: tuple[float, float] = limits(
        (0.7, 1.5), minimum=0.1, maximum=10, help="Exponents of the values."
    )
    blur_probability: float = _chance(0.0)
    blur: tuple[float, float] = limits(
        (0.3, 1.0), minimum=0, maximum=20, unit="px", help="SD of the Gaussian that blurs."
    )
    low_resolution_probability: float = _chance(0.0)
    low_resolution: tuple[float, float] = limits(
        (1.0, 4.0), minimum=1, maximum=20, help="How many times larger pixels become."
    )
    noise_probability: float = _chance(1.0)
    noise_fraction: float = limits(
        0.3, minimum=0, maximum=1, help="Part of the pixels that receive Gaussian noise."
    )
    noise_sd: float = limits(
        0.1, minimum=0, maximum=1, help="Largest standard deviation, as a part of the window."
    )
    poisson_probability: float = _chance(0.0)
    poisson_counts: tuple[float, float] = limits(
        (100.0, 10000.0), minimum=1, maximum=1e7, help="Counts of a pixel at the window's end."
    )
    rician_probability: float = _chance(0.0)
    rician_sd: float = limits(
        0.1,
        minimum=0,
        maximum=1,
        help="Largest SD of either part of the MR signal, as a part of the window.",
    )
    ring_probability: float = _chance(0.0)
    ring_sd: float = limits(
        0.05, minimum=0, maximum=1, help="Largest SD of the rings, as a part of the window."
    )
    streak_probability: float = _chance(0.0)
    streak_sd: float = limits(
        0.05, minimum=0, maximum=1, help="Largest SD of the streaks, as a part of the window."
    )
    dropout_probability: float = _chance(0.0)
    dropout_count: int = limits(
        12, minimum=1, maximum=1000, help="Largest number of rectangles that become air."
    )
    dropout_size: float = limits(
        20.0, minimum=1, maximum=512, unit="px", help="Longest side of such a rectangle."
    )

    def validate(self, path: str) -> None:
        """Refuse ranges that run backwards, and deformations that would fold the image."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and value[0] > value[1]:
                increasing(value, f"{path}.{field.name}")
        # Choi & Lee 2000: cubic B-splines do not fold below 0.40 of the spacing, in 3D too.
        if self.elastic > 0.4 * self.elastic_spacing:
            raise RecipeError(
                f"{path}.elastic",
                f"{self.elastic:g} px would fold the image: expected at most 0.4 times "
                f"elastic_spacing, {0.4 * self.elastic_spacing:g} px.",
            )

    @property
    def windowed_kinds(self) -> tuple[str, ...]:
        """The kinds that take part and act on values from 0 to 1."""
        kinds = ("bias_field", "brightness", "contrast", "gamma", "poisson", "rician", "ring")
        return tuple(
            kind for kind in (*kinds, "streak") if getattr(self, f"{kind}_probability") > 0
        )


@dataclass(frozen=True)
class Noise:
    """Noise that clean images receive, to learn to take it away.

    With a kind, the cohort's images are clean: each is its own target where none is named, and
    the network reads it with noise. Training draws new noise in every step, after augmentation;
    that of validation is fixed by the seed. Models translate images as they are.
    """

    kind: str = limits(
        "none",
        choices=("none", "pixel-subset", "gaussian", "poisson", "rician", "ring"),
        help="As for the command add-noise.",
    )
    level: float | None = limits(
        None, minimum=0, help="Its meaning depends on the kind, see docs/noise.md; null: default."
    )

    @property
    def is_added(self) -> bool:
        """Noisy inputs are made from clean images."""
        return self.kind != "none"

    def validate(self, path: str) -> None:
        """Refuse a level that the kind cannot have."""
        if self.level is None:
            return
        most = 1 if self.kind in ("pixel-subset", "poisson") else math.inf
        if self.level > most or (self.kind == "poisson" and self.level == 0):
            span = "above 0 and at most 1" if self.kind == "poisson" else "at most 1"
            raise RecipeError(
                f"{path}.level", f"expected {span} for '{self.kind}', found {self.level:g}."
            )
