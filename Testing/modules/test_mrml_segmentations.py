"""Segmentation nodes <-> label maps: segments, overlaps, terminology, layers."""

import mrml_samples as samples
import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from DeepTranslateLib.cohort.case import stack_axis
from DeepTranslateLib.image import Image
from DeepTranslateLib.mrml.segmentations import (
    SegmentationError,
    labelledSlices,
    labelMapFromNode,
    labelMapFromSegmentation,
    segmentationFromLabels,
    segmentsOf,
)
from DeepTranslateLib.mrml.terminology import terminologyOf
from DeepTranslateLib.mrml.volumes import VolumeError, imageFromVolume
from DeepTranslateLib.recipe import Code, Label, read_recipe

SHAPE = (8, 9, 10)


def addVolume(shape=SHAPE, flip=False):
    return samples.volumeOf(np.zeros(shape, np.int16), samples.obliqueAffine(flip=flip))


def someLabels(shape=SHAPE):
    """Values 3 and 7 of the sample labels, none of 9, and 42, which is no label."""
    values = np.zeros(shape, np.uint8)
    values[1:4, 2:5, 3:7] = 3
    values[4:6, 1:8, 2:4] = 7
    values[7, 8, 9] = 42
    return values


def addSegments(volume, masks):
    """A segmentation whose segments, named by the keys, are the masks; each in its own layer."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name, mask in masks.items():
        identifier = node.GetSegmentation().AddEmptySegment(name, name)
        if mask is not None:
            slicer.util.updateSegmentBinaryLabelmapFromArray(
                mask.astype(np.uint8), node, identifier, volume
            )
    return node


def layerOf(node, identifier):
    return node.GetSegmentation().GetSegment(identifier).GetRepresentation("Binary labelmap")


def test_a_label_map_becomes_segments_and_comes_back():
    volume = addVolume()
    labels = imageFromVolume(volume).with_voxels(someLabels())
    node = segmentationFromLabels(labels, samples.LABELS, "out", volume)
    ids = [segment.id for segment in segmentsOf(node)]
    back, overlaps = labelMapFromSegmentation(node, volume, dict(zip(ids, (3, 7, 9), strict=True)))
    expected = someLabels()
    expected[expected == 42] = 0
    assert (back.voxels == expected).all()
    assert back.voxels.dtype == np.uint8
    assert back.same_grid(imageFromVolume(volume), 1e-9)
    assert overlaps == []


def test_segments_are_called_and_coloured_as_the_recipe_says_also_empty_ones():
    volume = addVolume()
    labels = imageFromVolume(volume).with_voxels(someLabels())
    node = segmentationFromLabels(labels, samples.LABELS, "out", volume)
    segments = segmentsOf(node)
    assert [each.name for each in segments] == ["body wall", "inner fat", "plain"]
    assert [each.color for each in segments] == [each.color for each in samples.LABELS]
    assert [each.isEmpty for each in segments] == [False, False, True]
    stored = node.GetSegmentation()
    assert [stored.GetNthSegment(n).GetLabelValue() for n in range(3)] == [3, 7, 9]
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segments[0].id, volume)
    assert (array.astype(bool) == (someLabels() == 3)).all()


def test_all_segments_share_one_label_map():
    volume = addVolume()
    labels = imageFromVolume(volume).with_voxels(someLabels())
    node = segmentationFromLabels(labels, samples.LABELS, "out", volume)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    layers = [layerOf(node, each.id) for each in segmentsOf(node)]
    assert layers[0] is layers[1] is layers[2]
    assert layers[0].GetScalarType() == vtk.VTK_UNSIGNED_CHAR
    stored = vtk_to_numpy(layers[0].GetPointData().GetScalars())
    assert set(np.unique(stored)) == {0, 3, 7}
    assert not np.shares_memory(stored, labels.voxels)


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint16, np.uint64, np.int8])
def test_label_maps_of_any_whole_numbers_are_taken(dtype):
    volume = addVolume()
    values = someLabels().astype(dtype)
    if dtype in (np.int16, np.int64):
        values[0, 0, 0], values[0, 0, 1] = -3, 259
    node = segmentationFromLabels(Image(values, np.eye(4)), samples.LABELS, "out", None)
    stored = vtk_to_numpy(layerOf(node, "body_wall").GetPointData().GetScalars())
    expected = np.where(np.isin(someLabels(), (3, 7)), someLabels(), 0)
    assert (stored.reshape(SHAPE) == expected).all()
    assert volume is not None


def test_labels_that_are_no_whole_numbers_are_refused_in_words():
    labels = Image(np.zeros(SHAPE, np.float32), np.eye(4))
    count = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(SegmentationError, match="float32; whole numbers are needed"):
        segmentationFromLabels(labels, samples.LABELS, "out", None)
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_terminology_is_what_slicers_own_logic_writes_and_reads():
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.modules.terminologies.logic()
    label = samples.LABELS[1]
    text = terminologyOf(label)
    assert logic.DeserializeTerminologyEntry(text, entry)
    for code, object_ in (
        (label.category, entry.GetCategoryObject()),
        (label.type, entry.GetTypeObject()),
        (label.region, entry.GetRegionObject()),
    ):
        assert object_.GetCodingSchemeDesignator() == code.scheme
        assert object_.GetCodeValue() == code.value
        assert object_.GetCodeMeaning() == code.meaning
    assert logic.SerializeTerminologyEntry(entry) == text
    assert text.startswith("Segmentation category and type - 3D Slicer General Anatomy list~SCT^")


def test_terminology_survives_separators_in_a_meaning():
    odd = Label(1, "odd", type=Code("SCT", "1", "a~b^c|d"), category=Code("SCT", "2", "Tissue"))
    assert terminologyOf(odd).count("~") == terminologyOf(samples.LABELS[0]).count("~")
    assert "a b c d" in terminologyOf(odd)


def test_segments_carry_the_terminology_of_their_labels():
    volume = addVolume()
    labels = imageFromVolume(volume).with_voxels(someLabels())
    segments = segmentsOf(segmentationFromLabels(labels, samples.LABELS, "out", volume))
    assert segments[0].terminology == terminologyOf(samples.LABELS[0])
    assert segments[1].terminology == terminologyOf(samples.LABELS[1])


def test_the_built_in_recipes_labels_become_segments():
    recipe = read_recipe("ct-body-composition")
    volume = addVolume()
    labels = imageFromVolume(volume).with_voxels(np.ones(SHAPE, np.uint8))
    segments = segmentsOf(segmentationFromLabels(labels, recipe.target.labels, "out", volume))
    assert [each.name for each in segments] == [each.name for each in recipe.target.labels]
    assert all("SCT^" in each.terminology for each in segments)
    assert [each.isEmpty for each in segments] == [False, True, True]


def test_ids_are_plain_words_that_differ_even_where_names_nearly_agree():
    labels = [Label(1, "fat (left)"), Label(2, "fat [left]"), Label(3, "脂肪"), Label(4, "  ")]
    image = Image(np.ones(SHAPE, np.uint8), np.eye(4))
    segments = segmentsOf(segmentationFromLabels(image, labels, "out", None))
    assert len({each.id for each in segments}) == 4
    assert all(each.id.isascii() and each.id for each in segments)
    assert [each.name for each in segments] == [each.name for each in labels]


def test_reference_geometry_is_the_inputs_so_that_the_segment_editor_accepts_it():
    volume = addVolume(flip=True)
    labels = imageFromVolume(volume).with_voxels(someLabels())
    node = segmentationFromLabels(labels, samples.LABELS, "out", volume)
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is volume
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    reference = slicer.vtkOrientedImageData()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(
        node.GetSegmentation().GetConversionParameter(name), reference, False
    )
    assert reference.GetDimensions() == SHAPE[::-1]
    matrix = vtk.vtkMatrix4x4()
    reference.GetImageToWorldMatrix(matrix)
    np.testing.assert_allclose(
        slicer.util.arrayFromVTKMatrix(matrix), samples.obliqueAffine(flip=True), atol=1e-6
    )


def test_an_output_can_be_edited_with_further_segments_afterwards():
    volume = addVolume()
    labels = imageFromVolume(volume).with_voxels(someLabels())
    node = segmentationFromLabels(labels, samples.LABELS, "out", volume)
    identifier = node.GetSegmentation().AddEmptySegment("mine")
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 2:5, 3:5] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volume)
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)
    assert (array == mask).all()
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, "inner_fat", volume)
    assert (array.astype(bool) == (someLabels() == 7)).all()


def test_closed_surfaces_are_made_on_request_only():
    volume = addVolume()
    labels = imageFromVolume(volume).with_voxels(someLabels())
    plain = segmentationFromLabels(labels, samples.LABELS, "plain", volume)
    assert not plain.GetSegmentation().ContainsRepresentation("Closed surface")
    shown = segmentationFromLabels(labels, samples.LABELS, "3D", volume, closedSurface=True)
    surface = vtk.vtkPolyData()
    assert shown.GetClosedSurfaceRepresentation("body_wall", surface)
    assert surface.GetNumberOfPoints() > 0


def test_a_chosen_segmentation_gets_new_segments_and_keeps_its_name_id_and_display():
    volume = addVolume()
    chosen = addSegments(volume, {"old": someLabels() == 3, "body_wall": someLabels() == 7})
    identifier, display = chosen.GetID(), chosen.GetDisplayNodeID()
    labels = imageFromVolume(volume).with_voxels(someLabels())
    node = segmentationFromLabels(labels, samples.LABELS, "new name", volume, chosen)
    assert node is chosen
    assert (node.GetID(), node.GetName(), node.GetDisplayNodeID()) == (identifier, "drawn", display)
    assert [each.name for each in segmentsOf(node)] == [each.name for each in samples.LABELS]
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, "body_wall", volume)
    assert (array.astype(bool) == (someLabels() == 3)).all()


def test_a_chosen_segmentation_of_surfaces_becomes_one_of_voxels():
    volume = addVolume()
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    chosen.SetSourceRepresentationToClosedSurface()
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    chosen.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", [1, 0, 0])
    labels = imageFromVolume(volume).with_voxels(someLabels())
    segmentationFromLabels(labels, samples.LABELS, "out", volume, chosen)
    assert chosen.GetSegmentation().GetSourceRepresentationName() == "Binary labelmap"
    back, _ = labelMapFromSegmentation(chosen, volume, {"body_wall": 3, "inner_fat": 7})
    assert (back.voxels == np.where(someLabels() == 42, 0, someLabels())).all()


def test_what_fails_leaves_the_chosen_segmentation_as_it_was():
    volume = addVolume()
    chosen = addSegments(volume, {"old": someLabels() == 3})
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    labels = imageFromVolume(volume).with_voxels(someLabels())
    with pytest.raises(VolumeError):
        segmentationFromLabels(labels, samples.LABELS, "out", empty, chosen)
    floats = Image(np.zeros(SHAPE), np.eye(4))
    with pytest.raises(SegmentationError):
        segmentationFromLabels(floats, samples.LABELS, "out", volume, chosen)
    assert [each.name for each in segmentsOf(chosen)] == ["old"]
    array = slicer.util.arrayFromSegmentBinaryLabelmap(chosen, "old", volume)
    assert (array.astype(bool) == (someLabels() == 3)).all()
    with pytest.raises(SegmentationError, match="is no segmentation"):
        segmentationFromLabels(labels, samples.LABELS, "out", volume, volume)


def test_where_segments_overlap_the_later_wins_and_is_named():
    volume = addVolume()
    first, second, third = (np.zeros(SHAPE, bool) for _ in range(3))
    first[1:5, 2:6, 2:8] = True
    second[3:7, 4:8, 4:9] = True
    third[4:6, 5:7, 5:9] = True
    node = addSegments(volume, {"first": first, "second": second, "third": third})
    labels, overlaps = labelMapFromSegmentation(node, volume, {"first": 1, "second": 2, "third": 3})
    expected = np.zeros(SHAPE)
    for value, mask in ((1, first), (2, second), (3, third)):
        expected[mask] = value
    assert (labels.voxels == expected).all()
    found = {(each.first, each.second): each.voxels for each in overlaps}
    assert found == {
        ("first", "second"): (first & second & ~third).sum(),
        ("first", "third"): (first & third).sum(),
        ("second", "third"): (second & third).sum(),
    }
    turned, overlaps = labelMapFromSegmentation(node, volume, {"third": 3, "second": 2, "first": 1})
    for value, mask in ((3, third), (2, second), (1, first)):
        expected[mask] = value
    assert (turned.voxels == expected).all()
    assert ("third", "second") in {(each.first, each.second) for each in overlaps}


def test_segments_of_one_label_may_overlap_and_segments_left_out_are_background():
    volume = addVolume()
    left, right = (np.zeros(SHAPE, bool) for _ in range(2))
    left[1:5, 2:6, 2:6] = True
    right[1:5, 2:6, 4:8] = True
    node = addSegments(volume, {"left": left, "right": right, "rest": ~(left | right)})
    labels, overlaps = labelMapFromSegmentation(node, volume, {"left": 300, "right": 300})
    assert labels.voxels.dtype == np.uint16
    assert (labels.voxels == np.where(left | right, 300, 0)).all()
    assert overlaps == []


def test_empty_segments_are_seen_and_give_background():
    volume = addVolume()
    node = addSegments(volume, {"drawn": someLabels() == 3, "nothing": None})
    cleared = node.GetSegmentation().AddEmptySegment("cleared", "cleared")
    blank = np.zeros(SHAPE, np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(blank, node, cleared, volume)
    assert {each.id: each.isEmpty for each in segmentsOf(node)} == {
        "drawn": False,
        "nothing": True,
        "cleared": True,
    }
    labels, overlaps = labelMapFromSegmentation(
        node, volume, {"nothing": 1, "cleared": 2, "drawn": 3}
    )
    assert (labels.voxels == np.where(someLabels() == 3, 3, 0)).all()
    assert overlaps == []
    none, _ = labelMapFromSegmentation(node, volume, {})
    assert not none.voxels.any()


def test_a_segmentation_without_segments_has_none():
    volume = addVolume()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert segmentsOf(node) == []
    labels, _ = labelMapFromSegmentation(node, volume, {})
    assert labels.shape == SHAPE


def test_unknown_segments_and_impossible_values_are_refused_in_words():
    volume = addVolume()
    node = addSegments(volume, {"drawn": someLabels() == 3})
    with pytest.raises(SegmentationError, match="no segment with the id 'lost'"):
        labelMapFromSegmentation(node, volume, {"lost": 1})
    for value in (0, -1, 65536):
        with pytest.raises(SegmentationError, match="label values are 1 to 65535"):
            labelMapFromSegmentation(node, volume, {"drawn": value})


def test_reading_does_not_change_the_segmentation():
    volume = addVolume()
    node = addSegments(volume, {"a": someLabels() == 3, "b": someLabels() == 7})
    before = node.GetSegmentation().GetMTime()
    layers = node.GetSegmentation().GetNumberOfLayers()
    labelMapFromSegmentation(node, volume, {"a": 1, "b": 2})
    segmentsOf(node)
    assert node.GetSegmentation().GetMTime() == before
    assert node.GetSegmentation().GetNumberOfLayers() == layers


def test_segments_that_reach_beyond_the_volume_are_cut_at_its_border():
    volume = addVolume()
    larger = Image(
        np.full((14, 15, 16), 3, np.uint8),
        samples.obliqueAffine()
        @ np.array([[1, 0, 0, -3], [0, 1, 0, -2], [0, 0, 1, -1], [0, 0, 0, 1]]),
    )
    node = segmentationFromLabels(larger, samples.LABELS, "large", None)
    labels, _ = labelMapFromSegmentation(node, volume, {"body_wall": 2})
    assert (labels.voxels == 2).all()
    away = samples.addLinear([[1, 0, 0, 1000], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    node.SetAndObserveTransformNodeID(away.GetID())
    labels, _ = labelMapFromSegmentation(node, volume, {"body_wall": 2})
    assert not labels.voxels.any()


def test_many_segments_are_read_in_their_own_values():
    volume = addVolume()
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 255
    labels = [Label(value, f"structure {value}") for value in range(1, 255)]
    node = segmentationFromLabels(
        imageFromVolume(volume).with_voxels(values.astype(np.int32)), labels, "many", volume
    )
    assert not any(each.isEmpty for each in segmentsOf(node))
    wanted = {each.id: 1000 + n for n, each in enumerate(segmentsOf(node))}
    back, _ = labelMapFromSegmentation(node, volume, wanted)
    assert (back.voxels == np.where(values > 0, values + 999, 0)).all()


def test_a_label_map_node_is_read_without_a_copy():
    node = slicer.util.addVolumeFromArray(
        someLabels(),
        ijkToRAS=samples.obliqueAffine(),
        nodeClassName="vtkMRMLLabelMapVolumeNode",
        name="labels",
    )
    image = labelMapFromNode(node)
    assert np.shares_memory(image.voxels, slicer.util.arrayFromVolume(node))
    np.testing.assert_allclose(image.affine, samples.obliqueAffine(), atol=1e-12)
    with pytest.raises(VolumeError, match="is no label map volume"):
        labelMapFromNode(addVolume())


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("code", ["LPS", "SAL", "RIP"])
def test_labelled_slices_are_counted_as_they_are_stored(plane, code):
    values = np.zeros(SHAPE, np.uint8)
    values[2, 3:5, 6] = 1
    values[6, 7, 1] = 4
    image = Image(values, np.diag([2.0, 2.5, 3.0, 1.0])).oriented(code)
    axis = stack_axis(image, plane)
    expected = tuple(sorted(set(np.argwhere(image.voxels)[:, axis].tolist())))
    assert labelledSlices(image, plane) == expected
    assert labelledSlices(image.with_voxels(np.zeros(image.shape, np.uint8)), plane) == ()
