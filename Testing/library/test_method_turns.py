"""Whose turn a step of an adversarial method is: who learns in it, how fast, and who does not."""

from __future__ import annotations

from typing import Any

import pytest
from adversarial_samples import (
    CPU,
    METHODS,
    Turns,
    batch,
    draws,
    moved,
    pairs,
    recipe_of,
    stepped,
    translating,
)

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
