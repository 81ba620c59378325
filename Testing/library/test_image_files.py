"""Reading and writing NRRD, NIfTI-1 and MetaImage, and what cannot be read or written."""

import gzip
import os
import struct
import subprocess
import sys
import tracemalloc

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from test_image import affines, oblique

from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.image import files as imagefile
from DeepTranslateLib.image.files import image_name, is_image_file, read_image, write_image

SUFFIXES = [".nrrd", ".nii", ".nii.gz", ".mha"]
TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
RNG = np.random.default_rng(11)
VOXELS = RNG.integers(-500, 500, (4, 5, 6)).astype(np.int16)


def saved_nifti(path, voxels, affine, **header):
    """Write with nibabel; `header` fields are patched afterwards."""
    image = nibabel.Nifti1Image(voxels, affine)
    for field, value in header.items():
        image.header[field] = value
    nibabel.save(image, path)
    return path


def nibabel_voxels(path):
    return np.asarray(nibabel.load(path).dataobj).T


@settings(max_examples=15, deadline=None)
@given(affine=affines(), dtype=st.sampled_from(TYPES))
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_round_trip_keeps_voxels_type_and_place(tmp_path_factory, suffix, affine, dtype):
    path = tmp_path_factory.getbasetemp() / f"round_trip_{SUFFIXES.index(suffix)}{suffix}"
    image = Image(np.abs(VOXELS // 4).astype(dtype), affine)
    assert write_image(image, path) == path
    back = read_image(path)
    assert back.voxels.dtype == image.voxels.dtype
    assert (back.voxels == image.voxels).all()
    exact = 1e-9 if suffix in (".nrrd", ".mha") else 1e-6 * max(1, np.abs(affine).max())
    assert back.affine == pytest.approx(affine, abs=exact)
    # Others must find the same image in the file.
    itk = Image.from_sitk(SimpleITK.ReadImage(str(path)))
    assert itk.affine == pytest.approx(affine, abs=1e-4)
    assert (itk.voxels == image.voxels).all()
    if "nii" in suffix:
        assert nibabel.load(path).affine == pytest.approx(back.affine)
        assert (nibabel_voxels(path) == image.voxels).all()


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_headers_with_detached_data_are_read(tmp_path, suffix):
    image = Image(VOXELS, oblique(left_handed=True))
    SimpleITK.WriteImage(image.to_sitk(), str(tmp_path / f"a{suffix}"))
    back = read_image(tmp_path / f"a{suffix}")
    assert (back.voxels == VOXELS).all()
    assert back.affine == pytest.approx(image.affine, abs=1e-9)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("left_handed", [False, True])
def test_flipped_and_permuted_views_are_written_as_they_lie(tmp_path, suffix, left_handed):
    image = Image(VOXELS, oblique(left_handed)).oriented("PIR")
    back = read_image(write_image(image, tmp_path / f"a{suffix}"))
    assert (back.voxels == image.voxels).all()
    assert back.same_grid(image, 1e-3 if "nii" in suffix else 1e-9)  # NIfTI: float32


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("values", "stored"),
    [((0, 104), "uint8"), ((-1, 9), "int16"), ((0, 65535), "uint16"), ((0, 2**32 - 1), "uint32")],
)
def test_64_bit_labels_take_the_smallest_type_that_holds_them(tmp_path, suffix, values, stored):
    labels = np.resize(np.array(values, np.int64), (2, 3, 4))
    back = read_image(write_image(Image(labels, np.eye(4)), tmp_path / f"a{suffix}"))
    assert back.voxels.dtype == stored
    assert (back.voxels == labels).all()


def test_integers_beyond_32_bits_are_refused(tmp_path):
    with pytest.raises(ImageError, match="64-bit"):
        write_image(Image(np.full((2, 2, 2), 2**33), np.eye(4)), tmp_path / "a.nrrd")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_sheared_image_is_refused_before_anything_is_written(tmp_path, suffix):
    affine = np.eye(4)
    affine[1, 2] = 0.2
    with pytest.raises(ImageError, match=r"sheared.*78\.69 degrees"):
        write_image(Image(VOXELS, affine), tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a", "a.mhd", "a.nhdr", "a.gz", "a.nii.bz2", "a.dcm"])
def test_only_formats_of_one_file_are_written(tmp_path, name):
    with pytest.raises(ImageError, match="suffix"):
        write_image(Image(VOXELS, np.eye(4)), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ImageError, match="no folder"):
        write_image(Image(VOXELS, np.eye(4)), tmp_path / "missing" / "a.nrrd")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, suffix, monkeypatch):
    path = write_image(Image(VOXELS, np.eye(4)), tmp_path / f"a{suffix}")
    before = path.read_bytes()

    def half(image, name, *_):
        with open(name, "wb") as stream:
            stream.write(b"half")
        raise RuntimeError("sitk::ERROR: no space left")

    monkeypatch.setattr(SimpleITK, "WriteImage", half)
    with pytest.raises(ImageError, match="no space left"):
        write_image(Image(VOXELS + 1, np.eye(4)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX file size limits")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file(tmp_path, suffix):
    path = write_image(Image(VOXELS, np.eye(4)), tmp_path / f"a{suffix}")
    before = path.read_bytes()
    script = (
        "import resource, signal, sys, numpy as np\n"
        "from DeepTranslateLib.image.files import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "voxels = np.random.default_rng(0).normal(size=(32, 64, 64)).astype(np.float32)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    write_image(Image(voxels, np.eye(4)), sys.argv[1])\n"
        "except (ImageError, OSError) as error:\n"
        "    print('refused:', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert "refused:" in done.stdout
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fraction", [0, 0.02, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("compressed", [True, False])
def test_empty_and_truncated_files_are_refused(tmp_path, suffix, fraction, compressed):
    voxels = RNG.integers(-500, 500, (24, 25, 26)).astype(np.int16)
    path = write_image(Image(voxels, np.eye(4)), tmp_path / f"a{suffix}", compressed=compressed)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(ImageError, match=r"empty|cut off|no NIfTI") as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_compressed_nifti_is_noticed(tmp_path):
    path = write_image(Image(VOXELS, np.eye(4)), tmp_path / "a.nii.gz")
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1  # in the checksum
    path.write_bytes(raw)
    with pytest.raises(ImageError, match="damaged"):
        read_image(path)


def test_a_header_that_announces_more_than_memory_is_refused(tmp_path):
    path = write_image(Image(VOXELS, np.eye(4)), tmp_path / "a.nii")
    raw = bytearray(path.read_bytes())
    raw[42:48] = struct.pack("<3h", 32767, 32767, 32767)
    path.write_bytes(raw)
    with pytest.raises(ImageError, match="cut off"):
        read_image(path)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".mhd", ".nhdr", ".dcm", ".txt", ""])
@pytest.mark.parametrize("content", [b"no image\n" * 100, b"\x1f\x8b" + b"x" * 500])
def test_a_file_that_is_no_image_is_refused(tmp_path, suffix, content, capfd):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="a"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a", "a.dcm"])
def test_a_path_that_does_not_exist_is_named(tmp_path, name):
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / name)


def test_nrrd_under_the_name_of_nifti_is_recognised(tmp_path):
    write_image(Image(VOXELS, np.eye(4)), tmp_path / "a.nrrd").rename(tmp_path / "a.nii.gz")
    with pytest.raises(ImageError, match=r"rename it to \.nrrd"):
        read_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [(1, 0, "int16"), (2, -1024, "int16"), (1, 40000, "int32"), (0.5, 0, "float32"),
     (0, 7, "int16"), (np.nan, np.nan, "int16")],
)  # fmt: skip
def test_nifti_scaling_is_applied_once(tmp_path, slope, intercept, expected):
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(VOXELS.T, np.eye(4)), path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<2f", slope, intercept)
    path.write_bytes(raw)
    image = read_image(path)
    assert image.voxels.dtype == expected
    assert (image.voxels == nibabel_voxels(path)).all()


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_both_byte_orders_and_wrongly_named_compression_are_read(tmp_path, swap, compressed):
    header = nibabel.Nifti1Header(endianness=">" if swap else "<")
    header.set_data_dtype(np.int32)
    data = VOXELS.T.astype(np.int32)
    raw = nibabel.Nifti1Image(data, oblique(), header).to_bytes()
    path = tmp_path / "a.nii"
    path.write_bytes(gzip.compress(raw) if compressed else raw)
    image = read_image(path)
    assert (image.voxels == VOXELS).all()
    assert image.affine == pytest.approx(oblique(), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(affine=affines(), codes=st.sampled_from([(1, 0), (0, 1), (1, 1), (0, 2), (4, 0)]))
def test_qform_and_sform_are_read_as_nibabel_reads_them(tmp_path_factory, affine, codes):
    path = tmp_path_factory.getbasetemp() / "forms.nii"
    image = nibabel.Nifti1Image(VOXELS.T, affine)
    image.set_qform(affine, codes[0])
    moved = affine.copy()
    moved[:3, 3] += 5
    image.set_sform(moved, codes[1])
    nibabel.save(image, path)
    expected = nibabel.load(path).affine
    # A qform leaves out a quaternion's first part; near half a turn, 32 bits of the others say it
    # to about the root of their last digit, and nibabel takes 0 there.
    assert read_image(path).affine == pytest.approx(expected, abs=1e-3)


def test_nifti_without_a_transform_takes_its_spacing_as_simpleitk_does(tmp_path):
    image = nibabel.Nifti1Image(VOXELS.T, np.diag([2, 3, 4, 1]))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "a.nii")
    expected = Image.from_sitk(SimpleITK.ReadImage(str(tmp_path / "a.nii")))
    assert read_image(tmp_path / "a.nii").affine == pytest.approx(expected.affine)


def test_nifti_in_micrometres_is_read_in_millimetres(tmp_path):
    image = nibabel.Nifti1Image(VOXELS.T, np.diag([500, 500, 1000, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    itk = SimpleITK.ReadImage(str(tmp_path / "a.nii"))
    assert read_image(tmp_path / "a.nii").spacing == pytest.approx(itk.GetSpacing())
    assert itk.GetSpacing()[0] == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 4, 1), (6, 5, 4, 1, 1), (6,)])
def test_two_dimensions_and_trailing_ones_are_accepted(tmp_path, shape):
    data = RNG.integers(0, 99, shape).astype(np.int16)
    image = read_image(saved_nifti(tmp_path / "a.nii.gz", data, np.diag([2, 3, 4, 1])))
    assert (image.voxels.T.ravel() == data.ravel()).all()
    assert image.shape[::-1] == (*data.shape, 1, 1)[:3]
    assert image.spacing == pytest.approx([2, 3, 4])


def test_nifti_of_the_next_version_is_named(tmp_path):
    nibabel.save(nibabel.Nifti2Image(VOXELS.T, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ImageError, match="NIfTI-2"):
        read_image(tmp_path / "a.nii")


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((6, 5, 4, 3), np.int16), "3 volumes"),
        (np.zeros((6, 5, 4, 1, 3), np.float32), "3 volumes"),
        (np.zeros((6, 5, 4), np.complex64), "complex"),
        (np.zeros((6, 5, 4), RGB), "colour"),
    ],
)
def test_nifti_that_is_no_scalar_volume_is_refused(tmp_path, data, words):
    with pytest.raises(ImageError, match=words):
        read_image(saved_nifti(tmp_path / "a.nii.gz", data, np.eye(4)))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("array", "vector", "words"),
    [
        (np.zeros((2, 3, 4, 3), np.uint8), True, "3 components"),
        (np.zeros((3, 4, 5, 6), np.int16), False, "3 volumes|3 components"),
    ],
)
def test_colour_and_4d_of_other_formats_are_refused(tmp_path, suffix, array, vector, words):
    path = tmp_path / f"a{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=vector), str(path))
    with pytest.raises(ImageError, match=words):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_a_sheared_file_is_refused_not_straightened(tmp_path, suffix):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.2
    path = tmp_path / f"a{suffix}"
    if suffix == ".nii":
        saved_nifti(path, VOXELS.T, affine)
    else:
        SimpleITK.WriteImage(Image(VOXELS, affine).to_sitk(), str(path))
    with pytest.raises(ImageError, match="sheared"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_a_place_that_is_not_finite_is_refused(tmp_path, suffix):
    path = write_image(Image(VOXELS, oblique()), tmp_path / f"a{suffix}", compressed=False)
    raw = path.read_bytes()
    if suffix == ".nii":
        raw = raw[:292] + struct.pack("<f", float("nan")) + raw[296:]
    else:
        key = b"space origin: (" if suffix == ".nrrd" else b"Offset = "
        at = raw.index(key) + len(key)
        end = raw.index(b"," if suffix == ".nrrd" else b" ", at)
        raw = raw[:at] + b"nan" + raw[end:]
    path.write_bytes(raw)
    with pytest.raises(ImageError, match="not finite"):
        read_image(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_right_is_an_oserror(tmp_path, suffix):
    path = write_image(Image(VOXELS, np.eye(4)), tmp_path / f"a{suffix}")
    path.chmod(0)
    with pytest.raises(OSError, match="ermission"):
        read_image(path)


def test_nifti_beside_its_compressed_namesake_keeps_its_own_voxels(tmp_path):
    # ITK reads the header of a.nii.gz and the voxels of a.nii.
    write_image(Image(VOXELS, np.eye(4)), tmp_path / "a.nii.gz")
    write_image(Image(VOXELS + 1, np.eye(4)), tmp_path / "a.nii")
    assert (read_image(tmp_path / "a.nii.gz").voxels == VOXELS).all()
    assert (read_image(tmp_path / "a.nii").voxels == VOXELS + 1).all()


def test_warnings_of_simpleitk_are_kept_from_the_user(tmp_path, capfd):
    affine = oblique()
    affine[:3, 2] += affine[:3, 1] * 1e-4  # within rounding, yet ITK remarks on it
    write_image(Image(VOXELS, affine), tmp_path / "a.nii")
    read_image(tmp_path / "a.nii")
    assert capfd.readouterr() == ("", "")
    assert SimpleITK.ProcessObject.GetGlobalWarningDisplay()


def test_image_files_are_told_by_suffix_or_dicom_magic(tmp_path):
    for name in ("a.nrrd", "b.NII.GZ", "c.mha", "d.dcm", "e.IMA"):
        (tmp_path / name).touch()
        assert is_image_file(tmp_path / name), name
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    assert is_image_file(tmp_path / "IM0001")
    for name in ("a.txt", "b.gz", "noname", "a.png"):
        (tmp_path / name).write_bytes(b"text")
        assert not is_image_file(tmp_path / name), name
    assert not is_image_file(tmp_path)
    assert not is_image_file(tmp_path / "missing.nrrd")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/CT.nii.gz", "CT"),
        ("x/CT.NRRD", "CT"),
        ("x/a.b.mha", "a.b"),
        ("x/CT.1.2.840", "CT.1.2.840"),
        ("x/1.dcm", "1"),
        ("x/IM0001", "IM0001"),
    ],
)
def test_image_name_drops_only_suffixes_of_images(path, name):
    assert image_name(path) == name


def test_a_folder_keeps_its_whole_name(tmp_path):
    (tmp_path / "study.nrrd").mkdir()
    assert image_name(tmp_path / "study.nrrd") == "study.nrrd"


def test_what_is_written_is_what_the_format_list_says():
    assert set(SUFFIXES) == set(imagefile.WRITTEN_SUFFIXES)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_held_once_while_it_is_read(tmp_path, suffix):
    voxels = RNG.integers(0, 9, (160, 256, 256)).astype(np.int16)
    path = write_image(Image(voxels, np.eye(4)), tmp_path / f"a{suffix}")
    tracemalloc.start()
    read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * voxels.nbytes
