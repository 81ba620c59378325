"""Training on patches from cohort to model: killed and gone on with, sparse labels, networks."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import blobs, labels_recipe, lps_affine, volume_recipe

from DeepTranslateLib.cohort import Case, Cohort, Selection
from DeepTranslateLib.cohort.check import check_cohort
from DeepTranslateLib.cohort.patchcheck import check_patch
from DeepTranslateLib.engine import estimate as estimation
from DeepTranslateLib.engine.augment_preview import augmented
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.engine.volumeset import VolumeSet
from DeepTranslateLib.image import Image
from DeepTranslateLib.model import Model
from DeepTranslateLib.recipe import LABEL_LOSSES, VOLUME_LOSSES, Recipe

CPU = torch.device("cpu")
PATCH = {"patch": [4, 8, 8], "patches_per_epoch": 6, "foreground_share": 0.4}


class Killed(BaseException):
    """As a process ends: nothing is saved any more."""


def recipe(make: Any = labels_recipe, **parts: Any) -> Recipe:
    labels = (2,) if make is labels_recipe else ()
    network = {"dimension": 3, "levels": 2, "channels": 2, **parts.pop("network", {})}
    sampling = {**PATCH, **parts.pop("sampling", {})}
    return make(*labels, sampling=sampling, network=network, **parts)


def full_recipe() -> Recipe:
    """With everything that has a state, and every kind of change that shifts random numbers."""
    return recipe(
        network={"norm": "batch", "deep_supervision": True, "levels": 3},
        preprocessing={"spacing": "auto", "slice_spacing": "auto"},
        optimizer={"schedule": "poly", "gradient_clip": 0.5},
        augmentation={"elastic_probability": 0.5, "poisson_probability": 0.5, "noise_sd": 0.05},
        training={"epochs": 3, "batch_size": 2, "ema": 0.7, "validation_fraction": 0.3},
    )


def cohort(slices: tuple[int, ...] | None = None, unlabelled: int = 0) -> Cohort:
    """Three subjects; unlabelled slices hold a value."""
    cases = []
    for seed, millimetres in enumerate((3.0, 3.0, 7.0)):
        voxels, labels = blobs(seed, slices=7)
        if slices is not None:
            hidden = [place for place in range(7) if place not in slices]
            labels[hidden] = unlabelled
        grid = lps_affine((1.0, 1.0, millimetres))
        cases.append(Case(f"s{seed}", Image(voxels, grid), Image(labels, grid), slices))
    return Cohort(tuple(cases), "the cohort")


def weights_of(model: Model) -> tuple[str, Any]:
    return model.card.weights_sha256, model.card.metrics


def killed_after(steps: int) -> Any:
    done = []

    def should_stop() -> bool:
        done.append(0)
        if len(done) == steps:
            raise Killed
        return False

    return should_stop


def test_killed_at_any_step_a_run_goes_on_to_the_same_model(tmp_path: Path) -> None:
    straight = train(full_recipe(), cohort(), tmp_path / "0", "cpu", checkpoint_seconds=1e9)
    for steps in (1, 5):
        arguments = (full_recipe(), cohort(), tmp_path / f"{steps}", "cpu")
        with pytest.raises(Killed):
            train(*arguments, should_stop=killed_after(steps), checkpoint_seconds=0.0)
        assert not (tmp_path / f"{steps}" / "model.dtmodel").exists()
        assert weights_of(train(*arguments)) == weights_of(straight)
    # What "auto" came to is known to the model.
    preprocessing = straight.recipe.preprocessing
    assert (preprocessing.spacing, preprocessing.slice_spacing) == (1.0, 3.0)


def test_what_stands_in_unlabelled_slices_changes_nothing(tmp_path: Path) -> None:
    short = recipe(training={"epochs": 1, "validation_fraction": 0.3})
    first, second = (
        weights_of(train(short, cohort((1, 4), value), tmp_path / str(value), "cpu"))
        for value in (0, 10)
    )
    assert first == second
    all_labelled = weights_of(train(short, cohort(), tmp_path / "all", "cpu"))
    assert all_labelled != first


def learner_and_batch(made: Recipe, folder: Path, seed: int = 0) -> tuple[Learner, list[Any]]:
    voxels, labels = blobs(seed, slices=8)
    image = Image(voxels, lps_affine())
    target = image if made.target.kind == "volume" else image.with_voxels(labels)
    volumes = VolumeSet([Selection(Case("s", image, target), (0, 1, 2, 3, 4))], made, folder)
    return Learner(made, CPU), volumes.epoch(0)[:2]


def assert_learns(made: Recipe, folder: Path) -> None:
    learner, batch = learner_and_batch(made, folder)
    before = learner.weights()
    learner.begin_epoch(0)
    assert np.isfinite(learner.step(batch, random_state(0, 0, 0))["loss"])
    after = learner.weights()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(torch.isfinite(tensor).all() for tensor in after.values())


@pytest.mark.parametrize(
    "network",
    [
        {"name": "unet", "levels": 3, "norm": "instance", "deep_supervision": True},
        {"name": "dynunet", "levels": 3, "norm": "instance", "deep_supervision": True},
        {"name": "basicunet", "levels": 5, "norm": "group"},
        {"name": "segresnet", "levels": 3, "norm": "group", "channels": 8},
        pytest.param(
            {"name": "swinunetr", "levels": 5, "channels": 12},
            marks=pytest.mark.slow,  # what it needs takes long to load
        ),
        {"name": "restormer", "levels": 2, "channels": 4, "blocks": [1, 1]},
    ],
    ids=lambda network: network["name"],
)
def test_every_network_learns_from_patches(tmp_path: Path, network: dict[str, Any]) -> None:
    assert_learns(recipe(network=network, sampling={"patch": [8, 12, 10]}), tmp_path)


@pytest.mark.parametrize("loss", LABEL_LOSSES)
def test_every_loss_of_labels_learns_from_patches(tmp_path: Path, loss: str) -> None:
    assert_learns(recipe(method={"loss": loss}), tmp_path)


@pytest.mark.parametrize("loss", VOLUME_LOSSES)
def test_every_loss_of_volumes_learns_from_patches(tmp_path: Path, loss: str) -> None:
    # Total variation is never alone.
    terms = [{"name": name} for name in dict.fromkeys([loss, "mae"])]
    assert_learns(recipe(volume_recipe, method={"loss": terms}), tmp_path)


@pytest.mark.parametrize("coarse", ["averaged", "nearest", "full_size"])
def test_coarser_levels_learn_from_patches(tmp_path: Path, coarse: str) -> None:
    network = {"levels": 4, "deep_supervision": True}
    assert_learns(recipe(network=network, method={"coarse_targets": coarse}), tmp_path)


@pytest.mark.mixed_precision
def test_a_step_has_the_same_bits_whatever_was_in_memory_before(tmp_path: Path) -> None:
    made = recipe(network={"levels": 3, "channels": 16}, sampling={"patch": [8, 16, 16]})
    found = []
    for value in (0.0, float("nan"), 1e30):
        learner, batch = learner_and_batch(made, tmp_path)
        learner.begin_epoch(0)
        used = [torch.full((size,), value) for size in (2_000, 20_000, 60_000, 200_000)]
        del used
        learner.step(batch, random_state(0, 0, 0))
        found.append(learner.weights())
    for name, weights in found[0].items():
        assert all(torch.equal(weights, other[name]) for other in found[1:]), name


def test_a_patch_in_which_nothing_counts_changes_no_weight(tmp_path: Path) -> None:
    made = recipe(optimizer={"name": "sgd"})
    learner, batch = learner_and_batch(made, tmp_path)
    nothing = torch.full_like(batch[0].volume.target, 255)
    nothing[0, 0, 0] = 0

    class Elsewhere(type(batch[0])):  # type: ignore[misc]
        def start(self, size: Any, random: Any) -> tuple[int, int, int]:
            return (4, 8, 8)

    volume = dataclasses.replace(batch[0].volume, target=nothing)
    before = learner.weights()
    learner.begin_epoch(0)
    assert learner.step([Elsewhere(volume, False)], random_state(0, 0, 0)) == {"loss": 0}
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.weights().items())


def test_an_estimate_is_of_the_patches_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimation, "_step_seconds", lambda *rest: [10.0])
    monkeypatch.setattr(estimation, "_validation_seconds", lambda *rest: 1.0)
    for patches, steps in ((6, 6), (None, 16)):
        made = recipe(
            sampling={"patches_per_epoch": patches},
            training={"epochs": 2, "validation_fraction": 0.3},
        )
        found = estimation.estimate(made, cohort(), "cpu")
        assert (found["training_slices"], found["validation_slices"]) == (14, 7)
        # 7 x 16 x 16 voxels in patches of 4 x 8 x 8.
        assert found["seconds_per_epoch"] == steps * 10 + 8


def test_a_preview_shows_a_slice_of_the_patch_as_training_sees_it() -> None:
    made = recipe(augmentation={"probability": 0}, sampling={"patch": [4, 8, 12]})
    voxels, labels = blobs(0, slices=7)
    image = Image(voxels, lps_affine())
    for stored in (0, 3, 6):
        shown = augmented(made, image, image.with_voxels(labels), stored, seed=1, count=2)
        assert shown["images"].shape == (2, 12, 12)
        assert shown["images"][0] == pytest.approx(shown["image"], abs=0.01)
        assert np.array_equal(shown["targets"][1], shown["target"])
        seen = shown["image"][2:10]
        # A window of the slice itself.
        windows = np.lib.stride_tricks.sliding_window_view(voxels[stored].clip(-1000), (8, 12))
        assert np.abs(windows - seen).max(axis=(2, 3)).min() < 0.01
    turned = augmented(recipe(), image, image.with_voxels(labels), None, seed=1, count=2)
    again = augmented(recipe(), image, image.with_voxels(labels), None, seed=1, count=1)
    assert np.array_equal(turned["images"][0], again["images"][0])
    assert not np.array_equal(turned["images"][0], turned["images"][1])


@pytest.mark.parametrize(
    ("patch", "slice_spacing", "said"),
    [([4, 8, 8], None, None), ([24, 8, 8], None, "11 slices"), ([24, 8, 8], 1.0, None)],
)
def test_a_patch_that_is_mostly_air_is_warned_of(
    patch: list[int], slice_spacing: float | None, said: str | None
) -> None:
    made = recipe(sampling={"patch": patch}, preprocessing={"slice_spacing": slice_spacing})
    voxels, labels = blobs(0, slices=11)
    image = Image(voxels, lps_affine((1.0, 1.0, 2.0)))
    faults = check_cohort(
        Cohort((Case("s", image, image.with_voxels(labels)),), "the cohort"), made
    )
    found = [fault for fault in faults if fault.kind == "smaller_than_half_a_patch"]
    assert [fault.severity for fault in found] == ([] if said is None else ["warning"])
    assert all(said is not None and said in fault.found for fault in found)


@pytest.mark.parametrize(("slices", "said"), [(7, "needs patches of 16"), (8, None)])
def test_a_patch_that_a_discriminator_needs_is_not_to_be_made_smaller(
    slices: int, said: str | None
) -> None:
    made = volume_recipe(
        network={"dimension": 3, "name": "context_fcn", "levels": 5},
        sampling={"patch": [16, 16, 16]},
        method={"name": "context_gan", "loss": "mse"},
    )
    voxels, _ = blobs(0, slices=slices)
    image = Image(voxels, lps_affine())
    found = [each.advice for each in check_patch("s", image, made) if "slices" in each.found]
    assert len(found) == (0 if said is None else 1)
    assert all(said is not None and said in advice for advice in found)
