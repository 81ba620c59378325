"""Checks of domains: that they suit the recipe, and that there are both."""

from __future__ import annotations

from collections.abc import Iterator

from DeepTranslateLib.cohort.case import DOMAINS, TARGET, Case
from DeepTranslateLib.cohort.cases import Cohort
from DeepTranslateLib.cohort.fault import WHOLE_COHORT, Fault
from DeepTranslateLib.recipe import Recipe


def check_domains(cohort: Cohort, recipe: Recipe) -> Iterator[Fault]:
    """Find the domains that there is nothing to learn from, where a recipe needs both."""
    if not recipe.is_unpaired:
        return
    known = {case.domain for case in cohort.learning}
    if known == {None}:
        return  # each case has its fault
    for domain in DOMAINS:
        if domain not in known:
            yield Fault(
                WHOLE_COHORT,
                "domain_absent",
                "error",
                f"There is no case of the {domain} domain to learn from.",
                "Add some: a recipe that learns without pairs needs images of both domains.",
            )


def check_domain(case: Case, recipe: Recipe) -> Fault | None:
    """The fault of a case with a domain that a recipe has no use for, or without one it needs."""
    if recipe.is_unpaired and case.domain is None:
        return Fault(
            case.subject,
            "domain_missing",
            "error",
            f"{case.name} has no domain, and the recipe '{recipe.name}' learns without pairs.",
            "Say in the CSV's column domain whether it is source or target; of pairs, list both "
            "images.",
        )
    if case.domain is not None and not recipe.is_unpaired:
        return Fault(
            case.subject,
            "domain_unexpected",
            "error",
            f"{case.name} is of the {case.domain} domain, and the recipe '{recipe.name}' learns "
            "from pairs.",
            "Choose a recipe that learns without pairs, or give each image its target and no "
            "domain.",
        )
    return None


def units_of(case: Case, recipe: Recipe) -> tuple[str, str]:
    """Units that a case's image must have, and those that its target must have."""
    units = recipe.inputs[0].units, recipe.target.units
    return (units[1], units[0]) if case.domain == TARGET else units
