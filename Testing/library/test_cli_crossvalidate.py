"""`deeptranslate cross-validate`: files, tables, exit codes and messages."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from engine_samples import blobs, labels_recipe, lps_affine, volume_recipe

from DeepTranslateLib.cli import main
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.recipe import write_recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects as files, with a recipe for labels and one for volumes."""
    folder = tmp_path_factory.mktemp("place")
    rows, volumes = [], []
    for seed, name in enumerate(("anna", "ben", "carl")):
        voxels, labels = blobs(seed)
        image = Image(voxels, lps_affine())
        write_image(image, folder / f"{name}.nrrd")
        write_image(image.with_voxels(labels), folder / f"{name}_labels.nrrd")
        write_image(image.with_voxels(voxels // 2 - 100), folder / f"{name}_other.nrrd")
        rows.append(f"{name},{name}.nrrd,{name}_labels.nrrd,0;1;2")
        volumes.append(f"{name},{name}.nrrd,{name}_other.nrrd")
    (folder / "cohort.csv").write_text("subject,image,labels,slices\n" + "\n".join(rows) + "\n")
    (folder / "volumes.csv").write_text("subject,image,target\n" + "\n".join(volumes) + "\n")
    write_recipe(labels_recipe(2, training={"epochs": 1}), folder / "labels.json")
    write_recipe(volume_recipe(training={"epochs": 1}), folder / "volume.json")
    return folder


def call(place: Path, recipe: str, cohort: str, output: str, *more: object) -> int:
    arguments = ["--recipe", place / recipe, "--cohort", place / cohort, "--output", place / output]
    return main(["cross-validate", *map(str, (*arguments, *more)), "--device", "cpu"])


def test_a_person_gets_a_table_and_scripts_get_files_and_one_result(place, capfd):
    assert call(place, "labels.json", "cohort.csv", "run", "--folds", 3, "--slices", "6,4") == 0
    out, _ = capfd.readouterr()
    assert "slices 6" not in out
    assert "6 slices, seed 0, fold 1: measured" in out
    header = next(line for line in out.splitlines() if line.startswith("slices"))
    assert header.split()[:4] == ["slices", "label", "method", "cases"]
    assert len([line for line in out.splitlines() if "(" in line and "intensity" in line]) == 4
    with open(place / "run" / "cases.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["subject"] for row in rows} == {"anna", "ben", "carl"}
    assert {row["slices"] for row in rows} == {"3"}
    more = ("--folds", 3, "--slices", "6,4", "--json", "--compare", place / "run")
    assert call(place, "labels.json", "cohort.csv", "run", *more) == 0
    out, err = capfd.readouterr()
    assert err == ""
    (event,) = [json.loads(line) for line in out.splitlines()]
    assert event["event"] == "result"
    assert {row["method"] for row in event["summary"]} == {"network", "intensity"}
    # With itself there is no difference.
    assert {row["p"] for row in event["comparison"]} == {1.0}
    assert "## Comparison" in (place / "run" / "summary.md").read_text()


def test_volumes_stand_beside_the_regression_of_their_intensity(place, capfd):
    assert call(place, "volume.json", "volumes.csv", "volumes", "--folds", 3, "--json") == 0
    out, _ = capfd.readouterr()
    summary = json.loads(out.splitlines()[-1])["summary"]
    rows = {row["method"]: row for row in summary}
    assert set(rows) == {"network", "intensity, mean", "intensity, median"}
    # The target is a function of the intensity, so that the table knows it to within its bins.
    assert rows["intensity, mean"]["mae"] < 4
    assert rows["network"]["cases"] == 3


def message(capfd: pytest.CaptureFixture[str]) -> str:
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert "unexpected" not in err
    return " ".join((out + err).split())


def test_what_cannot_be_done_is_said_before_anything_is_trained(place, capfd):
    assert call(place, "labels.json", "cohort.csv", "x", "--folds", 4) == 3
    assert "4 folds are impossible" in message(capfd)
    assert call(place, "labels.json", "cohort.csv", "x", "--folds", 3, "--slices", "7") == 3
    assert "has 6 to learn from here. Give a number from 2 to 6" in message(capfd)
    assert call(place, "labels.json", "volumes.csv", "x", "--folds", 3) == 3
    assert "fault(s); nothing was trained" in message(capfd)
    more = ("--folds", 3, "--compare", place / "nothing")
    assert call(place, "labels.json", "cohort.csv", "x", *more) == 3
    assert "holds no finished cross-validation" in message(capfd)
    assert not (place / "x").exists()


def test_a_folder_with_another_cross_validation_is_refused(place, capfd):
    (place / "other").mkdir()
    plan = {"recipe": {}, "folds": [["anna"], ["ben"], ["carl"]], "cases": []}
    (place / "other" / "plan.json").write_text(json.dumps(plan))
    assert call(place, "labels.json", "cohort.csv", "other", "--folds", 3) == 6
    assert "Give a new folder as output" in message(capfd)
    (place / "other" / "plan.json").write_text("{")
    assert call(place, "labels.json", "cohort.csv", "other", "--folds", 3) == 6
    assert "plan.json is damaged" in message(capfd)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--folds", "1"), ("--folds", "two"), ("--slices", "5,1"), ("--seeds", "a"), ("--jobs", "0")],
)
def test_numbers_are_whole_and_large_enough(place, capfd, option, value):
    folds = () if option == "--folds" else ("--folds", 3)
    with pytest.raises(SystemExit) as caught:
        call(place, "labels.json", "cohort.csv", "x", *folds, option, value)
    assert caught.value.code == 2
    assert "expected" in capfd.readouterr()[1]
