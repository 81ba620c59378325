"""Noise models on images: distributions in the image's units, seeds, and what is refused."""

import math

import numpy as np
import pytest
from engine_samples import OBLIQUE, ORIENTATIONS, lps_affine, random_hu, stored_as

from DeepTranslateLib.cli.noise import KINDS as COMMAND_KINDS
from DeepTranslateLib.engine.noise import KINDS, NoiseError, add_noise, window_width
from DeepTranslateLib.image import Image

SHAPE = (4, 120, 120)
COUNT = math.prod(SHAPE)
# Chance of a correct model to fall outside: less than one in a million.
Z = 5


def flat(value: float, dtype: type = np.float64, shape: tuple[int, int, int] = SHAPE) -> Image:
    return Image(np.full(shape, value, dtype), lps_affine())


def noise_of(image: Image, kind: str, level: float | None = None, **more: object) -> np.ndarray:
    """What was added, in the image's units."""
    after = add_noise(image, kind, 3, level, **more)  # type: ignore[arg-type]
    return after.voxels.astype(np.float64) - image.voxels


def assert_mean_and_sd(values: np.ndarray, mean: float, sd: float, kurtosis: float = 3) -> None:
    """Both lie in their confidence intervals."""
    assert values.mean() == pytest.approx(mean, abs=Z * sd / math.sqrt(values.size))
    error = math.sqrt((kurtosis - 1) / 4 / values.size)
    assert values.std() == pytest.approx(sd, rel=Z * error)


@pytest.mark.parametrize("level", [0.3, 0.5, 0.05, 1.0])
def test_a_subset_of_the_voxels_as_large_as_the_level_gets_noise_as_wide_as_the_window(
    level: float,
) -> None:
    noise = noise_of(flat(40), "pixel-subset", level, window=(-200, 300))
    touched = noise[noise != 0]
    share = touched.size / COUNT
    assert share == pytest.approx(level, abs=Z * math.sqrt(level * (1 - level) / COUNT) + 1e-9)
    assert_mean_and_sd(touched, 0, 500)


def test_the_level_of_the_paper_is_the_default() -> None:
    noise = noise_of(flat(40), "pixel-subset", window=(0, 1))
    assert (noise != 0).mean() == pytest.approx(0.3, abs=Z * math.sqrt(0.21 / COUNT))


def test_gaussian_noise_has_the_level_as_sd_and_is_gaussian() -> None:
    noise = noise_of(flat(-100), "gaussian", 25)
    assert_mean_and_sd(noise, 0, 25)
    assert ((noise / 25) ** 4).mean() == pytest.approx(3, abs=Z * math.sqrt(96 / COUNT))
    neighbours = np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]
    assert abs(neighbours) < Z / math.sqrt(COUNT)
    slices = np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]
    assert abs(slices) < Z / math.sqrt(COUNT / 4)


@pytest.mark.parametrize("dose", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("hu", [-1000, -700, -100, 0, 1000])
def test_a_lower_dose_adds_the_variance_that_the_full_dose_lacks(dose: float, hu: int) -> None:
    # Water at full dose: 10 HU by quanta, in proportion to attenuation and inversely to the dose,
    # and 2 HU by electronics, whose SD goes inversely with the dose.
    def variance(part: float) -> float:
        return 100 * (1 + hu / 1000) / part + 4 / part**2

    noise = noise_of(flat(hu), "poisson", dose)
    assert_mean_and_sd(noise, 0, math.sqrt(variance(dose) - variance(1)), kurtosis=3.5)


def test_variance_by_quanta_is_a_straight_line_over_hounsfield_units() -> None:
    hus = np.array([-900, -500, 0, 500, 1000, 2000])
    variances = [noise_of(flat(hu), "poisson", 0.2).var() for hu in hus]
    slope, offset = np.polyfit(1 + hus / 1000, variances, 1)
    assert slope == pytest.approx(100 * (1 / 0.2 - 1), rel=0.03)
    assert offset == pytest.approx(4 * (1 / 0.04 - 1), abs=12)


def test_full_dose_changes_nothing() -> None:
    assert not noise_of(flat(40), "poisson", 1.0).any()


def test_rician_background_is_rayleigh_and_strong_signal_nearly_gaussian() -> None:
    sd = 12.0
    background = add_noise(flat(0), "rician", 3, sd).voxels
    # Rayleigh: mean sd sqrt(pi / 2), variance (2 - pi / 2) sd^2, median sd sqrt(2 ln 2).
    assert_mean_and_sd(
        background, sd * math.sqrt(math.pi / 2), sd * math.sqrt(2 - math.pi / 2), kurtosis=3.25
    )
    assert np.median(background) == pytest.approx(sd * math.sqrt(2 * math.log(2)), rel=0.02)
    signal = add_noise(flat(600), "rician", 3, sd).voxels
    assert_mean_and_sd(signal, math.sqrt(600**2 + sd**2), sd)
    # E[m^2] = a^2 + 2 sd^2 at any signal (Gudbjartsson & Patz 1995).
    weak = add_noise(flat(10), "rician", 3, sd).voxels
    assert (weak**2).mean() == pytest.approx(100 + 2 * sd**2, rel=0.02)
    assert background.min() >= 0


def test_rings_are_one_offset_for_each_pixel_of_distance_from_the_middle_of_the_slice() -> None:
    noise = noise_of(flat(40, shape=(6, 101, 81)), "ring", 15)
    rows, columns = np.mgrid[:101, :81]
    radius = np.floor(np.hypot(rows - 50, columns - 40)).astype(int)
    offsets = []
    for piece in noise:
        by_ring = [piece[radius == ring] for ring in range(radius.max() + 1)]
        assert max(np.ptp(ring) for ring in by_ring) < 1e-9
        offsets.append([ring[0] for ring in by_ring])
    assert_mean_and_sd(np.array(offsets), 0, 15)
    assert (
        abs(np.corrcoef(offsets[0], offsets[1])[0, 1]) < 0.6
    )  # each slice has detectors of its own


def test_rings_are_round_in_millimetres_and_lie_in_the_axial_plane() -> None:
    upright = Image(np.full((3, 40, 80), 7.0), lps_affine((0.5, 1.0, 3.0)))
    noise = add_noise(upright, "ring", 1, 9).voxels - 7
    assert noise[0, 20, 40 + 16] == pytest.approx(noise[0, 20, 39 - 16])
    assert noise[0, :, 40][19 - 10] == pytest.approx(noise[0, 20 + 10, 40])
    # 10.5 mm along a column and along a row lie in the same ring of 0.5 mm.
    assert noise[0, 20 + 10, 40] == pytest.approx(noise[0, 20, 40 + 21])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_noise_and_another_seed_another(kind: str) -> None:
    image = Image(np.abs(random_hu((3, 20, 22))), lps_affine())
    first, again = (add_noise(image, kind, 4, None) for _ in range(2))
    assert np.array_equal(first.voxels, again.voxels)
    assert not np.array_equal(first.voxels, add_noise(image, kind, 5, None).voxels)
    assert not np.array_equal(first.voxels, image.voxels)


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_belongs_to_the_patient_not_to_the_way_of_storing(kind: str) -> None:
    image = Image(np.abs(random_hu((3, 9, 11))), lps_affine((1.0, 1.5, 4.0)))
    expected = add_noise(image, kind, 4)
    for orientation in ORIENTATIONS[::5]:
        noisy = add_noise(stored_as(image, orientation), kind, 4)
        assert noisy.orientation == orientation
        assert np.array_equal(noisy.oriented("LPS").voxels, expected.voxels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_grid_and_data_type_stay(kind: str, dtype: type) -> None:
    affine = np.eye(4)
    affine[:3, :3] = OBLIQUE * (0.7, 1.1, 3.0)
    image = Image(np.random.default_rng(0).integers(0, 200, (3, 12, 14)).astype(dtype), affine)
    noisy = add_noise(image, kind, 1)
    assert noisy.voxels.dtype == dtype
    assert np.array_equal(noisy.affine, image.affine)


def test_integers_are_rounded_and_do_not_wrap() -> None:
    assert add_noise(flat(0, np.uint8), "gaussian", 1, 200).voxels.min() == 0
    assert add_noise(flat(250, np.uint8), "gaussian", 1, 200).voxels.max() == 255
    noise = noise_of(flat(40, np.int16), "gaussian", 10)
    # Rounding adds a twelfth to the variance.
    assert_mean_and_sd(noise, 0, math.sqrt(100 + 1 / 12))


def test_the_window_is_that_of_the_image_where_none_is_given() -> None:
    image = Image(np.random.default_rng(0).uniform(0, 1000, (2, 100, 100)), lps_affine())
    assert window_width(image) == pytest.approx(990, rel=0.01)
    assert noise_of(image, "gaussian").std() == pytest.approx(0.05 * 990, rel=0.05)
    assert noise_of(image, "ring").std() == pytest.approx(0.02 * 990, rel=0.3)


def test_voxels_without_a_value_stay_so_and_spoil_no_other() -> None:
    values = np.full((2, 30, 30), 40.0)
    values[0, 3, 4] = np.nan
    for kind in KINDS:
        noisy = add_noise(Image(values, lps_affine()), kind, 1, window=(0, 100)).voxels
        assert np.isnan(noisy[0, 3, 4])
        assert np.isnan(noisy).sum() == 1


@pytest.mark.parametrize(
    ("kind", "level", "words"),
    [
        ("pixel-subset", 1.2, "from 0 to 1"),
        ("pixel-subset", -0.1, "from 0 to 1"),
        ("poisson", 0.0, "above 0"),
        ("poisson", 1.5, "from 0 to 1"),
        ("gaussian", -1.0, "at least 0"),
        ("rician", math.nan, "nan"),
        ("ring", math.inf, "inf"),
        ("salt", 1.0, "Possible: pixel-subset"),
    ],
)
def test_an_impossible_level_or_kind_is_refused(kind: str, level: float, words: str) -> None:
    with pytest.raises(NoiseError, match=words):
        add_noise(flat(40, shape=(1, 3, 3)), kind, 1, level)


def test_rician_noise_is_refused_for_values_below_zero_and_empty_windows_for_all() -> None:
    with pytest.raises(NoiseError, match="not negative"):
        add_noise(flat(-5, shape=(1, 3, 3)), "rician", 1, 2)
    with pytest.raises(NoiseError, match=r"expected \[lowest, highest\]"):
        add_noise(flat(5, shape=(1, 3, 3)), "gaussian", 1, window=(3, 3))


def test_the_command_offers_the_kinds_that_there_are() -> None:
    assert tuple(KINDS) == COMMAND_KINDS
