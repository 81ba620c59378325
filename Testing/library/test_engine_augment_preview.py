"""The preview of augmentation: the very changes that training makes, in the input's units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import STILL, blobs, labels_recipe, lps_affine, stored_as, volume_recipe

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine import augmentedslices
from DeepTranslateLib.engine.augment_preview import augmented
from DeepTranslateLib.engine.augmentation import apply_changes
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.training import Trainer
from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.jobs import Events
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import Recipe, read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

CPU = torch.device("cpu")


def pair(seed: int = 1, slices: int = 4) -> tuple[Image, Image]:
    voxels, labels = blobs(seed, slices)
    return Image(voxels, lps_affine()), Image(labels, lps_affine())


def changed(recipe: Recipe, **augmentation: float) -> Recipe:
    return recipe_from_json({**to_json(recipe), "augmentation": {**STILL, **augmentation}})


def test_without_changes_it_is_the_slice_itself() -> None:
    image, labels = pair()
    shown = augmented(changed(labels_recipe(2)), image, labels, 1, 0, 2)
    expected = image.voxels[1].clip(-1000, 1000)
    assert shown["image"] == pytest.approx(expected, abs=0.01)
    assert np.array_equal(shown["target"], labels.voxels[1])
    for after, target in zip(shown["images"], shown["targets"], strict=True):
        assert after == pytest.approx(expected, abs=0.1)
        assert np.array_equal(target, labels.voxels[1])
    assert shown["image"].dtype == shown["images"].dtype == np.float32
    assert shown["target"].dtype == shown["targets"].dtype == np.uint8
    assert shown["images"].shape == shown["targets"].shape == (2, 16, 16)


def test_a_flip_mirrors_image_and_labels_alike() -> None:
    image, labels = pair()
    shown = augmented(changed(labels_recipe(2), flip_left_right=1), image, labels, 0, 5)
    assert shown["images"][0] == pytest.approx(shown["image"][:, ::-1], abs=0.1)
    assert np.array_equal(shown["targets"][0], shown["target"][:, ::-1])


def test_the_changes_are_those_of_the_first_steps_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = 11
    recipe = labels_recipe(2, training={"seed": seed, "epochs": 3})
    image, labels = pair(slices=2)
    trained: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watched(*arguments: Any) -> Any:
        trained.append(apply_changes(*arguments))
        return trained[-1]

    with monkeypatch.context() as patched:
        patched.setattr(augmentedslices, "apply_changes", watched)
        sets = [
            SliceSet([Selection(Case("s", image, labels), (0,))], recipe, tmp_path / name)
            for name in "ab"
        ]
        Trainer(recipe, *sets, tmp_path, CPU, Events()).run()
    shown = augmented(recipe, image, labels, 0, seed, 3)
    assert len(trained) == 3
    for n, (images, targets) in enumerate(trained):
        assert shown["images"][n] == pytest.approx(images[0, 0].numpy() * 2000 - 1000, abs=1e-2)
        assert np.array_equal(shown["targets"][n], targets[0].numpy() * 10)


def test_the_same_seed_shows_the_same_and_another_shows_others() -> None:
    image, labels = pair()
    recipe = labels_recipe(2)
    first, again, other = (augmented(recipe, image, labels, 0, s, 3)["images"] for s in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])
    more = augmented(recipe, image, labels, 0, 3, 5)["images"]
    assert np.array_equal(more[:3], first)


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "SLA"])
def test_without_a_slice_the_one_with_most_labelled_voxels_is_shown(orientation: str) -> None:
    image, labels = pair()
    voxels = labels.voxels.copy()
    voxels[2] = 20
    voxels[0] = 77  # no label of the recipe
    voxels[0, 0] = 10
    labels = labels.with_voxels(voxels)
    recipe = changed(labels_recipe(2))
    shown = augmented(recipe, stored_as(image, orientation), stored_as(labels, "PSR"), None, 0)
    assert np.array_equal(shown["target"], voxels[2])
    assert shown["image"] == pytest.approx(image.voxels[2].clip(-1000, 1000), abs=0.01)


def test_a_slice_is_counted_as_the_image_stores_it() -> None:
    image, labels = pair()
    recipe = changed(labels_recipe(2))
    upside_down = augmented(recipe, stored_as(image, "LPI"), stored_as(labels, "LPI"), 0, 0)
    assert np.array_equal(upside_down["target"], labels.voxels[3])


def test_a_volume_is_shown_in_the_units_of_its_target() -> None:
    image, _ = pair()
    target = image.with_voxels(((image.voxels - 1000) // 2).astype(np.float32))
    shown = augmented(changed(volume_recipe()), image, target, None, 0)
    spread = [float(piece[::4, ::4].std()) for piece in target.voxels]
    expected = target.voxels[int(np.argmax(spread))].clip(-1000, 1000)
    assert shown["target"] == pytest.approx(expected, abs=0.01)
    assert shown["targets"][0] == pytest.approx(expected, abs=0.1)
    assert shown["targets"].dtype == np.float32


def test_a_slice_that_is_not_square_lies_in_the_middle_of_air() -> None:
    voxels = np.full((1, 4, 10), 300, np.int16)
    image = Image(voxels, lps_affine())
    labels = Image(np.full(voxels.shape, 10, np.uint8), lps_affine())
    shown = augmented(changed(labels_recipe(1)), image, labels, 0, 0)
    assert shown["image"].shape == (10, 10)
    assert shown["image"][3:7] == pytest.approx(300, abs=0.01)
    assert shown["image"][:3] == pytest.approx(-1000)
    assert np.array_equal(shown["targets"][0], shown["target"])
    assert int(np.count_nonzero(shown["target"])) == 40


def test_a_body_recipe_shows_the_body_at_the_pixel_size_that_auto_means() -> None:
    phantom = torso(3, slices=3)
    recipe = read_recipe("ct-body-composition")
    shown = augmented(recipe, phantom.image, phantom.labels, 1, 0, 1)
    assert shown["image"].shape[0] < 192
    assert shown["image"].min() >= -300
    assert shown["image"].max() <= 300
    assert set(np.unique(shown["target"])) == {0, 1, 2, 3}


def test_values_that_are_ignored_keep_their_value() -> None:
    image, labels = pair()
    voxels = labels.voxels.copy()
    voxels[0, :3] = 99
    target = {**to_json(labels_recipe(2).target), "ignore": 99}
    shown = augmented(
        changed(labels_recipe(2, target=target)), image, labels.with_voxels(voxels), 0, 0
    )
    assert np.array_equal(shown["target"] == 99, voxels[0] == 99)
    assert np.array_equal(shown["targets"][0], shown["target"])


def test_another_grid_and_a_slice_that_is_not_there_are_refused() -> None:
    image, labels = pair()
    with pytest.raises(ImageError, match="different grids"):
        augmented(labels_recipe(2), image, Image(labels.voxels[:2], labels.affine), 0, 0)
    with pytest.raises(ImageError, match=r"no slice 4.*0 to 3"):
        augmented(labels_recipe(2), image, labels, 4, 0)
    assert augmented(labels_recipe(2), image, labels, 0, 0, 0)["images"].shape == (0, 16, 16)
