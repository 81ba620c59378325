"""`deeptranslate statistics`: the table of a label map."""

import numpy as np
import pytest
from cli_samples import fails, run, run_json
from engine_samples import labels_recipe, volume_recipe

from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.recipe import write_recipe
from DeepTranslateLib.statistics import read_statistics

pytestmark = pytest.mark.usefixtures("no_hang")


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
