"""Which cases and slices of a cohort teach, validate and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from DeepTranslateLib.cohort.case import DOMAINS, PARTS, Case, CohortError, labelled_slices
from DeepTranslateLib.cohort.cases import Cohort
from DeepTranslateLib.cohort.domains import domains_of, drawn_from_domains, subjects_of
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe

# Below this number of subjects, holding one out would cost too much of what there is to learn.
_SUBJECTS_TO_SPLIT = 3


@dataclass(frozen=True)
class Selection:
    """A case and the slices of it that are meant; None: all."""

    case: Case
    slices: tuple[int, ...] | None


@dataclass(frozen=True)
class Split:
    """What teaches, what validates while training, and what is kept for a test; and why."""

    training: tuple[Selection, ...]
    validation: tuple[Selection, ...]
    test: tuple[Selection, ...]
    note: str

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return for each part the subject, image and slices of its selections, as plain JSON."""
        return {
            part: [
                {
                    "subject": selection.case.subject,
                    "image": str(selection.case.image)
                    if isinstance(selection.case.image, Path)
                    else "in memory",
                    **_mask_entry(selection.case),
                    **_domain_entry(selection.case),
                    "slices": None if selection.slices is None else list(selection.slices),
                }
                for selection in getattr(self, part)
            ]
            for part in PARTS
        }


def split_cohort(
    cohort: Cohort,
    fraction: float = 0.2,
    seed: int = 0,
    plane: str = "axial",
    whole_volumes: bool = False,
) -> Split:
    """Divide a cohort by subject into training, validation and test.

    Splits that the cohort names are kept. Where it names no validation, a fraction of the
    subjects that are not for the test is held out; those named "training" only if there are no
    others. With fewer than three subjects, labelled slices are held out instead.

    Of a cohort with domains, training and validation both hold cases of both: a fraction of each
    domain's subjects is held out, or, of a domain with fewer than three, of its slices. Nobody
    teaches in one domain and validates in the other, but for such slices.

    The same subjects and seed give the same split, whatever the order of the cases.

    Args:
        cohort: The cases.
        fraction: Part of the subjects, or of the labelled slices, to validate on.
        seed: Which subjects are drawn.
        plane: The recipe's plane, along which slices are counted.
        whole_volumes: Of domains no slices are held out, as where patches of volumes are learnt
            from; two subjects are then enough to hold out one.

    Raises:
        CohortError: A subject is named in two parts, nothing is left to train on, or training or
            validation lacks a domain.
        ImageError: Slices must be counted and the image, or a mask, cannot be read.
    """
    if not 0 < fraction < 1:
        raise CohortError(f"The fraction to hold out must lie between 0 and 1; it is {fraction}.")
    parts = _named_parts(cohort)
    # The order of selections decides what a seed trains on, so it may not hang on the file's.
    cases = sorted(cohort.cases, key=_place)
    test = tuple(_select(case, plane) for case in cases if parts[case.subject] == "test")
    learning = [case for case in cases if parts[case.subject] != "test"]
    if cohort.has_domains:
        least = 2 if whole_volumes else _SUBJECTS_TO_SPLIT
        return _split_domains(learning, test, parts, cohort.source, fraction, seed, plane, least)
    subjects = sorted({case.subject for case in learning})
    if "validation" in parts.values():
        held_out = {subject for subject in subjects if parts[subject] == "validation"}
        note = f"Training and validation are as named in {cohort.source}."
    elif len(subjects) >= _SUBJECTS_TO_SPLIT:
        held_out = _drawn(subjects, parts, fraction, seed)
        note = (
            f"{len(held_out)} of {len(subjects)} subjects are held out for validation: "
            f"{', '.join(sorted(held_out))}."
        )
    else:
        return _split_slices(learning, test, len(subjects), fraction, plane)
    training = tuple(_select(case, plane) for case in learning if case.subject not in held_out)
    if not training:
        raise CohortError(
            f"{cohort.source} leaves no case to train on: all are named validation or test. Name "
            "some training."
        )
    validation = tuple(_select(case, plane) for case in learning if case.subject in held_out)
    return Split(training, validation, test, note)


def _split_domains(
    cases: Sequence[Case],
    test: tuple[Selection, ...],
    parts: dict[str, str | None],
    source: str,
    fraction: float,
    seed: int,
    plane: str,
    least: int,
) -> Split:
    domains = domains_of(cases, source)
    if "validation" in parts.values():
        held_out = {subject for subject in domains if parts[subject] == "validation"}
        for domain in DOMAINS:
            _refuse_one_sided(subjects_of(domain, domains), held_out, domain, source)
        whole: tuple[str, ...] = DOMAINS
        notes = [f"Training and validation are as named in {source}."]
    else:
        unnamed = {subject for subject in domains if parts[subject] is None}
        held_out = drawn_from_domains(domains, unnamed, fraction, seed, least)
        subjects = {domain: subjects_of(domain, domains) for domain in DOMAINS}
        whole = tuple(d for d in DOMAINS if len(subjects[d]) >= least)
        notes = [_drawn_note(subjects[domain], held_out, domain) for domain in whole]
    by_subject = [case for case in cases if case.domain in whole]
    training = [_select(case, plane) for case in by_subject if case.subject not in held_out]
    validation = [_select(case, plane) for case in by_subject if case.subject in held_out]
    for domain in DOMAINS:
        if domain in whole:
            continue
        own = [case for case in cases if case.domain == domain]
        if least < _SUBJECTS_TO_SPLIT:
            raise CohortError(
                f"{source} has one subject of the {domain} domain to learn from, and where patches "
                "of volumes are learnt from, another one must validate. Add a subject."
            )
        try:
            some = _split_slices(own, (), len({c.subject for c in own}), fraction, plane)
        except CohortError as error:
            raise CohortError(f"In the {domain} domain: {error}") from None
        training.extend(some.training)
        validation.extend(some.validation)
        notes.append(f"In the {domain} domain: {some.note}")
    return Split(tuple(training), tuple(validation), test, " ".join(notes))


def _drawn_note(subjects: Sequence[str], held_out: set[str], domain: str) -> str:
    own = sorted(held_out.intersection(subjects))
    return (
        f"{len(own)} of {len(subjects)} subjects of the {domain} domain are held out for "
        f"validation: {', '.join(own)}."
    )


def _refuse_one_sided(
    subjects: Sequence[str], held_out: set[str], domain: str, source: str
) -> None:
    """Refuse a domain of which all subjects, or none, are named "validation"."""
    own = held_out.intersection(subjects)
    if not own or len(own) == len(subjects):
        raise CohortError(
            f"{source} names {'no' if not own else 'every'} subject of the {domain} domain for "
            "validation; training and validation both need both domains. Name "
            f"{'some of it' if not own else 'some training'}, or no validation at all."
        )


def _domain_entry(case: Case) -> dict[str, str]:
    return {} if case.domain is None else {"domain": case.domain}


def split_for(cohort: Cohort, recipe: Recipe) -> Split:
    """The split that a training of the recipe makes; raises what `split_cohort` does."""
    return split_cohort(
        cohort,
        recipe.training.validation_fraction,
        recipe.training.seed,
        recipe.sampling.plane,
        whole_volumes=recipe.is_volumetric,
    )


def _mask_entry(case: Case) -> dict[str, str]:
    if case.mask is None:
        return {}
    return {"mask": str(case.mask) if isinstance(case.mask, Path) else "in memory"}


def _named_parts(cohort: Cohort) -> dict[str, str | None]:
    """The part that each subject is named in; None where none is named."""
    parts: dict[str, str | None] = {}
    for case in cohort.cases:
        known = parts.get(case.subject)
        if known is not None and case.split is not None and case.split != known:
            raise CohortError(
                f"Subject {case.subject} is named both {known} and {case.split}. Name all cases of "
                "a subject alike: a model must not be judged on people it has seen."
            )
        parts[case.subject] = known or case.split
    return parts


def _place(case: Case) -> tuple[str, str, str]:
    image = "" if isinstance(case.image, Image) else str(case.image)
    return case.subject, image, case.domain or ""


def _select(case: Case, plane: str) -> Selection:
    return Selection(case, case.counted_slices(plane))


def _drawn(
    subjects: Sequence[str], parts: dict[str, str | None], fraction: float, seed: int
) -> set[str]:
    free = [subject for subject in subjects if parts[subject] is None] or list(subjects)
    wanted = max(1, round(fraction * len(subjects)))
    count = min(wanted, len(free), len(subjects) - 1)
    order = np.random.default_rng(seed).permutation(len(free))
    return {free[index] for index in order[:count]}


def _split_slices(
    cases: Sequence[Case],
    test: tuple[Selection, ...],
    subjects: int,
    fraction: float,
    plane: str,
) -> Split:
    labelled = [labelled_slices(case, plane) for case in cases]
    total = sum(len(slices) for slices in labelled)
    if total < 2:
        raise CohortError(
            f"There {'is only one labelled slice' if total else 'are no labelled slices'} to learn "
            "from; at least two are needed, one of them to validate on. Label more slices."
        )
    wanted = min(max(1, round(fraction * total)), total - 1)
    training, validation = [], []
    counts = _shared_out(wanted, [len(slices) for slices in labelled])
    for case, slices, count in zip(cases, labelled, counts, strict=True):
        held = {slices[position] for position in _spread(len(slices), count)}
        left = tuple(index for index in slices if index not in held)
        if left:
            training.append(Selection(case, left))
        if held:
            validation.append(Selection(case, tuple(sorted(held))))
    note = (
        f"With only {subjects} subject{'s' * (subjects > 1)} to learn from, {wanted} of {total} "
        "labelled slices, spread over each volume, are held out for validation instead of whole "
        "subjects. Slices of one person look alike: expect worse on a new person than this "
        "validation says."
    )
    return Split(tuple(training), tuple(validation), test, note)


def _shared_out(wanted: int, sizes: Sequence[int]) -> list[int]:
    """Divide `wanted` in proportion to the sizes, in whole numbers (largest remainders)."""
    shares = [wanted * size / sum(sizes) for size in sizes]
    counts = [int(share) for share in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (counts[i] - shares[i], i))
    for index in by_remainder[: wanted - sum(counts)]:
        counts[index] += 1
    return counts


def _spread(size: int, count: int) -> list[int]:
    """Return `count` evenly spread positions among `size`, off the ends where there is room."""
    if count <= size - 2:
        # At the ends a network would have to guess beyond what it was shown.
        return [1 + position for position in _spread_fully(size - 2, count)]
    return _spread_fully(size, count)


def _spread_fully(size: int, count: int) -> list[int]:
    return [int((index + 0.5) * size / count) for index in range(count)]
