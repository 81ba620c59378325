"""Random changes of slices: their ranges, their geometry, image and labels in step, noise."""

import math

import numpy as np
import pytest
import torch
from engine_samples import STILL
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from DeepTranslateLib.engine.augmentation import (
    Change,
    apply_changes,
    perspective,
    sample_change,
)
from DeepTranslateLib.recipe import Augmentation

SIZE = (512, 512)
SEEDS = st.integers(0, 2**32 - 1)


def change_of(homography: np.ndarray) -> Change:
    return Change(homography, noise_fraction=0, noise_sd=0, noise_seed=0)


def through(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where a homography takes points (N, 2)."""
    moved = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return moved[:, :2] / moved[:, 2:]


def random_homography(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A turn, a shift, a flip and a perspective, all mild."""
    angle = rng.uniform(-math.pi, math.pi)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn @ np.diag([rng.choice([-1, 1]), 1]) * rng.uniform(0.8, 1.2)
    matrix[:2, 2] = rng.uniform(-3, 3, 2)
    matrix[2, :2] = rng.uniform(-0.2, 0.2, 2) / max(size)
    return matrix


def sampled_by_hand(
    image: np.ndarray, homography: np.ndarray, canvas: tuple[int, int]
) -> np.ndarray:
    """Bilinear interpolation of an image (H, W) that is surrounded by zeros, in float64."""
    height, width = image.shape
    rows, columns = np.mgrid[: canvas[0], : canvas[1]]
    points = np.column_stack(
        [columns.ravel() - (canvas[1] - 1) / 2, rows.ravel() - (canvas[0] - 1) / 2]
    )
    source = through(homography, points) + np.array([(width - 1) / 2, (height - 1) / 2])
    padded = np.pad(image.astype(np.float64), 1)
    x = np.clip(source[:, 0] + 1, 0, width + 1 - 1e-9)
    y = np.clip(source[:, 1] + 1, 0, height + 1 - 1e-9)
    column, row = x.astype(int), y.astype(int)
    dx, dy = x - column, y - row
    value = (1 - dy) * ((1 - dx) * padded[row, column] + dx * padded[row, column + 1]) + dy * (
        (1 - dx) * padded[row + 1, column] + dx * padded[row + 1, column + 1]
    )
    return value.reshape(canvas)


def applied(
    image: np.ndarray,
    homography: np.ndarray,
    labels: np.ndarray | None = None,
    canvas: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One image (H, W) and its labels, changed without noise."""
    labels = np.zeros(image.shape, np.uint8) if labels is None else labels
    images, targets = apply_changes(
        torch.from_numpy(image.astype(np.float32))[None, None],
        torch.from_numpy(labels)[None],
        [image.shape],
        [change_of(homography)],
        canvas or image.shape,
    )
    return images[0, 0].numpy(), targets[0].numpy()


@settings(max_examples=50)
@given(SEEDS)
def test_perspective_takes_each_of_four_points_to_its_partner(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * rng.uniform(50, 300)
    source, destination = corners + rng.uniform(-20, 20, (2, 4, 2))
    assert through(perspective(source, destination), source) == pytest.approx(destination, abs=1e-6)


def test_perspective_of_a_similarity_is_that_similarity() -> None:
    points = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]])
    expected = np.array([[0.0, -2.0, 5.0], [2.0, 0.0, -7.0], [0.0, 0.0, 1.0]])
    assert perspective(points, through(expected, points)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(16, 16), (17, 11), (1, 1), (64, 48)])
def test_no_change_leaves_images_and_labels_as_they_are(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image, labels = rng.random(shape), rng.integers(0, 4, shape).astype(np.uint8)
    after, labels_after = applied(image, np.eye(3), labels)
    assert after == pytest.approx(image, abs=1e-5)
    assert np.array_equal(labels_after, labels)


# Output (x, y) shows source (x', y'); x grows to the right and y downwards.
EXACT = {
    "quarter turn": (np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), lambda a: np.rot90(a, 1)),
    "turn back": (np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]]), lambda a: np.rot90(a, -1)),
    "half turn": (np.diag([-1.0, -1.0, 1.0]), lambda a: np.rot90(a, 2)),
    "left and right": (np.diag([-1.0, 1.0, 1.0]), np.fliplr),
    "up and down": (np.diag([1.0, -1.0, 1.0]), np.flipud),
    "three pixels right": (
        np.array([[1, 0, -3], [0, 1, 0], [0, 0, 1.0]]),
        lambda a: np.pad(a, ((0, 0), (3, 0)))[:, :-3],
    ),
    "two pixels up": (
        np.array([[1, 0, 0], [0, 1, 2], [0, 0, 1.0]]),
        lambda a: np.pad(a, ((0, 2), (0, 0)))[2:],
    ),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("shape", [(15, 15), (16, 16), (13, 20)])
def test_turns_flips_and_shifts_by_whole_pixels_move_pixels_whole(
    name: str, shape: tuple[int, int]
) -> None:
    homography, expected = EXACT[name]
    rng = np.random.default_rng(1)
    image, labels = rng.random(shape), rng.integers(0, 4, shape).astype(np.uint8)
    after, labels_after = applied(image, homography, labels, expected(image).shape)
    assert after == pytest.approx(expected(image), abs=1e-5)
    assert np.array_equal(labels_after, expected(labels))


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 30), st.integers(1, 30), st.integers(1, 40), st.integers(1, 40))
def test_any_homography_gives_the_bilinear_values_computed_by_hand(
    seed: int, height: int, width: int, rows: int, columns: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((height, width))
    homography = random_homography(rng, (rows, columns))
    after, _ = applied(image, homography, canvas=(rows, columns))
    assert after == pytest.approx(sampled_by_hand(image, homography, (rows, columns)), abs=2e-4)


@settings(max_examples=30)
@given(SEEDS)
def test_image_and_labels_stay_in_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 2, (4, 4)), np.ones((8, 8))).astype(np.uint8)
    image, moved = applied(labels, random_homography(rng, (40, 40)), labels, (40, 40))
    # Where all four neighbours agree, linear and nearest must.
    inside, outside = image > 1 - 1e-4, image < 1e-4
    assert (moved[inside] == 1).all()
    assert (moved[outside] == 0).all()
    # And on either side of a half for the rest, but where bilinear saddles are ambiguous.
    assert ((image > 0.5) == (moved == 1)).mean() > 0.95


@settings(max_examples=30)
@given(SEEDS)
def test_labels_have_no_values_that_were_not_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 7, 254, 255], (20, 25)).astype(np.uint8)
    _, moved = applied(labels, random_homography(rng, (30, 30)), labels, (30, 30))
    assert set(np.unique(moved)) <= {0, 1, 7, 254, 255}


def test_a_volume_target_is_sampled_as_the_image_is() -> None:
    rng = np.random.default_rng(3)
    image = torch.from_numpy(rng.random((2, 1, 12, 15), np.float32))
    changes = [change_of(random_homography(rng, (14, 14))) for _ in range(2)]
    after, target = apply_changes(image, image.clone(), [(12, 15), (9, 15)], changes, (14, 14))
    assert torch.equal(after, target)
    assert target.shape == (2, 1, 14, 14)


def test_what_lies_outside_the_source_is_zero() -> None:
    away = np.array([[1, 0, 100], [0, 1, 0], [0, 0, 1.0]])
    image, labels = applied(np.ones((9, 9)), away, np.ones((9, 9), np.uint8))
    assert not image.any()
    assert not labels.any()
    image, labels = applied(np.ones((5, 5)), np.eye(3), np.ones((5, 5), np.uint8), (9, 9))
    assert np.array_equal(labels, np.pad(np.ones((5, 5)), 2))
    assert image == pytest.approx(np.pad(np.ones((5, 5)), 2), abs=1e-5)


@settings(max_examples=20)
@given(SEEDS)
def test_slices_of_different_sizes_in_a_batch_come_out_as_each_does_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [(int(rng.integers(3, 20)), int(rng.integers(3, 20))) for _ in range(3)]
    images = [rng.random(size) for size in sizes]
    labels = [rng.integers(0, 3, size).astype(np.uint8) for size in sizes]
    changes = [change_of(random_homography(rng, (18, 18))) for _ in sizes]
    canvas = (18, 18)
    tallest, widest = max(h for h, _ in sizes), max(w for _, w in sizes)
    batch, channels = torch.zeros(3, 1, tallest, widest), torch.zeros(3, tallest, widest).byte()
    for place, (height, width) in enumerate(sizes):
        batch[place, 0, :height, :width] = torch.from_numpy(images[place])
        channels[place, :height, :width] = torch.from_numpy(labels[place])
    together, labels_together = apply_changes(batch, channels, sizes, changes, canvas)
    for place, change in enumerate(changes):
        alone, labels_alone = applied(images[place], change.homography, labels[place], canvas)
        assert together[place, 0].numpy() == pytest.approx(alone, abs=1e-4)
        # Points half-way between two pixels may be rounded either way.
        assert (labels_together[place].numpy() == labels_alone).mean() > 0.98


def noisy(change: Change, size: int = 200, start: float = 0.25) -> Tensor:
    image = torch.full((1, 1, size, size), start)
    labels = torch.zeros(1, size, size, dtype=torch.uint8)
    return apply_changes(image, labels, [(size, size)], [change], (size, size))[0][0, 0]


@pytest.mark.parametrize(("fraction", "sd"), [(0.3, 0.1), (1.0, 0.02), (0.05, 0.5)])
def test_noise_touches_its_fraction_of_pixels_and_is_gaussian(fraction: float, sd: float) -> None:
    noise = (noisy(Change(np.eye(3), fraction, sd, 5)) - 0.25).numpy().ravel()
    touched = noise[np.abs(noise) > 1e-5]
    # Five standard errors.
    assert len(touched) / noise.size == pytest.approx(
        fraction, abs=5 * math.sqrt(fraction * (1 - fraction) / noise.size) + 1e-3
    )
    assert touched.mean() == pytest.approx(0, abs=5 * sd / math.sqrt(len(touched)))
    assert touched.std() == pytest.approx(sd, rel=5 / math.sqrt(2 * len(touched)))
    assert (touched**4).mean() / sd**4 == pytest.approx(3, rel=0.25)


def test_which_pixels_are_touched_says_nothing_about_their_noise() -> None:
    # A generator used twice in the same state would give the touched pixels related noise.
    noise = (noisy(Change(np.eye(3), 0.5, 0.1, 5)) - 0.25).numpy()
    touched = np.abs(noise) > 1e-5
    assert abs(float((noise[touched] > 0).mean()) - 0.5) < 0.02
    neighbours = np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.03


def test_noise_is_the_same_for_a_seed_and_another_for_another() -> None:
    first = noisy(Change(np.eye(3), 0.3, 0.1, 5))
    torch.rand(3)
    assert torch.equal(noisy(Change(np.eye(3), 0.3, 0.1, 5)), first)
    assert not torch.equal(noisy(Change(np.eye(3), 0.3, 0.1, 6)), first)


def test_noise_leaves_labels_alone_and_takes_no_numbers_from_torchs_own_generator() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    labels = torch.randint(0, 3, (1, 9, 9), generator=torch.Generator().manual_seed(0)).byte()
    _, after = apply_changes(
        torch.zeros(1, 1, 9, 9), labels, [(9, 9)], [Change(np.eye(3), 1.0, 0.5, 1)], (9, 9)
    )
    assert torch.equal(after, labels)
    assert torch.equal(torch.rand(3), expected)


def only(**ranges: float) -> Augmentation:
    return Augmentation(**{**STILL, **ranges})


def homographies(augmentation: Augmentation, count: int, size: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(11)
    return np.stack([sample_change(augmentation, size, rng).homography for _ in range(count)])


def spread_evenly(values: np.ndarray, low: float, high: float) -> bool:
    """Kolmogorov-Smirnov: uniform on [low, high], at a level of about 1e-4."""
    ranks = (np.sort(values) - low) / (high - low)
    steps = (np.arange(len(values)) + 0.5) / len(values)
    inside = ranks.min() >= 0 and ranks.max() <= 1
    return bool(inside and np.abs(ranks - steps).max() < 2.2 / math.sqrt(len(values)))


def test_rotations_are_even_over_their_range_and_nothing_else() -> None:
    matrices = homographies(only(rotation=70), 1500, SIZE)
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert spread_evenly(angles, -70, 70)
    for matrix in matrices[:20]:
        assert matrix[:2, :2] @ matrix[:2, :2].T == pytest.approx(np.eye(2))
        assert np.linalg.det(matrix) == pytest.approx(1)
        assert matrix[:, 2] == pytest.approx([0, 0, 1])


@pytest.mark.parametrize("size", [(512, 512), (128, 256), (1024, 300)])
def test_translations_are_even_over_their_range_which_grows_with_the_image(
    size: tuple[int, int],
) -> None:
    matrices = homographies(only(translation=30), 1500, size)
    reach = 30 * max(size) / 512
    for axis in (0, 1):
        assert spread_evenly(matrices[:, axis, 2], -reach, reach)
    assert abs(np.corrcoef(matrices[:, 0, 2], matrices[:, 1, 2])[0, 1]) < 0.1
    assert matrices[:, :2, :2] == pytest.approx(np.broadcast_to(np.eye(2), (1500, 2, 2)))


@pytest.mark.parametrize("size", [(512, 512), (100, 256), (1024, 300)])
def test_perspective_moves_each_corner_evenly_within_its_range_which_grows_with_the_image(
    size: tuple[int, int],
) -> None:
    matrices = homographies(only(perspective=30), 800, size)
    reach = 30 * max(size) / 512
    y, x = size[0] / 2, size[1] / 2
    corners = np.array([[-x, -y], [x, -y], [x, y], [-x, y]])
    moves = np.stack([through(matrix, corners) - corners for matrix in matrices])
    assert np.abs(moves).max() <= reach * (1 + 1e-9)
    for corner in range(4):
        for axis in (0, 1):
            assert spread_evenly(moves[:, corner, axis], -reach * 1.0001, reach * 1.0001)


def test_the_reference_size_sets_what_a_pixel_means() -> None:
    matrices = homographies(only(translation=30, reference_size=256), 1500, (256, 256))
    assert spread_evenly(matrices[:, 0, 2], -30, 30)


@pytest.mark.parametrize(("field", "axis"), [("flip_left_right", 0), ("flip_up_down", 1)])
@pytest.mark.parametrize("chance", [0.0, 0.2, 0.5, 1.0])
def test_flips_come_as_often_as_the_recipe_says(field: str, axis: int, chance: float) -> None:
    matrices = homographies(only(**{field: chance}), 1000, SIZE)
    flipped = np.array([np.allclose(matrix, flip(axis)) for matrix in matrices])
    still = np.array([np.allclose(matrix, np.eye(3)) for matrix in matrices])
    assert (flipped | still).all()
    assert flipped.mean() == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / 1000))


def flip(axis: int) -> np.ndarray:
    matrix = np.eye(3)
    matrix[axis, axis] = -1
    return matrix


def test_the_two_flips_are_drawn_apart() -> None:
    matrices = homographies(only(flip_left_right=0.5, flip_up_down=0.5), 1000, SIZE)
    kinds = [tuple(np.sign(np.diag(matrix)[:2])) for matrix in matrices]
    for kind in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        assert kinds.count(kind) == pytest.approx(250, abs=70)


def test_all_kinds_together_move_a_corner_no_farther_than_their_ranges_add_up_to() -> None:
    augmentation = Augmentation()
    corners = np.array([[-256, -256], [256, -256], [256, 256], [-256, 256.0]])
    farthest = math.sqrt(2) * (augmentation.perspective + augmentation.translation)
    matrices = homographies(augmentation, 300, SIZE)
    # Turns and flips keep the distance from the centre.
    distances = np.stack([np.linalg.norm(through(m, corners), axis=1) for m in matrices])
    assert np.abs(distances - 256 * math.sqrt(2)).max() <= farthest
    # And all of them take part.
    assert np.linalg.det(matrices[:, :2, :2]).min() < -0.5
    assert np.linalg.det(matrices[:, :2, :2]).max() > 0.5
    assert np.abs(matrices[:, 2, :2]).min(axis=0).max() > 0
    assert np.ptp(matrices[:, :2, 2], axis=0).min() > 30


def test_the_probability_says_how_many_slices_are_changed_at_all() -> None:
    rng = np.random.default_rng(2)
    changes = [sample_change(Augmentation(probability=0.25), SIZE, rng) for _ in range(1000)]
    still = [np.array_equal(c.homography, np.eye(3)) and c.noise_sd == 0 for c in changes]
    assert np.mean(still) == pytest.approx(0.75, abs=0.07)


def test_noise_levels_are_even_up_to_their_largest() -> None:
    rng = np.random.default_rng(4)
    changes = [sample_change(Augmentation(noise_sd=0.1), SIZE, rng) for _ in range(1500)]
    assert spread_evenly(np.array([change.noise_sd for change in changes]), 0, 0.1)
    assert {change.noise_fraction for change in changes} == {0.3}
    assert len({change.noise_seed for change in changes}) == 1500


def test_a_change_is_a_function_of_the_state_of_the_random_numbers() -> None:
    first, second = (
        sample_change(Augmentation(), SIZE, np.random.default_rng(8)) for _ in range(2)
    )
    assert np.array_equal(first.homography, second.homography)
    assert (first.noise_sd, first.noise_seed) == (second.noise_sd, second.noise_seed)


def test_the_widest_ranges_a_recipe_may_have_give_finite_images() -> None:
    widest = Augmentation(perspective=200, rotation=180, translation=500)
    rng = np.random.default_rng(0)
    changes = [sample_change(widest, SIZE, rng) for _ in range(200)]
    images = torch.ones(200, 1, 24, 24)
    labels = torch.ones(200, 24, 24, dtype=torch.uint8)
    after, channels = apply_changes(images, labels, [(24, 24)] * 200, changes, (24, 24))
    assert torch.isfinite(after).all()
    assert set(channels.unique().tolist()) <= {0, 1}
