"""The Translate panel, clicked as its user clicks it, with a real worker."""

import struct
import time
import zlib

import numpy as np
import pytest
import qt
import slicer
import translate_samples as samples
import vtk

from DeepTranslateLib.mrml.jobs import applicationWorker
from DeepTranslateLib.mrml.modellibrary import addModel


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    with samples.modelsFolder(folder):
        yield folder


@pytest.fixture
def model(library):
    return samples.model("labels", library)


@pytest.fixture
def widget(panel, model):
    return panel("DeepTranslate")


def chosen(widget, volumeNode):
    widget.inputs.selector(0).setCurrentNode(volumeNode)
    return volumeNode


def longVolume(name="long"):
    """A volume that takes the worker some seconds."""
    array = np.tile(samples.voxels(50, slices=1, size=256)[0], (400, 1, 1))
    return samples.volumeNode(name, array=array)


def test_without_a_model_the_panel_says_what_to_do(panel, library):
    widget = panel("DeepTranslate")
    assert not widget.ui.applyButton.enabled
    assert "model" in widget.ui.applyButton.toolTip
    assert widget.models.emptyWidget.visible or not widget.parent.visible
    assert "Train" in widget.models.trainButton.text
    assert widget.models.model is None


def test_without_a_volume_apply_says_that_one_is_needed(widget):
    assert not widget.ui.applyButton.enabled
    assert "volume" in widget.ui.applyButton.toolTip
    chosen(widget, samples.volumeNode())
    assert widget.ui.applyButton.enabled


def test_apply_makes_a_segmentation_and_a_table_and_shows_them(widget):
    volumeNode = chosen(widget, samples.volumeNode())
    samples.applied(widget)
    assert samples.nodeNames("vtkMRMLSegmentationNode") == ["CT tissues"]
    assert samples.nodeNames("vtkMRMLTableNode") == ["CT statistics"]
    segmentation = slicer.util.getNode("CT tissues")
    counts = samples.segmentVoxels(segmentation, volumeNode)
    for name, value in (("dark", samples.DARK), ("bright", samples.BRIGHT)):
        millilitres = np.sum(counts == value) * 0.02
        assert f"{millilitres:.1f}" in widget.ui.resultLabel.text, name
    layoutManager = slicer.app.layoutManager()
    assert layoutManager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    shown = layoutManager.sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert shown.GetBackgroundVolumeID() == volumeNode.GetID()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActiveTableID() == slicer.util.getNode("CT statistics").GetID()
    assert segmentation.GetDisplayVisibility()
    assert not samples.errorDialogs()


def test_a_model_of_volumes_shows_its_result_over_the_input(panel, library):
    samples.model("volume", library)
    widget = panel("DeepTranslate")
    volumeNode = chosen(widget, samples.volumeNode())
    assert not widget.ui.outputSegmentationSelector.isVisibleTo(widget.parent)
    assert widget.ui.outputVolumeSelector.isVisibleTo(widget.parent)
    samples.applied(widget)
    shown = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert shown.GetBackgroundVolumeID() == volumeNode.GetID()
    assert shown.GetForegroundVolumeID() == slicer.util.getNode("CT translated").GetID()


def test_apply_stays_closed_while_the_output_is_the_input(panel, library):
    samples.model("volume", library)
    widget = panel("DeepTranslate")
    volumeNode = chosen(widget, samples.volumeNode())
    widget.ui.outputVolumeSelector.setCurrentNode(volumeNode)
    assert not widget.ui.applyButton.enabled
    assert "overwrite" in widget.ui.applyButton.toolTip


def test_progress_says_the_stage_and_the_panel_stays_usable(widget):
    chosen(widget, longVolume())
    said = []
    widget.ui.applyButton.click()
    assert not widget.ui.applyButton.enabled
    end = time.monotonic() + 60
    while widget.monitor.translation is not None and time.monotonic() < end:
        slicer.app.processEvents()
        said.append(widget.progress.label.text)
    assert any("Translating" in text and "of 400 slices" in text for text in said)
    assert any("a second" in text and "left" in text for text in said)
    assert widget.ui.applyButton.enabled


def test_cancel_ends_the_worker_and_leaves_nothing_half_made(widget):
    chosen(widget, longVolume())
    widget.ui.applyButton.click()
    samples.waitFor(lambda: "Translating" in widget.progress.label.text)
    worker = applicationWorker()
    began = time.monotonic()
    widget.progress.cancelButton.click()
    samples.waitFor(lambda: widget.monitor.translation is None)
    assert time.monotonic() - began < 2
    samples.waitFor(lambda: worker.pid is None, 2)
    assert samples.nodeNames("vtkMRMLSegmentationNode") == []
    assert samples.nodeNames("vtkMRMLTableNode") == []
    assert not samples.errorDialogs()
    chosen(widget, samples.volumeNode("next"))
    samples.applied(widget)
    assert samples.nodeNames("vtkMRMLSegmentationNode") == ["next tissues"]


def test_closing_the_scene_cancels(widget):
    chosen(widget, longVolume())
    widget.ui.applyButton.click()
    samples.waitFor(lambda: "Translating" in widget.progress.label.text)
    slicer.mrmlScene.Clear(0)
    samples.waitFor(lambda: widget.monitor.translation is None, 5)
    assert samples.nodeNames("vtkMRMLSegmentationNode") == []
    assert not samples.errorDialogs()


def test_a_volume_without_voxels_is_explained_in_a_dialog(widget):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "never loaded")
    chosen(widget, empty)
    before = slicer.mrmlScene.GetNumberOfNodes()
    samples.applied(widget)
    message = samples.closedErrorMessage()
    assert "never loaded" in message
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_a_model_that_was_deleted_is_explained_in_a_dialog(widget, model):
    chosen(widget, samples.volumeNode())
    model.unlink()
    samples.applied(widget)
    assert "tiny.dtmodel" in samples.closedErrorMessage()
    assert samples.nodeNames("vtkMRMLSegmentationNode") == []


def test_a_volume_unlike_the_training_images_brings_a_warning_and_no_barrier(widget):
    chosen(widget, samples.volumeNode("like"))
    assert widget.ui.warningLabel.text == ""
    chosen(widget, samples.volumeNode("unlike", array=samples.voxels(50)[0] // 4 + 3000))
    assert widget.ui.warningLabel.text
    assert widget.ui.applyButton.enabled


def test_the_component_is_asked_for_only_where_there_are_several(widget):
    chosen(widget, samples.volumeNode())
    assert not widget.inputs.componentSpinBox.isVisibleTo(widget.parent)
    array = samples.voxels(50)[0]
    colour = samples.volumeNode("RGB", array=np.stack([array, 0 * array, 0 * array], -1))
    chosen(widget, colour)
    assert widget.inputs.componentSpinBox.isVisibleTo(widget.parent)
    assert widget.inputs.componentSpinBox.maximum == 2
    widget.inputs.componentSpinBox.value = 1
    assert widget.inputs.component == 1
    widget.inputs.componentSpinBox.value = 0
    samples.applied(widget)
    assert samples.nodeNames("vtkMRMLSegmentationNode") == ["RGB tissues"]


def test_choices_survive_a_scene_file(widget, library, tmp_path):
    samples.model("labels", library, "another")
    samples.volumeNode("first")
    chosen(widget, samples.volumeNode("second"))
    widget.models.refresh("another.dtmodel")
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "kept")
    widget.ui.outputSegmentationSelector.setCurrentNode(output)
    widget.ui.closedSurfaceCheckBox.click()
    widget.ui.deviceComboBox.currentIndex = 1
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    slicer.app.processEvents()
    widget.models.refresh("tiny.dtmodel")
    slicer.util.loadScene(path)
    slicer.app.processEvents()
    assert widget.models.fileName == "another.dtmodel"
    assert widget.inputs.first.GetName() == "second"
    assert widget.ui.outputSegmentationSelector.currentNode().GetName() == "kept"
    assert widget.ui.closedSurfaceCheckBox.checked
    assert widget.options.device == "cpu"


def test_the_panel_works_on_after_the_scene_was_closed(widget):
    chosen(widget, samples.volumeNode())
    samples.applied(widget)
    slicer.mrmlScene.Clear(0)
    slicer.app.processEvents()
    assert not widget.ui.applyButton.enabled
    chosen(widget, samples.volumeNode("new"))
    samples.applied(widget)
    assert samples.nodeNames("vtkMRMLSegmentationNode") == ["new tissues"]


def test_the_copied_script_makes_the_same_voxels(widget):
    volumeNode = chosen(widget, samples.volumeNode("CT [1]"))
    widget.ui.copyScriptButton.click()
    script = slicer.app.clipboard().text()
    samples.applied(widget)
    expected = samples.segmentVoxels(slicer.util.getNode("CT * tissues"), volumeNode)
    before = set(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
    exec(compile(script, "script", "exec"), {})
    (new,) = set(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) - before
    np.testing.assert_array_equal(samples.segmentVoxels(new, volumeNode), expected)


def test_a_broken_model_is_listed_with_its_reason_and_cannot_be_chosen(widget, library):
    (library / "aaa.dtmodel").write_text("nonsense")
    widget.models.refresh()
    assert widget.models.fileName == "tiny.dtmodel"
    combo = widget.models.comboBox
    index = next(n for n in range(combo.count) if "aaa" in combo.itemText(n))
    assert "not usable" in combo.itemText(index)
    assert "damaged" in combo.itemData(index, qt.Qt.ToolTipRole)
    assert not combo.model().item(index).isEnabled()


def test_the_card_says_what_the_model_makes(widget):
    text = widget.models.card.label.text
    for part in ("Tiny labels", "dark", "bright", "10 slices", "Dice", "seed 0"):
        assert part in text
    widget.models.card.detailsButton.click()
    dialog = next(
        each for each in slicer.app.topLevelWidgets() if each.objectName == "modelDetailsDialog"
    )
    assert dialog.visible
    dialog.close()


def test_the_card_shows_the_models_picture(widget, library):
    rows = b"".join(b"\0" + bytes([200, 30, 40] * 8) for _ in range(4))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 4, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    assert not widget.models.card.preview.isVisibleTo(widget.parent)
    samples.model("labels", library, "with picture", png)
    widget.models.refresh("with picture.dtmodel")
    assert widget.models.card.preview.isVisibleTo(widget.parent)
    picture = widget.models.card.preview.pixmap
    assert (picture.width(), picture.height()) == (96, 48)


def test_a_model_file_is_copied_into_the_library_and_never_over_another(widget, library, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    path = samples.model("volume", other, "tiny")
    before = (library / "tiny.dtmodel").read_bytes()
    widget.models.addFiles([str(path)])
    assert (library / "tiny.dtmodel").read_bytes() == before
    assert widget.models.fileName == "tiny 2.dtmodel"
    assert addModel(path).name == "tiny 2.dtmodel"
    assert sorted(each.name for each in library.iterdir()) == ["tiny 2.dtmodel", "tiny.dtmodel"]


def test_a_file_that_is_no_model_is_refused_in_a_dialog(widget, tmp_path):
    path = tmp_path / "wrong.dtmodel"
    path.write_text("nonsense")
    widget.models.addFiles([str(path)])
    assert "wrong.dtmodel" in samples.closedErrorMessage()
    assert widget.models.fileName == "tiny.dtmodel"


def test_a_dropped_model_file_is_added(widget, library, tmp_path):
    path = samples.model("labels", tmp_path, "dropped")

    class Drop:
        """What the user's drag brings; Qt makes such events only from a real pointer."""

        accepted = False

        def type(self):
            return qt.QEvent.Drop

        def mimeData(self):
            data = qt.QMimeData()
            data.setUrls([qt.QUrl.fromLocalFile(str(path))])
            return data

        def acceptProposedAction(self):
            self.accepted = True

    drop = Drop()
    assert widget.models.dropFilter.eventFilter(widget.parent, drop)
    assert drop.accepted
    assert widget.models.fileName == "dropped.dtmodel"
    assert (library / "dropped.dtmodel").is_file()


def test_a_sequence_asks_whether_every_frame_is_meant(widget):
    chosen(widget, samples.volumeNode())
    assert not widget.ui.allFramesCheckBox.isVisibleTo(widget.parent)
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "frames")
    for number in range(2):
        sequence.SetDataNodeAtValue(samples.volumeNode(f"frame {number}"), str(number))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    chosen(widget, browser.GetProxyNode(sequence))
    assert widget.ui.allFramesCheckBox.isVisibleTo(widget.parent)
    assert widget.ui.allFramesCheckBox.checked
    samples.applied(widget)
    (output,) = [
        node for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode") if node is not sequence
    ]
    assert output.GetNumberOfDataNodes() == 2


def test_the_volume_that_the_user_looks_at_is_chosen_first(panel, model):
    samples.volumeNode("first")
    looked = samples.volumeNode("looked at")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActiveVolumeID(looked.GetID())
    widget = panel("DeepTranslate")
    assert widget.inputs.first is looked


def test_an_input_keeps_its_voxels_place_and_name(widget):
    volumeNode = chosen(widget, samples.volumeNode())
    before = slicer.util.arrayFromVolume(volumeNode).copy()
    samples.applied(widget)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volumeNode), before)
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    np.testing.assert_array_equal(slicer.util.arrayFromVTKMatrix(matrix), samples.affine())
    assert volumeNode.GetName() == "CT"
