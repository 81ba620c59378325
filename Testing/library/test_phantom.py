"""Synthetic subjects: that they are reproducible, plausible, and labelled without contradiction."""

import numpy as np
import pytest
import SimpleITK as sitk

from DeepTranslateLib.phantom import LABELS, Phantom, subjects, torso

SAT, VAT, LEAN = 1, 2, 3
SEEDS = (0, 1, 11)


@pytest.fixture(scope="module")
def cohort() -> dict[tuple[int, float], Phantom]:
    return {(seed, fat): torso(seed, fat, slices=9, spacing=(2.6, 2.6, 22)) for seed in SEEDS
            for fat in (0.0, 0.5, 1.0)}  # fmt: skip


def hu(phantom, label):
    return phantom.image.voxels[phantom.labels.voxels == label]


def millilitres(phantom, label):
    return (phantom.labels.voxels == label).sum() * phantom.labels.voxel_volume_mm3 / 1000


def components(mask, connected=False):
    """Voxel counts of the mask's components, largest first."""
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), connected)
    return np.sort(np.bincount(sitk.GetArrayFromImage(image).ravel())[1:])[::-1]


def contacts(labels, one, other):
    """Number of voxels of `one` that touch `other` within their slice."""
    padded = np.pad(labels == other, ((0, 0), (1, 1), (1, 1)))
    beside = padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1] | padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:]
    return int(((labels == one) & beside).sum())


def test_the_same_seed_gives_the_same_voxels_and_another_seed_another_anatomy():
    first, again, other = (torso(seed, 0.3, slices=4) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.image.voxels, again.image.voxels)
    np.testing.assert_array_equal(first.labels.voxels, again.labels.voxels)
    np.testing.assert_array_equal(first.image.affine, again.image.affine)
    a, b = first.labels.voxels == LEAN, other.labels.voxels == LEAN
    dice = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert 0.5 < dice < 0.97
    assert not np.array_equal(first.image.affine[:3, 3], other.image.affine[:3, 3])


def test_geometry_is_that_of_an_axial_ct():
    phantom = torso(3, slices=5, size=(64, 48), spacing=(7.8, 10.4, 30))
    assert phantom.image.shape == phantom.labels.shape == (5, 48, 64)
    assert phantom.image.voxels.dtype == np.int16
    assert phantom.labels.voxels.dtype == np.uint8
    assert phantom.image.orientation == "LPS"
    np.testing.assert_allclose(phantom.image.spacing, (7.8, 10.4, 30))
    assert phantom.image.same_grid(phantom.labels)
    assert np.abs(phantom.image.affine[:3, 3]).min() > 1


def test_defaults_are_a_small_abdominal_series():
    phantom = torso(0)
    assert phantom.image.shape == (24, 192, 192)
    np.testing.assert_allclose(phantom.image.spacing, (2.6, 2.6, 8))
    assert set(np.unique(phantom.labels.voxels)) == {0, *LABELS}


def test_attenuation_of_each_tissue_lies_in_the_range_of_the_literature(cohort):
    for phantom in cohort.values():
        for fat in (SAT, VAT):
            assert -120 < np.median(hu(phantom, fat)) < -85
        # Edges share their voxels with skin and muscle, the rest is fat in the usual window.
        assert ((hu(phantom, VAT) > -190) & (hu(phantom, VAT) < -30)).mean() > 0.85
        assert 20 < np.median(hu(phantom, LEAN)) < 90
        assert np.percentile(hu(phantom, LEAN), 99) > 250  # bone
        assert hu(phantom, LEAN).min() < -600  # bowel gas
        corner = phantom.image.voxels[:, :20, :20]
        assert -1010 < corner.mean() < -985


def test_left_and_right_are_where_a_radiologist_looks_for_them():
    # Liver on the image's left, spine at the back, gas floating to the front.
    phantom = torso(1, 0.3, slices=3, spacing=(2.6, 2.6, 90))
    top = phantom.labels.voxels[2] == LEAN
    rows, columns = np.nonzero(phantom.labels.voxels[2])
    middle = (columns.min() + columns.max()) // 2
    assert top[:, :middle].sum() > 1.05 * top[:, middle:].sum()
    bone = np.argwhere(phantom.image.voxels[1] > 350)
    assert np.median(bone[:, 0]) > (rows.min() + rows.max()) / 2
    gas = (phantom.image.voxels[1] < -500) & (phantom.labels.voxels[1] == LEAN)
    assert gas[:-3].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_both_fat_compartments_grow_with_adiposity(cohort, seed):
    for label in (SAT, VAT):
        lean, middle, obese = (millilitres(cohort[seed, fat], label) for fat in (0.0, 0.5, 1.0))
        assert 1.3 * lean < middle
        assert 1.3 * middle < obese


def test_fractions_are_plausible_from_lean_to_obese(cohort):
    for (_, fat), phantom in cohort.items():
        body = (phantom.labels.voxels > 0).sum()
        share = {label: (phantom.labels.voxels == label).sum() / body for label in LABELS}
        assert 0.08 < share[SAT] < 0.5
        assert 0.10 < share[VAT] < 0.35
        assert share[LEAN] > (0.55 if fat == 0 else 0.25)


def test_subcutaneous_and_visceral_fat_touch_only_through_lean_tissue(cohort):
    for phantom in cohort.values():
        labels = phantom.labels.voxels
        assert contacts(labels, VAT, SAT) <= 0.01 * (labels == VAT).sum()
        # The skin closes the body: fat does not touch the air.
        assert contacts(labels, SAT, 0) <= 0.01 * (labels == SAT).sum()
        assert contacts(labels, VAT, 0) == 0


def test_visceral_fat_comes_in_regions_a_person_could_label(cohort):
    for phantom in cohort.values():
        for plane in phantom.labels.voxels:
            sizes = components(plane == VAT)
            assert sizes.size
            assert sizes.min() * 2.6**2 > 100


def test_the_body_is_one_piece_inside_the_field_of_view_and_apart_from_the_table(cohort):
    for phantom in cohort.values():
        body = phantom.labels.voxels > 0
        for plane in body:
            assert components(plane).size == 1
            assert components(~plane).size == 1  # no holes either
        border = np.concatenate([body[:, [0, -1]].ravel(), body[:, :, [0, -1]].ravel()])
        assert not border.any()
        # What is dense outside the body is the table: behind it, with air between.
        dense = (phantom.image.voxels > -700) & ~body
        grown = body.copy()
        for _ in range(2):
            grown[:, 1:] |= grown[:, :-1].copy()
            grown[:, :-1] |= grown[:, 1:].copy()
            grown[:, :, 1:] |= grown[:, :, :-1].copy()
            grown[:, :, :-1] |= grown[:, :, 1:].copy()
        table = dense & ~grown
        assert table.any(axis=(1, 2)).all()
        apart = grown & ~body
        assert np.median(phantom.image.voxels[apart]) < -900
        for plane, couch in zip(body, table, strict=True):
            assert np.nonzero(couch)[0].min() > np.nonzero(plane)[0].mean()


def test_the_obese_nearly_fill_the_field_of_view(cohort):
    widths = {fat: [] for fat in (0.0, 1.0)}
    for (_, fat), phantom in cohort.items():
        if fat in widths:
            columns = np.nonzero((phantom.labels.voxels > 0).any(axis=(0, 1)))[0]
            widths[fat].append(np.ptp(columns) * 2.6)
    assert 280 < min(widths[0.0]) <= max(widths[0.0]) < 360
    assert 420 < min(widths[1.0]) <= max(widths[1.0]) < 499


def test_noise_is_a_scanners_and_stronger_in_the_obese(cohort):
    spread = []
    for fat in (0.0, 1.0):
        phantom = cohort[1, fat]
        # Far from any edge: five columns and five rows of fat alone.
        inside = phantom.labels.voxels == VAT
        for axis in (1, 2):
            inside = np.logical_and.reduce([np.roll(inside, n, axis) for n in range(-2, 3)])
        spread.append(phantom.image.voxels[inside].std())
    assert 9 < spread[0] < 18
    assert 1.2 * spread[0] < spread[1] < 30


@pytest.mark.parametrize("fat", [0.0, 0.8])
def test_a_finer_grid_shows_the_same_subject(fat):
    coarse = torso(4, fat, slices=8, spacing=(2.6, 2.6, 24))
    fine = torso(4, fat, slices=8, size=(384, 384), spacing=(1.3, 1.3, 24))
    for label, tolerance in ((SAT, 0.03), (VAT, 0.08), (LEAN, 0.05)):
        assert millilitres(fine, label) == pytest.approx(
            millilitres(coarse, label), rel=tolerance
        ), LABELS[label]


def test_subjects_go_from_lean_to_obese_and_differ():
    cohort = subjects(3, seed=20, slices=2)
    assert [phantom.adiposity for phantom in cohort] == [0.0, 0.5, 1.0]
    assert [phantom.seed for phantom in cohort] == [20, 21, 22]
    assert len({phantom.name for phantom in cohort}) == 3
    fat = [millilitres(phantom, SAT) for phantom in cohort]
    assert fat == sorted(fat)


@pytest.mark.parametrize(
    "wrong",
    [{"adiposity": 1.2}, {"adiposity": -0.1}, {"slices": 0}, {"spacing": (1, 0, 1)},
     {"size": (0, 5)}],
)  # fmt: skip
def test_impossible_subjects_are_refused(wrong):
    with pytest.raises(ValueError, match=r"Expected .*found"):
        torso(0, **wrong)
