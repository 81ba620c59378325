"""Layers of a segmentation, brought onto the grid of an image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util import numpy_support

from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.mrml.resampling import resampledThrough
from DeepTranslateLib.mrml.transforms import (
    chained,
    matrixToWorld,
    transformFromWorld,
    transformToWorld,
)

_BINARY, _SURFACE = "Binary labelmap", "Closed surface"
# Voxels that lie less than this part of a voxel apart are the same.
_SAME_VOXEL = 1e-2

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class LabelLayer:
    """Segments that do not overlap, as values in one array.

    Args:
        voxels: (K, J, I) values, within `box` of the grid.
        box: Where the voxels lie in the grid.
        numbers: Number of the segment, from 1, of each value that counts.
    """

    voxels: npt.NDArray[Any]
    box: Box
    numbers: dict[int, int]

    def owners(self, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return the number of the segment that each voxel belongs to, 0 for none."""
        table = np.zeros(max(self.numbers) + 2, dtype)
        for value, number in self.numbers.items():
            table[value] = number
        return lookedUp(self.voxels, table, np.empty(self.voxels.shape, dtype))


def lookedUp(
    values: npt.NDArray[Any], table: npt.NDArray[Any], out: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Write the table's entry for each value to `out` and return it.

    Values below 0 take the first entry, those beyond the table the last.

    Args:
        values: (K, J, I).
        table: (N,).
        out: (K, J, I), of the table's type.
    """
    # A slice at a time: numpy turns indices into 64-bit ones first, eight times the label map.
    for target, plane in zip(out, values, strict=True):
        np.take(table, plane.astype(np.intp), out=target, mode="clip")
    return out


def labelLayers(segmentationNode: Any, ids: Sequence[str], grid: Image) -> list[LabelLayer]:
    """Return the layers that hold these segments, on a grid in the world.

    Args:
        segmentationNode: A vtkMRMLSegmentationNode; it is not changed.
        ids: Of the segments, numbered in this order from 1.
        grid: Image whose voxels are meant.

    Raises:
        ImageError: A segment has neither voxels nor a surface that could be filled.
    """
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSourceRepresentationName() == _SURFACE:
        return _surfaceLayers(segmentationNode, ids, grid)
    if segmentation.GetSourceRepresentationName() != _BINARY:
        segmentation = _converted(segmentationNode)
    shared: dict[Any, dict[int, int]] = {}
    for number, identifier in enumerate(ids, 1):
        segment = segmentation.GetSegment(identifier)
        stored = segment.GetRepresentation(_BINARY)
        if stored is not None and stored.GetNumberOfPoints() > 0:
            shared.setdefault(stored, {})[segment.GetLabelValue()] = number
    layers = [_onGrid(segmentationNode, each, numbers, grid) for each, numbers in shared.items()]
    return [layer for layer in layers if layer is not None]


def _onGrid(
    segmentationNode: Any, stored: Any, numbers: dict[int, int], grid: Image
) -> LabelLayer | None:
    scalars = stored.GetPointData().GetScalars()
    voxels = numpy_support.vtk_to_numpy(scalars).reshape(stored.GetDimensions()[::-1])
    matrix = vtk.vtkMatrix4x4()
    stored.GetImageToWorldMatrix(matrix)
    affine = slicer.util.arrayFromVTKMatrix(matrix)
    # Layers begin at their extent: where the segments begin, not where the volume does.
    affine[:3, 3] += affine[:3, :3] @ np.array(stored.GetExtent()[::2], float)
    local = Image(voxels, affine)
    toWorld = matrixToWorld(segmentationNode)
    if toWorld is None:
        transform = transformFromWorld(segmentationNode)
        found = resampledThrough(local, grid, transform, "nearest")
        return LabelLayer(found.voxels, _boxOf(np.zeros(3, int), grid.shape), numbers)
    toGrid = np.linalg.inv(grid.affine) @ toWorld @ affine
    size = np.array(voxels.shape[::-1])
    corners = np.array(list(itertools.product(*((0, n - 1) for n in size)))) + 0.0
    inGrid = corners @ toGrid[:3, :3].T + toGrid[:3, 3]
    offset = np.rint(inGrid[0]).astype(int)
    if np.abs(inGrid - corners - offset).max() < _SAME_VOXEL:
        low, high = offset, offset + size
    else:
        # Half a voxel of the layer reaches beyond its outermost centres.
        reach = np.abs(toGrid[:3, :3]).sum(axis=1) / 2
        low = np.floor(inGrid.min(axis=0) - reach).astype(int)
        high = np.ceil(inGrid.max(axis=0) + reach).astype(int) + 1
        offset = None
    start = np.maximum(low, 0)
    stop = np.minimum(high, grid.shape[::-1])
    if (start >= stop).any():
        return None
    box = _boxOf(start, (stop - start)[::-1])
    if offset is not None:
        return LabelLayer(voxels[_boxOf(start - offset, (stop - start)[::-1])], box, numbers)
    part = grid.cropped(start.tolist(), stop.tolist())
    found = resampledThrough(local, part, np.linalg.inv(toWorld), "nearest")
    return LabelLayer(found.voxels, box, numbers)


def _surfaceLayers(segmentationNode: Any, ids: Sequence[str], grid: Image) -> list[LabelLayer]:
    """Return a layer for each segment, filled from its closed surface in the world."""
    toIjk = chained(transformToWorld(segmentationNode), np.linalg.inv(grid.affine))
    segmentation = segmentationNode.GetSegmentation()
    layers = []
    for number, identifier in enumerate(ids, 1):
        surface = segmentation.GetSegment(identifier).GetRepresentation(_SURFACE)
        if surface is None or surface.GetNumberOfPoints() == 0:
            continue
        warped = vtk.vtkTransformPolyDataFilter()
        warped.SetInputData(surface)
        warped.SetTransform(toIjk)
        stencil = vtk.vtkPolyDataToImageStencil()
        stencil.SetInputConnection(warped.GetOutputPort())
        depth, height, width = grid.shape
        stencil.SetOutputWholeExtent(0, width - 1, 0, height - 1, 0, depth - 1)
        filled = vtk.vtkImageStencilToImage()
        filled.SetInputConnection(stencil.GetOutputPort())
        filled.SetInsideValue(1)
        filled.SetOutsideValue(0)
        filled.SetOutputScalarTypeToUnsignedChar()
        filled.Update()
        scalars = filled.GetOutput().GetPointData().GetScalars()
        voxels = numpy_support.vtk_to_numpy(scalars).reshape(grid.shape)
        layers.append(LabelLayer(voxels, _boxOf(np.zeros(3, int), grid.shape), {1: number}))
    return layers


def _converted(segmentationNode: Any) -> Any:
    """Return a copy of a segmentation of another representation, as label maps."""
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentationNode.GetSegmentation())
    if copy.GetNumberOfSegments() and not copy.CreateRepresentation(_BINARY):
        raise ImageError(
            f"The segmentation '{segmentationNode.GetName()}' is kept as "
            f"'{copy.GetSourceRepresentationName()}', which cannot be made into voxels. Create its "
            "binary labelmap representation in the Segmentations module."
        )
    return copy


def _boxOf(start: npt.NDArray[np.int_], shape: Sequence[int]) -> Box:
    """Return the slices of (K, J, I) for a first (i, j, k) and a shape (K, J, I)."""
    k, j, i = (slice(int(a), int(a) + int(n)) for a, n in zip(start[::-1], shape, strict=True))
    return k, j, i
