"""Transfer: a frozen encoder stays bit for bit as it was; layers that do not fit start anew."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import blobs_cohort, labels_recipe, volume_recipe
from safetensors.torch import load
from torch import Tensor

from DeepTranslateLib.cohort import Cohort
from DeepTranslateLib.engine.checkpoint import load_state
from DeepTranslateLib.engine.crossvalidation import cross_validate
from DeepTranslateLib.engine.freezing import encoder_of, freeze
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.jobs import Stopped
from DeepTranslateLib.model import Model
from DeepTranslateLib.recipe import Recipe, RecipeError
from DeepTranslateLib.runfolder import kept_checkpoint


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a power cut would notice.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


NETWORKS = {
    "unet": {"name": "unet", "levels": 3, "channels": 2, "norm": "batch"},
    "dynunet": {"name": "dynunet", "levels": 3, "channels": 2, "norm": "batch"},
    "basicunet": {"name": "basicunet", "levels": 5, "channels": 2, "norm": "batch"},
    "segresnet": {"name": "segresnet", "levels": 2, "channels": 8, "norm": "batch"},
    "resnet": {"name": "resnet", "levels": 3, "channels": 2, "norm": "batch", "blocks": [2]},
}


def tiny(labels: int = 2, name: str = "unet", **training: Any) -> Recipe:
    training = {"epochs": 2, "validation_fraction": 0.3, **training}
    optimizer = {"name": "adamw", "weight_decay": 0.1, "learning_rate": 0.01}
    return labels_recipe(labels, network=NETWORKS[name], optimizer=optimizer, training=training)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """A model of each network."""
    folder = tmp_path_factory.mktemp("models")
    return {
        name: train(tiny(name=name, epochs=1, seed=7), blobs_cohort(), folder / name, "cpu")
        for name in NETWORKS
    }


def encoder_tensors(recipe: Recipe) -> set[str]:
    """Names of the encoder's tensors, the statistics of its norms among them."""
    network = build_network(recipe)
    inside = {
        id(tensor)
        for part in encoder_of(network, recipe.network.name)
        for tensor in (*part.parameters(), *part.buffers())
    }
    return {
        name for name, tensor in network.state_dict(keep_vars=True).items() if id(tensor) in inside
    }


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_encoder_is_what_reaches_the_coarsest_level(name: str) -> None:
    recipe = tiny(name=name)
    network = build_network(recipe).eval()
    image = torch.rand(1, 1, 32, 32)
    before = network(image)[0]
    reached: list[torch.Size] = []
    for part in encoder_of(network, name):
        for module in part.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda m, i, output: reached.append(output.shape[2]))
    network(image)
    assert reached[0] == 32
    # Half the size at each level, and never larger again.
    assert reached == sorted(reached, reverse=True)
    assert reached[-1] == 32 // 2 ** (recipe.network.levels - 1)
    # Without its encoder a network sees nothing.
    for part in encoder_of(network, name):
        for parameter in part.parameters():
            torch.nn.init.zeros_(parameter)
    after = network(image)[0]
    assert not torch.equal(before, after)
    assert torch.allclose(after, network(torch.rand(1, 1, 32, 32))[0])


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_frozen_encoder_is_bit_for_bit_the_models_with_the_statistics_of_its_norms(
    tmp_path: Path, models: dict[str, Model], name: str, ema: float | None
) -> None:
    recipe = tiny(name=name, frozen="encoder", ema=ema)
    tuned = train(recipe, blobs_cohort(), tmp_path, "cpu", initial=models[name])
    before, after = load(models[name].weights()), load(tuned.weights())
    frozen = encoder_tensors(recipe)
    assert any("running_mean" in each for each in frozen)
    assert not changed(before, after) & frozen
    learnt = {each for each in before if each not in frozen and before[each].is_floating_point()}
    # A bias before a batch norm has no gradient that lasts; all else of the decoder moved.
    assert len(changed(before, after)) > 0.8 * len(learnt)


def test_after_its_epochs_the_encoder_learns_too(tmp_path: Path, models: dict[str, Model]) -> None:
    kept = {"keep_every": 1, "frozen": "encoder", "frozen_epochs": 2, "epochs": 3}
    recipe = tiny(**kept)
    train(recipe, blobs_cohort(), tmp_path, "cpu", initial=models["unet"])
    before = load(models["unet"].weights())
    moved = [
        bool(
            changed(before, load_state(tmp_path / kept_checkpoint(epoch))["weights"])
            & encoder_tensors(recipe)
        )
        for epoch in (1, 2, 3)
    ]
    assert moved == [False, False, True]


@pytest.mark.parametrize("step", [1, 3, 5])
def test_stopped_while_it_is_frozen_or_after_it_goes_on_bit_for_bit(
    tmp_path: Path, models: dict[str, Model], step: int
) -> None:
    recipe = tiny(frozen="encoder", frozen_epochs=1, ema=0.8)
    straight = train(recipe, blobs_cohort(), tmp_path / "s", "cpu", initial=models["unet"])
    answers = iter([False] * (step - 1) + [True])
    with pytest.raises(Stopped):
        train(
            recipe,
            blobs_cohort(),
            tmp_path / "k",
            "cpu",
            should_stop=lambda: next(answers),
            initial=models["unet"],
        )
    again = train(recipe, blobs_cohort(), tmp_path / "k", "cpu")
    assert again.weights() == straight.weights()


def test_thawed_layers_are_in_training_mode_again() -> None:
    recipe = tiny(frozen="encoder", frozen_epochs=1)
    network = build_network(recipe)
    for epoch, frozen in ((0, True), (1, False)):
        network.train()
        freeze(network, recipe, epoch)
        (encoder,) = encoder_of(network, "unet")
        assert all(module.training is not frozen for module in encoder.modules())
        assert all(p.requires_grad is not frozen for p in encoder.parameters())
        assert network.decoder.training
        assert all(p.requires_grad for p in network.decoder.parameters())


def test_freezing_nothing_that_was_learnt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"drawn at random\. Give a model to start from"):
        train(tiny(frozen="encoder"), blobs_cohort(), tmp_path / "run", "cpu")
    with pytest.raises(RecipeError, match="starts from no model"):
        cross_validate(tiny(frozen="encoder"), blobs_cohort(), 3, tmp_path / "cv", device="cpu")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("network", "training", "place"),
    [
        ({"name": "restormer", "levels": 2, "channels": 2}, {"frozen": "encoder"}, "frozen"),
        ({}, {"frozen_epochs": 3}, "frozen_epochs"),
    ],
)
def test_what_cannot_be_frozen_is_refused(network: Any, training: Any, place: str) -> None:
    with pytest.raises(RecipeError) as caught:
        labels_recipe(1, network=network, training=training)
    assert caught.value.path == f"$.training.{place}"


# --- other labels and inputs


def with_labels(recipe: Recipe, cohort: Cohort, labels: int) -> Cohort:
    """The cohort with as many labels as asked for: the second becomes the first, or a third."""
    cases = []
    for case in cohort.cases:
        target = case.read_target()
        voxels = np.where(target.voxels == 20, 10 * labels, target.voxels).astype(np.uint8)
        cases.append(dataclasses.replace(case, target=target.with_voxels(voxels)))
    return Cohort(tuple(cases), "other labels")


def heard(folder: Path, recipe: Recipe, cohort: Cohort, **arguments: Any) -> tuple[Model, dict]:
    events: list[dict[str, Any]] = []
    model = train(recipe, cohort, folder, "cpu", events.append, **arguments)
    (event,) = [e for e in events if e["event"] == "started_from_model"]
    return model, event


def still(recipe: Recipe) -> Recipe:
    """The recipe with steps too small to change a weight."""
    optimizer = dataclasses.replace(recipe.optimizer, learning_rate=1e-8, weight_decay=0)
    return dataclasses.replace(recipe, optimizer=optimizer)


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_with_other_labels_the_last_layer_alone_starts_anew(
    tmp_path: Path, models: dict[str, Model], name: str, labels: int
) -> None:
    recipe = still(tiny(labels, name, epochs=1))
    cohort = with_labels(recipe, blobs_cohort(), labels)
    with pytest.raises(TrainingError, match="ask for a transfer"):
        train(recipe, cohort, tmp_path / "strict", "cpu", initial=models[name])
    model, event = heard(tmp_path / "run", recipe, cohort, initial=models[name], transfer=True)
    assert len(event["fresh"]) == 1
    before, after = load(models[name].weights()), load(model.weights())
    (fresh,) = event["fresh"]
    torch.manual_seed(recipe.training.seed)
    drawn = build_network(recipe).state_dict()
    for tensor in after:
        if tensor.startswith(f"{fresh}."):
            assert after[tensor].shape[0] == labels
            torch.testing.assert_close(after[tensor], drawn[tensor], atol=1e-5, rtol=0)
        elif "running" not in tensor and "num_batches" not in tensor:
            torch.testing.assert_close(after[tensor], before[tensor], atol=1e-5, rtol=0)
    assert model.card.cohort["initial_model"]["fresh_layers"] == fresh


def test_with_neighbouring_slices_the_first_layer_starts_anew_and_is_not_frozen(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    recipe = dataclasses.replace(
        still(tiny(epochs=1)), sampling=dataclasses.replace(tiny().sampling, context=1)
    )
    _, event = heard(
        tmp_path / "run", recipe, blobs_cohort(), initial=models["unet"], transfer=True
    )
    assert event["fresh"] == ["encoder.0.0"]
    frozen = recipe.with_training(frozen="encoder")
    with pytest.raises(TrainingError, match=r"encoder\.0\.0 .* does not fit.*sampling\.context"):
        train(frozen, blobs_cohort(), tmp_path / "f", "cpu", initial=models["unet"], transfer=True)
    assert not (tmp_path / "f").exists()


def test_labels_may_become_a_volume_with_the_encoder_frozen(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    training = {"epochs": 1, "validation_fraction": 0.3, "frozen": "encoder"}
    recipe = volume_recipe(network=NETWORKS["unet"], training=training)
    cases = tuple(dataclasses.replace(c, target=c.image) for c in blobs_cohort().cases)
    model, event = heard(
        tmp_path / "run", recipe, Cohort(cases, "same"), initial=models["unet"], transfer=True
    )
    assert event["fresh"] == ["heads.0"]
    assert not changed_in_encoder(models["unet"], model)


def changed_in_encoder(before: Model, after: Model) -> set[str]:
    names = encoder_tensors(after.recipe)
    kept = {name: t for name, t in load(before.weights()).items() if name in names}
    return changed(kept, load(after.weights()))


def test_where_all_fits_a_transfer_is_the_plain_start(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    plain, _ = heard(tmp_path / "plain", tiny(), blobs_cohort(), initial=models["unet"])
    model, event = heard(
        tmp_path / "transfer", tiny(), blobs_cohort(), initial=models["unet"], transfer=True
    )
    assert event["fresh"] == []
    assert model.weights() == plain.weights()
    assert model.card.cohort["initial_model"] == plain.card.cohort["initial_model"]


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        (tiny(name="basicunet"), "network.name is unet in the model and basicunet"),
        (labels_recipe(2, network={**NETWORKS["unet"], "levels": 4}), "network.levels is 3"),
    ],
)
def test_another_network_has_nothing_to_transfer(
    tmp_path: Path, models: dict[str, Model], recipe: Recipe, named: str
) -> None:
    with pytest.raises(TrainingError, match=named):
        train(recipe, blobs_cohort(), tmp_path / "r", "cpu", initial=models["unet"], transfer=True)
    assert not (tmp_path / "r").exists()
