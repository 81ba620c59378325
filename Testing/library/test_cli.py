"""The command line as its user meets it: exit codes, what is printed, what is left on the disk."""

import csv
import faulthandler
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from engine_samples import labels_recipe, lps_affine, random_hu, volume_recipe

import DeepTranslateLib
from DeepTranslateLib.cli import EXIT_CODES, doctor, main
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.jobs import read_events
from DeepTranslateLib.model import Card, read_model, write_model
from DeepTranslateLib.recipe import write_recipe
from DeepTranslateLib.statistics import read_statistics

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("DEEPTRANSLATE_DATA") or ROOT.parent / "shared" / "data").resolve()
AWKWARD = DATA / "awkward"
COLUMNS = "volume,label,name,voxels,volume_ml,mean,sd,median,p05,p95"


def untrained(path, recipe):
    import torch
    from safetensors.torch import save

    from DeepTranslateLib.engine.networks import build_network

    torch.manual_seed(0)
    card = Card("tiny", "2026-01-01T00:00:00+00:00", "0.1.0", epoch=1, seed=0)
    return write_model(path, recipe, card, save(build_network(recipe).state_dict()))


@pytest.fixture(autouse=True)
def no_hang():
    """A command that does not come back, be it in a C library, ends the tests."""
    faulthandler.dump_traceback_later(120, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    untrained(folder / "labels.dtmodel", labels_recipe(2))
    untrained(folder / "volume.dtmodel", volume_recipe())
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch, models):
    """A working folder with two scans and two models."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 1), ("b", 2)):
        write_image(Image(random_hu((3, 16, 20), seed), lps_affine()), tmp_path / f"{name}.nrrd")
    for model in models.iterdir():
        (tmp_path / model.name).write_bytes(model.read_bytes())
    return tmp_path


@pytest.fixture
def cohort(place):
    """Three subjects whose label 10 is what is above 0 HU, a recipe for it, no faults."""
    for number in range(3):
        folder = place / "cohort" / f"s{number}"
        folder.mkdir(parents=True)
        voxels = random_hu((4, 16, 16), number)
        write_image(Image(voxels, lps_affine()), folder / "image.nrrd")
        labels = Image((voxels > 0).astype(np.uint8) * 10, lps_affine())
        write_image(labels, folder / "labels.nrrd")
    write_recipe(labels_recipe(1, training={"epochs": 2}), place / "tiny.json")
    return place / "cohort"


def run(*arguments):
    return main([str(argument) for argument in arguments])


def run_json(capfd, *arguments):
    """Exit code and events; each line must be strict JSON, the last a result or an error."""
    capfd.readouterr()
    code = run(*arguments, "--json")
    out, err = capfd.readouterr()
    assert err == ""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    events = [json.loads(line, parse_constant=refuse) for line in out.splitlines()]
    assert events[-1]["event"] in ("result", "error")
    return code, events


def fails(capfd, code, *arguments):
    """Run a command that must fail with this code and a paragraph; return it on one line."""
    capfd.readouterr()
    assert run(*arguments) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert "Something unexpected" not in err
    assert err.strip()
    return " ".join(err.split())


def wrong_usage(capfd, *arguments):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    return err


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def process(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, env=environment, check=False, **options,
    )  # fmt: skip


# The command itself


def test_help_and_version_load_nothing_heavy(tmp_path):
    code = textwrap.dedent(
        """
        import sys
        from DeepTranslateLib.cli import main
        try:
            main(sys.argv[1:])
        finally:
            heavy = {"torch", "monai", "numpy", "SimpleITK", "rich"} & set(sys.modules)
            assert not heavy, heavy
        """
    )
    for argument in ("--help", "--version"):
        done = process("-c", code, argument, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == DeepTranslateLib.__version__


def test_the_module_is_the_command(tmp_path):
    done = process("-m", "DeepTranslateLib", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: deeptranslate ")
    commands = ("demo", "train", "translate", "statistics", "recipes", "models", "info", "doctor")
    for command in commands:
        assert f"    {command}" in done.stdout
    assert EXIT_CODES in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["foo"], "invalid choice: 'foo'"),
        (["translate", "--model", "m", "--output", "o"], "INPUT"),
        (["train", "--recipe", "r"], "--cohort, --output"),
        (["train", "--recipe", "r", "--cohort", "c", "--output", "o", "--seed", "-1"], "from 0"),
        (["train", "--recipe", "r", "--cohort", "c", "--output", "o", "--epochs", "x"], "from 1"),
        (["translate", "--model", "m", "--output", "o", "--device", "tpu", "a"], "'tpu'"),
        (["translate", "--model", "m", "--output", "o", "--format", "jpg", "a"], "'jpg'"),
        (["translate", "--model", "m", "--output", "o", "--memory-limit", "0", "a"], "above 0"),
        (["statistics", "--image", "i", "--labels", "l", "--output", "t.xls"], "*.csv or *.tsv"),
    ],
)
def test_a_wrong_command_line_exits_2_and_says_what_is_wrong(capfd, arguments, said):
    assert said in wrong_usage(capfd, *arguments)


def test_a_reader_that_goes_away_is_no_error(place):
    done = subprocess.run(
        f'"{sys.executable}" -m DeepTranslateLib recipes --json | head -c 1',
        shell=True, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("{", "")


def test_debug_shows_the_traceback_and_keeps_the_exit_code(place, capfd):
    assert run("info", "nowhere.nrrd", "--debug") == 3
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("There is no file nowhere.nrrd")


# translate: what is left


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz"])
def test_label_maps_lie_on_their_inputs_and_the_table_lists_them(place, suffix, capfd):
    model = ["--model", "labels.dtmodel", "--format", suffix]
    assert run("translate", *model, "--output", "new/out", "a.nrrd", "b.nrrd") == 0
    tables = ["tissue_volumes.csv", "tissue_volumes_by_slice.csv"]
    assert names_in("new/out") == [f"a_labels.{suffix}", f"b_labels.{suffix}", *tables]
    for name in "ab":
        path = place / "new" / "out" / f"{name}_labels.{suffix}"
        labels, image = SimpleITK.ReadImage(str(path)), SimpleITK.ReadImage(f"{name}.nrrd")
        assert labels.GetSize() == image.GetSize()
        assert labels.GetOrigin() == pytest.approx(image.GetOrigin())
        assert labels.GetDirection() == pytest.approx(image.GetDirection())
        values = SimpleITK.GetArrayFromImage(labels)
        assert set(np.unique(values)) <= {0, 10, 20}
        table = (place / "new" / "out" / "tissue_volumes.csv").read_text().splitlines()
        assert table[0] == COLUMNS
        rows = [row for row in csv.DictReader(table) if row["volume"] == name]
        assert [(row["label"], row["name"]) for row in rows] == [
            ("10", "label 1"),
            ("20", "label 2"),
        ]
        for row in rows:
            assert int(row["voxels"]) == (values == int(row["label"])).sum()
            assert float(row["volume_ml"]) == pytest.approx(int(row["voxels"]) / 1000)
    out, err = capfd.readouterr()
    assert f"a.nrrd -> new/out/a_labels.{suffix}" in out
    assert err == ""


def test_a_model_of_volumes_writes_volumes_and_no_table(place):
    assert run("translate", "--model", "volume.dtmodel", "--output", "out", "a.nrrd") == 0
    assert names_in("out") == ["a_translated.nrrd"]
    output = SimpleITK.ReadImage("out/a_translated.nrrd")
    assert output.GetSize() == SimpleITK.ReadImage("a.nrrd").GetSize()
    assert np.isfinite(SimpleITK.GetArrayFromImage(output)).all()


def test_rows_of_other_volumes_are_kept_and_those_of_the_same_replaced(place):
    for name in ("a", "b", "a"):
        translate = ["translate", "--model", "labels.dtmodel", "--output", "out"]
        assert run(*translate, f"{name}.nrrd") == 0
    for table, count in (("tissue_volumes.csv", 2), ("tissue_volumes_by_slice.csv", 6)):
        volumes = [row.volume for row in read_statistics(place / "out" / table)]
        assert volumes == ["b"] * count + ["a"] * count


@pytest.mark.parametrize(
    "content", [b"nonsense\n", b"\x83\x00\xff", COLUMNS.encode() + b"\na,b\n", b""]
)
def test_a_table_that_is_damaged_stays_as_it_is(place, content, capfd):
    table = place / "out" / "tissue_volumes.csv"
    table.parent.mkdir()
    table.write_bytes(content)
    message = fails(capfd, 3, "translate", "--model", "labels.dtmodel", "--output", "out", "a.nrrd")
    assert "Move it away, or choose another output folder" in message
    assert names_in("out") == ["tissue_volumes.csv"]
    assert table.read_bytes() == content


def test_one_failing_input_does_not_stop_the_others(place, capfd):
    (place / "empty.nrrd").touch()
    inputs = ["nowhere.nrrd", "a.nrrd", "empty.nrrd", "b.nrrd"]
    model = ["--model", "labels.dtmodel", "--output", "out"]
    assert run("translate", *model, *inputs) == 4
    out, err = capfd.readouterr()
    assert err.splitlines() == [
        "nowhere.nrrd does not exist. Check the path.",
        "empty.nrrd is empty. Copy or export it again.",
    ]
    assert out.count(" -> ") == 2
    assert {"a_labels.nrrd", "b_labels.nrrd"} < set(names_in("out"))
    code, events = run_json(capfd, "translate", *model, *inputs)
    assert code == 4
    assert [failure["input"] for failure in events[-1]["failures"]] == [inputs[0], inputs[2]]
    assert {row["volume"] for row in events[-1]["rows"]} == {"a", "b"}


def test_when_all_inputs_fail_nothing_is_written(place, capfd):
    (place / "cut.nrrd").write_bytes((place / "a.nrrd").read_bytes()[:500])
    fails(
        capfd, 3, "translate", "--model", "labels.dtmodel", "--output", "out", "x.nii", "cut.nrrd"
    )
    assert names_in("out") == []


def test_a_model_that_cannot_be_used_leaves_no_output_folder(place, capfd):
    (place / "cut.dtmodel").write_bytes((place / "labels.dtmodel").read_bytes()[:1000])
    whole = bytearray((place / "labels.dtmodel").read_bytes())
    at = whole.index(b"weights.safetensors") + 1000
    whole[at] ^= 255
    (place / "flipped.dtmodel").write_bytes(whole)
    (place / "nifti.dtmodel").write_bytes((place / "a.nrrd").read_bytes())
    for name, said in [
        ("nowhere.dtmodel", "does not exist"),
        ("cut.dtmodel", "damaged"),
        ("flipped.dtmodel", "flipped.dtmodel"),
        ("nifti.dtmodel", "no DeepTranslate model"),
        (".", "is a folder"),
    ]:
        message = fails(capfd, 3, "translate", "--model", name, "--output", "out", "a.nrrd")
        assert said in message
    assert not (place / "out").exists()


def test_a_device_that_is_not_there_is_named(place, capfd):
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("there is one")
    arguments = ["--model", "labels.dtmodel", "--output", "out", "--device", "mps", "a.nrrd"]
    assert "finds only: cpu" in fails(capfd, 5, "translate", *arguments)
    assert not (place / "out").exists()


@pytest.mark.parametrize("output", ["a.nrrd", "a.nrrd/inside", "\0"])
def test_an_output_folder_that_cannot_be_created(place, output, capfd):
    before = (place / "a.nrrd").read_bytes()
    model = ["--model", "labels.dtmodel"]
    if output == "\0":
        output = "/proc/inside"
        if not Path("/proc/self").exists():
            pytest.skip("no folder here that nobody may write to")
    assert output in fails(capfd, 3, "translate", *model, "--output", output, "b.nrrd")
    assert (place / "a.nrrd").read_bytes() == before


def test_a_memory_limit_is_kept_or_the_volume_refused_with_what_it_takes(place, capfd):
    model = ["--model", "labels.dtmodel"]
    assert run("translate", *model, "--output", "free", "a.nrrd") == 0
    assert run("translate", *model, "--output", "out", "--memory-limit", "64", "a.nrrd") == 0
    assert Path("free/a_labels.nrrd").read_bytes() == Path("out/a_labels.nrrd").read_bytes()
    capfd.readouterr()
    limited = ["translate", *model, "--output", "low", "--memory-limit", "0.01", "a.nrrd"]
    message = fails(capfd, 3, *limited)
    assert "takes at least" in message
    assert "limit is 0.01 GB" in message
    assert not Path("low/a_labels.nrrd").exists()


# translate: which inputs


def test_a_folder_of_files_is_all_its_images_but_labels_of_others(place, capfd):
    folder = place / "scans"
    folder.mkdir()
    for name in ("a", "a_labels", "b_labels"):  # only the first has labels beside it
        write_image(Image(random_hu((2, 16, 16)), lps_affine()), folder / f"{name}.nii.gz")
    (folder / "notes.txt").write_text("no image")
    (folder / ".a.part.nrrd").write_text("hidden")
    code, events = run_json(
        capfd, "translate", "--model", "labels.dtmodel", "--output", "out", folder
    )
    assert code == 0
    assert {row["volume"] for row in events[-1]["rows"]} == {"a", "b_labels"}


def test_the_output_folder_is_not_among_the_inputs(place, capfd):
    (place / "study" / "first").mkdir(parents=True)
    (place / "a.nrrd").rename(place / "study" / "first" / "a.nrrd")
    for _ in range(2):
        arguments = ["--model", "labels.dtmodel", "--output", "study/out", "study"]
        code, events = run_json(capfd, "translate", *arguments)
        assert code == 0
        assert {row["volume"] for row in events[-1]["rows"]} == {"a"}


def test_the_present_folder_has_a_name(place, monkeypatch):
    write_series(place / "patient", "1.2.3")
    monkeypatch.chdir(place / "patient")
    assert run("translate", "--model", "../labels.dtmodel", "--output", "../out", ".") == 0
    assert "patient_labels.nrrd" in names_in("../out")


def test_inputs_of_one_name_are_told_apart_by_their_folders(place, capfd):
    for folder in ("one", "two"):
        (place / folder).mkdir()
        (place / folder / "ct.nrrd").write_bytes((place / "a.nrrd").read_bytes())
    model = ["--model", "labels.dtmodel", "--output", "out"]
    assert run("translate", *model, "one/ct.nrrd", "two", "a.nrrd") == 0
    assert {"one_ct_labels.nrrd", "two_ct_labels.nrrd", "a_labels.nrrd"} < set(names_in("out"))
    write_image(read_image("a.nrrd"), "one/ct.nii")
    message = fails(capfd, 3, "translate", *model, "one/ct.nii", "one/ct.nrrd")
    assert "one/ct.nii and one/ct.nrrd would both" in message


def test_an_input_is_never_overwritten(place, capfd):
    (place / "a.nrrd").rename(place / "b_labels.nrrd")
    before = (place / "b_labels.nrrd").read_bytes()
    inputs = ["b.nrrd", "b_labels.nrrd"]
    assert run("translate", "--model", "labels.dtmodel", "--output", ".", *inputs) == 4
    assert "would be overwritten" in capfd.readouterr().err
    assert (place / "b_labels.nrrd").read_bytes() == before


def test_a_folder_without_images(place, capfd):
    (place / "empty" / "inside").mkdir(parents=True)
    message = fails(capfd, 3, "translate", "--model", "labels.dtmodel", "--output", "out", "empty")
    assert message.startswith("The folder empty holds no images")


def write_series(folder, uid, slices=3):
    """A CT series of noise, as SimpleITK's own writer makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(slices):
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = pydicom.uid.CTImageStorage, f"{uid}.{k + 1}"
        ds.Modality, ds.SeriesInstanceUID, ds.SeriesDescription = "CT", uid, f"series {uid}"
        ds.Rows, ds.Columns, ds.SamplesPerPixel = 16, 20, 1
        ds.PhotometricInterpretation, ds.PixelRepresentation = "MONOCHROME2", 1
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 2.5 * k], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [1, 1], 2.5
        ds.PixelData = random_hu((1, 16, 20), k).tobytes()
        ds.save_as(folder / f"{uid}-{k}.dcm", enforce_file_format=True)


def test_a_dicom_folder_is_one_volume_and_a_folder_of_them_one_each(place, capfd):
    for name in ("first", "second"):
        write_series(place / "study" / name, "1.2.3")
    (place / "study" / "empty").mkdir()
    model = ["translate", "--model", "labels.dtmodel", "--output", "out"]
    assert run(*model, "study/first") == 0
    output = SimpleITK.ReadImage("out/first_labels.nrrd")
    assert output.GetSize() == (20, 16, 3)
    assert output.GetSpacing() == pytest.approx((1, 1, 2.5))
    assert run(*model, "study") == 0
    assert {"first_labels.nrrd", "second_labels.nrrd"} < set(names_in("out"))


def test_several_series_of_a_folder_are_listed_and_one_can_be_chosen(place, capfd):
    write_series(place / "mixed", "1.2.3")
    write_series(place / "mixed", "1.2.4", slices=2)
    model = ["translate", "--model", "labels.dtmodel", "--output", "out"]
    message = fails(capfd, 3, *model, "mixed")
    for said in ('1.2.3 "series 1.2.3" CT, 3 slices', '1.2.4 "series 1.2.4" CT, 2 slices'):
        assert said in message
    assert "--series" in message
    assert run(*model, "mixed", "--series", "1.2.4") == 0
    assert read_image("out/mixed_labels.nrrd").shape == (2, 16, 20)


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


# train


def train(cohort, *more, recipe="tiny.json", output="run"):
    return ["train", "--recipe", recipe, "--cohort", cohort, "--output", output, *more]


def test_training_on_a_csv_with_slices_leaves_a_model_that_translates(cohort, place, capfd):
    lines = ["subject,image,labels,slices,split"]
    for number, slices, split in ((0, "0-2", "training"), (1, "1 3", "training"), (2, "", "")):
        images = f"cohort/s{number}/image.nrrd,cohort/s{number}/labels.nrrd"
        lines.append(f"s{number},{images},{slices},{split or 'validation'}")
    (place / "cohort.csv").write_text("\n".join(lines) + "\n")
    code, events = run_json(capfd, *train("cohort.csv", "--seed", "7"))
    assert code == 0
    kinds = [event["event"] for event in events]
    assert kinds.count("epoch") == 2
    started = next(event for event in events if event["event"] == "training_started")
    assert (started["slices"], started["validation_slices"]) == (5, 4)
    assert events[-1]["model"] == str(Path("run/model.dtmodel"))
    model = read_model("run/model.dtmodel")
    assert model.card.seed == model.recipe.training.seed == 7
    assert not [path for path in Path("run").rglob("*") if ".part" in path.name]
    assert run("translate", "--model", "run/model.dtmodel", "--output", "out", "a.nrrd") == 0


def test_training_on_an_nnunet_data_set(cohort, place, capfd):
    data = place / "Dataset001_Tiny"
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True)
    for number in range(3):
        source = cohort / f"s{number}"
        name = f"case_{number:03}"
        write_image(read_image(source / "image.nrrd"), data / "imagesTr" / f"{name}_0000.nii.gz")
        write_image(read_image(source / "labels.nrrd"), data / "labelsTr" / f"{name}.nii.gz")
    about = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "label 1": 10},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (data / "dataset.json").write_text(json.dumps(about))
    assert run(*train(data, "--epochs", "1")) == 0
    out = capfd.readouterr().out
    assert "held out for validation" in out
    assert "Epoch 1/1: loss " in out
    assert "Model: run/model.dtmodel (epoch 1)" in out
    assert read_model("run/model.dtmodel").recipe.training.epochs == 1


def test_recipes_and_cohorts_that_cannot_be_used(cohort, place, capfd):
    (place / "bad.json").write_text('{"name": "x", "network": {"levels": 99}}')
    (place / "cut.json").write_text('{"name": ')
    (place / "header.csv").write_text("some,thing\n")
    (place / "empty").mkdir()
    for arguments, said in [
        (train(cohort, recipe="nothing"), "no recipe 'nothing'. Give a JSON file, or one of"),
        (train(cohort, recipe="bad.json"), "$.target: this field is required"),
        (train(cohort, recipe="cut.json"), "cut.json is not valid JSON"),
        (train(cohort, recipe="labels.dtmodel"), "labels.dtmodel is a model or another archive"),
        (train("nowhere.csv"), "nowhere.csv does not exist"),
        (train("header.csv"), "unknown columns 'some', 'thing'"),
        (train("empty"), "empty"),
        (train(cohort, output="a.nrrd"), "a.nrrd: File exists. A folder is needed"),
    ]:
        assert said in fails(capfd, 3, *arguments)
    assert not (place / "run" / "model.dtmodel").exists()


def test_a_cohort_with_faults_is_shown_and_not_trained(cohort, place, capfd):
    labels = read_image(cohort / "s1" / "labels.nrrd")
    write_image(labels.cropped((0, 0, 0), (8, 8, 4)), cohort / "s1" / "labels.nrrd")
    (cohort / "s2" / "image.nrrd").write_bytes(b"")
    code = run(*train(cohort))
    err = capfd.readouterr().err
    assert code == 3
    assert "fault(s); nothing was trained" in err
    for subject in ("s1", "s2"):
        assert re.search(rf"^{subject} +error ", err, re.MULTILINE)
    assert not (place / "run" / "checkpoints").exists()
    code, events = run_json(capfd, *train(cohort))
    assert (code, events[-1]["exit_code"]) == (3, 3)


def test_a_finished_run_is_not_trained_again_and_another_not_mixed_into_it(cohort, place, capfd):
    assert run(*train(cohort)) == 0
    capfd.readouterr()
    assert run(*train(cohort)) == 0
    assert "going on after epoch 2" in capfd.readouterr().out
    assert run(*train(cohort, "--seed", "5")) == 6
    assert "Train into a new folder" in " ".join(capfd.readouterr().err.split())


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_keeps_a_checkpoint_and_the_same_command_goes_on(cohort, place):
    command = train(cohort, "--epochs", "30", "--json")
    job = subprocess.Popen(
        [sys.executable, "-m", "DeepTranslateLib", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        for line in job.stdout:
            if json.loads(line)["event"] == "epoch":
                job.send_signal(signal.SIGINT)
                break
        rest, err = job.communicate(timeout=60)
    finally:
        job.kill()
    assert job.returncode == 130, err
    assert "Traceback" not in err
    assert json.loads(rest.splitlines()[-1])["event"] == "error"
    assert not Path("run/model.dtmodel").exists()
    assert list(Path("run/checkpoints").iterdir())
    assert run(*command) == 0
    events = read_events(Path("run/events.jsonl"))
    assert [event["resumed"] for event in events if event["event"] == "training_started"] == [
        False,
        True,
    ]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == list(range(30))


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_sigterm_while_translating_leaves_no_temporary_file(place, monkeypatch, capfd):
    def stopped(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(SimpleITK, "WriteImage", stopped)
    assert run("translate", "--model", "labels.dtmodel", "--output", "out", "a.nrrd") == 130
    assert names_in("out") == []
    assert capfd.readouterr().err.startswith("Stopped.")
    assert signal.getsignal(signal.SIGTERM) is before


# statistics, info, lists


def test_statistics_of_a_label_map(place, capfd):
    image = read_image("a.nrrd")
    write_image(image.with_voxels((image.voxels > 0).astype(np.float32) * 3), place / "l.nrrd")
    arguments = ["statistics", "--image", "a.nrrd", "--labels", "l.nrrd"]
    tables = ["--output", "new/t.csv", "--per-slice", "new/s.tsv"]
    code, events = run_json(capfd, *arguments, *tables)
    assert code == 0
    row = events[-1]["rows"][0]
    inside = image.voxels[image.voxels > 0]
    assert (row["label"], row["name"], row["voxels"]) == (3, "label 3", inside.size)
    assert row["mean"] == pytest.approx(inside.mean())
    assert read_statistics("new/t.csv")[0].voxels == inside.size
    assert len(read_statistics("new/s.tsv")) == 3
    write_recipe(labels_recipe(2), place / "r.json")
    code, events = run_json(capfd, *arguments, *tables, "--recipe", "r.json")
    assert [row["mean"] for row in events[-1]["rows"]] == [None, None]
    assert run(*arguments, *tables) == 0
    assert "label 3" in capfd.readouterr().out


def test_statistics_of_what_is_no_label_map(place, capfd):
    image = read_image("a.nrrd")
    write_image(image.with_voxels(np.zeros(image.shape, np.uint8)), place / "none.nrrd")
    write_image(image.with_voxels(np.full(image.shape, np.nan, "f4")), place / "nan.nrrd")
    small = image.cropped((0, 0, 0), (4, 4, 2))
    write_image(small.with_voxels(np.ones(small.shape, np.uint8)), place / "small.nrrd")
    write_recipe(volume_recipe(), place / "volume.json")
    for labels, said in [
        ("b.nrrd", "is no label map"),
        ("nan.nrrd", "is no label map"),
        ("none.nrrd", "has no label"),
        ("small.nrrd", "Resample the label map"),
    ]:
        arguments = ["statistics", "--image", "a.nrrd", "--labels", labels, "--output", "t.csv"]
        assert said in fails(capfd, 3, *arguments)
    assert "makes volumes" in fails(capfd, 3, *arguments, "--recipe", "volume.json")
    assert not (place / "t.csv").exists()


def test_info_describes_models_recipes_and_images(place, capfd):
    write_recipe(labels_recipe(2), place / "r.json")
    voxels = np.full((2, 3, 4), np.nan, np.float32)
    write_image(Image(voxels, lps_affine()), place / "nan.nrrd")
    for file, said in [
        ("labels.dtmodel", "10 label 1"),
        ("r.json", "levels: 2"),
        ("a.nrrd", "orientation: LPS"),
        ("nan.nrrd", "type: float32"),
    ]:
        assert run("info", file) == 0
        assert said in capfd.readouterr().out
        code, events = run_json(capfd, "info", file)
        assert code == 0
        assert events[-1]["file"] == file
    assert events[-1]["lowest"] is None
    code, events = run_json(capfd, "info", "nowhere")
    assert (code, events[-1]["event"], events[-1]["exit_code"]) == (3, "error", 3)


def test_info_shows_the_weights_of_losses_and_what_the_inputs_are(place, capfd):
    (place / "recipe.json").write_text(
        """{"name": "x", "inputs": [{"name": "image", "modality": "CT", "units": "HU"}],
        "target": {"kind": "volume", "range": [0, 1]},
        "method": {"loss": [{"name": "mse"}, {"name": "mae", "weight": 10}]}}"""
    )
    assert run("info", "recipe.json") == 0
    lines = [line.strip() for line in capfd.readouterr().out.splitlines()]
    assert "- image, modality CT, units HU" in lines
    assert lines.index("- mae, weight 10.0") == lines.index("- mse, weight 1.0") + 1


def test_models_are_listed_with_what_is_wrong_with_them(place, monkeypatch, capfd):
    (place / "cut.dtmodel").write_bytes(b"PK")
    assert run("models", ".") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "made", "model", "translates"]
    assert "not usable" in lines[1]
    assert lines[2].split()[:3] == ["labels.dtmodel", "2026-01-01", "tiny"]
    assert lines[2].endswith("CT (HU) to labels")
    monkeypatch.setenv("DEEPTRANSLATE_MODELS", str(place / "library"))
    code, events = run_json(capfd, "models")
    assert (code, events[-1]["models"]) == (0, [])
    assert "no folder" in fails(capfd, 3, "models", "nowhere")


def test_recipes_are_listed_one_a_line_where_nobody_watches(capfd):
    assert run("recipes") == 0
    lines = capfd.readouterr().out.splitlines()
    _, events = run_json(capfd, "recipes")
    recipes = events[-1]["recipes"]
    assert len(lines) == len(recipes) + 1
    for recipe in recipes:
        assert any(line.startswith(recipe["name"]) for line in lines)
        assert any(line.endswith(recipe["description"]) for line in lines)


# doctor


def test_doctor_on_this_machine(capfd):
    assert run("doctor") == 0
    assert re.search(r"^ok +torch ", capfd.readouterr().out, re.MULTILINE)
    code, events = run_json(capfd, "doctor")
    assert (code, events[-1]["ready"]) == (0, True)


def test_doctor_knows_what_the_package_needs():
    wanted = {"": {}, "report": {}, "registration": {}, "tensorboard": {}}
    for text in importlib.metadata.requires("DeepTranslateLib"):
        extra = re.search(r'extra == "(\w+)"', text)
        part = extra[1] if extra else ""
        if part in wanted:
            name, minimum = re.match(r"([\w-]+)[^;]*>=([\d.]+)", text).groups()
            wanted[part][name] = minimum
    assert wanted[""] == {**doctor.NEEDED, **doctor.FOR_TERMINAL}
    assert wanted["report"] == doctor.FOR_REPORT
    assert wanted["registration"] == doctor.FOR_REGISTRATION
    assert wanted["tensorboard"] == doctor.FOR_TENSORBOARD


def test_doctor_says_what_to_install(monkeypatch, capfd):
    known = importlib.metadata.version

    def version(name):
        if name in ("torch", "rich", "jinja2"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.5.2" if name == "monai" else known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, events = run_json(capfd, "doctor")
    assert code == 5
    assert not events[-1]["ready"]
    states = {check["name"]: check["state"] for check in events[-1]["checks"]}
    assert [name for name, state in states.items() if state == "missing"] == [
        "monai",
        "torch",
    ]
    assert (states["jinja2"], states["rich"]) == ("note", "note")
    needed, report, terminal = events[-1]["advice"]
    assert needed.endswith('-m pip install --upgrade "monai>=1.6" "torch>=2.8"')
    assert "significance only: jinja2" in report
    assert "progress bars only: rich" in terminal


def test_in_slicer_doctor_points_to_the_button_and_not_to_pip(monkeypatch):
    known = importlib.metadata.version

    def version(name):
        if name == "monai":
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setenv("SLICER_HOME", "/opt/Slicer")
    (advice,) = doctor.examine()["advice"]
    assert "monai" in advice
    assert "button in the panel" in advice
    assert "pip" not in advice


def test_without_the_packages_of_the_engine_commands_say_so(place):
    blocker = textwrap.dedent(
        """
        import importlib.abc, sys

        class Blocker(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("torch", "monai", "safetensors", "rich"):
                    raise ModuleNotFoundError(f"No module named '{name}'", name=name)

        sys.meta_path.insert(0, Blocker())
        from DeepTranslateLib.cli import main
        codes = [main(["doctor"]), main(["info", "labels.dtmodel"]), main(
            ["translate", "--model", "labels.dtmodel", "--output", "out", "a.nrrd"])]
        assert codes == [5, 0, 5], codes
        """
    )
    done = process("-c", blocker, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "torch. Install with: " in done.stdout
    assert done.stderr.startswith("The Python package 'torch' is not installed. 'deeptranslate")
    assert not (place / "out").exists()
