"""Transform: where the points of one image lie in another, and files that keep it.

Positions are RAS in mm, as everywhere; a transform leads from the fixed image, whose grid a
resampled image gets, to the moving one, whose values it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.image.affine import checked_affine, other_world, sitk_geometry
from DeepTranslateLib.image.inversion import inverted_deformation, moved_grid
from DeepTranslateLib.image.reading import quiet_readers, sentence
from DeepTranslateLib.image.volume import Image, ImageError, Interpolation

TRANSFORM_SUFFIXES = (".tfm", ".txt", ".h5")
_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Transform:
    """A chain of steps from positions in a fixed image to positions in a moving one.

    Args:
        steps: Applied in order. A (4, 4) matrix between RAS positions in mm, or a SimpleITK
            transform, which counts in LPS, for a deformation.

    Raises:
        ImageError: A matrix is not finite or cannot be inverted.
    """

    steps: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        """Check the matrices and join those that follow each other."""
        joined: list[Any] = []
        for step in self.steps:
            if not isinstance(step, np.ndarray):
                joined.append(step)
                continue
            matrix = checked_affine(step)
            if joined and isinstance(joined[-1], np.ndarray):
                matrix = checked_affine(matrix @ joined.pop())
            joined.append(matrix)
        object.__setattr__(self, "steps", tuple(joined))

    @property
    def is_linear(self) -> bool:
        """Whether a matrix says it all."""
        return all(isinstance(step, np.ndarray) for step in self.steps)

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """(4, 4) from RAS in the fixed image to RAS in the moving one; of its linear steps."""
        matrix = np.eye(4)
        for step in self.steps:
            matrix = step @ matrix if isinstance(step, np.ndarray) else matrix
        return matrix

    def points(self, ras: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return where in the moving image points (..., 3) of the fixed one lie, RAS in mm."""
        places = np.array(ras, float)
        for step in self.steps:
            if isinstance(step, np.ndarray):
                places = places @ step[:3, :3].T + step[:3, 3]
            else:
                flat = (places * _LPS).reshape(-1, 3)
                moved = [step.TransformPoint(point.tolist()) for point in flat]
                places = np.reshape(moved, places.shape) * _LPS
        return places

    def after(self, first: Transform) -> Transform:
        """Return the transform that applies `first`, then this one."""
        return Transform((*first.steps, *self.steps))

    def inverse(self, moving: Image) -> Transform:
        """Return the way back, from the moving image to the fixed one.

        That of a matrix is exact. A deformation is inverted as a field of displacements on a grid
        about 2.5 mm fine, to about a tenth of a millimetre; where it folds, it is a compromise.

        Args:
            moving: Says where a deformation is inverted; its values do not matter.

        Raises:
            ImageError: The deformation folds more than a thousandth of the space there, so that
                no inverse exists.
        """
        steps: list[Any] = []
        where = moving
        for step in reversed(self.steps):
            if isinstance(step, np.ndarray):
                steps.append(np.linalg.inv(step))
                # What comes before is to be inverted where this step comes from.
                where = moved_grid(where, steps[-1])
            else:
                steps.append(inverted_deformation(step, where))
        return Transform(tuple(steps))

    def resampled(
        self,
        moving: Image,
        grid: Image,
        interpolation: Interpolation | str = "linear",
        fill: float = 0.0,
    ) -> Image:
        """Return the moving image's values at the voxels of a grid in the fixed image's world.

        The data type stays; interpolated integers are rounded.

        Args:
            moving: The image that is resampled.
            grid: The image whose grid is taken; its values do not matter.
            interpolation: "linear" for intensities, "nearest" for labels.
            fill: Value where the moving image does not reach.

        Raises:
            ImageError: An unknown interpolation.
        """
        if interpolation not in ("linear", "nearest"):
            raise ImageError(f'Interpolation is "linear" or "nearest", not {interpolation!r}.')
        import SimpleITK

        source, dtype = moving.to_sitk(), moving.voxels.dtype
        kind, pixel = SimpleITK.sitkNearestNeighbor, source.GetPixelID()
        if interpolation == "linear":
            exact = dtype.itemsize > 2 and dtype != np.float32
            kind = SimpleITK.sitkLinear
            pixel = SimpleITK.sitkFloat64 if exact else SimpleITK.sitkFloat32
        values = SimpleITK.Resample(
            source,
            grid.shape[::-1],
            self.to_sitk(),
            kind,
            *sitk_geometry(grid.affine),
            float(fill),
            pixel,
        )
        return Image(_of_type(SimpleITK.GetArrayViewFromImage(values), dtype), grid.affine)

    def to_sitk(self) -> Any:
        """Return the SimpleITK transform between positions in LPS."""
        import SimpleITK

        steps = [_sitk_affine(s) if isinstance(s, np.ndarray) else s for s in self.steps]
        if len(steps) == 1:
            return steps[0]
        # SimpleITK applies the last one first.
        return SimpleITK.CompositeTransform(steps[::-1]) if steps else SimpleITK.Transform()

    @classmethod
    def from_sitk(cls, transform: Any) -> Transform:
        """Return the Transform of a SimpleITK one between positions in LPS.

        Raises:
            ImageError: It is not of three dimensions.
        """
        import SimpleITK

        if transform.GetDimension() != 3:
            raise ImageError(
                f"The transform has {transform.GetDimension()} dimensions; three are needed."
            )
        transform = transform.Downcast()
        if isinstance(transform, SimpleITK.CompositeTransform):
            inner = [transform.GetNthTransform(n) for n in range(transform.GetNumberOfTransforms())]
            steps = [step for part in reversed(inner) for step in cls.from_sitk(part).steps]
            return cls(tuple(steps))
        if not transform.IsLinear():
            return cls((transform,))
        origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
        lps = np.eye(4)
        for axis in range(3):
            lps[:3, axis] = np.array(transform.TransformPoint(np.eye(3)[axis].tolist())) - origin
        lps[:3, 3] = origin
        return cls((other_world(lps),))


def read_transform(path: str | Path) -> Transform:
    """Return the transform in a file of ITK's format, as `write_transform` and 3D Slicer write it.

    Raises:
        ImageError: There is no such file, or it holds no transform of three dimensions.
        OSError: The file may not be opened.
    """
    import SimpleITK

    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path} does not exist. Give a transform file ({_SUFFIX_TEXT}).")
    with open(path, "rb"):  # a missing right is an OSError, not ITK's "cannot be read"
        pass
    try:
        with quiet_readers():
            return Transform.from_sitk(SimpleITK.ReadTransform(str(path)))
    except RuntimeError as error:
        raise ImageError(
            f"{path} cannot be read as a transform ({sentence(error)}). Give a file that "
            "'deeptranslate register' or 3D Slicer wrote."
        ) from error


def write_transform(transform: Transform, path: str | Path) -> Path:
    """Write a transform whole or not at all, in ITK's text format (.tfm, .txt) or as HDF5 (.h5).

    Returns:
        The path.

    Raises:
        ImageError: Another suffix, no such folder, or the writing failed.
        OSError: The folder may not be written to.
    """
    import SimpleITK

    path = Path(path)
    if path.suffix.lower() not in TRANSFORM_SUFFIXES:
        raise ImageError(
            f"{path} cannot be written: a transform's suffix must be one of {_SUFFIX_TEXT}."
        )
    if not path.parent.is_dir():
        raise ImageError(f"{path} cannot be written: there is no folder {path.parent}.")
    with atomic_file(path) as temporary, quiet_readers():
        try:
            SimpleITK.WriteTransform(transform.to_sitk(), str(temporary))
        except RuntimeError as error:
            raise ImageError(
                f"{path} cannot be written ({sentence(error)}). Check the free space and the "
                "rights of the folder."
            ) from error
    return path


_SUFFIX_TEXT = ", ".join(TRANSFORM_SUFFIXES)


def _sitk_affine(matrix: npt.NDArray[np.float64]) -> Any:
    import SimpleITK

    lps = other_world(matrix)
    return SimpleITK.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist())


def _of_type(voxels: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.kind not in "iu" or voxels.dtype == dtype:
        return voxels.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(voxels), limits.min, limits.max).astype(dtype)
