"""Affines: where voxel axes point in the patient; the only place that knows RAS from LPS."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Cosine between two axes above which they count as sheared: headers with few decimals stay below.
SHEAR_TOLERANCE = 2e-4
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
CODES = ("RL", "AP", "SI")  # per world axis: the positive direction's letter, the negative's


class ImageError(ValueError):
    """An image cannot be read, written or used: what was expected, what was found, what to do."""


def checked_affine(affine: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return a read-only (4, 4) copy of an affine to RAS in mm.

    Raises:
        ImageError: It is of another shape, not finite, not invertible, or no affine.
    """
    try:
        matrix = np.array(affine, np.float64)
    except (TypeError, ValueError):
        raise ImageError("The affine is not a 4 x 4 matrix of numbers.") from None
    if matrix.shape != (4, 4):
        raise ImageError(f"The affine must be 4 x 4; it is {size_text(matrix.shape)}.")
    if not np.isfinite(matrix).all():
        raise ImageError(
            "The affine holds values that are not finite, so the image has no place in the "
            "patient. Repair its header (spacing, directions, origin) where the image was made."
        )
    if not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise ImageError(f"The affine's last row must be 0, 0, 0, 1; it is {matrix[3].tolist()}.")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    # Relative to the lengths, so that micrometre voxels are not taken for flat ones.
    if lengths.min() == 0 or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-6:
        raise ImageError(
            "The affine cannot be inverted: two axes point the same way or a spacing is 0 "
            f"(spacings {lengths.round(6).tolist()} mm). Repair the image's header."
        )
    matrix.flags.writeable = False
    return matrix


def closest_axes(directions: npt.NDArray[np.float64]) -> tuple[int, ...]:
    """Return for I, J, K the world axis each is closest to, every world axis once."""
    cosines = np.abs(directions)
    return max(
        itertools.permutations(range(3)),
        key=lambda worlds: sum(cosines[world, axis] for axis, world in enumerate(worlds)),
    )


def worlds_of_code(code: str) -> list[int]:
    """Return for each letter of an orientation such as "LPS" the world axis it is about.

    Raises:
        ImageError: It is no orientation.
    """
    letters = code.upper() if isinstance(code, str) else ""
    worlds = [axis for letter in letters for axis, pair in enumerate(CODES) if letter in pair]
    if len(letters) != 3 or sorted(worlds) != [0, 1, 2]:
        raise ImageError(
            f"An orientation is three letters, one each of R or L, A or P, S or I, such as "
            f'"LPS"; this is {code!r}.'
        )
    return worlds


def affine_from_lps(lps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the (4, 4) affine to RAS of one to LPS, as DICOM headers describe it."""
    return _LPS_FROM_RAS @ lps


def other_world(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a (4, 4) matrix between positions in RAS as one between positions in LPS, or back."""
    return _LPS_FROM_RAS @ matrix @ _LPS_FROM_RAS


def sitk_geometry(
    affine: npt.NDArray[np.float64],
) -> tuple[list[float], list[float], list[float]]:
    """Return origin, spacing and direction in LPS as SimpleITK takes them."""
    lps = _LPS_FROM_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return lps[:3, 3].tolist(), spacing.tolist(), (lps[:3, :3] / spacing).ravel().tolist()


def size_text(shape: Sequence[int]) -> str:
    """Return a shape as a person writes it."""
    return " x ".join(str(n) for n in shape)
