"""The inverse of a deformation, and the grid that it is found on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image.volume import Image, ImageError

# A spline with knots 10 mm apart is smooth enough for this; finer costs memory alone.
_FIELD_MM = 2.5
_INVERSION_STEPS = 60
# Of a deformation; single folds, as where a joint bends, spoil the inverse in their place alone.
_MOST_FOLDED = 1e-3
_LPS = np.array([-1.0, -1.0, 1.0])


def moved_grid(grid: Image, matrix: npt.NDArray[np.float64]) -> Image:
    """A rectangular grid that holds what a matrix makes of another one."""
    moved = Image(grid.voxels, matrix @ grid.affine)
    if not moved.is_sheared:
        return moved
    left, _, right = np.linalg.svd(moved.directions)
    affine = np.eye(4)
    affine[:3, :3] = left @ right * moved.spacing
    ends = [(0, length - 1) for length in grid.shape[::-1]]
    corners = moved.ras(np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3))
    along = corners @ np.linalg.inv(affine[:3, :3]).T
    first, last = along.min(axis=0), along.max(axis=0)
    affine[:3, 3] = affine[:3, :3] @ first
    size = np.ceil(last - first).astype(int) + 1
    return Image(np.broadcast_to(np.uint8(0), size[::-1]), affine)


def inverted_deformation(deformation: Any, where: Image) -> Any:
    """The way back of a deformation, as a field of displacements about 2.5 mm fine.

    Args:
        deformation: A SimpleITK transform between positions in LPS.
        where: Says where it is inverted; its values do not matter.

    Raises:
        ImageError: The deformation folds more than a thousandth of the space there, so that no
            inverse exists.
    """
    import SimpleITK

    steps = np.maximum(1, np.floor(_FIELD_MM / where.spacing)).astype(int)
    # A voxel more at each side, since points near the border come from beyond it.
    size = np.ceil(np.array(where.shape[::-1]) / steps).astype(int) + 2
    affine = where.affine.copy()
    affine[:3, 3] = where.ras(-steps.astype(float))
    affine[:3, :3] *= steps
    grid = Image(np.zeros(size[::-1], np.uint8), affine).to_sitk()
    field = SimpleITK.TransformToDisplacementField(
        deformation,
        SimpleITK.sitkVectorFloat64,
        grid.GetSize(),
        grid.GetOrigin(),
        grid.GetSpacing(),
        grid.GetDirection(),
    )
    if _folded_share(field, deformation) > _MOST_FOLDED:
        raise ImageError(
            "The deformation folds space: two points of one image fall on one point of the "
            "other, and no inverse exists. Register again as rigid or affine."
        )
    inverse = SimpleITK.InvertDisplacementField(
        field,
        maximumNumberOfIterations=_INVERSION_STEPS,
        maxErrorToleranceThreshold=0.01,
        meanErrorToleranceThreshold=0.001,
        enforceBoundaryCondition=False,
    )
    return SimpleITK.DisplacementFieldTransform(inverse)


def _folded_share(field: Any, deformation: Any) -> float:
    """How much of a field is not one to one, of where its deformation is defined."""
    import SimpleITK

    jacobian = SimpleITK.DisplacementFieldJacobianDeterminant(field)
    voxels = SimpleITK.GetArrayViewFromImage(jacobian)
    folded = voxels <= 0
    if isinstance(deformation, SimpleITK.BSplineTransform):
        # Beyond its knots a spline moves nothing, and its border tears without meaning.
        k, j, i = np.nonzero(folded)
        places = Image.from_sitk(jacobian).ras(np.stack([i, j, k], axis=-1)) * _LPS
        direction = np.reshape(deformation.GetTransformDomainDirection(), (3, 3))
        along = (places - deformation.GetTransformDomainOrigin()) @ direction
        size = np.array(deformation.GetTransformDomainPhysicalDimensions())
        margin = 2 * max(field.GetSpacing())
        inside = ((along > margin) & (along < size - margin)).all(axis=1)
        return float(inside.sum() / voxels.size)
    return float(folded.mean())
