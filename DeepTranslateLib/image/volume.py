"""Image: voxels and where they lie; the only place that knows IJK from KJI.

An image's world is RAS in millimetres (x grows to the right, y to the front, z to the head), as
in 3D Slicer and NIfTI; SimpleITK and DICOM count in LPS (see `affine`). Indices are named
(i, j, k) with i the fastest; numpy holds them the other way round, `voxels[k, j, i]`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image.affine import (
    CODES,
    SHEAR_TOLERANCE,
    ImageError,
    affine_from_lps,
    checked_affine,
    closest_axes,
    sitk_geometry,
    size_text,
    worlds_of_code,
)

Interpolation = Literal["linear", "nearest"]


@dataclass(frozen=True, eq=False)
class Image:
    """Scalar voxels on a grid in the patient.

    Args:
        voxels: (K, J, I) numbers. Kept as a read-only view; bool becomes uint8, float16 float32.
        affine: (4, 4) from voxel indices (i, j, k, 1) to RAS in mm, of the voxels' centres.

    Raises:
        ImageError: Not three dimensions, an empty one, not real numbers, or an affine that is not
            finite, not invertible or whose last row is not 0, 0, 0, 1.

    Example:
        >>> image = Image(np.zeros((2, 3, 4), np.int16), np.diag([1.0, 1.0, 5.0, 1.0]))
        >>> image.spacing
        array([1., 1., 5.])
    """

    voxels: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        """Validate, and make both arrays read-only."""
        object.__setattr__(self, "voxels", _checked_voxels(self.voxels))
        object.__setattr__(self, "affine", checked_affine(self.affine))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along K, J, I (numpy's order)."""
        return self.voxels.shape

    @property
    def spacing(self) -> npt.NDArray[np.float64]:
        """(3,) distances between voxel centres along I, J, K in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def origin(self) -> npt.NDArray[np.float64]:
        """(3,) RAS position of the first voxel's centre in mm."""
        return self.affine[:3, 3].copy()

    @property
    def directions(self) -> npt.NDArray[np.float64]:
        """(3, 3) unit columns: where I, J and K point in RAS."""
        return self.affine[:3, :3] / self.spacing

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in cubic millimetres."""
        return abs(float(np.linalg.det(self.affine[:3, :3])))

    @property
    def is_left_handed(self) -> bool:
        """Whether I, J, K form a left-handed system, as in radiologically stored NIfTI files."""
        return bool(np.linalg.det(self.affine[:3, :3]) < 0)

    @property
    def is_sheared(self) -> bool:
        """Whether two axes are not perpendicular, beyond what rounding in a header explains."""
        cosines = np.abs(self.directions.T @ self.directions - np.eye(3))
        return bool(cosines.max() > SHEAR_TOLERANCE)

    @property
    def orientation(self) -> str:
        """Three letters, e.g. "LPS": the closest anatomical direction I, J and K point to."""
        code = ""
        for axis, world in enumerate(closest_axes(self.directions)):
            code += CODES[world][0 if self.affine[world, axis] > 0 else 1]
        return code

    def ras(self, ijk: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the RAS positions (..., 3) in mm of voxel indices (..., 3)."""
        return np.asarray(ijk, float) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def ijk(self, ras: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the fractional voxel indices (..., 3) of RAS positions (..., 3) in mm."""
        offset = np.asarray(ras, float) - self.affine[:3, 3]
        return offset @ np.linalg.inv(self.affine[:3, :3]).T

    def with_voxels(self, voxels: npt.NDArray[Any]) -> Image:
        """Return other voxels (K, J, I) on this grid.

        Raises:
            ImageError: The shape is not this image's.
        """
        if np.shape(voxels) != self.shape:
            raise ImageError(
                f"The grid has {size_text(self.shape)} voxels, the new voxels are "
                f"{size_text(np.shape(voxels))} (K x J x I). Resample them onto the grid first."
            )
        return Image(voxels, self.affine)

    def same_grid(self, other: Image, tolerance: float = 1e-2) -> bool:
        """Tell whether two images have the same shape and lie in the same place.

        Args:
            other: The image to compare with.
            tolerance: How far apart any of the eight corners may be, in smallest spacings.
        """
        if self.shape != other.shape:
            return False
        corners = np.array(list(itertools.product(*((-0.5, n - 0.5) for n in self.shape[::-1]))))
        apart = np.linalg.norm(self.ras(corners) - other.ras(corners), axis=1).max()
        return bool(apart <= tolerance * min(self.spacing.min(), other.spacing.min()))

    def oriented(self, code: str = "LPS") -> Image:
        """Return the same image with its axes permuted and flipped to point closest to `code`.

        No voxel is copied or changed, every voxel stays where it is in the patient.

        Args:
            code: Where I, J and K shall point: one each of R or L, A or P, S or I.

        Raises:
            ImageError: `code` is not such a triple.
        """
        wanted = worlds_of_code(code)
        current = closest_axes(self.directions)
        axes = [current.index(world) for world in wanted]
        affine = self.affine.copy()
        affine[:, :3] = affine[:, axes]
        # numpy's axes are K, J, I: index axis a of (i, j, k) is numpy axis 2 - a.
        voxels = self.voxels.transpose([2 - axes[2 - axis] for axis in range(3)])
        for axis, (world, letter) in enumerate(zip(wanted, code.upper(), strict=True)):
            points_to = CODES[world][0 if affine[world, axis] > 0 else 1]
            if points_to != letter:
                affine[:3, 3] += affine[:3, axis] * (voxels.shape[2 - axis] - 1)
                affine[:3, axis] *= -1
                voxels = np.flip(voxels, 2 - axis)
        return Image(voxels, affine)

    def cropped(self, start: Sequence[int], stop: Sequence[int]) -> Image:
        """Return the voxels with start <= (i, j, k) < stop, a view that stays in its place.

        Args:
            start: First i, j and k.
            stop: One past the last i, j and k.

        Raises:
            ImageError: The box is empty or leaves the image.
        """
        size = self.shape[::-1]
        box = [(int(a), int(b)) for a, b in zip(start, stop, strict=False)]
        inside = all(0 <= a < b <= n for (a, b), n in zip(box, size, strict=False))
        if not len(start) == len(stop) == 3 or not inside:
            raise ImageError(
                f"The box from {tuple(start)} to {tuple(stop)} (i, j, k) is empty or leaves the "
                f"image of {size_text(size)} voxels. Choose 0 <= start < stop <= size on each axis."
            )
        affine = self.affine.copy()
        affine[:3, 3] = self.ras([a for a, _ in box])
        return Image(self.voxels[tuple(slice(a, b) for a, b in reversed(box))], affine)

    def resampled_to(
        self, grid: Image, interpolation: Interpolation = "linear", fill: float = 0.0
    ) -> Image:
        """Return this image's values at another image's voxels.

        Args:
            grid: The image whose grid is taken; its values do not matter.
            interpolation: "linear" for intensities (float32 comes back), "nearest" for labels
                (the data type stays).
            fill: Value outside this image.

        Raises:
            ImageError: An unknown interpolation.
        """
        return self._resampled(grid.shape, grid.affine, interpolation, fill)

    def resampled(
        self,
        spacing: Sequence[float] | npt.NDArray[np.float64],
        interpolation: Interpolation = "linear",
        fill: float = 0.0,
    ) -> Image:
        """Return the image with voxels of about another size over the same field of view.

        The volume's outer edges stay, to the last digit; for this the spacing is rounded so that
        a whole number of voxels fits between them. Values are interpolated, not averaged: smooth
        first where fine structure would alias.

        Args:
            spacing: Wanted distances along I, J, K in mm.
            interpolation: As for `resampled_to`.
            fill: As for `resampled_to`.

        Raises:
            ImageError: A spacing that is not positive, or an unknown interpolation.
        """
        wanted = np.asarray(spacing, float)
        if wanted.shape != (3,) or not (np.isfinite(wanted).all() and (wanted > 0).all()):
            raise ImageError(
                f"The spacing is {spacing!r}; it must be three positive distances in mm, along "
                "I, J and K."
            )
        old = np.array(self.shape[::-1])
        new = np.maximum(1, np.rint(old * self.spacing / wanted)).astype(int)
        affine = self.affine.copy()
        affine[:3, :3] *= old / new
        affine[:3, 3] = self.ras((old / new - 1) / 2)
        shape = (int(new[2]), int(new[1]), int(new[0]))
        return self._resampled(shape, affine, interpolation, fill)

    def _resampled(
        self,
        shape: tuple[int, int, int],
        affine: npt.NDArray[np.float64],
        interpolation: str,
        fill: float,
    ) -> Image:
        import SimpleITK

        if interpolation not in ("linear", "nearest"):
            raise ImageError(f'Interpolation is "linear" or "nearest", not {interpolation!r}.')
        linear = interpolation == "linear"
        image = self.to_sitk()
        origin, spacing, direction = sitk_geometry(affine)
        result = SimpleITK.Resample(
            image,
            shape[::-1],
            SimpleITK.Transform(),
            SimpleITK.sitkLinear if linear else SimpleITK.sitkNearestNeighbor,
            origin,
            spacing,
            direction,
            float(fill),
            SimpleITK.sitkFloat32 if linear else image.GetPixelID(),
        )
        # The affine is kept from the grid, not from SimpleITK: no digit is lost on the way.
        return Image(np.asarray(_SharedVoxels(result)), affine)

    def to_sitk(self) -> Any:
        """Return a SimpleITK image (LPS) with a copy of the voxels."""
        import SimpleITK

        image = SimpleITK.GetImageFromArray(self.voxels)
        origin, spacing, direction = sitk_geometry(self.affine)
        image.SetOrigin(origin)
        image.SetSpacing(spacing)
        image.SetDirection(direction)
        return image

    @classmethod
    def from_sitk(cls, image: Any, *, share: bool = False) -> Image:
        """Return the Image of a SimpleITK image of two or three dimensions.

        A two-dimensional one becomes a slice of 1 mm; a fourth dimension of length 1 is dropped.

        Args:
            image: The SimpleITK.Image.
            share: Take over the voxels without a copy. Only for an image that nothing else uses
                or will use: SimpleITK moves its buffer when an image is written to.

        Raises:
            ImageError: Several components (colour, vectors), complex numbers, or four dimensions.
        """
        if image.GetNumberOfComponentsPerPixel() != 1:
            raise ImageError(
                f"The image has {image.GetNumberOfComponentsPerPixel()} components a voxel "
                "(colour or vectors); one is needed. Convert it to one grey value a voxel first."
            )
        if "complex" in image.GetPixelIDTypeAsString():
            raise ImageError(
                "The voxels are complex numbers; real ones are needed. Take the magnitude first."
            )
        size = image.GetSize()
        if len(size) > 3 and math.prod(size[3:]) != 1:
            raise ImageError(
                f"The image has {len(size)} dimensions with {math.prod(size[3:])} volumes; one "
                "volume is needed. Split it and give one of the volumes."
            )
        dimension = len(size)
        direction = np.eye(max(3, dimension))
        direction[:dimension, :dimension] = np.reshape(image.GetDirection(), (dimension, dimension))
        spacing = (*image.GetSpacing(), 1.0)[:3]
        affine = np.eye(4)
        affine[:3, :3] = direction[:3, :3] * spacing
        affine[:3, 3] = (*image.GetOrigin(), 0.0)[:3]
        voxels = np.asarray(_SharedVoxels(image))
        if not share:
            voxels = voxels.copy()
        return cls(voxels.reshape((1, 1, 1, *voxels.shape)[-3:]), affine_from_lps(affine))


class _SharedVoxels:
    """Keeps a SimpleITK image alive for as long as a numpy array shows its buffer.

    GetArrayViewFromImage alone dangles once the image is gone; numpy keeps this one as `base`.
    """

    def __init__(self, image: Any) -> None:
        import SimpleITK

        self._image = image
        self.__array_interface__ = SimpleITK.GetArrayViewFromImage(image).__array_interface__


def _checked_voxels(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    voxels = np.asarray(voxels)
    if voxels.ndim != 3 or 0 in voxels.shape:
        raise ImageError(
            f"An image needs three dimensions (K, J, I), none of them empty; the voxels are "
            f"{size_text(voxels.shape) or 'a single number'}. Give a slice the shape (1, J, I), "
            "and of several volumes or channels one at a time."
        )
    if voxels.dtype.kind not in "biuf":
        raise ImageError(
            f"The voxels are of type {voxels.dtype}; real numbers are needed. Take the magnitude "
            "of complex numbers and one channel of colours."
        )
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    elif voxels.dtype.kind == "f" and voxels.dtype.itemsize not in (4, 8):
        voxels = voxels.astype(np.float32 if voxels.dtype.itemsize < 4 else np.float64)
    elif not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    voxels = voxels.view()
    voxels.flags.writeable = False
    return voxels
