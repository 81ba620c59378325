"""The kinds of augmentation together: how often, apart from each other, on images alone."""

import dataclasses

import numpy as np
import pytest
import torch
from augmentation_samples import EFFECTS, NEW, SIZE, assert_share, changes, everything, only
from engine_samples import blobs, labels_recipe, lps_affine, volume_recipe

from DeepTranslateLib.engine.augment_preview import augmented
from DeepTranslateLib.engine.augmentation import (
    Change,
    apply_changes,
    perspective,
    sample_change,
)
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Augmentation, RecipeError, recipe_from_json
from DeepTranslateLib.schema import to_json


def differs(change: Change) -> bool:
    """Anything is done at all."""
    moved = not np.allclose(change.homography, np.eye(3))
    noisy = change.noise_sd * change.noise_fraction > 0
    return moved or noisy or change.elastic is not None or bool(change.effects)


@pytest.mark.parametrize("kind", ["perspective", "rotation", "translation", "noise", *NEW])
@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_each_kind_comes_as_often_as_its_probability_says(kind: str, chance: float) -> None:
    default = dataclasses.asdict(Augmentation())
    ranges = {name: value for name, value in default.items() if name.startswith(kind)}
    ranges.pop(f"{kind}_probability")
    drawn = changes(only(kind, chance, **ranges), 400)
    assert_share(np.mean([differs(change) for change in drawn]), chance, 400)


def test_the_kinds_beyond_the_paper_s_default_are_off() -> None:
    for change in changes(Augmentation(), 20):
        assert change.effects == ()
        assert change.elastic is None


def test_one_more_kind_changes_nothing_about_the_others() -> None:
    def drawn(augmentation: Augmentation) -> tuple[Change, float]:
        rng = np.random.default_rng(5)
        sample_change(augmentation, SIZE, rng)
        return sample_change(augmentation, SIZE, rng), rng.random()

    plain, after = drawn(Augmentation())
    for kind in EFFECTS:
        more, after_more = drawn(Augmentation(**{f"{kind}_probability": 1.0}))
        assert after_more == after
        assert np.array_equal(more.homography, plain.homography)
        assert (more.noise_sd, more.noise_seed) == (plain.noise_sd, plain.noise_seed)
        (alone,) = more.effects
        assert alone in drawn(everything())[0].effects


def test_no_kind_leaves_the_homography_of_the_others_and_the_draws_of_the_next_slice() -> None:
    still, moving = np.random.default_rng(5), np.random.default_rng(5)
    sample_change(Augmentation(rotation_probability=0, perspective_probability=0), SIZE, still)
    sample_change(Augmentation(), SIZE, moving)
    assert still.random() == moving.random()


def test_probability_0_of_all_leaves_every_kind_out() -> None:
    assert not any(differs(change) for change in changes(everything(probability=0.0), 20))


def batch(count: int = 3, side: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((count, 1, side, side), np.float32))
    images[..., :6] = 0
    return images, torch.from_numpy(rng.integers(0, 3, (count, side, side)).astype(np.uint8))


@pytest.mark.parametrize("kind", EFFECTS)
def test_values_of_labels_and_of_volume_targets_stay_as_they_are(kind: str) -> None:
    images, labels = batch()
    drawn = changes(only(kind, reference_size=24), 3, (24, 24))
    after, labels_after = apply_changes(images, labels, [(24, 24)] * 3, drawn, (24, 24))
    assert not torch.allclose(after, images, atol=1e-3)
    assert torch.equal(labels_after, labels)
    _, volumes = apply_changes(images, images.clone(), [(24, 24)] * 3, drawn, (24, 24))
    assert torch.allclose(volumes, images, atol=1e-5)


@pytest.mark.parametrize("kind", [*EFFECTS, "elastic"])
def test_a_change_applied_twice_is_the_same_and_takes_no_numbers_from_torch(kind: str) -> None:
    images, labels = batch()
    drawn = changes(only(kind, reference_size=24), 3, (24, 24))
    torch.manual_seed(1)
    first = apply_changes(images, labels, [(24, 24)] * 3, drawn, (24, 24))
    value = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == value
    again = apply_changes(images, labels, [(24, 24)] * 3, drawn, (24, 24))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_all_effects_together_stay_between_air_and_the_window_s_end() -> None:
    images, labels = batch(8)
    drawn = changes(everything(noise_sd=0, reference_size=24), 8, (24, 24))
    assert all(len(change.effects) == len(EFFECTS) for change in drawn)
    after, _ = apply_changes(images, labels, [(24, 24)] * 8, drawn, (24, 24))
    assert torch.isfinite(after).all()
    assert after.min() >= 0
    assert after.max() <= 1


@pytest.mark.parametrize("kind", [kind for kind in EFFECTS if kind not in ("rician", "bias_field")])
def test_effects_act_on_volumes_too(kind: str) -> None:
    (effect,) = changes(only(kind, reference_size=24), 1, (24, 24))[0].effects
    volume = torch.from_numpy(np.random.default_rng(0).random((1, 5, 24, 20), np.float32))
    after = effect(volume)
    assert after.shape == volume.shape
    assert torch.isfinite(after).all()
    assert not torch.equal(after, volume)


@pytest.mark.parametrize("make", [labels_recipe, volume_recipe])
def test_a_preview_shows_every_kind_and_the_same_for_the_same_seed(make: object) -> None:
    voxels, labels = blobs(1)
    image = Image(voxels, lps_affine())
    recipe = make(augmentation={f"{kind}_probability": 1.0 for kind in NEW})  # type: ignore[operator]
    target = Image(labels, lps_affine()) if recipe.target.kind == "labels" else image
    shown, again = (augmented(recipe, image, target, 0, 4, 2) for _ in range(2))
    for name, array in shown.items():
        assert np.array_equal(array, again[name])
    plain = augmented(make(), image, target, 0, 4, 2)  # type: ignore[operator]
    assert not np.allclose(shown["images"], plain["images"], atol=1)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"gamma": [1.5, 0.7]}, r"\$\.augmentation\.gamma"),
        ({"scale": [0.1, 1.0]}, r"\$\.augmentation\.scale\[0\]"),
        ({"elastic": 3.0}, r"\$\.augmentation\.elastic: .*fold"),
        ({"ring_probability": 1.5}, r"\$\.augmentation\.ring_probability"),
        ({"dropout_count": 0}, r"\$\.augmentation\.dropout_count"),
    ],
)
def test_impossible_ranges_are_refused_with_their_place(fields: dict, place: str) -> None:
    with pytest.raises(RecipeError, match=place):
        labels_recipe(augmentation=fields)


@pytest.mark.parametrize("kind", ["gamma", "poisson", "streak"])
def test_kinds_that_take_0_for_air_need_a_window(kind: str) -> None:
    content = to_json(labels_recipe(augmentation={f"{kind}_probability": 0.5}))
    content["preprocessing"]["window"] = None
    with pytest.raises(RecipeError, match=rf"\$\.preprocessing\.window: .*{kind}"):
        recipe_from_json(content)
    content["augmentation"][f"{kind}_probability"] = 0
    assert recipe_from_json(content).preprocessing.window is None


def test_the_draws_of_recipes_without_new_kinds_are_those_they_always_had() -> None:
    # A run that was begun before there were more kinds goes on with the same changes.
    change = sample_change(Augmentation(), SIZE, np.random.default_rng(9))
    rng = np.random.default_rng(9)
    seed, _ = int(rng.integers(2**62)), rng.random()
    angle = np.deg2rad(rng.uniform(-70, 70))
    x, y = rng.uniform(-30, 30, 2)
    flips = [-1.0 if rng.random() < 0.5 else 1.0 for _ in range(2)]
    corners = np.array([[-256, -256], [256, -256], [256, 256], [-256, 256.0]])
    slant = perspective(corners, corners + rng.uniform(-30, 30, (4, 2)))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix, shift = np.eye(3), np.eye(3)
    matrix[:2, :2] = np.diag(flips) @ turn
    shift[:2, 2] = -x, -y
    assert change.homography == pytest.approx(matrix @ shift @ slant)
    assert (change.noise_seed, change.noise_sd) == (seed, rng.uniform(0, 0.1))
