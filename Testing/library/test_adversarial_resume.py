"""Stopped in the middle of an epoch and started again, an adversarial training ends the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from adversarial_samples import METHODS, cohort, model_file, recipe_of
from engine_samples import labels_recipe, lps_affine
from test_context_gan import recipe_of as context_recipe

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.engine import training
from DeepTranslateLib.engine.checkpoint import load_state
from DeepTranslateLib.engine.crossvalidation import cross_validate
from DeepTranslateLib.engine.discriminators import context
from DeepTranslateLib.engine.identity import is_same_training
from DeepTranslateLib.engine.pretrained import PretrainedError
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.image import Image
from DeepTranslateLib.jobs import Stopped
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.schema import to_json

STEPS = 6  # of each of two epochs


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a power cut would notice.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def everything(name: str, folder: Path) -> Recipe:
    """All that has a state or is drawn at random: the critics learn in steps 1, 5 and 9."""
    adversarial: dict[str, Any] = {
        "pool": 1,
        "label_jitter": 0.2,
        "generator_steps": 4,
        "spectral_norm": True,
        "discriminator_rate": 0.002,
    }
    structure: dict[str, Any] = {}
    if name in ("cyclegan", "cut"):
        adversarial["identity_weight"] = 1
    if name == "cyclegan":
        path = model_file(folder, labels_recipe(2, network={"levels": 3}), "segmentor")
        structure = {
            **{f"{term}_weight": 1 for term in ("latent", "air", "gradient", "shape")},
            "segmentor": str(path),
            "segmentor_sha256": file_sha256(path),
        }
    if name == "pix2pix":
        adversarial["mispair_weight"] = 1
    batch_size = 2 if name == "pix2pix" else 1
    return recipe_of(
        name,
        network={"norm": "batch"},
        adversarial=adversarial,
        structure=structure,
        optimizer={"schedule": "linear", "gradient_clip": 1},
        training={"ema": 0.7, "batch_size": batch_size, "keep_every": 1},
    )


def trained(
    recipe: Recipe, folder: Path, stop_after: tuple[int, ...] = ()
) -> tuple[bytes, dict[str, Any]]:
    """Weights of the model and all of the last checkpoint but the time it took."""
    # A third of the subjects is validated on.
    slices = STEPS * recipe.training.batch_size // 2
    images = cohort(recipe.method.name, sources=3, targets=3, slices=slices)
    for steps in stop_after:
        answers: Iterator[bool] = iter([False] * (steps - 1) + [True])
        # Whatever another process has drawn before.
        torch.manual_seed(steps)
        with pytest.raises(Stopped):
            train(recipe, images, folder, "cpu", should_stop=lambda it=answers: next(it))
    model = train(recipe, images, folder, device="cpu", checkpoint_seconds=1e9)
    state = load_state(folder / "checkpoints" / "last.safetensors")
    del state["progress"]["seconds"]
    return model.weights(), state


def assert_same(first: Any, second: Any, place: str = "$") -> None:
    assert type(first) is type(second), place
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), place
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), place
        for key in first:
            assert_same(first[key], second[key], f"{place}.{key}")
    elif isinstance(first, list):
        assert len(first) == len(second), place
        for number, both in enumerate(zip(first, second, strict=True)):
            assert_same(*both, f"{place}[{number}]")
    else:
        assert first == second, place


@pytest.mark.parametrize("name", METHODS)
def test_stopped_in_two_epochs_it_ends_in_the_same_weights_and_memory(
    name: str, tmp_path: Path
) -> None:
    recipe = everything(name, tmp_path)
    weights, state = trained(recipe, tmp_path / "straight")
    # After 2 steps, and 8 more: between turns of the critics in either epoch.
    again, resumed = trained(recipe, tmp_path / "stopped", (2, 8))
    assert again == weights
    assert_same(resumed, state)
    # It had a memory, a turn and something to watch at all.
    critics = state["method"]["critics"]
    assert all(len(each["images"]) == 1 for each in critics.values())
    assert state["method"]["steps"] == 2 * STEPS
    assert set(state["gradients"]) == {"generator_gradient", "discriminator_gradient"}
    averages = [key for key in state if key.startswith("average") and state[key] is not None]
    assert len(averages) == (2 if name in ("cyclegan", "unit") else 1)


def test_what_is_drawn_matters(tmp_path: Path) -> None:
    recipe = everything("cut", tmp_path)
    first, _ = trained(recipe, tmp_path / "a")
    second, _ = trained(recipe.with_training(seed=1), tmp_path / "b")
    assert first != second


def test_a_warm_up_of_the_critic_goes_on_where_it_was(tmp_path: Path) -> None:
    recipe = recipe_of(
        "unit", adversarial={"discriminator_warmup_epochs": 1, "pool": 2}, training={"ema": 0.5}
    )
    weights, state = trained(recipe, tmp_path / "straight")
    again, resumed = trained(recipe, tmp_path / "stopped", (4, 5))
    assert again == weights
    assert_same(resumed, state)
    warming, learning = (record["losses"] for record in state["progress"]["history"])
    assert "generator_gradient" not in warming
    assert learning["generator_gradient"] > 0


def test_whose_turn_it_is_goes_on_where_the_generator_waits(tmp_path: Path) -> None:
    recipe = recipe_of("cut", adversarial={"discriminator_steps": 4, "pool": 2})
    weights, state = trained(recipe, tmp_path / "straight")
    # After 2 and after 7 steps; the generator learns in steps 1, 5 and 9.
    again, resumed = trained(recipe, tmp_path / "stopped", (2, 5))
    assert again == weights
    assert_same(resumed, state)
    first, _ = trained(recipe_of("cut", adversarial={"pool": 2}), tmp_path / "each")
    assert first != weights


def test_a_checkpoint_of_another_game_is_refused(tmp_path: Path) -> None:
    recipe = recipe_of("cut")
    with pytest.raises(Stopped):
        train(recipe, cohort("cut"), tmp_path, device="cpu", should_stop=lambda: True)
    other = recipe_of("cut", adversarial={"pool": 3})
    with pytest.raises(TrainingError, match="another recipe"):
        train(other, cohort("cut"), tmp_path, device="cpu")


@pytest.mark.parametrize("use", ["features", "segmentor", "target_segmentor"])
def test_a_file_of_structure_that_was_moved_is_the_same_and_another_is_not(use: str) -> None:
    def naming(path: str, digit: str) -> Recipe:
        named = {
            each: {each: f"{each}.dtmodel", f"{each}_sha256": "0" * 64}
            for each in ("features", "segmentor", "target_segmentor")
        }
        named[use] = {use: path, f"{use}_sha256": digit * 64}
        files = {key: value for each in named.values() for key, value in each.items()}
        weights = {"perceptual_weight": 1, "shape_weight": 1}
        return recipe_of("cyclegan", structure={**weights, **files})

    before = to_json(naming("here.dtmodel", "a"))
    assert is_same_training(before, naming("there.dtmodel", "a"))
    assert not is_same_training(before, naming("here.dtmodel", "b"))


def test_a_cross_validation_knows_a_file_of_structure_where_it_was_moved_to(tmp_path: Path) -> None:
    cases = [
        replace(case, target=case.image) if case.domain == "source" else case
        for case in cohort("cyclegan").cases
    ]

    def start(path: str, digit: str) -> None:
        files = {"segmentor": path, "segmentor_sha256": digit * 64}
        recipe = recipe_of("cyclegan", structure={"shape_weight": 1, **files})
        cross_validate(recipe, Cohort(tuple(cases), "heads"), 2, tmp_path / "folds", device="cpu")

    for path in ("here.dtmodel", "there.dtmodel"):
        with pytest.raises(PretrainedError, match=path):
            start(path, "a")
    with pytest.raises(TrainingError, match="another recipe"):
        start("there.dtmodel", "b")


def test_more_epochs_go_on_from_the_last_one(tmp_path: Path) -> None:
    recipe = recipe_of("cut", optimizer={"schedule": "constant"}, adversarial={"pool": 2})
    straight, _ = trained(recipe.with_training(epochs=3), tmp_path / "straight")
    first, _ = trained(recipe.with_training(epochs=2), tmp_path / "longer")
    longer, _ = trained(recipe.with_training(epochs=3), tmp_path / "longer")
    assert first != straight == longer


# ---- killed, some steps after the last checkpoint


class Killed(BaseException):
    """As a process ends: nothing is saved any more."""


def patches(subjects: int = 4) -> Cohort:
    """Volumes in pairs, of which a third is validated on."""
    cases = []
    for n in range(subjects):
        voxels = np.random.default_rng(n).normal(0, 200, (16, 16, 16)).astype(np.float32)
        first, second = (Image(each, lps_affine((1.0, 1.0, 1.0))) for each in (voxels, voxels / 2))
        cases.append(Case(f"s{n}", first, second))
    return Cohort(tuple(cases), "the cohort")


def dying(name: str) -> tuple[Recipe, Cohort]:
    adversarial: dict[str, Any] = {"pool": 2, "label_jitter": 0.2, "generator_steps": 2}
    if name == "wgan_gp":
        adversarial = {"pool": 2, "objective": name, "discriminator_steps": 3}
    if name == "context_gan":
        recipe = context_recipe(
            adversarial=adversarial,
            sampling={"patches_per_epoch": STEPS},
            training={"epochs": 2, "ema": 0.7, "batch_size": 1},
        )
        return recipe, patches()
    method = "cut" if name == "wgan_gp" else name
    recipe = recipe_of(method, adversarial=adversarial, training={"ema": 0.7, "batch_size": 1})
    return recipe, cohort(method, sources=3, targets=3, slices=STEPS // 2)


@pytest.mark.parametrize("name", [*METHODS, "context_gan", "wgan_gp"])
def test_killed_after_its_last_checkpoint_it_does_the_lost_steps_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_FILTERS", (2, 2, 2, 2))
    monkeypatch.setattr(context, "_UNITS", (4, 2))
    recipe, images = dying(name)
    straight = train(recipe, images, tmp_path / "straight", "cpu", checkpoint_seconds=1e9)
    expected = load_state(tmp_path / "straight" / "checkpoints" / "last.safetensors")
    clock, done = SimpleNamespace(now=0.0), 0
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def saved_then_killed() -> bool:
        nonlocal done
        done += 1
        if done == STEPS + 2:
            clock.now += 100  # a checkpoint is due after this step
        if done == STEPS + 5:
            raise Killed
        return False

    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train(recipe, images, folder, "cpu", should_stop=saved_then_killed, checkpoint_seconds=99)
    last = load_state(folder / "checkpoints" / "last.safetensors")
    assert (last["progress"]["epoch"], last["progress"]["step"]) == (1, 2)
    # Whatever another process has drawn before.
    torch.manual_seed(99)
    again = 0

    def counted() -> bool:
        nonlocal again
        again += 1
        return False

    resumed = train(recipe, images, folder, "cpu", should_stop=counted, checkpoint_seconds=1e9)
    assert (done, again) == (STEPS + 5, STEPS - 2)  # of these three for the second time
    assert resumed.weights() == straight.weights()
    state = load_state(folder / "checkpoints" / "last.safetensors")
    for each in (state, expected):
        del each["progress"]["seconds"]
    assert_same(state, expected)
