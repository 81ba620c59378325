"""Slices as the network sees them, whatever the storage, and their way back onto the grid."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from engine_samples import (
    ORIENTATIONS,
    labels_recipe,
    lps_affine,
    oblique_affine,
    random_hu,
    stored_as,
    volume_recipe,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.engine.body import find_body
from DeepTranslateLib.engine.labelvalues import IGNORE, channels_of_values
from DeepTranslateLib.engine.preprocessing import SliceStack, resolve_spacing, slice_stack
from DeepTranslateLib.image import Image
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import Recipe

# For each plane, which way columns, rows and slices grow when a slice is seen upright.
UPRIGHT = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}
NORMALS = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}
AXES = ("RL", "AP", "SI")


def recipe_with(plane: str = "axial", **preprocessing: object) -> Recipe:
    return labels_recipe(
        2, sampling={"plane": plane}, preprocessing={"window": None, **preprocessing}
    )


def places(orientation: str, size: tuple[int, int, int], code: str) -> np.ndarray:
    """Voxels (K, J, I) of a volume stored in an orientation that say where they are.

    The volume has `size` voxels along RL, AP and SI. A voxel holds 1 + its steps towards each
    letter of `code`, as digits to base 50, the code's last letter first.
    """
    axes = [next(n for n, pair in enumerate(AXES) if letter in pair) for letter in orientation]
    indices = np.indices([size[axis] for axis in reversed(axes)])[::-1]  # i, j, k
    value = np.zeros(indices.shape[1:], int)
    for letter in reversed(code):
        world = next(n for n, pair in enumerate(AXES) if letter in pair)
        steps = indices[axes.index(world)]
        if orientation[axes.index(world)] != letter:
            steps = size[world] - 1 - steps
        value = value * 50 + steps
    return (value + 1).astype(np.float64)


def stored(orientation: str, voxels: np.ndarray) -> Image:
    """An image whose axes point as the orientation says."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(orientation):
        world = next(n for n, pair in enumerate(AXES) if letter in pair)
        affine[world, axis] = 1.0 if letter == ("R", "A", "S")[world] else -1.0
    return Image(voxels, affine)


@settings(max_examples=60)
@given(
    st.sampled_from(ORIENTATIONS),
    st.sampled_from(sorted(UPRIGHT)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
)
def test_every_slice_is_upright_and_index_finds_the_stored_one(
    orientation: str, plane: str, size: tuple[int, int, int]
) -> None:
    code = UPRIGHT[plane]
    image = stored(orientation, places(orientation, size, code))
    stack = slice_stack(image, recipe_with(plane))
    columns, rows, slices = (
        size[next(n for n, pair in enumerate(AXES) if letter in pair)] for letter in code
    )
    assert len(stack) == slices
    assert stack.size == stack.full_size == (rows, columns)
    row, column = np.indices((rows, columns))
    pictures = stack.images(range(slices))[:, 0].numpy()
    for number, picture in enumerate(pictures):
        assert np.array_equal(picture, 1 + column + 50 * row + 2500 * number)
    normal = next(axis for axis, letter in enumerate(orientation) if letter in NORMALS[plane])
    for number in range(slices):
        taken = image.voxels.take(number, axis=2 - normal)
        (place,) = set(((taken.astype(int) - 1) // 2500).ravel().tolist())
        assert stack.index(number) == place


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "SLA", "PIR"])
def test_labels_and_target_volumes_come_from_the_same_pixels_as_the_image(
    orientation: str,
) -> None:
    rng = np.random.default_rng(0)
    shape = (4, 5, 6)
    values = rng.integers(0, 3, shape).astype(np.uint8) * 10
    image = stored_as(Image(values.astype(np.int16), oblique_affine()), orientation)
    target = stored_as(Image(values, oblique_affine()), orientation)
    stack = slice_stack(image, recipe_with())
    chosen = [2, 0]
    channels = stack.labels(target, recipe_with(), chosen)
    assert channels.dtype == torch.uint8
    assert torch.equal(channels[:, None] * 10.0, stack.images(chosen))
    volumes = volume_recipe(target={"kind": "volume", "range": [-20, 30]})
    scaled = stack.targets(image, volumes, chosen)
    assert scaled.numpy() == pytest.approx((stack.images(chosen).numpy() + 20) / 50)


@pytest.mark.parametrize(
    "dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64, np.uint8, np.int8]
)
def test_the_window_maps_its_ends_to_0_and_1_and_clips_the_rest(dtype: type) -> None:
    values = np.array([0, 10, 35, 60, 100], dtype).reshape(1, 1, 5)
    stack = slice_stack(Image(values, lps_affine()), recipe_with(window=[10, 60]))
    picture = stack.images([0])
    assert picture.dtype == torch.float32
    assert picture.flatten().tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_without_a_window_values_are_not_changed() -> None:
    values = random_hu((2, 3, 4))
    stack = slice_stack(Image(values, lps_affine()), recipe_with())
    assert np.array_equal(stack.images([1, 0])[:, 0].numpy(), values[[1, 0]])


def test_making_pictures_does_not_touch_the_volume() -> None:
    values = random_hu((2, 24, 24)).astype(np.float32)
    before = values.copy()
    image = Image(values, lps_affine((5, 5, 5)))
    for recipe in (recipe_with(), recipe_with(window=[-100, 100]), recipe_with(body_crop=True)):
        slice_stack(image, recipe).images([0, 1])[:] = 7
    assert np.array_equal(values, before)


def test_channels_follow_the_order_of_labels_and_their_further_values() -> None:
    target = {
        "kind": "labels",
        "labels": [{"value": 7, "name": "a", "also": [3, 9]}, {"value": 1, "name": "b"}],
        "ignore": 200,
    }
    recipe = labels_recipe(target=target)
    values = np.array([[0, 7, 3], [9, 1, 200], [2, 255, 10]], np.uint8)
    expected = [[0, 1, 1], [1, 2, IGNORE], [0, 0, 0]]
    assert channels_of_values(values, recipe).tolist() == expected
    assert channels_of_values(values.astype(np.float32), recipe).tolist() == expected
    # Without `ignore` every value counts, 255 too.
    recipe = dataclasses.replace(recipe, target=dataclasses.replace(recipe.target, ignore=None))
    assert channels_of_values(values, recipe)[1, 2] == 0


# ---- pixel size


def image_of_spacing(columns: float, rows: float, slices: float = 5.0) -> Image:
    return Image(np.zeros((2, 20, 30), np.int16), lps_affine((columns, rows, slices)))


def test_auto_is_the_median_pixel_size_in_the_geometric_sense() -> None:
    def auto(*images: Image) -> float | None:
        return resolve_spacing(recipe_with(spacing="auto"), images)

    assert auto(*(image_of_spacing(size, size) for size in (0.7, 3.0, 0.8))) == 0.8
    # Of an even number the geometric mean of the middle two, so that factors are shared fairly.
    assert auto(image_of_spacing(0.8, 0.8), image_of_spacing(3.2, 3.2)) == 1.6
    # A pixel that is not square counts by its area.
    assert auto(image_of_spacing(1.0, 4.0)) == 2.0


@pytest.mark.parametrize(("plane", "expected"), [("axial", 1.0), ("coronal", 2.0)])
def test_auto_looks_at_the_pixels_of_the_plane(plane: str, expected: float) -> None:
    image = stored_as(image_of_spacing(1.0, 1.0, 4.0), "PIR")
    assert resolve_spacing(recipe_with(plane, spacing="auto"), [image]) == expected


def test_a_spacing_that_is_given_needs_no_images() -> None:
    assert resolve_spacing(recipe_with(spacing=1.25), []) == 1.25
    assert resolve_spacing(recipe_with(spacing=None), []) is None


@pytest.mark.parametrize(
    ("columns", "rows", "spacing", "tolerance", "size"),
    [
        (1.0, 1.0, None, 0.25, (20, 30)),
        (1.0, 1.0, 2.0, 0.25, (10, 15)),
        (1.0, 1.0, 0.5, 0.25, (40, 60)),
        (1.0, 1.0, 1.24, 0.25, (20, 30)),
        (1.0, 1.0, 1.26, 0.25, (16, 24)),
        (1.0, 1.0, 0.81, 0.25, (20, 30)),
        (1.0, 1.0, 0.79, 0.25, (25, 38)),
        (1.0, 1.0, 1.24, 0.0, (16, 24)),
        # One axis outside the tolerance brings both to the wanted size: pixels become square.
        (1.0, 2.0, 1.0, 0.25, (40, 30)),
        (0.5, 1.0, 1.0, 0.25, (20, 15)),
    ],
)
def test_slices_outside_the_tolerance_are_brought_to_the_spacing(
    columns: float, rows: float, spacing: float | None, tolerance: float, size: tuple[int, int]
) -> None:
    recipe = recipe_with(spacing=spacing, spacing_tolerance=tolerance)
    stack = slice_stack(image_of_spacing(columns, rows), recipe)
    assert stack.size == stack.full_size == size
    assert stack.images([0, 1]).shape == (2, 1, *size)


def test_no_slice_vanishes_however_coarse_the_spacing() -> None:
    stack = slice_stack(image_of_spacing(0.01, 0.01), recipe_with(spacing=20.0))
    assert stack.images([0]).shape == (1, 1, 1, 1)


@settings(max_examples=40)
@given(
    st.integers(30, 50),
    st.integers(30, 50),
    st.floats(0.5, 2),
    st.floats(0.5, 2),
    st.floats(0.5, 2),
)
def test_a_ramp_stays_in_its_place_when_resampled_and_when_brought_back(
    rows: int, columns: int, row_mm: float, column_mm: float, spacing: float
) -> None:
    def ramp(height: int, width: int) -> np.ndarray:
        """Position along a diagonal in mm, of the centres of so many pixels over the slice."""
        row, column = (np.indices((height, width)) + 0.5) / [[[height]], [[width]]]
        return row * rows * row_mm + column * columns * column_mm

    def assert_same_place(found: torch.Tensor, expected: np.ndarray, reach_mm: float) -> None:
        """Equal where the border, with nothing beyond to interpolate with, is out of reach."""
        sizes = rows * row_mm / expected.shape[0], columns * column_mm / expected.shape[1]
        inner = tuple(slice(math.ceil(reach_mm / mm), -math.ceil(reach_mm / mm)) for mm in sizes)
        apart = (found[0, 0].numpy() - expected)[inner]
        # A pixel's weights at fractional places follow a ramp to some hundredths of a pixel;
        # conventions that differ by half a pixel are off by more, and all to one side.
        largest = max(row_mm, column_mm, *sizes)
        assert np.abs(apart).max() < 0.15 * largest
        assert abs(apart.mean()) < 0.03 * largest

    image = Image(ramp(rows, columns)[None], lps_affine((column_mm, row_mm, 1)))
    stack = slice_stack(image, recipe_with(spacing=spacing, spacing_tolerance=0.0))
    reach = 2 * max(row_mm, column_mm, spacing)
    assert_same_place(stack.images([0]), ramp(*stack.size), reach)
    shrunk = torch.from_numpy(ramp(*stack.size))[None, None].float()
    assert_same_place(stack.restore(shrunk), ramp(rows, columns), reach)


def test_shrinking_averages_over_the_area_of_the_larger_pixel() -> None:
    # One pixel in sixteen is bright, off the points that a plain interpolation would look at.
    dots = np.zeros((1, 64, 64), np.float32)
    dots[:, ::4, ::4] = 16
    stack = slice_stack(Image(dots, lps_affine()), recipe_with(spacing=4.0))
    assert stack.images([0])[0, 0, 1:-1, 1:-1].numpy() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("spacing", [0.6, 1.7])
def test_labels_are_resized_without_mixing_and_in_the_same_place_as_the_image(
    spacing: float,
) -> None:
    pattern = np.random.default_rng(0).integers(0, 2, (4, 5))
    labels = np.kron(pattern, np.ones((12, 12)))[None].astype(np.uint8) * 20
    recipe = recipe_with(spacing=spacing)
    stack = slice_stack(Image(labels.astype(np.float32), lps_affine()), recipe)
    channels = stack.labels(Image(labels, lps_affine()), recipe, [0])[0]
    assert channels.shape == stack.size
    assert set(channels.unique().tolist()) == {0, 2}
    image = stack.images([0])[0, 0]
    assert (channels[image > 19.99] == 2).all()
    assert (channels[image < 0.01] == 0).all()
    # In between by less than half a pixel: the border of the labels is that of the image.
    assert ((channels == 2) == (image > 10)).float().mean() > 0.99


def test_a_larger_pixel_has_the_label_at_its_middle() -> None:
    labels = np.zeros((1, 12, 12), np.uint8)
    labels[:, 1::3, 1::3] = 10
    recipe = recipe_with(spacing=3.0)
    image = Image(labels, lps_affine())
    channels = slice_stack(image, recipe).labels(image, recipe, [0])
    assert channels.tolist() == [[[1] * 4] * 4]


def test_padding_far_below_air_does_not_bleed_into_the_image() -> None:
    values = random_hu((1, 40, 40))
    padded, air = values.copy(), values.copy()
    corner = np.hypot(*np.indices((40, 40))) < 20
    padded[0][corner], air[0][corner] = -3024, -1024
    recipe = recipe_with(window=[-300, 300], spacing=1.7)
    pictures = [
        slice_stack(Image(voxels, lps_affine()), recipe).images([0]) for voxels in (padded, air)
    ]
    assert pictures[0].shape[2:] == (24, 24)
    assert torch.equal(*pictures)


# ---- back onto the grid


@pytest.mark.parametrize("plane", sorted(UPRIGHT))
def test_what_is_taken_out_is_put_back_exactly(plane: str) -> None:
    image = stored_as(Image(random_hu((5, 6, 7)), oblique_affine()), "SLA")
    stack = slice_stack(image, recipe_with(plane))
    output = np.zeros(stack.voxels.shape)
    for number in range(len(stack)):
        restored = stack.restore(stack.images([number]))[0, 0].numpy()
        stack.paste(restored, number, output[number])
    assert np.array_equal(output, stack.voxels)


def cropped_stack(margin: float = 20.0) -> tuple[SliceStack, Image]:
    phantom = torso(1, 0.2, slices=3, size=(64, 64), spacing=(8, 8, 8))
    recipe = recipe_with(body_crop=True, body_margin=margin)
    return slice_stack(phantom.image, recipe), phantom.labels


def test_what_is_pasted_stays_inside_the_body_and_what_is_beside_it_is_kept() -> None:
    stack, _ = cropped_stack()
    top, bottom, left, right = stack.body.box
    assert (bottom - top, right - left) == stack.size != stack.full_size
    whole = np.full(stack.voxels.shape[1:], -5)
    stack.paste(np.ones(stack.size, int), 1, whole)
    box = np.zeros(whole.shape, bool)
    box[top:bottom, left:right] = True
    assert (whole[~box] == -5).all()
    assert np.array_equal(whole[top:bottom, left:right] == 1, stack.body.inside([1])[0])


# ---- body


@pytest.mark.parametrize("size", [(80, (6, 6, 8)), (96, (5.2, 5.2, 3)), (160, (3, 3, 10))])
@pytest.mark.parametrize(("seed", "adiposity"), [(0, 0.0), (1, 0.5), (2, 1.0)])
def test_the_body_crop_holds_the_body_and_leaves_the_table_out(
    seed: int, adiposity: float, size: tuple[int, tuple[float, float, float]]
) -> None:
    pixels, spacing = size
    phantom = torso(seed, adiposity, slices=3, size=(pixels, pixels), spacing=spacing)
    body = find_body(phantom.image.voxels, spacing[::-1], margin=20)
    labels = phantom.labels.voxels > 0
    top, bottom, left, right = body.box
    box = np.zeros(labels.shape, bool)
    box[:, top:bottom, left:right] = True
    assert not labels[~box].any()
    inside = np.zeros(labels.shape, bool)
    inside[:, top:bottom, left:right] = body.inside(range(3))
    assert (inside | ~labels).all()
    # The far shell of the table is the lowest thing denser than air.
    rows = np.flatnonzero((phantom.image.voxels > -600).any(axis=(0, 2)))
    assert not inside[:, rows[-1]].any()
    assert box.mean() < 1


def test_without_a_body_the_whole_slice_is_kept() -> None:
    for value in (-1000, -3024):
        body = find_body(np.full((3, 20, 30), value, np.int16), (5.0, 1.0, 1.0), 20)
        assert body.box == (0, 20, 0, 30)
        assert body.inside([0, 2]).shape == (2, 20, 30)
        assert body.inside([0, 2]).all()


def test_a_body_that_fills_the_image_is_kept_whole() -> None:
    body = find_body(np.full((3, 20, 30), 40, np.int16), (5.0, 1.0, 1.0), 20)
    assert body.box == (0, 20, 0, 30)
    assert body.inside([0, 1, 2]).all()


def test_the_margin_is_in_millimetres_on_both_axes() -> None:
    voxels = np.full((1, 100, 100), -1000, np.int16)
    voxels[0, 40:60, 40:60] = 50
    boxes = [find_body(voxels, (4.0, 4.0, 8.0), margin).box for margin in (0, 24, 10_000)]
    assert boxes[0] == (40, 60, 40, 60)
    assert boxes[1] == (40 - 6, 60 + 6, 40 - 3, 60 + 3)
    assert boxes[2] == (0, 100, 0, 100)


def test_lungs_and_gas_belong_to_the_body() -> None:
    voxels = np.full((2, 60, 60), -1000, np.int16)
    voxels[:, 10:50, 10:50] = 30
    voxels[:, 20:40, 20:40] = -850
    body = find_body(voxels, (5.0, 4.0, 4.0), 0)
    assert body.inside([0, 1])[:, 20 - body.box[0], 25 - body.box[2]].all()


def test_both_legs_are_body_and_a_small_thing_beside_is_not() -> None:
    voxels = np.full((2, 60, 100), -1000, np.int16)
    voxels[:, 20:40, 10:30] = 30
    voxels[:, 20:40, 60:75] = 30
    voxels[:, 5:9, 90:94] = 30
    body = find_body(voxels, (5.0, 4.0, 4.0), 0)
    assert body.box == (20, 40, 10, 75)


def test_thin_sheets_and_tables_beside_the_body_are_seen_as_air() -> None:
    recipe = recipe_with(body_crop=True, body_margin=200)
    voxels = np.full((2, 80, 80), -1000, np.int16)
    voxels[:, 30:50, 30:50] = 30
    voxels[:, 70, :] = 200
    stack = slice_stack(Image(voxels, lps_affine((4.0, 4.0, 5.0))), recipe)
    assert stack.size == (80, 80)
    picture = stack.images([0])[0, 0]
    assert (picture[30:50, 30:50] == 30).all()
    assert (picture[70] == -1000).all()
    assert voxels[0, 70, 0] == 200


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_the_body_mask_fits_any_volume_and_pixel_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 20, 3))
    spacing = tuple(float(s) for s in np.exp(rng.uniform(-2, 2.5, 3)))
    voxels = np.where(rng.random(shape) < 0.7, 40, -1000).astype(np.int16)
    body = find_body(voxels, spacing, float(rng.uniform(0, 50)))
    top, bottom, left, right = body.box
    assert 0 <= top < bottom <= shape[1]
    assert 0 <= left < right <= shape[2]
    inside = body.inside(range(shape[0]))
    assert inside.shape == (shape[0], bottom - top, right - left)


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "SLA", "AIR"])
def test_the_body_is_found_the_same_however_the_volume_is_stored(orientation: str) -> None:
    phantom = torso(3, 0.5, slices=4, size=(48, 48), spacing=(10, 10, 8))
    recipe = recipe_with(body_crop=True)
    upright = slice_stack(phantom.image, recipe)
    turned = slice_stack(stored_as(phantom.image, orientation), recipe)
    assert turned.body.box == upright.body.box
    assert torch.equal(turned.images(range(4)), upright.images(range(4)))
