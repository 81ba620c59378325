"""Each change of values against its definition: exact where it is, statistics where it is not."""

import math

import numpy as np
import pytest
import torch
from augmentation_samples import Z, assert_even, assert_share, effects
from scipy import ndimage
from torch import Tensor

from DeepTranslateLib.engine.augmentation.artefacts import Dropout, Ring, Streak
from DeepTranslateLib.engine.augmentation.intensity import (
    BiasField,
    Brightness,
    Contrast,
    Gamma,
    monomials,
)
from DeepTranslateLib.engine.augmentation.noise import Poisson, Rician
from DeepTranslateLib.engine.augmentation.sharpness import Blur, LowResolution


def picture(low: float = 0.3, high: float = 0.6, side: int = 40) -> Tensor:
    """Tissue from low to high, air (0) in the left quarter."""
    values = np.random.default_rng(0).uniform(low, high, (1, side, side)).astype(np.float32)
    values[..., : side // 4] = 0
    return torch.from_numpy(values)


def flat(value: float, side: int = 200) -> Tensor:
    return torch.full((1, side, side), value)


def assert_mean_and_sd(values: np.ndarray, mean: float, sd: float, kurtosis: float = 3) -> None:
    assert values.mean() == pytest.approx(mean, abs=Z * sd / math.sqrt(values.size) + 1e-6)
    assert values.std() == pytest.approx(sd, rel=Z * math.sqrt((kurtosis - 1) / 4 / values.size))


# Intensity


def test_brightness_multiplies_up_to_the_window_s_end() -> None:
    image = picture()
    assert torch.equal(Brightness(1.2)(image), image * 1.2)
    assert Brightness(5.0)(image).max() == 1
    assert not Brightness(1.5)(image)[..., :10].any()


def test_contrast_stretches_around_the_mean_of_what_is_not_air() -> None:
    image = picture()
    tissue = image[..., 10:]
    for factor in (0.5, 1.3):
        after = Contrast(factor)(image)
        assert not after[..., :10].any()
        assert after[..., 10:].mean() == pytest.approx(float(tissue.mean()), abs=1e-5)
        assert after[..., 10:].std() == pytest.approx(factor * float(tissue.std()), rel=1e-3)
    assert not Contrast(2.0)(torch.zeros(1, 4, 4)).any()


def test_factors_enlarge_as_often_as_they_make_smaller() -> None:
    for kind in ("brightness", "contrast"):
        factors = np.array([effect.factor for effect in effects(kind)])
        assert_share((factors > 1).mean(), 0.5, factors.size)
        assert_even(list(factors[factors > 1]), 1.0, 1.5)
        assert_even(list(factors[factors < 1]), 0.3, 1.0)


def test_gamma_is_a_power_that_leaves_air_and_the_window_s_end() -> None:
    image = picture(0.01, 1.0)
    assert Gamma(0.7)(image).numpy() == pytest.approx(image.numpy() ** 0.7, abs=1e-6)
    ends = torch.tensor([[[0.0, 1.0]]])
    assert torch.equal(Gamma(1.5)(ends), ends)
    exponents = [effect.exponent for effect in effects("gamma")]
    assert_even(list(np.log(exponents)), math.log(0.7), math.log(1.5))


def test_the_logarithm_of_a_bias_field_is_a_polynomial_of_third_degree() -> None:
    for effect in effects("bias_field", count=3, bias_field=0.5):
        image = flat(0.3, 60)
        logarithm = np.log(effect(image).double().numpy()[0] / 0.3)
        assert np.abs(logarithm).max() == pytest.approx(effect.amplitude, rel=1e-3)
        # Of a polynomial of third degree the fourth differences vanish, the third are constant.
        for axis in (0, 1):
            assert np.abs(np.diff(logarithm[::6, ::6], 4, axis=axis)).max() < 1e-5
    assert not BiasField((1.0,) * 9, 0.5)(picture())[..., :10].any()


def test_a_bias_field_has_all_monomials_of_two_and_of_three_axes() -> None:
    assert len(monomials(2)) == 9
    assert len(monomials(3)) == 19
    coefficients = tuple(np.random.default_rng(0).standard_normal(19))
    volume = torch.full((1, 8, 9, 10), 0.4)
    after = BiasField(coefficients, 0.2)(volume)
    assert float(torch.log(after / 0.4).abs().max()) == pytest.approx(0.2, rel=1e-4)


def test_amplitudes_of_bias_fields_are_even() -> None:
    assert_even([each.amplitude for each in effects("bias_field", bias_field=0.4)], 0, 0.4)


# Sharpness


@pytest.mark.parametrize("sd", [0.4, 1.0, 2.7])
def test_blur_is_the_gaussian_filter(sd: float) -> None:
    image = picture()
    expected = ndimage.gaussian_filter(
        image[0].double().numpy(), sd, mode="constant", radius=math.ceil(4 * sd)
    )
    assert Blur(sd)(image)[0].numpy() == pytest.approx(expected, abs=1e-5)


def test_blur_widens_a_point_to_its_sd_and_keeps_its_sum() -> None:
    point = torch.zeros(1, 41, 41)
    point[0, 20, 20] = 1
    blurred = Blur(2.0)(point)[0].double().numpy()
    assert blurred.sum() == pytest.approx(1, abs=1e-6)
    assert (blurred.sum(axis=0) * (np.arange(41) - 20) ** 2).sum() == pytest.approx(4, rel=0.01)
    assert torch.equal(Blur(0.0)(point), point)


def test_low_resolution_is_block_averages_with_straight_lines_between() -> None:
    image = picture(side=24)
    blocks = image[0].double().numpy().reshape(6, 4, 6, 4).mean(axis=(1, 3))
    places = (np.arange(24) + 0.5) / 4 - 0.5
    rows = np.stack([np.interp(places, np.arange(6), column) for column in blocks.T], axis=1)
    expected = np.stack([np.interp(places, np.arange(6), row) for row in rows])
    assert LowResolution(4.0)(image)[0].numpy() == pytest.approx(expected, abs=1e-5)


def test_low_resolution_keeps_size_mean_and_plain_areas() -> None:
    image = picture(side=30)
    for factor in (1.0, 1.7, 3.0, 100.0):
        after = LowResolution(factor)(image)
        assert after.shape == image.shape
        assert float(after.mean()) == pytest.approx(float(image.mean()), rel=0.05)
    assert torch.allclose(LowResolution(1.0)(image), image, atol=1e-6)
    assert torch.allclose(LowResolution(2.3)(flat(0.4, 30)), flat(0.4, 30))


def test_blurs_are_even_and_resolutions_even_in_their_logarithm() -> None:
    assert_even([each.sd for each in effects("blur")], 0.3, 1.0)
    assert_even(list(np.log([each.factor for each in effects("low_resolution")])), 0, math.log(4))


# Noise


@pytest.mark.parametrize("value", [0.02, 0.2, 0.7])
def test_poisson_noise_has_the_mean_and_a_variance_in_proportion(value: float) -> None:
    counts = 500.0
    after = Poisson(counts, 1)(flat(value)).double().numpy()
    kurtosis = 3 + 1 / (value * counts)
    assert_mean_and_sd(after, value, math.sqrt(value / counts), kurtosis)
    assert np.abs(after * counts - np.rint(after * counts)).max() < 1e-3  # counts are whole


def test_air_has_no_poisson_noise() -> None:
    assert not Poisson(10.0, 1)(flat(0.0)).any()
    counts = [each.counts for each in effects("poisson")]
    assert_even(list(np.log(counts)), math.log(100), math.log(10000))


def test_rician_air_is_rayleigh_and_strong_signal_nearly_gaussian() -> None:
    sd = 0.05
    air = Rician(sd, 1)(flat(0.0)).double().numpy().ravel()
    assert_mean_and_sd(air, sd * math.sqrt(math.pi / 2), sd * math.sqrt(2 - math.pi / 2), 3.25)
    ordered = np.sort(air)
    expected = 1 - np.exp(-(ordered**2) / (2 * sd**2))
    steps = np.arange(1, air.size + 1) / air.size
    assert np.abs(expected - steps).max() < math.sqrt(math.log(2e6) / 2 / air.size) + 1 / air.size
    signal = Rician(sd, 2)(flat(0.6)).double().numpy()
    assert (signal**2).mean() == pytest.approx(0.36 + 2 * sd**2, rel=0.005)
    assert_mean_and_sd(signal, 0.6 + sd**2 / 1.2, sd)


def test_levels_of_rician_noise_rings_and_streaks_are_even() -> None:
    for kind, largest in (("rician", 0.1), ("ring", 0.05), ("streak", 0.05)):
        drawn = effects(kind)
        assert_even([each.sd for each in drawn], 0, largest)
        assert len({each.seed for each in drawn}) == len(drawn)


# Artefacts


def geometry(centre: tuple[float, float], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column distances of pixel centres from a centre, float64."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    return rows - centre[0] * side, columns - centre[1] * side


def test_a_ring_is_one_offset_for_each_pixel_of_distance() -> None:
    centre, sd = (0.4, 0.55), 0.03
    offsets = Ring(sd, centre, 5)(flat(0.5)).double().numpy()[0] - 0.5
    radius = np.floor(np.hypot(*geometry(centre, 200))).astype(int)
    rings = [offsets[radius == each] for each in range(radius.max() + 1)]
    assert max(np.ptp(ring) for ring in rings if ring.size) < 1e-6
    values = np.array([ring[0] for ring in rings if ring.size])
    assert_mean_and_sd(values, 0, sd)
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < Z / math.sqrt(values.size)


def test_a_streak_is_one_offset_for_each_degree_of_direction() -> None:
    centre, sd = (0.4, 0.551), 0.03
    offsets = Streak(sd, centre, 5)(flat(0.5)).double().numpy()[0] - 0.5
    rows, columns = geometry(centre, 200)
    degrees = np.degrees(np.arctan2(rows, columns)) + 180
    clear = np.abs(degrees - np.rint(degrees)) > 1e-3  # not on the edge of two directions
    values = []
    for direction in range(360):
        streak = offsets[clear & (np.floor(degrees) == direction)]
        assert streak.size > 20
        assert np.ptp(streak) < 1e-6
        values.append(streak[0])
    assert_mean_and_sd(np.array(values), 0, sd)


def test_centres_of_rings_and_streaks_lie_in_the_middle_half() -> None:
    for kind in ("ring", "streak"):
        for axis in (0, 1):
            assert_even([each.centre[axis] for each in effects(kind)], 0.25, 0.75)


def test_dropout_empties_its_rectangles_and_nothing_else() -> None:
    after = Dropout(((0.5, 0.25, 10, 6), (0.0, 1.0, 8, 8)))(flat(0.5, 40))[0].numpy()
    expected = np.full((40, 40), 0.5, np.float32)
    expected[15:25, 7:13] = 0
    expected[:4, 36:] = 0
    assert np.array_equal(after, expected)


def test_dropout_draws_up_to_twelve_rectangles_of_up_to_twenty_pixels() -> None:
    drawn = [each.rectangles for each in effects("dropout", size=(256, 256))]
    counts = np.bincount([len(each) for each in drawn], minlength=13)
    assert counts[0] == 0
    for count in counts[1:]:
        assert_share(count / len(drawn), 1 / 12, len(drawn))
    boxes = np.array([box for each in drawn for box in each])
    for axis in (0, 1):
        assert_even(list(boxes[:, axis]), 0, 1)
        assert_even(list(boxes[:, 2 + axis]), 0, 10)  # 20 px of an image 512 wide
