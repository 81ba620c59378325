"""The measurement of a cohort: its fingerprint, one case after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.cohort.case import Case, CohortError, stack_axis
from DeepTranslateLib.cohort.cases import Cohort
from DeepTranslateLib.cohort.fingerprint import UNKNOWN_VALUE, Fingerprint, in_plane
from DeepTranslateLib.cohort.hounsfield import why_not_hounsfield
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.finite import refuse_not_finite
from DeepTranslateLib.recipe import PLANES

_LEVELS = (0.5, 5, 50, 95, 99.5)
# An image with more values than a label map can have is a volume.
_MOST_LABELS = 128
_SAMPLES_OF_A_CASE = 100_000
# HU between air and the softest tissue, lung apart.
_BODY_ABOVE = -300
_AIR_BELOW = -500


def measure_cohort(cohort: Cohort) -> Fingerprint:
    """Read each case once and measure; one case at a time is in memory.

    Raises:
        CohortError: Cases have domains or lack targets, targets are partly labels and partly
            volumes, or targets or masks do not lie on their image's grid.
        ImageError: A file cannot be read, or holds voxels that are no numbers.
    """
    if cohort.has_domains:
        raise CohortError(
            f"{cohort.source} has domains, and recipes are proposed for pairs only. Begin with a "
            "built-in recipe that learns without pairs, and give it the window and the range of "
            "your images."
        )
    cases = list(cohort.learning)
    if not cases:
        raise CohortError(f"{cohort.source} has no case to learn from: all are named test.")
    total = _Sums()
    for case in cases:
        total.add(case)
    return total.result(cases)


def foreground_medians(cohort: Cohort) -> tuple[float, ...]:
    """The median of what is not air in each image that teaches, to four digits.

    Each image is read; one at a time is in memory.

    Raises:
        ImageError: A file cannot be read.
        OSError: A file may not be opened.
    """
    return tuple(_foreground_median(case.read_image().voxels) for case in cohort.learning)


@dataclass
class _Sums:
    """What is known after some cases."""

    spacings: list[npt.NDArray[np.float64]] = field(default_factory=list)
    sizes: list[tuple[int, ...]] = field(default_factory=list)
    planes: set[str] = field(default_factory=lambda: set(PLANES))
    counted: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    foreground: list[npt.NDArray[np.float64]] = field(default_factory=list)
    values: list[npt.NDArray[np.float64]] = field(default_factory=list)
    targets: list[npt.NDArray[np.float64]] = field(default_factory=list)
    of_label: dict[int, list[npt.NDArray[np.float64]]] = field(default_factory=dict)
    voxels: Counter[int] = field(default_factory=Counter)
    owners: dict[int, set[str]] = field(default_factory=dict)
    areas: list[float] = field(default_factory=list)
    in_hu: list[bool] = field(default_factory=list)
    targets_in_hu: list[bool] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    whole: bool = True

    def add(self, case: Case) -> None:
        """Count one case."""
        stored = case.read_image()
        image = stored.oriented("LPS")
        target = case.read_target().oriented("LPS")
        if not target.same_grid(image):
            raise CohortError(
                f"The image of subject {case.subject} and its labels or target lie on different "
                "grids. Resample the labels onto the image's grid (nearest neighbour) first."
            )
        mask = case.read_mask()
        if mask is not None and not mask.oriented("LPS").same_grid(image):
            raise CohortError(
                f"The mask of subject {case.subject} does not lie on its image's grid. "
                "Resample it (nearest neighbour) first."
            )
        refuse_not_finite(image, f"the image of subject {case.subject}")
        refuse_not_finite(target, f"the target of subject {case.subject}")
        self.spacings.append(np.array(image.spacing))
        self.sizes.append(image.shape[::-1])
        self.in_hu.append(why_not_hounsfield(image.voxels) is None)
        labels = _is_label_map(target)
        self.kinds["labels" if labels else "volume"] = case.subject
        shown = _is_known(target) if labels else np.ones(image.shape, dtype=bool)
        self._count_slices(case, stored, shown, labels)
        counted = self._counted(case, stored, image.shape)
        if mask is not None:
            counted &= mask.oriented("LPS").voxels != 0
        if labels:
            self._count_labels(case.subject, image.voxels[counted], target.voxels[counted])
        else:
            self.targets.append(_sample(target.voxels[counted]))
            self.targets_in_hu.append(why_not_hounsfield(target.voxels) is None)
            shown = image.voxels > (_AIR_BELOW if self.in_hu[-1] else _background(image.voxels))
        inside = image.voxels[shown & counted]
        self.foreground.append(_sample(inside if inside.size else image.voxels))
        sample = _sample(image.voxels)
        self.values.append(sample)
        self.whole &= bool((sample == np.floor(sample)).all())
        body = np.count_nonzero(image.voxels > _BODY_ABOVE, axis=(1, 2))
        pixel_mm2 = float(image.spacing[0] * image.spacing[1])
        self.areas.append(float(np.median(body)) * pixel_mm2 / 100)

    def result(self, cases: list[Case]) -> Fingerprint:
        """All of it together."""
        if len(self.kinds) > 1:
            raise CohortError(
                f"The target of subject {self.kinds['labels']} is a label map and that of "
                f"{self.kinds['volume']} is a volume. Keep one kind."
            )
        (kind,) = self.kinds
        in_hu = all(self.in_hu)
        spacings, sizes = np.array(self.spacings), np.array(self.sizes)
        values = np.concatenate(self.values)
        total = sum(self.voxels.values())
        known = [value for value in sorted(self.voxels) if value != 0]
        return Fingerprint(
            kind=kind,
            cases=len(cases),
            subjects=len({case.subject for case in cases}),
            units="HU" if in_hu else "",
            modality="CT" if in_hu else self._modality(values),
            spacing=_three(np.median(spacings, axis=0)),
            spacing_min=_three(spacings.min(axis=0)),
            spacing_max=_three(spacings.max(axis=0)),
            size=_whole(np.median(sizes, axis=0)),
            size_min=_whole(sizes.min(axis=0)),
            planes=tuple(plane for plane in PLANES if plane in self.planes),
            labelled_slices={plane: self.counted[plane] for plane in PLANES},
            shown_slices={plane: self.shown[plane] for plane in PLANES},
            foreground=_percentiles(np.concatenate(self.foreground)),
            label_quartiles=self._label_quartiles(),
            image_range=_ends(values),
            target_range=_ends(np.concatenate(self.targets)) if self.targets else None,
            labels={str(value): self.voxels[value] / total for value in known},
            label_subjects={str(value): len(self.owners[value]) for value in known},
            body_area_cm2=round(float(np.median(self.areas)), 1) if in_hu else None,
            targets_in_hu=bool(self.targets_in_hu) and all(self.targets_in_hu),
        )

    def _count_slices(
        self, case: Case, stored: Image, shown: npt.NDArray[np.bool_], labels: bool
    ) -> None:
        inside: set[str] = set()
        alone: set[str] = set()
        for plane in PLANES:
            axis = 2 - in_plane(plane)[2]
            has = np.atleast_1d(shown.any(axis=tuple(o for o in range(3) if o != axis)))
            chosen = list(range(len(has)))
            if case.slices is not None:
                if max(case.slices) >= len(has):
                    continue
                chosen = _mine(case, stored, plane)
            inside.add(plane)
            if not (labels and np.delete(has, chosen).any()):
                alone.add(plane)
            self.counted[plane] += len(chosen)
            self.shown[plane] += int(has[chosen].sum())
        # Labels beside the named slices mean another plane, unless they are in every plane.
        self.planes &= alone or inside

    def _counted(
        self, case: Case, stored: Image, shape: tuple[int, int, int]
    ) -> npt.NDArray[np.bool_]:
        """Voxels of the labelled slices, in the first plane that is still possible."""
        counted = np.ones(shape, dtype=bool)
        plane = next((plane for plane in PLANES if plane in self.planes), None)
        if case.slices is not None and plane is not None:
            axis = 2 - in_plane(plane)[2]
            counted[:] = False
            np.moveaxis(counted, axis, 0)[_mine(case, stored, plane)] = True
        return counted

    def _count_labels(
        self,
        subject: str,
        intensities: npt.NDArray[np.generic],
        values: npt.NDArray[np.generic],
    ) -> None:
        for value, count in zip(*np.unique(values, return_counts=True), strict=True):
            self.voxels[int(value)] += int(count)
            self.owners.setdefault(int(value), set()).add(subject)
            if value not in (0, UNKNOWN_VALUE):
                sample = _sample(intensities[values == value])
                self.of_label.setdefault(int(value), []).append(sample)

    def _label_quartiles(self) -> tuple[float, float] | None:
        if not self.of_label:
            return None
        ends = [np.percentile(np.concatenate(each), (25, 75)) for each in self.of_label.values()]
        low, high = np.min(ends, axis=0)[0], np.max(ends, axis=0)[1]
        return round(float(low), 4), round(float(high), 4)

    def _modality(self, values: npt.NDArray[np.float64]) -> str:
        """MR has values from 0 on, and more of them than a picture."""
        picture = self.whole and float(values.max()) <= 255
        return "other" if picture or float(values.min()) < 0 else "MR"


def _mine(case: Case, stored: Image, plane: str) -> list[int]:
    """A case's slices in the order of the image turned to LPS."""
    assert case.slices is not None
    count = stored.shape[stack_axis(stored, plane)]
    grows = {"L": "L", "P": "P", "S": "S"}
    along = next(letter for letter in stored.orientation if letter in _letters(plane))
    return [i if along in grows else count - 1 - i for i in sorted(set(case.slices))]


def _letters(plane: str) -> str:
    return {"axial": "SI", "coronal": "AP", "sagittal": "RL"}[plane]


def _is_label_map(image: Image) -> bool:
    values: set[float] = set()
    for plane in image.voxels:
        values.update(np.unique(plane).tolist())
        if len(values) > _MOST_LABELS:
            return False
    return all(value == value and 0 <= value <= 255 and value == int(value) for value in values)


def _is_known(labels: Image) -> npt.NDArray[np.bool_]:
    return (labels.voxels != 0) & (labels.voxels != UNKNOWN_VALUE)


def _background(voxels: npt.NDArray[np.generic]) -> float:
    """Below it lies air: a tenth of the way from the darkest to the bright voxels."""
    low, high = (float(value) for value in np.percentile(_sample(voxels), (0.5, 99.5)))
    return low + 0.1 * (high - low)


def _foreground_median(voxels: npt.NDArray[np.generic]) -> float:
    sample = _sample(voxels)
    inside = sample[sample > _background(voxels)]
    return float(f"{np.median(inside if inside.size else sample):.4g}")


def _sample(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    flat = values.ravel()
    return flat[:: max(1, flat.size // _SAMPLES_OF_A_CASE)].astype(np.float64)


def _percentiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    found = np.percentile(values, _LEVELS)
    return {f"{level:g}": round(float(v), 4) for level, v in zip(_LEVELS, found, strict=True)}


def _ends(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, (0.5, 99.5))
    return round(float(low), 4), round(float(high), 4)


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    a, b, c = (round(float(value), 4) for value in values)
    return a, b, c


def _whole(values: Iterable[float]) -> tuple[int, int, int]:
    a, b, c = (round(float(value)) for value in values)
    return a, b, c
