"""`deeptranslate info`, `models` and `recipes`: what files are, and what there is."""

import numpy as np
import pytest
from cli_samples import fails, run, run_json
from engine_samples import labels_recipe, lps_affine

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.recipe import write_recipe

pytestmark = pytest.mark.usefixtures("no_hang")


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
