"""`deeptranslate cross-validate`: files, tables, exit codes and messages."""

from __future__ import annotations

import csv
import json
import math
import shutil
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


def shifted_copy(source: Path, folder: Path, shift: float) -> None:
    """A finished cross-validation whose networks are better or worse."""
    shutil.copytree(source, folder)
    path = folder / "cross_validation.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for number, row in enumerate(content["cases"]):
        row["mae"] += shift + number / 50
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def three(place: Path) -> Path:
    """Three finished cross-validations, `one` to `three`."""
    assert call(place, "volume.json", "volumes.csv", "one", "--folds", 3) == 0
    shifted_copy(place / "one", place / "two", 50)
    shifted_copy(place / "one", place / "three", 100)
    return place


def test_three_are_compared_all_at_once_and_in_pairs(three, capfd):
    pytest.importorskip("scipy.stats")
    given = (three, "volume.json", "volumes.csv", "one", "--folds", 3)
    others = ("--compare", three / "two", three / "three")
    capfd.readouterr()
    assert call(*given, *others) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "all at once" in out
    (mae, *_) = [line.split() for line in out.splitlines() if line.split()[1:2] == ["mae"]]
    # Three subjects in the same order: chi-squared 6 with 2 degrees of freedom.
    assert mae[:3] == ["all", "mae", "3"]
    assert "6 (2)" in " ".join(mae)
    assert call(*given, *others, "--json") == 0
    (event,) = [json.loads(line) for line in capfd.readouterr()[0].splitlines()]
    names = [str(three / name) for name in ("one", "two", "three")]
    metrics = ["mae", "mse", "rmse", "psnr", "ssim", "ms_ssim"]
    assert [row["metric"] for row in event["overall_comparison"]] == metrics
    assert all(row["compared"] == names for row in event["overall_comparison"])
    assert len(event["comparison"]) == 3 * len(metrics)
    row = event["overall_comparison"][0]
    assert row["friedman"]["p"] == pytest.approx(math.exp(-3))
    assert row["anova"]["degrees"] == [2, 4]
    written = json.loads((three / "one" / "cross_validation.json").read_text())
    assert written["overall_comparison"] == event["overall_comparison"]
    assert written["comparison"] == event["comparison"]
    assert "ANOVA's F (df)" in (three / "one" / "summary.md").read_text()
    # Beside one other everything is as for two.
    assert call(*given, "--compare", three / "two", "--json") == 0
    (event,) = [json.loads(line) for line in capfd.readouterr()[0].splitlines()]
    assert "overall_comparison" not in event
    assert len(event["comparison"]) == len(metrics)
    assert "ANOVA" not in (three / "one" / "summary.md").read_text()


def test_the_same_folder_twice_and_other_folds_are_refused_before_anything_is_trained(three, capfd):
    given = (three, "volume.json", "volumes.csv")
    two, again = three / "two", three / "three" / ".." / "two"
    capfd.readouterr()
    assert call(*given, "new", "--folds", 3, "--compare", two, again) == 3
    assert f"--compare names the folder {again} twice" in message(capfd)
    assert call(*given, "two", "--folds", 3, "--compare", two, three / "three") == 3
    assert "which is --output" in message(capfd)
    assert call(*given, "new", "--folds", 2, "--compare", two, three / "three") == 3
    text = message(capfd)
    assert f"{two} is a cross-validation with other folds: expected 2 (" in text
    assert "found 3 (" in text
    fewer = (three / "volumes.csv").read_text().splitlines()[:-1]
    (three / "fewer.csv").write_text("\n".join(fewer) + "\n")
    others = ("--compare", two, three / "three")
    assert call(three, "volume.json", "fewer.csv", "new", "--folds", 2, *others) == 3
    assert "expected 2 (anna, ben), found 3 (anna, ben, carl); it has also carl" in message(capfd)
    assert call(three, "labels.json", "cohort.csv", "new", "--folds", 3, *others) == 3
    assert "expected labels, which the recipe 'tiny' makes, found volume" in message(capfd)
    assert call(three, "labels.json", "cohort.csv", "new", "--folds", 3, "--compare", two) == 3
    assert "expected labels, which the recipe 'tiny' makes, found volume" in message(capfd)
    assert not (three / "new").exists()


def test_tables_are_written_where_the_comparison_fails(three, capfd):
    shutil.copytree(three / "two", three / "strangers")
    path = three / "strangers" / "cross_validation.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["cases"]:
        row["subject"] += "2"
    path.write_text(json.dumps(content), encoding="utf-8")
    for name in ("summary.md", "cross_validation.json"):
        (three / "one" / name).unlink()
    capfd.readouterr()
    given = (three, "volume.json", "volumes.csv", "one", "--folds", 3)
    assert call(*given, "--compare", three / "strangers") == 3
    assert "share fewer than two subjects" in message(capfd)
    assert "## Comparison" not in (three / "one" / "summary.md").read_text()
    assert json.loads((three / "one" / "cross_validation.json").read_text())["cases"]


def test_an_infinite_metric_is_told_from_an_undefined_one(three, capfd):
    # As in cross_validation.json.
    for path in (three / "one").glob("seed_0/fold_*/held_out.json"):
        content = json.loads(path.read_text())
        for row in content["rows"]:
            row["psnr"], row["ms_ssim"] = "inf", None
        path.write_text(json.dumps(content))
    capfd.readouterr()
    assert call(three, "volume.json", "volumes.csv", "one", "--folds", 3, "--json") == 0
    (event,) = [json.loads(line) for line in capfd.readouterr()[0].splitlines()]
    assert {(row["psnr"], row["ms_ssim"]) for row in event["summary"]} == {("inf", None)}
    written = json.loads((three / "one" / "cross_validation.json").read_text())
    assert written["summary"] == event["summary"]


def test_a_folder_with_other_files_and_a_frozen_part_are_bad_inputs(place, capfd):
    images = place / "images"
    images.mkdir()
    (images / "scan.nrrd").write_bytes(b"")
    assert call(place, "labels.json", "cohort.csv", "images", "--folds", 3) == 3
    assert "Give a new folder as output" in message(capfd)
    assert [path.name for path in images.iterdir()] == ["scan.nrrd"]
    frozen = labels_recipe(2, training={"epochs": 1, "frozen": "encoder"})
    write_recipe(frozen, place / "frozen.json")
    assert call(place, "frozen.json", "cohort.csv", "x", "--folds", 3) == 3
    text = message(capfd)
    assert "The recipe cannot be used: $.training.frozen" in text
    assert "Set training.frozen to 'none'" in text
    assert not (place / "x").exists()


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
