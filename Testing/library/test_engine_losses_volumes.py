"""Losses of volumes against their formulas in numpy, hand-made cases and MONAI."""

import itertools

import numpy as np
import pytest
import torch
from test_engine_losses_shared import sample
from torch import Tensor

from DeepTranslateLib.engine.losses import build_loss
from DeepTranslateLib.engine.losses.intensity import charbonnier
from DeepTranslateLib.engine.similarity import multiscale_ssim, scales_of, ssim

SIZES = [(19, 22), (13, 12, 15)]


def textured(size: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Two related smooth images with noise, (2, 1, *size) in 0 to 1, and a mask of all."""
    rng = np.random.default_rng(seed)
    waves = sum(np.meshgrid(*(np.sin(np.linspace(0, 5, n)) for n in size), indexing="ij"))
    first = 0.5 + 0.1 * waves + rng.normal(0, 0.05, (2, 1, *size))
    second = 0.8 * first + 0.1 + rng.normal(0, 0.05, first.shape)
    mask = torch.ones(2, 1, *size)
    return (*(torch.from_numpy(v).clamp(0, 1).float() for v in (first, second)), mask)


def test_charbonnier_is_the_root_of_the_square_and_epsilons() -> None:
    output, target, mask = sample("charbonnier", (9, 8))
    difference = (output - target).double().numpy()[mask.numpy() > 0]
    expected = np.sqrt(difference**2 + 1e-6).mean()
    assert float(build_loss("charbonnier")(output, target, mask)) == pytest.approx(expected)
    assert float(charbonnier(target, target, mask, epsilon=0.25)) == pytest.approx(0.25)


def neighbours(size: tuple[int, ...]) -> list[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """For each axis the pairs of places that are neighbours along it."""
    places = list(itertools.product(*map(range, size)))
    result = []
    for axis in range(len(size)):
        step = tuple(int(a == axis) for a in range(len(size)))
        moved = [tuple(map(sum, zip(place, step, strict=True))) for place in places]
        result.append([(a, b) for a, b in zip(places, moved, strict=True) if b[axis] < size[axis]])
    return result


@pytest.mark.parametrize("size", [(5, 4), (3, 4, 2)], ids=["2D", "3D"])
def test_gradient_difference_and_total_variation_are_sums_over_neighbours(
    size: tuple[int, ...],
) -> None:
    output, target, mask = sample("gradient_difference", size)
    mask = mask * torch.linspace(0.2, 1, size[-1])
    difference = variation = 0.0
    for pairs in neighbours(size):
        rows = []
        for image, (a, b) in itertools.product(range(2), pairs):
            weight = float(mask[(image, 0, *a)] * mask[(image, 0, *b)])
            mine = abs(float(output[(image, 0, *a)] - output[(image, 0, *b)]))
            theirs = abs(float(target[(image, 0, *a)] - target[(image, 0, *b)]))
            rows.append((weight, (theirs - mine) ** 2, mine))
        weights, squares, steps = np.transpose(rows)
        difference += np.average(squares, weights=weights)
        variation += np.average(steps, weights=weights)
    for name, expected in (("gradient_difference", difference), ("total_variation", variation)):
        assert float(build_loss(name)(output, target, mask)) == pytest.approx(expected, rel=1e-5)


def test_gradient_difference_of_a_blurred_edge_is_what_the_edge_lost() -> None:
    target = torch.tensor([0.0, 0, 1, 1]).expand(1, 1, 3, 4)
    blurred = torch.tensor([0.0, 0.25, 0.75, 1]).expand(1, 1, 3, 4)
    # Steps 0, 1, 0 became 0.25, 0.5, 0.25; along the other axis there are none.
    expected = (0.25**2 + 0.5**2 + 0.25**2) / 3
    loss = build_loss("gradient_difference")
    assert float(loss(blurred, target, torch.ones(1, 1, 3, 4))) == pytest.approx(expected)
    # It sees neither an offset nor the edge's direction (absolute values of steps).
    assert float(loss(target + 0.3, target, torch.ones(1, 1, 3, 4))) == pytest.approx(0, abs=1e-12)
    assert float(loss(1 - target, target, torch.ones(1, 1, 3, 4))) == 0


def test_total_variation_of_a_box_is_its_outline() -> None:
    image = torch.zeros(1, 1, 6, 6)
    image[..., 2:4, 1:4] = 1
    loss = build_loss("total_variation")(image, torch.rand(1, 1, 6, 6), torch.ones(1, 1, 6, 6))
    assert float(loss) == pytest.approx((2 * 3 + 2 * 2) / (5 * 6))


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_ssim_is_monais(size: tuple[int, ...]) -> None:
    import monai.losses

    output, target, mask = textured(size)
    expected = monai.losses.SSIMLoss(spatial_dims=len(size))(output, target)
    loss = build_loss("ssim")(output, target, mask)
    assert 0.01 < float(expected) < 0.99
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(176, 181), (44, 50, 47)], ids=["2D", "3D"])
def test_ms_ssim_is_monais(size: tuple[int, ...]) -> None:
    from monai.metrics import MultiScaleSSIMMetric

    output, target, mask = (values[:1] for values in textured(size))
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[: 5 if len(size) == 2 else 3]
    theirs = MultiScaleSSIMMetric(len(size), weights=tuple(weights / weights.sum()))
    expected = theirs(output, target)
    loss = build_loss("ms_ssim")(output, target, mask)
    assert 0.02 < float(loss) < 0.9
    assert float(loss) == pytest.approx(1 - float(expected), rel=1e-4)


def hand_ssim(x: np.ndarray, y: np.ndarray, mask: np.ndarray, data_range: float) -> float:
    """Masked SSIM of two images, window by window."""
    places = np.arange(-5, 6)
    line = np.exp(-(places**2) / (2 * 1.5**2))
    window = line[:, None] * line[None, :]
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values, weights = [], []
    for row, column in itertools.product(*(range(5, n - 5) for n in x.shape)):
        here = (slice(row - 5, row + 6), slice(column - 5, column + 6))
        weight = window * mask[here]
        if mask[row, column] == 0:
            continue
        a, b = x[here], y[here]
        mean_a, mean_b = np.average(a, weights=weight), np.average(b, weights=weight)
        variance_a = np.average((a - mean_a) ** 2, weights=weight)
        variance_b = np.average((b - mean_b) ** 2, weights=weight)
        covariance = np.average((a - mean_a) * (b - mean_b), weights=weight)
        luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        values.append(luminance * (2 * covariance + c2) / (variance_a + variance_b + c2))
        weights.append(mask[row, column])
    return float(np.average(values, weights=weights))


@pytest.mark.parametrize("data_range", [1.0, 2000.0])
def test_masked_ssim_is_ssim_of_the_counted_pixels_of_each_window(data_range: float) -> None:
    rng = np.random.default_rng(3)
    x, y, _ = textured((19, 22))
    mask = rng.random((19, 22)) * (rng.random((19, 22)) > 0.4)
    x, y = (data_range * values[:1].double() for values in (x, y))
    weight = torch.from_numpy(mask)[None, None]
    value, total = ssim(x, y, weight, data_range)
    expected = hand_ssim(x[0, 0].numpy(), y[0, 0].numpy(), mask, data_range)
    assert float(value) == pytest.approx(expected, rel=1e-9)
    assert float(total) == pytest.approx(mask[5:-5, 5:-5].sum())


def test_ssim_of_an_offset_is_the_luminance_term() -> None:
    x = torch.full((1, 1, 12, 12), 0.3, dtype=torch.float64)
    y = torch.full((1, 1, 12, 12), 0.7, dtype=torch.float64)
    expected = (2 * 0.3 * 0.7 + 1e-4) / (0.3**2 + 0.7**2 + 1e-4)
    assert float(ssim(x, y, torch.ones_like(x), 1.0)[0]) == pytest.approx(expected, rel=1e-9)


def test_ms_ssim_of_an_offset_is_the_luminance_of_the_coarsest_scale_alone() -> None:
    x = torch.full((1, 1, 176, 180), 0.3, dtype=torch.float64)
    y = torch.full((1, 1, 176, 180), 0.7, dtype=torch.float64)
    luminance = (2 * 0.3 * 0.7 + 1e-4) / (0.3**2 + 0.7**2 + 1e-4)
    weight = 0.1333 / (0.0448 + 0.2856 + 0.3001 + 0.2363 + 0.1333)
    value = multiscale_ssim(x, y, torch.ones_like(x), 1.0)[0]
    assert float(value) == pytest.approx(luminance**weight, rel=1e-9)


def test_ms_ssim_has_as_many_scales_as_hold_a_window() -> None:
    assert [scales_of((n, 1000)) for n in (11, 21, 22, 43, 44, 87, 88, 175, 176, 900)] == [
        1, 1, 2, 2, 3, 3, 4, 4, 5, 5,
    ]  # fmt: skip
    # A few thick slices neither hold a window nor are averaged.
    assert scales_of((5, 200, 200)) == 5
    assert scales_of((3, 5)) == 1


def test_ms_ssim_at_one_scale_is_ssim() -> None:
    output, target, mask = textured((19, 21))
    torch.testing.assert_close(
        build_loss("ms_ssim")(output, target, mask), build_loss("ssim")(output, target, mask)
    )


def test_ms_ssim_of_pixels_at_the_edge_of_the_image_is_that_of_the_scales_that_see_them() -> None:
    x, y, mask = textured((176, 176))
    edge = torch.zeros_like(mask)
    edge[..., 6:30, 6:30] = 1
    value = 1 - float(build_loss("ms_ssim")(x, y, edge))
    assert 0.3 < value < 1
    assert float(build_loss("ms_ssim")(x, x, edge)) == pytest.approx(0, abs=1e-6)


def test_one_image_of_a_batch_counts_as_much_as_its_mask() -> None:
    x, y, mask = textured((19, 22))
    y[1] = 0.5 * y[1]
    mask[1, :, :, 11:] = 0
    apart = [float(build_loss("ssim")(x[[i]], y[[i]], mask[[i]])) for i in range(2)]
    inside = mask[:, :, 5:-5, 5:-5].sum((1, 2, 3))
    expected = np.average(apart, weights=inside)
    assert float(build_loss("ssim")(x, y, mask)) == pytest.approx(expected, rel=1e-5)
