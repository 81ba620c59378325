"""How much translations differ from image to image and within one, beside true images."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from adversarial_samples import CPU, batch, recipe_of, stepped

from DeepTranslateLib.engine.methods import Batch, build_method
from DeepTranslateLib.engine.methods.critic import Critic
from DeepTranslateLib.engine.methods.variety import Variety


def test_a_true_image_of_air_alone_does_not_hide_how_alike_translations_are() -> None:
    method, _, _ = stepped(recipe_of("cyclegan"), batch())
    shown = batch(seed=5)
    ratios = [
        float(method.training_step(each, lambda name, loss: None)["variance_ratio"])
        for each in (Batch(shown.images, torch.zeros_like(shown.targets), shown.mask), shown)
    ]
    assert max(ratios) < 2


def test_diversity_is_the_variance_from_image_to_image() -> None:
    generator = torch.Generator().manual_seed(3)
    true = torch.rand(6, 1, 8, 8, generator=generator)
    made = true * 0.5 + 0.1
    # In one step of all six: each pixel's variance over the six, with half the contrast a quarter.
    assert Variety().ratios(made, true)["diversity_ratio"] == pytest.approx(0.25)
    seen, found = Variety(), {}
    for index in range(6):
        found = seen.ratios(made[index : index + 1], true[index : index + 1])
    assert found["diversity_ratio"] == pytest.approx(0.25)
    weights = 0.95 ** np.arange(5, -1, -1)
    pixels = true.numpy().reshape(6, -1).astype(float)
    other = torch.rand(6, 1, 8, 8, generator=generator)
    seen = Variety()
    for index in range(6):
        found = seen.ratios(other[index : index + 1], true[index : index + 1])

    def spread(values: Any) -> float:
        mean = np.average(values, axis=0, weights=weights)
        return float(np.average((values - mean) ** 2, axis=0, weights=weights).mean())

    expected = spread(other.numpy().reshape(6, -1).astype(float)) / spread(pixels)
    assert found["diversity_ratio"] == pytest.approx(expected)


def test_one_image_with_much_to_be_seen_for_every_input_has_no_diversity() -> None:
    generator = torch.Generator().manual_seed(4)
    seen, same = Variety(), torch.rand(1, 1, 16, 12, 9, generator=generator)
    first = seen.ratios(same, torch.rand(1, 1, 16, 12, 9, generator=generator))
    assert first["diversity_ratio"] == 1.0
    for _ in range(5):
        found = seen.ratios(same, torch.rand(1, 1, 16, 12, 9, generator=generator))
    assert found["diversity_ratio"] == pytest.approx(0, abs=1e-9)
    assert found["variance_ratio"] > 0.5


def test_what_varies_is_remembered_by_a_checkpoint() -> None:
    generator = torch.Generator().manual_seed(5)
    shown = [torch.rand(2, 2, 1, 8, 8, generator=generator) for _ in range(6)]
    straight, before, after = Variety(), Variety(), Variety()
    for made, true in shown:
        expected = straight.ratios(made, true)
    for made, true in shown[:3]:
        before.ratios(made, true)
    after.restore(before.state())
    for made, true in shown[3:]:
        found = after.ratios(made, true)
    assert found == expected


def ignored(name: str, loss: torch.Tensor) -> None:
    """Nothing learns."""


@pytest.mark.parametrize("name", ["cyclegan", "unit"])
@pytest.mark.parametrize(("fails", "other"), [("there", "back"), ("back", "there")])
def test_a_generator_that_collapses_is_seen_on_either_way(
    name: str, fails: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method: Any = build_method(recipe_of(name), CPU)
    play = method.play

    def collapsed(shown: Batch) -> Any:
        played = play(shown)
        rounds = [
            dataclasses.replace(
                each,
                fake=torch.full_like(each.fake, 0.3)
                if each.critic == f"critic of {fails}"
                else each.real * 0.9,
            )
            for each in played.rounds
        ]
        return dataclasses.replace(played, rounds=rounds)

    monkeypatch.setattr(method, "play", collapsed)
    for seed in range(3):
        found = method.training_step(batch(seed=seed), ignored)
    for measure in ("variance_ratio", "diversity_ratio"):
        assert float(found[f"{measure} {fails}"]) == pytest.approx(0, abs=1e-6)
        assert float(found[f"{measure} {other}"]) == pytest.approx(0.81)
        assert found[measure] == found[f"{measure} {fails}"]


@pytest.mark.parametrize("name", ["cyclegan", "unit"])
def test_of_two_critics_the_more_accurate_one_is_passed_on(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method: Any = build_method(recipe_of(name), CPU)
    for way, share in (("there", 0.85), ("back", 1.0)):
        critic = method._critics[f"critic of {way}"]
        monkeypatch.setattr(critic, "loss", _told(critic, share))
    found = method.training_step(batch(), ignored)
    assert float(found["discriminator_accuracy"]) == 1
    assert float(found["discriminator_accuracy there"]) == pytest.approx(0.85)
    assert float(found["discriminator_accuracy back"]) == 1


def _told(critic: Critic, share: float) -> Any:
    loss = critic.loss
    return lambda *shown: (loss(*shown)[0], share)


def test_a_method_with_one_way_names_none() -> None:
    _, _, found = stepped(recipe_of("cut"), batch())
    assert not [
        name for name in found if name.split()[0].endswith(("ratio", "accuracy")) and " " in name
    ]


def stored_before(method: Any, with_variety: bool) -> dict[str, Any]:
    """A state as it was when the way there alone was measured."""
    state = dict(method.state())
    varieties = state.pop("varieties")
    state["judged"] = {"discriminator": 0.5, "discriminator_accuracy": 0.7}
    return {**state, **({"variety": next(iter(varieties.values()))} if with_variety else {})}


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan", "unit", "cut"])
@pytest.mark.parametrize("with_variety", [False, True])
def test_an_older_checkpoint_goes_on(name: str, with_variety: bool) -> None:
    recipe = recipe_of(name, adversarial={"generator_steps": 2})
    first: Any = build_method(recipe, CPU)
    first.training_step(batch(), ignored)
    stored = stored_before(first, with_variety)
    resumed: Any = build_method(recipe, CPU)
    resumed.restore(stored)
    # The discriminators do not learn in this step: what was known of them is passed on.
    found = resumed.training_step(batch(seed=7), ignored)
    accuracies = [float(v) for k, v in found.items() if k.startswith("discriminator_accuracy")]
    assert accuracies == pytest.approx([0.7] * (3 if recipe.is_two_way else 1))
    critics = list(resumed.state()["varieties"])
    seen = [each["seen"] for each in resumed.state()["varieties"].values()]
    # Two images a step; of the step before a part still counts.
    assert seen == [2 + 1.9 * (with_variety and critic == critics[0]) for critic in critics]


@pytest.mark.parametrize("name", ["cyclegan", "unit"])
def test_what_was_seen_of_each_way_is_in_the_state(name: str) -> None:
    straight: Any = build_method(recipe_of(name), CPU)
    torch.manual_seed(1)
    straight.training_step(batch(), ignored)
    torch.manual_seed(1)
    resumed: Any = build_method(recipe_of(name), CPU)
    for network, other in zip(resumed.networks.values(), straight.networks.values(), strict=True):
        network.load_state_dict(other.state_dict())
    resumed.restore(straight.state())
    found = []
    for method in (straight, resumed):
        torch.manual_seed(2)
        found.append(method.training_step(batch(seed=9), ignored))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    assert len({float(found[0][f"variance_ratio {way}"]) for way in ("there", "back")}) == 2
