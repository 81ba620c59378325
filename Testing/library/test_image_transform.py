"""Transforms: points, inverses, resampling and files."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from engine_samples import lps_affine, oblique_affine, random_hu

from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.image.transform import Transform, read_transform, write_transform


def matrix(seed: int, spread: float = 0.1) -> np.ndarray:
    """A matrix near the identity, with a shift of some centimetres."""
    rng = np.random.default_rng(seed)
    made = np.eye(4)
    made[:3, :3] += rng.uniform(-spread, spread, (3, 3))
    made[:3, 3] = rng.uniform(-20, 20, 3)
    return made


def spline(grid: Image, strength: float, seed: int = 0) -> sitk.Transform:
    """A smooth deformation of the whole of a grid, some `strength` mm large."""
    made = sitk.BSplineTransformInitializer(grid.to_sitk(), [4, 4, 4], 3)
    count = len(made.GetParameters())
    made.SetParameters(np.random.default_rng(seed).uniform(-strength, strength, count).tolist())
    return made


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(5).uniform(-30, 30, (7, 3))


def test_steps_are_applied_in_order(points: np.ndarray) -> None:
    first, second = matrix(1), matrix(2)
    chain = Transform((second,)).after(Transform((first,)))
    expected = points @ first[:3, :3].T + first[:3, 3]
    expected = expected @ second[:3, :3].T + second[:3, 3]
    assert np.allclose(chain.points(points), expected, atol=1e-9)
    assert len(chain.steps) == 1
    assert np.allclose(chain.matrix, second @ first)


def test_positions_are_ras_and_simpleitk_s_are_lps(points: np.ndarray) -> None:
    transform = Transform((matrix(3),))
    lps = np.array([-1, -1, 1])
    moved = [transform.to_sitk().TransformPoint((p * lps).tolist()) for p in points]
    assert np.allclose(np.array(moved) * lps, transform.points(points), atol=1e-9)


def test_the_inverse_of_a_matrix_is_exact(points: np.ndarray) -> None:
    transform = Transform((matrix(4, 0.4),))
    anywhere = Image(np.zeros((2, 2, 2)), np.eye(4))
    back = transform.inverse(anywhere).points(transform.points(points))
    assert np.allclose(back, points, atol=1e-10)


def test_a_deformation_is_inverted_to_a_tenth_of_a_millimetre() -> None:
    grid = Image(np.zeros((20, 40, 40), np.uint8), oblique_affine((2.0, 2.0, 4.0)))
    transform = Transform((matrix(6, 0.03), spline(grid, 4.0)))
    inside = grid.ras(np.random.default_rng(1).uniform((8, 8, 4), (31, 31, 15), (60, 3)))
    # Points of the moving image, brought back, are those that lead there.
    origins = transform.inverse(grid).points(inside)
    assert np.linalg.norm(transform.points(origins) - inside, axis=1).max() < 0.1
    assert (
        np.linalg.norm(Transform((transform.steps[1],)).points(inside) - inside, axis=1).max() > 1
    )


@pytest.mark.parametrize("shear", [0.0, 0.1])
def test_a_deformation_is_inverted_where_it_is_whatever_follows_it(shear: float) -> None:
    grid = Image(np.zeros((20, 40, 40), np.uint8), oblique_affine((2.0, 2.0, 4.0)))
    # As where registration began with the centres of images laid onto each other.
    far = matrix(2, shear)
    far[:3, 3] = (300, -50, 400)
    transform = Transform((spline(grid, 4.0), far))
    places = grid.ras(np.random.default_rng(1).uniform((8, 8, 4), (31, 31, 15), (60, 3)))
    inside = places @ far[:3, :3].T + far[:3, 3]
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = inside.mean(axis=0) - 80
    moving = Image(np.zeros((80, 80, 80), np.uint8), affine)
    origins = transform.inverse(moving).points(inside)
    assert np.linalg.norm(transform.points(origins) - inside, axis=1).max() < 0.1


def test_a_deformation_that_folds_is_not_inverted() -> None:
    grid = Image(np.zeros((20, 40, 40), np.uint8), lps_affine((2.0, 2.0, 4.0)))
    with pytest.raises(ImageError, match="folds space"):
        Transform((spline(grid, 80.0),)).inverse(grid)


def test_resampling_takes_the_value_where_the_transform_leads() -> None:
    moving = Image(random_hu((9, 10, 11)), oblique_affine())
    grid = Image(np.zeros((4, 5, 6)), lps_affine((3.0, 2.0, 2.0)))
    # Every voxel of the grid comes from a voxel of the moving image, two further each way.
    place = np.eye(4)
    place[:3, 3] = 2
    to_voxels = moving.affine @ place @ np.linalg.inv(grid.affine)
    for interpolation in ("linear", "nearest"):
        made = Transform((to_voxels,)).resampled(moving, grid, interpolation)
        assert np.array_equal(made.voxels, moving.voxels[2:6, 2:7, 2:8])
        assert made.voxels.dtype == np.int16
        assert np.array_equal(made.affine, grid.affine)


def test_no_steps_resample_as_images_do() -> None:
    moving = Image(random_hu((9, 10, 11)).astype(np.float32), oblique_affine())
    grid = Image(np.zeros((8, 12, 12)), moving.affine @ np.diag([0.7, 0.8, 1.1, 1.0]))
    made = Transform().resampled(moving, grid, "linear", -5)
    assert np.array_equal(made.voxels, moving.resampled_to(grid, "linear", -5).voxels)


def test_an_unknown_interpolation_is_refused() -> None:
    image = Image(random_hu((3, 3, 3)), np.eye(4))
    with pytest.raises(ImageError, match="not 'cubic'"):
        Transform().resampled(image, image, "cubic")


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
def test_a_file_keeps_every_digit(suffix: str, points: np.ndarray, tmp_path: Path) -> None:
    grid = Image(np.zeros((10, 20, 20), np.uint8), oblique_affine())
    for steps in ((), (matrix(1),), (matrix(1), spline(grid, 3.0))):
        transform = Transform(steps)
        path = write_transform(transform, tmp_path / f"{len(steps)}{suffix}")
        read = read_transform(path)
        assert np.allclose(read.points(points), transform.points(points), rtol=0, atol=1e-9)
        assert read.is_linear == transform.is_linear


def test_rotations_of_other_programs_are_read(tmp_path: Path, points: np.ndarray) -> None:
    euler = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, -0.2, 0.3, (4.0, 5.0, 6.0))
    sitk.WriteTransform(euler, str(tmp_path / "euler.tfm"))
    lps = np.array([-1, -1, 1])
    expected = np.array([euler.TransformPoint((p * lps).tolist()) for p in points]) * lps
    assert np.allclose(read_transform(tmp_path / "euler.tfm").points(points), expected, atol=1e-9)


def test_files_that_are_no_transforms_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.tfm").write_text("no transform")
    flat = tmp_path / "flat.tfm"
    sitk.WriteTransform(sitk.AffineTransform(2), str(flat))
    for name, message in (
        ("text.tfm", "cannot be read as a transform"),
        ("none.tfm", "does not exist"),
        ("flat.tfm", "2 dimensions; three are needed"),
    ):
        with pytest.raises(ImageError, match=message):
            read_transform(tmp_path / name)
    with pytest.raises(ImageError, match=r"suffix must be one of \.tfm"):
        write_transform(Transform(), tmp_path / "t.json")
    with pytest.raises(ImageError, match="there is no folder"):
        write_transform(Transform(), tmp_path / "missing" / "t.tfm")
