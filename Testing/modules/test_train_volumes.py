"""Recipes that make volumes, and masks: what the Train panel asks for, and one epoch by clicks."""

import json

import numpy as np
import pytest
import slicer
from train_samples import addSubject, addSubjects, phantomOf, waitUntil
from translate_samples import applied, needTorch

from DeepTranslateLib.cohort import read_cohort
from DeepTranslateLib.model import read_model
from DeepTranslateLib.mrml.cohorts import writeCohort
from DeepTranslateLib.mrml.pairs import Pair
from DeepTranslateLib.mrml.trainingscript import trainingScript
from DeepTranslateLib.mrml.volumes import imageFromVolume, volumeFromImage
from DeepTranslateLib.recipe import builtin_recipes, read_recipe
from DeepTranslateLib.runfolder import read_run

_TARGET, _MASK = 2, 5


@pytest.fixture
def widget(trainPanel):
    return trainPanel


def choose(widget, name, **changes):
    """Choose a built-in recipe as a click does, and change parts of it in the JSON."""
    index = sorted(builtin_recipes()).index(name)
    widget.recipes.combo.currentIndex = index
    widget.recipes._chosen(index)
    content = json.loads(widget.recipes.jsonText())
    for part, fields in changes.items():
        content[part].update(fields)
    widget.recipes.text.plainText = json.dumps(content)
    assert widget.recipes.problem == ""


def clickThrough(widget, *buttons):
    for button in buttons:
        assert button.enabled, widget.ui.summaryLabel.text
        button.click()
        waitUntil(lambda: not widget.slot.busy)


def addVolumes(count=3, name="clean"):
    images = [phantomOf(seed).image for seed in range(count)]
    return [volumeFromImage(image, f"{name}{seed}") for seed, image in enumerate(images)]


def column(widget, index):
    return widget.builder.cases.table.horizontalHeaderItem(index).text()


def test_denoising_is_learnt_from_clean_volumes_alone_by_clicks(widget, panel, tmp_path):
    needTorch()
    choose(
        widget,
        "ct-denoise",
        network={"channels": 2},
        optimizer={"warmup_epochs": 0},
        training={"epochs": 1},
    )
    assert not widget.recipes.form.groups["Labels"].visible
    volumes = addVolumes()
    widget.builder.addFromSceneButton.click()
    widget.builder.addFromSceneButton.click()
    assert len(widget.builder.cases.rows) == 3
    assert "training adds the noise" in widget.builder.hint.text
    clickThrough(
        widget,
        widget.check.button,
        widget.augmentation.button,
        widget.ui.estimateButton,
        widget.ui.trainButton,
    )
    assert "No faults" in widget.check.summary.text
    assert widget.augmentation.message.text == ""
    assert "Finished" in widget.monitor.status.text
    cases = read_cohort(tmp_path / "run" / "cohort.csv").cases
    assert [case.target for case in cases] == [None] * 3
    # The preview's input has the noise that its target has not.
    seen, target = (imageFromVolume(widget.monitor.preview.nodes[r]) for r in ("input", "target"))
    changed = np.mean(np.abs(seen.voxels - target.voxels) > 1)
    assert 0.1 < changed < 0.5  # 30 % of the pixels, less those clipped
    clickThrough(widget, widget.runs.useButton)
    translate = panel("DeepTranslate")
    translate.inputs.setVolumeNode(0, volumes[0])
    applied(translate)
    (made,) = [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if isMade(n)]
    assert imageFromVolume(made).same_grid(imageFromVolume(volumes[0]))


def isMade(node):
    return node.GetAttribute("DeepTranslate.Model") is not None


def test_noisy_and_clean_pairs_need_a_target_each_once_no_noise_is_added(widget):
    noisy, clean = addVolumes(2)
    choose(widget, "ct-denoise")
    widget.builder.addRowButton.click()
    (row,) = widget.builder.cases.rows
    row.volumeSelector.setCurrentNode(noisy)
    assert widget.ui.trainButton.enabled
    assert column(widget, _TARGET) != "Target"
    choose(widget, "ct-denoise", noise={"kind": "none", "level": None})
    assert column(widget, _TARGET) == "Target"
    assert "choose what to learn from" in widget.builder.hint.text
    assert not widget.ui.trainButton.enabled
    # Which of the two is the noisy one cannot be told.
    widget.builder.addFromSceneButton.click()
    assert len(widget.builder.cases.rows) == 1
    row.targetSelector.setCurrentNode(clean)
    assert widget.ui.trainButton.enabled
    (pair,) = widget.builder.cohort()
    assert (pair.volumeNode, pair.targetNode) == (noisy, clean)


def test_a_mask_is_exported_with_its_pair_and_survives_a_scene_file(widget, tmp_path):
    choose(widget, "ct-body-composition")
    volume, _segmentation = addSubject(0, "anna", labelled=(1, 2))
    _bert, otherMask = addSubject(1, "bert")
    box = np.zeros_like(slicer.util.arrayFromVolume(volume), np.uint8)
    box[:2, 10:30, 5:35] = 3
    mask = volumeFromImage(imageFromVolume(volume).with_voxels(box), "field of view")
    widget.builder.addFromSceneButton.click()
    rows = {row.subject: row for row in widget.builder.cases.rows if row.volumeNode is not mask}
    table = widget.builder.cases.table
    assert table.isColumnHidden(_MASK)
    widget.builder.masksBox.click()
    assert not table.isColumnHidden(_MASK)
    rows["anna"].maskSelector.setCurrentNode(mask)
    rows["bert"].maskSelector.setCurrentNode(otherMask)
    pairs = widget.builder.cohort()
    (tmp_path / "cohort").mkdir()
    anna, bert = read_cohort(writeCohort(pairs, widget.recipes.recipe(), tmp_path / "cohort")).cases
    assert np.array_equal(anna.counted("LPS"), imageFromVolume(mask).oriented("LPS").voxels > 0)
    assert anna.counted_slices("axial") == (1,)
    assert np.array_equal(bert.counted("LPS"), bert.read_target().oriented("LPS").voxels > 0)
    script = trainingScript(widget.recipes.recipe(), pairs, tmp_path / "run")
    assert "maskNode=slicer.mrmlScene.GetFirstNodeByName('field of view')" in script
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    assert table.isColumnHidden(_MASK)
    slicer.util.loadScene(path)
    slicer.app.processEvents()
    assert [pair.maskNode.GetName() for pair in widget.builder.cohort()] == [
        "field of view",
        "bert tissue",
    ]
    assert not table.isColumnHidden(_MASK)


def test_what_is_masked_out_changes_nothing_that_is_learnt(widget, tmp_path):
    needTorch()
    from DeepTranslateLib.mrml.training import train

    choose(
        widget,
        "ct-denoise",
        network={"channels": 2, "levels": 2},
        optimizer={"warmup_epochs": 0, "learning_rate": 1e-8},
        noise={"kind": "none", "level": None},
        training={"epochs": 1, "monitor": "mae"},
    )
    recipe = widget.recipes.recipe()
    volumes = addVolumes(2)
    pairs, loud = [], []
    for volume in volumes:
        image = imageFromVolume(volume)
        half = np.zeros(image.shape, np.uint8)
        half[:, :20] = 1
        mask = volumeFromImage(image.with_voxels(half), f"half of {volume.GetName()}")
        for found, wrong in ((pairs, 0), (loud, 500)):
            target = np.where(half > 0, image.voxels, image.voxels + wrong).astype(np.int16)
            node = volumeFromImage(image.with_voxels(target), f"{volume.GetName()} {wrong}")
            found.append(Pair(volume, node, maskNode=mask))
    histories = []
    for number, cohort in enumerate((pairs, loud)):
        run = train(recipe, cohort, tmp_path / str(number), device="cpu").parent
        histories.append(read_run(run).history)
    assert histories[0][0]["validation_metrics"]["mae"] == pytest.approx(
        histories[1][0]["validation_metrics"]["mae"], rel=1e-6
    )
    assert read_model(tmp_path / "0" / "model.dtmodel").recipe.target == recipe.target


def test_no_recipe_asks_for_targets_of_another_kind(widget):
    kinds = {}
    for name in builtin_recipes():
        choose(widget, name)
        recipe = read_recipe(name)
        assert widget.recipes.form.groups["Labels"].visible == (recipe.target.kind == "labels")
        kinds[name] = column(widget, _TARGET)
    assert {name for name, title in kinds.items() if title == "Labels"} == {
        name for name in builtin_recipes() if read_recipe(name).target.kind == "labels"
    }


def test_volumes_are_watched_and_compared_by_the_metric_of_the_recipe(widget, tmp_path):
    needTorch()
    choose(
        widget,
        "ct-denoise",
        network={"channels": 2, "levels": 2},
        noise={"kind": "none", "level": None},
        optimizer={"warmup_epochs": 0},
        training={"epochs": 3, "monitor": "psnr", "ema": None},
    )
    noise = np.random.default_rng(0).normal(0, 50, (4, 40, 48))
    for volume in addVolumes():
        image = imageFromVolume(volume)
        target = image.with_voxels((image.voxels + noise).round().astype(np.int16))
        widget.builder.addRowButton.click()
        row = widget.builder.cases.rows[-1]
        row.volumeSelector.setCurrentNode(volume)
        row.targetSelector.setCurrentNode(volumeFromImage(target, "target"))
    clickThrough(widget, widget.ui.trainButton)
    monitor = widget.monitor
    history = read_run(tmp_path / "run").history
    table = monitor.curves.tableNode
    titles = [monitor.metricCombo.itemText(index) for index in range(monitor.metricCombo.count)]
    assert titles == ["loss", "MAE (HU)", "RMSE (HU)", "PSNR (dB)"]
    assert monitor.metricCombo.currentText == "PSNR (dB)"
    for title, name in (("PSNR (dB)", "psnr"), ("MAE (HU)", "mae"), ("RMSE (HU)", "rmse")):
        monitor.metricCombo.currentIndex = titles.index(title)
        shown = slicer.util.arrayFromTableColumn(table, title)
        assert shown == pytest.approx([row["validation_metrics"][name] for row in history], 1e-5)
        assert [series.GetName() for series in monitor.curves.seriesNodes.values()] == [title]
    monitor.metricCombo.currentIndex = 0
    losses = slicer.util.arrayFromTableColumn(table, "validation loss")
    assert losses == pytest.approx([row["validation_loss"] for row in history], 1e-5)
    best = max(history, key=lambda row: row["validation_metrics"]["psnr"])
    assert f"by PSNR): epoch {best['epoch'] + 1}, PSNR " in monitor.best.text
    assert f"MAE {best['validation_metrics']['mae']:.4g} HU" in monitor.best.text
    assert f"epoch {best['epoch'] + 1}, PSNR" in widget.runs.epochCombo.currentText


def test_patches_in_3d_from_the_form_to_a_segmentation_by_clicks(widget, panel, tmp_path):
    needTorch()
    choose(
        widget,
        "ct-body-composition",
        network={"channels": 2, "levels": 2, "norm": "instance", "dimension": 3},
        sampling={"patch": [4, 16, 24], "patches_per_epoch": 6},
        preprocessing={"slice_spacing": "auto"},
        training={"epochs": 1, "batch_size": 2, "ema": None},
    )
    (volume, _segmentation), *_others = addSubjects(3)
    widget.builder.addFromSceneButton.click()
    clickThrough(widget, widget.check.button, widget.augmentation.button, widget.ui.estimateButton)
    assert "No faults" in widget.check.summary.text
    assert widget.augmentation.message.text == ""
    assert "It will take about" in widget.ui.summaryLabel.text
    clickThrough(widget, widget.ui.trainButton)
    assert "Finished" in widget.monitor.status.text
    assert sorted(widget.monitor.preview.nodes) == ["input", "prediction", "target"]
    clickThrough(widget, widget.runs.useButton)
    translate = panel("DeepTranslate")
    translate.inputs.setVolumeNode(0, volume)
    applied(translate)
    (made,) = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if isMade(n)]
    assert made.GetSegmentation().GetNumberOfSegments() == 3


def test_another_recipe_chooses_no_target_that_nobody_chose(widget):
    choose(widget, "ct-body-composition")
    subjects = addSubjects(2)
    widget.builder.addFromSceneButton.click()
    choose(widget, "ct-denoise")
    assert [pair.targetNode for pair in widget.builder.cohort()] == [None, None]
    choose(widget, "mr-to-ct")
    assert [row.targetNode for row in widget.builder.cases.rows] == [None, None]
    choose(widget, "ct-body-composition")
    assert not widget.ui.trainButton.enabled
    # The rows get their segmentations back, and no second row each.
    widget.builder.addFromSceneButton.click()
    found = [(pair.volumeNode, pair.targetNode) for pair in widget.builder.cohort()]
    assert found == [tuple(subject) for subject in subjects]
