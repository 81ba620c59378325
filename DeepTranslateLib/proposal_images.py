"""What of a proposed recipe follows from the images: labels, plane, pixel size, scale, crop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from DeepTranslateLib.cohort import CohortError
from DeepTranslateLib.cohort.fingerprint import UNKNOWN_VALUE, Fingerprint, in_plane
from DeepTranslateLib.proposal_reasons import Reasons
from DeepTranslateLib.recipe import Input, Label, Recipe, Target

_COLORS = (
    (230, 25, 75), (60, 180, 75), (0, 130, 200), (255, 225, 25), (145, 30, 180), (70, 240, 240),
    (245, 130, 48), (240, 50, 230), (210, 245, 60), (0, 128, 128), (170, 110, 40), (128, 128, 0),
)  # fmt: skip
_TRUNK_CM2 = 300.0  # a head has about 230, a trunk of an adult 400 and more
_THICK = 1.5
_NARROWEST_HU = 400
# Medians of T1-weighted brains: of one data set 1.35 times apart, of another 1.6, of four 3.4.
_ALIKE = 1.5
# As the built-in recipes have them: what is darker than the patient, and all but the brightest.
_STANDARD_WINDOWS = {"median": (0.0, 3.0), "percentiles": (-0.3, 1.2), "histogram": (-0.3, 1.2)}


class ImageChoices:
    """The choices that the images decide, each with its reason.

    Args:
        found: What the cohort is like.
        base: The recipe to begin with, or None.
        reasons: Collects the choices.
        named: Labels as the cohort's files name them; only those that it holds are taken.
        medians: Of what is not air in each image; empty where they were not measured.
    """

    def __init__(
        self,
        found: Fingerprint,
        base: Recipe | None,
        reasons: Reasons,
        named: Sequence[Label] = (),
        medians: Sequence[float] = (),
    ) -> None:
        self._found = found
        self._base = base
        self._reasons = reasons
        self._named = {label.value: label for label in named}
        self._medians = tuple(medians)

    @property
    def restores(self) -> bool:
        """The base makes its input better: noise is taken away, or a difference is learnt."""
        base = self._base
        return base is not None and (base.is_denoising or base.network.residual)

    def input(self) -> Input:
        """What the images are, in place of the first input."""
        found = self._found
        given = Input() if self._base is None else self._base.inputs[0]
        measured_again = given.units == "HU" or given.modality == "other"
        if self._reasons.keeps("inputs") or (self._base is not None and not measured_again):
            self._reasons.add("inputs", given.modality, "Named by the recipe that this began with.")
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
        self._reasons.add("inputs", found.modality, reason)
        return Input(given.name, found.modality, found.units)

    def target(self) -> Target:
        """The labels, or the range of values.

        Raises:
            CohortError: There is no label.
        """
        if self._found.kind == "volume":
            return self._volume_target()
        found, base = self._found, self._base
        given = () if base is None else base.target.labels
        known = {value for label in given for value in (label.value, *label.also)}
        ignore = None if base is None else base.target.ignore
        values = [int(value) for value in found.labels]
        if ignore is None and UNKNOWN_VALUE in values and UNKNOWN_VALUE not in known:
            ignore = UNKNOWN_VALUE
            self._reasons.add(
                "target.ignore",
                ignore,
                "The value 255 is customary for what was not "
                "decided; it neither teaches nor counts.",
            )
        new = [value for value in values if value not in known and value != ignore]
        labels = (*given, *self._new_labels(new, {label.name for label in given}))
        if not labels:
            raise CohortError("No labelled slice of the cohort holds a label: every voxel is 0.")
        shares = ", ".join(
            f"{value}: {100 * share:.3g} % in {found.label_subjects[value]} of {found.subjects}"
            for value, share in found.labels.items()
        )
        missing = [label.name for label in given if not {label.value, *label.also} & set(values)]
        self._reasons.add(
            "target.labels",
            [label.name for label in labels],
            f"Values in the labelled slices (part of the voxels; subjects): {shares}."
            + (f" No label map holds {', '.join(missing)}." if missing else "")
            + (" Give the others their names." if set(new) - set(self._named) else ""),
        )
        return Target("labels", labels, ignore)

    def _new_labels(self, values: Sequence[int], taken: set[str]) -> list[Label]:
        """Labels for values that the base does not know, as files name them, else "label 3"."""
        labels = []
        for place, value in enumerate(values):
            plain = Label(value, f"label {value}", _COLORS[place % len(_COLORS)])
            label = self._named.get(value, plain)
            if label.name in taken:
                label = dataclasses.replace(label, name=f"{label.name} ({value})")
            taken.add(label.name)
            labels.append(label)
        return labels

    def _volume_target(self) -> Target:
        found, base = self._found, self._base
        assert found.target_range is not None
        low, high = found.target_range
        units = "HU" if found.targets_in_hu else ""
        if base is not None and base.target.range is not None:
            reason = "Of the recipe that this began with"
            if base.target.standardisation != "none":
                reason += f", on the target's standard scale ('{base.target.standardisation}')"
            elif base.undoes_intensities:
                reason += f", on the input's scale ('{base.preprocessing.standardisation}')"
            self._reasons.add("target.range", base.target.range, f"{reason}.")
            return base.target
        if found.targets_in_hu:
            low, high = 100 * math.floor(low / 100), 100 * math.ceil(high / 100)
        span = (float(low), float(high) if high > low else float(low) + 1)
        self._reasons.add(
            "target.range",
            span,
            f"99 % of the targets' values lie between {found.target_range[0]:g} and "
            f"{found.target_range[1]:g}" + (", rounded to 100 HU." if units else "."),
        )
        return Target("volume", units=units, range=span)

    def plane(self) -> str:
        """Of the slices."""
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
        return self._reasons.choose("sampling.plane", plane, reason)

    def spacing(self, plane: str) -> float | str | None:
        """Pixel size, in mm, or "auto"."""
        found = self._found
        axes = in_plane(plane)[:2]
        low = min(found.spacing_min[axis] for axis in axes)
        high = max(found.spacing_max[axis] for axis in axes)
        middle = math.sqrt(math.prod(found.spacing[axis] for axis in axes))
        largest = max(found.size[axis] for axis in axes)
        value: float | str | None
        if self._base is not None and self.restores:
            value = self._base.preprocessing.spacing
            reason = "Of the recipe that this began with: noise and detail lie in single pixels."
        elif largest > 1024:
            value = round(middle * largest / 512, 2)
            reason = (
                f"Slices have {largest} pixels a side; larger pixels bring them to 512, which a "
                "network can see as a whole."
            )
        elif high <= 1.25 * low:
            value = "auto"
            reason = (
                f"Pixels are {low:g} to {high:g} mm, alike to within a quarter: slices keep their "
                "own."
            )
        else:
            value = max(0.05, round(middle, 2))
            reason = f"Pixels are {low:g} to {high:g} mm; all slices are brought to the median."
        return self._reasons.choose("preprocessing.spacing", value, reason)

    def size(self, plane: str, spacing: float | str | None) -> tuple[int, int]:
        """Rows and columns of a typical slice as the network sees it."""
        columns, rows, _ = in_plane(plane)
        found = self._found
        scale = [
            found.spacing[axis] / spacing if isinstance(spacing, float) else 1.0
            for axis in (rows, columns)
        ]
        height, width = (
            max(1, round(found.size[axis] * s))
            for axis, s in zip((rows, columns), scale, strict=True)
        )
        return height, width

    def standardisation(self, seen: Input) -> str:
        """How the images come to one scale.

        Chosen where nobody wrote one down, the scales of the images differ, and what is made does
        not lie on that of its image.

        Args:
            seen: The chosen input.
        """
        base, found = self._base, self._found
        value = "none" if base is None else base.preprocessing.standardisation
        if value != "none":
            reason = "Of the recipe that this began with."
        elif seen.units == "HU":
            reason = "HU mean the same on every scanner."
        elif seen.modality != "MR":
            reason = "Nothing says that the unit differs from image to image, as that of MR does."
        elif len(self._medians) < 2 or min(self._medians) <= 0:
            reason = (
                "The unit of MR may differ from scan to scan, and there were no two images to "
                "compare. Consider 'percentiles', with a window on that scale, such as [-0.3, 1.2]."
            )
        else:
            value, reason = self._by_medians(found.kind == "labels" or found.targets_in_hu)
        return self._reasons.choose("preprocessing.standardisation", value, reason)

    def _by_medians(self, fits: bool) -> tuple[str, str]:
        """A scale for MR without one.

        Args:
            fits: The targets do not have the images' unit.
        """
        low, high = min(self._medians), max(self._medians)
        facts = (
            f"The medians of what is not air lie between {low:g} and {high:g} in "
            f"{len(self._medians)} images"
        )
        if high <= _ALIKE * low:
            return "none", f"{facts}: alike to within {_ALIKE:g} times."
        facts += (
            f", more than {_ALIKE:g} times apart: the unit of MR differs from image to image, and "
        )
        is_open = self._base is None or not self._base.is_configured
        if not is_open or self._reasons.keeps("preprocessing.window"):
            return "none", (
                f"{facts}the recipe that this began with gives no scale. Consider 'percentiles', "
                "with a window on that scale, such as [-0.3, 1.2]."
            )
        if not fits:
            return "none", (
                f"{facts}perhaps that of the targets, too. Consider 'median' or 'percentiles' for "
                "both (here and as target.standardisation), with window and range on that scale, "
                "as in mr-t1-to-t2; outputs are then on that scale, too."
            )
        return "percentiles", f"{facts}the 1st and 99th percentile of the patient become 0 and 1."

    def window(self, seen: Input, standardisation: str) -> tuple[float, float]:
        """Intensities that become 0 and 1.

        Args:
            seen: The chosen input.
            standardisation: The chosen scale, on which the window is. What was measured is not on
                it, and the window is then that of the base, or as in the built-in recipes.
        """
        found = self._found
        given = None if self._base is None else self._base.preprocessing.window
        if self._base is not None and self._base.is_denoising and self._base.target.range:
            window = self._base.target.range
            reason = (
                "The same as target.range: clean images and those with noise lie on one scale, and "
                "what is clipped is lost in the output."
            )
        elif given is not None and self.restores:
            window = given
            reason = (
                "Of the recipe that this began with: the output is the input made better, and what "
                "is clipped is lost in it."
            )
        elif standardisation != "none":
            window = given or _STANDARD_WINDOWS[standardisation]
            reason = (
                f"On the standard scale ('{standardisation}'), on which "
                + (
                    "the median of the patient is 1"
                    if standardisation == "median"
                    else "the 1st and 99th percentile of the patient are 0 and 1"
                )
                + (
                    "; of the recipe that this began with."
                    if given
                    else "; as in the recipes for MR that come with DeepTranslate."
                )
            )
        elif seen.units != "HU" or found.units != "HU":
            # Air must stay at 0, and what lies outside the labels is to be told from them.
            low, high = min(0.0, found.image_range[0]), found.image_range[1]
            window = (_rounded(low, math.floor), _rounded(high, math.ceil))
            if window[1] <= window[0]:
                window = (window[0], window[0] + 1)
            reason = (
                f"The images have no unit. From air ({low:g}) to the 99.5th percentile of all "
                f"voxels ({high:g}), to two digits."
            )
        elif found.label_quartiles is None:
            high = found.foreground["99.5"]
            window = (-1000.0, float(min(3000, max(-900, 100 * math.ceil(high / 100)))))
            reason = (
                f"From air on, as everything is to be translated, to the 99.5th percentile of what "
                f"is no air ({high:g} HU), in steps of 100."
            )
        else:
            low, high = found.label_quartiles
            margin = max(high - low, 0.5 * (_NARROWEST_HU - (high - low)))
            window = (
                float(max(-1000, 50 * round((low - margin) / 50))),
                float(min(3000, 50 * round((high + margin) / 50))),
            )
            reason = (
                f"The middle half of each label's voxels lies between {low:g} and {high:g} HU; "
                "with as much again on each side, at least "
                f"{_NARROWEST_HU} HU in all, in steps of 50. What lies farther out is clipped: a "
                "wider window leaves less contrast between the labels to learn from."
            )
        return self._reasons.choose("preprocessing.window", window, reason)

    def body_crop(self, seen: Input, plane: str) -> bool:
        """Whether air and table are dropped.

        Args:
            seen: The chosen input.
            plane: Of the slices.
        """
        area, base = self._found.body_area_cm2, self._base
        crop = False
        if area is None or seen.units != "HU":
            reason = "The images are not in HU, by which the body is found."
        elif base is not None and base.preprocessing.mask != "none":
            reason = f"The mask '{base.preprocessing.mask}' leaves out air and table already."
        elif base is not None and self.restores:
            crop = base.preprocessing.body_crop
            reason = "Of the recipe that this began with: noise hides where the body ends."
        elif plane != "axial":
            reason = f"The table is told from the body on axial slices; these are {plane}."
        elif area < _TRUNK_CM2:
            reason = f"The cross-section is {area:g} cm2, less than a trunk's ({_TRUNK_CM2:g})."
        else:
            crop = True
            reason = (
                f"The cross-section is {area:g} cm2, that of a trunk: air and table are dropped."
            )
        return self._reasons.choose("preprocessing.body_crop", crop, reason)


def _rounded(value: float, way: Any) -> float:
    """Two significant digits, downwards or upwards."""
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{way(value / step) * step:.10g}")
