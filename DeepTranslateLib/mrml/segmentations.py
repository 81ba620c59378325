"""Segmentation nodes <-> label maps.

A segmentation holds its segments in layers: segments that do not overlap share one label map and
differ by their value in it. Label maps are read and written a layer at a time, so that a hundred
segments cost as much as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util import numpy_support

from DeepTranslateLib.cohort.case import stack_axis
from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.mrml.layers import LabelLayer, labelLayers, lookedUp
from DeepTranslateLib.mrml.naming import freeName
from DeepTranslateLib.mrml.terminology import terminologyOf
from DeepTranslateLib.mrml.volumes import VolumeError, imageFromVolume, imageUnder, worldGrid
from DeepTranslateLib.recipe import Label

_BINARY = "Binary labelmap"


class SegmentationError(ImageError):
    """A segmentation node cannot be used: what was expected, what was found, what to do."""


@dataclass(frozen=True)
class Segment:
    """What a segment is called and looks like.

    Args:
        id: Its id in the segmentation.
        name: Its name, as the user sees it.
        color: Red, green, blue, 0 to 255.
        terminology: The serialized codes, as Slicer keeps them; empty where there are none.
        isEmpty: Whether no voxel belongs to it.
    """

    id: str
    name: str
    color: tuple[int, int, int]
    terminology: str
    isEmpty: bool


@dataclass(frozen=True)
class Overlap:
    """Voxels that belong to two segments, of which a label map can keep one.

    Args:
        first: Name of the segment that lost them.
        second: Name of the segment that received them.
        voxels: How many.
    """

    first: str
    second: str
    voxels: int


def segmentsOf(segmentationNode: Any) -> list[Segment]:
    """Return the segments of a segmentation, in its order."""
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    filled = _filledSegments(segmentation, ids)
    segments = []
    for identifier in ids:
        segment = segmentation.GetSegment(identifier)
        red, green, blue = (round(255 * part) for part in segment.GetColor())
        tag = vtk.reference("")
        segment.GetTag(segment.GetTerminologyEntryTagName(), tag)
        segments.append(
            Segment(
                identifier,
                segment.GetName(),
                (red, green, blue),
                str(tag),
                identifier not in filled,
            )
        )
    return segments


def labelMapFromSegmentation(
    segmentationNode: Any, volumeNode: Any, values: Mapping[str, int]
) -> tuple[Image, list[Overlap]]:
    """Return the segments of a segmentation as a label map on the voxels of a volume.

    The segmentation may lie on another grid and under other transforms; its segments are brought
    to the volume in the world, by nearest neighbour.

    Args:
        segmentationNode: A vtkMRMLSegmentationNode; it is not changed.
        volumeNode: The volume whose `imageFromVolume` the label map fits.
        values: Label value, from 1, of each segment id; later entries win where segments overlap.
            Segments that are not named are background.

    Returns:
        The label map (uint8, or uint16 for values above 255), and where segments of different
        values overlap.

    Raises:
        SegmentationError: There is no such segment, an impossible value, or segments that cannot
            be made into voxels.
        VolumeError: The volume has no voxels or no place.
    """
    grid = worldGrid(volumeNode)
    segmentation = segmentationNode.GetSegmentation()
    for identifier, value in values.items():
        if segmentation.GetSegment(identifier) is None:
            raise SegmentationError(
                f"The segmentation '{segmentationNode.GetName()}' has no segment with the id "
                f"'{identifier}'. Choose among its segments again; it has these: "
                f"{[each.id for each in segmentsOf(segmentationNode)]}."
            )
        if not 0 < value < 1 << 16:
            raise SegmentationError(
                f"The label of segment '{identifier}' is {value}; label values are 1 to 65535."
            )
    names = {identifier: segmentation.GetSegment(identifier).GetName() for identifier in values}
    layers = labelLayers(segmentationNode, list(values), grid)
    owners = np.zeros(grid.shape, np.uint8 if len(values) < 256 else np.uint16)
    for layer in layers:
        # The number of an entry in `values`, from 1: the highest is the last, which wins.
        part = owners[layer.box]
        np.maximum(part, layer.owners(owners.dtype), out=part)
    overlaps = _overlaps(layers, owners, list(values), list(names.values()), list(values.values()))
    table = np.array([0, *values.values()])
    table = table.astype(np.uint8 if table.max() < 256 else np.uint16)
    labels = lookedUp(owners, table, np.empty(grid.shape, table.dtype))
    return Image(labels, grid.affine), overlaps


def labelMapFromNode(labelMapVolumeNode: Any) -> Image:
    """Return a label map volume as the world sees it; as `imageFromVolume`.

    Raises:
        VolumeError: It is no label map volume, or as for imageFromVolume.
    """
    if not labelMapVolumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise VolumeError(
            f"'{labelMapVolumeNode.GetName()}' is no label map volume. Convert it to one in the "
            "Volumes module, or import it as a segmentation."
        )
    return imageFromVolume(labelMapVolumeNode)


def labelledSlices(labelImage: Image, plane: str) -> tuple[int, ...]:
    """Return the slices of a label map that hold any label, as stored, from 0.

    Args:
        labelImage: Label map in any orientation.
        plane: "axial", "coronal" or "sagittal".
    """
    axis = stack_axis(labelImage, plane)
    others = tuple(other for other in range(3) if other != axis)
    return tuple(np.flatnonzero(labelImage.voxels.any(axis=others)).tolist())


def segmentationFromLabels(
    labels: Image,
    recipeLabels: Sequence[Label],
    name: str,
    inputVolume: Any,
    outputNode: Any = None,
    closedSurface: bool = False,
) -> Any:
    """Put a label map into the scene as a segmentation.

    Args:
        labels: Label map in the world (RAS, mm); values of no label are background.
        recipeLabels: One segment each, in their order, also where no voxel has the value. They
            share one label map, in which each keeps its value.
        name: Name of the new node; a given `outputNode` keeps its own.
        inputVolume: The volume that was translated: the segmentation is placed under its parent
            transform and takes its geometry as reference. None: in the world, without reference.
        outputNode: An existing segmentation whose segments are replaced, once everything is
            computed.
        closedSurface: Whether to make surfaces, shown in 3D, too.

    Returns:
        The vtkMRMLSegmentationNode.

    Raises:
        SegmentationError: `outputNode` is no segmentation, or the labels are no whole numbers.
        VolumeError: The input's place cannot be found.
    """
    if outputNode is not None and not outputNode.IsA("vtkMRMLSegmentationNode"):
        raise SegmentationError(
            f"The output '{outputNode.GetName()}' is no segmentation. Choose another output, or "
            "let a new one be made."
        )
    local = labels if inputVolume is None else imageUnder(labels, inputVolume, "nearest")
    layer = _layer(local, [label.value for label in recipeLabels])
    segments = dict(zip(_segmentIds(recipeLabels), recipeLabels, strict=True))
    node = outputNode
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", freeName(name))
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    with slicer.util.NodeModify(node):
        segmentation = node.GetSegmentation()
        segmentation.RemoveAllSegments()
        segmentation.SetSourceRepresentationName(_BINARY)
        node.SetAndObserveTransformNodeID(
            None if inputVolume is None else inputVolume.GetTransformNodeID()
        )
        if inputVolume is not None:
            node.SetReferenceImageGeometryParameterFromVolumeNode(inputVolume)
        for identifier, label in segments.items():
            segmentation.AddSegment(_segment(label, layer), identifier)
    if closedSurface:
        node.CreateClosedSurfaceRepresentation()
    return node


def _filledSegments(segmentation: Any, ids: Iterable[str]) -> set[str]:
    """Return the ids of the segments that hold a voxel, or a surface where there are no voxels."""
    layers: dict[Any, dict[int, str]] = {}
    filled = set()
    for identifier in ids:
        segment = segmentation.GetSegment(identifier)
        voxels = segment.GetRepresentation(_BINARY)
        if voxels is not None:
            layers.setdefault(voxels, {})[segment.GetLabelValue()] = identifier
            continue
        for name in _representations(segment):
            shape = segment.GetRepresentation(name)
            points = shape.GetNumberOfPoints() if hasattr(shape, "GetNumberOfPoints") else 1
            if points:
                filled.add(identifier)
    for voxels, owners in layers.items():
        present = _valuesIn(voxels)
        filled.update(identifier for value, identifier in owners.items() if value in present)
    return filled


def _representations(segment: Any) -> list[str]:
    names: list[str] = []
    segment.GetContainedRepresentationNames(names)
    return names


def _valuesIn(voxels: Any) -> set[int]:
    scalars = voxels.GetPointData().GetScalars()
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return set()
    found: set[int] = set()
    values = numpy_support.vtk_to_numpy(scalars)
    # A slice at a time: the temporary arrays of `unique` are eight times the slice's size.
    for piece in np.array_split(values, max(1, values.size >> 18)):
        low, high = piece.min(), piece.max()
        found.update([int(low)] if low == high else np.unique(piece).astype(int).tolist())
    return found


def _overlaps(
    layers: Sequence[LabelLayer],
    owners: npt.NDArray[Any],
    ids: Sequence[str],
    names: Sequence[str],
    values: Sequence[int],
) -> list[Overlap]:
    """Count for each segment the voxels that went to a segment of another value."""
    if len(layers) < 2:
        return []
    counts: dict[tuple[int, int], int] = {}
    for layer in layers:
        claimed = layer.owners(owners.dtype)
        received = owners[layer.box]
        lost = (claimed > 0) & (claimed != received)
        pairs = claimed[lost].astype(np.int64) << 16 | received[lost]
        for pair, count in zip(*np.unique(pairs, return_counts=True), strict=True):
            counts[int(pair) >> 16, int(pair) & 0xFFFF] = int(count)
    return [
        Overlap(names[first - 1], names[second - 1], count)
        for (first, second), count in sorted(counts.items())
        if values[first - 1] != values[second - 1]
    ]


def _layer(labels: Image, values: Sequence[int]) -> Any:
    """Return a vtkOrientedImageData with a copy of the labels that have a value of these."""
    if labels.voxels.dtype.kind not in "iu":
        raise SegmentationError(
            f"The labels are of type {labels.voxels.dtype}; whole numbers are needed. Round them "
            "to label values first."
        )
    layer = slicer.vtkOrientedImageData()
    layer.SetDimensions(labels.shape[::-1])
    layer.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(labels.affine))
    layer.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    stored = numpy_support.vtk_to_numpy(layer.GetPointData().GetScalars()).reshape(labels.shape)
    table = np.zeros(256, np.uint8)
    table[list(values)] = values
    lookedUp(labels.voxels, table, stored)
    return layer


def _segmentIds(labels: Sequence[Label]) -> list[str]:
    """Return an id for each label: its name, in letters that every file format keeps."""
    ids: list[str] = []
    for label in labels:
        plain = re.sub(r"\W+", "_", label.name, flags=re.ASCII).strip("_") or f"label_{label.value}"
        ids.append(plain if plain not in ids else f"{plain}_{label.value}")
    return ids


def _segment(label: Label, layer: Any) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(label.name)
    segment.SetNameAutoGenerated(False)
    segment.SetColor(*(part / 255 for part in label.color))
    segment.SetColorAutoGenerated(False)
    segment.SetLabelValue(label.value)
    if label.category and label.type:
        segment.SetTag(segment.GetTerminologyEntryTagName(), terminologyOf(label))
    segment.AddRepresentation(_BINARY, layer)
    return segment
