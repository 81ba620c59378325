"""Cohorts of nodes: who belongs to whom, and what is exported."""

import numpy as np
import pytest
import slicer
import vtk
from train_samples import addSubject, phantomOf, tinyRecipe

from DeepTranslateLib.cohort import CohortError, read_cohort
from DeepTranslateLib.cohort.check import check_cohort
from DeepTranslateLib.mrml.cohorts import writeCohort
from DeepTranslateLib.mrml.pairs import Pair, pairsFromScene
from DeepTranslateLib.mrml.segmentations import segmentsOf
from DeepTranslateLib.mrml.segmentlabels import matchSegments
from DeepTranslateLib.mrml.volumes import volumeFromImage
from DeepTranslateLib.recipe import read_recipe


def exported(pairs, folder, recipe=None, onEvent=None):
    return read_cohort(writeCohort(pairs, recipe or tinyRecipe(), folder, onEvent)).cases


def test_an_exported_volume_has_the_voxels_and_the_place_of_its_node(tmp_path):
    volume, segmentation = addSubject(3)
    (case,) = exported([Pair(volume, segmentation)], tmp_path)
    image, phantom = case.read_image(), phantomOf(3)
    assert image.same_grid(phantom.image)
    assert np.array_equal(image.oriented("LPS").voxels, phantom.image.voxels)
    assert np.array_equal(case.read_target().oriented("LPS").voxels, phantom.labels.voxels)


def test_swapped_segments_swap_their_voxels_in_the_exported_label_map(tmp_path):
    volume, segmentation = addSubject(1)
    ids = {segment.name: segment.id for segment in segmentsOf(segmentation)}
    values = {ids["subcutaneous fat"]: 3, ids["lean tissue"]: 1}
    (case,) = exported([Pair(volume, segmentation, values=values)], tmp_path)
    counted = dict(zip(*np.unique(case.read_target().voxels, return_counts=True), strict=True))
    truth = phantomOf(1).labels.voxels
    assert counted[3] == np.count_nonzero(truth == 1)
    assert counted[1] == np.count_nonzero(truth == 3)
    assert 2 not in counted


def test_only_slices_with_labels_are_named(tmp_path):
    volume, segmentation = addSubject(0, labelled=(1, 3))
    (case,) = exported([Pair(volume, segmentation)], tmp_path)
    assert case.slices == (1, 3)
    target = case.read_target().voxels
    assert [k for k in range(len(target)) if target[k].any()] == [1, 3]


def test_slices_named_by_the_user_are_kept(tmp_path):
    volume, segmentation = addSubject(0)
    pair = Pair(volume, segmentation, "anna", slices=(0, 2), split="validation")
    (case,) = exported([pair], tmp_path)
    assert (case.subject, case.slices, case.split) == ("anna", (0, 2), "validation")


def test_a_parent_transform_moves_image_and_labels_alike(tmp_path):
    volume, segmentation = addSubject(0)
    before = phantomOf(0).image.affine
    matrix = np.array([[0, -1, 0, 12], [1, 0, 0, -7], [0, 0, 1, 40], [0, 0, 0, 1.0]])
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    (case,) = exported([Pair(volume, segmentation)], tmp_path)
    image, target = case.read_image(), case.read_target()
    corner = np.array([0.0, 0, 0, 1])
    assert np.allclose(image.ras([0, 0, 0]), (matrix @ before @ corner)[:3], atol=1e-6)
    assert target.same_grid(image)
    assert np.count_nonzero(target.voxels) == np.count_nonzero(phantomOf(0).labels.voxels)


def test_an_exported_cohort_has_no_faults(tmp_path):
    pairs = [Pair(*addSubject(seed)) for seed in range(3)]
    writeCohort(pairs, tinyRecipe(), tmp_path)
    faults = check_cohort(read_cohort(tmp_path / "cohort.csv"), tinyRecipe())
    assert [fault for fault in faults if fault.severity == "error"] == []


def test_overlapping_segments_are_reported_and_the_later_one_counts(tmp_path):
    volume, segmentation = addSubject(0)
    ids = {segment.name: segment.id for segment in segmentsOf(segmentation)}
    fat = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, ids["visceral fat"], volume)
    lean = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, ids["lean tissue"], volume)
    before = int(fat.sum())
    where = np.argwhere(lean > 0)[0]
    fat = fat.copy()
    fat[tuple(where)] = 1
    # Over the others instead of in place of them, as the Segment Editor can.
    segment = slicer.vtkSegment()
    segment.SetName("more visceral fat")
    segmentation.GetSegmentation().AddSegment(segment, "more")
    slicer.util.updateSegmentBinaryLabelmapFromArray(fat, segmentation, "more", volume)
    values = {ids["lean tissue"]: 3, "more": 2}
    events = []
    (case,) = exported(
        [Pair(volume, segmentation, "anna", values=values)], tmp_path, onEvent=events.append
    )
    (warning,) = [event for event in events if event["event"] == "warning"]
    assert warning["subject"] == "anna"
    assert "lean tissue" in warning["message"]
    assert "more visceral fat" in warning["message"]
    assert " 1 voxel" in warning["message"]
    assert np.count_nonzero(case.read_target().voxels == 2) == before + 1


def test_label_maps_are_taken_as_they_are(tmp_path):
    phantom = phantomOf(0)
    volume = volumeFromImage(phantom.image, "a")
    labelMap = slicer.util.addVolumeFromArray(
        phantom.labels.voxels, name="b", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    labelMap.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(phantom.labels.affine))
    (case,) = exported([Pair(volume, labelMap)], tmp_path)
    assert np.array_equal(case.read_target().oriented("LPS").voxels, phantom.labels.voxels)


def test_segments_are_matched_by_name_whatever_its_spelling_and_by_terminology():
    labels = read_recipe("ct-body-composition").target.labels
    segmentation = addSubject(0)[1]
    content = segmentation.GetSegmentation()
    ids = [content.GetNthSegmentID(n) for n in range(3)]
    content.GetSegment(ids[0]).SetName("Subcutaneous_FAT")
    content.GetSegment(ids[1]).SetName("belly")  # its terminology still says what it is
    content.GetSegment(ids[2]).SetName("something else")
    content.GetSegment(ids[2]).SetTag("TerminologyEntry", "")
    assert matchSegments(segmentsOf(segmentation), labels) == {ids[0]: 1, ids[1]: 2}


def test_volumes_find_their_segmentations():
    first, firstTissue = addSubject(0, "CT1")
    second, secondTissue = addSubject(1, "CT10")
    # Without its reference a segmentation is found by its name, and CT1 is not CT10.
    secondTissue.SetNodeReferenceID(secondTissue.GetReferenceImageGeometryReferenceRole(), None)
    secondTissue.SetName("CT10-segmentation")
    slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="alone")
    found = [(pair.volumeNode, pair.targetNode, pair.subject) for pair in pairsFromScene()]
    assert found == [(first, firstTissue, "CT1"), (second, secondTissue, "CT10")]


def test_what_a_model_made_is_not_learnt_from():
    addSubject(0)[1].SetAttribute("DeepTranslate.Model", "ct-body-composition.dtmodel")
    assert pairsFromScene() == []


def test_volumes_of_one_patient_are_one_subject():
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Anna")
    for seed in range(2):
        volume, _ = addSubject(seed)
        item = hierarchy.GetItemByDataNode(volume)
        if item:
            hierarchy.SetItemParent(item, patient)
        else:
            hierarchy.CreateItem(patient, volume)
    assert [pair.subject for pair in pairsFromScene()] == ["Anna", "Anna"]


@pytest.mark.parametrize("missing", ["pairs", "volume", "target", "labels", "slices", "voxels"])
def test_pairs_that_cannot_be_learnt_from_are_refused_with_what_to_do(missing, tmp_path):
    volume, segmentation = addSubject(0)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    other.GetSegmentation().AddEmptySegment("liver", "liver")
    pairs = {
        "pairs": [],
        "volume": [Pair(None, segmentation)],
        "target": [Pair(volume, None)],
        "labels": [Pair(volume, other)],
        "slices": [Pair(volume, other, values={"liver": 1})],
        "voxels": [Pair(empty, segmentation)],
    }[missing]
    with pytest.raises(CohortError, match=r"(?i)add|choose|say|check|load|remove"):
        writeCohort(pairs, tinyRecipe(), tmp_path)
    assert not (tmp_path / "cohort.csv").exists()


def test_the_scene_stays_as_it_was(tmp_path):
    volume, segmentation = addSubject(0)
    # Slicer makes the hierarchy's node when somebody first asks for it.
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    before = slicer.mrmlScene.GetNumberOfNodes()
    times = volume.GetMTime(), segmentation.GetMTime()
    writeCohort([Pair(volume, segmentation)], tinyRecipe(), tmp_path)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert (volume.GetMTime(), segmentation.GetMTime()) == times


def test_pairs_are_recognised_by_their_grid_where_names_say_nothing():
    phantom = phantomOf(0)
    volume = volumeFromImage(phantom.image, "a")
    labelMap = slicer.util.addVolumeFromArray(
        phantom.labels.voxels, name="b", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    labelMap.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(phantom.labels.affine))
    (pair,) = pairsFromScene()
    assert (pair.volumeNode, pair.targetNode) == (volume, labelMap)
    moved = vtk.vtkMatrix4x4()
    labelMap.SetIJKToRASMatrix(moved)
    assert pairsFromScene() == []
