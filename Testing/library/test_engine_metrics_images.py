"""Metrics of images: grids, orientations, masks, units, what is ignored."""

import math
from dataclasses import astuple
from functools import partial

import numpy as np
import pytest
from engine_samples import lps_affine, oblique_affine, random_hu, stored_as

from DeepTranslateLib.engine.metrics.images import (
    LabelMetrics,
    MetricError,
    label_metrics,
    volume_metrics,
)
from DeepTranslateLib.image import Image


def labels(seed: int, affine: np.ndarray) -> Image:
    """Two boxes, of label 1 and 2, somewhere."""
    rng = np.random.default_rng(seed)
    voxels = np.zeros((6, 20, 22), np.uint8)
    for value in (1, 2):
        k, j, i = (int(rng.integers(0, n)) for n in (2, 8, 8))
        voxels[k : k + 4, j : j + 9, i : i + 10] = value
    return Image(voxels, affine)


def test_label_metrics_have_units() -> None:
    affine = lps_affine((0.5, 0.8, 4.0))
    reference = np.zeros((3, 20, 20), np.uint8)
    reference[:, 5:15, 5:15] = 7
    predicted = np.zeros_like(reference)
    predicted[:, 5:15, 5:17] = 7  # two columns, 1 mm, too far
    (found,) = label_metrics(Image(predicted, affine), Image(reference, affine), (7,))
    assert found.reference_ml == pytest.approx(300 * 0.5 * 0.8 * 4 / 1000)
    assert found.predicted_ml == pytest.approx(360 * 0.5 * 0.8 * 4 / 1000)
    assert found.fractional_area_difference == pytest.approx(0.2)
    assert found.dice == pytest.approx(2 * 300 / 660)
    assert (found.sensitivity, found.surface_dice) == (1, 1)
    assert found.specificity == pytest.approx(840 / 900)
    assert found.hausdorff95_mm == pytest.approx(1.0)
    (strict,) = label_metrics(
        Image(predicted, affine), Image(reference, affine), (7,), tolerance=0.9
    )
    assert 0.6 < strict.surface_dice < 1


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SPL", "AIR"])
def test_metrics_do_not_depend_on_how_the_images_are_stored(orientation: str) -> None:
    affine = oblique_affine()
    prediction, reference = labels(0, affine), labels(1, affine)
    mask = Image(np.random.default_rng(2).random((6, 20, 22)) > 0.2, affine)
    expected = label_metrics(prediction, reference, (1, 2), mask=mask)
    turned = label_metrics(
        stored_as(prediction, "LAS"), stored_as(reference, orientation), (1, 2),
        mask=stored_as(mask, "IRP"),
    )  # fmt: skip
    for mine, theirs in zip(turned, expected, strict=True):
        assert astuple(mine) == pytest.approx(astuple(theirs), rel=1e-5)
    images = [Image(random_hu((6, 20, 22), seed), affine) for seed in (3, 4)]
    first = volume_metrics(*images, mask=mask)
    again = volume_metrics(
        stored_as(images[0], "PIL"), stored_as(images[1], orientation), mask=mask
    )
    assert astuple(again) == pytest.approx(astuple(first), rel=1e-9)


def test_voxels_outside_the_mask_and_ignored_ones_do_not_count() -> None:
    affine = lps_affine()
    prediction, reference = labels(0, affine), labels(1, affine)
    mask = np.random.default_rng(2).random(prediction.shape) > 0.3
    expected = label_metrics(prediction, reference, (1, 2), mask=Image(mask, affine))
    ignored = reference.with_voxels(np.where(mask, reference.voxels, 255))
    found = label_metrics(prediction, ignored, (1, 2), ignore=255)
    assert [astuple(row) for row in found] == [astuple(row) for row in expected]
    changed = prediction.with_voxels(np.where(mask, prediction.voxels, 2))
    again = label_metrics(changed, reference, (1, 2), mask=Image(mask, affine))
    assert [astuple(row) for row in again] == [astuple(row) for row in expected]


def test_a_label_of_neither_side_and_of_one_side() -> None:
    affine = lps_affine()
    reference, prediction = np.zeros((2, 3, 8, 8), np.uint8)
    reference[:, 2:5, 2:5] = 1
    prediction[:, 2:5, 2:5] = 2
    rows = label_metrics(Image(prediction, affine), Image(reference, affine), (1, 2, 3))
    missed, invented, nowhere = (astuple(row)[3:] for row in rows)
    assert missed == (0, 0, 1, -1, math.inf, math.inf, 0)
    assert invented[0] == 0
    assert math.isnan(invented[1])
    assert invented[2] == pytest.approx(1 - 27 / 192)
    assert math.isnan(invented[3])
    assert invented[4:] == (math.inf, math.inf, 0)
    assert [math.isnan(v) for v in nowhere] == [True, True, False, True, True, True, True]
    assert isinstance(rows[0], LabelMetrics)


def test_label_maps_of_other_types_are_compared_by_value() -> None:
    affine = lps_affine()
    prediction, reference = labels(0, affine), labels(1, affine)
    expected = label_metrics(prediction, reference, (1, 2))
    as_float = prediction.with_voxels(prediction.voxels.astype(np.float32))
    as_short = reference.with_voxels(reference.voxels.astype(np.int16))
    found = label_metrics(as_float, as_short, (1, 2))
    assert [astuple(row) for row in found] == [astuple(row) for row in expected]


def test_volume_metrics_are_in_hu_and_inside_the_mask() -> None:
    affine = lps_affine()
    reference = random_hu((3, 20, 20), 1)
    mask = np.zeros(reference.shape, np.uint8)
    mask[:, 3:17, 3:17] = 1
    predicted = reference.astype(np.float32)
    predicted[mask == 1] += 10
    predicted[mask == 0] = 5000
    found = volume_metrics(
        Image(predicted, affine), Image(reference, affine), mask=Image(mask, affine),
        value_range=(-1000, 1000),
    )  # fmt: skip
    assert found.voxels == 3 * 14 * 14
    assert (found.bias, found.mae, found.mse, found.rmse) == (10, 10, 100, 10)
    assert found.psnr == pytest.approx(20 * math.log10(2000 / 10))
    assert 0.999 < found.ssim < 1
    assert (found.lowest, found.highest) == (-1000, 1000)


def test_the_range_is_the_references_inside_the_mask_unless_given() -> None:
    affine = lps_affine()
    reference = random_hu((3, 20, 20), 1)
    mask = reference > 0
    predicted = reference + 7
    found = volume_metrics(
        Image(predicted, affine), Image(reference, affine), mask=Image(mask, affine)
    )
    assert (found.lowest, found.highest) == (reference[mask].min(), reference[mask].max())


def test_similarity_looks_at_axial_slices_unless_told_otherwise() -> None:
    affine = lps_affine()
    images = [Image(random_hu((16, 18, 20), seed), affine) for seed in (1, 2)]
    values = {
        plane: volume_metrics(*images, plane=plane).ssim
        for plane in ("axial", "coronal", "sagittal")
    }
    assert len({round(value, 9) for value in values.values()}) == 3
    assert volume_metrics(*images).ssim == values["axial"]


@pytest.mark.parametrize("change", ["size", "spacing", "origin"])
def test_another_grid_is_refused_and_both_are_described(change: str) -> None:
    reference = labels(0, lps_affine((0.5, 0.5, 3.0)))
    affine = lps_affine((0.5, 0.5, 3.0 if change != "spacing" else 2.0))
    if change == "origin":
        affine[0, 3] += 1
    voxels = reference.voxels if change != "size" else reference.voxels[:4]
    other = Image(voxels, affine)
    with pytest.raises(MetricError, match=r"prediction is not on the grid.*Resample") as caught:
        label_metrics(other, reference, (1,))
    assert "22 x 20 x 6 voxels of 0.5 x 0.5 x 3 mm" in str(caught.value)
    with pytest.raises(MetricError, match="The mask is not on the grid"):
        volume_metrics(reference, reference, mask=other)


def test_values_that_are_not_finite_are_refused() -> None:
    good = Image(np.ones((1, 12, 12), np.float32), lps_affine())
    bad = good.with_voxels(np.full((1, 12, 12), np.nan, np.float32))
    with pytest.raises(MetricError, match="prediction holds values that are not finite"):
        volume_metrics(bad, good)
    with pytest.raises(MetricError, match="reference holds values that are not finite"):
        volume_metrics(good, bad)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_mask_that_is_neither_inside_nor_outside_is_refused(value: float) -> None:
    voxels = np.ones((3, 4, 5), np.float32)
    voxels[1, 2, 3] = value
    mask = Image(voxels, lps_affine())
    same = mask.with_voxels(np.ones((3, 4, 5), np.uint8))
    for compare in (partial(label_metrics, values=[1]), volume_metrics):
        with pytest.raises(MetricError, match="neither inside nor outside: 1 of its voxels is NaN"):
            compare(same, same, mask=mask)
