"""Slices of an image with a mask are cropped to the patient, and outputs put back."""

from __future__ import annotations

import numpy as np
import torch
from engine_samples import lps_affine
from torch import Tensor, nn

from DeepTranslateLib.engine.preprocessing import slice_stack
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import recipe_from_json

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
