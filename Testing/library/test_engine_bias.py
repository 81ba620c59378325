"""N4: a known field is found, divided out, and multiplied back."""

from __future__ import annotations

import numpy as np
import pytest
from engine_samples import lps_affine
from test_engine_intensities import mr_recipe

from DeepTranslateLib.engine.intensities import bias, prepare
from DeepTranslateLib.engine.intensities.foreground import find_foreground
from DeepTranslateLib.image import Image

SHAPE = (10, 40, 40)
SPACING = (8.0, 5.0, 5.0)


def patient() -> np.ndarray:
    planes, rows, columns = np.indices(SHAPE)
    return ((rows - 19) / 17) ** 2 + ((columns - 19) / 15) ** 2 + ((planes - 4.5) / 9) ** 2 < 1


def flat() -> np.ndarray:
    """Two tissues in blocks with a little noise, 0 around."""
    planes, rows, columns = np.indices(SHAPE) // 4
    values = np.where((planes + rows + columns) % 2, 300.0, 420.0)
    values += np.random.default_rng(0).normal(0, 6, SHAPE)
    return np.where(patient(), values, 0)


def shading() -> np.ndarray:
    planes, rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return np.exp(0.4 * columns - 0.3 * rows**2 + 0.2 * planes * rows)


def test_a_known_field_is_found_and_tissue_becomes_even():
    voxels = (flat() * shading()).astype(np.float32)
    field = bias.bias_field(voxels, SPACING, find_foreground(voxels, SPACING))
    inside = patient()
    found, true = np.log(field[inside]), np.log(shading()[inside])
    assert np.corrcoef(found, true)[0, 1] > 0.99
    tissue = inside & (flat() > 370)
    before, after = (
        values.std() / values.mean() for values in (voxels[tissue], (voxels / field)[tissue])
    )
    assert before > 0.15
    assert after < 0.15 * before
    assert found.mean() == pytest.approx(0, abs=1e-4)


def test_the_same_volume_is_worked_on_once(monkeypatch):
    voxels = (flat() * shading() ** 0.5).astype(np.float32)
    foreground = find_foreground(voxels, SPACING)
    first = bias.bias_field(voxels, SPACING, foreground)

    def refuse(*_: object) -> None:
        raise AssertionError("worked on twice")

    monkeypatch.setattr(bias, "_found", refuse)
    np.testing.assert_array_equal(bias.bias_field(voxels.copy(), SPACING, foreground), first)
    with pytest.raises(AssertionError, match="twice"):
        bias.bias_field(voxels + 1, SPACING, foreground)


def test_what_was_divided_out_is_multiplied_back():
    voxels = (flat() * shading()).astype(np.float32)
    image = Image(voxels, lps_affine((5.0, 5.0, 8.0)))
    prepared = prepare(
        image, mr_recipe(preprocessing={"bias_correction": True, "standardisation": "percentiles"})
    )
    assert not np.allclose(prepared.changes.field, 1, atol=0.1)
    np.testing.assert_allclose(
        prepared.changes.undone(prepared.voxels), voxels, rtol=1e-3, atol=0.05
    )
