"""Results of the benchmarks: how they are kept, and which slices of phantoms teach."""

from __future__ import annotations

import numpy as np
import pytest

from DeepTranslateLib.image import Image
from Testing.benchmarks import phantom_body_composition, real_body_composition
from Testing.benchmarks.phantom_body_composition import COUNTS, dice, spread
from Testing.benchmarks.records import append_record, cells, matching, read_records


def test_results_are_read_as_they_were_appended(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    assert read_records(path) == []
    records = [{"variant": "a", "seed": 0, "dice": [0.5, 0.25]}, {"variant": "b", "seed": 0}]
    for record in records:
        append_record(path, record)
    assert read_records(path) == records
    assert matching(read_records(path), variant="b", seed=0) == records[1:]
    assert matching(records, variant="b", seed=1) == []


def test_cells_are_the_median_and_range_of_each_column():
    assert cells([[0.1, 3.0], [0.3, 1.0], [0.2, 2.0]], 1) == [
        "0.2 (0.1 to 0.3)",
        "2.0 (1.0 to 3.0)",
    ]
    assert cells([[0.12, 3.0]], 1) == ["0.1", "3.0"]


@pytest.mark.parametrize("count", COUNTS)
def test_as_many_slices_teach_as_are_asked_for_and_each_once(count):
    teachers = spread(count)
    assert sum(len(slices) for _, slices in teachers) == count
    assert len(teachers) == min(count, 7)
    for adiposity, slices in teachers:
        assert 0 <= adiposity <= 1
        assert len(set(slices)) == len(slices)
        assert 0 <= min(slices) <= max(slices) < 24


def test_few_slices_show_lean_and_obese_and_different_levels():
    teachers = spread(5)
    assert [teachers[0][0], teachers[-1][0]] == [0, 1]
    assert len({slices for _, slices in teachers}) == 5


def test_dice_is_twice_the_overlap_over_both_sizes():
    truth = np.array([[[1, 1, 2, 2, 3, 3]]], np.uint8)
    found = np.array([[[1, 2, 2, 2, 3, 0]]], np.uint8)
    images = [Image(voxels, np.eye(4)) for voxels in (found, truth)]
    assert dice(*images) == pytest.approx([2 * 1 / 3, 2 * 2 / 5, 2 * 1 / 3])


def test_a_table_has_a_row_for_each_group_of_subjects_and_the_baseline():
    records = [
        {
            "variant": "ct-body-composition",
            "seed": seed,
            "cpu_seconds": 100,
            "dice": {"lean": [0.9 + seed / 100] * 3, "obese": [0.8] * 3},
            "baseline": {"lean": [0.5] * 3, "obese": [0.4] * 3},
        }
        for seed in (0, 1, 2)
    ]
    lines = phantom_body_composition.table("recipes", records)
    assert any("| lean | 0.910 (0.900 to 0.920) |" in line for line in lines)
    assert any("intensity only | 3 | obese | 0.400 (0.400 to 0.400)" in line for line in lines)


def test_the_table_of_phantoms_counts_the_last_length_of_training_alone():
    records = [
        {
            "variant": "17",
            "seed": 0,
            "epochs": epochs,
            "cpu_seconds": 10,
            "dice": {"lean": [value] * 3, "obese": [value] * 3},
            "baseline": {"lean": [0.5] * 3, "obese": [0.4] * 3},
        }
        for epochs, value in ((59, 0.7), (236, 0.9))
    ]
    lines = phantom_body_composition.table("slices", records)
    assert any("| 17 | 1 |" in line and "0.900" in line for line in lines)
    assert not any("0.700" in line for line in lines)


def test_the_table_of_real_ct_keeps_recipes_of_other_lengths_apart():
    shared = {
        "test": "ts3mm",
        "recipe": "r",
        "spacing": 1.5,
        "cpu_seconds": 10,
        "baseline": [0.3] * 3,
    }
    records = [
        {**shared, "seed": 0, "epochs": 10, "dice": [0.5] * 3},
        {**shared, "seed": 0, "epochs": 20, "dice": [0.7] * 3},
    ]
    lines = real_body_composition.table(records)
    assert len([line for line in lines if line.startswith("| ts3mm | r |")]) == 2
    assert len([line for line in lines if line.startswith("| ts3mm | intensity only |")]) == 1
