"""Counts of voxels that two label maps share, against sets, hand-made cases and MONAI."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.engine.metrics.overlap import Overlap, label_overlaps


def places(labels: np.ndarray, value: int, counted: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(map(int, place)) for place in np.argwhere((labels == value) & counted)}


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_overlaps_are_counts_of_sets_pooled_over_slices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.integers(-1, 5, (3, 4, 5)).astype(np.int16)
    reference = rng.integers(-1, 5, (3, 4, 5)).astype(np.int32)
    counted = rng.random((3, 4, 5)) > 0.3
    values = [4, 1, 3, 77]
    for value, found in zip(
        values, label_overlaps(predicted, reference, values, counted), strict=True
    ):
        a, b = places(predicted, value, counted), places(reference, value, counted)
        everything = int(counted.sum())
        assert (found.both, found.extra, found.missed) == (len(a & b), len(a - b), len(b - a))
        assert found.neither == everything - len(a | b)


def test_without_a_mask_every_voxel_counts() -> None:
    predicted = np.array([[[0, 1, 1, 2, 2]]])
    reference = np.array([[[0, 1, 2, 2, 0]]])
    assert label_overlaps(predicted, reference, (1, 2)) == (
        Overlap(1, 1, 0, 3),
        Overlap(1, 1, 1, 2),
    )


def test_metrics_of_counts_are_their_formulas() -> None:
    overlap = Overlap(both=60, extra=30, missed=20, neither=890)
    assert (overlap.predicted, overlap.reference) == (90, 80)
    assert overlap.dice == pytest.approx(2 * 60 / (90 + 80))
    assert overlap.sensitivity == pytest.approx(60 / 80)
    assert overlap.specificity == pytest.approx(890 / 920)
    assert overlap.fractional_area_difference == pytest.approx((90 - 80) / 80)


def test_too_little_is_a_negative_area_difference() -> None:
    assert Overlap(both=75, missed=25).fractional_area_difference == -0.25
    assert Overlap(both=0, missed=25).fractional_area_difference == -1


def test_what_has_no_denominator_is_nan() -> None:
    nowhere = Overlap(neither=10)
    assert math.isnan(nowhere.dice)
    assert math.isnan(nowhere.sensitivity)
    assert math.isnan(nowhere.fractional_area_difference)
    assert nowhere.specificity == 1
    only_predicted = Overlap(extra=3, neither=7)
    assert only_predicted.dice == 0
    assert math.isnan(only_predicted.sensitivity)
    assert math.isnan(only_predicted.fractional_area_difference)
    everywhere = Overlap(both=10)
    assert math.isnan(everywhere.specificity)
    assert everywhere.dice == 1


def test_the_sum_of_the_overlaps_of_pieces_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    predicted, reference = rng.integers(0, 3, (2, 6, 5, 4))
    whole = label_overlaps(predicted, reference, (1, 2))
    top = label_overlaps(predicted[:2], reference[:2], (1, 2))
    rest = label_overlaps(predicted[2:], reference[2:], (1, 2))
    assert tuple(a + b for a, b in zip(top, rest, strict=True)) == whole


def test_pooled_dice_is_not_the_mean_of_slices() -> None:
    predicted = np.zeros((2, 1, 100), np.uint8)
    reference = np.zeros((2, 1, 100), np.uint8)
    predicted[0], reference[0] = 1, 1
    predicted[1, 0, 0], reference[1, 0, 1] = 1, 1
    (overlap,) = label_overlaps(predicted, reference, (1,))
    assert overlap.dice == pytest.approx(200 / 202)


def test_overlaps_agree_with_monais_confusion_matrix() -> None:
    from monai.metrics import compute_dice, get_confusion_matrix

    rng = np.random.default_rng(2)
    predicted, reference = rng.integers(0, 4, (2, 6, 7, 8))
    planes = [
        torch.from_numpy(np.stack([labels == value for value in (1, 2, 3)])[None]).float()
        for labels in (predicted, reference)
    ]
    theirs = get_confusion_matrix(*planes)[0]
    dice = compute_dice(*planes)[0]
    for number, overlap in enumerate(label_overlaps(predicted, reference, (1, 2, 3))):
        tp, fp, tn, fn = map(int, theirs[number])
        assert overlap == Overlap(tp, fp, fn, tn)
        assert overlap.dice == pytest.approx(float(dice[number]))
