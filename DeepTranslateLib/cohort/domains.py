"""Who is drawn where a cohort has two domains, so that no part of it lacks one of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from DeepTranslateLib.cohort.case import DOMAINS, Case, CohortError


def domains_of(cases: Iterable[Case], source: str) -> dict[str, set[str]]:
    """The domains that each subject's cases are of.

    Args:
        cases: All with a domain.
        source: Where they come from, for messages.

    Raises:
        CohortError: A case has no domain, or a domain no case.
    """
    domains: dict[str, set[str]] = {}
    for case in cases:
        if case.domain is None:
            raise CohortError(
                f"Some cases of {source} have a domain and subject {case.subject} has one without. "
                f"Give each case its domain, {' or '.join(DOMAINS)}, or none at all."
            )
        domains.setdefault(case.subject, set()).add(case.domain)
    for domain in DOMAINS:
        if not subjects_of(domain, domains):
            raise CohortError(
                f"{source} has no case of the {domain} domain to learn from, and learning without "
                "pairs needs both. Add some."
            )
    return domains


def subjects_of(domain: str, domains: Mapping[str, Collection[str]]) -> list[str]:
    """The subjects with a case of a domain, in alphabetical order."""
    return sorted(subject for subject, own in domains.items() if domain in own)


def drawn_from_domains(
    domains: Mapping[str, Collection[str]],
    unnamed: Collection[str],
    fraction: float,
    seed: int,
    least: int,
) -> set[str]:
    """Draw subjects to validate on: a fraction of each domain's, at least one, never all.

    A domain with fewer than `least` subjects gives none, nor do its subjects for the other domain.

    Args:
        domains: Of each subject.
        unnamed: Subjects that come first; the others only where a domain has none of these.
        fraction: Of a domain's subjects.
        seed: Who is drawn.
        least: Subjects, at least 2, of a domain that gives some.
    """
    subjects = {domain: subjects_of(domain, domains) for domain in DOMAINS}
    large = [domain for domain in DOMAINS if len(subjects[domain]) >= least]
    eligible = sorted(subject for subject, own in domains.items() if set(own) <= set(large))
    wanted = {}
    for domain in large:
        own = [subject for subject in eligible if domain in domains[subject]]
        free = [subject for subject in own if subject in unnamed] or own
        part = max(1, round(fraction * len(subjects[domain])))
        wanted[domain] = min(part, len(free), len(subjects[domain]) - 1)
    drawn = [eligible[place] for place in np.random.default_rng(seed).permutation(len(eligible))]
    drawn.sort(key=lambda subject: subject not in unnamed)
    held_out = _filled(drawn, domains, wanted)
    if any(not held_out.intersection(subjects[domain]) for domain in large):
        # One who is in both domains was passed over, since the other domain had enough.
        drawn.sort(key=lambda subject: len(domains[subject]) < len(DOMAINS))
        held_out = _filled(drawn, domains, wanted)
    return held_out


def dealt_to_folds(
    domains: Mapping[str, Collection[str]], order: Sequence[str], folds: int
) -> list[list[str]]:
    """Deal subjects to folds so that each domain is spread over them as evenly as can be.

    Args:
        domains: Of each subject.
        order: All subjects, in the order in which they are dealt.
        folds: How many; no more than either domain has subjects.
    """
    dealt: list[list[str]] = [[] for _ in range(folds)]
    # Those of both domains first: whoever is of one can then fill what is missing.
    for subject in sorted(order, key=lambda subject: -len(domains[subject])):
        mine = set(domains[subject])
        fewest = min(
            dealt,
            key=lambda fold: (sum(len(mine & set(domains[o])) for o in fold), len(fold)),
        )
        fewest.append(subject)
    return dealt


def _filled(
    order: Iterable[str], domains: Mapping[str, Collection[str]], wanted: Mapping[str, int]
) -> set[str]:
    """Subjects in order, as long as none of their domains has all that are wanted of it."""
    left = dict(wanted)
    held_out = set()
    for subject in order:
        if all(left[domain] > 0 for domain in domains[subject]):
            held_out.add(subject)
            for domain in domains[subject]:
                left[domain] -= 1
    return held_out
