"""Checks of domains: that they suit the recipe, and that there are both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from DeepTranslateLib.cohort.case import DOMAINS, TARGET, Case
from DeepTranslateLib.cohort.cases import Cohort
from DeepTranslateLib.cohort.fault import WHOLE_COHORT, Fault
from DeepTranslateLib.recipe import Recipe


def check_domains(cohort: Cohort, recipe: Recipe) -> Iterator[Fault]:
    """Find cases with a domain that the recipe has no use for, and what is missing of domains."""
    if not recipe.is_unpaired:
        yield from _unexpected([case for case in cohort.cases if case.domain is not None], cohort)
        return
    if recipe.is_volumetric:
        yield from _whole_volumes(cohort)
    else:
        yield from _masks(cohort)
    without = [case for case in cohort.cases if case.domain is None]
    yield from _missing(without, cohort)
    learnt = {case.domain for case in cohort.learning}
    for domain in DOMAINS:
        if cohort.has_domains and domain not in learnt:
            yield Fault(
                WHOLE_COHORT,
                "domain_absent",
                "error",
                f"There is no case of the {domain} domain to learn from.",
                "Add some: a recipe that learns without pairs needs images of both domains.",
            )


def _unexpected(cases: Sequence[Case], cohort: Cohort) -> Iterator[Fault]:
    for subject, what in _said_once(cases, cohort, "have domains", "has a domain"):
        yield Fault(
            subject,
            "domain_unexpected",
            "error",
            f"{what}, and the recipe learns from pairs.",
            "Choose a recipe that learns without pairs, or give each image its target and no "
            "domain.",
        )


def _missing(cases: Sequence[Case], cohort: Cohort) -> Iterator[Fault]:
    for subject, what in _said_once(cases, cohort, "have no domain", "has no domain"):
        yield Fault(
            subject,
            "domain_missing",
            "error",
            f"{what}, and the recipe learns without pairs.",
            "Say in the CSV's column domain whether each is source or target; of pairs, list both "
            "images.",
        )


def _whole_volumes(cohort: Cohort) -> Iterator[Fault]:
    for case in cohort.learning:
        given = {"slices": case.slices, "mask": case.mask}
        names = " and ".join(name for name, value in given.items() if value is not None)
        if names:
            yield Fault(
                case.subject,
                "whole_volume_teaches",
                "warning",
                f"{case.name} has {names}, and patches are learnt from all of the volume.",
                "Crop the volume if a part of it must not teach.",
            )


def _masks(cohort: Cohort) -> Iterator[Fault]:
    masked = [case for case in cohort.learning if case.mask is not None]
    for subject, what in _said_once(masked, cohort, "have masks", "has a mask"):
        yield Fault(
            subject,
            "mask_chooses_slices",
            "warning",
            f"{what}, and of a slice without a pair all is learnt; only slices where a mask is 0 "
            "everywhere are left out.",
            "Nothing, if that is meant; else use preprocessing.mask or body_crop, or images in "
            "which air is in the place of what must not teach.",
        )


def _said_once(
    cases: Sequence[Case], cohort: Cohort, of_all: str, of_one: str
) -> list[tuple[str, str]]:
    """Subjects and sentences: one for a whole cohort, else one for each case."""
    if cases and len(cases) == len(cohort.cases):
        return [(WHOLE_COHORT, f"The images {of_all}")]
    return [(case.subject, f"{case.name} {of_one}") for case in cases]


def units_of(case: Case, recipe: Recipe) -> tuple[str, str]:
    """Units that a case's image must have, and those that its target must have."""
    units = recipe.inputs[0].units, recipe.target.units
    return (units[1], units[0]) if case.domain == TARGET else units
