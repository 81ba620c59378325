"""Slices between their neighbours: which channels the network sees, in training and in use."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_samples import STILL, blobs, labels_recipe, lps_affine, random_hu, volume_recipe
from torch import Tensor, nn

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine.augment_preview import augmented
from DeepTranslateLib.engine.dataset import SliceSet, collate
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.preprocessing import slice_stack
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import Recipe

CPU = torch.device("cpu")


def with_context(context: int, recipe: Recipe | None = None) -> Recipe:
    recipe = recipe or volume_recipe()
    return dataclasses.replace(
        recipe, sampling=dataclasses.replace(recipe.sampling, context=context)
    )


class Shows(nn.Module):
    """A stand-in for a network that shows one of its input's channels."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images[:, self.channel : self.channel + 1]]


def test_a_slice_lies_between_its_neighbours_and_the_last_slices_are_repeated() -> None:
    voxels = np.arange(5, dtype=np.int16)[:, None, None] * np.ones((1, 3, 2), np.int16)
    recipe = with_context(2, volume_recipe(preprocessing={"window": None}))
    stack = slice_stack(Image(voxels, lps_affine()), recipe)
    assert len(stack) == 5
    images = stack.images([0, 3, 2])
    assert images.shape == (3, 5, 3, 2)
    assert images[:, :, 0, 0].tolist() == [
        [0, 0, 0, 1, 2],
        [1, 2, 3, 4, 4],
        [0, 1, 2, 3, 4],
    ]


def test_no_context_is_the_middle_of_any() -> None:
    image = torso(1, slices=6, size=(64, 64), spacing=(7.0, 7.0, 5.0)).image
    recipe = labels_recipe(1, preprocessing={"spacing": 9, "body_crop": True})
    alone = slice_stack(image, recipe).images(range(6))
    between = slice_stack(image, with_context(1, recipe)).images(range(6))
    assert torch.equal(between[:, 1:2], alone)
    assert torch.equal(between[1:, 0], alone[:-1, 0])
    assert torch.equal(between[:-1, 2], alone[1:, 0])


def test_a_slice_alone_has_the_neighbours_of_its_volume() -> None:
    image = torso(2, slices=9, size=(64, 64), spacing=(7.0, 7.0, 1.5)).image
    recipe = labels_recipe(1, preprocessing={"spacing": 9, "body_crop": True})
    stack = slice_stack(image, with_context(2, recipe))
    for index in range(9):
        alone = stack.alone(index)
        assert len(alone) == 1
        assert alone.shape == (1, 64, 64)
        assert torch.equal(alone.images([0]), stack.images([index]))
        whole, of_alone = np.zeros((2, 64, 64))
        top, bottom, left, right = stack.body.box
        values = np.ones((bottom - top, right - left))
        stack.paste(values, index, whole)
        alone.paste(values, 0, of_alone)
        assert np.array_equal(whole, of_alone)


@pytest.mark.parametrize("orientation", ["LPS", "LPI"])
@pytest.mark.parametrize(("channel", "step"), [(0, -1), (1, 0), (2, 1)])
def test_a_volume_is_translated_from_the_slices_beside_each(
    channel: int, step: int, orientation: str
) -> None:
    recipe = with_context(1)
    upright = Image(random_hu((4, 6, 5)), lps_affine())
    output = Translator(Shows(channel), recipe, CPU).translate(upright.oriented(orientation))
    places = np.clip(np.arange(4) + step, 0, 3)
    expected = upright.voxels[places].astype(float)
    assert output.oriented("LPS").voxels == pytest.approx(expected, abs=1e-3)


def test_a_training_learns_from_neighbours(tmp_path: Path) -> None:
    # What is to be shown of a slice is in the next one, and nowhere else.
    def case(seed: int) -> Case:
        voxels = random_hu((6, 12, 12), seed)
        target = voxels[[1, 2, 3, 4, 5, 5]]
        return Case("s", Image(voxels, lps_affine()), Image(target, lps_affine()))

    def loss(context: int) -> float:
        recipe = with_context(
            context,
            volume_recipe(augmentation=STILL, network={"channels": 8}, training={"batch_size": 6}),
        )
        learner = Learner(recipe, CPU)
        known, unseen = (
            SliceSet([Selection(case(seed), None)], recipe, tmp_path).slices for seed in (1, 2)
        )
        assert collate(known)[0].shape == (6, 1 + 2 * context, 12, 12)
        learner.begin_epoch(0)
        for step in range(60):
            learner.step(known, random_state(0, 0, step))
        return learner.validate(unseen)[0]

    assert loss(1) < 0.5 * loss(0)


def test_the_network_has_a_channel_for_each_slice_that_it_sees() -> None:
    recipe = with_context(3, labels_recipe(2))
    assert recipe.input_channels == 7
    (output,) = build_network(recipe)(torch.rand(1, 7, 9, 9))
    assert output.shape == (1, 2, 9, 9)


def test_the_preview_of_augmentation_shows_the_slice_itself() -> None:
    voxels, labels = blobs(1)
    image, target = Image(voxels, lps_affine()), Image(labels, lps_affine())
    recipe = labels_recipe(2, augmentation=STILL)
    alone = augmented(recipe, image, target, 1, seed=0)
    between = augmented(with_context(1, recipe), image, target, 1, seed=0)
    for name, array in alone.items():
        assert np.array_equal(between[name], array), name
