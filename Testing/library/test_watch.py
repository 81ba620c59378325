"""The watch over a training with a discriminator: each fault is said once, with what to change."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from adversarial_samples import METHODS, cohort, recipe_of
from engine_samples import volume_recipe
from test_context_gan import recipe_of as context_recipe

from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.watch import MEASURES, new_warnings
from DeepTranslateLib.jobs import Stopped
from DeepTranslateLib.recipe import Recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

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


def of_ways(**measures: tuple[float, float]) -> dict[str, Any]:
    """Measures of the way there and back, as methods with two ways give them."""
    told: dict[str, float] = {}
    for name in ("discriminator_accuracy", "variance_ratio", "diversity_ratio"):
        there, back = measures.get(name, (HEALTHY[name], HEALTHY[name]))
        worst = max if name == "discriminator_accuracy" else min
        told |= {name: worst(there, back), f"{name} there": there, f"{name} back": back}
    return record(**told)


@pytest.mark.parametrize("name", ["cyclegan", "unit"])
@pytest.mark.parametrize(
    ("measure", "bad", "says"),
    [
        ("discriminator_accuracy", 1.0, "the discriminator tells nearly all"),
        ("variance_ratio", 0.01, "nearly of one value"),
        ("diversity_ratio", 0.001, "the same image"),
    ],
)
def test_the_way_that_fails_is_told_of_by_name(
    name: str, measure: str, bad: float, says: str
) -> None:
    good = 0.85
    for values, way in (((bad, good), "there (source"), ((good, bad), "back (target")):
        failed = of_ways(**{measure: values})
        (text,) = said([of_ways(), *[failed] * 5], recipe_of(name)).values()
        assert says in text
        assert f"On the way {way}" in text
        assert text.count("On the way") == 1
    both = of_ways(**{measure: (bad, bad)})
    (text,) = said([of_ways(), *[both] * 5], recipe_of(name)).values()
    assert text.count("On the way") == 2


def test_one_way_is_looked_at_by_itself_epoch_by_epoch() -> None:
    turns = [(0.97, 0.8), (0.8, 0.97), (0.97, 0.8), (0.8, 0.97)]
    history = [of_ways(discriminator_accuracy=each) for each in turns]
    # In each epoch one of both has won, and neither in three.
    assert said(history, recipe_of("cyclegan")) == {}


def test_epochs_of_an_older_checkpoint_know_no_ways() -> None:
    before = record(variance_ratio=0.01)
    assert "On the way" not in said([before, before], recipe_of("cyclegan"))[1]
    after = of_ways(variance_ratio=(0.9, 0.01))
    found = said([record(), record(), after, after], recipe_of("cyclegan"))
    assert list(found) == [3]
    assert "On the way back" in found[3]


# ---- what to change

_ADVICE = re.compile(
    r"\b(lower|raise|set) ((?:the weights of )?[a-z]+\.[a-z_0-9]+)"
    r"(?: and ([a-z]+\.[a-z_0-9]+))?(?: to (\w+))?",
    re.IGNORECASE,
)


def advised(text: str, recipe: Recipe) -> dict[str, Recipe]:
    """By field the recipe after each piece of advice; refused, it raises."""
    found = {}
    for verb, *fields, value in _ADVICE.findall(text):
        for field in filter(None, fields):
            part, name = field.split()[-1].split(".")
            content: Any = to_json(recipe)
            place = content[part]
            if name == "loss":
                place[name] = [{**each, "weight": 2 * each["weight"]} for each in place[name]]
            elif verb.lower() == "set":
                place[name] = json.loads(value)
            elif place[name] is None:
                place[name] = content["optimizer"]["learning_rate"] / 2
            elif isinstance(place[name], int):
                place[name] += 1 if verb.lower() == "raise" else -1
            else:
                place[name] = place[name] + 0.1 if verb.lower() == "raise" else place[name] / 2
            found[f"{part}.{name}"] = recipe_from_json(content)
            assert found[f"{part}.{name}"] != recipe
    return found


def judged(name: str, adversarial: dict[str, Any], **parts: Any) -> Recipe:
    if name == "context_gan":
        return context_recipe(adversarial=adversarial, **parts)
    return recipe_of(name, adversarial=adversarial, **parts)


_ALL = {"discriminator_rate", "generator_steps", "label_jitter", "spectral_norm"}


@pytest.mark.parametrize(
    ("name", "adversarial", "fields"),
    [
        *[(name, {}, _ALL) for name in METHODS],
        *[(name, {"objective": "hinge"}, _ALL - {"label_jitter"}) for name in METHODS],
        ("cut", {"objective": "bce"}, _ALL),
        ("cyclegan", {"spectral_norm": True}, _ALL - {"spectral_norm"}),
        ("unit", {"discriminator_steps": 2}, _ALL - {"generator_steps"} | {"discriminator_steps"}),
        ("context_gan", {}, _ALL - {"spectral_norm"}),
        ("context_gan", {"objective": "hinge"}, {"discriminator_rate", "generator_steps"}),
    ],
)
def test_against_a_discriminator_that_has_won_only_what_the_recipe_accepts_is_advised(
    name: str, adversarial: dict[str, Any], fields: set[str]
) -> None:
    recipe = judged(name, adversarial)
    (text,) = said([record(discriminator_accuracy=1.0)] * 3, recipe).values()
    assert set(advised(text, recipe)) == {f"adversarial.{field}" for field in fields}


@pytest.mark.parametrize("objective", ["lsgan", "hinge"])
@pytest.mark.parametrize("name", [*METHODS, "context_gan"])
def test_against_a_collapse_only_what_the_recipe_accepts_is_advised(
    name: str, objective: str
) -> None:
    recipe = judged(name, {"objective": objective})
    holds = "contrast.weight" if name == "cut" else "method.loss"
    for measure in ("variance_ratio", "diversity_ratio"):
        (text,) = said([record(**{measure: 0.001})] * 2, recipe).values()
        expected = {"optimizer.learning_rate", "adversarial.weight", holds}
        assert set(advised(text, recipe)) == expected


@pytest.mark.parametrize("name", [*METHODS, "context_gan"])
def test_against_steep_gradients_a_clip_is_advised_where_there_is_none(name: str) -> None:
    history = [record()] * 4 + [record(generator_gradient=1e3)]
    for clip, fields in ((None, ["optimizer.gradient_clip"]), (5.0, ["optimizer.gradient_clip"])):
        recipe = judged(name, {}, optimizer={"gradient_clip": clip})
        assert list(advised(said(history, recipe)[4], recipe)) == fields
    clipped = judged(name, {}, optimizer={"gradient_clip": 1.0})
    assert "gradient_clip" not in said(history, clipped)[4]
    assert "Lower the learning rates" in said(history, clipped)[4]


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
        ways = [f"{key} {way}" for key in MEASURES[:3] for way in ("there", "back")]
        two = recipe.is_two_way
        assert [key for key in ways if key in epoch["losses"]] == (ways if two else [])
