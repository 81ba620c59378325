"""Mixed precision on processors that have bf16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from engine_samples import blobs_cohort, labels_recipe

from DeepTranslateLib.engine import device
from DeepTranslateLib.engine.device import autocast
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.jobs import Stopped

CPU = torch.device("cpu")
HAS_BF16 = device._cpu_has_bf16()
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this processor has no bf16")


def precision_of_a_convolution() -> torch.dtype:
    with autocast(CPU):
        return torch.nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 8, 8)).dtype


@pytest.mark.mixed_precision
@needs_bf16
def test_a_processor_with_bf16_computes_convolutions_in_it() -> None:
    assert precision_of_a_convolution() == torch.bfloat16


def test_a_processor_without_bf16_computes_in_full_precision() -> None:
    assert precision_of_a_convolution() == torch.float32


@pytest.mark.mixed_precision
@needs_bf16
def test_in_mixed_precision_a_training_learns_and_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = labels_recipe(2, training={"epochs": 4})
    cohort = blobs_cohort(2)
    model = train(recipe, cohort, tmp_path / "straight", device="cpu")
    asked = iter(range(100))
    with pytest.raises(Stopped):
        train(recipe, cohort, tmp_path / "again", "cpu", should_stop=lambda: next(asked) == 9)
    again = train(recipe, cohort, tmp_path / "again", device="cpu")
    assert again.card.weights_sha256 == model.card.weights_sha256

    monkeypatch.setattr(device, "_cpu_has_bf16", lambda: False)
    full = train(recipe, cohort, tmp_path / "full", device="cpu")
    assert full.card.weights_sha256 != model.card.weights_sha256
    mine, theirs = (each.card.metrics["validation"]["loss"] for each in (model, full))
    assert mine == pytest.approx(theirs, rel=0.05)
