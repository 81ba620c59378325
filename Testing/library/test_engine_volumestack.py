"""Volumes as a 3D network sees them: resampling along the slices, against torch's own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_samples import labels_recipe, lps_affine, random_hu, stored_as, volume_recipe

from DeepTranslateLib.engine.preprocessing import slice_stack
from DeepTranslateLib.engine.volumestack import resolved_spacings, taken_spacings, volume_stack
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe

SPACINGS = [None, 1.0, 0.9, 3.0, 5.0, 20.0]


def recipe(slice_spacing: object = None, make: object = labels_recipe, **parts: object) -> Recipe:
    preprocessing = {"slice_spacing": slice_spacing, **parts.pop("preprocessing", {})}  # type: ignore[dict-item]
    return make(  # type: ignore[operator]
        sampling={"patch": [4, 8, 8], **parts.pop("sampling", {})},  # type: ignore[dict-item]
        network={"dimension": 3, "levels": 2, "channels": 2},
        preprocessing=preprocessing,
    )


def volume(slices: int = 10) -> Image:
    return Image(random_hu((slices, 12, 14)), lps_affine((1, 1, 2)))


def lines(voxels: np.ndarray) -> torch.Tensor:
    """(slices, rows, columns) as an image whose rows are lines along the slices."""
    flat = voxels.reshape(len(voxels), -1).T
    return torch.from_numpy(np.ascontiguousarray(flat)).float()[None, None]


@pytest.mark.parametrize("slice_spacing", SPACINGS)
def test_slices_are_resampled_as_torch_resizes_with_antialias(slice_spacing: float | None) -> None:
    stack = volume_stack(volume(), recipe(slice_spacing))
    depth, scaled = stack.depth, (volume().voxels + 1000.0) / 2000
    size = (12 * 14, depth)
    expected = F.interpolate(lines(scaled), size=size, mode="bilinear", antialias=True)
    ours = stack.prepared(0, depth)
    assert ours.shape == (1, depth, 12, 14)
    assert torch.allclose(lines(ours[0].numpy()), expected, atol=1e-5)
    assert stack.spacing == pytest.approx((20 / depth, 1, 1))


@pytest.mark.parametrize("slice_spacing", SPACINGS)
def test_a_slab_has_the_bits_of_the_whole_and_reads_no_more_than_it_needs(
    slice_spacing: float | None,
) -> None:
    stack = volume_stack(volume(), recipe(slice_spacing))
    whole = stack.prepared(0, stack.depth)
    for first in range(stack.depth):
        assert torch.equal(stack.prepared(first, first + 1), whole[:, first : first + 1])
        read = [place for place, _ in stack.weights(first)]
        step = 10 / stack.depth
        assert np.ptp(read) <= 2 * max(1, step)
        assert sum(weight for _, weight in stack.weights(first)) == pytest.approx(1)


@pytest.mark.parametrize("slice_spacing", SPACINGS)
def test_labels_are_those_of_the_nearest_slice(slice_spacing: float | None) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (10, 12, 14)).astype(np.uint8) * 10
    made = recipe(slice_spacing)
    stack = volume_stack(volume(), made)
    image = volume().with_voxels(labels)
    depth = stack.depth
    expected = F.interpolate(lines(labels), size=(12 * 14, depth), mode="nearest-exact")
    ours = stack.labels(image, made).numpy()
    # The recipe knows the value 10 alone.
    assert torch.equal(lines(ours * 10.0), expected.where(expected == 10, torch.zeros(())))


def test_unlabelled_slices_are_ignored_and_labelled_ones_never_lost_between_thick_slices() -> None:
    labels = np.full((10, 12, 14), 10, np.uint8)
    image = volume().with_voxels(labels)
    for slice_spacing, expected in (
        (None, {0: 1, 4: 1}),
        (1.0, {0: 1, 1: 1, 8: 1, 9: 1}),
        (5.0, {0: 1, 1: 1}),
    ):
        made = recipe(slice_spacing)
        found = volume_stack(volume(), made).labels(image, made, (0, 4)).numpy()
        for place, slice_ in enumerate(found):
            assert (slice_ == expected.get(place, 255)).all(), (slice_spacing, place)


@pytest.mark.parametrize("orientation", ["LPS", "LPI", "RAI", "PIL"])
def test_a_volume_is_the_same_however_it_is_stored(orientation: str) -> None:
    upright = volume()
    stored, made = stored_as(upright, orientation), recipe(5.0)
    first, second = volume_stack(upright, made), volume_stack(stored, made)
    assert torch.equal(first.prepared(0, first.depth), second.prepared(0, second.depth))
    if orientation == "LPI":
        labels = np.zeros((10, 12, 14), np.uint8)
        labels[7] = 10
        turned = stored_as(upright.with_voxels(labels), orientation)
        known = second.labels(turned, made, (2,)).numpy()
        assert (known == 1).any()
        assert ((known == 1) | (known == 255)).all()


def test_targets_are_resampled_as_images_are_and_weights_follow_what_counts() -> None:
    made = recipe(5.0, volume_recipe)
    stack = volume_stack(volume(), made)
    assert torch.allclose(stack.targets(volume(), made), stack.prepared(0, stack.depth), atol=1e-6)
    values = volume().with_voxels(np.full((10, 12, 14), 500, np.int16))
    known = stack.targets(values, made, slices=(0, 1, 5))
    assert torch.allclose(known[0], known[1] * 0.75, atol=1e-6)
    weights = [sum(w for n, w in stack.weights(place) if n in (0, 1, 5)) for place in range(4)]
    assert known[1, :, 0, 0].tolist() == pytest.approx(weights)


def test_planes_and_pixels_are_prepared_as_slices_are() -> None:
    made = recipe(None, sampling={"plane": "coronal"}, preprocessing={"spacing": 1.5})
    flat = labels_recipe(sampling={"plane": "coronal"}, preprocessing={"spacing": 1.5})
    stack, slices = volume_stack(volume(), made), slice_stack(volume(), flat)
    assert torch.equal(stack.prepared(0, 12)[0], slices.images(range(12))[:, 0])
    assert stack.full_size == (12, *slices.full_size)


def test_auto_is_the_median_of_the_cohort_and_kept_within_the_tolerance() -> None:
    made = recipe("auto", preprocessing={"spacing": "auto"})
    images = [Image(random_hu((4, 6, 6)), lps_affine((1, 1, mm))) for mm in (2.0, 2.4, 9.0)]
    found = resolved_spacings(made, images)
    assert (found.preprocessing.slice_spacing, found.preprocessing.spacing) == (2.4, 1.0)
    assert [volume_stack(image, found).depth for image in images] == [4, 4, 15]
    assert taken_spacings(made, found) == found
    assert resolved_spacings(found, []) is found
