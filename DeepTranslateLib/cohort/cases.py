"""Cohort: which images belong together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from DeepTranslateLib.cohort.case import DOMAINS, Case, CohortError
from DeepTranslateLib.cohort.files import read_cases
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import image_name


@dataclass(frozen=True)
class Cohort:
    """Cases that a model learns from or is held against.

    Args:
        cases: At least one. For learning without pairs each has a domain.
        source: Where they come from, for messages.

    Raises:
        CohortError: There is no case.
    """

    cases: tuple[Case, ...]
    source: str

    def __post_init__(self) -> None:
        """Refuse a cohort without a case."""
        object.__setattr__(self, "cases", tuple(self.cases))
        if not self.cases:
            raise CohortError(f"{self.source} holds no case. Add at least one image.")

    @property
    def subjects(self) -> tuple[str, ...]:
        """Every subject once, in alphabetical order."""
        return tuple(sorted({case.subject for case in self.cases}))

    @property
    def learning(self) -> tuple[Case, ...]:
        """The cases of all subjects but those of whom a case is named "test"."""
        tested = {case.subject for case in self.cases if case.split == "test"}
        return tuple(case for case in self.cases if case.subject not in tested)

    @property
    def has_domains(self) -> bool:
        """Whether any case says which domain it is of, as cohorts for learning without pairs do."""
        return any(case.domain is not None for case in self.cases)

    def of_domain(self, domain: str) -> Cohort:
        """The cases of one domain.

        Args:
            domain: "source" or "target".

        Raises:
            CohortError: There are none, or no such domain.
        """
        if domain not in DOMAINS:
            raise CohortError(f"There is no domain {domain!r}. Give {' or '.join(DOMAINS)}.")
        cases = tuple(case for case in self.cases if case.domain == domain)
        if not cases:
            raise CohortError(
                f"{self.source} holds no case of the {domain} domain. Add some, or name the "
                "domain of those that are there."
            )
        return Cohort(cases, self.source)

    def with_clean_targets(self) -> Cohort:
        """The cohort where a case without a target has its own image as one, as for denoising."""
        cases = (
            dataclasses.replace(case, target=case.image) if case.target is None else case
            for case in self.cases
        )
        return Cohort(tuple(cases), self.source)


def read_cohort(path: str | Path) -> Cohort:
    """Read a cohort: a CSV, a folder of subject or domain folders, or an nnU-Net data set.

    Images are not opened; `check.check_cohort` does that.

    Args:
        path: CSV or folder, as described in docs/cohorts.md.

    Raises:
        CohortError: It does not say which files belong together.
        OSError: Something may not be opened.
    """
    return Cohort(read_cases(path), str(path))


def cohort_from_lists(
    images: Sequence[Path | str | Image],
    targets: Sequence[Path | str | Image | None] | None,
    subjects: Sequence[str] | None = None,
    slices: Sequence[Iterable[int] | None] | None = None,
    splits: Sequence[str | None] | None = None,
    masks: Sequence[Path | str | Image | None] | None = None,
    domains: Sequence[str | None] | None = None,
) -> Cohort:
    """Make a cohort of lists of the same length, for callers in Python.

    Args:
        images: Files, DICOM folders or images in memory.
        targets: The label map or target volume of each.
        subjects: Who each image shows. Without it every file is a subject of its own, named after
            it and, where names repeat, after its folder too.
        slices: Labelled slices of each, None where all are.
        splits: "training", "validation", "test" or None for each.
        masks: What counts in each, None where all voxels do.
        domains: "source" or "target" for each, for learning without pairs; then `targets` may be
            None.

    Raises:
        CohortError: The lists do not fit together.
    """
    lists = {
        "targets": targets,
        "subjects": subjects,
        "slices": slices,
        "splits": splits,
        "masks": masks,
        "domains": domains,
    }
    for name, values in lists.items():
        if values is not None and len(values) != len(images):
            raise CohortError(
                f"There are {len(images)} images and {len(values)} {name}. Give one for each "
                "image, None where there is none."
            )
    nothing = [None] * len(images)
    rows = zip(
        images,
        targets if targets is not None else nothing,
        subjects if subjects is not None else _default_subjects(images),
        slices if slices is not None else nothing,
        splits if splits is not None else nothing,
        masks if masks is not None else nothing,
        domains if domains is not None else nothing,
        strict=True,
    )
    cases = tuple(
        Case(
            subject,
            image if isinstance(image, Image) else Path(image),
            target if target is None or isinstance(target, Image) else Path(target),
            None if chosen is None else tuple(chosen),
            part,
            mask if mask is None or isinstance(mask, Image) else Path(mask),
            domain,
        )
        for image, target, subject, chosen, part, mask, domain in rows
    )
    return Cohort(cases, "the lists of images")


def _default_subjects(images: Sequence[Path | str | Image]) -> list[str]:
    paths = [None if isinstance(image, Image) else Path(image) for image in images]
    names = [image_name(path) for path in paths if path is not None]
    unique = len(set(names)) == len(names)
    subjects = []
    for number, path in enumerate(paths, start=1):
        if path is None:
            subjects.append(f"image {number}")
        elif unique:
            subjects.append(image_name(path))
        else:
            subjects.append(f"{path.absolute().parent.name}/{image_name(path)}")
    return subjects
