"""The real files that trip readers up, each with the outcome it must have.

Expectations come from elsewhere: nibabel, pydicom's own pixels and SimpleITK's series reader.
"""

import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.testing import assert_allclose

from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.image.dicom import list_series, read_series
from DeepTranslateLib.image.files import read_image

DATA = Path(
    os.environ.get("DEEPTRANSLATE_DATA") or Path(__file__).parents[3] / "shared" / "data"
).resolve()
AWKWARD = DATA / "awkward"
DICOM2NIFTI = AWKWARD / "dicom2nifti"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not AWKWARD.is_dir(), reason="the real images are not here"),
]

READ_DICOM = [
    "generic_anatomical_002_non_isotropic",
    "generic_compressed_jpegls_001",
    "generic_compressed_rle_001",
    "hitachi_anatomical_001",
]
REFUSED = {
    "dcm_qa_ts": "mosaic.*35 slices",
    "dcm_qa_ts/1.dcm": "mosaic.*35 slices",
    "dcm_qa_ts/4.dcm": "mosaic.*35 slices",
    "dcm_qa_ts/9.dcm": "mosaic.*35 slices",
    "dicom2nifti/failing_sliceincrement_001": r"10\.00 mm from 28\.11 to 38\.11.*1 missing",
    "dicom2nifti/siemens_fmri_classic_001": r"4D: 2 images at each of 4 positions \(8 images\)",
    "nibabel/example4d.nii.gz": "2 volumes",
    "pydicom": "several DICOM series",
    # The header names ten frames, its functional groups were taken out.
    "pydicom/emri_small.dcm": "10 frames without a position",
}
READ_FILES = [
    "pydicom/CT_small.dcm",
    "pydicom/693_J2KR.dcm",
    "dicom2nifti/philips_enhanced_anatomical_001/IM-0001-0170-0001.dcm",
    "nifti_orientations/ASL.nii.gz",
    "nifti_orientations/LPS.nii.gz",
    "nifti_orientations/RAS.nii.gz",
    "nifti_orientations/SRP.nii.gz",
]


def by_simpleitk(path):
    """What SimpleITK makes of a file or of a folder with one series."""
    if path.is_dir():
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        return Image.from_sitk(reader.Execute())
    return Image.from_sitk(SimpleITK.ReadImage(str(path)))


def slices_of(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def test_every_awkward_file_has_an_outcome():
    known = [AWKWARD / name for name in [*REFUSED, *READ_FILES, "MANIFEST.md"]]
    known += [DICOM2NIFTI / name for name in READ_DICOM]
    for path in AWKWARD.rglob("*"):
        if path.is_file():
            assert path in known or path.parent in known, path


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_single_volume_is_refused_in_one_paragraph(name, capfd):
    with pytest.raises(ImageError, match=REFUSED[name]) as caught:
        read_image(AWKWARD / name)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", READ_DICOM)
def test_a_series_lies_where_simpleitk_puts_it(name, capfd):
    image = read_image(DICOM2NIFTI / name)
    assert capfd.readouterr() == ("", "")
    assert image.same_grid(by_simpleitk(DICOM2NIFTI / name), 1e-3)


@pytest.mark.parametrize("name", READ_DICOM)
def test_each_header_finds_its_slice_where_it_says(name):
    image = read_image(DICOM2NIFTI / name)
    slices = slices_of(DICOM2NIFTI / name)
    assert image.shape == (len(slices), slices[0].Rows, slices[0].Columns)
    for ds in slices:
        place = image.ijk(np.array(ds.ImagePositionPatient, float) * [-1, -1, 1])
        k = round(place[2])
        assert place == pytest.approx([0, 0, k], abs=1e-2)
        if "jpegls" not in name:  # pydicom decodes no JPEG-LS by itself
            expected = pydicom.pixels.apply_modality_lut(ds.pixel_array, ds)
            assert_allclose(image.voxels[k], expected, rtol=1e-6)


def test_the_same_series_in_two_encodings_is_the_same_image():
    jpegls = read_image(DICOM2NIFTI / "generic_compressed_jpegls_001")
    rle = read_image(DICOM2NIFTI / "generic_compressed_rle_001")
    assert (jpegls.voxels == rle.voxels).all()
    assert jpegls.same_grid(rle, 1e-9)
    assert (
        jpegls.voxels == by_simpleitk(DICOM2NIFTI / "generic_compressed_jpegls_001").voxels
    ).all()


def test_three_encodings_of_a_slice_hold_the_same_voxels(tmp_path):
    """The mosaic mark is taken off, so that its picture can be read for its encoding alone."""
    images = []
    for name in ("1.dcm", "4.dcm", "9.dcm"):
        ds = pydicom.dcmread(AWKWARD / "dcm_qa_ts" / name)
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.save_as(tmp_path / name)
        images.append(read_image(tmp_path / name))
    plain = pydicom.dcmread(AWKWARD / "dcm_qa_ts" / "1.dcm").pixel_array
    assert plain.std() > 0
    for image in images:
        assert (image.voxels[0] == plain).all()
        assert image.same_grid(images[0], 1e-9)


def test_slopes_that_differ_from_slice_to_slice_are_applied():
    folder = DICOM2NIFTI / "generic_anatomical_002_non_isotropic"
    assert len({float(ds.RescaleSlope) for ds in slices_of(folder)}) == 4
    assert read_image(folder).voxels.dtype == np.float32


def test_an_enhanced_file_is_placed_and_scaled_by_its_functional_groups():
    folder = DICOM2NIFTI / "philips_enhanced_anatomical_001"
    image = read_image(folder)
    ds = pydicom.dcmread(next(folder.iterdir()))
    assert image.shape == ds.pixel_array.shape
    for pixels, group in zip(ds.pixel_array, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = group.PlanePositionSequence[0].ImagePositionPatient
        place = image.ijk(np.array(position, float) * [-1, -1, 1])
        assert place == pytest.approx([0, 0, round(place[2])], abs=1e-3)
        slope = group.PixelValueTransformationSequence[0].RescaleSlope
        assert_allclose(image.voxels[round(place[2])], pixels * float(slope), rtol=1e-6)


@pytest.mark.parametrize("name", ["pydicom/CT_small.dcm", "pydicom/693_J2KR.dcm"])
def test_single_slices_agree_with_simpleitk(name):
    image, expected = read_image(AWKWARD / name), by_simpleitk(AWKWARD / name)
    ds = pydicom.dcmread(AWKWARD / name, stop_before_pixels=True)
    assert image.voxels.dtype == np.int16
    assert (image.voxels == expected.voxels).all()
    assert image.origin == pytest.approx(expected.origin)
    assert image.directions == pytest.approx(expected.directions)
    assert image.spacing[2] == float(ds.get("SpacingBetweenSlices") or ds.SliceThickness)


def test_the_series_of_a_mixed_folder_can_be_chosen():
    folder = AWKWARD / "pydicom"
    found = {series.files[0].name: series for series in list_series(folder)}
    assert {name: series.frames for name, series in found.items()} == {
        "693_J2KR.dcm": 1,
        "CT_small.dcm": 1,
        "emri_small.dcm": 10,
    }
    chosen = read_image(folder, series=found["CT_small.dcm"].uid)
    expected = pydicom.dcmread(folder / "CT_small.dcm")
    assert (chosen.voxels[0] == expected.pixel_array - 1024).all()


def test_one_volume_of_a_4d_series_is_read_when_it_is_alone(tmp_path):
    folder = DICOM2NIFTI / "siemens_fmri_classic_001"
    for name in ("001.dcm", "002.dcm", "003.dcm", "004.dcm"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    image, expected = read_image(tmp_path), by_simpleitk(tmp_path)
    assert (image.voxels == expected.voxels).all()
    assert image.same_grid(expected, 1e-3)


def test_four_storage_orders_of_a_volume_are_one_image():
    images = [read_image(AWKWARD / name) for name in READ_FILES if "orientations" in name]
    assert [image.orientation for image in images] == ["ASL", "LPS", "RAS", "SRP"]
    reference = images[2]
    for image in images:
        turned = image.oriented("RAS")
        assert turned.same_grid(reference, 1e-3)
        assert_allclose(turned.voxels, reference.voxels, atol=0.5)


def test_a_jpeg2000_ct_agrees_with_simpleitk():
    folder = DATA / "ct_dicom_ts_j2k" / "dicom"
    image, expected = read_series(folder), by_simpleitk(folder)
    assert image.voxels.dtype == np.int16
    assert (image.voxels == expected.voxels).all()
    assert image.same_grid(expected, 1e-6)
    labels = read_image(DATA / "ct_dicom_ts_j2k" / "tissue.nii.gz")
    assert image.oriented("LPS").same_grid(labels.oriented("LPS"))


@pytest.mark.parametrize("fraction", [0, 0.01, 0.5, 0.9])
@pytest.mark.parametrize(
    "name",
    [
        "dicom2nifti/generic_compressed_jpegls_001/IM-0001-0001-0001.dcm",
        "pydicom/693_J2KR.dcm",
        "pydicom/CT_small.dcm",
        "dicom2nifti/philips_enhanced_anatomical_001/IM-0001-0170-0001.dcm",
        "nifti_orientations/ASL.nii.gz",
    ],
)
def test_each_format_cut_off_is_refused(tmp_path, name, fraction):
    whole = (AWKWARD / name).read_bytes()
    path = tmp_path / Path(name).name
    path.write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


NIFTI = sorted(DATA.rglob("*.nii.gz")) if DATA.is_dir() else []


@pytest.mark.parametrize("path", NIFTI, ids=lambda path: str(path.relative_to(DATA)))
def test_every_nifti_lies_where_nibabel_and_simpleitk_put_it(path):
    header = nibabel.load(path)
    if len(header.shape) > 3:
        pytest.skip("4D")
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    image = read_image(path)
    assert image.affine == pytest.approx(header.affine, abs=1e-5)
    flip = np.array([-1, -1, 1])[: reader.GetDimension()]
    assert image.origin[: len(flip)] * flip == pytest.approx(reader.GetOrigin(), abs=1e-3)
    assert image.spacing[: len(flip)] == pytest.approx(reader.GetSpacing(), abs=1e-3)
    if len(flip) == 3:
        directions = np.reshape(reader.GetDirection(), (3, 3)) * flip[:, None]
        assert image.directions == pytest.approx(directions, abs=1e-5)
    if image.voxels.size < 2_000_000:
        expected = np.asarray(header.dataobj).T.reshape(image.shape)
        assert_allclose(image.voxels, expected, rtol=1e-6, atol=1e-5)
