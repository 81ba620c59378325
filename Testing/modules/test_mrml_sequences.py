"""Sequences: every frame in its place, outputs browsed with their input."""

import mrml_samples as samples
import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from DeepTranslateLib.mrml.segmentations import segmentationFromLabels
from DeepTranslateLib.mrml.sequences import SequenceError, isSequence, sequenceFrames, sequenceOf
from DeepTranslateLib.mrml.volumes import imageFromVolume, volumeFromImage

SHAPE = (3, 4, 5)


def logic():
    return slicer.modules.sequences.logic()


def addSequence(count=3, values=None):
    """A sequence of constant volumes of 0, 10, 20, ... at 0, 0.5, 1, ... s, with its browser."""
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "4D CT")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    if values:
        sequence.SetIndexType(sequence.TextIndex)
    for number in range(count):
        frame = samples.volumeOf(np.full(SHAPE, 10 * number, np.int16), samples.obliqueAffine())
        sequence.SetDataNodeAtValue(frame, values[number] if values else str(number / 2))
        slicer.mrmlScene.RemoveNode(frame)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    logic().AddSynchronizedNode(sequence, None, browser)
    logic().UpdateProxyNodesFromSequences(browser)
    return sequence, browser, browser.GetProxyNode(sequence)


def browseTo(browser, number):
    browser.SetSelectedItemNumber(number)
    logic().UpdateProxyNodesFromSequences(browser)


@pytest.mark.parametrize("which", ["sequence", "browser", "proxy"])
def test_every_frame_is_found_from_any_of_its_nodes(which):
    sequence, browser, proxy = addSequence()
    node = {"sequence": sequence, "browser": browser, "proxy": proxy}[which]
    assert isSequence(node)
    browseTo(browser, 1)
    count = slicer.mrmlScene.GetNumberOfNodes()
    found = []
    for value, frame in sequenceFrames(node):
        image = imageFromVolume(frame)
        np.testing.assert_allclose(image.affine, samples.obliqueAffine(), atol=1e-9)
        assert frame.GetHideFromEditors()
        assert not frame.GetSaveWithScene()
        found.append((value, int(image.voxels.min()), int(image.voxels.max())))
    assert found == [("0.0", 0, 0), ("0.5", 10, 10), ("1.0", 20, 20)]
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert browser.GetSelectedItemNumber() == 1
    assert slicer.util.arrayFromVolume(proxy).max() == 10


def test_frames_share_the_memory_of_the_sequence():
    sequence, _browser, _proxy = addSequence()
    for number, (_value, frame) in enumerate(sequenceFrames(sequence)):
        stored = sequence.GetNthDataNode(number).GetImageData().GetPointData().GetScalars()
        assert np.shares_memory(imageFromVolume(frame).voxels, vtk_to_numpy(stored))


def test_frames_lie_under_the_transform_of_the_volume_that_is_seen():
    _sequence, browser, proxy = addSequence()
    transform = samples.addLinear(samples.obliqueMatrix())
    proxy.SetAndObserveTransformNodeID(transform.GetID())
    expected = samples.obliqueMatrix() @ samples.obliqueAffine()
    for _value, frame in sequenceFrames(browser):
        np.testing.assert_allclose(imageFromVolume(frame).affine, expected, atol=1e-9)
        assert frame.GetTransformNodeID() == transform.GetID()


def test_frames_follow_transforms_that_change_with_time():
    sequence, browser, proxy = addSequence()
    moves = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "moves")
    for number in range(3):
        matrix = np.eye(4)
        matrix[0, 3] = 100 * number
        node = samples.addLinear(matrix)
        moves.SetDataNodeAtValue(node, str(number / 2))
        slicer.mrmlScene.RemoveNode(node)
    logic().AddSynchronizedNode(moves, None, browser)
    logic().UpdateProxyNodesFromSequences(browser)
    outer = samples.addLinear(samples.obliqueMatrix())
    move = browser.GetProxyNode(moves)
    move.SetAndObserveTransformNodeID(outer.GetID())
    fixed = samples.addLinear(samples.shearedMatrix(), move)
    proxy.SetAndObserveTransformNodeID(fixed.GetID())
    count = slicer.mrmlScene.GetNumberOfNodes()
    for number, (_value, frame) in enumerate(sequenceFrames(sequence)):
        moved = np.eye(4)
        moved[0, 3] = 100 * number
        expected = (
            samples.obliqueMatrix() @ moved @ samples.shearedMatrix() @ samples.obliqueAffine()
        )
        np.testing.assert_allclose(imageFromVolume(frame).affine, expected, atol=1e-9)
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_a_frame_is_gone_also_when_the_work_on_it_fails():
    _sequence, browser, _proxy = addSequence()
    count = slicer.mrmlScene.GetNumberOfNodes()
    frames = sequenceFrames(browser)
    next(frames)
    assert slicer.mrmlScene.GetNumberOfNodes() == count + 1
    frames.close()
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_the_components_of_a_four_dimensional_volume_are_its_frames():
    data = vtk.vtkImageData()
    data.SetDimensions(SHAPE[::-1])
    data.AllocateScalars(vtk.VTK_SHORT, 4)
    values = vtk_to_numpy(data.GetPointData().GetScalars())
    values[:] = (0, 1, 2, 3)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "4D")
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(samples.obliqueAffine()))
    node.SetAndObserveImageData(data)
    node.SetAndObserveTransformNodeID(samples.addLinear(samples.obliqueMatrix()).GetID())
    assert not isSequence(node)
    expected = samples.obliqueMatrix() @ samples.obliqueAffine()
    found = []
    for value, frame in sequenceFrames(node):
        image = imageFromVolume(frame)
        np.testing.assert_allclose(image.affine, expected, atol=1e-9)
        assert (image.voxels == int(value)).all()
        found.append(value)
    assert found == ["0", "1", "2", "3"]


def test_a_plain_volume_is_its_only_frame():
    node = samples.volumeOf(np.zeros(SHAPE, np.int16))
    assert not isSequence(node)
    assert not isSequence(None)
    assert list(sequenceFrames(node)) == [("0", node)]


def test_what_holds_no_volumes_is_refused_in_words():
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "moves")
    sequence.SetDataNodeAtValue(samples.addLinear(np.eye(4)), "0")
    with pytest.raises(SequenceError, match="vtkMRMLLinearTransformNode"):
        next(sequenceFrames(sequence))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "moves browser")
    logic().AddSynchronizedNode(sequence, None, browser)
    with pytest.raises(SequenceError, match="'moves browser' browses no volumes"):
        next(sequenceFrames(browser))


def doubled(node):
    for value, frame in sequenceFrames(node):
        image = imageFromVolume(frame)
        yield value, volumeFromImage(image.with_voxels(image.voxels * 2 + 1), "doubled", frame)


def test_outputs_are_browsed_with_their_input():
    _sequence, browser, proxy = addSequence()
    proxy.SetAndObserveTransformNodeID(samples.addLinear(samples.obliqueMatrix()).GetID())
    outputs = sequenceOf(doubled(proxy), proxy)
    assert outputs.GetName() == "doubled"
    assert (outputs.GetIndexName(), outputs.GetIndexUnit()) == ("time", "s")
    shown = browser.GetProxyNode(outputs)
    assert shown.GetTransformNodeID() == proxy.GetTransformNodeID()
    for number in (2, 0, 1):
        browseTo(browser, number)
        assert (slicer.util.arrayFromVolume(proxy) == 10 * number).all()
        assert (slicer.util.arrayFromVolume(shown) == 20 * number + 1).all()
        np.testing.assert_allclose(
            imageFromVolume(shown).affine, imageFromVolume(proxy).affine, atol=1e-9
        )
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    assert len(names) == 2


def test_outputs_may_be_segmentations():
    _sequence, browser, proxy = addSequence()

    def segmented():
        for value, frame in sequenceFrames(proxy):
            image = imageFromVolume(frame)
            labels = np.zeros(SHAPE, np.uint8)
            labels[round(2 * float(value))] = 3
            yield (
                value,
                segmentationFromLabels(image.with_voxels(labels), samples.LABELS, "labels", frame),
            )

    outputs = sequenceOf(segmented(), proxy, "tissues over time")
    assert outputs.GetName() == "tissues over time"
    shown = browser.GetProxyNode(outputs)
    for number in range(3):
        browseTo(browser, number)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(shown, "body_wall", proxy)
        assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [number]


def test_outputs_without_index_values_take_those_of_the_frames():
    sequence, _browser, _proxy = addSequence()
    outputs = sequenceOf([node for _value, node in list(doubled(sequence))], sequence)
    values = [outputs.GetNthIndexValue(n) for n in range(3)]
    assert values == ["0.0", "0.5", "1.0"]
    nodes = [samples.volumeOf(np.zeros(SHAPE, np.int16)) for _ in range(4)]
    with pytest.raises(SequenceError, match="more outputs than the 3 frames"):
        sequenceOf(nodes, sequence)
    with pytest.raises(SequenceError, match="Nothing was made of '4D CT'"):
        sequenceOf([], sequence)


def test_a_sequence_that_nobody_browses_gets_a_browser_for_its_outputs():
    sequence, browser, proxy = addSequence()
    slicer.mrmlScene.RemoveNode(browser)
    slicer.mrmlScene.RemoveNode(proxy)
    outputs = sequenceOf(doubled(sequence), sequence)
    found = logic().GetFirstBrowserNodeForSequenceNode(outputs)
    assert slicer.util.arrayFromVolume(found.GetProxyNode(outputs)).max() == 1


def test_text_indices_stay_text():
    _sequence, browser, _proxy = addSequence(2, ["inspiration", "expiration"])
    outputs = sequenceOf(doubled(browser), browser)
    assert outputs.GetIndexType() == slicer.vtkMRMLSequenceNode.TextIndex
    assert [outputs.GetNthIndexValue(n) for n in range(2)] == ["inspiration", "expiration"]
