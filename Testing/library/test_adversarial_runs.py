"""Whole adversarial runs: models of both directions, first weights, kept epochs, previews."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adversarial_samples import CPU, UNPAIRED, cohort, image, recipe_of
from engine_samples import labels_recipe, lps_affine, volume_recipe
from safetensors.torch import load
from torch import Tensor

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.cohort import Case, Cohort, cohort_from_lists
from DeepTranslateLib.engine import estimate as estimating
from DeepTranslateLib.engine.checkpoint import load_state
from DeepTranslateLib.engine.directions import joined, of_direction
from DeepTranslateLib.engine.estimate import estimate
from DeepTranslateLib.engine.export import export_model
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image
from DeepTranslateLib.model import Model, ModelError, read_model
from DeepTranslateLib.recipe import BACKWARD, FORWARD, Recipe

UNET = {"name": "unet", "levels": 2, "channels": 2, "norm": "none", "blocks": None}
ONE = {"epochs": 1}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a power cut would notice.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def ways(model: Model) -> dict[str, dict[str, Tensor]]:
    weights = load(model.weights())
    return {way: of_direction(weights, way) for way in model.directions}


# ---- models of both directions


@pytest.mark.parametrize("name", ["cyclegan", "unit"])
def test_a_model_file_translates_both_ways_in_the_units_of_each(name: str, tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    recipe = recipe_of(name, training=ONE)
    train(recipe, cohort(name), tmp_path, device="cpu", sink=heard.append)
    model = read_model(tmp_path / "model.dtmodel")
    assert model.directions == (FORWARD, BACKWARD)
    shown = image(5, slices=1)
    seen = {
        # Each way has a window of its own, and makes values of the other's.
        FORWARD: (1000, 500),
        BACKWARD: (500, 1000),
    }
    for way, (read, made) in seen.items():
        network = build_network(recipe).eval()
        network.load_state_dict(ways(model)[way])
        given = torch.tensor(shown.voxels)[None].add(1000).div(read + 1000).clamp(0, 1)
        with torch.inference_mode():
            wanted = network(given)[0][0] * (made + 1000) - 1000
        found = Translator.from_model(model, CPU, direction=way).translate(shown)
        assert found.same_grid(shown)
        torch.testing.assert_close(torch.tensor(found.voxels), wanted, atol=0.01, rtol=1e-4)
    first, second = (ways(model)[way] for way in (FORWARD, BACKWARD))
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_what_was_joined_comes_apart_again() -> None:
    weights = {FORWARD: {"a": 1, "b/c": 2}, BACKWARD: {"a": 3, "target-to-source": 4}}
    together = joined(weights)
    assert len(together) == 4
    assert {way: of_direction(together, way) for way in weights} == weights
    assert of_direction({"a": 1}, BACKWARD) == {}
    assert joined({FORWARD: {"a": 1}}) == {"a": 1}


def test_cut_has_one_way_and_says_so(tmp_path: Path) -> None:
    model = train(recipe_of("cut", training=ONE), cohort("cut"), tmp_path, device="cpu")
    assert not any(name.startswith(BACKWARD) for name in load(model.weights()))
    with pytest.raises(ModelError, match="source-to-target, not 'target-to-source'"):
        Translator.from_model(model, CPU, direction=BACKWARD)


def test_a_kept_epoch_becomes_a_model_of_both_directions(tmp_path: Path) -> None:
    recipe = recipe_of("cyclegan", training={"epochs": 2, "keep_every": 1, "ema": 0.5})
    best = train(recipe, cohort("cyclegan"), tmp_path, device="cpu")
    path = export_model(tmp_path, 1, tmp_path / "first.dtmodel")
    first = read_model(path)
    assert (first.card.epoch, best.card.epoch) == (1, 2)
    assert first.directions == (FORWARD, BACKWARD)
    (kept,) = (tmp_path / "checkpoints").glob("*0001*")
    stored = load_state(kept)["weights"]
    for way, weights in ways(first).items():
        assert all(torch.equal(of_direction(stored, way)[n], w) for n, w in weights.items())
        assert any(not torch.equal(ways(best)[way][n], w) for n, w in weights.items())
        Translator.from_model(first, CPU, direction=way).translate(image(9))
    again = read_model(export_model(tmp_path, 2, tmp_path / "second.dtmodel"))
    assert again.weights() == best.weights()


# ---- first weights


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A U-Net that gives the image back: a model of one way."""
    network = {key: value for key, value in UNET.items() if value is not None}
    images = [image(seed) for seed in range(3)]
    recipe = volume_recipe(network=network, training={"epochs": 1, "monitor": "mae"})
    folder = tmp_path_factory.mktemp("autoencoder")
    return train(recipe, cohort_from_lists(images, images), folder, device="cpu")


def unet_cyclegan(**parts: dict[str, Any]) -> Recipe:
    return recipe_of("cyclegan", network=UNET, **parts)


STILL = {"learning_rate": 1e-8}


def test_both_ways_start_from_a_model_of_one(tmp_path: Path, autoencoder: Model) -> None:
    recipe = unet_cyclegan(optimizer=STILL, training=ONE)
    model = train(recipe, cohort("cyclegan"), tmp_path, device="cpu", initial=autoencoder)
    initial = load(autoencoder.weights())
    for weights in ways(model).values():
        assert set(weights) == set(initial)
        for name, tensor in weights.items():
            torch.testing.assert_close(tensor, initial[name], atol=1e-5, rtol=0)
    origin = {"name": "tiny", "weights_sha256": autoencoder.card.weights_sha256}
    assert model.card.cohort["initial_model"] == origin


def test_a_frozen_encoder_keeps_what_it_knows_on_both_ways(
    tmp_path: Path, autoencoder: Model
) -> None:
    frozen = {"frozen": "encoder", "ema": 0.5, **ONE}
    recipe = unet_cyclegan(training=frozen, optimizer={"learning_rate": 0.01})
    with pytest.raises(TrainingError, match="freezes its encoder"):
        train(recipe, cohort("cyclegan"), tmp_path, device="cpu")
    model = train(recipe, cohort("cyclegan"), tmp_path, device="cpu", initial=autoencoder)
    initial = load(autoencoder.weights())
    for weights in ways(model).values():
        kept = {name for name, tensor in weights.items() if torch.equal(tensor, initial[name])}
        assert kept == {name for name in weights if name.startswith("encoder.")}


def test_what_segments_lends_its_encoder_to_both_ways(tmp_path: Path) -> None:
    """As in the preset of Duval et al.: an encoder that has learnt another task before."""
    network = {key: value for key, value in UNET.items() if value is not None}
    pairs = [image(seed) for seed in range(3)]
    labels = [Image((each.voxels > 0).astype(np.uint8) * 10, each.affine) for each in pairs]
    segmenting = labels_recipe(2, network=network, training=ONE)
    folder = tmp_path / "labels"
    known = train(segmenting, cohort_from_lists(pairs, labels), folder, device="cpu")
    recipe = unet_cyclegan(optimizer=STILL, training=ONE)
    images = cohort("cyclegan")
    with pytest.raises(TrainingError, match="not the same"):
        train(recipe, images, tmp_path / "run", device="cpu", initial=known)
    model = train(recipe, images, tmp_path / "run", device="cpu", initial=known, transfer=True)
    initial = load(known.weights())
    for weights in ways(model).values():
        for name in (name for name in weights if name.startswith("encoder.")):
            torch.testing.assert_close(weights[name], initial[name], atol=1e-5, rtol=0)
    (fresh,) = {
        name.rpartition(".")[0]
        for name, tensor in ways(model)[FORWARD].items()
        if tensor.shape != initial[name].shape
    }
    heads = [weights[f"{fresh}.weight"] for weights in ways(model).values()]
    assert not torch.equal(*heads)


@pytest.mark.parametrize("name", ["cyclegan", "unit"])
def test_each_way_starts_from_its_own_where_the_model_has_both(name: str, tmp_path: Path) -> None:
    known = train(recipe_of(name, training=ONE), cohort(name), tmp_path / "a", device="cpu")
    still = recipe_of(name, optimizer=STILL, training=ONE)
    model = train(still, cohort(name), tmp_path / "b", device="cpu", initial=known)
    for way, weights in ways(model).items():
        for key, tensor in weights.items():
            torch.testing.assert_close(tensor, ways(known)[way][key], atol=1e-5, rtol=0)


def test_a_model_of_both_ways_is_where_a_paired_training_may_start(tmp_path: Path) -> None:
    known = train(recipe_of("cyclegan", training=ONE), cohort("cyclegan"), tmp_path / "a", "cpu")
    still = recipe_of("pix2pix", optimizer=STILL, training=ONE)
    model = train(still, cohort("pix2pix", 3), tmp_path / "b", device="cpu", initial=known)
    for key, tensor in ways(model)[FORWARD].items():
        torch.testing.assert_close(tensor, ways(known)[FORWARD][key], atol=1e-5, rtol=0)


def test_a_trained_auto_encoder_has_features_that_hold_a_translation(
    tmp_path: Path, autoencoder: Model
) -> None:
    named = {
        "features": str(autoencoder.path),
        "features_sha256": file_sha256(autoencoder.path),
        "features_level": 1,
        "perceptual_weight": 1,
    }
    heard: list[dict[str, Any]] = []
    recipe = recipe_of("cyclegan", structure=named, training=ONE)
    train(recipe, cohort("cyclegan"), tmp_path, device="cpu", sink=heard.append)
    (epoch,) = (event for event in heard if event["event"] == "epoch")
    assert epoch["losses"]["perceptual there"] > 0
    assert epoch["losses"]["perceptual back"] > 0


# ---- estimates


@pytest.mark.parametrize("name", UNPAIRED)
def test_an_estimate_counts_what_an_unpaired_training_then_has(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimating, "_MOST_STEPS", 2)
    recipe = recipe_of(name, training=ONE)
    told = estimate(recipe, cohort(name), "cpu")
    heard: list[dict[str, Any]] = []
    train(recipe, cohort(name), tmp_path, device="cpu", sink=heard.append)
    (start,) = (event for event in heard if event["event"] == "training_started")
    assert told["training_slices"] == start["slices"]
    parameters = sum(p.numel() for p in build_network(recipe).parameters())
    assert told["parameters"] == parameters


@pytest.mark.parametrize(("sources", "targets"), [(30, 4), (4, 30), (12, 12)])
def test_an_epoch_is_as_long_as_the_longer_side(
    sources: int, targets: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One second a step, none to validate.
    monkeypatch.setattr(estimating, "_step_seconds", lambda *arguments: [1.0])
    monkeypatch.setattr(estimating, "_validation_seconds", lambda *arguments: 0.0)
    cases = [
        Case(f"{domain}{n}", image(n, slices), None, domain=domain)
        for domain, slices in (("source", sources), ("target", targets))
        for n in range(3)
    ]
    told = estimate(recipe_of("cut"), Cohort(tuple(cases), "the cohort"), "cpu")
    # One of three subjects of each domain is held out.
    assert told["training_slices"] == 2 * (sources + targets)
    assert told["seconds_per_epoch"] == 2 * max(sources, targets)


def test_a_validation_is_as_long_as_there_are_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimating, "_step_seconds", lambda *arguments: [0.0])
    monkeypatch.setattr(estimating, "_validation_seconds", lambda *arguments: 1.0)
    cases = [
        Case(f"{domain}{n}", image(n, slices), None, domain=domain)
        for domain, slices in (("source", 3), ("target", 20))
        for n in range(3)
    ]
    told = estimate(recipe_of("cut"), Cohort(tuple(cases), "the cohort"), "cpu")
    assert told["seconds_per_epoch"] == 3


# ---- previews


def previewed(folder: Path, recipe: Recipe, images: Cohort) -> list[dict[str, Any]]:
    heard: list[dict[str, Any]] = []
    train(recipe, images, folder, device="cpu", sink=heard.append)
    return [event for event in heard if event["event"] == "preview"]


def coronal(seed: int) -> Image:
    """Stored with other axes, of a tilted slice distance."""
    upright = image(seed, slices=5)
    turned = Image(upright.voxels, lps_affine((2.0, 1.5, 4.0))).oriented("RSA")
    return Image(np.ascontiguousarray(turned.voxels), turned.affine)


def cases_of(make: Callable[[int], Image]) -> Cohort:
    sides = (("source", 0), ("target", 10))
    return Cohort(
        tuple(
            Case(f"{domain}{n}", make(first + n), None, domain=domain)
            for domain, first in sides
            for n in range(2)
        ),
        "the cohort",
    )


@pytest.mark.parametrize("name", UNPAIRED)
def test_previews_show_input_translation_and_cycle_on_the_inputs_grid(
    name: str, tmp_path: Path
) -> None:
    images = cases_of(coronal)
    shown = previewed(tmp_path, recipe_of(name, training={"epochs": 2}), images)
    assert [event["epoch"] for event in shown] == [0, 1]
    fields = {"input", "prediction"} | ({"cycled"} if name != "cut" else set())
    for event in shown:
        assert set(event) - {"event", "time", "epoch"} == fields
        files = {field: read_image(tmp_path / event[field]) for field in fields}
        given = files["input"]
        for found in files.values():
            assert found.same_grid(given)
    # A slice of a source volume, as it is stored.
    (whole,) = [
        each
        for each in (case.read_image() for case in images.cases if case.domain == "source")
        if any(
            np.array_equal(given.oriented("LPS").voxels[0], one)
            for one in each.oriented("LPS").voxels
        )
    ]
    assert given.orientation == whole.orientation
    # The last preview is by the weights of the last epoch, which are the model's.
    model = read_model(tmp_path / "model.dtmodel")
    forth = Translator.from_model(model, CPU).translate(given)
    np.testing.assert_allclose(files["prediction"].voxels, forth.voxels, atol=0.05)
    if name != "cut":
        back = Translator.from_model(model, CPU, direction=BACKWARD).translate(forth)
        np.testing.assert_allclose(files["cycled"].voxels, back.voxels, atol=0.05)


def test_a_preview_of_patches_goes_back_from_the_slices_around_it(tmp_path: Path) -> None:
    recipe = recipe_of(
        "cyclegan",
        network={"dimension": 3},
        sampling={"patch": [8, 8, 8]},
        training=ONE,
    )
    # All of the volume is within reach of any slice.
    images = cases_of(lambda seed: image(seed, slices=9))
    (event,) = previewed(tmp_path, recipe, images)
    given, forth, back = (
        read_image(tmp_path / event[field]) for field in ("input", "prediction", "cycled")
    )
    assert forth.same_grid(given)
    assert back.same_grid(given)
    ((whole, place),) = [
        (case.read_image(), place)
        for case in images.cases
        for place, one in enumerate(case.read_image().voxels)
        if np.array_equal(one, given.voxels[0])
    ]
    model = read_model(tmp_path / "model.dtmodel")
    there = Translator.from_model(model, CPU).translate(whole)
    again = Translator.from_model(model, CPU, direction=BACKWARD).translate(there)
    np.testing.assert_allclose(forth.voxels[0], there.voxels[place], atol=0.05)
    np.testing.assert_allclose(back.voxels[0], again.voxels[place], atol=0.05)
    alone = Translator.from_model(model, CPU, direction=BACKWARD).translate(forth)
    assert np.abs(alone.voxels - back.voxels).max() > 1
