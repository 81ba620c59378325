"""Slices of an image with a mask are cropped to the patient, and outputs put back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import lps_affine
from torch import Tensor, nn

from DeepTranslateLib.engine.intensities import prepare
from DeepTranslateLib.engine.intensities.foreground import find_foreground
from DeepTranslateLib.engine.planes import recipe_of_plane
from DeepTranslateLib.engine.preprocessing import slice_stack
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.recipe import PLANES, Recipe, recipe_from_json

RECIPE = recipe_from_json(
    {
        "name": "mr",
        "inputs": [{"modality": "MR"}],
        "target": {"kind": "volume", "range": [0, 400]},
        "preprocessing": {"window": [0, 400], "spacing": None, "mask": "body", "body_margin": 5},
        "method": {"loss": "mae"},
    }
)


class Same(nn.Module):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


def head() -> Image:
    random = np.random.default_rng(0)
    voxels = np.abs(random.normal(0, 3, (4, 90, 80))).astype(np.float32)
    voxels[:, 30:60, 25:65] = random.normal(200, 15, (4, 30, 40))
    return Image(voxels, lps_affine())


def test_slices_are_cropped_to_the_mask_and_a_margin() -> None:
    stack = slice_stack(head(), RECIPE)
    top, bottom, left, right = stack.body.box
    margins = (30 - top, bottom - 60, 25 - left, right - 65)
    # What lies within 4 mm of the patient stays, and the mask has a grid of 2 mm.
    assert all(5 <= margin <= 5 + 4 + 2 for margin in margins)
    assert stack.size == (bottom - top, right - left)


def test_outputs_lie_where_their_inputs_did_and_beside_the_patient_is_the_lowest_value() -> None:
    image = head()
    output = Translator(Same(), RECIPE, torch.device("cpu")).translate(image).voxels
    inner = (slice(None), slice(32, 58), slice(27, 63))
    np.testing.assert_allclose(output[inner], image.voxels[inner], rtol=1e-4)
    assert not output[:, :20].any()
    assert not output[:, :, 72:].any()


def lowest_values(image: Image, recipe: Recipe, plane: str) -> np.ndarray:
    """What the lowest value of the range is in the image's units, voxel by voxel."""
    upright = image.oriented(PLANES[plane])
    changes = prepare(upright, recipe_of_plane(recipe, plane)).changes
    lowest = upright.with_voxels(changes.undone(np.full(upright.shape, -0.5)))
    return lowest.oriented(image.orientation).voxels


class Middle(nn.Module):
    """Gives back a slice without its neighbours."""

    def forward(self, images: Tensor) -> list[Tensor]:
        middle = images.shape[1] // 2
        return [images[:, middle : middle + 1]]


@pytest.mark.parametrize(
    ("sampling", "dimension"),
    [({}, 2), ({"context": 1}, 2), ({"fusion": True}, 2), ({"patch": [4, 32, 32]}, 3)],
)
@pytest.mark.parametrize("bias_correction", [False, True])
def test_where_intensities_are_undone_all_beside_the_patient_has_the_lowest_value_in_its_units(
    sampling: dict[str, Any], dimension: int, bias_correction: bool
) -> None:
    recipe = recipe_from_json(
        {
            "name": "denoise",
            "inputs": [{"modality": "MR"}],
            "target": {"kind": "volume", "range": [-0.5, 1.5]},
            "noise": {"kind": "gaussian"},
            "sampling": sampling,
            "network": {"dimension": dimension, "levels": 2},
            "preprocessing": {
                "window": [-0.5, 1.5],
                "spacing": None,
                "mask": "body",
                "body_margin": 5,
                "standardisation": "percentiles",
                "bias_correction": bias_correction,
            },
            "method": {"loss": "mae"},
        }
    )
    image = head()
    output = Translator(Middle(), recipe, torch.device("cpu")).translate(image).voxels
    inner = (slice(None), slice(32, 58), slice(27, 63))
    np.testing.assert_allclose(output[inner], image.voxels[inner], rtol=1e-4)
    planes = ("axial", "coronal", "sagittal") if recipe.sampling.fusion else ("axial",)
    lowest = np.mean([lowest_values(image, recipe, plane) for plane in planes], axis=0)
    beside = np.ones(image.shape, dtype=bool)
    beside[:, 24:66, 19:71] = False
    np.testing.assert_allclose(output[beside], lowest[beside], rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_with_voxels_that_are_no_numbers_is_not_translated(value: float) -> None:
    image = head()
    voxels = image.voxels.copy()
    voxels[2, 3, 4] = value
    translator = Translator(Same(), RECIPE, torch.device("cpu"))
    with pytest.raises(ImageError, match=r"1 voxels of the image are no numbers"):
        translator.translate(image.with_voxels(voxels))


def test_fluid_with_the_value_of_the_background_belongs_to_an_extracted_brain() -> None:
    voxels = np.zeros((4, 90, 80), np.float32)
    voxels[:, 30:60, 25:65] = np.random.default_rng(1).normal(200, 15, (4, 30, 40))
    voxels[:, 40:44, 40:50] = 0
    mask = find_foreground(voxels, (3.0, 1.0, 1.0)).mask
    assert mask.shape == voxels.shape
    assert mask[:, 30:60, 25:65].all()
    assert mask.sum() == 4 * 30 * 40
