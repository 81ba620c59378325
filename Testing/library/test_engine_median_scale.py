"""Intensities divided by the median of the patient's."""

from __future__ import annotations

import numpy as np
import pytest

from DeepTranslateLib.engine.intensities.standardisation import foreground_scale
from DeepTranslateLib.image import ImageError


def test_intensities_are_divided_by_the_median_of_the_patients_and_come_back() -> None:
    random = np.random.default_rng(0)
    patient = random.gamma(4, 50, 5001)
    voxels = random.uniform(-20, 900, (3, 4, 5)).astype(np.float32)
    scale = foreground_scale(patient, "median", None)
    scaled = scale.apply(voxels)
    np.testing.assert_allclose(scaled, voxels / np.sort(patient)[2500], rtol=1e-5)
    np.testing.assert_allclose(scale.undo(scaled), voxels, rtol=1e-4, atol=1e-3)


def test_bright_scalp_moves_the_median_less_than_percentiles() -> None:
    brain = np.random.default_rng(1).normal(300, 40, 8000)
    head = np.concatenate([brain, np.random.default_rng(2).normal(1000, 80, 1200)])
    shift = {}
    for kind in ("median", "percentiles"):
        alone, whole = (
            foreground_scale(values, kind, None).apply(np.array([300.0]))
            for values in (brain, head)
        )
        shift[kind] = abs(float(whole[0] / alone[0]) - 1)
    assert shift["median"] < 0.05 < 0.3 < shift["percentiles"]


def test_a_median_of_nothing_is_refused() -> None:
    with pytest.raises(ImageError, match="magnitudes of an MR"):
        foreground_scale(np.array([-2.0, -1.0, 0.0, 0.0, 5.0]), "median", None)
