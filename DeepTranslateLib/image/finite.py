"""Voxels that are no numbers: a network would spread one of them over all that it sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image.volume import Image, ImageError


def count_not_finite(voxels: npt.NDArray[Any]) -> int:
    """How many values (slices, ...) are NaN or infinite."""
    if voxels.dtype.kind != "f":
        return 0
    # Slice by slice: a mask of the whole volume would be large.
    return sum(int(np.count_nonzero(~np.isfinite(piece))) for piece in voxels)


def refuse_not_finite(image: Image, name: str) -> None:
    """Refuse an image with voxels that are no numbers.

    Args:
        image: To look at.
        name: What the message calls it.

    Raises:
        ImageError: It has some.
    """
    broken = count_not_finite(image.voxels)
    if broken:
        raise ImageError(
            f"{broken} voxels of {name} are no numbers (NaN or infinite). Replace them where the "
            "image was made, by the value of air for CT."
        )
