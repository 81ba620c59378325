"""`deeptranslate translate`: files that are damaged, odd or no CT."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from cli_samples import ROOT, fails, names_in, run, write_series
from engine_samples import lps_affine, random_hu

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image

DATA = Path(os.environ.get("DEEPTRANSLATE_DATA") or ROOT.parent / "shared" / "data").resolve()
AWKWARD = DATA / "awkward"

pytestmark = pytest.mark.usefixtures("no_hang")


def test_what_is_no_ct_in_hu_is_translated_with_a_warning(place, capfd):
    write_image(Image(random_hu((2, 16, 16)) + 1000, lps_affine()), place / "raw.nrrd")
    assert run("translate", "--model", "labels.dtmodel", "--output", "out", "raw.nrrd") == 0
    assert capfd.readouterr().err.startswith("Warning: raw.nrrd")


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz", "nii", "mha", "dcm"])
@pytest.mark.parametrize("part", [0.0, 0.05, 0.6, 0.98])
def test_cut_off_files_end_in_a_paragraph_and_leave_nothing(place, suffix, part, capfd):
    if suffix == "dcm":
        write_series(place / "series", "1.2.3", slices=1)
        whole = next((place / "series").iterdir()).read_bytes()
    else:
        write_image(read_image("a.nrrd"), place / f"whole.{suffix}")
        whole = (place / f"whole.{suffix}").read_bytes()
    (place / f"cut.{suffix}").write_bytes(whole[: int(len(whole) * part)])
    model = ["--model", "labels.dtmodel", "--output", "out"]
    message = fails(capfd, 3, "translate", *model, f"cut.{suffix}")
    assert f"cut.{suffix}" in message
    assert names_in("out") == []


def test_remarks_of_c_libraries_stay_off_the_screen(place, capfd):
    write_image(read_image("a.nrrd"), place / "a.mha")
    whole = (place / "a.mha").read_bytes()
    (place / "odd.mha").write_bytes(whole.replace(b"ElementType = MET_SHORT\n", b""))
    (place / "cut.mha").write_bytes(whole[:-200])
    for name in ("odd.mha", "cut.mha"):
        assert run("translate", "--model", "labels.dtmodel", "--output", "out", name) == 3
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith(name)


def test_a_broken_value_in_a_dicom_header_is_no_defect_of_ours(place, capfd):
    write_series(place / "series", "1.2.3", slices=1)
    whole = next((place / "series").iterdir()).read_bytes()
    for number, at in enumerate((b"\x28\x00\x11\x00US", b"\x08\x00\x60\x00CS")):
        assert at in whole
        (place / f"{number}.dcm").write_bytes(whole.replace(at, at[:4] + b"U\0"))
        message = fails(
            capfd, 3, "translate", "--model", "labels.dtmodel", "--output", "o", f"{number}.dcm"
        )
        assert "broken or truncated DICOM header" in message


def awkward_inputs():
    if not AWKWARD.is_dir():
        return []
    return sorted(path for path in AWKWARD.rglob("*") if path != AWKWARD)


@pytest.mark.real_data
@pytest.mark.skipif(not AWKWARD.is_dir(), reason="the real images are not here")
@pytest.mark.parametrize("path", awkward_inputs(), ids=lambda path: path.name)
def test_awkward_inputs_end_in_a_right_result_or_a_paragraph(place, path, capfd):
    model = ["--model", "labels.dtmodel", "--output", "out", "--format", "nii.gz"]
    code = run("translate", *model, path)
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert "unexpected" not in err
    pairs = [line.split(" -> ") for line in out.splitlines() if " -> " in line]
    tables = ["tissue_volumes.csv", "tissue_volumes_by_slice.csv"] if pairs else []
    made = [Path(output).name for _, output in pairs]
    assert names_in("out") == sorted([*made, *tables])
    for source, output in pairs:
        check_right(Path(source), Path(output))
    if not pairs:
        assert code == 3
        assert str(path) in " ".join(err.split())
    else:
        assert code in (0, 4)


def check_right(source, output):
    """Hold a label map against its input as other readers see it."""
    labels = nibabel.load(output)
    assert set(np.unique(labels.dataobj)) <= {0, 10, 20}
    if source.name.endswith(".nii.gz"):
        expected = nibabel.load(source)
        assert labels.shape == expected.shape
        assert labels.affine == pytest.approx(expected.affine, abs=1e-3)
        return
    if source.is_dir() and len(list(source.iterdir())) > 1:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source)))
        image = reader.Execute()
    else:
        image = SimpleITK.ReadImage(str(next(source.iterdir()) if source.is_dir() else source))
    found = SimpleITK.ReadImage(str(output))
    assert found.GetSize() == image.GetSize()
    assert found.GetOrigin() == pytest.approx(image.GetOrigin(), abs=1e-2)
    assert found.GetDirection() == pytest.approx(image.GetDirection(), abs=1e-4)
    # What SimpleITK takes for the thickness of a single slice differs from file to file.
    axes = 2 if image.GetSize()[2] == 1 else 3
    assert found.GetSpacing()[:axes] == pytest.approx(image.GetSpacing()[:axes], rel=1e-3)
