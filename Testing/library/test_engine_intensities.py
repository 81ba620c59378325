"""Foreground, standard scales, masks and what is undone on outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import lps_affine, stored_as
from torch import nn

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.intensities import (
    prepare,
    prepared_target,
    taken_landmarks,
    with_landmarks,
)
from DeepTranslateLib.engine.intensities.foreground import find_foreground
from DeepTranslateLib.engine.noisy_inputs import noisy_selections
from DeepTranslateLib.engine.preprocessing import slice_stack
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.recipe import Recipe, RecipeError, recipe_from_json

LEVELS = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
SHAPE = (6, 48, 40)


def mr_recipe(
    target: dict[str, Any] | None = None, units: str = "", **parts: dict[str, Any]
) -> Recipe:
    content: dict[str, Any] = {
        "name": "mr",
        "inputs": [{"modality": "MR", "units": units}],
        "target": {"kind": "volume", "range": [0, 1.5], **(target or {})},
        "preprocessing": {"spacing": None},
        "network": {"levels": 2, "channels": 2},
        "method": {"loss": "mae"},
        "augmentation": {"noise_probability": 0},
        "training": {"epochs": 1},
    }
    for part, fields in parts.items():
        content[part] = {**content.get(part, {}), **fields}
    return recipe_from_json(content)


def inside() -> np.ndarray:
    """An ellipse in every slice."""
    _, rows, columns = np.indices(SHAPE)
    return ((rows - 23) / 17) ** 2 + ((columns - 20) / 13) ** 2 < 1


def tissue(seed: int, extracted: bool = True) -> Image:
    """Gamma distributed tissue in an ellipse, over exact zeros or over the noise of air."""
    random = np.random.default_rng(seed)
    voxels = 40 + random.gamma(6, 30 + 5 * seed, SHAPE)
    air = np.zeros(SHAPE) if extracted else np.hypot(*random.normal(0, 4, (2, *SHAPE)))
    return Image(np.where(inside(), voxels, air).astype(np.float32), lps_affine((2.0, 2.0, 4.0)))


@pytest.mark.parametrize("extracted", [True, False])
def test_the_foreground_is_the_patient_whether_air_is_one_value_or_noise(extracted):
    image = tissue(1, extracted)
    found = find_foreground(image.voxels, (4.0, 2.0, 2.0))
    assert found.steps == (1, 1, 1)
    wrong = np.count_nonzero(found.mask != inside())
    assert wrong <= (0 if extracted else 0.04 * np.count_nonzero(inside()))


def test_dark_parts_that_tissue_encloses_belong_to_the_patient():
    voxels = tissue(1, extracted=False).voxels.copy()
    voxels[:, 18:26, 16:24] = 1
    assert find_foreground(voxels, (4.0, 2.0, 2.0)).mask[:, 18:26, 16:24].all()


def test_percentiles_of_the_patient_become_0_and_1():
    image = tissue(1)
    recipe = mr_recipe(preprocessing={"standardisation": "percentiles"})
    low, high = np.percentile(image.voxels[inside()], (1, 99))
    found = prepare(image.oriented("LPS"), recipe).voxels
    np.testing.assert_allclose(found, (image.voxels - low) / (high - low), atol=1e-5)


def test_histogram_standardisation_is_linear_between_percentiles_and_learnt_landmarks():
    training = [tissue(seed) for seed in (1, 2, 3)]
    cases = [Case(str(n), image, image) for n, image in enumerate(training)]
    recipe = with_landmarks(mr_recipe(preprocessing={"standardisation": "histogram"}), cases)
    own = [np.percentile(image.voxels[inside()], LEVELS) for image in training]
    landmarks = np.mean([(p - p[0]) / (p[-1] - p[0]) for p in own], axis=0)
    np.testing.assert_allclose(recipe.preprocessing.landmarks, landmarks, atol=2e-4)
    new = tissue(4)
    points = np.percentile(new.voxels[inside()], LEVELS)
    within = (new.voxels >= points[0]) & (new.voxels <= points[-1])
    expected = np.interp(new.voxels, points, recipe.preprocessing.landmarks)
    found = prepare(new, recipe).voxels
    np.testing.assert_allclose(found[within], expected[within], atol=1e-5)
    above = new.voxels > points[-1]
    assert above.any()
    assert (found[above] > 1).all()
    assert np.corrcoef(found[above], new.voxels[above])[0, 1] > 0.99999


@pytest.mark.parametrize("kind", ["percentiles", "histogram"])
@pytest.mark.parametrize("extracted", [True, False])
def test_gain_and_offset_of_a_scanner_do_not_matter(kind, extracted):
    learnt = with_landmarks(
        mr_recipe(preprocessing={"standardisation": kind, "mask": "body"}),
        [Case("a", tissue(1), tissue(1))],
    )
    image = tissue(2, extracted)
    other = image.with_voxels((image.voxels * np.float32(3.7) - 250).astype(np.float32))
    before, after = prepare(image, learnt), prepare(other, learnt)
    np.testing.assert_allclose(after.voxels, before.voxels, atol=1e-4)
    np.testing.assert_array_equal(after.body.mask, before.body.mask)


def test_whole_numbers_with_few_values_are_standardised_and_come_back():
    voxels = np.where(inside(), np.random.default_rng(0).integers(3, 7, SHAPE), 0).astype(np.uint8)
    image = Image(voxels, lps_affine())
    recipe = with_landmarks(
        mr_recipe(preprocessing={"standardisation": "histogram"}), [Case("a", image, image)]
    )
    prepared = prepare(image, recipe)
    back = prepared.changes.undone(prepared.voxels)
    np.testing.assert_allclose(back[inside()], voxels[inside()], atol=1e-4)


def test_a_volume_of_one_value_is_refused_with_what_to_do():
    flat = Image(np.full(SHAPE, 7, np.int16), lps_affine())
    with pytest.raises(ImageError, match="standardisation to 'none'"):
        prepare(flat, mr_recipe(preprocessing={"standardisation": "percentiles"}))


def test_targets_are_standardised_by_themselves_and_clipped_to_the_range():
    recipe = mr_recipe({"standardisation": "percentiles", "range": [0, 0.8]})
    target = tissue(2)
    low, high = np.percentile(target.voxels[inside()], (1, 99))
    standard = (target.voxels - low) / (high - low)
    np.testing.assert_allclose(prepared_target(target, recipe).voxels, standard, atol=1e-5)
    case = Case("a", tissue(1), target)
    piece = SliceSet([Selection(case, (2,))], recipe, None).slices[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(piece.target[0], standard[2].clip(0, 0.8) / 0.8, atol=1e-5)


def test_padding_of_a_target_in_hu_is_its_lowest_value_and_bone_above_the_range_its_highest():
    recipe = mr_recipe({"units": "HU", "range": [-1000, 1000]})
    hu = np.full(SHAPE, 40, np.int16)
    hu[:, :5], hu[:, 5:10], hu[:, 10:15] = -3024, 2500, -1100
    target = Image(hu, lps_affine())
    prepared = prepared_target(target, recipe).voxels
    assert set(np.unique(prepared)) == {-1100, -1000, 40, 2500}
    piece = slice_stack(tissue(1), recipe).targets(target, recipe, [0])
    assert piece[0, 0, :15:5, 0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "SPR"])
def test_outside_the_mask_network_target_and_output_have_the_lowest_value(orientation):
    recipe = mr_recipe({"range": [-2, 3]}, preprocessing={"mask": "brain", "window": [100, 300]})
    image = stored_as(tissue(1), orientation)
    bright = image.with_voxels(np.where(image.voxels > 0, image.voxels, 0))
    stack = slice_stack(bright, recipe)
    assert (stack.images([3])[0, 0].numpy()[~inside()[3]] == 0).all()
    target = image.with_voxels(np.full(image.shape, 2.0, np.float32))
    values = stack.targets(target, recipe, [3])[0, 0].numpy()
    np.testing.assert_allclose(values, np.where(inside()[3], 0.8, 0), atol=1e-6)
    output = Translator(_Constant(0.5), recipe, torch.device("cpu")).translate(bright)
    np.testing.assert_allclose(
        output.oriented("LPS").voxels, np.where(inside(), 0.5, -2), atol=1e-6
    )


def test_an_image_with_noisy_air_has_a_body_but_no_extracted_brain():
    noisy = tissue(1, extracted=False)
    body = prepare(noisy, mr_recipe(preprocessing={"mask": "body"})).body
    assert body.inside(range(6))[inside()].all()
    assert not body.inside(range(6))[:, :2].any()
    with pytest.raises(ImageError, match="Extract the brain first"):
        prepare(noisy, mr_recipe(preprocessing={"mask": "brain"}))


@pytest.mark.parametrize(
    ("fusion", "preprocessing"),
    [
        (False, {"standardisation": "percentiles"}),
        (True, {"standardisation": "percentiles"}),
        (False, {"standardisation": "percentiles", "bias_correction": True}),
        (True, {"standardisation": "median", "bias_correction": True}),
    ],
)
def test_a_residual_network_that_changes_nothing_gives_the_image_back(fusion, preprocessing):
    recipe = mr_recipe(
        preprocessing={"window": [-2, 5], "mask": "brain", **preprocessing},
        target={"range": [-2, 5]},
        network={"residual": True},
        sampling={"fusion": fusion},
    )
    assert recipe.undoes_intensities
    image = stored_as(tissue(1), "RAI")
    output = Translator(_Input(), recipe, torch.device("cpu")).translate(image).voxels
    patient = image.voxels > 0
    np.testing.assert_allclose(output[patient], image.voxels[patient], rtol=1e-3)
    assert output[~patient].max() < output[patient].min()
    # What it learns is the target on the scale of the input: with itself, nothing to change.
    stack = slice_stack(image, recipe)
    truth = stack.targets(image, recipe, [2]).numpy()[0, 0]
    seen = stack.images([2]).numpy()[0, 0]
    np.testing.assert_allclose(truth, seen, atol=1e-5)
    assert seen[inside()[2]].std() > 0.01


def test_noise_of_validation_is_drawn_on_the_standard_scale():
    recipe = mr_recipe(
        preprocessing={"standardisation": "percentiles", "window": [-1, 3]},
        target={"range": [-1, 3]},
        noise={"kind": "gaussian", "level": 0.2},
    )
    image = tissue(1)
    low, high = np.percentile(image.voxels[inside()], (1, 99))
    case = Case("a", image, image)
    (noisy,) = noisy_selections([Selection(case, None)], recipe, None)  # type: ignore[arg-type]
    added = noisy.case.read_image().voxels - image.voxels
    assert added[inside()].std() / (high - low) == pytest.approx(0.2, rel=0.03)


def test_landmarks_of_a_model_are_kept_when_it_is_trained_further():
    wanted = mr_recipe({"standardisation": "histogram"})
    known = with_landmarks(wanted, [Case("a", tissue(1), tissue(2))])
    taken = taken_landmarks(wanted, known)
    assert taken == known
    assert with_landmarks(taken, [Case("b", tissue(5), tissue(6))]) == known
    assert taken_landmarks(mr_recipe(), known) == mr_recipe()


def test_without_a_word_nothing_is_done():
    image = Image(np.random.default_rng(0).integers(-50, 900, SHAPE).astype(np.int16), lps_affine())
    recipe = mr_recipe(preprocessing={"window": [0, 800]})
    stack = slice_stack(image, recipe)
    assert np.shares_memory(stack.voxels, image.voxels)
    assert stack.body.mask is None
    assert prepared_target(image, recipe) is image
    assert with_landmarks(recipe, iter(())) is recipe
    expected = ((image.voxels[[1]].astype(np.float32) - 0) / (800 - 0)).clip(0, 1)
    np.testing.assert_array_equal(stack.images([1])[0].numpy(), expected)


@pytest.mark.parametrize(
    ("place", "target", "units", "parts"),
    [
        ("preprocessing.standardisation", {}, "HU", {"standardisation": "histogram"}),
        ("preprocessing.bias_correction", {}, "HU", {"bias_correction": True}),
        ("preprocessing.mask", {}, "HU", {"mask": "brain"}),
        ("preprocessing.mask", {}, "HU", {"mask": "body", "body_crop": True}),
        ("preprocessing.landmarks", {}, "", {"landmarks": LEVELS}),
        ("preprocessing.landmarks", {}, "", {"standardisation": "histogram", "landmarks": [0, 1]}),
        ("target.standardisation", {"standardisation": "histogram", "units": "HU"}, "", {}),
    ],
)
def test_what_makes_no_sense_is_refused(place, target, units, parts):
    with pytest.raises(RecipeError) as caught:
        mr_recipe(target, units, preprocessing=parts)
    assert caught.value.path == f"$.{place}"


def test_a_clean_target_has_no_scale_of_its_own():
    with pytest.raises(RecipeError, match=r"target\.standardisation"):
        mr_recipe(
            {"standardisation": "percentiles"},
            preprocessing={"window": [0, 1]},
            noise={"kind": "gaussian"},
        )


def test_noise_leaves_no_background_to_find_a_brain_by():
    with pytest.raises(RecipeError, match=r"preprocessing\.mask.*noise leaves none"):
        mr_recipe(preprocessing={"window": [0, 1], "mask": "brain"}, noise={"kind": "gaussian"})


class _Constant(nn.Module):
    """Answers with one value, in the units of a range from -2 to 3."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = (value + 2) / 5

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [torch.full_like(images[:, :1], self._value)]


class _Input(nn.Module):
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images[:, :1]]
