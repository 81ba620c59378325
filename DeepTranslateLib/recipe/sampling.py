"""Which pieces of an image the network sees, and what is done to them before."""

from __future__ import annotations

from dataclasses import dataclass

from DeepTranslateLib.recipe.error import RecipeError, increasing
from DeepTranslateLib.recipe.intensities import MASKS, STANDARDISATIONS
from DeepTranslateLib.schema import limits

# Directions in which columns, rows and slices grow, so that every slice is seen upright.
PLANES = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}


@dataclass(frozen=True)
class Sampling:
    """Which pieces of a volume the network sees: whole slices of one anatomical plane, or patches.

    With `context` it sees neighbouring slices as further channels; at the ends of a volume the
    last slice stands for those that are missing.

    With `patch` it sees boxes of as many slices, rows and columns, which lie as slices of `plane`
    do; what is beyond a volume is air that neither teaches nor counts. `network.dimension` is
    then 3. Without `patches_per_epoch` an epoch has as many as cover the training volumes once.

    With `fusion` slices of all three planes teach, as many of each, and a volume is translated in
    all three: the mean of the labels' probabilities, or of the values, counts. `plane` is then the
    one that labelled slices are counted along and validation looks at.

    With `mirror` a volume is translated as it is and mirrored, along each axis that augmentation
    flips and along all together; the mean counts, mirrored back, as with `fusion`.
    """

    plane: str = limits("axial", choices=tuple(PLANES))
    fusion: bool = limits(
        False,
        help="Slices of all three planes teach; the mean of what each makes of a volume counts.",
    )
    context: int = limits(
        0, minimum=0, maximum=8, help="Neighbouring slices that are seen on each side."
    )
    foreground_weight: float = limits(
        2.0,
        minimum=1,
        maximum=100,
        help="How many times as often as an empty slice one with a label is drawn.",
    )
    patch: tuple[int, int, int] | None = limits(
        None,
        minimum=4,
        maximum=1024,
        help="Slices, rows and columns of the boxes that a 3D network sees; null: whole slices.",
    )
    foreground_share: float = limits(
        1 / 3,
        minimum=0,
        maximum=1,
        help="Share of the patches that are centred on a label, or for volumes not on air.",
    )
    patches_per_epoch: int | None = limits(
        None, minimum=1, maximum=100000, help="Null: as many as cover the training volumes once."
    )
    overlap: float = limits(
        0.25,
        minimum=0,
        maximum=0.9,
        help="Of neighbouring patches when a volume is translated, as a part of their size.",
    )

    mirror: bool = limits(
        False,
        help="Translate mirrored copies, too, along the axes augmentation flips; the mean counts.",
    )

    def validate(self, path: str) -> None:
        """Refuse patches with context or fusion: they hold what lies around."""
        if self.patch is not None and self.context:
            raise RecipeError(
                f"{path}.context",
                f"a patch holds its neighbouring slices; expected 0, found {self.context}.",
            )
        if self.patch is not None and self.fusion:
            raise RecipeError(f"{path}.fusion", "planes are fused of slices; set patch to null.")


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a slice before the network sees it, and undone on the output.

    `spacing` is the in-plane pixel size that the network works at, in mm: null leaves every
    slice at its own size; "auto" does so while the pixel sizes of a cohort lie within
    `spacing_tolerance` of their median, and brings those outside to the median; a number is a
    fixed size, kept to within the same tolerance. `slice_spacing`, the distance of slices, follows
    the same rules; only patches have one.

    `standardisation` divides intensities by the median of the patient's ("median", which does not
    depend on how much scalp or fat is in the image), maps their 1st and 99th percentile to 0 and 1
    ("percentiles"), and their deciles to `landmarks` of the cohort, too ("histogram").
    """

    window: tuple[float, float] | None = limits(
        None, help="Intensities mapped to 0 and 1; those outside are clipped. Null: no change."
    )
    spacing: float | str | None = limits("auto", minimum=0.05, maximum=20, unit="mm")
    slice_spacing: float | str | None = limits(
        None,
        minimum=0.05,
        maximum=100,
        unit="mm",
        help="Distance of the slices of patches; null: their own.",
    )
    spacing_tolerance: float = limits(0.25, minimum=0, maximum=4)
    body_crop: bool = limits(
        False, help="Crop to the body (CT in HU): drops air and table, undone on the output."
    )
    body_margin: float = limits(20.0, minimum=0, maximum=200, unit="mm")
    mask: str = limits(
        "none",
        choices=MASKS,
        help="What counts; outside, images and outputs have the lowest value.",
    )
    bias_correction: bool = limits(
        False, help="Divide MR by the smooth brightness of its coils, found by N4."
    )
    standardisation: str = limits(
        "none",
        choices=STANDARDISATIONS,
        help="Bring intensities without a unit to one scale; the window is then on that scale.",
    )
    landmarks: tuple[float, ...] | None = limits(
        None, help="Of the standard scale of 'histogram'; null: learnt from the training images."
    )

    def validate(self, path: str) -> None:
        """Refuse an empty window and a spacing that is a text other than "auto"."""
        if self.window is not None:
            increasing(self.window, f"{path}.window")
        for name in ("spacing", "slice_spacing"):
            value = getattr(self, name)
            if isinstance(value, str) and value != "auto":
                raise RecipeError(
                    f"{path}.{name}", f"expected millimetres, 'auto' or null, found '{value}'."
                )
