"""Image: validation, the three index and world conventions, axis changes and crops."""

import gc

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.image import Image, ImageError

RNG = np.random.default_rng(7)
VOXELS = RNG.integers(-500, 500, (4, 5, 6)).astype(np.int16)


@st.composite
def affines(draw):
    """Rotated, anisotropic, shifted grids, left- and right-handed."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation[:, 0] *= draw(st.sampled_from([-1, 1]))
    spacing = [draw(st.floats(0.05, 20)) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = [draw(st.floats(-1000, 1000)) for _ in range(3)]
    return affine


def oblique(left_handed=False):
    x, y = np.radians(20), np.radians(-10)
    rx = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    ry = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(rx) @ ry @ np.diag([-0.8 if left_handed else 0.8, 0.9, 4.0])
    affine[:3, 3] = [-40.25, 12.5, 900.125]
    return affine


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 5), (0, 5, 6), (4, 0, 6), ()])
def test_voxels_must_have_three_dimensions_none_empty(shape):
    with pytest.raises(ImageError, match="three dimensions"):
        Image(np.zeros(shape), np.eye(4))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "datetime64[s]"])
def test_voxels_must_be_real_numbers(dtype):
    with pytest.raises(ImageError, match="real numbers"):
        Image(np.zeros((2, 2, 2), dtype), np.eye(4))


@pytest.mark.parametrize(
    ("given_type", "kept"),
    [
        (bool, np.uint8),
        (np.float16, np.float32),
        (">i2", np.int16),
        (np.int64, np.int64),
        (np.int8, np.int8),
        (np.longdouble, np.float64),
    ],
)
def test_types_that_no_file_holds_become_the_closest_that_does(given_type, kept):
    image = Image(np.ones((2, 2, 2), given_type), np.eye(4))
    assert image.voxels.dtype == kept
    assert (image.voxels == 1).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((0, 0, np.nan), "not finite"),
        ((1, 3, np.inf), "not finite"),
        ((3, 0, 0.5), "last row"),
        ((1, 1, 0.0), "cannot be inverted"),
    ],
)
def test_an_affine_that_is_no_grid_is_refused(change, words):
    affine = np.eye(4)
    row, column, value = change
    affine[row, column] = value
    with pytest.raises(ImageError, match=words):
        Image(VOXELS, affine)


@pytest.mark.parametrize("affine", [np.eye(3), "abc", [[1, 2], [3]], None])
def test_an_affine_of_another_shape_is_refused(affine):
    with pytest.raises(ImageError, match=r"4 x 4"):
        Image(VOXELS, affine)


def test_micrometre_voxels_are_not_taken_for_flat_ones():
    assert Image(VOXELS, np.diag([1e-4, 1e-4, 1e-4, 1])).voxel_volume_mm3 == pytest.approx(1e-12)


def test_voxels_and_affine_are_read_only_and_voxels_not_copied():
    voxels, affine = VOXELS.copy(), np.eye(4)
    image = Image(voxels, affine)
    assert np.shares_memory(image.voxels, voxels)
    assert voxels.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        image.voxels[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        image.affine[0, 0] = 2
    affine[0, 3] = 99
    assert image.origin[0] == 0


@settings(max_examples=50, deadline=None)
@given(affines())
def test_geometry_is_what_simpleitk_says_of_the_same_grid(affine):
    image = Image(VOXELS, affine)
    itk = image.to_sitk()
    flip = np.array([-1, -1, 1])
    assert image.spacing == pytest.approx(itk.GetSpacing())
    assert image.origin * flip == pytest.approx(itk.GetOrigin())
    assert itk.GetSize() == image.shape[::-1]
    for ijk in [(0, 0, 0), (5, 4, 3), (2, 0, 1)]:
        point = np.array(itk.TransformIndexToPhysicalPoint(ijk)) * flip
        assert image.ras(ijk) == pytest.approx(point, abs=1e-9)
        assert image.ijk(point) == pytest.approx(ijk, abs=1e-6)
        assert image.voxels[ijk[::-1]] == itk[ijk]
    assert image.is_left_handed == (np.linalg.det(affine[:3, :3]) < 0)
    assert image.voxel_volume_mm3 == pytest.approx(np.prod(itk.GetSpacing()))
    assert not image.is_sheared
    filtered = SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines
    if np.abs(np.abs(image.directions) - 0.7).min() > 0.2:  # near 45 degrees either is right
        assert image.orientation == filtered(itk.GetDirection())


def test_ras_and_ijk_take_lists_of_points():
    image = Image(VOXELS, oblique())
    ijk = RNG.uniform(-3, 9, (2, 7, 3))
    assert image.ras(ijk).shape == (2, 7, 3)
    assert image.ijk(image.ras(ijk)) == pytest.approx(ijk)


@settings(max_examples=30, deadline=None)
@given(affines())
def test_a_trip_through_simpleitk_changes_nothing(affine):
    back = Image.from_sitk(Image(VOXELS, affine).to_sitk())
    assert (back.voxels == VOXELS).all()
    assert back.affine == pytest.approx(affine, abs=1e-9)


@pytest.mark.parametrize("share", [False, True])
def test_the_voxels_outlive_the_simpleitk_image(share):
    itk = SimpleITK.GetImageFromArray(VOXELS)
    image = Image.from_sitk(itk, share=share)
    del itk
    gc.collect()
    _ = [np.full((4, 5, 6), n, np.int16) for n in range(50)]
    assert (image.voxels == VOXELS).all()


def test_from_sitk_copies_so_that_later_writing_does_no_harm():
    itk = SimpleITK.GetImageFromArray(VOXELS)
    image = Image.from_sitk(itk)
    itk[0, 0, 0] = 4321
    assert image.voxels[0, 0, 0] == VOXELS[0, 0, 0]


def test_a_two_dimensional_simpleitk_image_is_one_slice():
    itk = SimpleITK.GetImageFromArray(VOXELS[0])
    itk.SetSpacing((2, 3))
    itk.SetOrigin((10, 20))
    image = Image.from_sitk(itk)
    assert image.shape == (1, 5, 6)
    assert image.spacing.tolist() == [2, 3, 1]
    assert image.origin.tolist() == [-10, -20, 0]


@pytest.mark.parametrize(
    ("array", "vector", "words"),
    [
        (np.zeros((2, 3, 4, 3), np.uint8), True, "3 components"),
        (np.zeros((2, 3, 4), np.complex64), False, "complex"),
        (np.zeros((2, 3, 4, 5), np.uint8), False, "2 volumes"),
    ],
)
def test_colour_complex_and_4d_simpleitk_images_are_refused(array, vector, words):
    with pytest.raises(ImageError, match=words):
        Image.from_sitk(SimpleITK.GetImageFromArray(array, isVector=vector))


CODES = ["LPS", "RAS", "RPI", "SRP", "ASL", "PIR", "ILA"]


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_oriented_agrees_with_simpleitk(code, left_handed):
    image = Image(VOXELS, oblique(left_handed))
    oriented = image.oriented(code)
    expected = SimpleITK.DICOMOrient(image.to_sitk(), code)
    assert oriented.orientation == code
    assert (oriented.voxels == SimpleITK.GetArrayFromImage(expected)).all()
    assert oriented.affine == pytest.approx(Image.from_sitk(expected).affine)
    assert np.shares_memory(oriented.voxels, image.voxels)


@settings(max_examples=40, deadline=None)
@given(affines(), st.sampled_from(CODES))
def test_orienting_moves_no_voxel_in_the_patient(affine, code):
    image = Image(VOXELS, affine)
    oriented = image.oriented(code)
    for kji in np.ndindex(*oriented.shape):
        ijk = image.ijk(oriented.ras(kji[::-1]))
        assert ijk == pytest.approx(np.rint(ijk), abs=1e-6)
        assert image.voxels[tuple(np.rint(ijk).astype(int)[::-1])] == oriented.voxels[kji]
    back = oriented.oriented(image.orientation)
    assert (back.voxels == image.voxels).all()
    assert back.affine == pytest.approx(image.affine, abs=1e-6)


@pytest.mark.parametrize("code", ["LPX", "LRS", "LP", "", "LPSS", None])
def test_an_orientation_that_is_none_is_refused(code):
    with pytest.raises(ImageError, match="three letters"):
        Image(VOXELS, np.eye(4)).oriented(code)


def test_cropped_agrees_with_simpleitk_and_shares_the_voxels():
    image = Image(VOXELS, oblique())
    cropped = image.cropped((1, 2, 0), (5, 4, 3))
    expected = image.to_sitk()[1:5, 2:4, 0:3]
    assert (cropped.voxels == SimpleITK.GetArrayFromImage(expected)).all()
    assert cropped.affine == pytest.approx(Image.from_sitk(expected).affine)
    assert np.shares_memory(cropped.voxels, image.voxels)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ((-1, 0, 0), (2, 2, 2)),
        ((0, 0, 0), (7, 2, 2)),
        ((3, 0, 0), (3, 2, 2)),
        ((0, 0), (2, 2)),
        ((0, 0, 0), (2, 2)),
    ],
)
def test_a_box_that_is_empty_or_leaves_the_image_is_refused(start, stop):
    with pytest.raises(ImageError, match="box"):
        Image(VOXELS, np.eye(4)).cropped(start, stop)


def test_other_voxels_take_the_same_place():
    image = Image(VOXELS, oblique())
    labels = image.with_voxels(VOXELS > 0)
    assert labels.same_grid(image)
    with pytest.raises(ImageError, match=r"4 x 5 x 6.*4 x 5 x 5"):
        image.with_voxels(VOXELS[:, :, 1:])


def test_same_grid_compares_the_far_corners_not_only_the_origin():
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    image = Image(np.zeros((100, 10, 10)), affine)
    stretched = affine.copy()
    stretched[2, 2] = 1.001
    assert not image.same_grid(Image(image.voxels, stretched))
    assert image.same_grid(Image(image.voxels, stretched), tolerance=0.2)
    shifted = affine.copy()
    shifted[0, 3] = 0.009
    assert image.same_grid(Image(image.voxels, shifted))
    assert not image.same_grid(image.cropped((0, 0, 0), (10, 10, 99)))
    assert not image.same_grid(image.oriented("LPS"))
