"""Scale and elastic deformation: geometry against point mapping, in the one sampling grid."""

import numpy as np
import pytest
import torch
from augmentation_samples import assert_even, changes, only
from scipy.interpolate import BSpline
from test_engine_augmentation import random_homography, sampled_by_hand, through

from DeepTranslateLib.engine.augmentation import Change, apply_changes
from DeepTranslateLib.engine.augmentation.spatial import Elastic

CPU = torch.device("cpu")


def elastic(seed: int = 0, reach: float = 2.0, spacing: float = 6.0, points: int = 9) -> Elastic:
    shifts = np.random.default_rng(seed).uniform(-reach, reach, (2, points, points))
    return Elastic(shifts, spacing)


def displacement(deformation: Elastic, canvas: tuple[int, int]) -> np.ndarray:
    return deformation.displacement(canvas, CPU).double().numpy()


def applied(image: np.ndarray, change: Change, canvas: tuple[int, int]) -> np.ndarray:
    pixels = torch.from_numpy(image.astype(np.float32))[None, None]
    target = torch.zeros(1, *image.shape, dtype=torch.uint8)
    return apply_changes(pixels, target, [image.shape], [change], canvas)[0][0, 0].numpy()


def test_scales_are_even_in_their_logarithm_and_keep_angles() -> None:
    drawn = [change.homography for change in changes(only("scale", scale=(0.5, 2.0)), 500)]
    assert all(np.allclose(m, np.diag([m[0, 0], m[0, 0], 1])) for m in drawn)
    assert_even([-np.log(m[0, 0]) for m in drawn], np.log(0.5), np.log(2.0))


def test_a_scale_of_two_shows_everything_twice_as_large() -> None:
    (change,) = changes(only("scale", scale=(2.0, 2.0)), 1)
    picture = np.zeros((32, 32))
    picture[12:20, 10:22] = 1
    larger = applied(picture, change, (32, 32))
    assert larger.sum() == pytest.approx(4 * picture.sum(), rel=0.05)
    assert larger[16, 16] == 1
    rows, columns = np.nonzero(larger > 0.5)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (16, 24)


def test_deformations_are_cubic_b_splines() -> None:
    deformation = elastic()
    moved = displacement(deformation, (20, 16))
    kernel = BSpline.basis_element(np.arange(-2, 3), extrapolate=False)

    def weights(length: int) -> np.ndarray:
        places = (np.arange(length) - (length - 1) / 2) / 6.0 + 4
        return np.nan_to_num(kernel(places[:, None] - np.arange(9)))

    expected = np.einsum("ri,aij,cj->arc", weights(20), deformation.shifts, weights(16))
    assert moved == pytest.approx(expected, abs=1e-6)


def test_control_points_on_a_straight_line_move_pixels_on_it() -> None:
    places = np.arange(9) - 4.0
    shifts = np.stack([np.tile(places * 0.3, (9, 1)), np.full((9, 9), 1.5)])
    moved = displacement(Elastic(shifts, 6.0), (20, 20))
    line = (np.arange(20) - 9.5) / 6 * 0.3
    assert moved[0] == pytest.approx(np.tile(line, (20, 1)), abs=1e-6)
    assert moved[1] == pytest.approx(np.full((20, 20), 1.5), abs=1e-6)


def test_beyond_the_control_points_the_deformation_goes_on_as_at_the_outermost() -> None:
    moved = displacement(elastic(points=5), (100, 10))
    assert moved[:, :40] == pytest.approx(np.repeat(moved[:, :1], 40, axis=1), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_deformations_that_a_recipe_may_have_do_not_fold(seed: int) -> None:
    deformation = elastic(seed, reach=0.4 * 10, spacing=10, points=14)
    deformation.shifts[...] = np.sign(deformation.shifts) * 4.0
    u, v = displacement(deformation, (100, 100))
    jacobian = (1 + np.gradient(u, axis=1)) * (1 + np.gradient(v, axis=0)) - np.gradient(
        u, axis=0
    ) * np.gradient(v, axis=1)
    assert jacobian.min() > 0


def test_shifts_are_even_up_to_the_largest_and_scale_with_the_image() -> None:
    for size, factor in (((512, 400), 1.0), ((256, 200), 0.5)):
        drawn = [
            change.elastic
            for change in changes(only("elastic", elastic=8, elastic_spacing=64), 5, size)
        ]
        assert {each.spacing for each in drawn if each} == {64 * factor}
        values = np.concatenate([each.shifts.ravel() for each in drawn if each])
        assert_even(list(values), -8 * factor, 8 * factor)
        moved = displacement(drawn[0], size)  # type: ignore[arg-type]
        assert 1 * factor < np.abs(moved).max() <= 8 * factor


def test_deformation_and_homography_are_sampled_in_one_step() -> None:
    rng = np.random.default_rng(4)
    # Linear in rows and columns, so that a value says which point of the source it was read at.
    rows, columns = np.mgrid[:41, :41]
    homography = random_homography(rng, (20, 20))
    deformation = elastic(7)
    change = Change(homography, 0, 0, 0, deformation)
    u, v = displacement(deformation, (20, 20))
    y, x = np.mgrid[:20, :20] - 9.5
    points = np.column_stack([(x + u).ravel(), (y + v).ravel()])
    source = (through(homography, points) + 20).reshape(20, 20, 2)
    inside = ((source > 1) & (source < 39)).all(axis=-1)
    assert inside.sum() > 200
    for picture, axis in ((columns, 0), (rows, 1)):
        read = applied(picture, change, (20, 20))
        assert read[inside] == pytest.approx(source[..., axis][inside], abs=1e-3)


def test_labels_are_deformed_in_step_with_the_image() -> None:
    labels = np.kron(np.random.default_rng(1).integers(0, 2, (4, 4)), np.ones((9, 9)))
    pixels = torch.from_numpy(labels.astype(np.float32))[None, None]
    target = torch.from_numpy(labels.astype(np.uint8))[None]
    change = Change(np.eye(3), 0, 0, 0, elastic(3))
    image, moved = apply_changes(pixels, target, [(36, 36)], [change], (36, 36))
    assert (image[0, 0] != pixels[0, 0]).float().mean() > 0.05
    assert (moved[0][image[0, 0] > 1 - 1e-4] == 1).all()
    assert (moved[0][image[0, 0] < 1e-4] == 0).all()
    _, volume = apply_changes(pixels, pixels.clone(), [(36, 36)], [change], (36, 36))
    assert torch.equal(volume, image)


def test_slices_with_and_without_deformation_share_a_batch() -> None:
    rng = np.random.default_rng(2)
    picture = rng.random((18, 18))
    still = Change(random_homography(rng, (18, 18)), 0, 0, 0)
    moving = Change(np.eye(3), 0, 0, 0, elastic(5))
    pixels = torch.from_numpy(np.stack([picture] * 2).astype(np.float32))[:, None]
    together, _ = apply_changes(pixels, pixels, [(18, 18)] * 2, [still, moving], (18, 18))
    expected = sampled_by_hand(picture, still.homography, (18, 18))
    assert together[0, 0].numpy() == pytest.approx(expected, abs=2e-4)
    assert together[1, 0].numpy() == pytest.approx(applied(picture, moving, (18, 18)), abs=1e-5)


def test_a_deformation_of_three_axes_needs_nothing_new() -> None:
    shifts = np.zeros((3, 6, 7, 8))
    shifts[2] = 1.25
    moved = Elastic(shifts, 4.0).displacement((5, 9, 10), CPU)
    assert moved.shape == (3, 5, 9, 10)
    assert moved[2].numpy() == pytest.approx(1.25)
    assert not moved[:2].any()
