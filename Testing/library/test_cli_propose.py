"""`deeptranslate propose`: what it writes trains; what is there is not overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engine_samples import volume_recipe

from DeepTranslateLib import phantom
from DeepTranslateLib.cli import main
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.model import read_model
from DeepTranslateLib.recipe import read_recipe, write_recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small phantoms of the trunk as a folder of subjects."""
    folder = tmp_path_factory.mktemp("place")
    for subject in phantom.subjects(3, slices=3, size=(48, 48), spacing=(10.0, 10.0, 20.0)):
        (folder / "cohort" / subject.name).mkdir(parents=True)
        write_image(subject.image, folder / "cohort" / subject.name / "image.nrrd")
        write_image(subject.labels, folder / "cohort" / subject.name / "labels.nrrd")
    return folder


def propose(place: Path, output: str, *more: object) -> int:
    arguments = ("--cohort", place / "cohort", "--output", place / output, *more)
    return main(["propose", *map(str, arguments)])


def test_the_proposed_recipe_trains_and_translates(place, capfd):
    assert propose(place, "mine.json") == 0
    out, err = capfd.readouterr()
    assert err == ""
    recipe = read_recipe(place / "mine.json")
    assert recipe.name == "mine"
    assert recipe.inputs[0].units == "HU"
    assert recipe.preprocessing.body_crop
    assert [label.value for label in recipe.target.labels] == [1, 2, 3]
    reasons = json.loads((place / "mine.reasons.json").read_text())
    for item in reasons["reasons"]:
        assert item["field"] in out
        assert item["reason"] in out
    assert reasons["fingerprint"]["subjects"] == 3
    train = ["train", "--recipe", place / "mine.json", "--cohort", place / "cohort",
             "--output", place / "run", "--epochs", 1, "--device", "cpu"]  # fmt: skip
    assert main([*map(str, train)]) == 0
    assert read_model(place / "run" / "model.dtmodel").recipe.target == recipe.target


def test_a_base_gives_the_labels_their_names(place, capfd):
    assert propose(place, "based.json", "--recipe", "ct-body-composition", "--json") == 0
    out, _ = capfd.readouterr()
    result = json.loads(out.splitlines()[-1])
    names = [label["name"] for label in result["recipe"]["target"]["labels"]]
    assert names == ["subcutaneous fat", "visceral fat", "lean tissue"]
    assert result["recipe_file"] == str(place / "based.json")


def refused(place: Path, capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert propose(place, *map(str, arguments)) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert "unexpected" not in err
    return " ".join(err.split())


def test_nothing_is_overwritten(place, capfd):
    (place / "there.json").write_text("mine")
    assert "there.json exists and is not overwritten" in refused(place, capfd, "there.json")
    assert (place / "there.json").read_text() == "mine"
    (place / "half.reasons.json").write_text("mine")
    assert "half.reasons.json exists" in refused(place, capfd, "half.json")
    assert not (place / "half.json").exists()


def test_what_cannot_be_proposed_is_refused_with_a_paragraph(place, capfd):
    assert "A recipe is a .json file" in refused(place, capfd, "recipe.txt")
    write_recipe(volume_recipe(), place / "volume.json")
    text = refused(place, capfd, "x.json", "--recipe", place / "volume.json")
    assert "makes volume and the cohort's targets are labels" in text
    assert "no-such-recipe" in refused(place, capfd, "x.json", "--recipe", "no-such-recipe")
    assert not (place / "x.json").exists()
