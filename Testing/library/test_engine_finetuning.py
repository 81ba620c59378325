"""Training further from a model: its weights are where learning starts, and are remembered."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_samples import blobs, blobs_cohort, labels_recipe, lps_affine
from safetensors.torch import load

from DeepTranslateLib.cohort import Cohort, cohort_from_lists
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.image import Image
from DeepTranslateLib.jobs import Stopped
from DeepTranslateLib.model import Model
from DeepTranslateLib.recipe import Recipe


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a power cut would notice.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def tiny(labels: int = 2, **parts: dict[str, Any]) -> Recipe:
    training = {"epochs": 2, "validation_fraction": 0.3, **parts.pop("training", {})}
    return labels_recipe(labels, training=training, **parts)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Two models of one recipe, by different seeds."""
    folder = tmp_path_factory.mktemp("models")
    return [
        train(tiny(training={"seed": seed}), blobs_cohort(), folder / str(seed), device="cpu")
        for seed in (7, 8)
    ]


def still(recipe: Recipe) -> Recipe:
    """The recipe with steps too small to change a weight."""
    return dataclasses.replace(
        recipe, optimizer=dataclasses.replace(recipe.optimizer, learning_rate=1e-8)
    )


@pytest.mark.parametrize("ema", [None, 0.9])
def test_training_starts_at_the_models_weights(
    tmp_path: Path, models: list[Model], ema: float | None
) -> None:
    recipe = still(tiny(training={"epochs": 1, "ema": ema}))
    tuned = train(recipe, blobs_cohort(), tmp_path, device="cpu", initial=models[0])
    initial, found = load(models[0].weights()), load(tuned.weights())
    for name, tensor in initial.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=0)


def test_it_learns_on_from_there(tmp_path: Path, models: list[Model]) -> None:
    tuned = train(tiny(), blobs_cohort(), tmp_path / "a", device="cpu", initial=models[0])
    other = train(tiny(), blobs_cohort(), tmp_path / "b", device="cpu", initial=models[1])
    fresh = train(tiny(), blobs_cohort(), tmp_path / "c", device="cpu")
    assert len({m.weights() for m in (tuned, other, fresh, *models)}) == 5


def test_the_card_names_the_model_it_started_from(tmp_path: Path, models: list[Model]) -> None:
    tuned = train(tiny(), blobs_cohort(), tmp_path, device="cpu", initial=models[0])
    origin = {"name": "tiny", "weights_sha256": models[0].card.weights_sha256}
    assert tuned.card.cohort["initial_model"] == origin
    assert "initial_model" not in models[0].card.cohort


def test_stopped_at_any_step_it_goes_on_with_or_without_the_model(
    tmp_path: Path, models: list[Model]
) -> None:
    straight = train(tiny(), blobs_cohort(), tmp_path / "s", device="cpu", initial=models[0])
    for step in (1, 5):
        for given in (models[0], None):
            folder = tmp_path / f"{step}-{given is None}"
            answers = iter([False] * (step - 1) + [True])
            with pytest.raises(Stopped):
                train(
                    tiny(),
                    blobs_cohort(),
                    folder,
                    device="cpu",
                    should_stop=lambda answers=answers: next(answers),
                    initial=models[0],
                )
            again = train(tiny(), blobs_cohort(), folder, device="cpu", initial=given)
            assert again.weights() == straight.weights()
            assert again.card.cohort["initial_model"] == straight.card.cohort["initial_model"]


def test_a_run_that_died_before_its_first_step_still_starts_from_the_model(
    tmp_path: Path, models: list[Model]
) -> None:
    def die(event: dict[str, Any]) -> None:
        if event["event"] == "training_started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(), blobs_cohort(), tmp_path / "a", device="cpu", sink=die, initial=models[0])
    again = train(tiny(), blobs_cohort(), tmp_path / "a", device="cpu")
    straight = train(tiny(), blobs_cohort(), tmp_path / "b", device="cpu", initial=models[0])
    assert again.weights() == straight.weights()


@pytest.mark.parametrize("first", [None, 0])
def test_a_run_that_goes_on_takes_no_other_model(
    tmp_path: Path, models: list[Model], first: int | None
) -> None:
    begun = None if first is None else models[first]
    with pytest.raises(Stopped):
        train(
            tiny(),
            blobs_cohort(),
            tmp_path,
            device="cpu",
            should_stop=lambda: True,
            initial=begun,
        )
    with pytest.raises(TrainingError, match="another initial model"):
        train(tiny(), blobs_cohort(), tmp_path, device="cpu", initial=models[1])


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        (tiny(3), ["number of target.labels is 2 in the model and 3 in the recipe"]),
        (
            tiny(network={"channels": 4, "norm": "batch"}),
            ["network.channels is 2 in the model and 4", "network.norm is none in the model"],
        ),
        (tiny(network={"norm": "group"}), ["network.norm is none in the model and group"]),
    ],
)
def test_a_model_of_another_network_is_refused_with_the_fields_that_differ(
    tmp_path: Path, models: list[Model], recipe: Recipe, named: list[str]
) -> None:
    with pytest.raises(TrainingError) as caught:
        train(recipe, blobs_cohort(), tmp_path / "run", device="cpu", initial=models[0])
    for text in named:
        assert text in str(caught.value)
    assert "network.levels" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_labels_of_another_meaning_may_start_from_the_model(
    tmp_path: Path, models: list[Model]
) -> None:
    labels = [{"value": 20, "name": "dark"}, {"value": 10, "name": "bright"}]
    recipe = tiny(target={"kind": "labels", "labels": labels})
    train(recipe, blobs_cohort(), tmp_path, device="cpu", initial=models[0])


def cohort_of(spacing: float) -> Cohort:
    pairs = [blobs(seed) for seed in range(3)]
    affine = lps_affine((spacing, spacing, 2.0))
    return cohort_from_lists(
        [Image(voxels, affine) for voxels, _ in pairs],
        [Image(labels, affine) for _, labels in pairs],
    )


def test_an_auto_pixel_size_is_the_models_unless_the_plane_is_another(tmp_path: Path) -> None:
    auto = tiny(preprocessing={"window": [-1000, 1000], "spacing": "auto"}, training={"epochs": 1})
    model = train(auto, cohort_of(0.8), tmp_path / "model", device="cpu")
    assert model.recipe.preprocessing.spacing == 0.8

    def spacing(recipe: Recipe, name: str, **more: Any) -> Any:
        tuned = train(recipe, cohort_of(1.6), tmp_path / name, device="cpu", **more)
        return tuned.recipe.preprocessing.spacing

    assert spacing(auto, "tuned", initial=model) == 0.8
    # Going on without the model, it is still that of the run.
    assert spacing(auto.with_training(epochs=2), "tuned") == 0.8
    coronal = dataclasses.replace(
        auto, sampling=dataclasses.replace(auto.sampling, plane="coronal")
    )
    assert spacing(coronal, "coronal", initial=model) == pytest.approx((1.6 * 2) ** 0.5, abs=1e-3)
    fixed = dataclasses.replace(
        auto, preprocessing=dataclasses.replace(auto.preprocessing, spacing=1.2)
    )
    assert spacing(fixed, "fixed", initial=model) == 1.2
    assert spacing(auto, "fresh") == 1.6
