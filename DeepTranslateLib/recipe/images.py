"""What a recipe reads and makes: its inputs and its target."""

from __future__ import annotations

from dataclasses import dataclass

from DeepTranslateLib.recipe.error import RecipeError, increasing
from DeepTranslateLib.recipe.intensities import STANDARDISATIONS, check_standardisation
from DeepTranslateLib.schema import limits

MODALITIES = ("CT", "MR", "PET", "US", "other")


@dataclass(frozen=True)
class Code:
    """A coded term, as in DICOM: scheme designator, value and meaning (SCT is SNOMED CT)."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """One tissue or structure that a model marks.

    `also` lists further values of the training label maps that count as this label; outputs carry
    `value` alone.
    """

    value: int = limits(minimum=1, maximum=254, help="Value in label maps.")
    name: str = limits(help="Name in tables and segmentations.")
    color: tuple[int, int, int] = limits((128, 174, 128), minimum=0, maximum=255, unit="RGB")
    category: Code | None = None
    type: Code | None = None
    region: Code | None = None
    also: tuple[int, ...] = limits((), minimum=1, maximum=255)


@dataclass(frozen=True)
class Input:
    """One image that the model reads."""

    name: str = "image"
    modality: str = limits("other", choices=MODALITIES)
    units: str = limits("", help="Unit of the voxel values, such as HU.")


@dataclass(frozen=True)
class Target:
    """What the model makes of its inputs: a label map or a volume.

    Labels stand for a segmentation and leave `units` and `range` aside; a volume has no labels
    and says the `range` of its values, which the network's output is scaled to.
    """

    kind: str = limits(choices=("labels", "volume"))
    labels: tuple[Label, ...] = ()
    ignore: int | None = limits(
        None,
        minimum=1,
        maximum=255,
        help="Value of label maps that neither teaches nor counts.",
    )
    units: str = ""
    modality: str = limits(
        "other", choices=MODALITIES, help="Of a volume; what a model of both directions reads."
    )
    range: tuple[float, float] | None = None
    standardisation: str = limits(
        "none",
        choices=STANDARDISATIONS,
        help="Bring a volume without a unit to one scale, on which range and outputs then are.",
    )
    landmarks: tuple[float, ...] | None = limits(
        None, help="Of the standard scale of 'histogram'; null: learnt from the training targets."
    )

    def validate(self, path: str) -> None:
        """Refuse labels that clash, and a target that mixes the two kinds."""
        check_standardisation(self.standardisation, self.landmarks, self.units, path)
        if self.kind == "volume":
            if self.labels:
                raise RecipeError(f"{path}.labels", "a target of kind 'volume' has no labels.")
            if self.range is None:
                raise RecipeError(f"{path}.range", "a volume needs its range, [lowest, highest].")
            if self.ignore is not None:
                raise RecipeError(f"{path}.ignore", "only label maps have a value to ignore.")
            increasing(self.range, f"{path}.range")
            return
        if self.range is not None:
            raise RecipeError(f"{path}.range", "labels have no range of values.")
        if self.standardisation != "none":
            raise RecipeError(f"{path}.standardisation", "labels have no intensities; use 'none'.")
        taken: dict[int, str] = {}
        for index, label in enumerate(self.labels):
            place = f"{path}.labels[{index}]"
            for value in (label.value, *label.also):
                if value in taken:
                    raise RecipeError(place, f"the value {value} already means '{taken[value]}'.")
                taken[value] = label.name
            if not label.name.strip():
                raise RecipeError(f"{place}.name", "expected a name, found an empty text.")
        names = [label.name for label in self.labels]
        if len(set(names)) < len(names):
            raise RecipeError(f"{path}.labels", "two labels have the same name.")
        if self.ignore in taken:
            raise RecipeError(
                f"{path}.ignore", f"the value {self.ignore} means '{taken[self.ignore]}' too."
            )
