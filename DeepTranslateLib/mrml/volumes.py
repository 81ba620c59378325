"""Volume nodes <-> Image.

An Image lies in the world; a volume node lies in the coordinates of its parent transform. Here is
where one becomes the other: exactly where the transforms are linear, resampled where they are not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util import numpy_support

from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.image.volume import Interpolation
from DeepTranslateLib.mrml.naming import freeName
from DeepTranslateLib.mrml.resampling import resampledThrough
from DeepTranslateLib.mrml.transforms import (
    gridImage,
    matrixToWorld,
    transformFromWorld,
    transformToWorld,
    warpedGrid,
)

# What Slicer can hold, show and write to NRRD.
_STORABLE = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
# Matrices that differ by less than this (mm) are the same one after a round trip in float64.
_SAME_MATRIX = 1e-6


class VolumeError(ImageError):
    """A volume node cannot be used: what was expected, what was found, what to do."""


def componentCount(volumeNode: Any) -> int:
    """Return how many numbers a voxel holds: 1 for CT and MR, 3 for colour.

    Raises:
        VolumeError: The node holds no voxels.
    """
    return _scalars(volumeNode).GetNumberOfComponents()


def localGrid(volumeNode: Any) -> Image:
    """Return where a volume's voxels lie in the coordinates of its parent transform.

    Raises:
        VolumeError: The node holds no voxels, or its matrix has no inverse.
    """
    _scalars(volumeNode)
    imageData = volumeNode.GetImageData()
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    affine = slicer.util.arrayFromVTKMatrix(matrix)
    # Slicer's voxel indices begin at the extent, numpy's at 0.
    affine[:3, 3] += affine[:3, :3] @ np.array(imageData.GetExtent()[::2], float)
    try:
        return gridImage(imageData.GetDimensions()[::-1], affine)
    except ImageError as error:
        raise VolumeError(f"The volume '{volumeNode.GetName()}' cannot be used. {error}") from error


def worldGrid(volumeNode: Any) -> Image:
    """Return where the voxels of `imageFromVolume` lie in the world (RAS, mm).

    Raises:
        VolumeError: As for imageFromVolume.
    """
    grid = localGrid(volumeNode)
    matrix = matrixToWorld(volumeNode)
    try:
        if matrix is not None:
            return gridImage(grid.shape, matrix @ grid.affine)
        return warpedGrid(grid, transformToWorld(volumeNode))
    except ImageError as error:
        raise VolumeError(f"The volume '{volumeNode.GetName()}' cannot be used. {error}") from error


def imageFromVolume(volumeNode: Any, component: int | None = None) -> Image:
    """Return a volume, or a label map, as the world sees it: below all its parent transforms.

    The voxels are the node's own memory, not a copy, unless a transform is not linear: then they
    are resampled (label maps by nearest neighbour) onto a grid that covers the warped volume.
    Read it before the node is changed.

    Args:
        volumeNode: A vtkMRMLScalarVolumeNode or one of its kinds.
        component: Which of several components, from 0; None where there is one.

    Raises:
        VolumeError: No voxels, several components and none chosen, or a matrix without inverse.
    """
    grid = localGrid(volumeNode)
    voxels = _voxels(volumeNode, component)
    world = worldGrid(volumeNode)
    if matrixToWorld(volumeNode) is not None:
        return Image(voxels, world.affine)
    isLabelMap = volumeNode.IsA("vtkMRMLLabelMapVolumeNode")
    background = volumeNode.GetImageBackgroundScalarComponentAsDouble(component or 0)
    return resampledThrough(
        Image(voxels, grid.affine),
        world,
        transformFromWorld(volumeNode),
        "nearest" if isLabelMap else "linear",
        0.0 if isLabelMap else background,
    )


def imageUnder(image: Image, volumeNode: Any, interpolation: Interpolation) -> Image:
    """Return an image of the world in the coordinates of a volume's parent transform.

    What was made of `imageFromVolume(volumeNode)` comes back on the volume's own grid.

    Args:
        image: In the world.
        volumeNode: The volume whose parent transform is meant.
        interpolation: Used where a transform is not linear: "linear" for intensities, whose
            lowest is then outside the image, "nearest" for labels, with 0 outside.

    Raises:
        VolumeError: As for imageFromVolume.
    """
    own = localGrid(volumeNode)
    matrix = matrixToWorld(volumeNode)
    if matrix is not None:
        affine = np.linalg.inv(matrix) @ image.affine
        affine[3] = (0, 0, 0, 1)
        if image.shape == own.shape and np.allclose(affine, own.affine, rtol=0, atol=_SAME_MATRIX):
            affine = own.affine
        return Image(image.voxels, affine)
    if not image.same_grid(worldGrid(volumeNode)):
        own = warpedGrid(image, transformFromWorld(volumeNode))
    fill = float(image.voxels.min()) if interpolation == "linear" else 0.0
    return resampledThrough(image, own, transformToWorld(volumeNode), interpolation, fill)


def volumeFromImage(
    image: Image,
    name: str,
    inputVolume: Any = None,
    outputNode: Any = None,
    window: tuple[float, float] | None = None,
) -> Any:
    """Put an image into the scene as a volume node.

    Args:
        image: In the world (RAS, mm). Types that Slicer cannot write become ones it can: int8
            int16; 64-bit integers 32-bit ones, or float64 where they do not fit.
        name: Name of the new node; a given `outputNode` keeps its own.
        inputVolume: The volume that the image was made of. The node is placed under its parent
            transform, and where that is linear or the image covers it, on its very grid.
        outputNode: An existing volume whose voxels are replaced, once everything is computed.
        window: Lowest and highest intensity shown; None: the input's, or chosen by Slicer.

    Returns:
        The vtkMRMLScalarVolumeNode.

    Raises:
        VolumeError: `outputNode` is the input or no volume of one component, or the input's
            place cannot be found.
    """
    if outputNode is not None:
        _checkOutput(outputNode, inputVolume)
    local = image if inputVolume is None else imageUnder(image, inputVolume, "linear")
    imageData = _vtkImage(_storable(local.voxels))
    node = outputNode
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", freeName(name))
    with slicer.util.NodeModify(node):
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(local.affine))
        node.SetAndObserveImageData(imageData)
        transform = None if inputVolume is None else inputVolume.GetTransformNodeID()
        node.SetAndObserveTransformNodeID(transform)
    _show(node, inputVolume, window)
    return node


def setUnits(volumeNode: Any, units: str) -> None:
    """Say what a volume's voxel values are, as for volumes that came by DICOM.

    Args:
        volumeNode: A scalar volume.
        units: "HU" is said in codes, which Slicer's Data Probe shows; others have none, and what
            was said before is taken back.
    """
    codes: list[Any] = [None, None]
    if units == "HU":
        codes = [slicer.vtkCodedEntry(), slicer.vtkCodedEntry()]
        codes[0].SetValueSchemeMeaning("112031", "DCM", "Attenuation Coefficient")
        codes[1].SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    volumeNode.SetVoxelValueQuantity(codes[0])
    volumeNode.SetVoxelValueUnits(codes[1])


def _scalars(volumeNode: Any) -> Any:
    imageData = volumeNode.GetImageData()
    scalars = None if imageData is None else imageData.GetPointData().GetScalars()
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise VolumeError(
            f"The volume '{volumeNode.GetName()}' holds no voxels: it was never filled, or its "
            "file could not be read. Choose another volume, or load it again."
        )
    return scalars


def _voxels(volumeNode: Any, component: int | None) -> npt.NDArray[Any]:
    """Return the node's memory as (K, J, I), of one component."""
    scalars = _scalars(volumeNode)
    count = scalars.GetNumberOfComponents()
    name = volumeNode.GetName()
    if component is None and count > 1:
        raise VolumeError(
            f"The volume '{name}' has {count} components a voxel (colour, vectors or time "
            f"points); one is needed. Choose the component, from 0 to {count - 1}."
        )
    if not 0 <= (component or 0) < count:
        raise VolumeError(
            f"The volume '{name}' has the components 0 to {count - 1}; {component} was chosen."
        )
    voxels = numpy_support.vtk_to_numpy(scalars)
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    return voxels.reshape((*shape, count))[..., component or 0]


def _checkOutput(outputNode: Any, inputVolume: Any) -> None:
    if outputNode is inputVolume:
        raise VolumeError(
            f"The output would overwrite the input '{outputNode.GetName()}'. Choose another "
            "output volume, or let a new one be made."
        )
    isVolume = outputNode.IsA("vtkMRMLScalarVolumeNode")
    if not isVolume or outputNode.IsA("vtkMRMLTensorVolumeNode"):
        raise VolumeError(
            f"The output '{outputNode.GetName()}' is no scalar volume. Choose another output "
            "volume, or let a new one be made."
        )


def _storable(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if voxels.dtype.name in _STORABLE:
        return voxels
    if voxels.dtype == np.int8:
        return voxels.astype(np.int16)
    low, high = int(voxels.min()), int(voxels.max())
    for dtype in (np.int32, np.uint32):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return voxels.astype(dtype)
    return voxels.astype(np.float64)


def _vtkImage(voxels: npt.NDArray[Any]) -> Any:
    """Return a vtkImageData with a copy of the voxels: nodes are edited, images are not."""
    imageData = vtk.vtkImageData()
    imageData.SetDimensions(voxels.shape[::-1])
    imageData.AllocateScalars(numpy_support.get_vtk_array_type(voxels.dtype), 1)
    scalars = numpy_support.vtk_to_numpy(imageData.GetPointData().GetScalars())
    np.copyto(scalars.reshape(voxels.shape), voxels)
    return imageData


def _show(node: Any, inputVolume: Any, window: tuple[float, float] | None) -> None:
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    like = None if inputVolume is None else inputVolume.GetDisplayNode()
    if not display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        return
    if window is not None:
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(float(window[0]), float(window[1]))
    elif like is not None and like.IsA("vtkMRMLScalarVolumeDisplayNode"):
        display.AutoWindowLevelOff()
        display.SetWindowLevel(like.GetWindow(), like.GetLevel())
    else:
        display.AutoWindowLevelOn()
