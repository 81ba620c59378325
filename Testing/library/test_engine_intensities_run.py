"""Standard scales from the cohort to the model, and in what a network is compared with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_engine_intensities import LEVELS, inside, mr_recipe, tissue

from DeepTranslateLib.cohort import cohort_from_lists
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.engine.heldout import measure_held_out
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.model import read_model

WINDOWED = {"window": [-0.5, 2], "mask": "brain"}


def inverted(image: Image, gain: float) -> Image:
    """Another contrast of the same tissue, on a scale of its own."""
    return image.with_voxels(
        np.where(image.voxels > 0, gain * (900 - image.voxels), 0).astype(np.float32)
    )


def test_a_model_file_alone_brings_new_images_to_the_scale_it_has_learnt_on(tmp_path: Path):
    images = [tissue(seed) for seed in (1, 2, 3)]
    targets = [inverted(image, gain) for image, gain in zip(images, (1, 3, 10), strict=True)]
    recipe = mr_recipe(
        {"standardisation": "histogram"},
        preprocessing={**WINDOWED, "standardisation": "histogram"},
    )
    train(recipe, cohort_from_lists(images, targets, list("abc")), tmp_path, "cpu")
    (validated,) = [
        entry["subject"]
        for entry in json.loads((tmp_path / "cohort.json").read_text())["validation"]
    ]
    model = read_model(tmp_path / "model.dtmodel")
    for part, kind in ((model.recipe.preprocessing, images), (model.recipe.target, targets)):
        learnt = [image for image, name in zip(kind, "abc", strict=True) if name != validated]
        own = [np.percentile(image.voxels[inside()], LEVELS) for image in learnt]
        expected = np.mean([(p - p[0]) / (p[-1] - p[0]) for p in own], axis=0)
        np.testing.assert_allclose(part.landmarks, expected, atol=2e-4)
    translator = Translator.from_model(model, torch.device("cpu"))
    new = tissue(5)
    louder = new.with_voxels(np.where(new.voxels > 0, new.voxels * np.float32(7) + 90, 0))
    first, second = (translator.translate(image).voxels for image in (new, louder))
    np.testing.assert_allclose(second, first, atol=1e-3)


def test_network_and_baseline_are_measured_on_the_standard_scale():
    images = [tissue(seed) for seed in (1, 2, 3)]
    targets = [inverted(image, gain) for image, gain in zip(images, (1, 3, 500), strict=True)]
    patient = images[0].with_voxels(inside().astype(np.uint8))
    cases = [
        dataclasses.replace(case, mask=patient)
        for case in cohort_from_lists(images, targets, list("abc")).cases
    ]
    recipe = mr_recipe(
        {"standardisation": "percentiles", "range": [-1, 2]},
        preprocessing={**WINDOWED, "standardisation": "percentiles"},
    )
    baseline = IntensityBaseline(recipe, cases[:2], [range(6)] * 2)
    translator = Translator(_Opposite(), recipe, torch.device("cpu"))
    rows = measure_held_out(translator, baseline, cases[2:])
    found = {row["method"]: row["mae"] for row in rows}
    # Dark is bright: 1 - x is what the percentiles of an inverted contrast come to.
    assert found["network"] < 0.01
    assert found["intensity, mean"] < 0.02


def test_the_baseline_of_a_residual_recipe_answers_in_the_units_of_its_input():
    images = [tissue(seed) for seed in (1, 2, 3)]
    gains = (1, 4, 50)
    images = [
        image.with_voxels(image.voxels * np.float32(gain))
        for image, gain in zip(images, gains, strict=True)
    ]
    cases = cohort_from_lists(images, images, list("abc")).cases
    recipe = mr_recipe(
        {"range": [-0.5, 2]},
        preprocessing={**WINDOWED, "standardisation": "percentiles"},
        network={"residual": True},
    )
    baseline = IntensityBaseline(recipe, cases[:2], [range(6)] * 2)
    output = baseline.translate(images[2], range(6))["intensity, mean"].voxels[inside()]
    truth = images[2].voxels[inside()]
    seen = truth < np.percentile(truth, 99)
    assert np.abs(output - truth)[seen].mean() < 0.03 * truth.std()
    assert output.mean() == pytest.approx(truth.mean(), rel=0.02)


class _Opposite(torch.nn.Module):
    """1 - x, from the window's share to the range's."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        value = images[:, :1] * 2.5 - 0.5
        return [((1 - value) + 1) / 3]
