"""The fingerprint of a cohort, measured again by hand on small cohorts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from engine_samples import lps_affine, stored_as

from DeepTranslateLib.cohort import Cohort, CohortError, cohort_from_lists
from DeepTranslateLib.cohort.fingerprint import names_a_side
from DeepTranslateLib.cohort.measurement import measure_cohort
from DeepTranslateLib.image import Image, ImageError


def body(seed: int, shape: tuple[int, int, int] = (6, 24, 20)) -> tuple[np.ndarray, np.ndarray]:
    """Air, a body of fat, a muscle (label 3) and a spot (7) in it."""
    rng = np.random.default_rng(seed)
    voxels = rng.normal(-1000, 5, shape)
    labels = np.zeros(shape, np.uint8)
    voxels[:, 4:20, 4:16] = rng.normal(-100, 10, (shape[0], 16, 12))
    labels[:, 8:14, 6:14] = 3
    labels[2, 9:11, 8:10] = 7
    voxels[labels == 3] = rng.normal(60, 10, int((labels == 3).sum()))
    voxels[labels == 7] = rng.normal(200, 10, int((labels == 7).sum()))
    return voxels.round().astype(np.int16), labels


def cohort(count: int = 3, spacing: tuple[float, float, float] = (8, 8, 10), **lists) -> Cohort:
    pairs = [body(seed) for seed in range(count)]
    images = [Image(voxels, lps_affine(spacing)) for voxels, _ in pairs]
    targets = [Image(labels, lps_affine(spacing)) for _, labels in pairs]
    return cohort_from_lists(images, targets, [f"s{n}" for n in range(count)], **lists)


def test_labels_frequencies_and_their_intensities_are_those_counted_by_hand():
    found = measure_cohort(cohort())
    assert (found.kind, found.cases, found.subjects) == ("labels", 3, 3)
    assert (found.modality, found.units) == ("CT", "HU")
    whole = 6 * 24 * 20
    assert found.labels == {"3": pytest.approx((6 * 48 - 4) / whole), "7": pytest.approx(4 / whole)}
    assert found.label_subjects == {"3": 3, "7": 3}
    inside = np.concatenate([values[labels > 0] for values, labels in map(body, range(3))])
    assert found.foreground["50"] == np.percentile(inside, 50)
    assert found.foreground["99.5"] == pytest.approx(np.percentile(inside, 99.5), abs=1e-3)
    spot = np.concatenate([values[labels == 7] for values, labels in map(body, range(3))])
    muscle = np.concatenate([values[labels == 3] for values, labels in map(body, range(3))])
    assert found.label_quartiles == pytest.approx(
        (np.percentile(muscle, 25), np.percentile(spot, 75)), abs=1e-3
    )
    assert found.body_area_cm2 == pytest.approx(16 * 12 * 64 / 100, abs=0.05)
    assert found.target_range is None


def test_sizes_and_spacings_are_along_the_patient_however_the_file_stores_them():
    plain = cohort(spacing=(1, 2, 5))
    turned = cohort_from_lists(
        [stored_as(case.read_image(), "SAR") for case in plain.cases],
        [stored_as(case.read_target(), "SAR") for case in plain.cases],
        [case.subject for case in plain.cases],
    )
    for measured in map(measure_cohort, (plain, turned)):
        assert measured.spacing == (1, 2, 5)
        assert measured.size == (20, 24, 6)
    assert measure_cohort(plain) == measure_cohort(turned)


def test_only_named_slices_count_and_those_named_test_are_left_out():
    found = measure_cohort(
        cohort(slices=[(1, 3), (0, 5), (2,)], splits=[None, "validation", "test"])
    )
    assert found.cases == 2
    assert found.labelled_slices["axial"] == 4
    assert found.shown_slices["axial"] == 4
    assert "7" not in found.labels
    assert found.labels["3"] == pytest.approx(48 / (24 * 20))


@pytest.mark.parametrize(
    ("plane", "axis", "code"),
    [("axial", 0, "LPS"), ("coronal", 1, "RAI"), ("sagittal", 2, "SPL")],
)
def test_the_plane_of_lists_of_slices_is_found_from_the_labels(plane, axis, code):
    voxels, _ = body(0, (20, 24, 20))
    labels = np.zeros(voxels.shape, np.uint8)
    along = np.moveaxis(labels, axis, 0)
    along[4, 8:12, 8:12] = along[9, 6:12, 8:16] = 1
    target = stored_as(Image(labels, lps_affine()), code)
    image = stored_as(Image(voxels, lps_affine()), code)
    letters = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}[plane]
    place = 2 - next(n for n, letter in enumerate(code) if letter in letters)
    others = tuple(other for other in range(3) if other != place)
    chosen = tuple(int(i) for i in np.flatnonzero(target.voxels.any(axis=others)))
    found = measure_cohort(cohort_from_lists([image], [target], ["a"], [chosen]))
    assert found.planes == (plane,)
    assert found.shown_slices[plane] == 2


@pytest.mark.parametrize(
    ("low", "high", "kind", "expected"),
    [(0, 2000, np.int16, "MR"), (0, 255, np.uint8, "other"), (-3, 3, np.float32, "other")],
)
def test_what_is_no_ct_is_guessed_from_the_values(low, high, kind, expected):
    rng = np.random.default_rng(0)
    voxels = rng.uniform(low, high, (4, 20, 20)).astype(kind)
    target = np.zeros(voxels.shape, np.uint8)
    target[1:3, 5:9] = 1
    found = measure_cohort(
        cohort_from_lists([Image(voxels, lps_affine())], [Image(target, lps_affine())], ["a"])
    )
    assert (found.modality, found.units, found.body_area_cm2) == (expected, "", None)


def test_volumes_are_told_from_label_maps_and_kept_apart():
    rng = np.random.default_rng(0)
    image = Image(rng.uniform(0, 900, (4, 20, 20)).astype(np.float32), lps_affine())
    target = Image(rng.uniform(-900, 400, (4, 20, 20)).astype(np.float32), lps_affine())
    found = measure_cohort(cohort_from_lists([image], [target], ["a"]))
    assert (found.kind, found.targets_in_hu, found.labels) == ("volume", True, {})
    assert found.target_range == pytest.approx(np.percentile(target.voxels, (0.5, 99.5)), abs=1e-3)
    bright = image.voxels[image.voxels > 0.1 * np.percentile(image.voxels, 99.5)]
    assert found.foreground["50"] == pytest.approx(np.median(bright), rel=0.02)
    mixed = cohort_from_lists(
        [image, image],
        [target, Image(np.ones(image.shape, np.uint8), lps_affine())],
        ["a", "b"],
    )
    with pytest.raises(CohortError, match="subject b is a label map and that of a is a volume"):
        measure_cohort(mixed)


def test_grids_that_differ_and_cohorts_without_anything_to_learn_from_are_refused():
    voxels, labels = body(0)
    shifted = Image(labels, lps_affine((8, 8, 9)))
    wrong = cohort_from_lists([Image(voxels, lps_affine((8, 8, 10)))], [shifted], ["a"])
    with pytest.raises(CohortError, match=r"subject a .* different grids"):
        measure_cohort(wrong)
    with pytest.raises(CohortError, match="all are named test"):
        measure_cohort(cohort(splits=["test"] * 3))


def test_sides_are_found_as_words():
    assert names_a_side("Left kidney")
    assert names_a_side("kidney_right")
    assert not names_a_side("brightness")
    assert not names_a_side("cleft")


def test_what_was_not_decided_is_no_tissue():
    plain = cohort(1)
    image, target = plain.cases[0].read_image(), plain.cases[0].read_target()
    voxels = target.voxels.copy()
    voxels[:, :4] = 255
    found = measure_cohort(cohort_from_lists([image], [target.with_voxels(voxels)], ["a"]))
    assert list(found.labels) == ["3", "7", "255"]
    assert found.foreground == measure_cohort(plain).foreground
    assert found.label_quartiles == measure_cohort(plain).label_quartiles


def test_what_a_mask_leaves_out_is_not_measured():
    plain = cohort(1)
    (case,) = plain.cases
    voxels = np.zeros(case.read_image().shape, np.uint8)
    voxels[2, 8:14, 6:14] = 1
    mask = Image(voxels, case.read_image().affine)
    found = measure_cohort(
        cohort_from_lists([case.image], [case.target], ["s0"], masks=[stored_as(mask, "SAR")])
    )
    assert found.labels == {"3": pytest.approx(44 / 48), "7": pytest.approx(4 / 48)}
    smaller = Image(voxels[:3], case.read_image().affine)
    with pytest.raises(CohortError, match="mask of subject s0 does not lie on its image's grid"):
        measure_cohort(cohort_from_lists([case.image], [case.target], ["s0"], masks=[smaller]))


def test_a_subject_with_one_image_named_test_is_not_measured_at_all() -> None:
    tested, other, kept = cohort(3).cases
    tested = dataclasses.replace(tested, subject="a", split="test")
    other = dataclasses.replace(other, subject="a")
    whole, alone = Cohort((tested, other, kept), "whole"), Cohort((kept,), "alone")
    assert measure_cohort(whole) == measure_cohort(alone)


def test_a_mask_of_the_same_size_that_lies_elsewhere_is_refused() -> None:
    whole = cohort(1)
    image = whole.cases[0].read_image()
    moved = image.affine.copy()
    moved[0, 3] += 20
    mask = Image(np.ones(image.shape, np.uint8), moved)
    case = dataclasses.replace(whole.cases[0], mask=mask)
    with pytest.raises(CohortError, match="mask of subject s0 does not lie on its image's grid"):
        measure_cohort(Cohort((case,), "one"))


def test_voxels_that_are_no_numbers_are_refused() -> None:
    whole = cohort(1)
    image = whole.cases[0].read_image()
    voxels = image.voxels.astype(np.float32)
    voxels[1, 2, 3:5] = np.nan
    case = dataclasses.replace(whole.cases[0], image=image.with_voxels(voxels))
    with pytest.raises(ImageError, match="2 voxels of the image of subject s0 are no numbers"):
        measure_cohort(Cohort((case,), "one"))
