"""Parent transforms of nodes, and where they carry points and grids.

Slicer's transforms map points: a node's own coordinates to the world (RAS, mm) and back.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util import numpy_support

from DeepTranslateLib.image import Image, ImageError

# Positions along each axis at which a warped image's outline is measured.
_LATTICE = 21
# A warp that spreads an image over more than this many times its voxels is a mistake.
_LARGEST_GROWTH = 8


def matrixToWorld(node: Any) -> npt.NDArray[np.float64] | None:
    """Return the (4, 4) matrix from a node's own coordinates to the world, in mm.

    All parent transforms are taken together. None: one of them is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        return None
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def transformToWorld(node: Any) -> Any:
    """Return the vtkGeneralTransform from a node's own coordinates to the world."""
    transform = vtk.vtkGeneralTransform()
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetTransformToWorld(transform)
    return transform


def transformFromWorld(node: Any) -> Any:
    """Return the vtkGeneralTransform from the world to a node's own coordinates."""
    transform = vtk.vtkGeneralTransform()
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetTransformFromWorld(transform)
    return transform


def chained(*steps: Any) -> Any:
    """Return the vtkGeneralTransform that does one step after the other.

    Args:
        *steps: Transforms of VTK, or (4, 4) matrices.
    """
    transform = vtk.vtkGeneralTransform()
    transform.PostMultiply()
    for step in steps:
        if isinstance(step, np.ndarray):
            step = slicer.util.vtkMatrixFromArray(step)
        transform.Concatenate(step)
    return transform


def gridImage(shape: tuple[int, int, int], affine: npt.NDArray[np.float64]) -> Image:
    """Return an Image that only says where its voxels lie: all 0, in no memory.

    Raises:
        ImageError: As for Image.
    """
    return Image(np.broadcast_to(np.uint8(0), shape), affine)


def warpedGrid(grid: Image, transform: Any) -> Image:
    """Return a grid with voxels of about the same size that covers a warped one.

    Its axes are perpendicular and follow the warp on average, so that axial slices of a patient
    that the transform turns stay axial. An identity gives the grid back.

    Args:
        grid: Where the voxels lie before the transform; their values do not matter.
        transform: Of VTK, from the grid's coordinates to the new ones.

    Raises:
        ImageError: The transform tears the grid apart or folds it flat.
    """
    size = np.array(grid.shape[::-1])
    # Outer edges of the voxels, so that no half voxel is cut off.
    axes = [np.linspace(-0.5, n - 0.5, _LATTICE) for n in size]
    indices = np.array(list(itertools.product(*axes)))
    warped = mappedPoints(transform, grid.ras(indices))
    if not np.isfinite(warped).all():
        raise ImageError(
            "The transform maps parts of the image to infinity. Check the transform, or harden it."
        )
    design = np.column_stack([indices, np.ones(len(indices))])
    linear = np.linalg.lstsq(design, warped, rcond=None)[0].T
    spacing = np.linalg.norm(linear[:, :3], axis=0)
    left, scales, right = np.linalg.svd(linear[:, :3] / np.maximum(spacing, 1e-12))
    if scales.min() < 1e-3:
        raise ImageError(
            "The transform folds the image flat. Check the transform that the node is under."
        )
    # The closest perpendicular axes; the sign of the determinant, and so the handedness, stays.
    directions = left @ right
    inFrame = warped @ directions / spacing
    low, high = inFrame.min(axis=0), inFrame.max(axis=0)
    count = np.maximum(1, np.ceil(high - low - 1e-3)).astype(int)
    if count.prod() > _LARGEST_GROWTH * size.prod() + _LATTICE**3:
        raise ImageError(
            f"The transform spreads an image of {size.tolist()} voxels over {count.tolist()}. "
            "Check the transform that the node is under."
        )
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = directions @ (((low + high) / 2 - (count - 1) / 2) * spacing)
    return gridImage((int(count[2]), int(count[1]), int(count[0])), affine)


def mappedPoints(transform: Any, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return points (N, 3) carried through a transform of VTK."""
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    for container in (before, after):
        container.SetDataTypeToDouble()
    before.SetData(numpy_support.numpy_to_vtk(np.ascontiguousarray(points, np.float64), deep=True))
    transform.TransformPoints(before, after)
    return numpy_support.vtk_to_numpy(after.GetData()).copy()
