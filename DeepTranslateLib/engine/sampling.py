"""Which slices an epoch trains on, in which order.

The order is a function of the seed and the epoch alone, so that training resumed at any step
goes on exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def random_state(seed: int, *place: int) -> np.random.Generator:
    """Random numbers that belong to one place (epoch, step) of a run with this seed."""
    # Not SeedSequence([seed, *place]), to which (epoch,) and (epoch, 0) are the same.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


def epoch_order(
    weights: Sequence[float], seed: int, epoch: int, count: int | None = None
) -> list[int]:
    """Indices of the slices of one epoch, in order: as many draws as there are slices.

    Each slice is drawn in proportion to its weight, by systematic resampling (Carpenter et al.
    1999): its number of draws differs from the expected one by less than 1. With equal weights
    an epoch is a permutation of all slices.

    Args:
        weights: Of the slices.
        seed: Of the run.
        epoch: From 0.
        count: Draws, where they are not as many as the slices.
    """
    random = random_state(seed, epoch)
    shares = np.asarray(weights, dtype=np.float64)
    draws = len(shares) if count is None else count
    shares = shares / shares.sum() * draws
    shuffled = random.permutation(len(shares))
    edges = np.cumsum(shares[shuffled])
    edges[-1] = draws
    points = np.arange(draws) + random.random()
    drawn = shuffled[np.searchsorted(edges, points, side="right")]
    return [int(index) for index in random.permutation(drawn)]
