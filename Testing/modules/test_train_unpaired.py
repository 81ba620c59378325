"""Learning without pairs in the Train panel: kinds in place of targets, and what it shows."""

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from train_samples import addSubject, phantomOf, waitUntil
from translate_samples import needTorch

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.cohort import CohortError, read_cohort
from DeepTranslateLib.model import read_model
from DeepTranslateLib.mrml.cohorts import writeCohort
from DeepTranslateLib.mrml.pairs import Pair
from DeepTranslateLib.mrml.panels.relevantfields import hasMeaning
from DeepTranslateLib.mrml.panels.trainingcurves import bestText, curveRows, shownMetrics
from DeepTranslateLib.mrml.trainingscript import trainingScript
from DeepTranslateLib.mrml.volumes import volumeFromImage
from DeepTranslateLib.recipe import read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

_TARGET, _KIND = 2, 6


def unpairedRecipe(epochs=1, method="cyclegan", **adversarial):
    """MR to CT without pairs, with networks that are trained in a second."""
    return recipe_from_json(
        {
            "name": "unpaired",
            "title": "Unpaired",
            "inputs": [{"name": "image", "modality": "MR"}],
            "target": {"kind": "volume", "modality": "CT", "units": "HU", "range": [-1000, 1000]},
            "preprocessing": {"window": [0, 2000], "spacing": None},
            "network": {"name": "resnet", "levels": 2, "channels": 2, "norm": "instance"},
            "method": {"name": method, **({} if method == "cut" else {"loss": "mae"})},
            "adversarial": {
                "discriminator_channels": 2,
                "discriminator_layers": 1,
                **adversarial,
            },
            "augmentation": {"probability": 0},
            "training": {"epochs": epochs, "monitor": "last"},
        }
    )


def addMR(seed):
    image = phantomOf(seed).image
    voxels = (1000 - image.voxels // 2).astype(np.int16)
    return volumeFromImage(image.with_voxels(voxels), f"mr{seed}")


def addCT(seed):
    return volumeFromImage(phantomOf(seed).image, f"ct{seed}")


def addBoth():
    return [addMR(0), addMR(1), addCT(2), addCT(3)]


@pytest.fixture
def widget(trainPanel):
    return trainPanel


def show(widget, recipe):
    widget.recipes.setRecipe(recipe)
    assert widget.recipes.problem == ""


def columnsShown(widget):
    table = widget.builder.cases.table
    return [column for column in (_TARGET, _KIND) if not table.isColumnHidden(column)]


def click(widget, button):
    assert button.enabled, widget.ui.summaryLabel.text
    button.click()
    waitUntil(lambda: not widget.slot.busy)


def domains(widget):
    return {row.subject: row.domain for row in widget.builder.cases.rows}


# ---- the cohort


def test_without_pairs_each_image_has_a_kind_and_no_target(widget):
    show(widget, read_recipe("ct-body-composition"))
    assert columnsShown(widget) == [_TARGET]
    show(widget, unpairedRecipe())
    assert columnsShown(widget) == [_KIND]
    addBoth()
    widget.builder.addFromSceneButton.click()
    # Of an MR and a CT the values tell which is which.
    expected = {"mr0": "source", "mr1": "source", "ct2": "target", "ct3": "target"}
    assert domains(widget) == expected
    combo = widget.builder.cases.rows[0].kindCombo
    assert [combo.itemText(n) for n in range(combo.count)] == ["MR (source)", "CT (target)"]
    pairs = widget.builder.cohort()
    assert [pair.domain for pair in pairs] == ["source", "source", "target", "target"]
    assert all(pair.targetNode is None for pair in pairs)
    assert "2 MR (source), 2 CT (target)" in widget.builder.hint.text
    assert widget.ui.trainButton.enabled


def test_volumes_are_added_once(widget):
    show(widget, unpairedRecipe())
    addBoth()
    for _ in range(2):
        widget.builder.addFromSceneButton.click()
    assert len(widget.builder.cases.rows) == 4


def test_a_kind_that_has_no_image_is_said(widget):
    show(widget, unpairedRecipe())
    addBoth()
    widget.builder.addFromSceneButton.click()
    for row in widget.builder.cases.rows:
        row.kindCombo.currentIndex = 0
    assert "CT (target)" in widget.builder.hint.text
    assert "target" in widget.ui.summaryLabel.text
    assert not widget.ui.trainButton.enabled
    widget.builder.cases.rows[3].kindCombo.currentIndex = 1
    assert widget.ui.trainButton.enabled


def test_images_and_targets_are_kept_while_recipes_change(widget):
    show(widget, read_recipe("ct-body-composition"))
    volume, segmentation = addSubject(0)
    widget.builder.addFromSceneButton.click()
    (row,) = widget.builder.cases.rows
    assert row.targetNode is segmentation
    show(widget, unpairedRecipe())
    assert [each.volumeNode for each in widget.builder.cases.rows] == [volume]
    assert widget.builder.pairs()[0].targetNode is None
    row.kindCombo.currentIndex = 1
    show(widget, read_recipe("ct-body-composition"))
    assert columnsShown(widget) == [_TARGET]
    (pair,) = widget.builder.cohort()
    assert pair.targetNode is segmentation
    assert pair.domain is None
    assert row.found
    show(widget, unpairedRecipe())
    assert row.domain == "target"


def test_kinds_are_kept_in_the_scene(widget):
    show(widget, unpairedRecipe())
    addBoth()
    widget.builder.addFromSceneButton.click()
    widget.builder.cases.rows[0].kindCombo.currentIndex = 1
    before = domains(widget)
    state = widget._parameterNode.cohort
    node = widget._parameterNode.parameterNode
    widget.builder.cases.clear()
    widget.builder.restore(state, node)
    assert domains(widget) == before


def test_a_cohort_of_kinds_is_read_back_from_its_file(tmp_path):
    pairs = [
        Pair(addMR(0), subject="anna", domain="source"),
        Pair(addCT(1), subject="bert", domain="target"),
    ]
    cohort = read_cohort(writeCohort(pairs, unpairedRecipe(), tmp_path))
    assert [(case.subject, case.domain, case.target) for case in cohort.cases] == [
        ("anna", "source", None),
        ("bert", "target", None),
    ]


@pytest.mark.parametrize(
    ("kinds", "paired", "message"),
    [
        (("source", None), False, "expected a domain"),
        (("source", "source"), False, "no image of the kind 'target'"),
        (("source", "target"), True, "learns from pairs"),
    ],
)
def test_kinds_that_do_not_suit_the_recipe_are_refused(tmp_path, kinds, paired, message):
    volumes = [addMR(0), addCT(1)]
    recipe = read_recipe("mr-to-ct") if paired else unpairedRecipe()
    others = [addCT(2), addCT(3)] if paired else [None, None]
    pairs = [
        Pair(volume, other, domain=kind)
        for volume, other, kind in zip(volumes, others, kinds, strict=True)
    ]
    with pytest.raises(CohortError, match=message):
        writeCohort(pairs, recipe, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_script_says_the_domains():
    pairs = [Pair(addMR(0), domain="source"), Pair(addCT(1), domain="target")]
    script = trainingScript(unpairedRecipe(), pairs, "/tmp/run")
    for domain in ("source", "target"):
        assert f"domain='{domain}'" in script
    compile(script, "script", "exec")


# ---- checking and training


def test_the_check_shows_what_is_wrong_with_a_kind(widget):
    needTorch()
    show(widget, unpairedRecipe())
    addBoth()
    widget.builder.addFromSceneButton.click()
    # An MR that is said to be a CT.
    widget.builder.cases.rows[1].kindCombo.currentIndex = 1
    click(widget, widget.check.button)
    table = widget.check.table
    rows = [[table.item(row, n).text() for n in range(3)] for row in range(table.rowCount)]
    assert [row[0] for row in rows if "HU" in row[1]] == ["mr1"]


def test_a_training_is_started_watched_and_ends_in_a_model_of_both_ways(widget, tmp_path):
    needTorch()
    show(widget, unpairedRecipe(epochs=2))
    addBoth()
    widget.builder.addFromSceneButton.click()
    click(widget, widget.augmentation.button)
    assert not widget.augmentation.message.visible, widget.augmentation.message.text
    click(widget, widget.ui.trainButton)
    assert "Finished" in widget.monitor.status.text, widget.monitor.status.text
    model = read_model(tmp_path / "run" / "model.dtmodel")
    assert len(model.directions) == 2
    names = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}
    shown = {name.partition(": ")[2] for name in names if name.startswith("Training preview")}
    assert shown == {"input", "prediction", "translated back"}
    composite = {
        view: slicer.app.layoutManager().sliceWidget(view).sliceLogic().GetSliceCompositeNode()
        for view in ("Red", "Yellow", "Green")
    }
    nodes = widget.monitor.preview.nodes
    assert composite["Red"].GetForegroundVolumeID() is None
    assert composite["Yellow"].GetForegroundVolumeID() == nodes["prediction"].GetID()
    assert composite["Green"].GetForegroundVolumeID() == nodes["cycled"].GetID()
    window = nodes["cycled"].GetDisplayNode()
    assert (window.GetWindowLevelMin(), window.GetWindowLevelMax()) == (0, 2000)
    window = nodes["prediction"].GetDisplayNode()
    assert (window.GetWindowLevelMin(), window.GetWindowLevelMax()) == (-1000, 1000)
    combo = widget.monitor.metricCombo
    titles = [combo.itemText(index) for index in range(combo.count)]
    assert {"histogram distance (HU)", "cycle SSIM", "losses of the networks"} <= set(titles)
    for index in range(combo.count):
        combo.currentIndex = index
        table = widget.monitor.curves.tableNode
        assert table.GetNumberOfColumns() > 1, titles[index]
    assert "The last epoch counts: epoch 2" in widget.monitor.best.text


# ---- what the monitor shows


def test_a_network_that_is_chosen_brings_its_checksum(widget, chooseFile, tmp_path):
    show(widget, unpairedRecipe())
    form = widget.recipes.form
    form.editors["structure", "perceptual_weight"].widget.text = "0.5"
    assert "structure.features" in widget.recipes.problem
    # The SHA-256 of "abc", FIPS 180-2, B.1.
    (tmp_path / "mine.dtmodel").write_bytes(b"abc")
    digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    editor = form.editors["structure", "features"]
    editor.button.click()  # no file is chosen
    assert editor.edit.text == ""
    chooseFile(tmp_path / "mine.dtmodel")
    editor.button.click()
    assert widget.recipes.problem == ""
    structure = widget.recipes.recipe().structure
    assert structure.features == str(tmp_path / "mine.dtmodel")
    assert structure.features_sha256 == digits
    assert form.editors["structure", "features_sha256"].widget.text == digits
    # A folder cannot be read: the checksum of the file before does not stay.
    (tmp_path / "folder.dtmodel").mkdir()
    chooseFile(tmp_path / "folder.dtmodel")
    editor.button.click()
    assert form.editors["structure", "features_sha256"].widget.text == ""
    assert "features_sha256" in widget.recipes.problem
    chooseFile(tmp_path / "mine.dtmodel")
    editor.button.click()
    # Typed, the path is another, and the checksum stays what it was, to be refused by the training.
    editor.edit.text = str(tmp_path / "other.dtmodel")
    assert widget.recipes.recipe().structure.features_sha256 == digits


def test_a_segmentor_of_the_target_is_asked_for_where_shapes_count(widget, chooseFile, tmp_path):
    show(widget, unpairedRecipe())
    form = widget.recipes.form
    places = [("structure", name) for name in ("segmentor", "target_segmentor")]
    assert not any(hasMeaning(place, widget.recipes.content) for place in places)
    form.editors["structure", "shape_weight"].widget.text = "1"
    assert all(hasMeaning(place, widget.recipes.content) for place in places)
    for place in places:
        path = tmp_path / f"{place[1]}.dtmodel"
        path.write_bytes(place[1].encode())
        chooseFile(path)
        form.editors[place].button.click()
    assert widget.recipes.problem == ""
    structure = widget.recipes.recipe().structure
    assert structure.target_segmentor == str(tmp_path / "target_segmentor.dtmodel")
    assert structure.target_segmentor_sha256 == file_sha256(Path(structure.target_segmentor))
    assert structure.segmentor_sha256 == file_sha256(Path(structure.segmentor))


def records():
    return [
        {
            "epoch": epoch,
            "loss": 2.0,
            "validation_loss": 1.0,
            "validation_dice": {},
            "validation_metrics": {"histogram_distance": 30.0, "cycle_ssim": 0.5},
            "losses": {
                "loss": 2.0,
                "cycle there": 1.5,
                "discriminator": 0.25,
                "discriminator_accuracy": 0.75,
                "variance_ratio": 0.5,
                "diversity_ratio": 0.25,
                "generator_gradient": 3.0,
                "discriminator_gradient": 4.0,
            },
        }
        for epoch in range(2)
    ]


def test_curves_of_networks_are_chosen_apart_from_metrics():
    recipe = unpairedRecipe()
    names = shownMetrics(records())
    assert names[:3] == ["loss", "histogram_distance", "cycle_ssim"]
    row = curveRows(records(), recipe, "losses")[0]
    assert row == {"epoch": 1, "cycle there": 1.5, "discriminator": 0.25}
    row = curveRows(records(), recipe, "gradients")[0]
    assert row == {"epoch": 1, "generator gradient": 3.0, "discriminator gradient": 4.0}
    row = curveRows(records(), recipe, "discriminator_accuracy")[1]
    assert row == {"epoch": 2, "discriminator accuracy": 0.75}
    row = curveRows(records(), recipe, "variance_ratio")[0]
    assert row == {"epoch": 1, "variance ratio": 0.5, "diversity ratio": 0.25}
    # Of two ways each has its curve, and the worse one no other.
    ways = {f"{name} {way}": 0.5 for name in ("variance_ratio",) for way in ("there", "back")}
    of_ways = [{**record, "losses": {**record["losses"], **ways}} for record in records()]
    row = curveRows(of_ways, recipe, "variance_ratio")[0]
    assert list(row) == ["epoch", "variance ratio there", "variance ratio back", "diversity ratio"]
    assert curveRows(of_ways, recipe, "losses") == curveRows(records(), recipe, "losses")
    paired = [{**record, "losses": {}} for record in records()]
    assert "losses" not in shownMetrics(paired)


def test_the_best_epoch_is_told_by_what_there_is():
    text = bestText(records()[1], unpairedRecipe())
    assert "last epoch counts" in text
    assert "histogram distance 30 HU" in text
    assert "cycle SSIM 0.5" in text


def test_what_the_watch_says_is_shown_as_it_is(widget, tmp_path):
    widget.monitor.start(unpairedRecipe(), tmp_path)
    widget.monitor.hear({"event": "warning", "subject": "", "message": "The generator stands."})
    assert widget.monitor.notes.text == "The generator stands."


# ---- the form


def groupsShown(widget):
    groups = widget.recipes.form.groups
    return {title for title in ("Adversarial", "Structure", "Contrast") if groups[title].visible}


@pytest.mark.parametrize(
    ("method", "groups"),
    [("cyclegan", {"Adversarial", "Structure"}), ("cut", {"Adversarial", "Contrast"})],
)
def test_groups_appear_where_the_method_reads_of_them(widget, method, groups):
    show(widget, read_recipe("ct-body-composition"))
    assert groupsShown(widget) == set()
    assert not widget.recipes.form.editors[("method", "name")].widget.visible
    show(widget, unpairedRecipe(method=method))
    assert groupsShown(widget) == groups


def test_both_ratios_of_steps_are_shown_and_one_of_them_is_taken(widget):
    place = ("adversarial", "discriminator_steps")
    editors = widget.recipes.form.editors
    show(widget, read_recipe("ct-body-composition"))
    assert not editors[place].widget.visible
    for method in ("cyclegan", "cut"):
        show(widget, unpairedRecipe(method=method))
        widget.recipes.form.groups["Adversarial"].collapsed = False
        slicer.app.processEvents()
        assert editors[place].widget.visible
    editors[place].widget.value = 5
    assert widget.recipes.recipe().adversarial.discriminator_steps == 5
    editors["adversarial", "generator_steps"].widget.value = 2
    assert "Leave one of both at 1" in widget.recipes.problemLabel.text


def test_a_supervised_recipe_becomes_an_unpaired_one_in_the_form(widget):
    content = to_json(unpairedRecipe())
    content["method"]["name"] = "supervised"
    content["adversarial"] = to_json(recipe_from_json({**content, "adversarial": {}}).adversarial)
    widget.recipes.text.plainText = json.dumps(content)
    assert widget.recipes.problem == ""
    editors = widget.recipes.form.editors
    names = editors[("method", "name")].widget
    names.currentIndex = names.findText("cyclegan")
    assert widget.recipes.problem == ""
    assert columnsShown(widget) == [_KIND]
    # What a wide weight needs appears with it.
    weight = editors[("structure", "perceptual_weight")].widget
    weight.text = "1"
    assert "$.structure.features" in widget.recipes.problemLabel.text
