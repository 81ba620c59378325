"""The watch over a training with a discriminator: each fault is said once, with what to change."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from adversarial_samples import METHODS, cohort, recipe_of
from engine_samples import volume_recipe

from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.watch import MEASURES, new_warnings
from DeepTranslateLib.jobs import Stopped
from DeepTranslateLib.recipe import Recipe

HEALTHY = {
    "discriminator_accuracy": 0.8,
    "variance_ratio": 0.9,
    "diversity_ratio": 0.7,
    "generator_gradient": 2.0,
    "discriminator_gradient": 1.0,
}


def record(**measures: float) -> dict[str, Any]:
    return {"losses": {**HEALTHY, **measures}}


def said(history: list[dict[str, Any]], recipe: Recipe) -> dict[int, str]:
    """By epoch (from 0) what is said after it."""
    found = {}
    for count in range(1, len(history) + 1):
        warnings = new_warnings(history[:count], recipe)
        if warnings:
            found[count - 1] = " ".join(warnings)
    return found


@pytest.mark.parametrize("name", METHODS)
def test_of_a_healthy_training_nothing_is_said(name: str) -> None:
    assert said([record()] * 12, recipe_of(name)) == {}


def test_a_discriminator_that_has_won_three_epochs_is_told_of_once() -> None:
    won = record(discriminator_accuracy=0.97)
    history = [record(), won, won, record(), won, won, won, won, record(), won, won, won]
    found = said(history, recipe_of("cyclegan"))
    assert list(found) == [6]
    for field in ("discriminator_rate", "generator_steps", "spectral_norm"):
        assert field in found[6]


def test_of_wassersteins_critic_it_is_not_said_that_it_has_won() -> None:
    recipe = recipe_of("cyclegan", adversarial={"objective": "wgan_gp"})
    assert said([record(discriminator_accuracy=1.0)] * 5, recipe) == {}


@pytest.mark.parametrize(
    ("name", "field"), [("cyclegan", "method.loss"), ("cut", "contrast.weight")]
)
def test_outputs_of_one_value_in_two_epochs_are_a_collapse(name: str, field: str) -> None:
    flat = record(variance_ratio=0.05)
    found = said([record(), flat, record(), flat, flat, flat], recipe_of(name))
    assert list(found) == [4]
    assert "collapsed" in found[4]
    assert field in found[4]


@pytest.mark.parametrize(("name", "field"), [("unit", "method.loss"), ("cut", "contrast.weight")])
def test_the_same_output_of_every_input_in_two_epochs_is_a_collapse(name: str, field: str) -> None:
    same = record(diversity_ratio=0.01)
    found = said([record(), same, record(), same, same, same], recipe_of(name))
    assert list(found) == [4]
    assert "same image" in found[4]
    assert field in found[4]


def test_what_is_of_one_value_is_not_told_of_twice() -> None:
    both = record(diversity_ratio=0.001, variance_ratio=0.001)
    (told,) = said([record(), both, both, both], recipe_of("unit")).values()
    assert told.count("collapsed") == 1
    assert "of one value" in told


def test_a_checkpoint_that_knows_nothing_of_diversity_goes_on() -> None:
    history = [record() for _ in range(4)]
    for each in history:
        del each["losses"]["diversity_ratio"]
    assert said(history, recipe_of("cyclegan")) == {}


@pytest.mark.parametrize("side", ["generator", "discriminator"])
def test_a_gradient_thirty_times_steeper_than_before_is_about_to_diverge(side: str) -> None:
    usual = [record(**{f"{side}_gradient": value}) for value in (1.0, 3.0, 2.0, 2.5)]
    at = record(**{f"{side}_gradient": 2.25 * 30})
    beyond = record(**{f"{side}_gradient": 2.25 * 31})
    assert said([*usual, at], recipe_of("cut")) == {}
    found = said([*usual, beyond, beyond], recipe_of("cut"))
    assert list(found) == [4]
    assert f"{side} gradient" in found[4]
    assert "gradient_clip" in found[4]


def test_each_side_that_becomes_steep_is_told_of() -> None:
    steep = {"generator_gradient": 1e3}
    both = {**steep, "discriminator_gradient": 1e3}
    found = said([record()] * 4 + [record(**steep), record(**both)], recipe_of("cut"))
    assert "generator" in found[4].split("gradient")[0]
    assert "discriminator gradient" in found[5]
    assert "generator gradient has" not in found[5]


def test_an_epoch_that_half_precision_skipped_has_no_gradient_to_judge() -> None:
    history = [record() for _ in range(6)]
    del history[0]["losses"]["generator_gradient"]
    assert said(history, recipe_of("cut")) == {}


def test_epochs_in_which_the_discriminator_warms_up_are_not_judged() -> None:
    def warming() -> dict[str, Any]:
        content = record(discriminator_accuracy=1.0, variance_ratio=0.01)
        del content["losses"]["generator_gradient"]
        return content

    recipe = recipe_of("pix2pix", adversarial={"discriminator_warmup_epochs": 4})
    won = record(discriminator_accuracy=1.0)
    assert list(said([warming() for _ in range(4)] + [won] * 4, recipe)) == [6]
    assert said([warming() for _ in range(4)] + [record(variance_ratio=0.01)], recipe) == {}


def test_a_supervised_training_is_not_watched() -> None:
    assert new_warnings([{"epoch": 0, "loss": 1.0}] * 5, volume_recipe()) == []


# ---- in a run


def collapsing() -> Recipe:
    """Steps so long that all outputs end at one bound."""
    return recipe_of(
        "cut",
        optimizer={"learning_rate": 0.3},
        training={"epochs": 4},
        augmentation={"probability": 0},
    )


def warnings_of(folder: Path, recipe: Recipe, steps: int | None = None) -> list[tuple[int, str]]:
    """Epochs done (from 1) and what was said then; stopped after some steps."""
    heard: list[dict[str, Any]] = []
    left = iter([False] * ((steps or 0) - 1) + [True])
    stop = (lambda: False) if steps is None else (lambda: next(left))
    with contextlib.suppress(Stopped):
        train(recipe, cohort("cut"), folder, device="cpu", sink=heard.append, should_stop=stop)
    found, epoch = [], 0
    for event in heard:
        epoch = event["epoch"] + 1 if event["event"] == "epoch" else epoch
        if event["event"] == "warning" and "subject" in event and epoch:
            found.append((epoch, event["message"]))
    return found


def test_a_training_that_collapses_says_so_and_the_same_when_it_was_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    straight = warnings_of(tmp_path / "straight", collapsing())
    assert any("collapsed" in text for _, text in straight)
    assert len({text for _, text in straight}) == len(straight)
    (first,) = [epoch for epoch, text in straight if "collapsed" in text]
    # Two steps an epoch: in the middle of the epoch after the warning.
    resumed = warnings_of(tmp_path / "resumed", collapsing(), steps=2 * first + 1)
    resumed += warnings_of(tmp_path / "resumed", collapsing())
    assert resumed == straight


def test_the_measures_that_are_watched_are_in_the_history_of_every_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    for name in METHODS:
        recipe = recipe_of(name, training={"epochs": 1})
        heard: list[dict[str, Any]] = []
        train(recipe, cohort(name), tmp_path / name, device="cpu", sink=heard.append)
        (epoch,) = (event for event in heard if event["event"] == "epoch")
        assert set(MEASURES) <= set(epoch["losses"])
