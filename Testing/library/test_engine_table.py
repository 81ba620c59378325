"""Tables and headrests are taken out of CT, patients stay whole."""

import os
from pathlib import Path

import numpy as np
import pytest
from engine_samples import ORIENTATIONS

from DeepTranslateLib import phantom
from DeepTranslateLib.engine.table import TableError, patient_mask, remove_table
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image
from DeepTranslateLib.phantom import torso

DATA = Path(
    os.environ.get("DEEPTRANSLATE_DATA") or Path(__file__).parents[3] / "shared" / "data"
).resolve()


def lying(seed: int, adiposity: float) -> phantom.Phantom:
    return torso(seed, adiposity, slices=4, size=(160, 160), spacing=(3.1, 3.1, 12.0))


@pytest.mark.parametrize(("seed", "adiposity"), [(1, 0.0), (2, 0.5), (3, 1.0)])
def test_the_phantom_s_table_becomes_air_and_no_labelled_voxel_changes(
    seed: int, adiposity: float
) -> None:
    subject = lying(seed, adiposity)
    before, after = subject.image.voxels, remove_table(subject.image).voxels
    body = subject.labels.voxels > 0
    assert np.array_equal(after[body], before[body])
    # What is far from the body and dense is the table.
    table = (before > -700) & ~_near(body, subject.image, 12.0)
    assert np.count_nonzero(table) > 1000
    assert (after[table] == -1000).all()


def _near(mask: np.ndarray, image: Image, mm: float) -> np.ndarray:
    import SimpleITK as sitk

    signed = sitk.GetImageFromArray(mask.astype(np.uint8))
    signed.SetSpacing(image.spacing.tolist())
    field = sitk.SignedMaurerDistanceMap(signed, squaredDistance=False, useImageSpacing=True)
    return sitk.GetArrayFromImage(field) < mm


def test_gas_inside_the_patient_stays() -> None:
    subject = lying(4, 0.5)
    voxels = subject.image.voxels.copy()
    k, j, i = (int(n) for n in np.argwhere(subject.labels.voxels == 3).mean(axis=0))
    voxels[:, j - 5 : j + 5, i - 5 : i + 5] = -777
    after = remove_table(subject.image.with_voxels(voxels)).voxels
    assert (after[k, j - 5 : j + 5, i - 5 : i + 5] == -777).all()


def test_arms_beside_the_trunk_and_thin_ears_stay() -> None:
    voxels = np.full((6, 120, 160), -1000, np.int16)
    j, i = np.mgrid[:120, :160] * 3.0
    image = Image(voxels, np.diag([-3.0, -3.0, 10.0, 1.0]))
    trunk = ((i - 240) / 120) ** 2 + ((j - 160) / 90) ** 2 < 1
    arm = np.hypot(i - 420, j - 170) < 36
    ear = (np.abs(i - 240) < 5) & (j > 48) & (j < 75)
    table = (np.abs(j - 280) < 6) & (i > 30)
    voxels = voxels.copy()
    for shape in (trunk, arm, ear, table):
        voxels[:, shape] = 40
    mask = patient_mask(image.with_voxels(voxels))
    for name, shape in (("trunk", trunk), ("arm", arm), ("ear", ear)):
        assert mask[:, shape].all(), name
    assert not mask[:, table].any()


@pytest.mark.parametrize("code", ORIENTATIONS[::7])
def test_how_a_volume_is_stored_makes_no_difference(code: str) -> None:
    image = lying(5, 0.5).image
    turned = remove_table(image.oriented(code))
    assert turned.orientation == code
    assert np.array_equal(turned.oriented("LPS").voxels, remove_table(image).voxels)


def test_images_without_hounsfield_units_or_a_patient_are_refused() -> None:
    image = lying(6, 0.5).image
    with pytest.raises(TableError, match="found by Hounsfield units"):
        remove_table(image.with_voxels(((image.voxels.clip(-1000, 1000) + 1000) / 10).round()))
    voxels = np.full((4, 60, 60), -1000, np.int16)
    voxels[:, 30, 10:50] = 0
    with pytest.raises(TableError, match="large enough to be a patient"):
        remove_table(Image(voxels, np.eye(4)))


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not here")
class TestRealImages:
    @pytest.mark.parametrize(
        ("ct", "tissue"),
        [
            ("ct_abdomen_crlm1004/ct.nii.gz", "ct_abdomen_crlm1004/tissue.nii.gz"),
            ("ct_abdomen_ts3mm/example_ct_sm.nii.gz", "ct_abdomen_ts3mm/example_seg.nii.gz"),
        ],
    )
    def test_labelled_tissue_of_real_abdomens_stays(self, ct: str, tissue: str) -> None:
        image, labels = read_image(DATA / ct), read_image(DATA / tissue)
        inside = image.with_voxels(patient_mask(image).astype(np.uint8))
        labelled = labels.voxels > 0
        assert inside.resampled_to(labels, "nearest").voxels[labelled].mean() > 0.999

    def test_the_table_of_a_real_abdomen_is_gone(self) -> None:
        image = read_image(DATA / "ct_abdomen_crlm1004/ct.nii.gz")
        after = remove_table(image).oriented("LPS").voxels
        # Behind the patient lie the table's two shells and nothing else.
        before = image.oriented("LPS").voxels
        behind = slice(430, None)
        assert np.count_nonzero(before[:, behind] > -400) > 10_000
        assert np.count_nonzero(after[:, behind] > -400) == 0

    def test_the_headrest_of_a_real_head_is_gone_and_the_head_is_whole(self) -> None:
        image = read_image(DATA / "ct_headneck_openkbp/pt_2.nii.gz").oriented("LPS")
        mask = patient_mask(image)
        dense = image.voxels > -400
        # Slices, rows and columns of the head down to its back, and of the headrest behind it.
        head, headrest = np.s_[60:110, 30:77, 48:81], np.s_[60:110, 84:, :]
        assert mask[head][dense[head]].mean() > 0.995
        assert np.count_nonzero(dense[headrest]) > 1000
        assert mask[headrest][dense[headrest]].mean() < 0.05
