"""Methods that learn both directions: what they share, what translates, what is validated."""

from __future__ import annotations

import pytest
import torch
from adversarial_samples import CPU, about, copied, draws, l1, moved, pairs, recipe_of
from torch import Tensor

from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.unpairedset import ValidationPair
from DeepTranslateLib.recipe import BACKWARD, FORWARD


@pytest.mark.parametrize("ema", [None, 0.5])
def test_unit_shares_its_latent_after_training_and_after_a_resume(ema: float | None) -> None:
    recipe = recipe_of("unit", training={"ema": ema})
    first = Learner(recipe, CPU)
    first.begin_epoch(0)
    first.step(pairs(), draws())
    second = Learner(recipe, CPU)
    second.restore(first.state())
    second.begin_epoch(0)
    far = moved(second, lambda: second.step(pairs(), draws(2)))
    assert min(far.values()) > 0
    for learner in (first, second):
        weights = learner.weights()
        shared = [name for name in weights if name.startswith("shared_")]
        assert shared
        for name in shared:
            assert torch.equal(weights[name], weights[f"{BACKWARD}/{name}"])
        state = learner.state()["networks"]
        assert all(torch.equal(state["there"][n], state["back"][n]) for n in shared)


@pytest.mark.parametrize("name", ["cyclegan", "unit"])
def test_of_both_directions_the_averages_translate(name: str) -> None:
    learner = Learner(recipe_of(name, training={"ema": 0.7}), CPU)
    learner.begin_epoch(0)
    expected: dict[str, dict[str, Tensor]] = {}
    for step in range(4):
        learner.step(pairs(), draws(step))
        for way, weights in learner.state()["networks"].items():
            mean = expected.setdefault(way, copied(weights))
            expected[way] = {n: 0.7 * mean[n] + 0.3 * w for n, w in copied(weights).items()}
    found = learner.weights()
    for way, prefix in (("there", ""), ("back", f"{BACKWARD}/")):
        for key, tensor in expected[way].items():
            torch.testing.assert_close(found[f"{prefix}{key}"], tensor, atol=1e-6, rtol=1e-5)
    assert list(learner.translators) == [FORWARD, BACKWARD]


@pytest.mark.parametrize("ema", [None, 0.7])
@pytest.mark.parametrize("name", ["cyclegan", "unit"])
def test_what_translates_is_what_is_validated_on_both_ways(name: str, ema: float | None) -> None:
    learner = Learner(recipe_of(name, training={"ema": ema}), CPU)
    learner.begin_epoch(0)
    for step in range(3):
        learner.step(pairs(), draws(step))
    shown = pairs()
    found, _ = learner.validate([ValidationPair(each.source, each.target) for each in shown])
    wanted = []
    with torch.inference_mode():
        for pair in shown:
            given = pair.source.image[None]
            there, back = (learner.translators[way].eval() for way in (FORWARD, BACKWARD))
            wanted.append(10 * l1(back(there(given)[0])[0], given))
    assert found == about(sum(wanted) / 2)
