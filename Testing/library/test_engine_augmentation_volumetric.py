"""Changes of 3D patches: geometry in millimetres, against SimpleITK, numpy and SciPy."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from augmentation_samples import assert_even, assert_share, everything
from augmentation_samples import only as only_one
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter

from DeepTranslateLib.engine.augmentation import (
    Change,
    PatchShape,
    apply_changes,
    sample_patch_change,
)
from DeepTranslateLib.engine.augmentation.sharpness import Blur, LowResolution
from DeepTranslateLib.engine.augmentation.spatial import Elastic, sampling_grid
from DeepTranslateLib.engine.augmentation.volumetric import perspective, reach, rotation
from DeepTranslateLib.recipe import Augmentation

CPU = torch.device("cpu")
CUBES = PatchShape((32, 64, 64), (256, 512, 512), (1.0, 1.0, 1.0))
THICK = PatchShape((8, 64, 64), (40, 512, 512), (4.0, 0.8, 0.8))


def only(kind: str, probability: float = 1.0, **ranges: object) -> Augmentation:
    """One kind, with its probability, and neither tilts nor flips besides."""
    return only_one(kind, probability, **{"tilt": 0.0, "flip_slices": 0.0, **ranges})


def drawn(augmentation: Augmentation, count: int, shape: PatchShape = CUBES) -> list[Change]:
    random = np.random.default_rng(3)
    return [sample_patch_change(augmentation, shape, random) for _ in range(count)]


def in_millimetres(homography: np.ndarray, shape: PatchShape) -> np.ndarray:
    scales = np.diag([*reversed(shape.spacing), 1.0])
    return scales @ homography @ np.linalg.inv(scales)


def applied(voxels: np.ndarray, change: Change) -> tuple[np.ndarray, np.ndarray]:
    image = torch.from_numpy(voxels.astype(np.float32))[None, None]
    labels = torch.from_numpy((voxels > 0.5).astype(np.uint8))[None]
    images, targets = apply_changes(image, labels, [voxels.shape], [change], voxels.shape)
    return images[0, 0].numpy(), targets[0].numpy()


def still(homography: np.ndarray, elastic: Elastic | None = None) -> Change:
    return Change(homography, 0.0, 0.0, 0, elastic)


def smooth(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return (noise - noise.min()) / np.ptp(noise)


def test_an_affine_change_is_that_of_simpleitk_on_voxels_that_are_no_cubes() -> None:
    spacing, voxels = (3.0, 0.7, 1.1), smooth((14, 40, 30))
    matrix = rotation(0.2, -0.3, 0.6)[:3, :3] * 1.1
    shift = np.array([2.0, -1.5, 3.0])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, shift
    scales = np.diag([*reversed(spacing), 1.0])
    ours, labels = applied(voxels, still(np.linalg.inv(scales) @ affine @ scales))
    image = sitk.GetImageFromArray(voxels.astype(np.float32))
    image.SetSpacing(spacing[::-1])
    transform = sitk.AffineTransform(matrix.ravel().tolist(), shift.tolist())
    transform.SetCenter(
        image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    )
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, image, transform, sitk.sitkLinear, -1.0))
    # SimpleITK repeats the outermost voxels for half a voxel, where ours fade to air.
    core = sitk.GetImageFromArray(np.pad(np.ones(np.array(voxels.shape) - 2, np.float32), 1))
    core.CopyInformation(image)
    inside = sitk.GetArrayFromImage(sitk.Resample(core, image, transform)) > 0.999
    assert inside.mean() > 0.3
    assert ours[inside] == pytest.approx(theirs[inside], abs=2e-5)
    named = sitk.Resample(
        image > 0.5, image, transform, sitk.sitkNearestNeighbor, 255, sitk.sitkUInt8
    )
    # Points halfway between two voxels may be rounded either way.
    assert (labels[inside] == sitk.GetArrayFromImage(named)[inside]).mean() > 0.999


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
def test_a_quarter_turn_is_that_of_numpy(axis: int, plane: tuple[int, int]) -> None:
    voxels = np.random.default_rng(axis).random((9, 9, 9))
    angles = [0.0, 0.0, 0.0]
    angles[2 - axis] = np.pi / 2
    turned, labels = applied(voxels, still(rotation(*angles)))
    ways = [np.rot90(voxels, k, plane) for k in (1, 3)]
    assert min(np.abs(turned - way).max() for way in ways) < 1e-5
    assert any(np.array_equal(labels, way > 0.5) for way in ways)


@pytest.mark.parametrize("shape", [CUBES, THICK])
def test_turns_are_rigid_in_millimetres_and_tilts_small_for_thick_slices(shape: PatchShape) -> None:
    changes = drawn(only("rotation", rotation=70.0, tilt=20.0), 300, shape)
    thickness = shape.spacing[0] / shape.spacing[1]
    tilts = []
    for change in changes:
        turn = in_millimetres(change.homography, shape)[:3, :3]
        assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-9)
        assert np.linalg.det(turn) == pytest.approx(1)
        # Rz, then Ry, then Rx: the last rows and columns give the two tilts back.
        tilts.append(np.rad2deg(np.arcsin(-turn[0, 2])))
    assert_even(tilts, -20.0 / thickness, 20.0 / thickness)


def test_turns_in_the_plane_have_the_range_of_slices() -> None:
    changes = drawn(only("rotation", rotation=70.0, tilt=0.0), 400)
    angles = [np.rad2deg(np.arctan2(c.homography[1, 0], c.homography[0, 0])) for c in changes]
    assert_even(angles, -70, 70)
    assert all(np.allclose(c.homography[2], [0, 0, 1, 0]) for c in changes)


@pytest.mark.parametrize(
    ("field", "axis"), [("flip_slices", 0), ("flip_up_down", 1), ("flip_left_right", 2)]
)
def test_flips_reverse_one_axis_and_happen_as_often_as_asked(field: str, axis: int) -> None:
    fields = {"flip_slices": 0, "flip_up_down": 0, "flip_left_right": 0}
    (change,) = drawn(only("rotation", 0.0, **{**fields, field: 1.0}), 1)
    voxels = np.random.default_rng(0).random((5, 6, 7))
    assert applied(voxels, change)[0] == pytest.approx(np.flip(voxels, axis), abs=1e-5)
    often = drawn(only("rotation", 0.0, **{**fields, field: 0.3}), 1000)
    mirrored = sum(change.homography[2 - axis, 2 - axis] < 0 for change in often)
    assert_share(mirrored / 1000, 0.3, 1000)


def test_scales_keep_the_shape_of_things_and_are_even_in_their_logarithm() -> None:
    changes = drawn(only("scale", scale=(0.5, 2.0)), 400, THICK)
    assert all(np.allclose(c.homography, np.diag([c.homography[0, 0]] * 3 + [1])) for c in changes)
    assert_even([-np.log(c.homography[0, 0]) for c in changes], np.log(0.5), np.log(2.0))


def test_shifts_are_in_pixels_along_all_axes_and_end_at_a_quarter_of_the_patch() -> None:
    augmentation = only("translation", translation=10.0)
    for shape, reaches in ((CUBES, (10, 10, 8)), (THICK, (10, 10, 2))):
        shifts = np.array([change.homography[:3, 3] for change in drawn(augmentation, 400, shape)])
        for axis, far in enumerate(reaches):
            assert_even(list(shifts[:, axis]), -far, far)


def test_a_perspective_is_recovered_from_eight_points() -> None:
    corners = np.array(list(itertools.product([-10.0, 10.0], repeat=3)))
    true = np.eye(4) + np.random.default_rng(1).uniform(-0.02, 0.02, (4, 4))
    true /= true[3, 3]
    moved = np.c_[corners, np.ones(8)] @ true.T
    assert perspective(corners, moved[:, :3] / moved[:, 3:]) == pytest.approx(true, abs=1e-9)


@pytest.mark.parametrize("shape", [CUBES, THICK])
def test_perspectives_move_corners_about_as_far_as_asked(shape: PatchShape) -> None:
    half = max(shape.full_size[1:]) / 2
    corners = np.array(list(itertools.product([-half, half], repeat=3)))
    scales = np.diag([*shape.scales, 1.0])
    moves = []
    for change in drawn(only("perspective", perspective=30.0), 200, shape):
        points = np.c_[corners, np.ones(8)] @ (scales @ change.homography @ np.linalg.inv(scales)).T
        moves.append(points[:, :3] / points[:, 3:] - corners)
    assert np.abs(np.mean(moves)) < 1
    # Of 24 shifts drawn, 15 parameters follow: the SD is that of the even distribution, less.
    expected = 30 / np.sqrt(3) * np.sqrt(15 / 24)
    assert np.std(moves) == pytest.approx(expected, rel=0.1)


def test_deformations_are_cubic_b_splines_along_all_three_axes() -> None:
    shifts = np.random.default_rng(0).uniform(-1, 1, (3, 6, 7, 8))
    spacings, canvas = (2.5, 4.0, 3.0), (6, 9, 7)
    kernel = BSpline.basis_element(np.arange(-2, 3), extrapolate=False)

    def weights(length: int, points: int, apart: float) -> np.ndarray:
        places = (np.arange(length) - (length - 1) / 2) / apart + (points - 1) / 2
        return np.nan_to_num(kernel(places[:, None] - np.arange(points)))

    along = [weights(*each) for each in zip(canvas, shifts.shape[1:], spacings, strict=True)]
    expected = np.einsum("ai,bj,ck,xijk->xabc", *along, shifts)
    moved = Elastic(shifts, spacings).displacement(canvas, CPU)
    assert moved.numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", [CUBES, THICK])
def test_the_strongest_deformation_that_a_recipe_allows_does_not_fold(shape: PatchShape) -> None:
    augmentation = only("elastic", elastic=16.0, elastic_spacing=40.0)
    for change in drawn(augmentation, 3, shape):
        assert change.elastic is not None
        moved = change.elastic.displacement(shape.size, CPU).double().numpy()
        places = np.stack(np.meshgrid(*map(np.arange, shape.size), indexing="ij"))
        sources = places + moved[::-1]
        jacobian = np.stack([np.stack(np.gradient(source)) for source in sources])
        assert np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min() > 0


@pytest.mark.parametrize("shape", [CUBES, THICK])
def test_no_change_reads_farther_than_its_reach(shape: PatchShape) -> None:
    for change in drawn(everything(rotation=180.0, tilt=60.0, scale=(0.5, 2.0)), 5, shape):
        far = reach(change.homography, change.elastic, shape.size)
        assert far is not None
        image = torch.zeros(1, 1, *shape.size)
        centre = [length / 2 for length in shape.size]
        grid = sampling_grid(image, [centre], [change.homography], [change.elastic], shape.size)
        away = np.abs(grid[0].numpy()).max(axis=(0, 1, 2))[::-1] * np.array(shape.size) / 2
        assert np.all(away <= np.array(far) + 1e-3)


def test_blur_and_low_resolution_are_as_wide_in_millimetres_along_all_axes() -> None:
    spot = torch.zeros(1, 21, 41, 41)
    spot[0, 10, 20, 20] = 1
    blurred = Blur(3.0, thickness=2.0)(spot)[0].numpy()
    for axis, expected in enumerate((1.5, 3.0, 3.0)):
        places = np.arange(blurred.shape[axis]) - blurred.shape[axis] // 2
        line = blurred.sum(axis=tuple({0, 1, 2} - {axis}))
        assert np.sqrt((line * places**2).sum()) == pytest.approx(expected, rel=0.02)
    steps = torch.arange(8.0)[None, :, None, None].expand(1, 8, 8, 8) / 8
    assert torch.allclose(LowResolution(4.0, thickness=4.0)(steps), steps, atol=1e-6)
    assert not torch.allclose(LowResolution(4.0, thickness=2.0)(steps), steps, atol=1e-2)


def test_rings_and_boxes_of_air_differ_from_slice_to_slice() -> None:
    ring = drawn(only("ring", ring_sd=0.2), 1)[0].effects[0]
    shown = ring(torch.full((1, 4, 32, 32), 0.5))[0]
    assert not torch.equal(shown[0], shown[1])
    for change in drawn(only("dropout", dropout_count=1, dropout_size=200.0), 20, THICK):
        left = change.effects[0](torch.ones(1, *THICK.size))[0] == 0
        slices, rows, columns = (left.any(dim=d).any(dim=d2) for d, d2 in ((2, 1), (2, 0), (0, 0)))
        # One box: as many voxels as its three sides span.
        assert left.sum() == slices.sum() * rows.sum() * columns.sum()


def test_every_change_of_a_patch_is_the_same_when_it_is_applied_again() -> None:
    (change,) = drawn(everything(), 1, PatchShape((8, 16, 16), (8, 64, 64), (2.0, 1.0, 1.0)))
    voxels = smooth((8, 16, 16))
    first, second = applied(voxels, change), applied(voxels, change)
    assert np.array_equal(first[0], second[0])
    assert np.isfinite(first[0]).all()
    assert len(change.effects) == 11
