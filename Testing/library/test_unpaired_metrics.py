"""Metrics without pairs: against other computations, and in the order that they must have."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy import linalg, ndimage, spatial, stats

from DeepTranslateLib.engine.metrics.distributions import (
    frechet_distance,
    kernel_distance,
    squared_discrepancy,
)
from DeepTranslateLib.engine.metrics.extractors import RandomConvolutions
from DeepTranslateLib.engine.metrics.histograms import Histogram
from DeepTranslateLib.engine.metrics.selfsimilarity import (
    cycle_ssim,
    gradient_difference,
    normalised_self_ssim,
)
from DeepTranslateLib.engine.metrics.structure import slice_similarity
from DeepTranslateLib.engine.unpairedvalidation import UnpairedValidation
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.phantom_contrasts import head

RANDOM = np.random.default_rng


@lru_cache
def ct(seed: int) -> np.ndarray:
    return torso(seed, slices=3, size=(64, 64), spacing=(7.8, 7.8, 40)).image.voxels


def smoothed(voxels: np.ndarray, sd: float = 0.7) -> np.ndarray:
    return ndimage.gaussian_filter(voxels.astype(float), (0, sd, sd))


def distorted(voxels: np.ndarray, pixels: float = 3) -> np.ndarray:
    k, row, column = np.indices(voxels.shape).astype(float)
    places = [k, row + pixels * np.sin(column / 6), column + pixels * np.cos(row / 6)]
    return ndimage.map_coordinates(voxels.astype(float), places, order=1, mode="nearest")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_untouched_is_better_than_smoothed_and_that_better_than_distorted(seed: int) -> None:
    source = ct(seed)
    # As a translation would, each has other intensities.
    images = [0.3 * change(source) + 40 for change in (lambda x: x, smoothed, distorted)]
    similar = [normalised_self_ssim(source, image) for image in images]
    different = [gradient_difference(source, image) for image in images]
    assert similar[0] == pytest.approx(1, abs=1e-9)
    assert similar[0] > similar[1] + 0.02 > similar[2] + 0.2
    assert different[0] == pytest.approx(0, abs=1e-9)
    assert different[0] < different[1] < 0.6 * different[2]


def test_more_smoothing_and_more_distortion_are_worse() -> None:
    source = ct(3)
    for change, amounts in ((smoothed, (0.5, 1, 2)), (distorted, (0.5, 1, 2))):
        images = [change(source, amount) for amount in amounts]
        similar = [normalised_self_ssim(source, image) for image in images]
        different = [gradient_difference(source, image) for image in images]
        assert similar == sorted(similar, reverse=True)
        assert different == sorted(different)


def test_self_ssim_is_ssim_at_the_mean_and_sd_of_the_input() -> None:
    x, y = RANDOM(0).normal(50, 20, (2, 16, 18)), RANDOM(1).normal(3, 7, (2, 16, 18))
    standardised = (y - y.mean()) / y.std() * x.std() + x.mean()
    wanted = slice_similarity(standardised, x, (x.min(), x.max()))
    assert normalised_self_ssim(x, y) == pytest.approx(wanted, rel=1e-9)
    given = slice_similarity(standardised, x, (0, 100))
    assert normalised_self_ssim(x, y, value_range=(0, 100)) == pytest.approx(given, rel=1e-9)


def test_gradients_are_those_of_sobel_in_sds_per_mm() -> None:
    x, y = RANDOM(0).normal(50, 20, (2, 9, 11)), RANDOM(1).normal(3, 7, (2, 9, 11))
    steep = []
    for image in (x, y):
        image = (image - image.mean()) / image.std()
        down, across = (
            np.stack([ndimage.sobel(each, axis) for each in image]) / 8 for axis in (0, 1)
        )
        steep.append(np.hypot(down / 2.0, across / 0.5))
    wanted = np.abs(steep[0] - steep[1])[:, 1:-1, 1:-1].mean()
    assert gradient_difference(x, y, pixel_mm=(2.0, 0.5)) == pytest.approx(wanted, rel=1e-9)


def test_an_edge_that_is_bright_on_the_other_side_is_at_its_place() -> None:
    source = ct(0).astype(float)
    assert gradient_difference(source, -source) == pytest.approx(0, abs=1e-9)
    assert normalised_self_ssim(source, -source) < 0.5


@pytest.mark.parametrize("contrast", ["t2", "ct"])
def test_gradients_find_distortions_where_contrasts_differ(contrast: str) -> None:
    for seed in (0, 1):
        images = head(seed, slices=6).images
        source, truth = images["t1"].voxels, images[contrast].voxels
        found = [gradient_difference(source, distorted(truth, n)) for n in (0, 1, 2, 3)]
        assert found == sorted(found)


@pytest.mark.parametrize("metric", [normalised_self_ssim, gradient_difference])
def test_what_does_not_count_plays_no_part(metric: Callable[..., float]) -> None:
    source, translated = ct(0).astype(float), smoothed(ct(0))
    counted = np.zeros(source.shape, bool)
    counted[1:, 10:50, 12:52] = True
    elsewhere = np.where(counted, translated, RANDOM(0).normal(size=source.shape) * 1e5)
    found = metric(source, elsewhere, counted)
    assert found == metric(source, translated, counted)
    assert found != pytest.approx(metric(source, translated), rel=0.01)
    if metric is gradient_difference:
        box = metric(source[1:, 10:50, 12:52], translated[1:, 10:50, 12:52])
        assert found == pytest.approx(box, rel=1e-9)
    assert math.isnan(metric(source, translated, np.zeros_like(counted)))


@pytest.mark.parametrize("metric", [normalised_self_ssim, gradient_difference])
def test_a_constant_image_has_no_structure(metric: Callable[..., float]) -> None:
    source = ct(0).astype(float)
    assert math.isnan(metric(source, np.full(source.shape, 0.1)))
    assert math.isnan(metric(np.full(source.shape, 0.1), source))
    with pytest.raises(ValueError, match="one shape"):
        metric(source, source[:, 1:])


def test_the_ssim_of_a_cycle_is_that_of_input_and_what_came_back() -> None:
    source, back = ct(0), smoothed(ct(0))
    assert cycle_ssim(source, source, (-1024, 1000)) == pytest.approx(1)
    found = cycle_ssim(source, back, (-1024, 1000))
    assert found == pytest.approx(slice_similarity(back, source, (-1024, 1000)))
    # Unlike NSelfSSIM it asks for the same intensities.
    assert cycle_ssim(source, 0.3 * source + 40, (-1024, 1000)) < 0.9


def test_the_kernel_distance_is_the_double_sum_over_pairs() -> None:
    x, y = RANDOM(0).normal(size=(5, 7)), RANDOM(1).normal(1, 2, (4, 7))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(p * q for p, q in zip(a, b, strict=True)) / 7 + 1) ** 3

    def mean_of_others(side: np.ndarray) -> float:
        pairs = [(i, j) for i in range(len(side)) for j in range(len(side)) if i != j]
        return sum(kernel(side[i], side[j]) for i, j in pairs) / len(pairs)

    between = sum(kernel(a, b) for a in x for b in y) / 20
    wanted = mean_of_others(x) + mean_of_others(y) - 2 * between
    assert squared_discrepancy(x, y) == pytest.approx(wanted, rel=1e-10)
    assert kernel_distance(x, y).value == pytest.approx(wanted, rel=1e-10)


def test_the_kernel_distance_of_more_images_than_fit_at_once_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = RANDOM(0).normal(size=(50, 3)), RANDOM(1).normal(size=(41, 3))
    wanted = squared_discrepancy(x, y)
    monkeypatch.setattr("DeepTranslateLib.engine.metrics.distributions._MOST_AT_ONCE", 7)
    assert squared_discrepancy(x, y) == pytest.approx(wanted, rel=1e-9)


def test_the_kernel_distance_is_unbiased_and_knows_its_error() -> None:
    random = RANDOM(0)
    same, other = [], []
    for _ in range(60):
        x, y = random.normal(size=(2, 40, 4))
        same.append(kernel_distance(x, y, subsets=40))
        other.append(kernel_distance(x, y + 0.7, subsets=40))
    values = [found.value for found in same]
    spread = np.std(values, ddof=1)
    assert abs(np.mean(values)) < 3 * spread / math.sqrt(60)
    assert min(values) < 0 < max(values)
    # Of clearly different sets, where the discrepancy is not degenerate, the error is that of
    # the values themselves.
    truth = np.std([found.value for found in other], ddof=1)
    estimate = np.mean([found.standard_error for found in other])
    assert 0.7 < estimate / truth < 1.5
    assert min(found.value for found in other) > max(values)


def test_few_images_have_a_kernel_distance_without_an_error() -> None:
    found = kernel_distance(RANDOM(0).normal(size=(2, 3)), RANDOM(1).normal(size=(9, 3)))
    assert math.isfinite(found.value)
    assert (math.isnan(found.standard_error), found.subsets) == (True, 0)
    for wrong in (np.zeros((1, 3)), np.zeros((4, 2)), np.zeros(3)):
        for distance in (kernel_distance, frechet_distance):
            with pytest.raises(ValueError, match="Expected"):
                distance(wrong, np.zeros((4, 3)))


def gaussian(mean: np.ndarray, covariance: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Numbers whose mean and covariance are exactly these."""
    draws = RANDOM(seed).normal(size=(count, len(mean)))
    draws -= draws.mean(0)
    white = draws @ np.linalg.inv(np.linalg.cholesky(np.cov(draws, rowvar=False))).T
    return mean + white @ np.linalg.cholesky(covariance).T


def test_the_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    means = np.array([[1.0, -2, 0.5], [0, 1, 3]])
    spreads = np.array([[1.0, 2, 3], [2, 2, 0.5]])
    sides = [gaussian(means[n], np.diag(spreads[n] ** 2), 30, n) for n in range(2)]
    # Along common axes: |m1 - m2|^2 + sum of (s1 - s2)^2.
    wanted = ((means[0] - means[1]) ** 2).sum() + ((spreads[0] - spreads[1]) ** 2).sum()
    assert frechet_distance(*sides) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(sides[0], sides[0]) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_of_correlated_features_is_that_of_the_matrix_root() -> None:
    mixing = RANDOM(0).normal(size=(2, 4, 4))
    x, y = (RANDOM(n).normal(n, 1, (25, 4)) @ mixing[n] for n in range(2))
    c, d = (np.cov(side, rowvar=False) for side in (x, y))
    shift = x.mean(0) - y.mean(0)
    wanted = shift @ shift + np.trace(c + d - 2 * linalg.sqrtm(c @ d).real)
    assert frechet_distance(x, y) == pytest.approx(wanted, rel=1e-8)
    # Fewer images than features: the covariances have no full rank.
    few = frechet_distance(x[:3], y[:3])
    assert math.isfinite(few)
    assert few > 0


def histograms(*sides: np.ndarray, bins: int = 65536) -> list[Histogram]:
    both = np.concatenate([side.ravel() for side in sides])
    found = [Histogram((float(both.min()), float(both.max())), bins) for _ in sides]
    for histogram, side in zip(found, sides, strict=True):
        histogram.add(side)
    return found


def test_the_wasserstein_distance_is_that_of_scipy() -> None:
    x, y = RANDOM(0).normal(0, 300, 700), RANDOM(1).gamma(2, 200, (30, 31))
    mine, theirs = histograms(x, y)
    wanted = stats.wasserstein_distance(x, y.ravel())
    assert mine.wasserstein(theirs) == pytest.approx(wanted, abs=mine.width)
    assert mine.width < 0.001 * wanted
    assert mine.wasserstein(mine) == 0
    # In the numbers' unit: all moved by 25.
    first, moved = histograms(x, x + 25)
    assert first.wasserstein(moved) == pytest.approx(25, abs=2 * first.width)


def test_the_jensen_shannon_divergence_is_the_square_of_scipys_distance() -> None:
    x, y = RANDOM(0).normal(0, 1, 500), RANDOM(1).normal(1, 2, 800)
    sides = [Histogram((-3, 3), 20) for _ in range(2)]
    counts = []
    for histogram, values in zip(sides, (x, y), strict=True):
        histogram.add(values)
        counts.append(np.histogram(values.clip(-3, 3), 20, (-3, 3))[0])
    wanted = spatial.distance.jensenshannon(*counts, base=2) ** 2
    assert sides[0].jensen_shannon(sides[1]) == pytest.approx(wanted, rel=1e-9)
    apart = histograms(x, x + 100)
    assert apart[0].jensen_shannon(apart[1]) == pytest.approx(1)


def test_numbers_may_come_in_pieces_and_in_any_type() -> None:
    hu = ct(0)
    whole, pieces = Histogram((-1024, 1000)), Histogram((-1024, 1000))
    whole.add(hu.astype(np.float64))
    for voxels in hu:
        pieces.add(voxels)
    assert np.array_equal(whole.counts, pieces.counts)
    assert whole.counts.sum() == hu.size
    for percent in (0.5, 30, 99.5):
        assert whole.percentile(percent) == pytest.approx(np.percentile(hu, percent), abs=2)
    empty = Histogram((-1024, 1000))
    assert all(map(math.isnan, (empty.wasserstein(whole), empty.percentile(5))))
    with pytest.raises(ValueError, match="same bins"):
        whole.wasserstein(Histogram((-1024, 999)))
    with pytest.raises(ValueError, match="lower"):
        Histogram((3, 3))


def test_random_convolutions_are_the_same_for_a_seed_and_take_any_size() -> None:
    images = torch.rand(3, 1, 33, 20)
    found = RandomConvolutions(0)(images)
    assert found.shape == (3, 224)
    assert torch.equal(found, RandomConvolutions(0)(images))
    assert not torch.allclose(found, RandomConvolutions(1)(images))
    assert RandomConvolutions(4).name == "random convolutions, seed 4"
    assert RandomConvolutions()(torch.rand(1, 1, 1, 2)).isfinite().all()
    state = torch.get_rng_state()
    RandomConvolutions()
    assert torch.equal(torch.get_rng_state(), state)


def test_random_features_tell_other_textures_and_other_intensities() -> None:
    def features(seeds: range, change: Callable = lambda x: x) -> np.ndarray:
        slices = np.concatenate([change(ct(seed)[1:2]) for seed in seeds])
        images = torch.from_numpy(((slices + 1000) / 1400).clip(0, 1).astype(np.float32))
        return RandomConvolutions()(images[:, None]).numpy()

    reference = features(range(12))
    same = kernel_distance(features(range(12, 24)), reference)
    assert abs(same.value) < 3 * same.standard_error
    changes = (lambda x: smoothed(x, 1.5), lambda x: x + RANDOM(0).normal(0, 80, x.shape),
               lambda x: np.where(x > -200, x + 60, x))  # fmt: skip
    for change in changes:
        changed = kernel_distance(features(range(12, 24), change), reference)
        assert changed.value > same.value + 3 * same.standard_error
        assert frechet_distance(features(range(12, 24), change), reference) > frechet_distance(
            features(range(12, 24)), reference
        )


def scaled(voxels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(((voxels.astype(np.float32) + 1024) / 2048).clip(0, 1))[:, None]


def test_a_validation_without_pairs_gives_the_metrics_of_its_images() -> None:
    source, target = scaled(ct(0)), scaled(ct(1))
    translated, cycled = scaled(0.8 * smoothed(ct(0))), scaled(smoothed(ct(0), 0.5))
    found = UnpairedValidation((-1024, 1024))
    # In batches of other sizes and with targets of another number.
    found.add(source[:1], translated[:1], cycled[:1], target[:2])
    found.add(source[1:], translated[1:], cycled[1:], target[2:])
    values = found.values()
    numbers = [side.double().numpy().ravel() * 2048 for side in (translated, target)]
    assert values["histogram_distance"] == pytest.approx(
        stats.wasserstein_distance(*numbers), abs=0.5
    )
    x, y, z = (images[:, 0].numpy() for images in (source, translated, cycled))
    for name, wanted in {
        "cycle_ssim": [cycle_ssim(x[k : k + 1], z[k : k + 1], (0, 1)) for k in range(3)],
        "self_ssim": [normalised_self_ssim(x[k : k + 1], y[k : k + 1]) for k in range(3)],
        "gradient_difference": [gradient_difference(x[k : k + 1], y[k : k + 1]) for k in range(3)],
    }.items():
        assert values[name] == pytest.approx(np.mean(wanted), rel=1e-6), name


def test_a_validation_takes_patches_masks_and_methods_without_a_way_back() -> None:
    voxels = scaled(ct(0))[:, 0][None, None]
    found = UnpairedValidation((0, 1))
    found.add(voxels, voxels, None, voxels)
    values = found.values()
    assert values["histogram_distance"] == 0
    assert values["self_ssim"] == pytest.approx(1, abs=1e-6)
    assert math.isnan(values["cycle_ssim"])
    mask = torch.zeros_like(voxels)
    mask[..., 10:50, 10:50] = 1
    noise = torch.where(mask > 0, voxels, torch.rand_like(voxels))
    found = UnpairedValidation((0, 1))
    found.add(voxels, noise, noise, noise, source_mask=mask, target_mask=mask)
    values = found.values()
    assert values["histogram_distance"] == 0
    assert values["self_ssim"] == pytest.approx(1, abs=1e-6)
    assert values["cycle_ssim"] == pytest.approx(1, abs=1e-6)
    nothing = UnpairedValidation((0, 1))
    nothing.add(voxels, noise, noise, noise, source_mask=0 * mask)
    assert all(map(math.isnan, nothing.values().values()))


def test_of_neighbouring_slices_the_middle_one_is_the_image() -> None:
    slices = scaled(ct(0))[:, 0][None]
    found = UnpairedValidation((0, 1))
    found.add(slices, slices[:, 1:2], None, slices[:, 1:2])
    assert found.values()["self_ssim"] == pytest.approx(1, abs=1e-6)
