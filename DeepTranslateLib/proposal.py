"""From what a cohort is like to a recipe for it, with the reason of each choice.

The rules are those of nnU-Net's self-configuration where they fit (Isensee et al. 2021,
doi:10.1038/s41592-020-01008-z: windows from the foreground's percentiles, size of the network
from that of the images) and of Ye et al. 2021 for the rest.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cohort import CohortError
from DeepTranslateLib.cohort.fingerprint import Fingerprint, in_plane, names_a_side
from DeepTranslateLib.recipe import (
    Input,
    Label,
    Method,
    Network,
    Recipe,
    Target,
    recipe_from_json,
    write_recipe,
)
from DeepTranslateLib.schema import to_json

MEMORY_BYTES = 4 * 2**30
_COLORS = (
    (230, 25, 75), (60, 180, 75), (0, 130, 200), (255, 225, 25), (145, 30, 180), (70, 240, 240),
    (245, 130, 48), (240, 50, 230), (210, 245, 60), (0, 128, 128), (170, 110, 40), (128, 128, 0),
)  # fmt: skip
_UNKNOWN_VALUE = 255
_TRUNK_CM2 = 300.0  # a head has about 230, a trunk of an adult 400 and more
_THICK = 1.5
_LEAST_BOTTOM = 8  # pixels of the coarsest level
_MANY_SLICES = 100
_STEPS = 6000


@dataclass(frozen=True)
class Reason:
    """Why a field of the proposed recipe is as it is.

    Attributes:
        field: Such as "preprocessing.window".
        value: As in the recipe's JSON.
        reason: A sentence that begins with what was measured.
    """

    field: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Proposal:
    """A recipe and why it is so; one reason a field."""

    recipe: Recipe
    reasons: tuple[Reason, ...]


def reasons_path(recipe_path: Path) -> Path:
    """Where the reasons lie beside a proposed recipe: X.reasons.json beside X.json."""
    return recipe_path.with_suffix(".reasons.json")


def propose_recipe(
    found: Fingerprint,
    base: Recipe | None = None,
    name: str = "proposed",
    memory_bytes: int = MEMORY_BYTES,
) -> Proposal:
    """Propose a recipe for a cohort.

    Args:
        found: What the cohort is like.
        base: Keeps its name, labels, method, optimizer and whatever is not measured.
        name: Of the recipe without a base.
        memory_bytes: That a training step may take.

    Raises:
        CohortError: The base makes something else than the cohort's targets, or there is no label.
    """
    if base is not None and base.target.kind != found.kind:
        raise CohortError(
            f"The recipe '{base.name}' makes {base.target.kind} and the cohort's targets are "
            f"{found.kind}. Give a recipe of the same kind, or none."
        )
    choices = _Choices(found, base, memory_bytes)
    recipe = choices.recipe(name)
    # What is wrong with a combination is said here, not when it is trained.
    return Proposal(recipe_from_json(to_json(recipe)), tuple(choices.reasons))


def write_proposal(proposal: Proposal, found: Fingerprint, path: Path) -> Path:
    """Write the recipe, and beside it the reasons and what was measured; returns their path."""
    write_recipe(proposal.recipe, path)
    beside = reasons_path(path)
    content = {"fingerprint": to_json(found), "reasons": to_json(proposal.reasons)}
    with atomic_file(beside) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return beside


class _Choices:
    """The choices, one after the other, each with its reason."""

    def __init__(self, found: Fingerprint, base: Recipe | None, memory: int) -> None:
        self._found = found
        self._base = base
        self._memory = memory
        self.reasons: list[Reason] = []

    def recipe(self, name: str) -> Recipe:
        """The whole recipe."""
        found, base = self._found, self._base
        start = base or Recipe(name=name, target=self._target())
        target = start.target if base is None else self._target()
        plane = self._plane()
        slices = max(2, found.shown_slices[plane])
        spacing = self._spacing(plane)
        rows, columns = self._size(plane, spacing)
        preprocessing = dataclasses.replace(
            start.preprocessing,
            window=self._window(),
            spacing=spacing,
            body_crop=self._body_crop(plane),
        )
        network = self._network(start, min(rows, columns), rows * columns, slices)
        method = start.method
        if base is None and found.kind == "volume":
            method = Method(loss="mae")
            self._because(
                "method.loss",
                "mae",
                "The targets are volumes: absolute errors are "
                "what they are judged by, and outliers count less than squared.",
            )
        return dataclasses.replace(
            start,
            title=start.title or f"Proposed for {found.subjects} subjects",
            description=start.description
            or f"Proposed from {found.subjects} subjects with {slices} labelled slices.",
            inputs=(self._input(start),),
            target=target,
            sampling=dataclasses.replace(start.sampling, plane=plane),
            preprocessing=preprocessing,
            network=network,
            method=method,
            augmentation=self._augmentation(start, target),
            training=self._training(start, slices),
        )

    def _because(self, field: str, value: Any, reason: str) -> None:
        self.reasons.append(Reason(field, to_json(value), reason))

    def _input(self, start: Recipe) -> Input:
        found = self._found
        given = start.inputs[0]
        if self._base is not None and given.units != "HU" and given.modality != "other":
            self._because("inputs", given.modality, "Named by the recipe that this began with.")
            return given
        if found.units == "HU":
            reason = "Every image has air or fat where Hounsfield units have them."
        elif found.modality == "MR":
            reason = (
                "The values are no HU, begin at 0 and go beyond 255, as in most MR; a guess that "
                "changes nothing but the norm. Correct it if the images are something else."
            )
        else:
            reason = "The values are neither HU nor like those of MR."
        self._because("inputs", found.modality, reason)
        return Input(given.name, found.modality, found.units)

    def _target(self) -> Target:
        if self._found.kind == "volume":
            return self._volume_target()
        found, base = self._found, self._base
        given = () if base is None else base.target.labels
        known = {value for label in given for value in (label.value, *label.also)}
        ignore = None if base is None else base.target.ignore
        values = [int(value) for value in found.labels]
        if ignore is None and _UNKNOWN_VALUE in values and _UNKNOWN_VALUE not in known:
            ignore = _UNKNOWN_VALUE
            self._because(
                "target.ignore",
                ignore,
                "The value 255 is customary for what was not "
                "decided; it neither teaches nor counts.",
            )
        new = [value for value in values if value not in known and value != ignore]
        labels = (
            *given,
            *(
                Label(value, f"label {value}", _COLORS[place % len(_COLORS)])
                for place, value in enumerate(new)
            ),
        )
        if not labels:
            raise CohortError("No labelled slice of the cohort holds a label: every voxel is 0.")
        shares = ", ".join(
            f"{value}: {100 * share:.3g} % in {found.label_subjects[value]} of {found.subjects}"
            for value, share in found.labels.items()
        )
        missing = [label.name for label in given if not {label.value, *label.also} & set(values)]
        self._because(
            "target.labels",
            [label.name for label in labels],
            f"Values in the labelled slices (part of the voxels; subjects): {shares}."
            + (f" No label map holds {', '.join(missing)}." if missing else "")
            + (" Give the others their names." if new else ""),
        )
        return Target("labels", labels, ignore)

    def _volume_target(self) -> Target:
        found, base = self._found, self._base
        assert found.target_range is not None
        low, high = found.target_range
        units = "HU" if found.targets_in_hu else ""
        if base is not None and base.target.range is not None:
            self._because("target.range", base.target.range, "Of the recipe that this began with.")
            return base.target
        if found.targets_in_hu:
            low, high = 100 * math.floor(low / 100), 100 * math.ceil(high / 100)
        span = (float(low), float(high) if high > low else float(low) + 1)
        self._because(
            "target.range",
            span,
            f"99 % of the targets' values lie between {found.target_range[0]:g} and "
            f"{found.target_range[1]:g}" + (", rounded to 100 HU." if units else "."),
        )
        return Target("volume", units=units, range=span)

    def _plane(self) -> str:
        spacing = self._found.spacing
        possible = self._found.planes or ("axial",)
        thickness = {plane: spacing[in_plane(plane)[2]] for plane in possible}
        thickest = max(thickness, key=lambda plane: thickness[plane])
        others = [value for axis, value in enumerate(spacing) if axis != in_plane(thickest)[2]]
        mm = " x ".join(f"{value:g}" for value in spacing)
        facts = f"Voxels are {mm} mm (left-right, front-back, foot-head)"
        if "axial" not in possible:
            reason = f"The lists of labelled slices fit the {thickest} plane, not the axial one."
            plane = thickest
        elif thickest != "axial" and thickness[thickest] > _THICK * max(others):
            plane, reason = thickest, f"{facts}: {thickest} slices are what was acquired."
        else:
            plane = "axial"
            reason = f"{facts}: axial slices are seen at their full resolution, or no worse."
            if possible != ("axial", "coronal", "sagittal") and len(possible) == 1:
                reason = f"The lists of labelled slices fit this plane alone. {facts}."
        self._because("sampling.plane", plane, reason)
        return plane

    def _spacing(self, plane: str) -> float | str:
        found = self._found
        axes = in_plane(plane)[:2]
        low = min(found.spacing_min[axis] for axis in axes)
        high = max(found.spacing_max[axis] for axis in axes)
        middle = math.sqrt(math.prod(found.spacing[axis] for axis in axes))
        largest = max(found.size[axis] for axis in axes)
        if largest > 1024:
            value = round(middle * largest / 512, 2)
            self._because(
                "preprocessing.spacing",
                value,
                f"Slices have {largest} pixels a side; "
                "larger pixels bring them to 512, which a network can see as a whole.",
            )
            return value
        if high <= 1.25 * low:
            self._because(
                "preprocessing.spacing",
                "auto",
                f"Pixels are {low:g} to {high:g} mm, "
                "alike to within a quarter: slices keep their own.",
            )
            return "auto"
        value = max(0.05, round(middle, 2))
        self._because(
            "preprocessing.spacing",
            value,
            f"Pixels are {low:g} to {high:g} mm; all slices are brought to the median.",
        )
        return value

    def _size(self, plane: str, spacing: float | str) -> tuple[int, int]:
        """Rows and columns of a typical slice as the network sees it."""
        columns, rows, _ = in_plane(plane)
        found = self._found
        scale = [
            1.0 if isinstance(spacing, str) else found.spacing[axis] / spacing
            for axis in (rows, columns)
        ]
        height, width = (
            max(1, round(found.size[axis] * s))
            for axis, s in zip((rows, columns), scale, strict=True)
        )
        return height, width

    def _window(self) -> tuple[float, float]:
        found = self._found
        low, high = found.foreground["0.5"], found.foreground["99.5"]
        what = "labelled voxels" if found.kind == "labels" else "voxels that are not air"
        facts = f"99 % of the {what} lie between {low:g} and {high:g}"
        if found.units == "HU":
            margin = 0.25 * (high - low) if found.kind == "labels" else 0.0
            low, high = low - margin, high + margin
            if high - low < 200:
                middle = (low + high) / 2
                low, high = middle - 100, middle + 100
            window = (
                float(max(-1000, 50 * math.floor(low / 50))),
                float(min(3000, 50 * math.ceil(high / 50))),
            )
            if found.kind == "volume":
                window = (-1000.0, window[1])
                reason = f"{facts} HU; from air on, as everything is to be translated."
            else:
                reason = (
                    f"{facts} HU; with a quarter more on each side for what lies around them, at "
                    "least 200 HU, in steps of 50."
                )
        else:
            # Air must stay at 0, and what lies outside the labels is to be told from them.
            low = min(0.0, found.image_range[0]) if found.image_range[0] < 0 else 0.0
            high = max(high, found.image_range[1])
            window = (_rounded(low, math.floor), _rounded(high, math.ceil))
            if window[1] <= window[0]:
                window = (window[0], window[0] + 1)
            reason = f"{facts}; all values up to {high:g} in the images, from air ({low:g}) on."
        self._because("preprocessing.window", window, reason)
        return window

    def _body_crop(self, plane: str) -> bool:
        area = self._found.body_area_cm2
        if area is None:
            self._because(
                "preprocessing.body_crop",
                False,
                "The images are not in HU, by which the body is found.",
            )
            return False
        if plane != "axial":
            self._because(
                "preprocessing.body_crop",
                False,
                f"The table is told from the body on axial slices; these are {plane}.",
            )
            return False
        crop = area >= _TRUNK_CM2
        self._because(
            "preprocessing.body_crop",
            crop,
            f"The cross-section is {area:g} cm2, that of a trunk: air and table are dropped."
            if crop
            else f"The cross-section is {area:g} cm2, less than a trunk's ({_TRUNK_CM2:g}).",
        )
        return crop

    def _network(self, start: Recipe, shorter: int, pixels: int, slices: int) -> Network:
        if self._base is not None and start.network.name != "unet":
            self._because("network.name", start.network.name, "Of the recipe that this began with.")
            return start.network
        levels = max(2, min(5, 1 + int(math.log2(max(1, shorter / _LEAST_BOTTOM)))))
        self._because(
            "network.levels",
            levels,
            f"The shorter side of a slice is {shorter} pixels; the coarsest level keeps "
            f"{max(1, shorter // 2 ** (levels - 1))}.",
        )
        wanted = channels = 32 if slices >= _MANY_SLICES else 16
        while channels > 4 and _step_bytes(channels, pixels) > self._memory:
            channels //= 2
        reason = (
            f"{slices} labelled slices are {'many' if wanted == 32 else 'few'} "
            f"({_MANY_SLICES} or more: 32)"
        )
        if channels < wanted:
            reason += (
                f"; {wanted} would take {_step_bytes(wanted, pixels) / 2**30:.1f} GB a step, and "
                f"{self._memory / 2**30:g} GB are allowed"
            )
        self._because("network.channels", channels, f"{reason}.")
        in_hu = self._found.units == "HU"
        norm = "none" if in_hu else "instance"
        self._because(
            "network.norm",
            norm,
            "HU mean the same in every image; a norm would throw that away."
            if in_hu
            else "The values have no unit; instance norm makes images of several scanners alike.",
        )
        deep = levels >= 4
        self._because(
            "network.deep_supervision",
            deep,
            f"With {levels} levels, coarse ones {'learn faster with' if deep else 'need no'} "
            "outputs of their own.",
        )
        return dataclasses.replace(
            start.network, levels=levels, channels=channels, norm=norm, deep_supervision=deep
        )

    def _augmentation(self, start: Recipe, target: Target) -> Any:
        sided = [label.name for label in target.labels if names_a_side(label.name)]
        if sided:
            self._because(
                "augmentation.flip_left_right",
                0.0,
                f"Labels have sides ({', '.join(sided)}): a mirrored image would teach the wrong "
                "one, whichever way it is mirrored.",
            )
            return dataclasses.replace(start.augmentation, flip_left_right=0.0, flip_up_down=0.0)
        unnamed = any(label.name == f"label {label.value}" for label in target.labels)
        self._because(
            "augmentation.flip_left_right",
            start.augmentation.flip_left_right,
            "No label's name has a side."
            + (" Set both flips to 0 if a label is left or right." if unnamed else ""),
        )
        return start.augmentation

    def _training(self, start: Recipe, slices: int) -> Any:
        epochs = max(60, min(400, 10 * round(_STEPS / slices / 10)))
        patience = max(20, round(0.3 * epochs))
        steps = epochs * math.ceil(slices * (1 - start.training.validation_fraction))
        decay = round(max(0.5, min(0.99, 1 - 20 / max(1, steps))), 3)
        self._because(
            "training.epochs",
            epochs,
            f"With {slices} slices about {_STEPS} steps, but from 60 to 400 epochs.",
        )
        self._because("training.patience", patience, "Three tenths of the epochs.")
        self._because(
            "training.ema",
            decay,
            f"Averages the last {1 / (1 - decay):.0f} of about "
            f"{steps} steps; single epochs differ by more than their average.",
        )
        return dataclasses.replace(start.training, epochs=epochs, patience=patience, ema=decay)


def _step_bytes(channels: int, pixels: int) -> float:
    """Of the features of a U-Net and their gradients, fp32.

    Twelve maps of the finest level; the coarser ones, with twice the channels on a quarter of the
    pixels, are as many again.
    """
    return 4 * 2 * 12 * channels * pixels * 2


def _rounded(value: float, way: Any) -> float:
    """Two significant digits, downwards or upwards."""
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{way(value / step) * step:.10g}")
