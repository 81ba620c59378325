"""The estimate of a training: held against the training that follows."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_samples import blobs, blobs_cohort, labels_recipe, lps_affine, volume_recipe

from DeepTranslateLib.cohort import Cohort, CohortError, cohort_from_lists
from DeepTranslateLib.engine import estimate as module
from DeepTranslateLib.engine.estimate import estimate
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.recipe import Recipe

KEYS = {
    *("seconds_per_epoch", "seconds", "memory_bytes", "memory_total_bytes", "parameters"),
    *("training_slices", "validation_slices", "device", "steps_measured"),
}


def tiny(**parts: dict[str, Any]) -> Recipe:
    training = {"validation_fraction": 0.3, "epochs": 5, **parts.pop("training", {})}
    return labels_recipe(2, training=training, **parts)


def cohort_of(
    sizes: list[int], slices: list[list[int] | None] | None = None, size: int = 16
) -> Cohort:
    """One subject for each number of slices."""
    pairs = [blobs(seed, count, size) for seed, count in enumerate(sizes)]
    return cohort_from_lists(
        [Image(voxels, lps_affine()) for voxels, _ in pairs],
        [Image(labels, lps_affine()) for _, labels in pairs],
        slices=slices,
    )


@pytest.mark.parametrize("kind", ["labels", "volume"])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_estimate_counts_what_the_training_then_has(
    tmp_path: Path, kind: str, batch: int
) -> None:
    training = {"epochs": 2, "batch_size": batch}
    recipe, cohort = tiny(training=training), blobs_cohort(4)
    if kind == "volume":
        recipe = volume_recipe(training=training)
        images = [case.read_image() for case in cohort.cases]
        cohort = cohort_from_lists(images, images)
    told = estimate(recipe, cohort, "cpu")
    assert set(told) == KEYS
    heard: list[dict[str, Any]] = []
    model = train(recipe, cohort, tmp_path, device="cpu", sink=heard.append)
    (start,) = (event for event in heard if event["event"] == "training_started")
    assert told["training_slices"] == start["slices"]
    assert told["validation_slices"] == start["validation_slices"]
    parameters = sum(p.numel() for p in build_network(model.recipe).parameters())
    assert told["parameters"] == parameters
    assert told["device"] == "cpu"
    assert told["steps_measured"] > 2
    assert 50e6 < told["memory_bytes"] < told["memory_total_bytes"]


def test_the_time_is_about_that_of_the_training(tmp_path: Path) -> None:
    recipe = tiny(network={"channels": 16, "levels": 4}, training={"epochs": 3, "batch_size": 2})
    cohort = cohort_of([6, 6, 6, 6], size=96)
    told = estimate(recipe, cohort, "cpu")
    heard: list[dict[str, Any]] = []
    train(recipe, cohort, tmp_path, device="cpu", sink=heard.append)
    seconds = [event["seconds"] for event in heard if event["event"] == "epoch"]
    # Other work on the machine makes either slower; an epoch is nine steps and six validations.
    assert 0.15 < told["seconds_per_epoch"] / (min(np.diff(seconds)) + 1e-9) < 6
    assert told["seconds"] > 3 * told["seconds_per_epoch"]


def test_more_epochs_and_more_slices_take_as_much_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock of one second a look makes each step and each validation last as long.
    clock = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(module, "_STEP_SECONDS", 20.0)
    few = estimate(tiny(training={"epochs": 1}), cohort_of([4] * 4), "cpu")
    many = estimate(tiny(training={"epochs": 10}), cohort_of([8] * 4), "cpu")
    assert many["training_slices"] == 2 * few["training_slices"]
    assert many["seconds_per_epoch"] > 1.5 * few["seconds_per_epoch"]
    assert many["seconds"] - few["seconds"] > 8 * many["seconds_per_epoch"]
    batches = estimate(tiny(training={"batch_size": 4}), cohort_of([8] * 4), "cpu")
    assert batches["seconds_per_epoch"] < 0.5 * many["seconds_per_epoch"]


def test_slices_of_three_fused_planes_take_three_times_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_step_seconds", lambda *arguments: [1.0])
    monkeypatch.setattr(module, "_validation_seconds", lambda *arguments: 0.0)
    cohort = cohort_of([9, 9], [[0, 1, 2, 3, 4, 5], [2, 3, 4]])
    single = estimate(tiny(), cohort, "cpu")
    fused = estimate(tiny(sampling={"fusion": True}), cohort, "cpu")
    assert single["seconds_per_epoch"] == single["training_slices"]
    assert fused["training_slices"] == single["training_slices"]
    assert fused["seconds_per_epoch"] == 3 * single["training_slices"]


@pytest.mark.parametrize("subjects", [1, 2])
def test_slices_of_one_case_may_be_on_both_sides(subjects: int) -> None:
    told = estimate(tiny(), cohort_of([6] * subjects), "cpu")
    assert told["training_slices"] + told["validation_slices"] == 6 * subjects


def test_slices_that_are_named_are_counted_without_reading(tmp_path: Path) -> None:
    slices: list[list[int] | None] = [[0, 1, 2], [1], [0, 2], [3, 2, 1, 0], [2]] * 2
    told = estimate(tiny(), cohort_of([4] * 10, slices), "cpu")
    assert told["training_slices"] + told["validation_slices"] == 22


def test_slices_of_cases_that_were_not_read_are_reckoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READING_SECONDS", 0.0)
    told = estimate(tiny(), cohort_of([5] * 10), "cpu")
    assert (told["training_slices"], told["validation_slices"]) == (35, 15)


def test_an_estimate_of_files_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, targets = [], []
    for number in range(3):
        voxels, labels = blobs(number)
        images.append(write_image(Image(voxels, lps_affine()), tmp_path / f"{number}.nrrd"))
        targets.append(write_image(Image(labels, lps_affine()), tmp_path / f"{number}-l.nrrd"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = sorted(tmp_path.rglob("*"))
    estimate(tiny(preprocessing={"spacing": "auto"}), cohort_from_lists(images, targets), "cpu")
    assert sorted(tmp_path.rglob("*")) == before
    assert os.listdir(temporary) == []


def test_faults_of_the_cohort_are_told(tmp_path: Path) -> None:
    case = blobs_cohort().cases[0]
    image = case.read_image()
    shifted = image.with_voxels(image.voxels + 1024)
    cohort = cohort_from_lists([shifted], [case.target])
    with pytest.raises(CohortError, match=r"(?s)faults.*HU"):
        estimate(tiny(), cohort, "cpu")
    other = Image(case.read_target().voxels[:, :8], lps_affine())
    with pytest.raises(CohortError, match="faults"):
        estimate(tiny(), cohort_from_lists([image], [other]), "cpu")


def test_slow_steps_are_measured_as_often_as_the_time_allows_and_at_least_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seconds, expected in ((0.7, 2), (0.01, 40), (100.0, 1)):
        clock = itertools.count(0.0, seconds)
        monkeypatch.setattr("time.monotonic", lambda clock=clock: next(clock))
        told = estimate(tiny(), blobs_cohort(), "cpu")
        assert told["steps_measured"] == expected
