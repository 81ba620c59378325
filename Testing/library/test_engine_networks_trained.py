"""Every network from recipe to model file and back, and further from there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import blobs, blobs_cohort, labels_recipe, lps_affine, volume_recipe

from DeepTranslateLib.cohort import cohort_from_lists
from DeepTranslateLib.engine.export import export_model
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.jobs import Stopped
from DeepTranslateLib.model import read_model
from DeepTranslateLib.recipe import Recipe

CPU = torch.device("cpu")
TRAINING = {"epochs": 2, "batch_size": 4, "ema": 0.9, "keep_every": 1}
NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"levels": 4, "channels": 4, "deep_supervision": True},
    "dynunet": {"levels": 3, "channels": 4, "norm": "instance", "deep_supervision": True},
    "basicunet": {"levels": 5, "channels": 2, "norm": "batch"},
    "segresnet": {"levels": 2, "channels": 4, "blocks": [1, 1]},
    "swinunetr": {"levels": 5, "channels": 12},
    "restormer": {"levels": 2, "channels": 4, "blocks": [1, 1]},
}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def recipe_with(name: str, **parts: Any) -> Recipe:
    if name in ("swinunetr", "restormer"):
        pytest.importorskip("einops")
    return labels_recipe(2, network={"name": name, **NETWORKS[name]}, training=TRAINING, **parts)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stopped_training_goes_on_to_the_same_model_and_the_model_can_learn_further(
    tmp_path: Path, name: str
) -> None:
    recipe = recipe_with(name, sampling={"context": 1}, method={"loss": "dice_cross_entropy"})
    cohort = blobs_cohort(2)
    model = train(recipe, cohort, tmp_path / "straight", device="cpu")
    asked = iter(range(1, 100))
    with pytest.raises(Stopped):
        train(recipe, cohort, tmp_path / "again", "cpu", should_stop=lambda: next(asked) == 1)
    again = train(recipe, cohort, tmp_path / "again", device="cpu")
    assert again.card.weights_sha256 == model.card.weights_sha256

    image = Image(blobs(7, size=19)[0], lps_affine())
    kept = export_model(tmp_path / "straight", 1, tmp_path / "first.dtmodel")
    for path in (model.path, kept):
        output = Translator.from_model(read_model(path), CPU).translate(image)
        assert output.voxels.shape == image.voxels.shape
        assert set(np.unique(output.voxels)) <= {0, 10, 20}

    further = train(recipe, cohort, tmp_path / "further", device="cpu", initial=model)
    assert further.card.cohort["initial_model"]["weights_sha256"] == model.card.weights_sha256


@pytest.mark.parametrize("name", ["unet", "segresnet"])
def test_a_residual_network_is_trained_with_a_weighted_sum_of_losses(
    tmp_path: Path, name: str
) -> None:
    pairs = [blobs(seed)[0] for seed in range(2)]
    cohort = cohort_from_lists(
        [Image(voxels, lps_affine()) for voxels in pairs],
        [Image(voxels // 2, lps_affine()) for voxels in pairs],
        ["a", "b"],
    )
    recipe = volume_recipe(
        network={"name": name, **NETWORKS[name], "residual": True},
        method={"loss": [{"name": "mae"}, {"name": "gradient_difference", "weight": 0.5}]},
        training=TRAINING,
    )
    model = train(recipe, cohort, tmp_path, device="cpu")
    assert read_model(model.path).recipe.method.losses[1].weight == 0.5
    output = Translator.from_model(model, CPU).translate(Image(pairs[0], lps_affine()))
    assert output.voxels.shape == pairs[0].shape


def test_a_model_of_other_neighbours_or_outputs_is_refused_with_what_differs(
    tmp_path: Path,
) -> None:
    cohort = blobs_cohort(2)
    model = train(recipe_with("unet"), cohort, tmp_path / "first", device="cpu")
    for other, words in (
        (recipe_with("unet", sampling={"context": 2}), r"sampling\.context is 0 .* and 2"),
        (recipe_with("segresnet"), r"network\.name is unet .* and segresnet"),
    ):
        with pytest.raises(TrainingError, match=words):
            train(other, cohort, tmp_path / "second", device="cpu", initial=model)
