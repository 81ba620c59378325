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
from DeepTranslateLib.cohort.fingerprint import Fingerprint, names_a_side
from DeepTranslateLib.proposal_images import ImageChoices, Reason
from DeepTranslateLib.recipe import (
    Method,
    Network,
    Recipe,
    Target,
    recipe_from_json,
    write_recipe,
)
from DeepTranslateLib.schema import to_json

MEMORY_BYTES = 4 * 2**30
_LEAST_BOTTOM = 8  # pixels of the coarsest level
_MANY_SLICES = 100
_STEPS = 6000


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
    return Proposal(recipe_from_json(to_json(recipe)), choices.reasons)


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
        self._images = ImageChoices(found, base)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Of the choices so far."""
        return tuple(self._images.reasons)

    def recipe(self, name: str) -> Recipe:
        """The whole recipe."""
        found, base, images = self._found, self._base, self._images
        seen = images.input()
        target = images.target()
        start = base or Recipe(name=name, target=target)
        plane = images.plane()
        slices = max(2, found.shown_slices[plane])
        spacing = images.spacing(plane)
        rows, columns = images.size(plane, spacing)
        preprocessing = dataclasses.replace(
            start.preprocessing,
            window=images.window(),
            spacing=spacing,
            body_crop=images.body_crop(plane),
        )
        network = self._network(start, min(rows, columns), rows * columns, slices)
        method = start.method
        if base is None and found.kind == "volume":
            method = Method(loss="mae")
            self._images.because(
                "method.loss",
                "mae",
                "The targets are volumes: absolute errors are what they are judged by, and "
                "outliers count less than squared.",
            )
        return dataclasses.replace(
            start,
            title=start.title or f"Proposed for {found.subjects} subjects",
            description=start.description
            or f"Proposed from {found.subjects} subjects with {slices} labelled slices.",
            inputs=(seen,),
            target=target,
            sampling=dataclasses.replace(start.sampling, plane=plane),
            preprocessing=preprocessing,
            network=network,
            method=method,
            augmentation=self._augmentation(start, target),
            training=self._training(start, slices),
        )

    def _network(self, start: Recipe, shorter: int, pixels: int, slices: int) -> Network:
        if self._base is not None and start.network.name != "unet":
            self._images.because(
                "network.name", start.network.name, "Of the recipe that this began with."
            )
            return start.network
        levels = max(2, min(5, 1 + int(math.log2(max(1, shorter / _LEAST_BOTTOM)))))
        self._images.because(
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
        self._images.because("network.channels", channels, f"{reason}.")
        in_hu = self._found.units == "HU"
        norm = "none" if in_hu else "instance"
        self._images.because(
            "network.norm",
            norm,
            "HU mean the same in every image; a norm would throw that away."
            if in_hu
            else "The values have no unit; instance norm makes images of several scanners alike.",
        )
        deep = levels >= 4
        self._images.because(
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
            self._images.because(
                "augmentation.flip_left_right",
                0.0,
                f"Labels have sides ({', '.join(sided)}): a mirrored image would teach the wrong "
                "one, whichever way it is mirrored.",
            )
            return dataclasses.replace(start.augmentation, flip_left_right=0.0, flip_up_down=0.0)
        unnamed = any(label.name == f"label {label.value}" for label in target.labels)
        self._images.because(
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
        self._images.because(
            "training.epochs",
            epochs,
            f"With {slices} slices about {_STEPS} steps, but from 60 to 400 epochs.",
        )
        self._images.because("training.patience", patience, "Three tenths of the epochs.")
        self._images.because(
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
