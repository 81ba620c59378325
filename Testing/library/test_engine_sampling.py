"""The order of an epoch: fair shares, and a function of seed and epoch alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from DeepTranslateLib.engine.sampling import epoch_order, random_state

SEEDS = st.integers(0, 2**31 - 1)
EPOCHS = st.integers(0, 10_000)


@given(st.integers(1, 60), st.floats(0.1, 100), SEEDS, EPOCHS)
def test_equal_weights_draw_every_slice_exactly_once(
    slices: int, weight: float, seed: int, epoch: int
) -> None:
    assert sorted(epoch_order([weight] * slices, seed, epoch)) == list(range(slices))


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=60), SEEDS, EPOCHS)
def test_each_slice_is_drawn_as_often_as_its_weight_says_give_or_take_less_than_one(
    weights: list[float], seed: int, epoch: int
) -> None:
    order = epoch_order(weights, seed, epoch)
    assert len(order) == len(weights)
    expected = len(weights) * np.array(weights) / np.sum(weights)
    draws = np.bincount(order, minlength=len(weights))
    assert (np.abs(draws - expected) < 1 + 1e-9).all()


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30), SEEDS, EPOCHS)
def test_the_order_is_the_same_whatever_was_drawn_before(
    weights: list[float], seed: int, epoch: int
) -> None:
    first = epoch_order(weights, seed, epoch)
    np.random.default_rng().random(7)
    epoch_order(weights, seed, epoch + 1)
    assert epoch_order(weights, seed, epoch) == first


def test_over_many_epochs_the_shares_are_those_of_the_weights() -> None:
    weights = [1.0, 1.0, 2.0, 3.0, 0.5]
    draws = sum(np.bincount(epoch_order(weights, 5, epoch), minlength=5) for epoch in range(2000))
    assert draws / draws.sum() == pytest.approx(np.array(weights) / 7.5, abs=0.01)


def test_every_slice_takes_every_place_in_the_order_equally_often() -> None:
    places = np.zeros((4, 4))
    for epoch in range(2000):
        for place, index in enumerate(epoch_order([1.0] * 4, 3, epoch)):
            places[index, place] += 1
    # 500 expected in each of 16 cells, standard deviation 19.
    assert np.abs(places - 500).max() < 100


def test_epochs_and_seeds_give_different_orders() -> None:
    orders = {
        tuple(epoch_order([1.0] * 30, seed, epoch)) for seed in range(10) for epoch in range(10)
    }
    assert len(orders) == 100


def test_random_numbers_of_different_places_are_different_and_of_one_place_the_same() -> None:
    places = [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 1)]
    first = {place: float(random_state(9, *place).random()) for place in places}
    assert len(set(first.values())) == len(places)
    assert first == {place: float(random_state(9, *place).random()) for place in places}
    assert random_state(10, 0, 1).random() != first[0, 1]
