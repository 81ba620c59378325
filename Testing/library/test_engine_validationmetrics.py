"""Metrics while a network learns: those of the metrics package, and the best epoch by any."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_samples import labels_recipe, lps_affine, random_hu, volume_recipe

from DeepTranslateLib.cohort import Cohort, Selection, cohort_from_lists
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.heldout import compared_slices
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.metrics.images import label_metrics, volume_metrics
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.engine.validationmetrics import ValidationMetrics
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe, RecipeError
from DeepTranslateLib.recipe.learning import LABEL_MONITORS, VOLUME_MONITORS
from DeepTranslateLib.runfolder import read_run

SHAPE = (5, 24, 20)
RNG = np.random.default_rng(0)
MASK = RNG.random(SHAPE) < 0.8


def image(voxels: np.ndarray) -> Image:
    return Image(voxels, lps_affine())


def batches(planes: np.ndarray, outputs: np.ndarray):
    """Slices (slices, channels, rows, columns) in batches of two and one."""
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        arrays = (planes[part], outputs[part], MASK[part, None])
        targets, output, mask = (torch.from_numpy(a.astype(np.float32)) for a in arrays)
        yield output, Batch(output, targets, mask)


def test_of_labels_they_are_the_means_of_the_metrics_package() -> None:
    recipe = labels_recipe(3)
    truth, found = (RNG.choice(4, SHAPE).astype(np.uint8) for _ in range(2))
    truth[truth == 3] = 0  # a label that is nowhere has no sensitivity
    planes = np.stack([truth == n for n in (1, 2, 3)], axis=1)
    outputs = np.stack([np.where(found == n, 2.0, -1.0) for n in (1, 2, 3)], axis=1)
    metrics = ValidationMetrics(recipe)
    for output, batch in batches(planes, outputs):
        metrics.add(output, batch)
    rows = label_metrics(image(found), image(truth), (1, 2, 3), mask=image(MASK.astype(np.uint8)))
    assert metrics.dice == [row.dice for row in rows]
    assert math.isnan(rows[2].sensitivity)
    values = metrics.values()
    assert set(values) == set(LABEL_MONITORS[1:])
    assert values["dice"] == pytest.approx(np.mean([row.dice for row in rows]))
    assert values["sensitivity"] == pytest.approx(np.mean([r.sensitivity for r in rows[:2]]))
    assert values["specificity"] == pytest.approx(np.mean([row.specificity for row in rows]))
    differences = [abs(row.fractional_area_difference) for row in rows[:2]]
    assert values["fractional_area_difference"] == pytest.approx(np.mean(differences))


@pytest.mark.parametrize("monitor", VOLUME_MONITORS)
def test_of_volumes_they_are_those_of_the_metrics_package_in_the_targets_units(
    monitor: str,
) -> None:
    recipe = volume_recipe(
        training={"monitor": monitor}, target={"units": "HU", "range": [-200, 600]}
    )
    truth = random_hu(SHAPE).astype(np.float32) / 2.5 + 200
    found = truth + RNG.normal(0, 30, SHAPE).astype(np.float32)
    metrics = ValidationMetrics(recipe)
    shares = ((volume[:, None] + 200) / 800 for volume in (truth, found))
    for output, batch in batches(*shares):
        metrics.add(output, batch)
    expected = volume_metrics(
        image(found), image(truth), mask=image(MASK.astype(np.uint8)), value_range=(-200, 600)
    )
    values = metrics.values()
    assert set(values) == {"mae", "rmse", "psnr"} | ({monitor} & {"ssim", "ms_ssim"})
    for name, value in values.items():
        assert value == pytest.approx(getattr(expected, name), rel=1e-4), name
    assert metrics.monitored(3.0) == {
        "loss": 3.0,
        "mae": values["mae"],
        "rmse": values["rmse"],
    }.get(monitor, -values.get(monitor, 0))


def test_equal_volumes_have_no_end_of_psnr_and_no_voxel_has_no_metric() -> None:
    recipe = volume_recipe(training={"monitor": "ssim"})
    metrics = ValidationMetrics(recipe)
    same = torch.rand(1, 1, 16, 16)
    metrics.add(same, Batch(same, same, torch.zeros_like(same)))
    assert all(math.isnan(metrics.values()[name]) for name in ("mae", "rmse", "psnr", "ssim"))
    metrics.add(same, Batch(same, same, torch.ones_like(same)))
    assert metrics.values() == {"mae": 0, "rmse": 0, "psnr": math.inf, "ssim": 1}


def volume_cohort() -> Cohort:
    """Targets that a small network can learn in part."""
    images = [image(random_hu((3, 16, 16), seed)) for seed in range(3)]
    targets = [each.with_voxels(-each.voxels // 2) for each in images]
    return cohort_from_lists(images, targets, ["a", "b", "c"])


@pytest.mark.parametrize("monitor", ["mae", "psnr", "ssim"])
def test_the_best_epoch_of_volumes_is_by_the_monitored_metric(tmp_path: Path, monitor: str) -> None:
    training = {"epochs": 8, "monitor": monitor, "validation_fraction": 0.3}
    recipe = volume_recipe(training=training, optimizer={"learning_rate": 0.05})
    model = train(recipe, volume_cohort(), tmp_path, device="cpu")
    history = read_run(tmp_path).history
    values = [row["validation_metrics"][monitor] for row in history]
    assert len(set(values)) > 3
    best = int(np.argmin(values) if monitor == "mae" else np.argmax(values))
    assert model.card.epoch == best + 1
    # Nothing is cropped or resampled, so the slices that the network sees are the images'.
    held = validated_subjects(tmp_path)
    case = next(c for c in volume_cohort().cases if c.subject in held)
    output = Translator.from_model(model, torch.device("cpu")).translate(case.read_image())
    (row,) = compared_slices(output, case.read_target(), model.recipe, range(3))
    assert row[monitor] == pytest.approx(values[best], rel=1e-3)


@pytest.mark.mixed_precision
def test_volumes_are_validated_in_full_precision_as_they_are_translated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("DeepTranslateLib.engine.device._cpu_has_bf16", lambda: True)
    recipe = volume_recipe(network={"channels": 8})
    device = torch.device("cpu")
    learner = Learner(recipe, device)
    case = volume_cohort().cases[0]
    pieces = SliceSet([Selection(case, None)], recipe, tmp_path).pieces
    metrics = learner.validate(pieces)[1]
    output = Translator(learner.translator, recipe, device).translate(case.read_image())
    (row,) = compared_slices(output, case.read_target(), recipe, range(3))
    # In bf16 an error of 500 HU would be out by one or more.
    assert metrics.values()["mae"] == pytest.approx(row["mae"], abs=0.01)


def validated_subjects(folder: Path) -> set[str]:
    content = json.loads((folder / "cohort.json").read_text())
    return {row["subject"] for row in content["validation"]}


@pytest.mark.parametrize(
    ("monitor", "scores", "best", "epochs"),
    [
        ("sensitivity", [0.3, 0.5, 0.4, 0.5, 0.2], 1, 4),
        ("fractional_area_difference", [0.3, 0.5, 0.1, 0.4, 0.2], 2, 5),
    ],
)
def test_patience_follows_the_monitored_metric_in_its_direction(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    monitor: str,
    scores: list[float],
    best: int,
    epochs: int,
) -> None:
    # Each epoch asks twice: to compare it, and to tell it.
    each = iter(np.repeat(scores, 2))
    monkeypatch.setattr(ValidationMetrics, "values", lambda self: {monitor: float(next(each))})
    recipe = labels_recipe(
        1, training={"epochs": 9, "monitor": monitor, "patience": 2, "validation_fraction": 0.3}
    )
    images = [image(random_hu((2, 8, 8), seed)) for seed in range(3)]
    targets = [each.with_voxels((each.voxels > 0).astype(np.uint8) * 10) for each in images]
    cohort = cohort_from_lists(images, targets, ["a", "b", "c"])
    train(recipe, cohort, tmp_path, device="cpu")
    run = read_run(tmp_path)
    assert (run.best_epoch, run.epochs_done) == (best + 1, epochs)


@pytest.mark.parametrize("monitor", VOLUME_MONITORS[1:])
def test_a_metric_of_volumes_is_refused_for_labels(monitor: str) -> None:
    with pytest.raises(RecipeError, match=r"monitor.*does not fit a target of kind 'labels'"):
        labels_recipe(1, training={"monitor": monitor})


@pytest.mark.parametrize("monitor", LABEL_MONITORS[1:])
def test_a_metric_of_labels_is_refused_for_volumes(monitor: str) -> None:
    with pytest.raises(RecipeError, match=r"Possible: loss, mae, rmse, .*ms_ssim, last\."):
        volume_recipe(training={"monitor": monitor})


def test_what_a_recipe_can_name_is_measured() -> None:
    known: dict[str, Recipe] = {
        **{name: labels_recipe(1, training={"monitor": name}) for name in LABEL_MONITORS},
        **{name: volume_recipe(training={"monitor": name}) for name in VOLUME_MONITORS[1:]},
    }
    for name, recipe in known.items():
        assert name == "loss" or name in ValidationMetrics(recipe).values()


@pytest.mark.parametrize(
    ("scores", "best"),
    [([math.nan] * 3, 3), ([math.nan, 0.2, 0.1], 2), ([math.nan, math.nan, 0.1], 3)],
)
def test_an_epoch_whose_metric_is_unknown_is_worse_than_one_whose_metric_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], best: int
) -> None:
    each = iter(np.repeat(scores, 2))
    monkeypatch.setattr(ValidationMetrics, "values", lambda self: {"dice": float(next(each))})
    recipe = labels_recipe(1, training={"epochs": 3, "monitor": "dice", "validation_fraction": 0.3})
    images = [image(random_hu((2, 8, 8), seed)) for seed in range(3)]
    targets = [each.with_voxels((each.voxels > 0).astype(np.uint8) * 10) for each in images]
    train(recipe, cohort_from_lists(images, targets, ["a", "b", "c"]), tmp_path, device="cpu")
    assert read_run(tmp_path).best_epoch == best
