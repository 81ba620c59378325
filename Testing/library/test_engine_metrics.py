"""Dice, counted by sets, and the mean of what is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.engine.metrics import DiceCounter, mean_of_known


def pixels_with(value: int, *maps: np.ndarray) -> set[tuple[int, ...]]:
    """Places (map, row, column) of a value."""
    return {
        (number, *map(int, place))
        for number, content in enumerate(maps)
        for place in np.argwhere(content == value)
    }


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 3))
def test_dice_is_twice_the_common_pixels_over_the_sum_pooled_over_slices(
    seed: int, slices: int, labels: int
) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, labels + 1, (slices, 3, 4)).astype(np.uint8)
    reference = rng.integers(0, labels + 1, (slices, 3, 4)).astype(np.uint8)
    counter = DiceCounter(labels)
    for mine, theirs in zip(predicted, reference, strict=True):
        counter.add(torch.from_numpy(mine), torch.from_numpy(theirs))
    for label, dice in enumerate(counter.dice(), start=1):
        a, b = pixels_with(label, *predicted), pixels_with(label, *reference)
        if a or b:
            assert dice == pytest.approx(2 * len(a & b) / (len(a) + len(b)))
        else:
            assert math.isnan(dice)


def test_ignored_pixels_do_not_count_on_either_side() -> None:
    counter = DiceCounter(2)
    predicted = torch.tensor([1, 1, 1, 2, 2], dtype=torch.uint8)
    reference = torch.tensor([1, 2, 255, 255, 2], dtype=torch.uint8)
    counter.add(predicted, reference)
    assert counter.dice() == [2 * 1 / (2 + 1), 2 * 1 / (1 + 2)]


def test_a_label_that_one_side_lacks_has_dice_0_and_one_that_both_lack_none() -> None:
    counter = DiceCounter(2)
    counter.add(torch.tensor([0, 1], dtype=torch.uint8), torch.zeros(2, dtype=torch.uint8))
    assert counter.dice()[0] == 0
    assert math.isnan(counter.dice()[1])


def test_the_mean_of_known_values_leaves_out_nan() -> None:
    assert mean_of_known([0.5, math.nan, 1.0]) == 0.75
    assert math.isnan(mean_of_known([math.nan]))
    assert math.isnan(mean_of_known([]))
