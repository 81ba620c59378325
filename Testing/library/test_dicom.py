"""DICOM series made with pydicom: order, geometry, rescaling, and what is no single volume."""

import tracemalloc

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.image.dicom import list_series, read_series
from DeepTranslateLib.image.files import read_image

RNG = np.random.default_rng(5)
STORED = RNG.integers(0, 4000, (5, 6, 7)).astype(np.uint16)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def dataset(pixels, sop_class=CTImageStorage, syntax=ExplicitVRLittleEndian):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    ds = Dataset()
    ds.file_meta, ds.preamble = meta, bytes(128)
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored, ds.HighBit = ds.BitsAllocated, ds.BitsAllocated - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    ds.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    ds["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    return ds


def series(stored=STORED, orientation=AXIAL, spacing=(0.5, 0.75), step=3.0, **more):
    """Slices of one series; `more` are attributes, a list gives each slice its own."""
    uid = more.pop("SeriesInstanceUID", generate_uid())
    syntax = more.pop("syntax", ExplicitVRLittleEndian)
    normal = np.cross(orientation[:3], orientation[3:])
    slices = []
    for k, pixels in enumerate(stored):
        ds = dataset(pixels, syntax=syntax)
        ds.SeriesInstanceUID, ds.StudyInstanceUID = uid, "1.2.3"
        ds.SeriesNumber, ds.InstanceNumber = 4, k + 1
        ds.ImageOrientationPatient = [f"{v:.12g}"[:16] for v in orientation]
        ds.ImagePositionPatient = [
            f"{v:.8f}"[:16] for v in np.array([-20.0, 30.5, 100.25]) + normal * step * k
        ]
        ds.PixelSpacing = list(spacing)
        ds.SliceThickness = step
        for name, value in more.items():
            setattr(ds, name, value[k] if isinstance(value, list) else value)
        slices.append(ds)
    return slices


def save(folder, slices, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for n, ds in enumerate(slices):
        if ds.file_meta.TransferSyntaxUID == RLELossless:
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.compress(RLELossless, generate_instance_uid=False)
        ds.save_as(folder / (names[n] if names else f"{n:03}.dcm"), enforce_file_format=True)
    return folder


def by_simpleitk(folder):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return Image.from_sitk(reader.Execute())


def shift(ds, axis, mm):
    position = [float(v) for v in ds.ImagePositionPatient]
    position[axis] += mm
    ds.ImagePositionPatient = [f"{v:.6f}" for v in position]


SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_voxels_and_place_agree_with_simpleitk(tmp_path, syntax, dtype):
    stored = (STORED % 200).astype(dtype) - (100 if dtype == np.int16 else 0)
    slices = series(stored, syntax=syntax, RescaleSlope=2, RescaleIntercept=-1024)
    image = read_series(save(tmp_path / "a", slices))
    assert image.voxels.dtype == np.int16
    assert (image.voxels == stored.astype(int) * 2 - 1024).all()
    plain = series(stored, RescaleSlope=2, RescaleIntercept=-1024)
    expected = by_simpleitk(save(tmp_path / "b", plain))
    assert (image.voxels == expected.voxels).all()
    assert image.affine == pytest.approx(expected.affine, abs=1e-9)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_orientation_agrees_with_simpleitk(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    spacing = tuple(np.round(rng.uniform(0.2, 3, 2), 4))
    step = round(rng.uniform(0.4, 8), 4)
    folder = tmp_path_factory.mktemp("oblique")
    save(folder, series(orientation=rotation[:, :2].T.ravel(), spacing=spacing, step=step))
    image = read_series(folder)
    expected = by_simpleitk(folder)
    assert (image.voxels == expected.voxels).all()
    assert image.same_grid(expected, 1e-4)
    assert not image.is_sheared


def test_slices_are_ordered_by_position_not_by_name_or_number(tmp_path):
    slices = series(InstanceNumber=[3, 1, 5, 2, 4])
    order = [3, 0, 4, 1, 2]
    save(tmp_path, [slices[n] for n in order], names=["b", "x.1", "a", "IM", "9"])
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert (read_series(tmp_path).voxels == STORED).all()


def test_descending_positions_are_turned_round_with_their_voxels(tmp_path):
    slices = series(step=-3.0)
    image = read_series(save(tmp_path, slices))
    assert (image.voxels == STORED[::-1]).all()
    for k, ds in enumerate(slices):
        place = np.array(ds.ImagePositionPatient, float) * [-1, -1, 1]
        assert image.ijk(place) == pytest.approx([0, 0, 4 - k], abs=1e-6)


def test_each_slice_has_its_own_slope_and_intercept(tmp_path):
    slopes, intercepts = [0.5, 1.25, 2.0, 0.001, 3.0], [0.0, -7.5, 10.0, 0.25, -1000.0]
    slices = series(RescaleSlope=slopes, RescaleIntercept=intercepts)
    image = read_series(save(tmp_path, slices))
    expected = [pydicom.pixels.apply_modality_lut(ds.pixel_array, ds) for ds in slices]
    assert image.voxels.dtype == np.float32
    assert image.voxels == pytest.approx(np.array(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [(1, -1024, np.int16), (1, 40000, np.int32), (100, 0, np.int32), (10**6, 0, np.float32)],
)
def test_the_type_is_the_smallest_that_holds_the_values(tmp_path, slope, intercept, dtype):
    image = read_series(save(tmp_path, series(RescaleSlope=slope, RescaleIntercept=intercept)))
    assert image.voxels.dtype == dtype
    assert image.voxels == pytest.approx(STORED.astype(float) * slope + intercept, rel=1e-6)


def test_a_late_large_value_widens_the_slices_before_it(tmp_path):
    stored = STORED.copy()
    stored[3, 2, 1] = 65535
    image = read_series(save(tmp_path, series(stored)))
    assert image.voxels.dtype == np.int32
    assert (image.voxels == stored).all()


def test_a_single_file_is_one_slice_of_its_thickness(tmp_path):
    save(tmp_path, series())
    image = read_image(tmp_path / "002.dcm")
    assert (image.voxels == STORED[2:3]).all()
    assert image.spacing == pytest.approx([0.75, 0.5, 3.0])
    assert image.origin == pytest.approx([20, -30.5, 106.25])


def test_several_series_are_listed_and_chosen_by_uid(tmp_path):
    save(tmp_path / "a", series(SeriesDescription="soft", SeriesInstanceUID="1.2.10"))
    save(tmp_path / "b", series(STORED[:3] + 1, SeriesDescription="lung", SeriesInstanceUID="1.9"))
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path)
    for words in ("1.2.10", "soft", "5 slices", "1.9", "lung", "3 slices", "series=", "sub-folder"):
        assert words in str(caught.value)
    assert (read_image(tmp_path, "1.9").voxels == STORED[:3] + 1).all()
    assert (read_image(tmp_path / "a").voxels == STORED).all()
    with pytest.raises(ImageError, match=r"no series 1\.5"):
        read_image(tmp_path, series="1.5")
    first, second = list_series(tmp_path)
    assert (first.uid, first.description, first.frames) == ("1.2.10", "soft", 5)
    assert (first.modality, first.number, len(first.files)) == ("CT", 4, 5)
    assert (read_series(second).voxels == STORED[:3] + 1).all()


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path):
    slices = series(step=5.0)
    for k, ds in enumerate(slices):
        shift(ds, 1, 5.0 * k * np.tan(np.radians(12)))
    with pytest.raises(ImageError, match=r"12\.0 degrees.*gantry"):
        read_series(save(tmp_path, slices))


def test_rounded_positions_are_no_tilt_and_no_gap(tmp_path):
    slices = series(step=0.625)
    for ds in slices:
        ds.ImagePositionPatient = [f"{float(v):.1f}" for v in ds.ImagePositionPatient]
    image = read_series(save(tmp_path, slices))
    assert image.spacing[2] == pytest.approx(0.625, abs=0.03)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_missing_slice_is_refused_with_its_place(tmp_path, missing):
    slices = series()
    del slices[missing]
    low = 100.25 + 3 * (missing - 1)
    with pytest.raises(ImageError, match=rf"{low:.2f} to {low + 6:.2f}.*1 missing"):
        read_series(save(tmp_path, slices))


def test_uneven_spacing_is_refused(tmp_path):
    slices = series()
    shift(slices[4], 2, 1.4)
    with pytest.raises(ImageError, match=r"4\.40 mm.*unevenly"):
        read_series(save(tmp_path, slices))


def test_a_slice_held_twice_is_refused_with_its_place(tmp_path):
    slices = series()
    with pytest.raises(ImageError, match=r"1 of the 5 slice positions.*103\.25 mm"):
        read_series(save(tmp_path, [*slices, slices[1]]))


def test_several_volumes_in_a_series_are_called_4d(tmp_path):
    uid = generate_uid()
    slices = [ds for _ in range(3) for ds in series(SeriesInstanceUID=uid)]
    with pytest.raises(ImageError, match=r"4D: 3 images at each of 5 positions \(15 images\)"):
        read_series(save(tmp_path, slices))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not parallel"),
        ({"PixelSpacing": [0.6, 0.75]}, "differ in size"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "MOSAIC"]}, "mosaic"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient is missing"),
        ({"PixelSpacing": None}, "PixelSpacing is missing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not parallel|orientation"),
        ({"ImageOrientationPatient": [1, 0, 0]}, "geometry"),
        ({"NumberOfFrames": 3}, "3 frames without a position"),
        ({"ModalityLUTSequence": [Dataset()]}, "look-up table"),
        ({"PixelData": b""}, "no pixel data"),
        ({"PixelData": bytes(40)}, "cannot be decoded"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_what_is_no_plain_slice_is_refused_in_one_paragraph(tmp_path, change, words):
    slices = series()
    for name, value in change.items():
        setattr(slices[2], name, value)
    with pytest.raises(ImageError, match=words) as caught:
        read_series(save(tmp_path, slices))
    assert "\n" not in str(caught.value)


def test_slices_of_different_sizes_are_refused(tmp_path):
    slices = series()
    uid = slices[0].SeriesInstanceUID
    other = series(np.zeros((6, 4, 4), np.uint16), SeriesInstanceUID=uid)[5:]
    with pytest.raises(ImageError, match=r"7 x 6 pixels.*4 x 4 pixels"):
        read_series(save(tmp_path, slices + other))


@pytest.mark.parametrize(
    ("modality", "words"), [("SEG", "segmentation"), ("RTSTRUCT", "contours"), ("SR", "no image")]
)
def test_objects_that_are_no_images_are_named_and_passed_over(tmp_path, modality, words):
    ds = dataset(STORED[0])
    ds.Modality, ds.SeriesInstanceUID = modality, generate_uid()
    if modality != "SEG":
        del ds.Rows, ds.Columns, ds.PixelData
    save(tmp_path / "object", [ds])
    with pytest.raises(ImageError, match=words):
        read_image(tmp_path)
    save(tmp_path / "image", series())
    assert (read_image(tmp_path).voxels == STORED).all()


@pytest.mark.parametrize("fraction", [0, 0.05, 0.4, 0.9, 0.999])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_empty_and_truncated_files_are_refused(tmp_path, fraction, syntax):
    stored = RNG.integers(0, 4000, (3, 64, 64)).astype(np.uint16)
    path = save(tmp_path, series(stored, syntax=syntax)) / "001.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    for source in (path, tmp_path):
        with pytest.raises(ImageError) as caught:
            read_image(source)
        assert "\n" not in str(caught.value)


def test_anonymised_files_without_a_series_uid_are_one_series(tmp_path):
    image = read_series(save(tmp_path, series(SeriesInstanceUID="")))
    assert (image.voxels == STORED).all()


def test_a_folder_without_dicom_says_so(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ImageError, match="no DICOM files"):
        read_image(tmp_path)
    assert list_series(tmp_path) == []
    with pytest.raises(ImageError, match="does not exist"):
        list_series(tmp_path / "missing")


def enhanced(positions, slopes, stored=STORED, syntax=ExplicitVRLittleEndian):
    """One multi-frame file; orientation and spacing are shared, the rest is each frame's."""
    ds = dataset(stored, EnhancedMRImageStorage, syntax)
    ds.Modality, ds.SeriesInstanceUID = "MR", generate_uid()
    ds.NumberOfFrames = len(stored)
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    measures.PixelSpacing = [0.5, 0.75]
    measures.SliceThickness = 2
    shared.PlaneOrientationSequence = [plane]
    shared.PixelMeasuresSequence = [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = []
    for position, slope in zip(positions, slopes, strict=True):
        group, place, values = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = list(position)
        values.RescaleSlope, values.RescaleIntercept = slope, -1
        group.PlanePositionSequence = [place]
        group.PixelValueTransformationSequence = [values]
        ds.PerFrameFunctionalGroupsSequence.append(group)
    return ds


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_enhanced_frames_have_their_own_places_and_slopes(tmp_path, syntax):
    order = [2, 0, 1, 4, 3]  # stored out of order
    positions = [(10 - 2.0 * n, 5, 7) for n in order]
    slopes = [1.5, 0.25, 3.0, 2.0, 1.0]
    save(tmp_path, [enhanced(positions, slopes, syntax=syntax)], names=["multi"])
    image = read_image(tmp_path / "multi")
    for frame, (position, slope) in enumerate(zip(positions, slopes, strict=True)):
        i, j, k = np.rint(image.ijk(np.array(position) * [-1, -1, 1])).astype(int)
        assert (i, j) == (0, 0)
        assert image.voxels[k] == pytest.approx(STORED[frame] * slope - 1.0, rel=1e-6)
    assert image.spacing == pytest.approx([0.75, 0.5, 2.0])
    assert image.orientation == "PIR"


def test_enhanced_frames_at_the_same_places_are_4d(tmp_path):
    positions = [(n // 2, 5, 7) for n in range(4)]
    save(tmp_path, [enhanced(positions, [1] * 4, STORED[:4])])
    with pytest.raises(ImageError, match=r"4D: 2 images at each of 2 positions"):
        read_image(tmp_path)


def compressed(stored, compressor, path):
    """Pixel data and transfer syntax that SimpleITK writes for a volume."""
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.SetFileName(str(path))
    writer.Execute(SimpleITK.GetImageFromArray(stored))
    written = pydicom.dcmread(path)
    return written["PixelData"], written.file_meta.TransferSyntaxUID


@pytest.mark.parametrize(
    ("compressor", "syntax"), [("JPEG", JPEGLosslessSV1), ("JPEG2000", JPEG2000Lossless)]
)
def test_the_jpeg_family_is_decoded_slice_by_slice_and_in_enhanced_files(
    tmp_path, compressor, syntax
):
    stored = RNG.integers(0, 3000, (3, 32, 40)).astype(np.uint16)
    slices = series(stored, RescaleSlope=2, RescaleIntercept=-5)
    for ds, pixels in zip(slices, stored, strict=True):
        ds["PixelData"], found = compressed(pixels, compressor, tmp_path / "written.dcm")
        assert found == syntax
        ds.file_meta.TransferSyntaxUID = syntax
    image = read_image(save(tmp_path / "slices", slices))
    assert image.voxels.dtype == np.int16
    assert (image.voxels == stored.astype(int) * 2 - 5).all()
    multi = enhanced([(n, 0, 0) for n in range(3)], [1, 2, 3], stored)
    multi["PixelData"], found = compressed(stored, compressor, tmp_path / "written.dcm")
    multi.file_meta.TransferSyntaxUID = found
    image = read_image(save(tmp_path / "multi", [multi]))
    expected = stored * np.array([1, 2, 3]).reshape(3, 1, 1) - 1
    assert (image.voxels == expected[::-1]).all()  # the normal points to -x


@pytest.mark.parametrize("scale", [1, 0.5])
def test_a_series_is_held_once_while_it_is_read(tmp_path, scale):
    stored = RNG.integers(0, 3000, (40, 256, 256)).astype(np.uint16)
    save(tmp_path, series(stored, RescaleSlope=scale))
    tracemalloc.start()
    image = read_series(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * image.voxels.nbytes
