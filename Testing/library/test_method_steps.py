"""What each adversarial method's step is up to: precision, patches, sizes, a pool of outputs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
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
from torch import nn

from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.methods import Batch, build_method
from DeepTranslateLib.recipe import FORWARD


def test_a_gradient_that_half_precision_cannot_hold_is_skipped_and_not_called_divergence() -> None:
    learner = Learner(recipe_of("cut"), CPU)
    learner._scaler = torch.amp.GradScaler("cpu", init_scale=1e38, backoff_factor=1e-30)
    learner.begin_epoch(0)
    numbers: dict[str, float] = {}

    def step() -> None:
        numbers.update(learner.step(pairs(), draws()))

    assert moved(learner, step)["network"] == 0
    assert all(map(_is_finite, numbers.values()))
    step()
    assert moved(learner, step)["network"] > 0
    assert numbers["generator_gradient"] > 0
    assert all(map(_is_finite, numbers.values()))


def _is_finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


@pytest.mark.parametrize("name", METHODS)
def test_patches_are_learnt_from_by_the_same_step(name: str) -> None:
    recipe = recipe_of(
        name,
        network={"dimension": 3},
        sampling={"patch": [8, 8, 8]},
        adversarial={"objective": "wgan_gp"},
    )
    method, turns, found = stepped(recipe, batch(2, 8, 8, 8))
    assert turns.reached["generator"] == translating(method)
    assert all(torch.isfinite(value) for value in found.values())


@pytest.mark.parametrize("name", ["cyclegan", "unit", "cut"])
@pytest.mark.parametrize("objective", ["lsgan", "wgan_gp"])
def test_images_of_both_kinds_may_differ_in_size(name: str, objective: str) -> None:
    made = batch(2, 16, 20), batch(2, 18, 14)
    shown = Batch(made[0].images, made[1].targets, torch.ones_like(made[0].images))
    _, turns, found = stepped(recipe_of(name, adversarial={"objective": objective}), shown)
    assert turns.names == ["generator", "discriminator"]
    assert all(torch.isfinite(value) for value in found.values())


def test_a_critic_learns_from_earlier_outputs_where_there_is_a_pool() -> None:
    recipe = recipe_of("cut", adversarial={"pool": 2})
    torch.manual_seed(0)
    method: Any = build_method(recipe, CPU)
    plain: Any = build_method(
        dataclasses.replace(recipe, adversarial=recipe_of("cut").adversarial), CPU
    )
    plain.networks["network"].load_state_dict(method.networks["network"].state_dict())
    plain.networks["critic"].load_state_dict(method.networks["critic"].state_dict())
    apart = []
    for seed in range(6):
        losses = []
        for each in (method, plain):
            turns = Turns(each)
            torch.manual_seed(seed)
            each.training_step(batch(seed=seed), turns)
            losses.append(turns.losses["discriminator"])
        apart.append(losses[0] != losses[1])
    # The pool fills in the first step; after that some outputs are exchanged.
    assert not apart[0]
    assert any(apart)
    assert len(method.state()["critics"]["critic"]["images"]) == 2


def test_every_network_of_a_method_is_a_module_in_its_checkpoint() -> None:
    for name in METHODS:
        method = build_method(recipe_of(name), CPU)
        assert all(isinstance(each, nn.Module) for each in method.networks.values())
        assert set(method.translators.values()) <= set(method.networks)
        assert next(iter(method.translators)) == FORWARD
