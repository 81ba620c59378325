"""Folds by subject, and nested subsets of labelled slices."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from DeepTranslateLib.cohort.case import DOMAINS, Case, CohortError, labelled_slices, stack_axis
from DeepTranslateLib.cohort.cases import Cohort
from DeepTranslateLib.cohort.domains import dealt_to_folds, domains_of, subjects_of
from DeepTranslateLib.recipe import Recipe

_Slice = tuple[Case, int]


@dataclass(frozen=True)
class Fold:
    """One division of a cohort: who is held out, and what is learnt from.

    Attributes:
        number: From 1.
        held_out: Subjects, in alphabetical order; none of them is in `learning`.
        learning: Cases of all other subjects, without named parts.
        testing: Cases of the held-out subjects.
    """

    number: int
    held_out: tuple[str, ...]
    learning: Cohort
    testing: tuple[Case, ...]


def subject_folds(cohort: Cohort, folds: int, seed: int = 0) -> tuple[Fold, ...]:
    """Divide a cohort so that each subject is held out once, in folds as even as can be.

    Subjects named "test" are kept for another day; the names "training" and "validation" are set
    aside, since each subject has its turn. The same subjects and seed give the same folds,
    whatever the order of the cases. Of a cohort with domains each fold holds out subjects of
    both.

    Args:
        cohort: The cases.
        folds: How many; as many as there are subjects to leave one out at a time.
        seed: Which subjects come together.

    Raises:
        CohortError: There are fewer subjects, or of either domain fewer, than folds, or folds than
            two.
    """
    cases = [dataclasses.replace(case, split=None) for case in sorted(cohort.learning, key=_place)]
    subjects = sorted({case.subject for case in cases})
    if not 2 <= folds <= len(subjects):
        kept = sorted({case.subject for case in cohort.cases} - set(subjects))
        besides = f" besides those named test ({', '.join(kept)})" if kept else ""
        raise CohortError(
            f"{folds} folds are impossible: {cohort.source} has {len(subjects)} "
            f"subject{'s' * (len(subjects) != 1)}{besides}, and each fold holds out at least one. "
            + (
                f"Give 2 to {len(subjects)} folds."
                if len(subjects) > 1
                else "Add subjects; two are the least."
            )
        )
    drawn = [subjects[place] for place in np.random.default_rng(seed).permutation(len(subjects))]
    if cohort.has_domains:
        domains = domains_of(cases, cohort.source)
        _refuse_few(domains, folds, cohort.source)
        dealt = dealt_to_folds(domains, drawn, folds)
    else:
        dealt = [drawn[number::folds] for number in range(folds)]
    divided = []
    for number in range(folds):
        held_out = tuple(sorted(dealt[number]))
        learning = tuple(case for case in cases if case.subject not in held_out)
        testing = tuple(case for case in cases if case.subject in held_out)
        divided.append(Fold(number + 1, held_out, Cohort(learning, cohort.source), testing))
    return tuple(divided)


def _refuse_few(domains: Mapping[str, Collection[str]], folds: int, source: str) -> None:
    counts = {domain: len(subjects_of(domain, domains)) for domain in DOMAINS}
    least = min(counts.values())
    if folds > least:
        raise CohortError(
            f"{folds} folds are impossible: {source} has "
            f"{' and '.join(f'{n} of the {domain} domain' for domain, n in counts.items())}, and "
            "each fold holds out at least one subject of each. "
            + (
                f"Give 2 to {least} folds."
                if least > 1
                else "Add subjects; two of each are the least."
            )
        )


def with_fewer_slices(cohort: Cohort, count: int, recipe: Recipe, seed: int = 0) -> Cohort:
    """The cohort as if only `count` slices of it had been labelled.

    Subjects take turns, and the slices of each volume are spread along it; those that show
    something come before empty ones. Subsets are nested: with the same seed, that of 5 slices is
    part of that of 10.

    Args:
        cohort: The cases, each with a target.
        count: Slices to keep, at least two, so that one can validate.
        recipe: Says in which plane slices are counted, and which values are labels.
        seed: Which slices are drawn.

    Raises:
        CohortError: The cohort has fewer slices, or domains, or fewer than two are asked for.
        ImageError: An image cannot be read.
    """
    if cohort.has_domains:
        raise CohortError(
            f"{cohort.source} has domains, of which no slices are labelled. Leave the numbers of "
            "slices out, or name the slices to learn from in the CSV."
        )
    order = _slices_in_turn(cohort, recipe, np.random.default_rng(seed))
    if not 2 <= count <= len(order):
        raise CohortError(
            f"{count} labelled slices are impossible: {cohort.source} has {len(order)} to learn "
            f"from here. Give a number from 2 to {len(order)}."
        )
    kept: dict[int, list[int]] = {}
    places = {id(case): place for place, case in enumerate(cohort.cases)}
    for case, index in order[:count]:
        kept.setdefault(places[id(case)], []).append(index)
    cases = tuple(
        dataclasses.replace(cohort.cases[place], slices=tuple(sorted(kept[place])))
        for place in sorted(kept)
    )
    return Cohort(cases, cohort.source)


def _place(case: Case) -> tuple[str, str, tuple[int, ...]]:
    return case.subject, str(case.image) if case.image is not None else "", case.slices or ()


def _slices_in_turn(cohort: Cohort, recipe: Recipe, rng: np.random.Generator) -> list[_Slice]:
    """All labelled slices, in the order in which subsets take them."""
    cases = sorted(cohort.cases, key=lambda case: case.subject)
    drawn = [cohort.subjects[place] for place in rng.permutation(len(cohort.subjects))]
    full: list[list[_Slice]] = []
    empty: list[list[_Slice]] = []
    for subject in drawn:
        own = [_slices_by_content(case, recipe, rng) for case in cases if case.subject == subject]
        full.append(list(_in_turn([shown for shown, _ in own])))
        empty.append(list(_in_turn([nothing for _, nothing in own])))
    return [*_in_turn(full), *_in_turn(empty)]


def _slices_by_content(
    case: Case, recipe: Recipe, rng: np.random.Generator
) -> tuple[list[_Slice], list[_Slice]]:
    """The slices of a case that show something, and those that do not, each spread."""
    chosen = labelled_slices(case, recipe.sampling.plane)
    shows = dict.fromkeys(chosen, True)
    if recipe.target.kind == "labels":
        values = [v for label in recipe.target.labels for v in (label.value, *label.also)]
        orientation = case.read_image().orientation
        target = case.read_target().oriented(orientation)
        labelled = np.isin(target.voxels, values)
        counted = case.counted(orientation)
        if counted is not None:
            labelled &= counted
        stack = np.moveaxis(labelled, stack_axis(target, recipe.sampling.plane), 0)
        shows = {index: bool(stack[index].any()) for index in chosen}
    parts = [[index for index in chosen if shows[index] is wanted] for wanted in (True, False)]
    full, empty = ([(case, index) for index in _spread(part, rng)] for part in parts)
    return full, empty


def _spread(indices: Sequence[int], rng: np.random.Generator) -> list[int]:
    """The indices so that each is as far as can be from those before it."""
    if not indices:
        return []
    places = np.array(indices)
    order = [int(rng.integers(len(places)))]
    distance = np.abs(places - places[order[0]]).astype(np.float64)
    while len(order) < len(places):
        distance[order[-1]] = -1
        following = int(np.argmax(distance))
        order.append(following)
        distance = np.minimum(distance, np.abs(places - places[following]))
    return [int(places[place]) for place in order]


def _in_turn(queues: Sequence[Sequence[_Slice]]) -> Iterator[_Slice]:
    for row in itertools.zip_longest(*queues):
        yield from (item for item in row if item is not None)
