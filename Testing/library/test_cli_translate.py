"""`deeptranslate translate`: what is left on the disk."""

import csv
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from cli_samples import fails, names_in, run, run_json

from DeepTranslateLib.statistics import read_statistics

COLUMNS = "volume,label,name,voxels,volume_ml,mean,sd,median,p05,p95"

pytestmark = pytest.mark.usefixtures("no_hang")


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
