"""Trainings from the panel and the console, by the real worker on phantoms."""

import json

import numpy as np
import pytest
import slicer
from train_samples import STILL, addSubject, addSubjects, tinyRecipe, waitUntil, weightsOf
from translate_samples import needTorch

from DeepTranslateLib.image.files import read_image
from DeepTranslateLib.jobs import Stopped
from DeepTranslateLib.model import read_model
from DeepTranslateLib.mrml.cohorts import Pair
from DeepTranslateLib.mrml.training import continueTraining, train
from DeepTranslateLib.mrml.trainingaids import exportEpoch
from DeepTranslateLib.mrml.volumes import imageFromVolume
from DeepTranslateLib.runfolder import read_run
from DeepTranslateLib.schema import to_json

LONG = 100_000


@pytest.fixture
def widget(trainPanel):
    needTorch()
    trainPanel.recipes.setRecipe(tinyRecipe())
    return trainPanel


@pytest.fixture
def pairs():
    needTorch()
    return [Pair(volume, segmentation) for volume, segmentation in addSubjects(3)]


def click(widget, button):
    assert button.enabled, widget.ui.summaryLabel.text
    button.click()


def finished(widget):
    waitUntil(lambda: not widget.slot.busy)


def test_from_nodes_to_a_model_by_clicks(widget, tmp_path):
    addSubjects(3, labelled=(1, 2))
    widget.builder.addFromSceneButton.click()
    click(widget, widget.check.button)
    finished(widget)
    assert "No faults" in widget.check.summary.text
    assert "subject0 (1-2)" in widget.check.split.text
    click(widget, widget.ui.estimateButton)
    finished(widget)
    assert "It will take about" in widget.ui.summaryLabel.text
    assert "4 slices train, 2 validate" in widget.ui.summaryLabel.text
    widget.recipes.form.editors[("training", "epochs")].widget.value = 3
    assert "It will take" not in widget.ui.summaryLabel.text
    click(widget, widget.ui.trainButton)
    assert not widget.ui.trainButton.enabled
    finished(widget)
    model = read_model(tmp_path / "run" / "model.dtmodel")
    assert model.recipe.name == "tiny"
    assert "Finished" in widget.monitor.status.text
    table = widget.monitor.curves.tableNode
    assert table.GetNumberOfRows() == 3
    columns = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert columns[:3] == ["epoch", "training loss", "validation loss"]
    history = read_run(tmp_path / "run").history
    losses = slicer.util.arrayFromTableColumn(table, "validation loss")
    assert np.allclose(losses, [row["validation_loss"] for row in history])
    click(widget, widget.runs.useButton)
    (added,) = (tmp_path / "models").glob("*.dtmodel")
    assert weightsOf(added) == weightsOf(model.path)
    chosen = slicer.util.getModuleLogic("DeepTranslate").getParameterNode().model
    assert chosen == added.name


def test_the_preview_lies_where_its_slice_is(widget, tmp_path):
    volumes = dict(zip(("subject0", "subject1", "subject2"), addSubjects(3), strict=True))
    widget.builder.addFromSceneButton.click()
    before = len(slicer.util.getNodesByClass("vtkMRMLVolumeNode"))
    click(widget, widget.ui.trainButton)
    finished(widget)
    nodes = widget.monitor.preview.nodes
    assert sorted(nodes) == ["input", "prediction", "target"]
    assert len(slicer.util.getNodesByClass("vtkMRMLVolumeNode")) == before + 3
    (held,) = json.loads((tmp_path / "run" / "cohort.json").read_text())["validation"]
    whole = imageFromVolume(volumes[held["subject"]][0])
    for role, node in nodes.items():
        image = imageFromVolume(node)
        assert sorted(image.shape)[0] == 1, role
        middle = image.ras((np.array(image.shape[::-1]) - 1) / 2)
        index = whole.ijk(middle)
        assert np.allclose(index, np.rint(2 * index) / 2, atol=1e-4), role
    k = round(whole.ijk(imageFromVolume(nodes["input"]).ras([0, 0, 0]))[2])
    for role, file in (
        ("input", "input.nrrd"),
        ("target", "target.nrrd"),
        ("prediction", "epoch_0002.nrrd"),
    ):
        saved, node = read_image(tmp_path / "run" / "previews" / file), imageFromVolume(nodes[role])
        assert node.same_grid(saved), role
        assert np.array_equal(node.voxels, saved.voxels), role
    shown = imageFromVolume(nodes["input"]).oriented("LPS").voxels[0]
    assert np.array_equal(shown, whole.oriented("LPS").voxels[k])
    # The same nodes again, not a second set, when the training goes on.
    widget.runs.epochs.value = 4
    click(widget, widget.runs.continueButton)
    finished(widget)
    assert len(slicer.util.getNodesByClass("vtkMRMLVolumeNode")) == before + 3
    assert widget.monitor.curves.tableNode.GetNumberOfRows() == 4


def test_segmentations_are_shown_again_after_the_preview(widget):
    displays = [segmentation.GetDisplayNode() for _volume, segmentation in addSubjects(3)]
    displays[0].SetVisibility2D(False)
    widget.builder.addFromSceneButton.click()
    click(widget, widget.ui.trainButton)
    finished(widget)
    assert not any(display.GetVisibility2D() for display in displays)
    widget.monitor.showViews.click()
    assert [bool(display.GetVisibility2D()) for display in displays] == [False, True, True]


def test_pause_and_resume_gives_the_weights_of_a_run_without_a_break(widget, pairs, tmp_path):
    recipe = tinyRecipe(epochs=60)
    whole = train(recipe, pairs, tmp_path / "whole", device="cpu")
    widget.recipes.setRecipe(recipe)
    widget.ui.deviceComboBox.currentIndex = 1
    widget.builder.addFromSceneButton.click()
    click(widget, widget.ui.trainButton)
    waitUntil(lambda: read_events(tmp_path / "run", "epoch") >= 2 or not widget.slot.busy)
    click(widget, widget.monitor.pauseButton)
    finished(widget)
    assert "Paused" in widget.monitor.status.text
    done = read_run(tmp_path / "run").epochs_done
    assert 0 < done < 60
    assert not (tmp_path / "run" / "model.dtmodel").exists()
    click(widget, widget.monitor.resumeButton)
    finished(widget)
    assert weightsOf(tmp_path / "run" / "model.dtmodel") == weightsOf(whole)
    assert widget.monitor.curves.tableNode.GetNumberOfRows() == 60


def read_events(folder, kind):
    path = folder / "events.jsonl"
    return path.read_text().count(f'"event": "{kind}"') if path.is_file() else 0


def test_stop_and_keep_the_best_makes_the_model_of_the_best_epoch(widget, tmp_path):
    addSubjects(3)
    widget.recipes.setRecipe(tinyRecipe(epochs=LONG))
    widget.builder.addFromSceneButton.click()
    click(widget, widget.ui.trainButton)
    waitUntil(lambda: read_events(tmp_path / "run", "epoch") >= 2 or not widget.slot.busy)
    click(widget, widget.monitor.keepBestButton)
    finished(widget)
    run = read_run(tmp_path / "run")
    losses = [row["validation_loss"] for row in run.history]
    assert 2 <= len(losses) < LONG
    assert read_model(run.model).card.epoch == 1 + int(np.argmin(losses))


def test_a_cancelled_training_is_resumed_where_it_was(widget, tmp_path):
    addSubjects(3)
    widget.recipes.setRecipe(tinyRecipe(epochs=LONG))
    widget.builder.addFromSceneButton.click()
    click(widget, widget.ui.trainButton)
    waitUntil(lambda: read_events(tmp_path / "run", "epoch") >= 1 or not widget.slot.busy)
    click(widget, widget.monitor.cancelButton)
    finished(widget)
    assert "Cancelled" in widget.monitor.status.text
    assert widget.ui.trainButton.enabled
    run = read_run(tmp_path / "run")
    done = run.epochs_done
    assert run.state == "unfinished"
    click(widget, widget.monitor.resumeButton)
    waitUntil(lambda: read_run(tmp_path / "run").epochs_done >= done + 2 or not widget.slot.busy)
    click(widget, widget.monitor.keepBestButton)
    finished(widget)
    again = read_run(tmp_path / "run")
    assert again.epochs_done >= done + 2
    assert [row["epoch"] for row in again.history] == list(range(again.epochs_done))
    assert again.history[:done] == run.history[:done]
    assert again.model is not None


def test_what_prepares_a_training_is_folded_away_while_it_runs(widget, tmp_path):
    ui = widget.ui
    preparing = [ui.imagesSection, ui.recipeSection, ui.checkSection]
    addSubjects(3)
    widget.recipes.setRecipe(tinyRecipe(epochs=LONG))
    widget.builder.addFromSceneButton.click()
    ui.checkSection.collapsed = True
    ui.continueSection.collapsed = True
    click(widget, ui.trainButton)
    assert all(section.collapsed for section in preparing)
    waitUntil(lambda: read_events(tmp_path / "run", "epoch") >= 1 or not widget.slot.busy)
    click(widget, widget.monitor.cancelButton)
    finished(widget)
    # Something is to be changed, it seems: as it was before.
    assert [section.collapsed for section in preparing] == [False, False, True]
    click(widget, widget.monitor.resumeButton)
    waitUntil(lambda: widget.slot.job is not None)
    click(widget, widget.monitor.keepBestButton)
    finished(widget)
    assert all(section.collapsed for section in preparing)
    assert not ui.continueSection.collapsed
    ui.imagesSection.collapsed = ui.recipeSection.collapsed = ui.checkSection.collapsed = False


def test_any_kept_epoch_becomes_a_model(widget, tmp_path):
    addSubjects(3)
    widget.recipes.setRecipe(tinyRecipe(epochs=3, keep_every=1))
    widget.builder.addFromSceneButton.click()
    click(widget, widget.ui.trainButton)
    finished(widget)
    run = read_run(tmp_path / "run")
    assert run.saved_epochs == (1, 2, 3)
    other = next(epoch for epoch in (1, 2) if epoch != run.best_epoch)
    widget.runs.selectEpoch(other)
    click(widget, widget.runs.addButton)
    finished(widget)
    (added,) = (tmp_path / "models").glob("*.dtmodel")
    assert added.name == f"run-epoch-{other}.dtmodel"
    assert read_model(added).card.epoch == other
    assert weightsOf(added) == weightsOf(exportEpoch(run.folder, other, tmp_path / "a.dtmodel"))
    assert weightsOf(added) != weightsOf(run.model)


def test_a_model_is_trained_further(widget, pairs, tmp_path):
    first = train(tinyRecipe(epochs=2), pairs, tmp_path / "first", device="cpu")
    content = json.loads(widget.recipes.jsonText())
    content["network"]["channels"] = 3
    widget.recipes.text.plainText = json.dumps(content)
    widget.startModel.choose(first)
    assert widget.recipes.recipe().network == read_model(first).recipe.network
    widget.builder.addFromSceneButton.click()
    assert "starting from" in widget.ui.summaryLabel.text
    click(widget, widget.ui.trainButton)
    finished(widget)
    scratch = train(tinyRecipe(epochs=2), pairs, tmp_path / "scratch", device="cpu")
    further = read_run(tmp_path / "run").history[0]["validation_loss"]
    assert further < read_run(scratch.parent).history[0]["validation_loss"]


def test_a_model_with_another_network_is_refused_before_anything_starts(pairs, tmp_path):
    first = train(tinyRecipe(epochs=1), pairs, tmp_path / "first", device="cpu")
    for part, field, value in (("network", "channels", 5), ("sampling", "context", 1)):
        other = to_json(tinyRecipe(epochs=1))
        other[part][field] = value
        with pytest.raises(ValueError, match="cannot be the beginning of this training"):
            train(other, pairs, tmp_path / "second", initialModel=first)
        assert not (tmp_path / "second").exists()


def test_what_a_model_has_learnt_is_transferred_to_other_labels_by_clicks(widget, pairs, tmp_path):
    first = train(tinyRecipe(epochs=1), pairs, tmp_path / "first", device="cpu")
    box = widget.ui.transferCheckBox
    assert not box.visible
    widget.startModel.choose(first)
    assert box.visible
    content = json.loads(widget.recipes.jsonText())
    content["target"]["labels"] = content["target"]["labels"][:1]
    content["training"].update(frozen="encoder", epochs=1)
    widget.recipes.text.plainText = json.dumps(content)
    widget.builder.addFromSceneButton.click()
    click(widget, widget.ui.trainButton)
    finished(widget)
    assert "transfer it to another task" in widget.monitor.status.text
    assert not (tmp_path / "run").exists()
    box.click()
    click(widget, widget.ui.copyScriptButton)
    assert "transfer=True" in slicer.app.clipboard().text()
    click(widget, widget.ui.trainButton)
    finished(widget)
    # The first convolution of the encoder, bit for bit.
    before, after = (safetensorsOf(m) for m in (first, tmp_path / "run" / "model.dtmodel"))
    assert set(before) == set(after)
    shapes = {name for name in before if before[name].shape != after[name].shape}
    assert shapes  # the outputs
    same = {name for name in set(before) - shapes if np.array_equal(before[name], after[name])}
    assert same
    assert set(before) - shapes - same  # the decoder has learnt


def safetensorsOf(model):
    """Arrays of a model's weights, read by the format's description: length, header, bytes."""
    content = weightsOf(model)
    length = int.from_bytes(content[:8], "little")
    arrays = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            assert entry["dtype"] == "F32"
            array = np.frombuffer(content[8 + length + begin : 8 + length + end], np.float32)
            arrays[name] = array.reshape(entry["shape"])
    return arrays


def test_faults_of_a_cohort_are_shown_with_what_to_do(widget):
    volume, segmentation = addSubject(0, "anna")
    addSubject(1, "bert")
    addSubject(2, "carl")
    widget.builder.addFromSceneButton.click()
    widget.builder.cases.table.item(1, 3).setText("0;99")
    copy = widget.builder.cases.add(volume, segmentation, "dora")
    assert copy in widget.builder.cases.rows
    click(widget, widget.check.button)
    finished(widget)
    table = widget.check.table
    rows = [[table.item(r, c).text() for c in range(3)] for r in range(table.rowCount)]
    assert ("dora", True) in [(row[0], "anna" in row[1]) for row in rows]
    (outside,) = [row for row in rows if row[0] == "bert"]
    assert "99" in outside[1]
    assert "first slice is 0" in outside[2]
    assert "To be mended" in widget.check.summary.text


def test_augmentation_is_previewed_as_before_and_after(widget, tmp_path):
    addSubjects(1)
    content = json.loads(widget.recipes.jsonText())
    content["augmentation"].update(rotation=180.0, flip_up_down=1.0)
    widget.recipes.text.plainText = json.dumps(content)
    widget.builder.addFromSceneButton.click()
    click(widget, widget.augmentation.button)
    finished(widget)
    pictures = []
    for number, picture in enumerate(widget.augmentation.pictures):
        path = tmp_path / f"{number}.png"
        assert shownPixmap(picture).save(str(path))
        pictures.append(path.read_bytes())
    assert pictures[0] != pictures[1]


def test_the_shown_augmentation_follows_the_recipe(widget, tmp_path):
    addSubjects(1)
    setAugmentation(widget, flip_left_right=0.0)
    widget.builder.addFromSceneButton.click()
    click(widget, widget.augmentation.button)
    finished(widget)
    before, after = (saved(each, tmp_path) for each in widget.augmentation.pictures)
    assert after == before
    setAugmentation(widget, flip_left_right=1.0)
    waitUntil(lambda: saved(widget.augmentation.pictures[1], tmp_path) != after)
    assert saved(widget.augmentation.pictures[0], tmp_path) == before


def setAugmentation(widget, **fields):
    """Nothing random happens to a slice but what is named."""
    content = json.loads(widget.recipes.jsonText())
    content["augmentation"].update({**STILL, **fields})
    widget.recipes.text.plainText = json.dumps(content)


def saved(picture, folder):
    path = folder / "picture.png"
    assert shownPixmap(picture).save(str(path))
    return path.read_bytes()


def shownPixmap(label):
    pixmap = label.pixmap
    return pixmap() if callable(pixmap) else pixmap


def test_training_on_faulty_images_lists_the_faults_and_leaves_no_folder(widget, tmp_path):
    addSubjects(3)
    widget.builder.addFromSceneButton.click()
    widget.builder.cases.table.item(1, 3).setText("0;99")
    click(widget, widget.ui.trainButton)
    finished(widget)
    assert "section 3" in widget.monitor.status.text
    assert widget.check.table.rowCount == 1
    assert "99" in widget.check.table.item(0, 1).text()
    assert not (tmp_path / "run").exists()
    widget.builder.cases.table.item(1, 3).setText("0")
    click(widget, widget.ui.trainButton)
    finished(widget)
    assert (tmp_path / "run" / "model.dtmodel").is_file()


def test_copy_as_python_is_a_script_that_trains_the_same_weights(widget, tmp_path):
    addSubjects(3)
    widget.builder.addFromSceneButton.click()
    widget.builder.segments.combo("visceral fat").currentIndex = 2
    widget.ui.deviceComboBox.currentIndex = 1
    widget.ui.runFolderEdit.currentPath = str(tmp_path / "script")
    click(widget, widget.ui.copyScriptButton)
    script = slicer.app.clipboard().text()
    names = {}
    exec(script, names)
    widget.ui.runFolderEdit.currentPath = str(tmp_path / "panel")
    click(widget, widget.ui.trainButton)
    finished(widget)
    assert names["model"] == tmp_path / "script" / "model.dtmodel"
    assert weightsOf(names["model"]) == weightsOf(tmp_path / "panel" / "model.dtmodel")
    target = read_image(next((tmp_path / "panel" / "images").glob("001_*_target.nrrd")))
    assert set(np.unique(target.voxels)) == {0, 1, 3}


def test_a_folder_that_holds_something_is_refused_and_stays_as_it_is(pairs, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="Choose a new folder"):
        train(tinyRecipe(), pairs, folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    model = train(tinyRecipe(epochs=1), pairs, tmp_path / "trained")
    before = model.read_bytes()
    with pytest.raises(ValueError, match="already holds a training"):
        train(tinyRecipe(epochs=1), pairs, tmp_path / "trained")
    assert model.read_bytes() == before


def test_a_training_is_continued_without_the_scene(pairs, tmp_path):
    events = []

    def stopSoon(event):
        events.append(event)
        if event["event"] == "epoch":
            (tmp_path / "run" / "stop").touch()

    with pytest.raises(Stopped):
        train(tinyRecipe(epochs=40), pairs, tmp_path / "run", device="cpu", onEvent=stopSoon)
    whole = train(tinyRecipe(epochs=40), pairs, tmp_path / "whole", device="cpu")
    slicer.mrmlScene.Clear(0)
    model = continueTraining(tmp_path / "run")
    assert weightsOf(model) == weightsOf(whole)
    with pytest.raises(ValueError, match="Ask for more epochs"):
        continueTraining(tmp_path / "run")
    continueTraining(tmp_path / "run", epochs=42)
    assert read_run(tmp_path / "run").epochs_done == 42


def test_closing_the_scene_ends_a_training_that_can_go_on(widget, tmp_path):
    addSubjects(3)
    widget.recipes.setRecipe(tinyRecipe(epochs=LONG))
    widget.builder.addFromSceneButton.click()
    click(widget, widget.ui.trainButton)
    waitUntil(lambda: read_events(tmp_path / "run", "epoch") >= 1 or not widget.slot.busy)
    slicer.mrmlScene.Clear(0)
    finished(widget)
    assert read_run(tmp_path / "run").state == "unfinished"
    assert widget.builder.cases.table.rowCount == 0
