"""How long a training will take and how much memory it needs, measured before it starts."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from DeepTranslateLib.cohort import Case, Cohort, CohortError, Selection, split_for
from DeepTranslateLib.cohort.case import DOMAINS, SOURCE, stack_axis
from DeepTranslateLib.cohort.check import check_cohort, faults_table
from DeepTranslateLib.engine.autocontext import trainings_of
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.device import choose_device, without_denormals
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.memory import memory_use
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.engine.unpairedset import UnpairedSet, training_set
from DeepTranslateLib.engine.volumeset import VolumeSet
from DeepTranslateLib.engine.volumestack import resolved_spacings
from DeepTranslateLib.recipe import Recipe

_READING_SECONDS = 3.0
_STEP_SECONDS = 5.0
_VALIDATION_SECONDS = 1.0
_MOST_STEPS = 40
_SLICES_OF_A_CASE = 4


def estimate(recipe: Recipe, cohort: Cohort, device: str = "auto") -> dict[str, Any]:
    """Measure some real steps and a validation, and reckon from them; nothing is kept.

    Reads as many cases as a few seconds allow, at least one of each side of the split and, where
    there are domains, of each of these. Where not all are read and the cohort does not name the
    labelled slices, their number is reckoned, too.

    Args:
        recipe: What would be trained.
        cohort: On what.
        device: "auto", "cpu", "cuda" or "mps".

    Returns:
        `seconds_per_epoch` (steps and validation), `seconds` (all epochs, of all trainings of a
        recipe with stages, and reading the cohort; patience may end one sooner), `memory_bytes`
        and `memory_total_bytes` (of the GPU, or of the machine), `parameters` of the network,
        `training_slices`, `validation_slices`, `device` and `steps_measured`.

    Raises:
        CohortError: What was read has faults; the message is their table.
        ImageError: A file cannot be read.
        DeviceError: There is no such device.
        torch.OutOfMemoryError: A step does not fit on the device.
    """
    torch_device = choose_device(device)
    training = recipe.training
    if recipe.is_denoising:
        cohort = cohort.with_clean_targets()
    split = split_for(cohort, recipe)
    held: dict[Case, Case] = {}
    sides = [_Side(part, recipe, held) for part in (split.training, split.validation)]
    _read_in_turn(sides)
    _refuse_faults([selection for side in sides for selection in side.read], recipe)
    recipe = resolved_spacings(recipe, (each.case.read_image() for each in sides[0].read))
    with tempfile.TemporaryDirectory(prefix="deeptranslate-") as folder:
        some = [side.some() for side in sides]
        sets = [
            training_set(part, recipe, Path(folder) / "cache", teaching=part is some[0])
            for part in some
        ]
        shares = [side.share(part) for side, part in zip(sides, some, strict=True)]
        if torch_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(torch_device)
        learner = Learner(recipe, torch_device)
        steps = _step_seconds(learner, sets[0], recipe)
        validated = len(sets[1].pieces) * shares[1]
        if recipe.is_unpaired and not recipe.is_volumetric:
            validated = sides[1].slices_of(SOURCE)
        validation = _validation_seconds(learner, sets[1]) * validated
        memory = memory_use(torch_device)
        used = memory["used"]
        if memory["kind"] == "process":
            # Of what is learnt from, only what was measured is in it.
            used += sum(
                (share - 1) * part.size_in_bytes for share, part in zip(shares, sets, strict=True)
            )
    step = float(np.median(steps))
    pieces = recipe.sampling.patches_per_epoch if recipe.is_volumetric else None
    if pieces is None:
        pieces = round(len(sets[0].epoch(0)) * shares[0])
        if recipe.is_unpaired and not recipe.is_volumetric:
            pieces = max(sides[0].slices_of(domain) for domain in DOMAINS)
    epoch = -(-pieces // training.batch_size) * step + validation
    subjects = {selection.case.subject for selection in split.training}
    # Those of a fold take as long where patches_per_epoch says how many, and less where not.
    trainings = trainings_of(recipe, len(subjects))
    # Checked, read, and the validation read and translated once more for the model's card.
    around = sum(side.reading_seconds for side in sides) * 2 + validation
    return {
        "seconds_per_epoch": epoch,
        "seconds": epoch * training.epochs * trainings + around,
        "memory_bytes": int(used),
        "memory_total_bytes": memory["total"],
        "parameters": sum(p.numel() for p in learner.translator.parameters()),
        "training_slices": sides[0].slices,
        "validation_slices": sides[1].slices,
        "device": str(torch_device),
        "steps_measured": len(steps),
    }


class _Side:
    """The selections of training or validation, of which some have been read into memory.

    Args:
        selections: All of them.
        recipe: Says which plane slices are counted in.
        held: Cases in memory, by what they were read from; both sides may have slices of one.
    """

    def __init__(
        self, selections: Sequence[Selection], recipe: Recipe, held: dict[Case, Case]
    ) -> None:
        self._left = list(selections)
        self._count = len(selections)
        self._plane = recipe.sampling.plane
        self._by_volume = recipe.is_volumetric
        self._has_pairs = not recipe.is_unpaired
        self._named = [None if s.slices is None else len(s.slices) for s in selections]
        self._domains = [s.case.domain for s in selections]
        self._seconds = 0.0
        self._held = held
        self.read: list[Selection] = []

    def read_next(self) -> None:
        """Read one more case, where one is left."""
        if not self._left:
            return
        # From both ends and the middle, as cohorts are often in the order of their scanners.
        place = [0, -1, len(self._left) // 2][len(self.read) % 3]
        selection = self._left.pop(self._fresh()[0] if self.read and self._fresh() else place)
        case, started = selection.case, time.monotonic()
        if case not in self._held:
            self._held[case] = dataclasses.replace(
                case,
                image=case.read_image(),
                target=case.read_target() if self._has_pairs else None,
                mask=case.read_mask(),
            )
        self._seconds += time.monotonic() - started
        self.read.append(Selection(self._held[case], selection.slices))

    @property
    def lacks_a_domain(self) -> bool:
        """Whether nothing was read yet of some domain."""
        return bool(self._fresh())

    def _fresh(self) -> list[int]:
        """Places of what is left of domains that nothing was read of."""
        known = {selection.case.domain for selection in self.read}
        return [place for place, s in enumerate(self._left) if s.case.domain not in known]

    def some(self) -> list[Selection]:
        """What was read, with a few slices of each case where slices are what is learnt from."""
        if self._by_volume:
            return self.read
        chosen = []
        for selection in self.read:
            slices = selection.slices or tuple(range(self._slices_of(selection.case)))
            picked = np.linspace(0, len(slices) - 1, min(len(slices), _SLICES_OF_A_CASE))
            some = tuple(slices[round(place)] for place in picked)
            chosen.append(dataclasses.replace(selection, slices=some))
        return chosen

    def share(self, some: Sequence[Selection]) -> float:
        """How many times as much there is as there is in what `some` gave."""
        if self._by_volume:
            return self._count / len(self.read)
        return self.slices / sum(len(selection.slices or ()) for selection in some)

    @property
    def slices(self) -> int:
        """All slices of this side; those of cases that were not read are reckoned."""
        return sum(map(self.slices_of, dict.fromkeys(self._domains)))

    def slices_of(self, domain: str | None) -> int:
        """As `slices`, of the cases of a domain; None: of those that have none."""
        sides = zip(self._named, self._domains, strict=True)
        named = [number for number, theirs in sides if theirs == domain]
        known = sum(number for number in named if number is not None)
        read = [s.case for s in self.read if s.slices is None and s.case.domain == domain]
        unnamed = [self._slices_of(case) for case in read]
        missing = named.count(None)
        return known + (round(missing * float(np.mean(unnamed))) if unnamed else missing)

    @property
    def reading_seconds(self) -> float:
        """To read all cases of this side once."""
        return self._seconds / max(1, len(self.read)) * self._count

    def _slices_of(self, case: Case) -> int:
        return case.read_image().shape[stack_axis(case.read_image(), self._plane)]


def _read_in_turn(sides: Sequence[_Side]) -> None:
    end = time.monotonic() + _READING_SECONDS
    for side in sides:
        while side.lacks_a_domain:
            side.read_next()
    # Memory is for the training: four volumes tell enough of the sizes of slices.
    while time.monotonic() < end and len(sides[0].read) < 4:
        before = len(sides[0].read)
        sides[0].read_next()
        if len(sides[0].read) == before:
            return


def _refuse_faults(selections: Sequence[Selection], recipe: Recipe) -> None:
    cases = dict.fromkeys(selection.case for selection in selections)
    faults = check_cohort(Cohort(tuple(cases), "the cohort"), recipe)
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        raise CohortError(
            f"The cohort has faults, found in the first cases:\n{faults_table(tuple(errors))}"
        )


@without_denormals()
def _step_seconds(
    learner: Learner, training: SliceSet | VolumeSet | UnpairedSet, recipe: Recipe
) -> list[float]:
    """Time of each of some steps; the first one, which sets things up, is left out."""
    seed, batch = recipe.training.seed, recipe.training.batch_size
    epochs = (training.epoch(epoch) for epoch in itertools.count())
    orders: Iterator[Any] = itertools.chain.from_iterable(epochs)
    learner.begin_epoch(0)
    times: list[float] = []
    end = time.monotonic() + _STEP_SECONDS
    for number in range(_MOST_STEPS + 1):
        chosen = list(itertools.islice(orders, batch))
        started = time.monotonic()
        learner.step(chosen, random_state(seed, 0, number))
        times.append(time.monotonic() - started)
        if time.monotonic() > end and len(times) > 1:
            break
    return times[1:]


@without_denormals()
def _validation_seconds(learner: Learner, validation: SliceSet | VolumeSet | UnpairedSet) -> float:
    """Time to validate a slice or patch; the first, which sets things up, is left out if it can."""
    times: list[float] = []
    end = time.monotonic() + _VALIDATION_SECONDS
    for piece in validation.pieces:
        started = time.monotonic()
        learner.validate([piece])
        times.append(time.monotonic() - started)
        if time.monotonic() > end:
            break
    return float(np.median(times[1:] or times))
