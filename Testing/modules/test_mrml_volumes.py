"""Volume nodes <-> Image: memory, geometry, types, components, outputs."""

import mrml_samples as samples
import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from DeepTranslateLib.image import Image
from DeepTranslateLib.mrml.volumes import (
    VolumeError,
    componentCount,
    imageFromVolume,
    volumeFromImage,
)

SHAPE = (5, 6, 7)


def numbered(dtype=np.int16, shape=SHAPE):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def test_an_image_shares_the_memory_of_its_node():
    node = samples.volumeOf(numbered(), samples.obliqueAffine())
    image = imageFromVolume(node)
    assert np.shares_memory(image.voxels, slicer.util.arrayFromVolume(node))
    node.SetAndObserveTransformNodeID(samples.addLinear(samples.obliqueMatrix()).GetID())
    assert np.shares_memory(imageFromVolume(node).voxels, slicer.util.arrayFromVolume(node))


def test_an_image_outlives_its_node():
    node = samples.volumeOf(numbered())
    image = imageFromVolume(node)
    slicer.mrmlScene.RemoveNode(node)
    del node
    assert (image.voxels == numbered()).all()


def test_voxels_stay_where_slicer_shows_them():
    affine = samples.obliqueAffine()
    node = samples.volumeOf(numbered(), affine)
    image = imageFromVolume(node)
    np.testing.assert_allclose(image.affine, affine, atol=1e-12)
    assert image.voxels[1, 2, 3] == slicer.util.arrayFromVolume(node)[1, 2, 3]
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    # Slicer's bounds are those of the voxels' outer edges.
    corners = image.ras([(i, j, k) for i in (-0.5, 6.5) for j in (-0.5, 5.5) for k in (-0.5, 4.5)])
    np.testing.assert_allclose(bounds[::2], corners.min(axis=0), atol=1e-6)
    np.testing.assert_allclose(bounds[1::2], corners.max(axis=0), atol=1e-6)


@pytest.mark.parametrize("kind", ["left-handed", "sheared", "single slice", "oblique"])
def test_any_matrix_comes_through_both_ways_unchanged(kind):
    affine = samples.obliqueAffine(flip=kind == "left-handed")
    if kind == "sheared":
        affine = samples.shearedMatrix() @ affine
    shape = (1, 6, 7) if kind == "single slice" else SHAPE
    node = samples.volumeOf(numbered(shape=shape), affine)
    image = imageFromVolume(node)
    assert image.shape == shape
    assert image.is_left_handed == (kind == "left-handed")
    assert image.is_sheared == (kind == "sheared")
    again = volumeFromImage(image, "again")
    np.testing.assert_allclose(imageFromVolume(again).affine, affine, atol=1e-9)
    assert (slicer.util.arrayFromVolume(again) == numbered(shape=shape)).all()


def test_parent_transforms_are_composed_from_the_outside_in():
    outer = samples.addLinear(samples.obliqueMatrix())
    inner = samples.addLinear(samples.shearedMatrix(), outer)
    node = samples.volumeOf(numbered(), samples.obliqueAffine())
    node.SetAndObserveTransformNodeID(inner.GetID())
    expected = samples.obliqueMatrix() @ samples.shearedMatrix() @ samples.obliqueAffine()
    np.testing.assert_allclose(imageFromVolume(node).affine, expected, atol=1e-9)


def test_an_image_that_begins_at_another_extent_lies_where_slicer_counts_it():
    data = vtk.vtkImageData()
    data.SetExtent(2, 5, 1, 4, 3, 5)
    data.AllocateScalars(vtk.VTK_SHORT, 1)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(samples.obliqueAffine()))
    node.SetAndObserveImageData(data)
    expected = samples.obliqueAffine() @ (2, 1, 3, 1)
    np.testing.assert_allclose(imageFromVolume(node).origin, expected[:3], atol=1e-9)


def test_a_volume_without_voxels_is_refused_in_words():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty one")
    for use in (imageFromVolume, componentCount):
        with pytest.raises(VolumeError, match="'empty one' holds no voxels"):
            use(node)
    image = Image(numbered(), np.eye(4))
    count = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(VolumeError, match="holds no voxels"):
        volumeFromImage(image, "out", node)
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_a_volume_with_a_flat_matrix_is_refused_in_words():
    node = samples.volumeOf(numbered(), name="flat")
    node.SetIJKToRASDirections(1, 0, 0, 1, 0, 0, 0, 0, 1)
    with pytest.raises(VolumeError, match=r"'flat' cannot be used.*inverted"):
        imageFromVolume(node)


def addColour():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    data = vtk.vtkImageData()
    data.SetDimensions(SHAPE[::-1])
    data.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    values = vtk_to_numpy(data.GetPointData().GetScalars())
    values[:] = np.arange(values.size).reshape(values.shape) % 251
    node.SetAndObserveImageData(data)
    return node, values.reshape((*SHAPE, 3))


def test_several_components_ask_for_a_choice():
    node, values = addColour()
    assert componentCount(node) == 3
    with pytest.raises(VolumeError, match=r"3 components.*from 0 to 2"):
        imageFromVolume(node)
    with pytest.raises(VolumeError, match="3 was chosen"):
        imageFromVolume(node, 3)
    for component in range(3):
        image = imageFromVolume(node, component)
        assert (image.voxels == values[..., component]).all()
        assert np.shares_memory(image.voxels, values)


def test_one_component_may_be_chosen_by_its_number():
    node = samples.volumeOf(numbered())
    assert componentCount(node) == 1
    assert (imageFromVolume(node, 0).voxels == numbered()).all()


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        (bool, np.uint8),
        (np.int8, np.int16),
        (np.uint8, np.uint8),
        (np.int16, np.int16),
        (np.uint16, np.uint16),
        (np.int32, np.int32),
        (np.int64, np.int32),
        (np.uint64, np.int32),
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
    ],
)
def test_every_type_becomes_one_that_slicer_saves(dtype, stored, tmp_path):
    values = numbered(dtype) if dtype is not np.int8 else (numbered(np.int16) % 100).astype(dtype)
    node = volumeFromImage(Image(values, samples.obliqueAffine()), "typed")
    array = slicer.util.arrayFromVolume(node)
    assert array.dtype == stored
    assert (array == values).all()
    path = str(tmp_path / "typed.nrrd")
    assert slicer.util.saveNode(node, path, {})
    again = slicer.util.loadVolume(path, {})
    assert (slicer.util.arrayFromVolume(again) == values).all()
    np.testing.assert_allclose(imageFromVolume(again).affine, samples.obliqueAffine(), atol=1e-9)


def test_integers_beyond_32_bits_become_floats():
    values = numbered(np.int64)
    values[0, 0, 0] = 1 << 40
    node = volumeFromImage(Image(values, np.eye(4)), "large")
    assert slicer.util.arrayFromVolume(node).dtype == np.float64
    assert slicer.util.arrayFromVolume(node)[0, 0, 0] == 1 << 40


def test_an_output_does_not_share_the_image_that_it_shows():
    image = Image(numbered(), np.eye(4))
    node = volumeFromImage(image, "out")
    slicer.util.arrayFromVolume(node)[:] = -1
    assert (image.voxels == numbered()).all()


def test_a_view_with_flipped_axes_is_stored_as_it_lies():
    image = Image(numbered(), samples.obliqueAffine()).oriented("RAI")
    node = volumeFromImage(image, "out")
    assert (slicer.util.arrayFromVolume(node) == image.voxels).all()
    np.testing.assert_allclose(imageFromVolume(node).affine, image.affine, atol=1e-9)


def test_an_output_lies_on_its_inputs_very_matrix():
    outer = samples.addLinear(samples.obliqueMatrix())
    node = samples.volumeOf(numbered(), samples.obliqueAffine())
    node.SetAndObserveTransformNodeID(outer.GetID())
    output = volumeFromImage(imageFromVolume(node), "out", node)
    matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
    node.GetIJKToRASMatrix(matrices[0])
    output.GetIJKToRASMatrix(matrices[1])
    arrays = [slicer.util.arrayFromVTKMatrix(matrix) for matrix in matrices]
    np.testing.assert_allclose(arrays[0], arrays[1], rtol=0, atol=1e-13)
    assert output.GetTransformNodeID() == outer.GetID()


def test_an_output_on_another_grid_still_lies_in_its_place():
    node = samples.volumeOf(numbered(np.float32), samples.obliqueAffine())
    node.SetAndObserveTransformNodeID(samples.addLinear(samples.obliqueMatrix()).GetID())
    finer = imageFromVolume(node).resampled([1.0, 1.0, 1.0])
    output = volumeFromImage(finer, "finer", node)
    assert output.GetTransformNodeID() == node.GetTransformNodeID()
    np.testing.assert_allclose(imageFromVolume(output).affine, finer.affine, atol=1e-9)


def test_an_output_has_its_inputs_window_or_the_given_one():
    node = samples.volumeOf(numbered())
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevel(350, 40)
    image = imageFromVolume(node)
    display = volumeFromImage(image, "a", node).GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (350, 40)
    display = volumeFromImage(image, "b", node, window=(-100, 300)).GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-100, 300)
    assert not display.GetAutoWindowLevel()
    assert volumeFromImage(image, "c").GetDisplayNode().GetAutoWindowLevel()


def test_new_outputs_never_share_a_name():
    image = Image(numbered(), np.eye(4))
    names = [volumeFromImage(image, "CT translated").GetName() for _ in range(3)]
    assert names[0] == "CT translated"
    assert len(set(names)) == 3


def test_a_chosen_output_is_filled_and_keeps_its_name_and_id():
    node = samples.volumeOf(numbered(), samples.obliqueAffine())
    chosen = samples.volumeOf(np.zeros((2, 2, 2)), name="my output")
    identifier = chosen.GetID()
    result = volumeFromImage(imageFromVolume(node), "out", node, chosen)
    assert result is chosen
    assert (chosen.GetName(), chosen.GetID()) == ("my output", identifier)
    assert (slicer.util.arrayFromVolume(chosen) == numbered()).all()


def test_the_input_is_never_the_output():
    node = samples.volumeOf(numbered(), name="the CT")
    with pytest.raises(VolumeError, match="overwrite the input 'the CT'"):
        volumeFromImage(imageFromVolume(node), "out", node, node)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "labels")
    with pytest.raises(VolumeError, match="'labels' is no scalar volume"):
        volumeFromImage(imageFromVolume(node), "out", node, segmentation)


def test_what_fails_leaves_the_chosen_output_as_it_was():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    chosen = samples.volumeOf(numbered(), samples.obliqueAffine())
    before = slicer.util.arrayFromVolume(chosen).copy()
    with pytest.raises(VolumeError):
        volumeFromImage(Image(np.zeros((2, 2, 2)), np.eye(4)), "out", node, chosen)
    assert (slicer.util.arrayFromVolume(chosen) == before).all()
    np.testing.assert_allclose(imageFromVolume(chosen).affine, samples.obliqueAffine(), atol=1e-9)
