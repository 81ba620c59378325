"""Heads in three contrasts: one anatomy, and more to learn than a table of intensities."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage

from DeepTranslateLib.phantom_contrasts import CONTRASTS, MATTER, HeadPhantom, head, signal
from DeepTranslateLib.phantom_head import HeadTissue as T

SEEDS = (0, 1, 2)
PAIRS = (("t1", "t2"), ("t1", "ct"), ("t2", "ct"))


@pytest.fixture(scope="module")
def heads() -> list[HeadPhantom]:
    return [head(seed) for seed in SEEDS]


def inside(phantom, contrast):
    return phantom.images[contrast].voxels[phantom.body.voxels > 0].astype(float)


def mean_of_groups(groups, values, count):
    total = np.bincount(groups, values, minlength=count)
    return total / np.maximum(np.bincount(groups, minlength=count), 1)


def test_the_contrasts_of_a_head_lie_on_one_grid_with_its_labels(heads):
    for phantom in heads:
        assert tuple(phantom.images) == CONTRASTS
        assert phantom.labels.shape == (16, 64, 64)
        for image in (*phantom.images.values(), phantom.body):
            assert image.same_grid(phantom.labels)
        assert phantom.labels.orientation == "LPS"
        np.testing.assert_allclose(phantom.labels.spacing, 3)
        assert phantom.labels.voxels.dtype == phantom.body.voxels.dtype == np.uint8


def test_the_same_seed_gives_the_same_voxels_and_another_seed_another_anatomy(heads):
    again = head(0)
    for contrast in CONTRASTS:
        np.testing.assert_array_equal(
            again.images[contrast].voxels, heads[0].images[contrast].voxels
        )
    np.testing.assert_array_equal(again.labels.voxels, heads[0].labels.voxels)
    for one, other in itertools.combinations(heads, 2):
        a, b = one.body.voxels > 0, other.body.voxels > 0
        assert 0.7 < 2 * (a & b).sum() / (a.sum() + b.sum()) < 0.98
        both = a & b
        assert 0.3 < (one.labels.voxels[both] != other.labels.voxels[both]).mean() < 0.8


def test_every_contrast_shows_the_anatomy_of_the_labels(heads):
    # In voxels that are of one tissue, as all around them are, the mean is that tissue's signal;
    # a contrast of another anatomy, or moved by a voxel, would mix it with its neighbours'.
    of_tissue = {tissue: [] for tissue in (T.FAT, T.WHITE, T.CSF, T.GREY, T.BLOOD, T.OEDEMA)}
    for phantom in heads:
        labels = phantom.labels.voxels
        for tissue, found in of_tissue.items():
            pure = ndimage.binary_erosion(labels == tissue, np.ones((1, 3, 3)))
            found.append([phantom.images[c].voxels[pure] for c in CONTRASTS])
    for tissue, found in of_tissue.items():
        for number, contrast in enumerate(CONTRASTS):
            values = np.concatenate([each[number] for each in found])
            assert values.size >= 5, tissue
            expected = signal(MATTER[tissue], contrast)
            tolerance = 6 if contrast == "ct" else 0.12 * expected
            assert np.median(values) == pytest.approx(expected, abs=tolerance), (tissue, contrast)


def test_moving_one_contrast_by_a_voxel_parts_it_from_the_labels(heads):
    for phantom in heads:
        labels = phantom.labels.voxels.ravel()
        for contrast in CONTRASTS:
            values = phantom.images[contrast].voxels.astype(float)

            def unexplained(moved, labels=labels):
                means = mean_of_groups(labels, moved.ravel(), len(T))
                return np.abs(moved.ravel() - means[labels]).mean()

            here = unexplained(values)
            for axis, step in itertools.product((1, 2), (-1, 1)):
                assert unexplained(np.roll(values, step, axis)) > 1.3 * here


def test_signals_are_those_of_a_spin_echo_and_attenuations_those_of_the_table():
    white = MATTER[T.WHITE]
    expected = 1000 * 0.77 * (1 - math.exp(-400 / 500)) * math.exp(-10 / 70)
    assert signal(white, "t1") == pytest.approx(expected)
    assert signal(white, "ct") == white.hu
    # What every reader of heads knows.
    order = {
        "t1": (T.FAT, T.WHITE, T.GREY, T.CSF, T.BONE),
        "t2": (T.CSF, T.LESION, T.GREY, T.WHITE, T.MUSCLE, T.BONE),
        "ct": (T.BONE, T.DIPLOE, T.CALCIFICATION, T.BLOOD, T.GREY, T.WHITE, T.CSF, T.FAT, T.AIR),
    }
    for contrast, tissues in order.items():
        signals = [signal(MATTER[tissue], contrast) for tissue in tissues]
        assert signals == sorted(signals, reverse=True), contrast
        assert len(set(signals)) == len(signals), contrast


@pytest.mark.parametrize(
    ("contrast", "one", "two", "other"),
    [("t1", T.GREY, T.MUSCLE, "t2"), ("t1", T.GREY, T.DEEP_GREY, "t2"),
     ("t1", T.GREY, T.LESION, "t2"), ("t1", T.OEDEMA, T.BLOOD, "t2"),
     ("t1", T.BONE, T.CAVITY, "ct"), ("t2", T.BONE, T.CAVITY, "ct"), ("t2", T.FAT, T.GREY, "t1"),
     ("t1", T.GREY, T.DIPLOE, "ct")],
)  # fmt: skip
def test_tissues_alike_in_one_contrast_differ_in_another(contrast, one, two, other):
    """Of an MR window of 650, and of the HU that a window of the head shows."""
    alike = abs(signal(MATTER[one], contrast) - signal(MATTER[two], contrast))
    apart = abs(signal(MATTER[one], other) - signal(MATTER[two], other))
    assert alike < 35
    assert apart > 85


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_intensity_alone_tells_much_less_than_place_would(heads, source, target):
    """The best function of intensity, made of the very voxels that it is measured on."""
    for phantom in heads:
        values, truth = inside(phantom, source), inside(phantom, target)
        ranks = values.argsort().argsort() * 100 // values.size
        by_intensity = np.abs(truth - mean_of_groups(ranks, truth, 100)[ranks]).mean()
        tissues = phantom.labels.voxels[phantom.body.voxels > 0]
        by_tissue = np.abs(truth - mean_of_groups(tissues, truth, len(T))[tissues]).mean()
        assert by_intensity > 1.5 * by_tissue


def test_mr_of_bone_and_air_is_noise_alone(heads):
    for phantom in heads:
        air = phantom.labels.voxels == T.AIR
        air = ndimage.binary_erosion(air, np.ones((1, 3, 3)))
        for contrast in ("t1", "t2"):
            values = phantom.images[contrast].voxels[air].astype(float)
            # Rayleigh: mean = sd sqrt(pi / (4 - pi)).
            assert values.mean() / values.std() == pytest.approx(1.913, rel=0.05)
        assert np.median(phantom.images["ct"].voxels[air]) == pytest.approx(-1000, abs=2)


def test_the_body_is_one_piece_without_holes_away_from_the_border(heads):
    for phantom in heads:
        for plane in phantom.body.voxels > 0:
            assert ndimage.label(plane)[1] == 1
            assert (ndimage.binary_fill_holes(plane) == plane).all()
            rim = np.concatenate([plane[[0, -1]].ravel(), plane[:, [0, -1]].ravel()])
            assert not rim.any()


def test_a_finer_grid_shows_the_same_subject(heads):
    fine = head(1, size=(128, 128), spacing=(1.5, 1.5, 3.0))
    for contrast in CONTRASTS:
        halved = fine.images[contrast].voxels.reshape(16, 64, 2, 64, 2).mean(axis=(2, 4))
        coarse = heads[1].images[contrast].voxels.astype(float)
        assert np.corrcoef(halved.ravel(), coarse.ravel())[0, 1] > 0.99


def test_impossible_heads_are_refused():
    for wrong in ({"slices": 0}, {"size": (0, 5)}, {"spacing": (1, 0, 1)}):
        with pytest.raises(ValueError, match=r"Expected .*found"):
            head(0, **wrong)
