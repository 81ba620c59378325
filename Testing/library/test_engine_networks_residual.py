"""Differences to the input, in the units of image and target whatever window and range are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_samples import lps_affine, random_hu, volume_recipe
from torch import nn

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.networks.residual import Residual
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe

CPU = torch.device("cpu")


def residual_recipe(network: dict[str, Any] | None = None, **parts: Any) -> Recipe:
    return volume_recipe(network={"residual": True, **(network or {})}, **parts)


def silent(network: nn.Module) -> nn.Module:
    """The network saying that nothing changes."""
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("window", [[-1000, 1000], [-160, 240], None])
@pytest.mark.parametrize("range_", [[-1000, 1000], [-500, 3000]])
def test_a_network_that_says_nothing_gives_the_input_back_in_its_units(
    window: list[float] | None, range_: list[float], context: int
) -> None:
    recipe = residual_recipe(
        preprocessing={"window": window}, target={"range": range_}, sampling={"context": context}
    )
    voxels = random_hu((5, 9, 7))
    output = Translator(silent(build_network(recipe)), recipe, CPU).translate(
        Image(voxels, lps_affine())
    )
    expected = voxels if window is None else voxels.clip(*window)
    assert output.voxels == pytest.approx(expected.astype(float), abs=1e-2)


def test_what_a_network_says_is_added_as_a_part_of_the_range() -> None:
    recipe = residual_recipe(
        preprocessing={"window": [0, 100]}, target={"range": [0, 200]}, training={"seed": 3}
    )
    network = build_network(recipe).eval()
    assert isinstance(network, Residual)
    voxels = np.random.default_rng(0).integers(0, 100, (2, 8, 8)).astype(np.int16)
    output = Translator(network, recipe, CPU).translate(Image(voxels, lps_affine()))
    with torch.inference_mode():
        said = network.network(torch.from_numpy(voxels[:, None] / 100).float())[0][:, 0].numpy()
    assert np.abs(said).max() > 0.01
    assert output.voxels == pytest.approx(voxels + 200 * said, abs=1e-3)


def test_coarse_outputs_start_from_the_average_of_the_input() -> None:
    recipe = residual_recipe({"levels": 4, "deep_supervision": True})
    network = silent(build_network(recipe)).train()
    images = torch.rand(2, 1, 16, 24)
    outputs = network(images)
    assert [tuple(output.shape[2:]) for output in outputs] == [(16, 24), (8, 12), (4, 6)]
    for level, output in enumerate(outputs):
        torch.testing.assert_close(output, F.avg_pool2d(images, 2**level))


def test_a_residual_network_learns_its_difference_and_not_its_input() -> None:
    # Nothing changes between image and target, so that nothing is left to learn.
    voxels = random_hu((4, 16, 16))
    case = Case("s", Image(voxels, lps_affine()), Image(voxels, lps_affine()))
    recipe = residual_recipe(
        training={"batch_size": 4}, augmentation={"noise_sd": 0, "noise_fraction": 0}
    )
    learner = Learner(recipe, CPU)
    silent(learner.translator)
    slices = SliceSet([Selection(case, None)], recipe, None).slices  # type: ignore[arg-type]
    assert learner.validate(slices)[0] == pytest.approx(0, abs=1e-10)
    learner.begin_epoch(0)
    assert learner.step(slices, random_state(0, 0, 0))["loss"] == pytest.approx(0, abs=1e-10)
