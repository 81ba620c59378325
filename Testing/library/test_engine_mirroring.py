"""Translation by the mean of mirrored copies."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import labels_recipe, lps_affine, random_hu, volume_recipe
from torch import Tensor, nn

from DeepTranslateLib.engine.mirroring import mirrored_copies, mirrored_mean
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.outputs import channels_of
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe

CPU = torch.device("cpu")
FLIPS = {"flip_left_right": 0.5, "flip_up_down": 0.5, "flip_slices": 0.5}
SIZE = (6, 11, 9)  # slices, rows, columns
IN_PATCHES = {"sampling": {"patch": [6, 11, 9]}, "network": {"dimension": 3}}


def mirroring(recipe: Any = labels_recipe, *arguments: Any, **parts: dict[str, Any]) -> Recipe:
    parts["sampling"] = {"mirror": True, **parts.get("sampling", {})}
    parts["augmentation"] = {**FLIPS, **parts.get("augmentation", {})}
    return recipe(*arguments, **parts)


def without_mirrors(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, sampling=dataclasses.replace(recipe.sampling, mirror=False))


def random_network(recipe: Recipe) -> nn.Module:
    torch.manual_seed(1)
    return build_network(recipe).eval()


IMAGE = Image(random_hu(SIZE), lps_affine())


@pytest.mark.parametrize(
    ("parts", "axes"),
    [
        ({}, (1, 2)),
        ({"sampling": {"context": 1}}, (1, 2)),
        ({"sampling": {"fusion": True}}, (0, 1, 2)),
        ({"preprocessing": {"spacing": 1.3, "spacing_tolerance": 0}}, (1, 2)),
        ({"augmentation": {"flip_up_down": 0}}, (2,)),
        (IN_PATCHES, (0, 1, 2)),
    ],
)
def test_a_mirrored_volume_is_translated_to_the_mirrored_translation(
    parts: dict[str, Any], axes: tuple[int, ...]
) -> None:
    recipe = mirroring(volume_recipe, **parts)
    network = random_network(recipe)
    translator = Translator(network, recipe, CPU)
    plain = Translator(network, without_mirrors(recipe), CPU)
    found = translator.translate(IMAGE).voxels
    alone = plain.translate(IMAGE).voxels
    for axis in axes:
        flipped = IMAGE.with_voxels(np.ascontiguousarray(np.flip(IMAGE.voxels, axis)))
        again = np.flip(translator.translate(flipped).voxels, axis)
        assert again == pytest.approx(found, abs=0.01)
        # Which the network by itself does not do.
        assert np.abs(np.flip(plain.translate(flipped).voxels, axis) - alone).max() > 1


@pytest.mark.parametrize("parts", [{}, IN_PATCHES])
def test_values_are_the_mean_of_the_translations_of_mirrored_volumes(
    parts: dict[str, Any],
) -> None:
    recipe = mirroring(volume_recipe, **parts)
    network = random_network(recipe)
    plain = Translator(network, without_mirrors(recipe), CPU)
    volumetric = recipe.is_volumetric
    every = [
        axes
        for axes in ((), (1,), (2,), (1, 2), (0,), (0, 1), (0, 2), (0, 1, 2))
        if volumetric or 0 not in axes
    ]
    parts_of_mean = []
    for axes in every:
        flipped = IMAGE.with_voxels(np.ascontiguousarray(np.flip(IMAGE.voxels, axes)))
        parts_of_mean.append(np.flip(plain.translate(flipped).voxels, axes))
    found = Translator(network, recipe, CPU).translate(IMAGE).voxels
    assert found == pytest.approx(np.mean(parts_of_mean, axis=0), abs=0.01)
    assert np.abs(parts_of_mean[0] - found).max() > 1


def probabilities(logits: np.ndarray, exclusive: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of labels, and of what they compete with: no label, or each label's absence."""
    powers = np.exp(logits.astype(np.float64))
    if exclusive:
        total = 1 + powers.sum(axis=1, keepdims=True)
        return powers / total, 1 / total
    return powers / (1 + powers), 1 / (1 + powers)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy"])
@pytest.mark.parametrize("flips", [{}, {"flip_left_right": 0}])
def test_logits_are_those_of_the_mean_probabilities(loss: str, flips: dict[str, float]) -> None:
    recipe = mirroring(labels_recipe, 2, method={"loss": loss}, augmentation=flips)
    seen: list[tuple[int, ...]] = [(), (2,)] if flips else [(), (2,), (3,), (2, 3)]
    torch.manual_seed(0)
    images = torch.randn(2, 2, 5, 4) * 3
    slope = torch.linspace(-2, 2, 20).reshape(5, 4)

    def network(given: Tensor) -> Tensor:
        return given * slope

    found = mirrored_mean(network, images, recipe).numpy()
    exclusive = loss == "cross_entropy"
    copies = [
        probabilities(np.flip(np.flip(images.numpy(), a) * slope.numpy(), a), exclusive)
        for a in seen
    ]
    labels, rest = (np.mean(each, axis=0) for each in zip(*copies, strict=True))
    assert found == pytest.approx(np.log(labels / rest), abs=1e-4)
    assert np.abs(found - (images * slope).numpy()).max() > 0.5


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy"])
def test_copies_that_agree_change_nothing_however_sure_they_are(loss: str) -> None:
    recipe = mirroring(labels_recipe, 2, method={"loss": loss})
    logits = torch.tensor([[90.0, 80.0], [-90.0, -95.0], [3.0, 2.9], [-1.0, 60.0]])
    output = logits[:, :, None, None].expand(-1, -1, 3, 3)
    found = mirrored_mean(lambda images: images, output, recipe)
    assert found.numpy() == pytest.approx(output.numpy(), abs=1e-3)
    assert torch.equal(channels_of(found), channels_of(output))


def test_what_training_never_mirrors_is_translated_as_it_is() -> None:
    still = dict.fromkeys(FLIPS, 0)
    for parts in ({"augmentation": still}, {"augmentation": {"probability": 0}}):
        recipe = mirroring(volume_recipe, **parts)
        assert mirrored_copies(recipe) == [()]
        network = random_network(recipe)
        found = Translator(network, recipe, CPU).translate(IMAGE).voxels
        alone = Translator(network, without_mirrors(recipe), CPU).translate(IMAGE).voxels
        assert np.array_equal(found, alone)


def test_slices_are_no_axis_of_a_slice() -> None:
    only = {"flip_left_right": 0, "flip_up_down": 0}
    assert mirrored_copies(mirroring(augmentation=only)) == [()]
    assert mirrored_copies(mirroring(**IN_PATCHES, augmentation=only)) == [(), (-3,)]
    assert len(mirrored_copies(mirroring(**IN_PATCHES))) == 8
    assert len(mirrored_copies(mirroring(sampling={"context": 1}))) == 4
