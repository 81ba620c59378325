"""Images carried through transforms, by asking for each new voxel where it came from.

Warps such as B-splines, and still more their inverses, take microseconds a point: minutes for a CT.
They are smooth, so they are asked at every few voxels, and tabulated in between.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util import numpy_support

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.volume import Interpolation
from DeepTranslateLib.mrml.transforms import chained, mappedPoints

# Distances between tabulated points, in smallest spacings: the first that is precise is taken.
_STEPS = (8, 4)
# How far off a tabulated position may be, in voxels.
_TOLERANCE = 0.1


def resampledThrough(
    image: Image,
    grid: Image,
    transform: Any,
    interpolation: Interpolation,
    fill: float = 0.0,
) -> Image:
    """Return an image's values at the voxels of a grid that a transform maps into the image.

    Positions are exact for a matrix, and to within a tenth of a voxel for a warp.

    Args:
        image: The values.
        grid: The voxels to fill.
        transform: From the grid's coordinates to the image's: a (4, 4) matrix, or of VTK.
        interpolation: "linear" for intensities, "nearest" for labels; the data type stays.
        fill: Value outside the image.
    """
    toImage = np.linalg.inv(image.affine)
    reslice = vtk.vtkImageReslice()
    if isinstance(transform, np.ndarray):
        linear = vtk.vtkTransform()
        linear.SetMatrix(slicer.util.vtkMatrixFromArray(toImage @ transform @ grid.affine))
        reslice.SetResliceTransform(linear)
    else:
        exact = chained(grid.affine, transform, toImage)
        reslice.SetResliceTransform(_tabulated(exact, grid) or exact)
    voxels = np.ascontiguousarray(image.voxels)  # alive for as long as VTK shows its memory
    reslice.SetInputData(_sharedVtkImage(voxels))
    if interpolation == "linear":
        reslice.SetInterpolationModeToLinear()
    else:
        reslice.SetInterpolationModeToNearestNeighbor()
    reslice.SetBackgroundLevel(float(fill))
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputOrigin(0, 0, 0)
    depth, height, width = grid.shape
    reslice.SetOutputExtent(0, width - 1, 0, height - 1, 0, depth - 1)
    reslice.Update()
    scalars = reslice.GetOutput().GetPointData().GetScalars()
    return Image(numpy_support.vtk_to_numpy(scalars).reshape(grid.shape), grid.affine)


def _tabulated(exact: Any, grid: Image) -> Any:
    """Return a transform of voxel indices that interpolates a table, or None if none is precise."""
    for distance in _STEPS:
        step = np.maximum(1, np.rint(distance * grid.spacing.min() / grid.spacing))
        # Where voxels are few or thick, asking all of them is as quick.
        if step.prod() < 4:
            continue
        count = np.ceil((np.array(grid.shape[::-1]) - 1) / step).astype(int).clip(1) + 1
        table = _positions(exact, step, count, offset=0.0)
        middles = _positions(exact, step, count - 1, offset=0.5)
        # The middle of a cell is the farthest from what is known.
        corners = itertools.product((slice(None, -1), slice(1, None)), repeat=3)
        interpolated = sum(table[corner] for corner in corners) / 8
        if np.abs(interpolated - middles).max() <= _TOLERANCE:
            return _gridTransform(table, step)
    return None


def _positions(
    exact: Any, step: npt.NDArray[np.float64], count: npt.NDArray[np.int_], offset: float
) -> npt.NDArray[np.float64]:
    """Return (K, J, I, 3) displacements, in voxels, at every `step` voxels from `offset` steps."""
    lattice = np.moveaxis(np.indices(count[::-1].tolist()), 0, -1)[..., ::-1]
    points = ((lattice + offset) * step).reshape(-1, 3)
    return (mappedPoints(exact, points) - points).reshape(lattice.shape)


def _gridTransform(table: npt.NDArray[np.float64], step: npt.NDArray[np.float64]) -> Any:
    image = vtk.vtkImageData()
    image.SetDimensions(table.shape[2::-1])
    image.SetSpacing(step)
    vectors = numpy_support.numpy_to_vtk(table.reshape(-1, 3), deep=True)
    image.GetPointData().SetScalars(vectors)
    transform = vtk.vtkGridTransform()
    transform.SetDisplacementGridData(image)
    transform.SetInterpolationModeToLinear()
    return transform


def _sharedVtkImage(voxels: npt.NDArray[Any]) -> Any:
    """Return a vtkImageData, to be read only, that shows a contiguous array's memory."""
    image = vtk.vtkImageData()
    image.SetDimensions(voxels.shape[::-1])
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(voxels.reshape(-1), deep=False))
    return image
