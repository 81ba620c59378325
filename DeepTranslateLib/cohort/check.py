"""Checks of a cohort before anything is learnt from it: what a person would want to know first."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.cohort.case import DOMAINS, Case, stack_axis
from DeepTranslateLib.cohort.cases import Cohort
from DeepTranslateLib.cohort.domaincheck import check_domains, units_of
from DeepTranslateLib.cohort.fault import Fault, faults_table, listed
from DeepTranslateLib.cohort.gridcheck import check_mask, grid_fault
from DeepTranslateLib.cohort.hounsfield import why_not_hounsfield
from DeepTranslateLib.cohort.labelcheck import check_labels
from DeepTranslateLib.cohort.patchcheck import check_patch
from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.image.finite import count_not_finite
from DeepTranslateLib.recipe import Recipe

__all__ = ["Fault", "check_cohort", "faults_table"]


def check_cohort(
    cohort: Cohort, recipe: Recipe, progress: Callable[[int], None] = lambda done: None
) -> tuple[Fault, ...]:
    """Read each case once and return all that is wrong with the cohort, by case.

    A file that cannot be read is a fault, not an exception. Of label maps only the labelled
    slices count. Where the recipe learns without pairs, each image is checked as one of its
    domain. One case at a time is in memory.

    Args:
        cohort: The cases.
        recipe: Says which labels and units are expected.
        progress: Called with the number of cases checked so far.
    """
    if recipe.is_denoising:
        cohort = cohort.with_clean_targets()
    faults = [*_named_twice(cohort), *check_domains(cohort, recipe)]
    seen = _Seen()
    for done, case in enumerate(cohort.cases, start=1):
        faults.extend(_check_case(case, recipe, seen))
        progress(done)
    return tuple(faults)


class _Seen:
    """Images and label maps met so far, and whose they are."""

    def __init__(self) -> None:
        self._images: dict[object, str] = {}
        self._targets: dict[object, str] = {}

    def image(self, case: Case, image: Image | None) -> tuple[str | None, str | None]:
        """Subjects that had this image before, by its path or its voxels.

        Returns:
            The first of the same domain, and the first of the other.
        """
        keys: list[object] = [] if image is None else [_digest(image)]
        if isinstance(case.image, Path):
            keys.append(case.image.absolute())
        mine = [(case.domain, key) for key in keys]
        others = [(domain, key) for domain in DOMAINS if domain != case.domain for key in keys]
        elsewhere = next((self._images[key] for key in others if key in self._images), None)
        return self._first(self._images, mine, case.subject), elsewhere

    def target(self, case: Case) -> str | None:
        """Another subject that had this target before, by its path."""
        if not isinstance(case.target, Path):
            return None
        before = self._first(self._targets, [case.target.absolute()], case.subject)
        return None if before == case.subject else before

    @staticmethod
    def _first(known: dict[object, str], keys: Sequence[object], subject: str) -> str | None:
        before = next((known[key] for key in keys if key in known), None)
        for key in keys:
            known.setdefault(key, subject)
        return before


def _digest(image: Image) -> bytes:
    """Digest of the voxels, whatever file format and number type they were stored in."""
    digest = hashlib.blake2b(str(image.shape).encode())
    for plane in image.voxels:
        digest.update(np.ascontiguousarray(plane, np.float32).data)
    return digest.digest()


def _named_twice(cohort: Cohort) -> Iterator[Fault]:
    parts: dict[str, set[str]] = {}
    for case in cohort.cases:
        if case.split is not None:
            parts.setdefault(case.subject, set()).add(case.split)
    for subject in sorted(parts):
        if len(parts[subject]) > 1:
            names = " and ".join(sorted(parts[subject]))
            yield Fault(
                subject,
                "subject_in_two_parts",
                "error",
                f"The subject is named both {names}.",
                "Name all cases of a subject alike: a model must not be judged on people it has "
                "seen.",
            )


def _check_case(case: Case, recipe: Recipe, seen: _Seen) -> Iterator[Fault]:
    image, fault = _read(case, "image")
    if fault is not None:
        yield fault
    before, elsewhere = seen.image(case, image)
    if before is not None:
        yield Fault(
            case.subject,
            "duplicate_image",
            "error",
            f"The image {case.name} is in the cohort before, for subject {before}.",
            "Keep one of the two cases; its list of slices can name all that are labelled.",
        )
    if elsewhere is not None and case.domain is not None:
        yield Fault(
            case.subject,
            "duplicate_in_both_domains",
            "warning",
            f"The image {case.name} is in the other domain, too, for subject {elsewhere}.",
            "Keep it in the domain that it is of: what is in both teaches to change nothing.",
        )
    before = seen.target(case)
    if before is not None:
        yield Fault(
            case.subject,
            "duplicate_target",
            "error",
            f"The labels or target {_name(case.target)} belong to subject {before}, too.",
            "Give each subject its own, or the same subject to both cases.",
        )
    if case.target is None and case.domain is None and not recipe.is_unpaired:
        tested = case.split == "test"
        yield Fault(
            case.subject,
            "target_missing",
            "warning" if tested else "error",
            f"{case.name} has no labels or target volume.",
            "Nothing can be compared in the test." if tested else "Add them or drop the case.",
        )
    target, fault = _read(case, "target")
    if fault is not None:
        yield fault
    if image is not None:
        yield from _check_values(case.subject, "image", image, units_of(case, recipe)[0])
        yield from _check_slices(case, image, recipe)
        yield from check_patch(case.subject, image, recipe)
    if image is not None and target is not None:
        yield from _check_target(case, image, target, recipe)
    mask, fault = _read(case, "mask")
    if fault is not None:
        yield fault
    if image is not None and mask is not None:
        yield from check_mask(case, image, mask, recipe)


def _read(case: Case, what: str) -> tuple[Image | None, Fault | None]:
    if getattr(case, what) is None:
        return None, None
    read = {"image": case.read_image, "target": case.read_target, "mask": case.read_mask}
    try:
        return read[what](), None
    except (ImageError, OSError) as error:
        return None, Fault(
            case.subject,
            f"unreadable_{what}",
            "error",
            str(error),
            "Repair or replace the file, or leave the case out.",
        )


def _check_values(subject: str, what: str, image: Image, units: str) -> Iterator[Fault]:
    broken = count_not_finite(image.voxels)
    if broken:
        yield Fault(
            subject,
            "not_finite",
            "error",
            f"{broken} voxels of the {what} are no numbers (NaN or infinite).",
            "Replace them where the image was made, by the value of air for CT.",
        )
        return
    reason = why_not_hounsfield(image.voxels) if units == "HU" else None
    if reason is not None:
        yield Fault(subject, "units", "error", f"The {what} is not in HU: {reason[0]}", reason[1])


def _check_slices(case: Case, image: Image, recipe: Recipe) -> Iterator[Fault]:
    if case.slices is None:
        return
    count = image.shape[stack_axis(image, recipe.sampling.plane)]
    outside = sorted({index for index in case.slices if not 0 <= index < count})
    if outside:
        yield Fault(
            case.subject,
            "slices_outside",
            "error",
            f"Slices {listed(outside)} are not in the volume, which has {count} "
            f"{recipe.sampling.plane} slices: 0 to {count - 1}.",
            "Correct the list of slices; the first slice is 0.",
        )
    repeated = sorted(index for index, times in Counter(case.slices).items() if times > 1)
    if repeated:
        yield Fault(
            case.subject,
            "slices_repeated",
            "warning",
            f"Slices {listed(repeated)} are listed more than once; they count once.",
            "Check that no other slice was meant.",
        )


def _check_target(case: Case, image: Image, target: Image, recipe: Recipe) -> Iterator[Fault]:
    # Stored in another order of axes, the same voxels of the patient are still the same grid.
    target = target.oriented(image.orientation)
    elsewhere = grid_fault(case.subject, image, target, "labels or target", "labels")
    if elsewhere is not None:
        yield elsewhere
        return
    if recipe.target.kind == "volume":
        units = units_of(case, recipe)[1]
        if units == "HU" and _is_label_map(target.voxels):
            yield Fault(
                case.subject,
                "labels_for_volume",
                "error",
                f"The target has the whole numbers 0 to {target.voxels.max():.0f} alone: it looks "
                "like a label map, and the recipe makes a volume in HU.",
                "Name the volume that is to be made; leave the column out where the recipe makes "
                "its noisy inputs itself; take a recipe of labels where tissue is to be found.",
            )
            return
        yield from _check_values(case.subject, "target", target, units)
        return
    axis = stack_axis(image, recipe.sampling.plane)
    yield from check_labels(case, np.moveaxis(target.voxels, axis, 0), recipe)


def _is_label_map(voxels: npt.NDArray[np.generic]) -> bool:
    """Whether these are whole numbers from 0 to at most 255."""
    if not voxels.size or not (voxels.min() >= 0 and voxels.max() <= 255):  # also of NaN
        return False
    return bool(np.all(voxels == np.floor(voxels.astype(np.float64))))


def _name(target: Path | Image | None) -> str:
    return target.name if isinstance(target, Path) else ""
