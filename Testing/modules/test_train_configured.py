"""The recipe that is configured from the images, chosen in the panel and trained."""

import json

import pytest
from train_samples import addSubjects, waitUntil
from translate_samples import needTorch

from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.jobs import JobError
from DeepTranslateLib.model import read_model
from DeepTranslateLib.mrml.cohorts import Pair
from DeepTranslateLib.mrml.training import continuation, train
from DeepTranslateLib.mrml.trainingaids import checkCohort
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import builtin_recipes, read_recipe

NAME = "segment-anything-you-label"
TISSUES = ["subcutaneous fat", "visceral fat", "lean tissue"]


@pytest.fixture
def widget(trainPanel):
    index = sorted(builtin_recipes()).index(NAME)
    trainPanel.recipes.combo.currentIndex = index
    trainPanel.recipes._chosen(index)
    return trainPanel


def labels(widget):
    return [label.name for label in widget.recipes.recipe().target.labels]


def test_the_labels_are_the_segments_of_the_images_chosen(widget):
    assert labels(widget) == []
    pairs = addSubjects(2)
    segment = pairs[1][1].GetSegmentation()
    segment.GetSegment(segment.GetNthSegmentID(2)).SetName("muscle")
    widget.builder.addFromSceneButton.click()
    assert labels(widget) == [*TISSUES, "muscle"]
    recipe = widget.recipes.recipe()
    assert [label.value for label in recipe.target.labels] == [1, 2, 3, 4]
    assert recipe.target.labels[1].type.meaning == "Fat"
    assert "Left out" not in widget.builder.segments.label.text
    assert "is chosen from the images first" in widget.ui.summaryLabel.text
    # What the user takes away stays away.
    editor = widget.recipes.form.labels
    editor.table.selectRow(3)
    editor.table.setCurrentCell(3, 1)
    editor.removeButton.click()
    widget.builder.cases.table.selectRow(0)
    widget.builder.removeButton.click()
    assert labels(widget) == TISSUES


def test_one_epoch_by_clicks(widget, tmp_path):
    needTorch()
    addSubjects(3)
    widget.builder.addFromSceneButton.click()
    widget.recipes.form.editors[("training", "epochs")].widget.value = 1
    for button in (widget.check.button, widget.ui.estimateButton, widget.ui.trainButton):
        assert button.enabled, widget.ui.summaryLabel.text
        button.click()
        waitUntil(lambda: not widget.slot.busy)
    assert "No faults" in widget.check.summary.text
    assert "Finished" in widget.monitor.status.text
    assert "window [" in widget.monitor.notes.text
    recipe = read_model(tmp_path / "run" / "model.dtmodel").recipe
    assert recipe.is_configured
    assert [label.name for label in recipe.target.labels] == TISSUES
    reasons = json.loads((tmp_path / "run" / "recipe.reasons.json").read_text())["reasons"]
    chosen = {reason["field"]: reason["value"] for reason in reasons}
    assert list(recipe.preprocessing.window) == chosen["preprocessing.window"]
    assert chosen["training.epochs"] == 1
    # It goes on with the recipe in its folder.
    assert continuation(tmp_path / "run", epochs=2).recipe["preprocessing"]["window"] == list(
        recipe.preprocessing.window
    )


def test_the_console_trains_segmentations_and_label_maps_alike(tmp_path):
    needTorch()
    pairs = [Pair(volume, segmentation) for volume, segmentation in addSubjects(2)]
    assert checkCohort(NAME, pairs)["faults"] == []
    recipe = {**_json(), "training": {"epochs": 1}, "network": {"levels": 2, "channels": 2}}
    model = train(recipe, pairs, tmp_path / "run")
    assert [label.name for label in read_model(model).recipe.target.labels] == TISSUES
    for seed in range(2):
        phantom = torso(seed, slices=3, size=(48, 40), spacing=(10, 10, 20))
        folder = tmp_path / "cohort" / f"s{seed}"
        folder.mkdir(parents=True)
        write_image(phantom.image, folder / "image.nrrd")
        write_image(phantom.labels, folder / "labels.nrrd")
    model = train(recipe, tmp_path / "cohort", tmp_path / "other")
    names = [label.name for label in read_model(model).recipe.target.labels]
    assert names == ["label 1", "label 2", "label 3"]


def _json():
    return json.loads(builtin_recipes()[NAME].read_text(encoding="utf-8"))


def test_what_failed_before_its_first_step_leaves_nothing(tmp_path):
    needTorch()
    assert not read_recipe(NAME).is_configured
    ((volume, segmentation),) = addSubjects(1, labelled=(1,))
    with pytest.raises(JobError, match="only one labelled slice"):
        train(NAME, [Pair(volume, segmentation)], tmp_path / "run")
    assert not (tmp_path / "run").exists()
