"""What the readers of image files share: quiet libraries, short errors, values in their unit."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image.affine import ImageError


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Keep pydicom's and GDCM's remarks on odd but harmless headers from the user."""
    import pydicom
    import SimpleITK

    shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(shown)


def sentence(error: Exception) -> str:
    """Return the gist of a library's error: its last line, without the place in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].split("ERROR: ")[-1].rstrip(".")[:200]


def several_volumes(path: Path, count: int) -> ImageError:
    """Return the error of a file with more than one volume."""
    return ImageError(
        f"{path} holds {count} volumes (4D: time points, echoes, channels or components); one is "
        "needed. Split it, for example in 3D Slicer or with fslsplit, and give one of the volumes."
    )


def rescaled(
    slices: Iterable[tuple[int, npt.NDArray[Any]]],
    pairs: Sequence[tuple[float, float]],
    shape: tuple[int, int, int],
) -> npt.NDArray[Any]:
    """Return stored values times slope plus intercept, filled slice by slice and so held once.

    Args:
        slices: The index k and the stored values (J, I) of each slice, in any order.
        pairs: Slope and intercept of each slice, by k.
        shape: (K, J, I).

    Returns:
        int16, or int32 where values need it, if all slopes and intercepts are whole numbers and
        the stored values integers; float32 otherwise.
    """
    whole = all(float(slope).is_integer() and float(add).is_integer() for slope, add in pairs)
    values = np.empty(shape, np.int16 if whole else np.float32)
    for k, stored in slices:
        slope, intercept = pairs[k]
        if not whole or stored.dtype.kind == "f":
            values = values.astype(np.float32, copy=False)
            values[k] = stored * slope + intercept
        else:
            scaled = stored.astype(np.int64) * int(slope) + int(intercept)
            values = _wide_enough(values, scaled)
            values[k] = scaled
    return values


def _wide_enough(values: npt.NDArray[Any], new: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return `values`, in a wider type should `new` not fit into the present one."""
    for dtype in (np.int16, np.int32):
        if np.iinfo(dtype).min <= new.min() and new.max() <= np.iinfo(dtype).max:
            return values.astype(np.promote_types(values.dtype, dtype), copy=False)
    return values.astype(np.float32, copy=False)
