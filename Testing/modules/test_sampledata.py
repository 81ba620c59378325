"""Images of the Sample Data module: made without a network, in the right place, partly labelled."""

from pathlib import Path

import numpy as np
import SampleData
import slicer
import vtk

from DeepTranslateLib.mrml import sampledata
from DeepTranslateLib.phantom import torso


def source(name):
    sampledata.registerSampleData()
    (found,) = [
        s for s in slicer.modules.sampleDataSources["DeepTranslate"] if s.sampleName == name
    ]
    return found


def click(name):
    """What the button of the Sample Data module does."""
    chosen = source(name)
    return chosen.customDownloader(chosen)


def test_registering_twice_as_after_a_reload_leaves_one_entry_each():
    sampledata.registerSampleData()
    sampledata.registerSampleData()
    names = [s.sampleName for s in slicer.modules.sampleDataSources["DeepTranslate"]]
    assert names[:2] == [sampledata.LABELLED, sampledata.UNLABELLED]
    assert len(names) == len(set(names))


def test_registering_makes_no_node_and_keeps_the_other_categories():
    before = {
        k: list(v) for k, v in slicer.modules.sampleDataSources.items() if k != "DeepTranslate"
    }
    sampledata.registerSampleData()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    for category, sources in before.items():
        assert slicer.modules.sampleDataSources[category][: len(sources)] == sources


def test_samples_of_slicer_that_fit_are_offered_as_they_are():
    logic = SampleData.SampleDataLogic()
    known = {name: logic.sourceForSampleName(name) for name in sampledata.SLICERS}
    sampledata.registerSampleData()
    offered = slicer.modules.sampleDataSources["DeepTranslate"][2:]
    assert offered == [found for found in known.values() if found is not None]


def test_every_entry_has_a_picture_that_exists():
    assert Path(source(sampledata.LABELLED).thumbnailFileName).is_file()


def test_the_torsos_lie_where_the_phantoms_lie_with_their_voxels():
    nodes = click(sampledata.LABELLED)
    assert [node.GetClassName() for node in nodes] == [
        "vtkMRMLScalarVolumeNode",
        "vtkMRMLSegmentationNode",
    ] * 3
    for number, volumeNode in enumerate(nodes[::2], 1):
        phantom = torso(number, (0.2, 0.5, 0.8)[number - 1])
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(volumeNode), phantom.image.voxels)
        matrix = vtk.vtkMatrix4x4()
        volumeNode.GetIJKToRASMatrix(matrix)
        found = slicer.util.arrayFromVTKMatrix(matrix)
        np.testing.assert_allclose(found, phantom.image.affine, atol=1e-9)


def test_seventeen_slices_are_labelled_and_only_where_the_phantom_has_the_label():
    nodes = click(sampledata.LABELLED)
    labelled = 0
    for number, (volumeNode, segmentationNode) in enumerate(
        zip(nodes[::2], nodes[1::2], strict=True), 1
    ):
        truth = torso(number, (0.2, 0.5, 0.8)[number - 1]).labels.voxels
        ids = segmentationNode.GetSegmentation().GetSegmentIDs()
        names = [segmentationNode.GetSegmentation().GetSegment(i).GetName() for i in ids]
        assert names == ["subcutaneous fat", "visceral fat", "lean tissue"]
        total = np.zeros(truth.shape, np.uint8)
        for value, segmentId in enumerate(ids, 1):
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(
                segmentationNode, segmentId, volumeNode
            )
            total[mask > 0] = value
        slices = np.flatnonzero(total.any(axis=(1, 2)))
        np.testing.assert_array_equal(total[slices], truth[slices])
        labelled += len(slices)
    assert labelled == 17


def test_the_torso_to_translate_is_another_subject():
    (volumeNode,) = click(sampledata.UNLABELLED)
    voxels = slicer.util.arrayFromVolume(volumeNode)
    for other in click(sampledata.LABELLED)[::2]:
        assert not np.array_equal(slicer.util.arrayFromVolume(other), voxels)


def test_asked_for_twice_the_first_ones_stay():
    (first,) = click(sampledata.UNLABELLED)
    (second,) = click(sampledata.UNLABELLED)
    assert first.GetID() != second.GetID()
    assert slicer.mrmlScene.GetNodeByID(first.GetID()) is first
