"""Whose turn a step of an adversarial method is: who learns in it, how fast, and who does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adversarial_samples import (
    CPU,
    METHODS,
    SIDE,
    UNPAIRED,
    Turns,
    batch,
    draws,
    moved,
    pairs,
    recipe_of,
    stepped,
    translating,
)

from DeepTranslateLib.engine.dataset import LabelledSlice
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.methods import build_method


@pytest.mark.parametrize("objective", ["lsgan", "bce", "hinge", "wgan_gp"])
@pytest.mark.parametrize("name", METHODS)
def test_neither_side_gives_the_other_a_gradient(name: str, objective: str) -> None:
    method, turns, _ = stepped(recipe_of(name, adversarial={"objective": objective}), batch())
    assert turns.reached["generator"] == translating(method)
    assert turns.reached["discriminator"] == set(method.networks) - translating(method)
    owned = [
        {id(p) for group in optimizer.param_groups for p in group["params"]}
        for optimizer in method.optimizers.values()
    ]
    every = {id(p) for network in method.networks.values() for p in network.parameters()}
    assert owned[0].isdisjoint(owned[1])
    assert owned[0] | owned[1] == every


@pytest.mark.parametrize("name", METHODS)
def test_the_discriminator_learns_in_each_fourth_step_and_alone_while_it_warms_up(
    name: str,
) -> None:
    settings = {"generator_steps": 4, "discriminator_warmup_epochs": 2}
    method: Any = build_method(recipe_of(name, adversarial=settings), CPU)
    for epoch in (0, 1):
        method.begin_epoch(epoch)
        turns = Turns(method)
        for _ in range(2):
            found = method.training_step(batch(), turns)
            assert not found["loss"].requires_grad
        assert turns.names == ["discriminator"] * 2
    method.begin_epoch(2)
    turns = Turns(method)
    for _ in range(9):
        method.training_step(batch(), turns)
    spelled = "".join(each[0] for each in turns.names)
    # Steps are counted from the first one of the training: 4, 8 and 12 are the discriminator's.
    assert spelled == "gd" + "gggg" + "d" + "gggg" + "d"


@pytest.mark.parametrize("name", METHODS)
def test_the_generator_learns_in_each_third_step_and_not_while_the_discriminator_warms_up(
    name: str,
) -> None:
    settings = {"discriminator_steps": 3, "discriminator_warmup_epochs": 1}
    method: Any = build_method(recipe_of(name, adversarial=settings), CPU)
    turns = Turns(method)
    method.begin_epoch(0)
    method.training_step(batch(), turns)
    method.begin_epoch(1)
    for step in range(1, 8):
        before = len(turns.names)
        found = method.training_step(batch(), turns)
        # Where it does not learn, its play is measured and keeps no graph.
        assert (turns.names[before] == "generator") == (step % 3 == 0)
        assert float(found["loss"]) > 0
    # Steps are counted from the first one of the training: 3 and 6 are the generator's, too.
    assert "".join(each[0] for each in turns.names) == "d" + "dd" + "gddd" + "gdd"


def test_a_play_in_which_no_generator_learns_has_no_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method: Any = build_method(recipe_of("cyclegan", adversarial={"discriminator_steps": 2}), CPU)
    play, seen = method.play, []

    def watched(shown: Any) -> Any:
        played = play(shown)
        seen.append({each.requires_grad for each in played.losses.values()})
        return played

    monkeypatch.setattr(method, "play", watched)
    for _ in range(3):
        method.training_step(batch(), Turns(method))
    assert seen == [{True}, {False}, {True}]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_that_says_nothing_of_discriminator_steps_learns_as_before_there_were_any(
    name: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: the generator in each step after the warm-up, the discriminator in some."""
    settings = {
        "generator_steps": steps,
        "discriminator_warmup_epochs": 1,
        "pool": 2,
        "label_jitter": 0.2,
    }
    recipe = recipe_of(name, adversarial=settings)
    learners = {False: Learner(recipe, CPU), True: Learner(recipe, CPU)}
    for before, learner in learners.items():
        if before:
            _turn_as_before(learner._method, monkeypatch)
        for epoch in (0, 1, 2):
            learner.begin_epoch(epoch)
            for step in range(3):
                shown = _shown(name, 10 * epoch + step)
                learner.step(shown, draws(10 * epoch + step))
    first, second = (learner.weights() for learner in learners.values())
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def _shown(name: str, seed: int) -> list[Any]:
    shown = pairs(seed=seed)
    if name in UNPAIRED:
        return shown
    return [LabelledSlice(p.source.image, p.target.image, (SIDE, SIDE)) for p in shown]


def _turn_as_before(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def training_step(shown: Any, update: Any) -> dict[str, Any]:
        with torch.set_grad_enabled(not method._warming):
            played = method.play(shown)
            loss = torch.stack([each.float() for each in played.losses.values()]).sum()
        if not method._warming:
            update("generator", loss)
        if method._warming or method._steps % method._settings.generator_steps == 0:
            judged = [
                method._critics[each.critic].loss(each.real, each.fake, each.condition)[0]
                for each in played.rounds
            ]
            update("discriminator", torch.stack(judged).sum())
        method._steps += 1
        return {"loss": loss.detach()}

    monkeypatch.setattr(method, "training_step", training_step)


def test_the_discriminator_has_its_own_rate_on_the_recipes_schedule() -> None:
    recipe = recipe_of(
        "cyclegan",
        adversarial={"discriminator_rate": 0.004},
        optimizer={"learning_rate": 0.001, "schedule": "linear", "warmup_epochs": 1},
        training={"epochs": 9},
    )
    # In the warm-up half; then all; of what is left after 7 of 8 epochs a quarter.
    for epoch, part in ((0, 0.5), (1, 1.0), (8, 0.25)):
        learner = Learner(recipe, CPU)
        learner.begin_epoch(epoch)
        far = moved(learner, lambda learner=learner: learner.step(pairs(), draws()))
        # Adam's first step is as long as the rate, whatever the gradient.
        assert far["there"] == pytest.approx(0.001 * part, rel=1e-2)
        assert far["back"] == pytest.approx(0.001 * part, rel=1e-2)
        assert far["critic of there"] == pytest.approx(0.004 * part, rel=1e-2)
        assert far["critic of back"] == pytest.approx(0.004 * part, rel=1e-2)


def test_while_it_warms_up_no_weight_of_a_generator_moves_and_then_both_do() -> None:
    recipe = recipe_of("cut", adversarial={"discriminator_warmup_epochs": 1}, training={"ema": 0.5})
    learner = Learner(recipe, CPU)
    learner.begin_epoch(0)
    far = moved(learner, lambda: learner.step(pairs(), draws()))
    assert far["network"] == far["projection"] == 0 < far["critic"]
    learner.begin_epoch(1)
    far = moved(learner, lambda: learner.step(pairs(), draws()))
    assert min(far.values()) > 0


def test_a_step_of_the_generator_alone_leaves_the_critic_as_it_is() -> None:
    learner = Learner(recipe_of("cut", adversarial={"generator_steps": 2}), CPU)
    learner.begin_epoch(0)
    learner.step(pairs(), draws())
    far = moved(learner, lambda: learner.step(pairs(), draws()))
    assert far["critic"] == 0 < far["network"]


def test_a_step_of_the_discriminator_alone_leaves_the_generator_as_it_is() -> None:
    recipe = recipe_of("cut", adversarial={"discriminator_steps": 2}, training={"ema": 0.5})
    learner = Learner(recipe, CPU)
    learner.begin_epoch(0)
    far = moved(learner, lambda: learner.step(pairs(), draws()))
    assert min(far.values()) > 0
    average = learner.weights()
    far = moved(learner, lambda: learner.step(pairs(), draws()))
    assert far["network"] == far["projection"] == 0 < far["critic"]
    assert all(torch.equal(average[key], value) for key, value in learner.weights().items())
    far = moved(learner, lambda: learner.step(pairs(), draws()))
    assert min(far.values()) > 0
