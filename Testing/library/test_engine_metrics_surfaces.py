"""Surface distances: planes, boxes and balls, brute force, MONAI, cuts and empty masks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.engine.metrics.surfaces import SurfaceDistances, surface_distances

ISOTROPIC = (1.0, 1.0, 1.0)
THICK = (0.7, 0.9, 5.0)  # along I, J, K


def box(shape: tuple[int, int, int], start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def blob(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """A few boxes that stay clear of the image's edge."""
    mask = np.zeros(shape, bool)
    for _ in range(3):
        start = [int(rng.integers(1, n - 3)) for n in shape]
        stop = [int(rng.integers(a + 1, n - 1)) for a, n in zip(start, shape, strict=True)]
        mask |= box(shape, start, stop)
    return mask


def surface_by_hand(mask: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Indices of voxels with a counted neighbour, through a face, outside the mask."""
    found = []
    for place in np.argwhere(mask & counted):
        for axis in range(3):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                inside = 0 <= other[axis] < mask.shape[axis]
                if inside and counted[tuple(other)] and not mask[tuple(other)]:
                    found.append(tuple(place))
    return np.array(sorted(set(found))).reshape(-1, 3)


def distances_by_hand(start: np.ndarray, goal: np.ndarray, spacing: tuple) -> np.ndarray:
    scale = np.array(spacing[::-1])
    return np.array([np.linalg.norm((goal - place) * scale, axis=1).min() for place in start])


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([ISOTROPIC, THICK]), st.booleans())
def test_distances_are_those_of_every_pair_of_surface_voxels(
    seed: int, spacing: tuple[float, float, float], masked: bool
) -> None:
    rng = np.random.default_rng(seed)
    shape = (6, 8, 9)
    predicted, reference = rng.random((2, *shape)) < rng.choice([0.1, 0.8, 0.97])
    counted = rng.random(shape) > 0.3 if masked else np.ones(shape, bool)
    found = surface_distances(predicted, reference, spacing, counted if masked else None)
    mine, theirs = (surface_by_hand(mask, counted) for mask in (predicted, reference))
    assert (len(found.predicted), len(found.reference)) == (len(mine), len(theirs))
    if len(mine) and len(theirs):
        np.testing.assert_allclose(
            found.predicted, distances_by_hand(mine, theirs, spacing), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
            found.reference, distances_by_hand(theirs, mine, spacing), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize(("axis", "spacing"), [(0, 5.0), (1, 0.9), (2, 0.7)])
def test_halves_whose_border_is_shifted_are_apart_by_the_shift(axis: int, spacing: float) -> None:
    # Each fills the image up to a plane: the plane is the only surface, the edges are cuts.
    shape = (9, 10, 11)
    place = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
    near, far = (np.broadcast_to(place < stop, shape) for stop in (4, 6))
    found = surface_distances(near, far, THICK)
    np.testing.assert_allclose(found.predicted, 2 * spacing, rtol=1e-6)
    np.testing.assert_allclose(found.reference, 2 * spacing, rtol=1e-6)
    assert len(found.predicted) == math.prod(shape) // shape[axis]
    assert found.hausdorff95 == pytest.approx(2 * spacing)
    assert found.average == pytest.approx(2 * spacing)
    assert found.dice(2 * spacing) == 1
    assert found.dice(1.99 * spacing) == 0


def test_a_box_and_one_that_is_a_voxel_larger_all_around() -> None:
    small = box((20, 20, 20), (6, 6, 6), (14, 14, 14))
    large = box((20, 20, 20), (5, 5, 5), (15, 15, 15))
    found = surface_distances(small, large, ISOTROPIC)
    # 8^3 - 6^3 and 10^3 - 8^3 voxels; edges and corners of the large one are farther away.
    assert (len(found.predicted), len(found.reference)) == (296, 488)
    np.testing.assert_allclose(found.predicted, 1)
    distances, counts = np.unique(found.reference.round(4), return_counts=True)
    np.testing.assert_allclose(distances, [1, math.sqrt(2), math.sqrt(3)], atol=1e-4)
    assert counts.tolist() == [6 * 64, 12 * 8, 8]
    expected = (296 + 384 + 96 * math.sqrt(2) + 8 * math.sqrt(3)) / (296 + 488)
    assert found.average == pytest.approx(expected, rel=1e-6)
    assert found.hausdorff95 == pytest.approx(math.sqrt(2), rel=1e-6)
    assert found.dice(1.0) == pytest.approx((296 + 384) / (296 + 488))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 2.0)])
def test_balls_of_different_radius_are_apart_by_the_difference(
    spacing: tuple[float, float, float],
) -> None:
    size = [round(48 / s) for s in spacing[::-1]]
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, spacing[::-1], strict=True)]
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    found = surface_distances(radius < 20, radius < 14, spacing)
    assert found.average == pytest.approx(6, abs=0.35 * max(spacing))
    assert found.hausdorff95 == pytest.approx(6, abs=max(spacing))
    # Twice as large voxels are twice as far apart.
    doubled = surface_distances(radius < 20, radius < 14, [2 * s for s in spacing])
    assert doubled.average == pytest.approx(2 * found.average, rel=1e-5)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")
@pytest.mark.parametrize("spacing", [ISOTROPIC, THICK])
@pytest.mark.parametrize("seed", range(4))
def test_metrics_agree_with_monais(seed: int, spacing: tuple[float, float, float]) -> None:
    pytest.importorskip("scipy")
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    rng = np.random.default_rng(seed)
    predicted, reference = (blob(rng, (12, 16, 18)) for _ in range(2))
    found = surface_distances(predicted, reference, spacing)
    planes = [torch.from_numpy(mask[None, None]).float() for mask in (predicted, reference)]
    options = {"include_background": True, "spacing": spacing[::-1]}
    theirs = [
        compute_hausdorff_distance(*planes, percentile=95, **options),
        compute_average_surface_distance(*planes, symmetric=True, **options),
        compute_surface_dice(*planes, class_thresholds=[2.0], **options),
    ]
    mine = [found.hausdorff95, found.average, found.dice(2.0)]
    np.testing.assert_allclose(mine, [float(value) for value in theirs], rtol=1e-5)


def test_equal_masks_are_not_apart() -> None:
    mask = blob(np.random.default_rng(0), (8, 9, 10))
    found = surface_distances(mask, mask, THICK)
    assert (found.hausdorff95, found.average, found.dice(0)) == (0, 0, 1)


def test_swapping_the_sides_swaps_the_distances_and_keeps_the_metrics() -> None:
    rng = np.random.default_rng(5)
    a, b = (blob(rng, (8, 9, 10)) for _ in range(2))
    there, back = surface_distances(a, b, THICK), surface_distances(b, a, THICK)
    assert np.array_equal(there.predicted, back.reference)
    assert there.hausdorff95 == back.hausdorff95
    assert there.average == pytest.approx(back.average)
    assert there.dice(1.5) == back.dice(1.5)


def test_where_only_one_side_has_the_label_it_is_infinitely_far() -> None:
    mask, empty = box((5, 6, 7), (1, 1, 1), (3, 4, 5)), np.zeros((5, 6, 7), bool)
    for found in (surface_distances(mask, empty, THICK), surface_distances(empty, mask, THICK)):
        assert (found.hausdorff95, found.average, found.dice(1000)) == (math.inf, math.inf, 0)


def test_where_neither_side_has_a_surface_nothing_is_known() -> None:
    empty, full = np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)
    for found in (surface_distances(empty, empty, THICK), surface_distances(full, full, THICK)):
        assert math.isnan(found.hausdorff95)
        assert math.isnan(found.average)
        assert math.isnan(found.dice(1))


def test_the_edge_of_the_image_is_no_surface() -> None:
    # A body that runs through the whole scan: only its skin is its surface.
    body = box((4, 10, 10), (0, 3, 3), (4, 7, 7))
    assert len(surface_distances(body, body, ISOTROPIC).predicted) == 4 * 12


def test_a_single_slice_has_outlines() -> None:
    small, large = (box((1, 12, 12), (0, a, a), (1, b, b)) for a, b in ((4, 8), (3, 9)))
    found = surface_distances(small, large, (0.8, 0.8, 5.0))
    assert (len(found.predicted), len(found.reference)) == (12, 20)
    np.testing.assert_allclose(found.predicted, 0.8, rtol=1e-6)


def test_what_does_not_count_is_neither_measured_nor_an_outside() -> None:
    predicted = box((3, 12, 12), (0, 2, 2), (3, 10, 6))
    reference = box((3, 12, 12), (0, 2, 2), (3, 10, 8))
    counted = np.ones((3, 12, 12), bool)
    counted[:, :, 5:] = False  # hides the side that differs
    found = surface_distances(predicted, reference, ISOTROPIC, counted)
    assert (found.hausdorff95, found.average, found.dice(0)) == (0, 0, 1)
    hidden = surface_distances(predicted, reference, ISOTROPIC, np.zeros_like(counted))
    assert math.isnan(hidden.average)


def test_the_average_is_over_voxels_and_not_over_sides() -> None:
    found = SurfaceDistances(np.array([3.0]), np.array([0.0, 0.0, 1.0]))
    assert found.average == 1
    assert found.hausdorff95 == 3
    assert found.dice(1.0) == 0.75
