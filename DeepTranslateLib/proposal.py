"""From what a cohort is like to a recipe for it, with the reason of each choice.

The rules are those of nnU-Net's self-configuration where they fit (Isensee et al. 2021,
doi:10.1038/s41592-020-01008-z: windows from the foreground's percentiles, size of the network
from that of the images) and of Ye et al. 2021 for the rest.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cohort import CohortError
from DeepTranslateLib.cohort.fingerprint import UNKNOWN_VALUE, Fingerprint, in_plane, names_a_side
from DeepTranslateLib.proposal_images import ImageChoices
from DeepTranslateLib.proposal_reasons import Reason, Reasons
from DeepTranslateLib.recipe import (
    AS_WRITTEN,
    PLANES,
    Augmentation,
    Label,
    Method,
    Network,
    Recipe,
    Target,
    Training,
    recipe_from_json,
    write_recipe,
)
from DeepTranslateLib.recipe.learning import LAST
from DeepTranslateLib.schema import to_json

MEMORY_BYTES = 4 * 2**30
_LEAST_BOTTOM = 8  # pixels of the coarsest level
_LEAST_CORNER = 4  # voxels of a patch there, along its rows and columns
_MANY_SLICES = 100
_STEPS = 6000
_ROTATION = 20.0  # degrees


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
    *,
    named: Sequence[Label] = (),
    fixed: Collection[str] = (),
    medians: Sequence[float] = (),
) -> Proposal:
    """Propose a recipe for a cohort.

    Args:
        found: What the cohort is like.
        base: Keeps its name, labels, method, optimizer and whatever is not measured; one that is
            configured from a cohort also keeps all that differs from the defaults.
        name: Of the recipe without a base.
        memory_bytes: That a training step may take.
        named: Names and colours of labels, for those that the base does not know.
        fixed: Fields such as "training.epochs", or parts such as "network", that stay as they are
            in the base.
        medians: Of what is not air in each image, which tell whether MR have one scale; see
            `configuration.proposal_for`, which measures them where they matter.

    Raises:
        CohortError: The base makes something else than the cohort's targets, or there is no label.
        RecipeError: What is kept does not go together with what was chosen.
    """
    if base is not None and base.target.kind != found.kind:
        raise CohortError(
            f"The recipe '{base.name}' makes {base.target.kind} and the cohort's targets are "
            f"{found.kind}. Give a recipe of the same kind, or none."
        )
    reasons = Reasons(base, fixed)
    images = ImageChoices(found, base, reasons, named, medians)
    recipe = _Choices(found, base, memory_bytes, reasons, images).recipe(name)
    # What is wrong with a combination is said here, not when it is trained.
    return Proposal(recipe_from_json(to_json(recipe)), tuple(reasons.all))


def write_proposal(proposal: Proposal, found: Fingerprint, path: Path) -> Path:
    """Write the recipe, and beside it the reasons and what was measured; returns their path."""
    write_recipe(proposal.recipe, path)
    return write_reasons(proposal, found, path)


def write_reasons(
    proposal: Proposal, found: Fingerprint, recipe_path: Path, base: Recipe | None = None
) -> Path:
    """Write the reasons and what was measured beside a recipe; returns their path.

    Args:
        proposal: Why the recipe is so.
        found: What was measured.
        recipe_path: Where the recipe lies, or will.
        base: What it began with, to be recognised again.
    """
    content = {"fingerprint": to_json(found), "reasons": to_json(proposal.reasons)}
    if base is not None:
        content["base"] = to_json(base)
    beside = reasons_path(recipe_path)
    with atomic_file(beside) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return beside


class _Choices:
    """The choices, one after the other."""

    def __init__(
        self,
        found: Fingerprint,
        base: Recipe | None,
        memory: int,
        reasons: Reasons,
        images: ImageChoices,
    ) -> None:
        self._found = found
        self._base = base
        self._memory = memory
        self._choose = reasons.choose
        self._images = images

    @property
    def _is_free(self) -> bool:
        """Nobody wrote down how to learn."""
        return self._base is None or not self._base.is_configured

    def recipe(self, name: str) -> Recipe:
        """The whole recipe."""
        found, base, images = self._found, self._base, self._images
        seen = images.input()
        target = images.target()
        start = base or Recipe(name=name, target=target)
        plane = images.plane()
        slices = max(2, found.shown_slices[plane])
        spacing = images.spacing(plane)
        standardisation = images.standardisation(seen)
        preprocessing = dataclasses.replace(
            start.preprocessing,
            window=images.window(seen, standardisation),
            spacing=spacing,
            body_crop=images.body_crop(seen, plane),
            standardisation=standardisation,
        )
        size = images.size(plane, spacing)
        network = self._network(start, size, slices)
        return dataclasses.replace(
            start,
            configure=AS_WRITTEN,
            title=start.title or f"Proposed for {found.subjects} subjects",
            description=start.description
            or f"Proposed from {found.subjects} subjects with {slices} labelled slices.",
            inputs=(seen,),
            target=target,
            sampling=dataclasses.replace(start.sampling, plane=plane),
            preprocessing=preprocessing,
            network=network,
            method=self._method(start),
            augmentation=self._augmentation(start, target),
            training=self._training(start, plane, size),
        )

    def _method(self, start: Recipe) -> Method:
        if not self._is_free:
            return start.method
        if self._found.kind == "volume":
            loss, reason = (
                "mae",
                "The targets are volumes: absolute errors are what they are judged by, and "
                "outliers count less than squared.",
            )
        else:
            parts = self._found.labels
            smallest = min(part for value, part in parts.items() if value != str(UNKNOWN_VALUE))
            loss, reason = (
                "dice_cross_entropy",
                f"Labels exclude each other, and the smallest is {100 * smallest:.2g} % of the "
                "voxels: Dice counts each label alike whatever its size, cross-entropy each voxel.",
            )
        return dataclasses.replace(start.method, loss=self._choose("method.loss", loss, reason))

    def _kept_network(self, start: Recipe) -> str | None:
        """Why the network is that of the recipe to begin with; None where it is chosen."""
        if self._base is None:
            return None
        if start.network.name != "unet":
            return "Of the recipe that this began with."
        if self._images.restores:
            return (
                "Of the recipe that this began with: what noise and detail call for is a pixel's "
                "surroundings, not the size of the images."
            )
        if start.sampling.patch is not None and not self._is_free:
            size = " x ".join(map(str, start.sampling.patch))
            return f"Of the recipe that this began with, made for its patches of {size} voxels."
        return None

    def _network(self, start: Recipe, size: tuple[int, int], slices: int) -> Network:
        kept = self._kept_network(start)
        if kept is not None:
            for name in ("name", "levels", "channels", "norm"):
                self._choose(f"network.{name}", getattr(start.network, name), kept)
            return start.network
        patch, batch = start.sampling.patch, start.training.batch_size
        seen = size if patch is None else patch[1:]
        shorter, least = min(seen), _LEAST_BOTTOM if patch is None else _LEAST_CORNER
        levels = max(2, min(5, 1 + int(math.log2(max(1, shorter / least)))))
        levels = self._choose(
            "network.levels",
            levels,
            f"The shorter side of a {'slice' if patch is None else 'patch'} is {shorter} pixels; "
            f"the coarsest level keeps {max(1, shorter // 2 ** (levels - 1))}.",
        )
        pixels = batch * math.prod(size if patch is None else patch)
        wanted = channels = 32 if slices >= _MANY_SLICES else 16
        while channels > 4 and _step_bytes(channels, pixels) > self._memory:
            channels //= 2
        reason = (
            f"{slices} labelled slices are {'many' if wanted == 32 else 'few'} "
            f"({_MANY_SLICES} or more: 32)"
        )
        if channels < wanted:
            reason += (
                f"; {wanted} would take {_step_bytes(wanted, pixels) / 2**30:.1f} GB a step"
                + (f" of {batch} {'slices' if patch is None else 'patches'}" if batch > 1 else "")
                + f", and {self._memory / 2**30:g} GB are allowed"
            )
        channels = self._choose("network.channels", channels, f"{reason}.")
        in_hu = self._found.units == "HU"
        norm = self._choose(
            "network.norm",
            "none" if in_hu else "instance",
            "HU mean the same in every image; a norm would throw that away."
            if in_hu
            else "The values have no unit; instance norm makes images of several scanners alike.",
        )
        deep = levels >= 4
        reason = (
            f"With {levels} levels, coarse ones {'learn faster with' if deep else 'need no'} "
            "outputs of their own."
        )
        if start.method.name != "supervised":
            deep, reason = False, f"'{start.method.name}' judges the finest output alone."
        deep = self._choose("network.deep_supervision", deep, reason)
        return dataclasses.replace(
            start.network, levels=levels, channels=channels, norm=norm, deep_supervision=deep
        )

    def _augmentation(self, start: Recipe, target: Target) -> Augmentation:
        given = start.augmentation
        rotation, left_right, up_down = given.rotation, given.flip_left_right, given.flip_up_down
        unnamed = any(label.name == f"label {label.value}" for label in target.labels)
        reason = "No label's name has a side." + (
            " Set both flips to 0 if a label is left or right." if unnamed else ""
        )
        upright = reason
        if self._is_free:
            upright = (
                "People lie alike; a network that also learns them upside down, or turned by 70 "
                "degrees, takes several times as many steps."
            )
            rotation = self._choose("augmentation.rotation", _ROTATION, upright)
            up_down = 0.0
        sided = [label.name for label in target.labels if names_a_side(label.name)]
        if sided:
            reason = upright = (
                f"Labels have sides ({', '.join(sided)}): a mirrored image would teach the wrong "
                "one, whichever way it is mirrored."
            )
            left_right = up_down = 0.0
        return dataclasses.replace(
            given,
            rotation=rotation,
            flip_left_right=self._choose("augmentation.flip_left_right", left_right, reason),
            flip_up_down=self._choose("augmentation.flip_up_down", up_down, upright),
        )

    def _training(self, start: Recipe, plane: str, size: tuple[int, int]) -> Training:
        batch = start.training.batch_size
        pieces, what = self._pieces(start, plane, size)
        epochs = self._choose(
            "training.epochs",
            max(60, min(400, 10 * round(_STEPS * batch / pieces / 10))),
            f"With {pieces} {what}"
            + (f", {batch} a step," if batch > 1 else "")
            + f" about {_STEPS} steps, but from 60 to 400 epochs.",
        )
        patience: int | None = max(20, round(0.3 * epochs))
        reason = "Three tenths of the epochs, at least 20."
        if start.training.monitor == LAST:
            patience = None
            reason = "The last epoch counts (training.monitor): there is no better one to wait for."
        patience = self._choose("training.patience", patience, reason)
        learnt = pieces
        if start.sampling.patch is None or start.sampling.patches_per_epoch is None:
            learnt = math.ceil(pieces * (1 - start.training.validation_fraction))
        steps = epochs * math.ceil(learnt / batch)
        decay = round(max(0.5, min(0.99, 1 - 20 / max(1, steps))), 3)
        decay = self._choose(
            "training.ema",
            decay,
            f"Averages the last {1 / (1 - decay):.0f} of about "
            f"{steps} steps; single epochs differ by more than their average.",
        )
        return dataclasses.replace(start.training, epochs=epochs, patience=patience, ema=decay)

    def _pieces(self, start: Recipe, plane: str, size: tuple[int, int]) -> tuple[int, str]:
        """How many slices or patches an epoch has before some are held out, and which they are."""
        found, sampling = self._found, start.sampling
        if sampling.patch is None:
            planes = PLANES if sampling.fusion else (plane,)
            return max(2, sum(found.shown_slices[each] for each in planes)), "slices"
        if sampling.patches_per_epoch is not None:
            return sampling.patches_per_epoch, "patches an epoch"
        slices, distance = found.size[in_plane(plane)[2]], start.preprocessing.slice_spacing
        if isinstance(distance, float):
            slices = max(1, round(slices * found.spacing[in_plane(plane)[2]] / distance))
        cover = [math.ceil(n / p) for n, p in zip((slices, *size), sampling.patch, strict=True)]
        return max(2, found.cases * math.prod(cover)), "patches that cover the images"


def _step_bytes(channels: int, pixels: int) -> float:
    """Of the features of a U-Net and their gradients, fp32.

    Twelve maps of the finest level; the coarser ones, with twice the channels on a quarter of the
    pixels, are as many again.
    """
    return 4 * 2 * 12 * channels * pixels * 2
