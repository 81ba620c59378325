"""The Train panel without a training: builder, recipe, what is refused, what a scene keeps."""

import dataclasses
import json
import typing
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
from train_samples import addSubject, addSubjects, tinyRecipe

from DeepTranslateLib.model import models_folder
from DeepTranslateLib.mrml.panels.recipefields import editorFor
from DeepTranslateLib.mrml.runfolders import runsFolder
from DeepTranslateLib.recipe import builtin_recipes, read_recipe
from DeepTranslateLib.schema import limits, to_json

_SUBJECT, _SLICES = 0, 3


@pytest.fixture
def train(panel, tmp_path):
    settings = slicer.app.userSettings()
    settings.setValue("DeepTranslate/RunsFolder", str(tmp_path / "runs"))
    settings.setValue("DeepTranslate/ModelsFolder", str(tmp_path / "models"))
    widget = panel("DeepTranslateTrain")
    widget.builder.clear()
    widget.recipes.setRecipe(read_recipe("ct-body-composition"))
    yield widget
    settings.remove("DeepTranslate/RunsFolder")
    settings.remove("DeepTranslate/ModelsFolder")


def test_a_click_adds_what_belongs_together_once(train):
    addSubject(0, "anna", labelled=(1, 2))
    addSubject(1, "bert")
    for _click in range(2):
        train.builder.addFromSceneButton.click()
    table = train.builder.cases.table
    assert table.rowCount == 2
    assert [table.item(row, _SUBJECT).text() for row in range(2)] == ["anna", "bert"]
    assert [table.item(row, _SLICES).text() for row in range(2)] == ["1-2", "0-3"]
    assert "2 images of 2 people, 6 labelled slices" in train.builder.hint.text


def test_slices_that_are_none_are_refused_and_named(train):
    addSubjects(1)
    train.builder.addFromSceneButton.click()
    item = train.builder.cases.table.item(0, _SLICES)
    item.setText("3;x-9")
    assert "x-9" in train.builder.hint.text
    assert "x-9" in item.toolTip()
    assert not train.ui.trainButton.enabled
    assert "x-9" in train.ui.summaryLabel.text
    item.setText("0;2-3")
    (pair,) = train.builder.cohort()
    assert pair.slices == (0, 2, 3)
    item.setText("")
    (pair,) = train.builder.cohort()
    assert pair.slices is None
    assert train.builder.cases.table.item(0, _SLICES).text() == "0-3"


def test_rows_can_be_added_filled_and_removed_without_touching_the_nodes(train):
    volume, segmentation = addSubject(0, "anna")
    train.builder.addRowButton.click()
    assert "choose a volume" in train.builder.hint.text
    (row,) = train.builder.cases.rows
    row.volumeSelector.setCurrentNode(volume)
    row.targetSelector.setCurrentNode(segmentation)
    row.useCombo.currentIndex = 2
    (pair,) = train.builder.cohort()
    assert (pair.subject, pair.split) == ("anna", "validation")
    train.builder.cases.table.selectRow(0)
    train.builder.removeButton.click()
    assert train.builder.cases.table.rowCount == 0
    assert volume.GetScene() is not None


def test_the_segment_table_says_which_label_each_segment_is(train):
    segmentation = addSubject(0)[1]
    content = segmentation.GetSegmentation()
    content.GetSegment(content.GetNthSegmentID(2)).SetName("muscle")
    content.GetSegment(content.GetNthSegmentID(2)).SetTag("TerminologyEntry", "")
    train.builder.addFromSceneButton.click()
    assert "muscle" in train.builder.segments.label.text
    (pair,) = train.builder.cohort()
    assert sorted(pair.values.values()) == [1, 2]
    train.builder.segments.combo("muscle").currentIndex = 2
    train.builder.segments.combo("visceral fat").currentIndex = 3
    (pair,) = train.builder.cohort()
    assert pair.values == {content.GetNthSegmentID(0): 1, content.GetNthSegmentID(2): 3}


def test_a_folder_can_be_chosen_instead_of_nodes(train, tmp_path):
    (tmp_path / "cohort.csv").write_text("subject,image,labels\nanna,a.nrrd,b.nrrd\n")
    train.builder.tabs.currentIndex = 1
    train.builder.files.pathEdit.currentPath = str(tmp_path / "nothing.csv")
    assert "does not exist" in train.builder.files.label.text
    train.builder.files.pathEdit.currentPath = str(tmp_path / "cohort.csv")
    assert "anna" in train.builder.files.label.text
    assert train.builder.cohort() == str(tmp_path / "cohort.csv")


@pytest.mark.parametrize("name", sorted(builtin_recipes()))
def test_form_and_json_show_every_recipe_without_loss(train, name):
    recipe = read_recipe(name)
    train.recipes.setRecipe(recipe)
    assert train.recipes.problem == ""
    assert train.recipes.recipe() == recipe
    assert json.loads(train.recipes.jsonText()) == to_json(recipe)
    train.recipes.setJsonText(train.recipes.jsonText())
    assert train.recipes.recipe() == recipe
    # What every editor shows, told again as if the user had typed it, changes nothing.
    for editor in train.recipes.form.editors.values():
        for edit in [editor.widget, *editor.widget.findChildren(qt.QLineEdit)]:
            if edit.className() == "QLineEdit" and edit.enabled:
                text = edit.text
                edit.text = text + "1"
                edit.text = text
    assert train.recipes.recipe() == recipe


def test_fields_change_the_json_and_json_changes_the_fields(train):
    editors = train.recipes.form.editors
    editors[("training", "epochs")].widget.value = 7
    editors[("optimizer", "learning_rate")].widget.text = "2e-5"
    editors[("network", "norm")].widget.currentIndex = 1
    editors[("training", "patience")].check.checked = False
    content = json.loads(train.recipes.jsonText())
    assert content["training"]["epochs"] == 7
    assert content["optimizer"]["learning_rate"] == 2e-5
    assert content["network"]["norm"] == "group"
    assert content["training"]["patience"] is None
    content["augmentation"]["rotation"] = 12.5
    content["preprocessing"]["window"] = None
    content["preprocessing"]["spacing"] = 0.75
    train.recipes.text.plainText = json.dumps(content)
    assert editors[("augmentation", "rotation")].widget.text == "12.5"
    assert not editors[("preprocessing", "window")].check.checked
    assert editors[("preprocessing", "spacing")].edit.text == "0.75"
    assert train.recipes.recipe().preprocessing.spacing == 0.75


@pytest.mark.parametrize(
    ("place", "value", "path"),
    [
        (("network", "levels"), 99, "$.network.levels"),
        (("network", "levles"), 3, "$.network.levles"),
        (("target", "labels"), [], "$.target.labels"),
    ],
)
def test_impossible_json_is_refused_with_its_place(train, place, value, path):
    content = to_json(read_recipe("ct-body-composition"))
    content[place[0]][place[1]] = value
    train.recipes.text.plainText = json.dumps(content)
    assert path in train.recipes.problemLabel.text
    assert path in train.ui.summaryLabel.text
    assert not train.ui.trainButton.enabled
    train.recipes.text.plainText = "{"
    assert "line 1" in train.recipes.problemLabel.text
    train.recipes.setRecipe(read_recipe("ct-body-composition"))
    assert train.recipes.problemLabel.text == ""


def test_a_field_that_is_no_number_is_named(train):
    train.recipes.form.editors[("optimizer", "learning_rate")].widget.text = "fast"
    assert "$.optimizer.learning_rate" in train.recipes.problem


def test_labels_are_edited_and_taken_from_segmentations(train):
    segmentation = addSubject(0)[1]
    content = segmentation.GetSegmentation()
    content.GetSegment(content.GetNthSegmentID(0)).SetName("liver")
    content.GetSegment(content.GetNthSegmentID(0)).SetColor(1.0, 0.2, 0.0)
    train.builder.addFromSceneButton.click()
    labels = train.recipes.form.labels
    labels.table.item(0, 1).setText("my fat")
    assert train.recipes.recipe().target.labels[0].name == "my fat"
    labels.addButton.click()
    assert len(train.recipes.recipe().target.labels) == 4
    labels.table.item(3, 0).setText("1")
    assert "$.target.labels[3]" in train.recipes.problem
    labels.table.setCurrentCell(3, 0)
    labels.removeButton.click()
    assert train.recipes.problem == ""
    labels.fromSegmentsButton.click()
    taken = train.recipes.recipe().target.labels
    assert [label.name for label in taken] == ["liver", "visceral fat", "lean tissue"]
    assert taken[0].color == (255, 51, 0)
    assert taken[1].type == read_recipe("ct-body-composition").target.labels[1].type
    (pair,) = train.builder.cohort()
    assert sorted(pair.values.values()) == [1, 2, 3]


def test_recipes_that_make_volumes_take_volumes_as_targets(train):
    content = to_json(tinyRecipe())
    content["target"].update(kind="volume", labels=[], range=[-1000, 1000])
    content["method"]["loss"] = "mse"
    train.recipes.text.plainText = json.dumps(content)
    assert train.recipes.problem == ""
    volume, _ = addSubject(0)
    other, _ = addSubject(1)
    train.builder.addRowButton.click()
    (row,) = train.builder.cases.rows
    row.volumeSelector.setCurrentNode(volume)
    row.targetSelector.setCurrentNode(other)
    (pair,) = train.builder.cohort()
    assert pair.targetNode is other


def test_choices_survive_a_scene_file(train, panel, tmp_path):
    addSubject(0, "anna")
    addSubject(1, "bert")
    train.builder.addFromSceneButton.click()
    table = train.builder.cases.table
    table.item(1, _SUBJECT).setText("carl")
    table.item(1, _SLICES).setText("0;2")
    train.builder.cases.rows[0].useCombo.currentIndex = 3
    train.builder.segments.combo("lean tissue").currentIndex = 3
    train.recipes.setRecipe(tinyRecipe(epochs=5))
    train.ui.runFolderEdit.currentPath = str(tmp_path / "mine")
    train.ui.deviceComboBox.currentIndex = 1
    before = [(p.subject, p.slices, p.split, p.values) for p in train.builder.cohort()]
    slicer.util.selectModule("Data")
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    panel("DeepTranslateTrain")
    assert table.rowCount == 0
    train.recipes.setRecipe(read_recipe("ct-body-composition"))
    slicer.util.selectModule("Data")
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    panel("DeepTranslateTrain")
    pairs = train.builder.cohort()
    assert [pair.volumeNode.GetName() for pair in pairs] == ["anna", "bert"]
    assert [(p.subject, p.slices, p.split, p.values) for p in pairs] == before
    assert train.recipes.recipe() == tinyRecipe(epochs=5)
    assert train.ui.runFolderEdit.currentPath == str(tmp_path / "mine")
    assert train.ui.deviceComboBox.currentIndex == 1


def test_a_scene_that_is_loaded_while_the_panel_is_open_brings_its_choices(train, tmp_path):
    addSubject(0, "anna")
    train.builder.addFromSceneButton.click()
    train.builder.cases.table.item(0, _SLICES).setText("0;2")
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    assert train.builder.cases.rows == []
    slicer.util.loadScene(path)
    slicer.app.processEvents()
    (pair,) = train.builder.cohort()
    assert pair.volumeNode.GetName() == "anna"
    assert pair.slices == (0, 2)


def test_a_closed_scene_empties_the_builder(train):
    addSubjects(2)
    train.builder.addFromSceneButton.click()
    slicer.mrmlScene.Clear(0)
    assert train.builder.cases.table.rowCount == 0
    assert not train.ui.trainButton.enabled


def test_a_volume_of_several_components_says_what_to_do_in_its_row(train):
    voxels = np.zeros((3, 4, 5, 3), np.uint8)
    className = "vtkMRMLVectorVolumeNode"
    photo = slicer.util.addVolumeFromArray(voxels, name="photo", nodeClassName=className)
    volume, segmentation = addSubject(0, "anna")
    train.builder.addFromSceneButton.click()
    (row,) = train.builder.cases.rows
    assert train.ui.trainButton.enabled
    row.volumeSelector.setCurrentNode(photo)
    tip = train.builder.cases.table.item(0, _SUBJECT).toolTip()
    for text in (tip, train.builder.hint.text, train.ui.summaryLabel.text):
        assert "photo has 3 components" in text
        assert "Vector to Scalar Volume" in text
    assert not train.ui.trainButton.enabled
    row.volumeSelector.setCurrentNode(volume)
    assert train.ui.trainButton.enabled
    assert segmentation.GetScene() is not None


def test_names_that_do_not_fit_are_in_the_tool_tips(train):
    name = "5: CT abdomen portal venous 1.5 B30f"
    _volume, segmentation = addSubject(0, name)
    train.builder.addFromSceneButton.click()
    (row,) = train.builder.cases.rows
    assert row.volumeSelector.toolTip == name
    assert row.targetSelector.toolTip == segmentation.GetName()
    assert train.builder.cases.table.item(0, _SUBJECT).toolTip() == name


def test_runs_are_kept_where_the_user_says(train, tmp_path):
    assert train.ui.runsFolderEdit.currentPath == str(tmp_path / "runs")
    train.ui.runsFolderEdit.currentPath = str(tmp_path / "elsewhere")
    assert Path(train.ui.runFolderEdit.currentPath).parent == tmp_path / "elsewhere"
    assert runsFolder() == tmp_path / "elsewhere"
    # A folder that the user chose for this training stays.
    train.ui.runFolderEdit.currentPath = str(tmp_path / "mine")
    train.ui.runsFolderEdit.currentPath = str(tmp_path / "runs")
    assert train.ui.runFolderEdit.currentPath == str(tmp_path / "mine")
    train.ui.runsFolderEdit.currentPath = ""
    assert runsFolder() == models_folder().parent / "runs"


@dataclasses.dataclass(frozen=True)
class _Part:
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class _Unusual:
    """Kinds of fields that a recipe may have one day."""

    one: str | tuple[_Part, ...] = limits("a", choices=("a", "b"))
    blocks: tuple[int, ...] | None = None
    weights: tuple[float, ...] = (0.5, 1.0)
    parts: tuple[_Part, ...] = (_Part(),)
    part: _Part | None = None
    anything: dict[str, int] = dataclasses.field(default_factory=dict)


@pytest.mark.parametrize(
    ("name", "values", "typed", "told"),
    [
        ("one", ["b", [{"weight": 2.0}], "a"], None, None),
        ("blocks", [None, [1, 2]], "3, 4,5", [3, 4, 5]),
        ("weights", [[0.5, 1.0]], "1e-3, x", [0.001, "x"]),
        ("parts", [[{"weight": 2.0}]], None, None),
        ("part", [None, {"weight": 1.0}], None, None),
        ("anything", [{}, {"a": 1}], None, None),
    ],
)
def test_fields_of_any_kind_are_shown_and_edited_where_they_can_be(name, values, typed, told):
    (field,) = [field for field in dataclasses.fields(_Unusual) if field.name == name]
    heard = []
    editor = editorFor(field, typing.get_type_hints(_Unusual)[name], heard.append)
    for value in values:
        editor.setValue(value)
    assert heard == []
    if typed is not None:
        edits = [editor.widget, *editor.widget.findChildren(qt.QLineEdit)]
        (edit,) = [edit for edit in edits if edit.className() == "QLineEdit"]
        edit.text = typed
        assert heard[-1] == told
    if name == "one":
        editor.setValue([{"weight": 2.0}])
        assert "weight" in editor.widget.currentText
        editor.widget.currentIndex = 1
        assert heard == ["b"]


def test_a_weighted_sum_of_losses_is_kept_while_other_fields_change(train):
    content = json.loads(train.recipes.jsonText())
    losses = [{"name": "dice", "weight": 1.0}, {"name": "focal", "weight": 0.5}]
    content["method"]["loss"] = losses
    train.recipes.text.plainText = json.dumps(content)
    assert train.recipes.problem == ""
    train.recipes.form.editors[("training", "epochs")].widget.value = 9
    content = json.loads(train.recipes.jsonText())
    assert (content["training"]["epochs"], content["method"]["loss"]) == (9, losses)
    train.recipes.form.editors[("method", "loss")].widget.currentIndex = 0
    assert train.recipes.recipe().method.loss == "binary_cross_entropy"


def test_other_nodes_may_go_without_a_word_about_the_cohort(train):
    other = addSubject(0, "other")[0]
    volume, segmentation = addSubject(1, "anna")
    row = train.builder.cases.add(volume, segmentation)
    heard = []
    train.builder.cases._onChange = heard.append
    slicer.mrmlScene.RemoveNode(other)
    assert row.volumeNode is volume
    assert heard == []
    slicer.mrmlScene.RemoveNode(segmentation)
    assert heard == [row]
