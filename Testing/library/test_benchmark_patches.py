"""The benchmark of patches against slices: both ways learn the same, from the same slices."""

from __future__ import annotations

import pytest

from Testing.benchmarks.patches_3d import (
    TEACHERS,
    phantoms_of,
    recipe_of,
    spread,
    table,
)


@pytest.mark.parametrize("experiment", ["dense", "sparse"])
def test_both_ways_have_the_same_loss_augmentation_and_preprocessing(experiment):
    slices, patches = (recipe_of(experiment, variant) for variant in ("slices", "patches"))
    assert patches.is_volumetric
    assert not slices.is_volumetric
    assert slices.method == patches.method
    assert slices.augmentation == patches.augmentation
    assert slices.preprocessing == patches.preprocessing
    assert slices.target == patches.target


def test_seventeen_slices_teach_where_labels_are_sparse_and_all_where_they_are_dense():
    chosen = {}
    for experiment in ("dense", "sparse"):
        subjects = phantoms_of(experiment, seed=0)
        chosen[experiment] = [
            slices for name, (_, slices) in subjects.items() if name.startswith("training")
        ]
    assert len(chosen["dense"]) == len(TEACHERS)
    assert all(slices == tuple(range(32)) for slices in chosen["dense"])
    assert sum(len(slices) for slices in chosen["sparse"]) == 17


def test_slices_are_spread_over_the_whole_volume():
    assert list(spread(4, 32)) == [4, 12, 20, 28]
    assert list(spread(32, 32)) == list(range(32))


def test_the_table_keeps_ways_and_subjects_apart_and_holds_the_highest_peak_against_the_limit():
    shared = {
        "experiment": "dense",
        "slices": 96,
        "baseline": {"lean": [0.1] * 3, "obese": [0.2] * 3},
        "training_gb": 1.0,
        "translating_gb": 25.0,
    }
    records = [
        {
            **shared,
            "variant": variant,
            "seed": seed,
            "cpu_seconds": 60 + seed,
            "dice": {"lean": [best + seed / 100] * 3, "obese": [best - 0.1] * 3},
        }
        for variant, best in (("slices", 0.8), ("patches", 0.9))
        for seed in (0, 1, 2)
    ]
    text = "\n".join(table(records))
    assert "| 96 slices | slices | 3 | lean | 0.810 (0.800 to 0.820) |" in text
    assert "| 96 slices | patches | 3 | obese | 0.800 (0.800 to 0.800) |" in text
    assert "| 61 (60 to 62) | 1.00 GB | 25.00 GB |" in text
    assert "| 96 slices | intensity only | 3 | lean | 0.100 (0.100 to 0.100) |" in text
    assert "| *patches - slices* |  | lean | 0.100 (0.100 to 0.100) |" in text
    assert "25.00 GB, ABOVE the limit of 24 GB" in text
