"""Resampling moves values to where they lie in the patient."""

import itertools

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from test_image import affines, oblique

from DeepTranslateLib.image import Image, ImageError

SLOPES, OFFSET = np.array([0.5, -1.25, 2.0]), 30.0


def ramp(affine, shape=(12, 14, 16)):
    """An image whose value is a linear function of the place in RAS."""
    blank = Image(np.zeros(shape), affine)
    ijk = np.stack(np.meshgrid(*(np.arange(n) for n in shape[::-1]), indexing="ij"), -1)
    values = blank.ras(ijk) @ SLOPES + OFFSET
    return blank.with_voxels(values.transpose(2, 1, 0).copy())


@settings(max_examples=25, deadline=None)
@given(affines(), st.integers(0, 2**32 - 1))
def test_a_ramp_in_the_world_stays_that_ramp_on_any_grid(affine, seed):
    image = ramp(affine)
    rng = np.random.default_rng(seed)
    grid_affine = np.eye(4)
    size = image.spacing.min()
    grid_affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * size * rng.uniform(0.3, 1, 3)
    centre = image.ras((np.array(image.shape[::-1]) - 1) / 2)
    grid_affine[:3, 3] = centre - grid_affine[:3, :3] @ [2, 1.5, 1]
    grid = Image(np.zeros((3, 4, 5)), grid_affine)
    result = image.resampled_to(grid)
    assert result.voxels.dtype == np.float32
    assert (result.affine == grid.affine).all()
    scale = np.abs(image.voxels).max()
    assert result.voxels == pytest.approx(ramp(grid_affine, (3, 4, 5)).voxels, abs=2e-6 * scale)


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_resampled_to_agrees_with_simpleitk(left_handed, interpolation):
    rng = np.random.default_rng(3)
    image = Image(rng.integers(-900, 900, (9, 10, 11)).astype(np.int16), oblique(left_handed))
    other = oblique()
    other[:3, 3] += [3, -2, 5]
    grid = Image(np.zeros((8, 12, 10)), other @ np.diag([1.3, 0.7, 0.5, 1]))
    resample = SimpleITK.ResampleImageFilter()
    resample.SetReferenceImage(grid.to_sitk())
    resample.SetDefaultPixelValue(-1024)
    if interpolation == "nearest":
        resample.SetInterpolator(SimpleITK.sitkNearestNeighbor)
        expected = resample.Execute(image.to_sitk())
    else:
        expected = resample.Execute(SimpleITK.Cast(image.to_sitk(), SimpleITK.sitkFloat32))
    result = image.resampled_to(grid, interpolation, fill=-1024)
    assert result.voxels == pytest.approx(SimpleITK.GetArrayFromImage(expected), abs=1e-3)
    assert result.same_grid(grid)
    assert (result.voxels == -1024).any()
    if interpolation == "nearest":
        assert result.voxels.dtype == np.int16


def test_a_sheared_image_can_still_be_resampled_onto_a_rectangular_grid():
    sheared = np.diag([1.0, 1.0, 2.0, 1.0])
    sheared[1, 2] = 0.6
    image = ramp(sheared)
    assert image.is_sheared
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = [2, 6, 2]
    result = image.resampled_to(Image(np.zeros((6, 6, 6)), affine))
    assert result.voxels == pytest.approx(ramp(affine, (6, 6, 6)).voxels, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(affines(), st.tuples(*[st.floats(0.2, 5)] * 3))
def test_new_spacing_keeps_the_volumes_edges(affine, factors):
    image = Image(np.zeros((6, 7, 8), np.uint8), affine)
    wanted = image.spacing * factors
    result = image.resampled(wanted, "nearest")
    for corner in itertools.product([0, 1], repeat=3):
        before = np.array(corner) * image.shape[::-1] - 0.5
        after = np.array(corner) * result.shape[::-1] - 0.5
        assert result.ras(after) == pytest.approx(image.ras(before), abs=1e-6)
    # The spacing is the wanted one up to the whole number of voxels that fits.
    fits = np.array(image.shape[::-1]) * image.spacing / wanted
    n = np.array(result.shape[::-1])
    assert (np.abs(n - fits) <= 0.5 + 1e-9)[fits > 1].all()
    assert (n * result.spacing) == pytest.approx(np.array(image.shape[::-1]) * image.spacing)


def test_halved_and_doubled_voxels_carry_a_ramp_along():
    image = ramp(oblique())
    fine = image.resampled(image.spacing / [2, 2, 4])
    assert fine.shape == (48, 28, 32)
    inner = fine.cropped((2, 2, 4), (30, 26, 44))
    assert inner.voxels == pytest.approx(ramp(inner.affine, inner.shape).voxels, abs=1e-3)
    coarse = image.resampled(image.spacing * 2)
    assert coarse.shape == (6, 7, 8)
    assert coarse.voxels == pytest.approx(ramp(coarse.affine, coarse.shape).voxels, abs=1e-3)


def test_the_same_spacing_gives_the_same_voxels():
    image = Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), oblique())
    same = image.resampled(image.spacing, "nearest")
    assert same.same_grid(image, 1e-9)
    assert (same.voxels == image.voxels).all()


def test_labels_up_to_64_bits_survive_nearest():
    labels = np.zeros((3, 4, 5), np.int64)
    labels[1, 2, 3] = 2**40 + 1
    image = Image(labels, np.eye(4))
    assert (image.resampled_to(image, "nearest").voxels == labels).all()


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, -1, 1), (1, np.nan, 1), (1, np.inf, 1)])
def test_a_spacing_that_is_none_is_refused(spacing):
    with pytest.raises(ImageError, match="three positive"):
        ramp(np.eye(4)).resampled(spacing)


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(ImageError, match="cubic"):
        ramp(np.eye(4)).resampled((1, 1, 1), "cubic")
