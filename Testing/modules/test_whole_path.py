"""A radiologist's afternoon on real CT: label, train, translate, measure, save; click by click."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import slicer
from translate_samples import applied, needTorch, waitFor

DATA = Path(
    os.environ.get("DEEPTRANSLATE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not here"),
]
EPOCHS = 30
TISSUES = {1: "subcutaneous fat", 2: "visceral fat", 3: "lean tissue"}
# Name, the CT's file, its labels' file, and the slices that are labelled.
PATIENTS = (
    ("crlm1004", "ct_abdomen_crlm1004/ct", "ct_abdomen_crlm1004/tissue", (4, 12, 20)),
    (
        "ts3mm",
        "ct_abdomen_ts3mm/example_ct_sm",
        "ct_abdomen_ts3mm/example_ct_sm_tissue4_silver",
        (8, 20),
    ),
)


def labelledPatient(name, image, labels, slices):
    """A CT with a segmentation of a few slices, as a person leaves the Segment Editor."""
    volume = slicer.util.loadVolume(str(DATA / f"{image}.nii.gz"), {"name": name})
    tissue = slicer.util.loadLabelVolume(str(DATA / f"{labels}.nii.gz"), {"name": "truth"})
    truth = slicer.util.arrayFromVolume(tissue).copy()
    slicer.mrmlScene.RemoveNode(tissue)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} tissues")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for value, tissueName in TISSUES.items():
        marked = np.zeros(truth.shape, np.uint8)
        marked[list(slices)] = truth[list(slices)] == value
        segmentId = segmentation.GetSegmentation().AddEmptySegment("", tissueName)
        slicer.util.updateSegmentBinaryLabelmapFromArray(marked, segmentation, segmentId, volume)
    return volume, segmentation


def ijkToRas(volume):
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def segmentArrays(segmentation, volume):
    ids = segmentation.GetSegmentation()
    return {
        name: slicer.util.arrayFromSegmentBinaryLabelmap(
            segmentation, ids.GetSegmentIdBySegmentName(name), volume
        ).astype(bool)
        for name in TISSUES.values()
    }


def tableVolumes(table):
    """Millilitres by tissue, as the table node says."""
    vtkTable = table.GetTable()
    names = vtkTable.GetColumnByName("name")
    volumes = vtkTable.GetColumnByName("volume_ml")
    return {names.GetValue(i): volumes.GetValue(i) for i in range(names.GetNumberOfValues())}


def onlyNode(className, part):
    """The one node of a class whose name holds a text."""
    found = [n for n in slicer.util.getNodesByClass(className) if part in n.GetName()]
    assert len(found) == 1, [n.GetName() for n in found]
    return found[0]


def test_real_ct_is_labelled_learnt_translated_measured_and_saved_without_loss(panel, tmp_path):
    needTorch()
    for patient in PATIENTS:
        labelledPatient(*patient)
    ct = slicer.util.getNode("crlm1004")

    train = panel("DeepTranslateTrain")
    train.builder.addFromSceneButton.click()
    assert [row.subject for row in train.builder.cases.rows] == [name for name, *_ in PATIENTS]
    assert [row.chosenSlices() for row in train.builder.cases.rows] == [None, None]
    assert [row.found for row in train.builder.cases.rows] == [patient[-1] for patient in PATIENTS]
    recipe = json.loads(train.recipes.jsonText())
    recipe["network"].update(levels=3, channels=8, norm="group")
    recipe["training"].update(epochs=EPOCHS, ema=None)
    recipe["augmentation"].update(probability=0)
    recipe["optimizer"].update(learning_rate=0.005)
    train.recipes.setJsonText(json.dumps(recipe))
    train.ui.runFolderEdit.currentPath = str(tmp_path / "run")
    assert train.ui.trainButton.enabled, train.ui.summaryLabel.text
    train.ui.trainButton.click()
    waitFor(lambda: not train.slot.busy, 400)
    assert (tmp_path / "run" / "model.dtmodel").is_file(), train.ui.summaryLabel.text
    chart = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert chart
    assert all(node.GetTableNode().GetNumberOfRows() == EPOCHS for node in _series())

    train.runs.useButton.click()
    translate = panel("DeepTranslate")
    translate.inputs.setVolumeNode(0, ct)
    applied(translate, 300)

    segmentation = onlyNode("vtkMRMLSegmentationNode", "crlm1004 tissues_1")
    table = onlyNode("vtkMRMLTableNode", "crlm1004")
    found = segmentArrays(segmentation, ct)
    voxelMillilitres = abs(np.linalg.det(ijkToRas(ct)[:3, :3])) / 1000
    volumes = tableVolumes(table)
    for name, voxels in found.items():
        assert volumes[name] == pytest.approx(voxels.sum() * voxelMillilitres, rel=1e-5)
    # Learnt in seconds, yet no guess: most of what is called lean tissue is soft tissue in HU.
    intensities = slicer.util.arrayFromVolume(ct)[found["lean tissue"]]
    assert found["lean tissue"].sum() * voxelMillilitres > 1000
    assert np.mean((intensities > -50) & (intensities < 150)) > 0.5

    path = str(tmp_path / "afternoon.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    ct = slicer.util.getNode("crlm1004")
    segmentation = onlyNode("vtkMRMLSegmentationNode", segmentation.GetName())
    again = segmentArrays(segmentation, ct)
    for name, voxels in found.items():
        assert np.array_equal(again[name], voxels)
    assert tableVolumes(onlyNode("vtkMRMLTableNode", table.GetName())) == volumes
    assert segmentation.GetAttribute("DeepTranslate.Checksum")
    assert all(node.GetTableNode().GetNumberOfRows() == EPOCHS for node in _series())


def _series():
    nodes = slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    assert nodes
    return nodes
