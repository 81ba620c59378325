"""Denoising recipes: noisy inputs from clean images, new in training and fixed in validation."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_samples import STILL, lps_affine, volume_recipe

from DeepTranslateLib.cohort import Case, Cohort, Selection, cohort_from_lists, read_cohort
from DeepTranslateLib.cohort.check import check_cohort
from DeepTranslateLib.engine.augment_preview import augmented
from DeepTranslateLib.engine.augmentedslices import augmented_slices
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.estimate import estimate
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.noise import NoiseError
from DeepTranslateLib.engine.noisy_inputs import noisy_images, noisy_selections
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.recipe import Noise, Recipe, RecipeError, recipe_from_json
from DeepTranslateLib.schema import to_json

CPU = torch.device("cpu")


def recipe(kind: str = "gaussian", level: float | None = 50, **training: int) -> Recipe:
    return volume_recipe(
        noise={"kind": kind, "level": level}, augmentation=STILL, training={"epochs": 2, **training}
    )


def clean(seed: int = 0, slices: int = 3, side: int = 16) -> Image:
    """Water and fat in quarters, air in the last."""
    voxels = np.full((slices, side, side), -1000, np.int16)
    half = side // 2
    voxels[:, :half] = 0
    voxels[:, half:, :half] = -100 + seed
    return Image(voxels, lps_affine())


def cohort(count: int = 3) -> Cohort:
    images = [clean(seed) for seed in range(count)]
    return cohort_from_lists(images, None, [f"subject {seed}" for seed in range(count)])


def pieces(made: Recipe, tmp_path: Path) -> SliceSet:
    case = cohort(1).with_clean_targets().cases[0]
    return SliceSet([Selection(case, None)], made, tmp_path)


def test_training_reads_noise_and_learns_the_clean_image(tmp_path: Path) -> None:
    slices = pieces(recipe(), tmp_path).slices
    images, targets = augmented_slices(slices, recipe(), np.random.default_rng(1), CPU)
    assert torch.allclose(targets, torch.stack([piece.image for piece in slices]), atol=1e-4)
    noise = (images - targets)[targets > 0.2] * 2000
    assert noise.mean() == pytest.approx(0, abs=5 * 50 / noise.numel() ** 0.5)
    assert noise.std() == pytest.approx(50, rel=5 / (2 * noise.numel()) ** 0.5)
    assert images.min() >= 0
    assert images.dtype == torch.float32


def test_each_step_has_noise_of_its_own_and_the_same_step_the_same(tmp_path: Path) -> None:
    slices = pieces(recipe(), tmp_path).slices[:1]
    one, again, other = (
        augmented_slices(slices, recipe(), np.random.default_rng(seed), CPU)[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_without_noise_images_are_the_very_same_and_no_number_is_drawn() -> None:
    images, random = torch.rand(1, 1, 4, 4), np.random.default_rng(3)
    assert noisy_images(images, recipe("none", None), random) is images
    assert random.random() == np.random.default_rng(3).random()


@pytest.mark.parametrize("kind", ["pixel-subset", "gaussian", "poisson", "ring"])
def test_every_kind_is_added_in_the_units_of_the_window(kind: str) -> None:
    images = torch.full((2, 1, 100, 100), 0.5)  # water
    made = recipe(kind, None)
    noise = (noisy_images(images, made, np.random.default_rng(0)) - 0.5).numpy() * 2000
    if kind == "poisson":
        assert noise.std() == pytest.approx((100 * 3 + 4 * 15) ** 0.5, rel=0.05)
    elif kind == "gaussian":
        assert noise.std() == pytest.approx(100, rel=0.05)
    elif kind == "ring":
        assert noise.std() == pytest.approx(40, rel=0.5)
    else:
        assert (noise != 0).mean() == pytest.approx(0.3, abs=0.02)


def test_validation_has_the_same_noise_each_time_and_keeps_its_targets(tmp_path: Path) -> None:
    path = write_image(clean(), tmp_path / "clean.nrrd")
    cases = (Case("file", path, path), Case("memory", clean(1), clean(1)))
    selections = [Selection(case, None) for case in cases]
    first, again, other = (
        noisy_selections(selections, recipe(seed=seed), tmp_path / name)
        for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    )
    for number, selection in enumerate(first):
        voxels = selection.case.read_image().voxels
        assert np.array_equal(voxels, again[number].case.read_image().voxels)
        assert not np.array_equal(voxels, other[number].case.read_image().voxels)
        before = cases[number].read_image()
        assert selection.case.target is cases[number].target
        assert voxels.dtype == np.int16
        assert (voxels.astype(float) - before.voxels).std() == pytest.approx(50, rel=0.15)
        assert selection.case.name == cases[number].name
    assert np.array_equal(read_image(path).voxels, clean().voxels)
    noises = [
        noisy.case.read_image().voxels - case.read_image().voxels
        for noisy, case in zip(first, cases, strict=True)
    ]
    assert not np.array_equal(*noises)


def test_without_noise_selections_stay_as_they_are(tmp_path: Path) -> None:
    selections = (Selection(cohort(1).cases[0], None),)
    assert noisy_selections(selections, recipe("none", None), tmp_path / "none") == selections
    assert not (tmp_path / "none").exists()


def test_clean_images_alone_are_a_cohort_to_learn_denoising_from(tmp_path: Path) -> None:
    for seed in range(3):
        write_image(clean(seed), tmp_path / f"ct{seed}.nrrd")
    rows = "".join(f"s{seed},ct{seed}.nrrd\n" for seed in range(3))
    (tmp_path / "cohort.csv").write_text("subject,image\n" + rows)
    read = read_cohort(tmp_path / "cohort.csv")
    assert check_cohort(read, recipe()) == ()
    without = {fault.kind for fault in check_cohort(read, recipe("none", None))}
    assert without == {"target_missing"}
    model = train(recipe(), read, tmp_path / "run", "cpu")
    assert model.recipe.noise.kind == "gaussian"
    assert model.card.metrics["validation"]["mean_absolute_error"] > 0
    named = json.loads((tmp_path / "run" / "cohort.json").read_text())
    images = [row["image"] for part in ("training", "validation") for row in named[part]]
    assert sorted(Path(image).name for image in images) == ["ct0.nrrd", "ct1.nrrd", "ct2.nrrd"]
    assert not (tmp_path / "run" / "cache").exists()


def test_a_network_learns_to_take_the_noise_away(tmp_path: Path) -> None:
    made = volume_recipe(
        noise={"kind": "gaussian", "level": 100},
        augmentation=STILL,
        network={"levels": 3, "channels": 8},
        optimizer={"learning_rate": 0.003},
    )
    case = Case("one", clean(side=32), clean(side=32))
    selections = [Selection(case, None)]
    training = SliceSet(selections, made, tmp_path).slices
    fixed = SliceSet(noisy_selections(selections, made, tmp_path), made, tmp_path).slices
    noise = torch.stack([(piece.image - piece.target) ** 2 for piece in fixed]).mean()
    learner = Learner(made, CPU)
    learner.begin_epoch(0)
    for step in range(300):
        learner.step(training, random_state(0, 0, step))
    loss, _ = learner.validate(fixed)
    assert loss < float(noise) / 3


def test_a_run_is_the_same_each_time(tmp_path: Path) -> None:
    first, second = (train(recipe(), cohort(), tmp_path / name, "cpu") for name in "ab")
    assert first.card.weights_sha256 == second.card.weights_sha256
    assert first.card.metrics == second.card.metrics


def test_the_card_says_what_noisy_images_are_like(tmp_path: Path) -> None:
    noisy = pieces(recipe("gaussian", 200), tmp_path).fingerprint()["intensity_percentiles"]
    plain = pieces(recipe("none", None), tmp_path).fingerprint()["intensity_percentiles"]
    assert noisy["99.5"] > plain["99.5"] + 200


def test_an_estimate_needs_no_targets() -> None:
    assert estimate(recipe(), cohort(), "cpu")["training_slices"] == 6


def test_a_preview_shows_the_noise_that_training_adds() -> None:
    image = clean()
    shown = augmented(recipe(), image, image, 0, 4)
    inside = np.abs(shown["targets"][0]) < 1
    assert (shown["images"][0] - shown["targets"][0])[inside].std() == pytest.approx(50, rel=0.3)
    assert np.allclose(shown["targets"][0], shown["image"], atol=0.5)


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"noise": {"kind": "salt"}}, r"\$\.noise\.kind"),
        ({"noise": {"kind": "pixel-subset", "level": 1.5}}, r"\$\.noise\.level"),
        ({"noise": {"kind": "poisson", "level": 0}}, r"\$\.noise\.level: expected above 0"),
        ({"noise": {"kind": "rician"}}, r"\$\.noise\.kind: 'rician'"),
        (
            {"noise": {"kind": "ring"}, "preprocessing": {"window": None}},
            r"window: the noise 'ring'",
        ),
    ],
)
def test_noise_that_cannot_be_is_refused_with_its_place(parts: dict, place: str) -> None:
    content = to_json(volume_recipe())
    for part, fields in parts.items():
        content[part] = {**content[part], **fields}
    with pytest.raises(RecipeError, match=place):
        recipe_from_json(content)


def test_poisson_noise_is_for_hounsfield_units() -> None:
    content = to_json(recipe("poisson", 0.1))
    content["inputs"][0]["units"] = ""
    with pytest.raises(RecipeError, match=r"'poisson' is for HU"):
        recipe_from_json(content)


def test_rician_noise_refuses_a_case_with_values_below_zero(tmp_path: Path) -> None:
    plain = recipe("none", None)
    made = dataclasses.replace(plain, noise=Noise("rician", 5.0))
    with pytest.raises(NoiseError, match="not negative"):
        noisy_selections([Selection(cohort(1).cases[0], None)], made, tmp_path)
