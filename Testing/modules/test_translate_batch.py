"""The Batch tab: many volumes, one row each."""

import numpy as np
import pydicom
import pytest
import qt
import slicer
import translate_samples as samples
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image

NAME, STATE = range(2)


@pytest.fixture
def widget(panel, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    samples.model("labels", folder)
    with samples.modelsFolder(folder):
        widget = panel("DeepTranslate")
        widget.ui.tabWidget.currentIndex = 1
        widget.batch.sourceComboBox.currentIndex = 0
        yield widget
        widget.batch.sourceComboBox.currentIndex = 0
        widget.ui.tabWidget.currentIndex = 0


def column(widget, number):
    table = widget.batch.table
    return [table.item(row, number).text() for row in range(table.rowCount)]


def states(widget):
    return [text.partition("\n")[0] for text in column(widget, STATE)]


def images(folder, names=("a", "b")):
    folder.mkdir()
    for seed, name in enumerate(names, start=50):
        write_image(Image(samples.voxels(seed)[0], samples.affine()), folder / f"{name}.nrrd")
    return folder


def test_rows_are_the_volumes_of_the_scene(widget):
    assert not widget.ui.applyButton.enabled
    assert "scene" in widget.ui.applyButton.toolTip
    samples.volumeNode("A")
    samples.volumeNode("B")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    widget.batch.refreshButton.click()
    assert column(widget, NAME) == ["A", "B"]
    assert widget.ui.applyButton.enabled
    assert "2" in widget.ui.applyButton.text


def test_one_broken_volume_does_not_stop_the_rest(widget):
    samples.volumeNode("A", 50)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "broken")
    samples.volumeNode("C", 51)
    widget.batch.refresh()
    samples.applied(widget)
    assert states(widget) == ["done", "failed", "done"]
    results = column(widget, STATE)
    assert "mL" in results[0]
    assert "voxels" in results[1]
    assert samples.nodeNames("vtkMRMLSegmentationNode") == ["A tissues", "C tissues"]
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert table.GetNumberOfRows() == 4
    assert {table.GetCellText(row, 0) for row in range(4)} == {"A", "C"}
    assert "2 done" in widget.ui.resultLabel.text
    assert "1 failed" in widget.ui.resultLabel.text
    assert not samples.errorDialogs()


def test_only_checked_volumes_are_translated(widget):
    for name in ("A", "B", "C"):
        samples.volumeNode(name)
    widget.batch.refresh()
    widget.batch.noneButton.click()
    assert not widget.ui.applyButton.enabled
    widget.batch.table.item(1, NAME).setCheckState(qt.Qt.Checked)
    assert widget.ui.applyButton.enabled
    samples.applied(widget)
    assert states(widget) == ["", "done", ""]
    assert samples.nodeNames("vtkMRMLSegmentationNode") == ["B tissues"]


def test_cancel_keeps_what_is_done(widget):
    samples.volumeNode("A")
    long = np.tile(samples.voxels(50, slices=1, size=256)[0], (400, 1, 1))
    samples.volumeNode("B", array=long)
    samples.volumeNode("C")
    widget.batch.refresh()
    widget.ui.applyButton.click()
    samples.waitFor(lambda: "%" in states(widget)[1] and states(widget)[0] == "done")
    assert states(widget)[2] == "waiting"
    widget.progress.cancelButton.click()
    samples.waitFor(lambda: widget.monitor.translation is None, 5)
    assert states(widget) == ["done", "cancelled", "cancelled"]
    assert samples.nodeNames("vtkMRMLSegmentationNode") == ["A tissues"]
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert table.GetNumberOfRows() == 2


def test_closing_the_scene_ends_a_batch_and_empties_its_rows(widget):
    long = np.tile(samples.voxels(50, slices=1, size=256)[0], (400, 1, 1))
    samples.volumeNode("A", array=long)
    samples.volumeNode("B")
    widget.batch.refresh()
    widget.ui.applyButton.click()
    samples.waitFor(lambda: "%" in states(widget)[0])
    slicer.mrmlScene.Clear(0)
    samples.waitFor(lambda: widget.monitor.translation is None, 5)
    assert column(widget, NAME) == []
    assert samples.nodeNames("vtkMRMLSegmentationNode") == []
    assert not samples.errorDialogs()


def test_a_folder_is_translated_into_a_folder(widget, tmp_path):
    folder = images(tmp_path / "in")
    (folder / "broken.nrrd").write_text("nonsense")
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    widget.batch.sourceComboBox.currentIndex = 1
    assert not widget.ui.applyButton.enabled
    widget.batch.folderEdit.currentPath = str(folder)
    assert column(widget, NAME) == ["a", "b", "broken"]
    assert "output folder" in widget.ui.applyButton.toolTip
    widget.batch.outputEdit.currentPath = str(tmp_path / "out")
    samples.applied(widget)
    assert states(widget) == ["done", "done", "failed"]
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["a_labels.nrrd", "b_labels.nrrd", "tissue_volumes.csv"]
    labels = read_image(tmp_path / "out" / "a_labels.nrrd")
    assert np.mean(labels.voxels == samples.voxels(50)[1]) > 0.9
    after = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    assert after == before
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert table.GetNumberOfRows() == 4


def test_a_folder_without_images_is_explained(widget, tmp_path):
    (tmp_path / "empty").mkdir()
    widget.batch.sourceComboBox.currentIndex = 1
    widget.batch.folderEdit.currentPath = str(tmp_path / "empty")
    assert "holds no images" in widget.ui.applyButton.toolTip


def test_the_script_of_a_batch_does_the_same(widget, tmp_path):
    folder = images(tmp_path / "in", ("a", "b", "c"))
    widget.batch.sourceComboBox.currentIndex = 1
    widget.batch.folderEdit.currentPath = str(folder)
    widget.batch.outputEdit.currentPath = str(tmp_path / "out")
    widget.batch.table.item(1, NAME).setCheckState(qt.Qt.Unchecked)
    widget.ui.copyScriptButton.click()
    exec(compile(slicer.app.clipboard().text(), "script", "exec"), {})
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["a_labels.nrrd", "c_labels.nrrd", "tissue_volumes.csv"]


def test_what_was_made_here_is_not_checked_again(widget, tmp_path):
    samples.model("volume", tmp_path / "models", "volumes")
    widget.models.refresh("volumes.dtmodel")
    samples.volumeNode("A")
    widget.batch.refresh()
    samples.applied(widget)
    widget.batch.refresh()
    assert column(widget, NAME) == ["A", "A translated"]
    assert widget.batch.checkedRows() == [0]


def test_the_outcome_of_a_row_can_be_shown(widget):
    first, second = samples.volumeNode("A"), samples.volumeNode("B")
    widget.batch.refresh()
    samples.applied(widget)
    shown = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    for row, volume in ((0, first), (1, second), (0, first)):
        widget.monitor.showRow(row)
        assert shown.GetBackgroundVolumeID() == volume.GetID()
        assert visibleSegmentations() == [f"{volume.GetName()} tissues"]


def test_after_a_batch_the_first_result_alone_lies_over_its_volume(widget):
    users = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn by hand")
    users.CreateDefaultDisplayNodes()
    first = samples.volumeNode("A")
    samples.volumeNode("B")
    widget.batch.refresh()
    samples.applied(widget)
    shown = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert shown.GetBackgroundVolumeID() == first.GetID()
    assert visibleSegmentations() == ["drawn by hand", "A tissues"]


def visibleSegmentations():
    return [
        node.GetName()
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetDisplayVisibility()
    ]


def writeSeries(folder, description, array, number):
    """A CT series as a scanner writes it, one file a slice."""
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    for k, pixels in enumerate(array):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header = Dataset()
        header.file_meta, header.preamble = meta, bytes(128)
        header.SOPClassUID = CTImageStorage
        header.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3", series
        header.SeriesDescription, header.SeriesNumber = description, number
        header.Modality, header.InstanceNumber = "CT", k + 1
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [-30, 12, 100 + 5 * k]
        header.PixelSpacing = [2, 2]
        header.Rows, header.Columns = pixels.shape
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        header.HighBit, header.PixelRepresentation = 15, 1
        header.RescaleSlope, header.RescaleIntercept = 1, 0
        header.PixelData = pixels.astype("<i2").tobytes()
        header["PixelData"].VR = "OW"
        path = folder / f"{number}_{k}.dcm"
        pydicom.dcmwrite(path, header, enforce_file_format=True)


def test_of_a_dicom_study_each_series_is_a_row_and_a_localizer_is_left_out(widget, tmp_path):
    study = tmp_path / "study"
    # All in one folder, as exports from a PACS are.
    writeSeries(study, "Localizer", samples.voxels(1, slices=1)[0], 1)
    writeSeries(study, "Abdomen 5.0", samples.voxels(50)[0], 2)
    writeSeries(study, "Thorax 5.0", samples.voxels(51)[0], 3)
    widget.batch.sourceComboBox.currentIndex = 1
    widget.batch.folderEdit.currentPath = str(study)
    widget.batch.outputEdit.currentPath = str(tmp_path / "out")
    assert column(widget, NAME) == ["Localizer", "Abdomen 5.0", "Thorax 5.0"]
    assert widget.batch.checkedRows() == [1, 2]
    samples.applied(widget)
    assert states(widget) == ["", "done", "done"]
    labels = read_image(tmp_path / "out" / "Abdomen 5.0_labels.nrrd")
    assert np.mean(labels.voxels == samples.voxels(50)[1]) > 0.9
    np.testing.assert_allclose(labels.affine, samples.affine(), atol=1e-6)
