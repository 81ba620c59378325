"""Intensity metrics and slice-wise SSIM, against numpy, MONAI and cases that can be worked out."""

import math

import numpy as np
import pytest
import torch

from DeepTranslateLib.engine.metrics.intensity import IntensityErrors, intensity_errors
from DeepTranslateLib.engine.metrics.structure import slice_similarity

HU = (-500.0, 1000.0)


def pair(
    shape: tuple[int, int, int] = (4, 24, 26), seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A prediction in HU, its reference and a mask."""
    rng = np.random.default_rng(seed)
    reference = (300 * np.sin(np.linspace(0, 6, shape[2])) + rng.normal(0, 80, shape)).round()
    predicted = 0.9 * reference + 20 + rng.normal(0, 60, shape)
    return predicted.astype(np.float32), reference.astype(np.int16), rng.random(shape) > 0.4


@pytest.mark.parametrize("masked", [False, True])
def test_errors_are_means_over_the_voxels_that_count(masked: bool) -> None:
    predicted, reference, mask = pair()
    inside = mask if masked else np.ones_like(mask)
    error = predicted.astype(float)[inside] - reference[inside]
    found = intensity_errors(predicted, reference, mask if masked else None)
    assert found.voxels == inside.sum()
    assert found.bias == pytest.approx(error.mean())
    assert found.mae == pytest.approx(np.abs(error).mean())
    assert found.mse == pytest.approx((error**2).mean())
    assert found.rmse == pytest.approx(math.sqrt((error**2).mean()))
    assert found.value_range == (reference[inside].min(), reference[inside].max())
    expected = 10 * math.log10(2000**2 / (error**2).mean())
    assert found.psnr((-1000, 1000)) == pytest.approx(expected)


def test_errors_agree_with_monais() -> None:
    from monai.metrics import MAEMetric, MSEMetric, PSNRMetric, RMSEMetric

    predicted, reference, _ = pair()
    tensors = [torch.from_numpy(v.astype(np.float64))[None, None] for v in (predicted, reference)]
    found = intensity_errors(predicted, reference)
    for mine, metric in (
        (found.mae, MAEMetric()),
        (found.mse, MSEMetric()),
        (found.rmse, RMSEMetric()),
        (found.psnr((-500, 1000)), PSNRMetric(1500)),
    ):
        assert mine == pytest.approx(float(metric(*tensors)), rel=1e-6)


def test_a_constant_offset_is_bias_mae_and_rmse_at_once() -> None:
    reference = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    found = intensity_errors(reference - 5, reference)
    assert (found.bias, found.mae, found.mse, found.rmse) == (-5, 5, 25, 5)
    assert found.psnr((0, 50)) == pytest.approx(20)  # a tenth of the range


def test_errors_of_integers_do_not_wrap_around() -> None:
    low, high = (np.full((1, 2, 2), value, np.int16) for value in (-32768, 32767))
    assert intensity_errors(low, high).mae == 65535
    dark, bright = (np.full((1, 2, 2), value, np.uint8) for value in (1, 255))
    assert intensity_errors(dark, bright).bias == -254


def test_the_sum_of_pieces_is_the_whole() -> None:
    predicted, reference, mask = pair()
    pieces = [
        intensity_errors(*(v[k : k + 1] for v in (predicted, reference, mask))) for k in range(4)
    ]
    total = sum(pieces, IntensityErrors())
    whole = intensity_errors(predicted, reference, mask)
    assert total.voxels == whole.voxels
    assert total.psnr((0, 1000)) == pytest.approx(whole.psnr((0, 1000)), rel=1e-12)
    assert total.value_range == whole.value_range


def test_equal_images_have_an_infinite_psnr_and_no_voxels_have_nothing() -> None:
    _, reference, mask = pair()
    assert intensity_errors(reference, reference).psnr((0, 1000)) == math.inf
    nothing = intensity_errors(reference, reference, np.zeros_like(mask))
    assert nothing.voxels == 0
    values = (
        nothing.bias,
        nothing.mae,
        nothing.rmse,
        nothing.psnr((0, 1000)),
        *nothing.value_range,
    )
    assert all(map(math.isnan, values))
    assert math.isnan(intensity_errors(reference, reference).psnr((3, 3)))


@pytest.mark.parametrize("multiscale", [False, True])
def test_similarity_of_slices_is_the_mean_of_monais(multiscale: bool) -> None:
    from monai.metrics import MultiScaleSSIMMetric, SSIMMetric

    predicted, reference, _ = pair((3, 46, 50))
    weights = np.array([0.0448, 0.2856, 0.3001])
    metric = SSIMMetric(2, data_range=1500)
    if multiscale:
        weights = tuple(weights / weights.sum())
        metric = MultiScaleSSIMMetric(2, data_range=1500, weights=weights)
    slices = [torch.from_numpy(v.astype(np.float32) + 500)[:, None] for v in (predicted, reference)]
    expected = float(metric(*slices).mean())
    found = slice_similarity(predicted, reference, HU, multiscale=multiscale)
    assert 0.1 < found < 0.99
    # MONAI computes in single precision.
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("multiscale", [False, True])
def test_similarity_sees_nothing_of_what_does_not_count(multiscale: bool) -> None:
    predicted, reference, mask = pair((3, 46, 50))
    found = slice_similarity(predicted, reference, HU, mask, multiscale=multiscale)
    changed = np.where(mask, predicted, 1e6)
    again = slice_similarity(changed, reference, HU, mask, multiscale=multiscale)
    assert again == pytest.approx(found, rel=1e-9)
    assert found != pytest.approx(
        slice_similarity(predicted, reference, HU, multiscale=multiscale), rel=1e-3
    )


def test_slices_are_as_important_as_what_counts_in_them() -> None:
    predicted, reference, _ = pair((2, 24, 26))
    predicted[1] = reference[1]
    mask = np.ones((2, 24, 26), bool)
    mask[0, :, 13:] = False
    first = slice_similarity(predicted[:1], reference[:1], HU, mask[:1])
    windows = (14 * 8, 14 * 16)  # middles of windows that lie inside and count
    expected = (windows[0] * first + windows[1] * 1) / sum(windows)
    assert slice_similarity(predicted, reference, HU, mask) == pytest.approx(expected)


def test_similarity_does_not_depend_on_the_unit_and_its_zero() -> None:
    predicted, reference, mask = pair()
    found = slice_similarity(predicted, reference, HU, mask)
    shifted = slice_similarity(predicted + 500, reference + 500, (0, 1500), mask)
    assert shifted == pytest.approx(found, rel=1e-6)
    scaled = slice_similarity(0.001 * predicted, 0.001 * reference, (-0.5, 1.0), mask)
    assert scaled == pytest.approx(found, rel=1e-6)


def test_equal_slices_are_wholly_similar_also_far_from_zero() -> None:
    _, reference, _ = pair()
    for multiscale in (False, True):
        value = slice_similarity(
            reference + 30000, reference + 30000, (29500, 30500), multiscale=multiscale
        )
        assert value == pytest.approx(1, abs=1e-6)


def test_without_a_range_or_a_window_there_is_no_similarity() -> None:
    predicted, reference, mask = pair()
    assert math.isnan(slice_similarity(predicted, reference, (5, 5)))
    assert math.isnan(slice_similarity(predicted, reference, (math.nan, math.nan)))
    assert math.isnan(slice_similarity(predicted, reference, HU, np.zeros_like(mask)))
