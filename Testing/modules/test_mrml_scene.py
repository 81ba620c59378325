"""Outputs in the scene: their place, where they came from, and what saving keeps."""

import datetime
import os

import mrml_samples as samples
import numpy as np
import pytest
import slicer
import vtk

from DeepTranslateLib import __version__
from DeepTranslateLib.image.files import read_image
from DeepTranslateLib.model import Card, Model
from DeepTranslateLib.mrml.hierarchy import placeBeside
from DeepTranslateLib.mrml.plots import Curves
from DeepTranslateLib.mrml.provenance import readProvenance, recordProvenance
from DeepTranslateLib.mrml.segmentations import (
    labelMapFromSegmentation,
    segmentationFromLabels,
    segmentsOf,
)
from DeepTranslateLib.mrml.tables import statisticsTable
from DeepTranslateLib.mrml.volumes import imageFromVolume, volumeFromImage
from DeepTranslateLib.recipe import read_recipe
from DeepTranslateLib.statistics import measure

SHAPE = (8, 9, 10)


def aModel(tmp_path):
    card = Card(
        name="Body; composition: v2 & <more>",
        created="2026-01-31T12:00:00+00:00",
        deeptranslate="0.1.0",
        epoch=7,
        seed=0,
        weights_sha256="0123456789abcdef" * 4,
    )
    return Model(tmp_path / "body.dtmodel", read_recipe("ct-body-composition"), card)


def hierarchy():
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def itemOf(node):
    return hierarchy().GetItemByDataNode(node)


def addVolume(name="CT"):
    values = np.random.default_rng(1).integers(-1000, 1000, SHAPE).astype(np.int16)
    return samples.volumeOf(values, samples.obliqueAffine(), name)


def addTo(parent, node):
    """Put a node below an item of the hierarchy."""
    item = itemOf(node)
    if item:
        hierarchy().SetItemParent(item, parent)
    else:
        hierarchy().CreateItem(parent, node)


@pytest.mark.parametrize("kind", ["folder", "study", "scene"])
@pytest.mark.parametrize("moved", [False, True], ids=["in place", "under a transform"])
def test_outputs_lie_beside_their_input(kind, moved):
    root = hierarchy().GetSceneItemID()
    if kind == "folder":
        parent = hierarchy().CreateFolderItem(root, "my folder")
    elif kind == "study":
        patient = hierarchy().CreateSubjectItem(root, "Anna")
        parent = hierarchy().CreateStudyItem(patient, "CT of 1 May")
    else:
        parent = root
    volume = addVolume()
    addTo(parent, volume)
    if moved:
        volume.SetAndObserveTransformNodeID(samples.addLinear(samples.obliqueMatrix()).GetID())
    image = imageFromVolume(volume)
    outputs = [
        volumeFromImage(image, "out", volume),
        segmentationFromLabels(
            image.with_voxels(np.ones(SHAPE, np.uint8)), samples.LABELS, "labels", volume
        ),
        statisticsTable([], "table"),
    ]
    placeBeside([*outputs, None], volume)
    for output in outputs:
        assert hierarchy().GetItemParent(itemOf(output)) == parent
    assert hierarchy().GetItemParent(itemOf(volume)) == parent


def test_an_output_that_the_user_filed_elsewhere_stays_there():
    root = hierarchy().GetSceneItemID()
    study = hierarchy().CreateStudyItem(hierarchy().CreateSubjectItem(root, "Anna"), "CT")
    mine = hierarchy().CreateFolderItem(root, "my results")
    volume, output = addVolume(), addVolume("out")
    addTo(study, volume)
    addTo(mine, output)
    placeBeside([output], volume)
    assert hierarchy().GetItemParent(itemOf(output)) == mine


def test_an_input_without_a_place_leaves_outputs_at_the_top():
    volume, output = addVolume(), addVolume("out")
    slicer.mrmlScene.RemoveNode(volume)
    placeBeside([output], volume)
    parent = hierarchy().GetItemParent(itemOf(output))
    assert parent == hierarchy().GetSceneItemID()


def test_provenance_is_read_as_it_was_recorded(tmp_path):
    model = aModel(tmp_path)
    first, second = addVolume("CT; arterial: 1"), addVolume("CT 2")
    output = volumeFromImage(imageFromVolume(first), "out", first)
    assert readProvenance(output) == {}
    recordProvenance(output, model, [first, second], synthetic=True)
    found = readProvenance(output)
    moment = datetime.datetime.fromisoformat(found.pop("Date"))
    assert abs(datetime.datetime.now(datetime.timezone.utc) - moment).total_seconds() < 60
    assert found == {
        "Model": model.card.name,
        "Checksum": model.card.weights_sha256,
        "Recipe": "ct-body-composition",
        "Version": __version__,
        "SyntheticImage": "true",
        "Input": "CT; arterial: 1; CT 2",
    }
    assert output.GetAttribute("DeepTranslate.SyntheticImage") == "true"
    recordProvenance(output, model, [second], synthetic=False)
    assert readProvenance(output)["SyntheticImage"] == "false"


def test_a_saved_scene_comes_back_without_loss(tmp_path):
    model = aModel(tmp_path)
    study = hierarchy().CreateStudyItem(
        hierarchy().CreateSubjectItem(hierarchy().GetSceneItemID(), "Anna"), "CT of 1 May"
    )
    volume = addVolume()
    addTo(study, volume)
    outer = samples.addLinear(samples.obliqueMatrix())
    volume.SetAndObserveTransformNodeID(outer.GetID())
    image = imageFromVolume(volume)
    values = np.zeros(SHAPE, np.uint8)
    values[1:4, 2:5, 3:7], values[4:6, 1:8, 2:4] = 3, 7
    labels = image.with_voxels(values)
    segmentation = segmentationFromLabels(labels, samples.LABELS, "CT tissues", volume)
    output = volumeFromImage(image, "CT denoised", volume, window=(-160, 240))
    names = {label.value: label.name for label in samples.LABELS}
    totals = measure(image, labels, names, volume="CT").totals
    table = statisticsTable(totals, "CT statistics", unit="HU")
    curves = Curves("Training", "loss")
    curves.setHistory([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": None, "dice": 0.5}])
    placeBeside([segmentation, output, table], volume)
    for node, synthetic in ((segmentation, False), (output, True), (table, False)):
        recordProvenance(node, model, [volume], synthetic)
    provenance = {n.GetName(): readProvenance(n) for n in (segmentation, output, table)}
    segments = segmentsOf(segmentation)
    array = slicer.util.arrayFromVolume(output).copy()
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path, {})
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path, {})

    volume, output = (slicer.util.getNode(name) for name in ("CT", "CT denoised"))
    segmentation, table = (slicer.util.getNode(n) for n in ("CT tissues", "CT statistics"))
    assert {n.GetName(): readProvenance(n) for n in (segmentation, output, table)} == provenance
    back = segmentsOf(segmentation)
    for before, after in zip(segments, back, strict=True):
        assert (after.id, after.name, after.color) == (before.id, before.name, before.color)
        assert after.isEmpty == before.isEmpty
        if before.terminology:
            assert after.terminology == before.terminology
    # Files may store a left-handed or reversed grid; what lies where in the world is the same.
    np.testing.assert_allclose(imageFromVolume(volume).affine, image.affine, atol=1e-6)
    wanted = {segment.id: label.value for segment, label in zip(back, samples.LABELS, strict=True)}
    found, overlaps = labelMapFromSegmentation(segmentation, volume, wanted)
    assert (found.voxels == values).all()
    assert overlaps == []
    assert (slicer.util.arrayFromVolume(output) == array).all()
    np.testing.assert_allclose(imageFromVolume(output).affine, image.affine, atol=1e-6)
    display = output.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-160, 240)

    assert table.GetLocked()
    assert table.GetNumberOfRows() == len(totals)
    kinds = {str: vtk.VTK_STRING, int: vtk.VTK_INT, float: vtk.VTK_DOUBLE}
    for name in ("volume", "label", "name", "voxels", "volume_ml", "mean"):
        column = table.GetTable().GetColumnByName(name)
        assert column.GetDataType() == kinds[type(getattr(totals[0], name))]
        read = [column.GetValue(row) for row in range(len(totals))]
        expected = [getattr(row, name) for row in totals]
        if isinstance(expected[0], float):
            # Slicer's table files have six significant digits.
            np.testing.assert_allclose(read, expected, rtol=5e-6)
        else:
            assert read == expected
    assert table.GetColumnUnitLabel("volume_ml") == "mL"
    assert table.GetColumnUnitLabel("mean") == "HU"

    chart = slicer.util.getNode("Training")
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    assert chart.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == 2
    parents = {hierarchy().GetItemParent(itemOf(n)) for n in (volume, output, segmentation, table)}
    assert len(parents) == 1
    assert hierarchy().GetItemName(parents.pop()) == "CT of 1 May"


@pytest.mark.parametrize("flip", [False, True], ids=["right-handed", "left-handed"])
def test_saved_outputs_are_read_by_the_library_in_the_same_place(tmp_path, flip):
    volume = samples.volumeOf(
        np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16), samples.obliqueAffine(flip=flip)
    )
    image = imageFromVolume(volume)
    output = volumeFromImage(image, "out", volume)
    path = tmp_path / "out.nrrd"
    assert slicer.util.saveNode(output, os.fspath(path), {})
    again = read_image(path)
    ras = image.ras(samples.centres(np.ones(SHAPE, bool), np.eye(4)))
    i, j, k = np.rint(again.ijk(ras)).astype(int).T
    np.testing.assert_allclose(again.ras(np.stack((i, j, k), axis=1)), ras, atol=1e-6)
    assert (again.voxels[k, j, i] == image.voxels.ravel()).all()
