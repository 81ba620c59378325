"""Helpers of the denoising experiments: edges, noise, tiles and filters of known images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from DeepTranslateLib.cohort import read_cohort
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.recipe import read_recipe
from Testing.benchmarks import denoising, denoising_lowdose, denoising_phantom
from Testing.benchmarks.denoising_common import classical_filters

PARTS_OF_A_NORMAL_EDGE = 2 * 1.2815515655446004  # from 10 % to 90 %, in SDs


def blurred_disc(row, column, radius, sd, inside=90.0, outside=-1000.0):
    rows, columns = np.indices((256, 256))
    distance = np.hypot(rows - row, columns - column) - radius
    part = np.vectorize(math.erfc)(distance / (sd * math.sqrt(2))) / 2
    return outside + (inside - outside) * part


@pytest.mark.parametrize("sd", [0.8, 1.5, 2.5])
def test_the_width_of_a_gaussian_edge_is_that_of_the_normal_distribution(sd):
    piece = blurred_disc(120.3, 131.7, 24, sd)
    (disc,) = denoising_phantom.discs(piece[None])
    assert (disc.row, disc.column) == pytest.approx((120.3, 131.7), abs=0.05)
    assert disc.radius == pytest.approx(24, abs=0.15)
    width = denoising_phantom.edge_width(piece, disc)
    assert width == pytest.approx(PARTS_OF_A_NORMAL_EDGE * sd, rel=0.03)


def test_an_edge_that_does_not_end_is_infinitely_wide():
    disc = denoising_phantom.Disc(0, 120, 130, 24)
    rows, columns = np.indices((256, 256))
    distance = np.hypot(rows - 120, columns - 130) - 24
    steps_afar = -np.sign(distance) * (np.abs(distance) > 8)
    assert denoising_phantom.edge_width(steps_afar, disc) == np.inf


def test_a_square_and_a_disc_at_the_border_are_no_discs():
    piece = np.full((256, 256), -1000.0)
    piece[40:90, 40:90] = 90
    border = np.maximum(piece, blurred_disc(120, 5, 24, 1))
    assert denoising_phantom.discs(border[None]) == []


def test_noise_is_measured_around_a_plane():
    rows, columns = np.indices((256, 256))
    random = np.random.default_rng(0)
    noise = random.normal(0, 7, (256, 256))
    where = np.hypot(rows - 100, columns - 100) < 30
    sd = denoising_phantom.detrended_sd(3 * rows - columns + noise, where)
    assert sd == pytest.approx(noise[where].std(ddof=1), rel=0.01)


def test_uniform_regions_keep_away_from_the_edges_of_inserts():
    piece = blurred_disc(120, 130, 24, 0.5)
    ((index, region),) = denoising_phantom.uniform_regions(piece[None])
    rows, columns = np.nonzero(region)
    assert index == 0
    assert np.hypot(rows - 120, columns - 130).max() < 24 - 4


def test_slices_at_the_ends_of_a_quarter_do_not_teach():
    assert denoising_phantom.taught((2, 6)) == [1, 2, 5, 6, 9, 10, 13, 14]


def test_slices_of_both_sides_are_no_neighbours():
    for training, test in denoising_phantom.SPLITS.values():
        assert test[0] - (training[1] - 1) >= 2


def test_tiles_that_teach_lie_between_their_own_neighbours(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPTRANSLATE_DATA", str(tmp_path))
    random = np.random.default_rng(0)
    voxels = random.integers(-400, 400, (5, 130, 192), dtype=np.int16)
    voxels[:, :, 64:128] = -1000  # air
    voxels[2] = 3000  # beyond the window
    write_image(Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "ct.nrrd")
    patient = denoising.Patient("a", "ct.nrrd", (0, 5))
    recipe = read_recipe("ct-denoise")
    chosen = denoising.tiles(patient, recipe, tmp_path / "tiles.nrrd", 1)
    written = read_image(tmp_path / "tiles.nrrd").voxels
    clean = np.clip(voxels, -1000, 1000)
    places = [(top, left) for top in (0, 64) for left in (0, 64, 128)]
    expected = [
        number * 5 + index
        for number, (_, left) in enumerate(places)
        for index in (1, 2, 3)
        if left != 64 or index == 2
    ]
    assert chosen == expected
    for index in chosen:
        top, left = places[index // 5]
        around = slice(index % 5 - 1, index % 5 + 2)
        piece = clean[around, top : top + 64, left : left + 64]
        assert np.array_equal(written[index - 1 : index + 2], piece)


def test_patients_that_test_do_not_teach():
    names = [patient.name for patient in denoising.TEST]
    others = [patient.name for patient in (*denoising.TRAINING, *denoising.VALIDATION)]
    assert not set(names) & set(others)
    assert len({*names, *others}) == len(names) + len(others)


def test_low_and_routine_dose_are_tiles_of_different_slices(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPTRANSLATE_DATA", str(tmp_path))
    monkeypatch.setattr(denoising_lowdose, "PATIENTS", {"training": {"ct.nrrd": 12}})
    random = np.random.default_rng(0)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    voxels = np.full((6, 120, 130), 200, np.int16)
    voxels[::2] = 100
    write_image(Image(voxels, affine), tmp_path / "ct.nrrd")
    scans = 1000 + random.normal(0, 30, (10, 256, 256))
    (tmp_path / "ct_lowdose_lcd_simulated").mkdir()
    file = tmp_path / "ct_lowdose_lcd_simulated" / "fbp_dose010_signal_absent.nii.gz"
    write_image(Image(np.rint(scans).astype(np.int16), affine), file)
    denoising_lowdose.write_unpaired_cohort(tmp_path)
    recipe = denoising_lowdose.changed(read_recipe("low-dose-ct-unpaired"))
    assert recipe.is_unpaired
    cohort = read_cohort(tmp_path / "cohort.csv")
    low, routine = (cohort.of_domain(name).cases for name in ("source", "target"))
    (noisy,), (clean,) = ([case.read_image().voxels for case in side] for side in (low, routine))
    assert noisy.shape == clean.shape == (12, 96, 96)
    assert (clean == 200).all()
    assert noisy.mean() == pytest.approx(100, abs=2)
    assert noisy.std() == pytest.approx(30, rel=0.05)


def test_signals_are_found_with_what_is_around_them():
    truth = np.zeros((64, 64))
    truth[20:24, 20:24] = 14
    truth[40, 40] = 3
    found = {name: (signal, around) for name, signal, around in denoising_lowdose.signals(truth)}
    assert list(found) == ["14 HU, 16 px", "3 HU, 1 px"]
    signal, around = found["14 HU, 16 px"]
    assert np.array_equal(signal, truth == 14)
    assert around.any()
    assert not (truth[around] > 0).any()
    scans = np.stack([truth + 5, truth - 5])
    measured = denoising_lowdose.measure(
        np.pad(scans, ((0, 0), (96, 96), (96, 96))), np.pad(truth, 96)
    )
    assert measured["contrasts"]["14 HU, 16 px"] == [14, 14]


def test_filters_leave_a_flat_image_and_smooth_a_noisy_one():
    random = np.random.default_rng(0)
    flat = np.full((3, 24, 24), 40, np.float32)
    noisy = flat + random.normal(0, 20, flat.shape).astype(np.float32)
    kinds = ("median", "gaussian", "bilateral", "non-local means")
    for name, apply in classical_filters(kinds).items():
        assert apply(flat) == pytest.approx(flat, abs=0.01), name
        assert apply(noisy).std() < 0.95 * noisy.std(), name


def test_filters_that_stay_in_slices_do_not_see_others():
    volume = np.random.default_rng(0).normal(0, 20, (3, 24, 24)).astype(np.float32)
    other = volume.copy()
    other[[0, 2]] = 500
    kinds = ("median", "gaussian", "bilateral", "non-local means")
    for name, apply in classical_filters(kinds, across=False).items():
        assert np.array_equal(apply(volume)[1], apply(other)[1]), name
