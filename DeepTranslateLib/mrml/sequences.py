"""Sequences: volumes over time, frame by frame, and outputs that are browsed with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import slicer
import vtk

from DeepTranslateLib.image import ImageError
from DeepTranslateLib.mrml.naming import freeName
from DeepTranslateLib.mrml.volumes import componentCount


class SequenceError(ImageError):
    """A sequence cannot be used: what was expected, what was found, what to do."""


def isSequence(node: Any) -> bool:
    """Tell whether a node stands for several volumes: a sequence, a browser or a proxy volume."""
    return node is not None and _sequenceOf(node)[0] is not None


def sequenceFrames(node: Any) -> Iterator[tuple[str, Any]]:
    """Go through the volumes of a sequence.

    Each frame is a volume in the scene, hidden from the user, that shares the voxels of the
    sequence, and lies under the parent transform of the volume that the user sees. It is removed
    when the next one is asked for. What the user sees is not changed.

    Args:
        node: A vtkMRMLSequenceNode of volumes, a vtkMRMLSequenceBrowserNode, or the proxy volume
            of one. A volume of several components gives them one after the other, as time points;
            any other volume gives itself.

    Yields:
        The index value, as text ("0.5"), and the volume node.

    Raises:
        SequenceError: There are no volumes in it.
    """
    sequence, browser, proxy = _sequenceOf(node)
    if sequence is None:
        yield from _componentFrames(node)
        return
    for index in range(sequence.GetNumberOfDataNodes()):
        value = sequence.GetNthIndexValue(index)
        dataNode = sequence.GetNthDataNode(index)
        made = _Frame(dataNode, proxy)
        try:
            made.follow(browser, proxy, value)
            yield value, made.node
        finally:
            made.remove()


def sequenceOf(outputs: Iterable[Any], like: Any, name: str = "") -> Any:
    """Return a new sequence of nodes, browsed together with the sequence they were made of.

    Args:
        outputs: The nodes, each with its index value as `sequenceFrames` gave it, or without in
            the order of the frames. They are taken over: the sequence keeps a copy, the scene
            does not keep them. Where they come from a generator, one exists at a time.
        like: What `sequenceFrames` was given.
        name: Of the new sequence; by default that of its first node.

    Returns:
        The vtkMRMLSequenceNode. Its proxy node, `browser.GetProxyNode(sequence)`, shows the frame
        that is browsed to.

    Raises:
        SequenceError: There is no output, or more than frames.
    """
    source, browser, proxy = _sequenceOf(like)
    sequence = slicer.vtkMRMLSequenceNode()
    if source is not None:
        sequence.SetIndexName(source.GetIndexName())
        sequence.SetIndexUnit(source.GetIndexUnit())
        sequence.SetIndexType(source.GetIndexType())
    values = [] if source is None else _indexValues(source)
    for number, output in enumerate(outputs):
        if isinstance(output, tuple):
            value, node = output
        elif source is None or number < len(values):
            value, node = values[number] if values else str(number), output
        else:
            raise SequenceError(
                f"There are more outputs than the {len(values)} frames of '{like.GetName()}'. "
                "Give each with its index value."
            )
        name = name or node.GetName()
        sequence.SetDataNodeAtValue(node, str(value))
        if node.GetScene() is slicer.mrmlScene:
            slicer.mrmlScene.RemoveNode(node)
    if not sequence.GetNumberOfDataNodes():
        raise SequenceError(f"Nothing was made of '{like.GetName()}', so there is no sequence.")
    sequence.SetName(freeName(name))
    slicer.mrmlScene.AddNode(sequence)
    if browser is None:
        title = freeName(f"{sequence.GetName()} browser")
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", title)
    logic = slicer.modules.sequences.logic()
    logic.AddSynchronizedNode(sequence, None, browser)
    logic.UpdateProxyNodesFromSequences(browser)
    shown = browser.GetProxyNode(sequence)
    if shown is not None and proxy is not None and shown.IsA("vtkMRMLTransformableNode"):
        shown.SetAndObserveTransformNodeID(proxy.GetTransformNodeID())
    return sequence


class _Frame:
    """A hidden volume in the scene that shows a frame of a sequence."""

    def __init__(self, dataNode: Any, proxy: Any) -> None:
        if dataNode is None or not dataNode.IsA("vtkMRMLScalarVolumeNode"):
            kind = "nothing" if dataNode is None else dataNode.GetClassName()
            raise SequenceError(
                f"A sequence of volumes is needed; a frame of this one is {kind}. Choose another "
                "sequence."
            )
        isLabelMap = dataNode.IsA("vtkMRMLLabelMapVolumeNode")
        className = "vtkMRMLLabelMapVolumeNode" if isLabelMap else "vtkMRMLScalarVolumeNode"
        self.node: Any = _hidden(className, dataNode.GetName())
        self._transforms: list[Any] = []
        matrix = vtk.vtkMatrix4x4()
        dataNode.GetIJKToRASMatrix(matrix)
        self.node.SetIJKToRASMatrix(matrix)
        self.node.SetAndObserveImageData(dataNode.GetImageData())
        if proxy is not None:
            self.node.SetName(proxy.GetName())
            self.node.SetAndObserveTransformNodeID(proxy.GetTransformNodeID())
            display = proxy.GetDisplayNode()
            if display is not None and display.IsA("vtkMRMLScalarVolumeDisplayNode"):
                self.node.SetAndObserveDisplayNodeID(display.GetID())

    def follow(self, browser: Any, proxy: Any, value: str) -> None:
        """Lie under the transforms of this point in time, where they change with it."""
        child: Any = self.node
        parent: Any = None if proxy is None else proxy.GetParentTransformNode()
        while browser is not None and _isBrowsed(browser, parent):
            sequence = browser.GetSequenceNode(parent)
            moved = None if sequence is None else sequence.GetDataNodeAtValue(value, False)
            copy: Any = _hidden(parent.GetClassName(), parent.GetName())
            copy.CopyContent(parent if moved is None else moved)
            self._transforms.append(copy)
            copy.SetAndObserveTransformNodeID(parent.GetTransformNodeID())
            child.SetAndObserveTransformNodeID(copy.GetID())
            child, parent = copy, parent.GetParentTransformNode()

    def remove(self) -> None:
        """Take the frame out of the scene."""
        for node in (self.node, *self._transforms):
            if node.GetScene() is not None:
                node.GetScene().RemoveNode(node)


def _sequenceOf(node: Any) -> tuple[Any, Any, Any]:
    """Return sequence, browser and proxy volume that a node stands for, or None for each."""
    logic = slicer.modules.sequences.logic()
    if node.IsA("vtkMRMLSequenceNode"):
        browser = logic.GetFirstBrowserNodeForSequenceNode(node)
        return node, browser, None if browser is None else browser.GetProxyNode(node)
    if node.IsA("vtkMRMLSequenceBrowserNode"):
        found = vtk.vtkCollection()
        node.GetSynchronizedSequenceNodes(found, True)
        for index in range(found.GetNumberOfItems()):
            sequence = found.GetItemAsObject(index)
            first = sequence.GetNthDataNode(0)
            if first is not None and first.IsA("vtkMRMLScalarVolumeNode"):
                return sequence, node, node.GetProxyNode(sequence)
        raise SequenceError(
            f"The sequence browser '{node.GetName()}' browses no volumes. Choose another one."
        )
    browser = logic.GetFirstBrowserNodeForProxyNode(node)
    if browser is None:
        return None, None, None
    return browser.GetSequenceNode(node), browser, node


def _componentFrames(volumeNode: Any) -> Iterator[tuple[str, Any]]:
    count = componentCount(volumeNode)
    if count == 1:
        yield "0", volumeNode
        return
    for component in range(count):
        extract = vtk.vtkImageExtractComponents()
        extract.SetInputData(volumeNode.GetImageData())
        extract.SetComponents(component)
        extract.Update()
        frame = _Frame(volumeNode, volumeNode)
        frame.node.SetAndObserveImageData(extract.GetOutput())
        try:
            yield str(component), frame.node
        finally:
            frame.remove()


def _hidden(className: str, name: str) -> Any:
    node = getattr(slicer, className)()
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return slicer.mrmlScene.AddNode(node)


def _isBrowsed(browser: Any, transformNode: Any) -> bool:
    """Tell whether a transform, or one above it, changes with the browser's point in time."""
    while transformNode is not None:
        if browser.GetSequenceNode(transformNode) is not None:
            return True
        transformNode = transformNode.GetParentTransformNode()
    return False


def _indexValues(sequence: Any) -> list[str]:
    return [sequence.GetNthIndexValue(n) for n in range(sequence.GetNumberOfDataNodes())]
