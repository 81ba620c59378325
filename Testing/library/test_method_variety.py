"""How much translations differ from image to image and within one, beside true images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from adversarial_samples import batch, recipe_of, stepped

from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.methods.variety import Variety


def test_a_true_image_of_air_alone_does_not_hide_how_alike_translations_are() -> None:
    method, _, _ = stepped(recipe_of("cyclegan"), batch())
    shown = batch(seed=5)
    ratios = [
        float(method.training_step(each, lambda name, loss: None)["variance_ratio"])
        for each in (Batch(shown.images, torch.zeros_like(shown.targets), shown.mask), shown)
    ]
    assert max(ratios) < 2


def test_diversity_is_the_variance_from_image_to_image() -> None:
    generator = torch.Generator().manual_seed(3)
    true = torch.rand(6, 1, 8, 8, generator=generator)
    made = true * 0.5 + 0.1
    # In one step of all six: each pixel's variance over the six, with half the contrast a quarter.
    assert Variety().ratios(made, true)["diversity_ratio"] == pytest.approx(0.25)
    seen, found = Variety(), {}
    for index in range(6):
        found = seen.ratios(made[index : index + 1], true[index : index + 1])
    assert found["diversity_ratio"] == pytest.approx(0.25)
    weights = 0.95 ** np.arange(5, -1, -1)
    pixels = true.numpy().reshape(6, -1).astype(float)
    other = torch.rand(6, 1, 8, 8, generator=generator)
    seen = Variety()
    for index in range(6):
        found = seen.ratios(other[index : index + 1], true[index : index + 1])

    def spread(values: Any) -> float:
        mean = np.average(values, axis=0, weights=weights)
        return float(np.average((values - mean) ** 2, axis=0, weights=weights).mean())

    expected = spread(other.numpy().reshape(6, -1).astype(float)) / spread(pixels)
    assert found["diversity_ratio"] == pytest.approx(expected)


def test_one_image_with_much_to_be_seen_for_every_input_has_no_diversity() -> None:
    generator = torch.Generator().manual_seed(4)
    seen, same = Variety(), torch.rand(1, 1, 16, 12, 9, generator=generator)
    first = seen.ratios(same, torch.rand(1, 1, 16, 12, 9, generator=generator))
    assert first["diversity_ratio"] == 1.0
    for _ in range(5):
        found = seen.ratios(same, torch.rand(1, 1, 16, 12, 9, generator=generator))
    assert found["diversity_ratio"] == pytest.approx(0, abs=1e-9)
    assert found["variance_ratio"] > 0.5


def test_what_varies_is_remembered_by_a_checkpoint() -> None:
    generator = torch.Generator().manual_seed(5)
    shown = [torch.rand(2, 2, 1, 8, 8, generator=generator) for _ in range(6)]
    straight, before, after = Variety(), Variety(), Variety()
    for made, true in shown:
        expected = straight.ratios(made, true)
    for made, true in shown[:3]:
        before.ratios(made, true)
    after.restore(before.state())
    for made, true in shown[3:]:
        found = after.ratios(made, true)
    assert found == expected
