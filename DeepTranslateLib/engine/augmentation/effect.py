"""What all changes of an image's values have in common."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Effect(Protocol):
    """A change of values with everything that was drawn for it; calling it twice is the same."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return the changed image.

        Args:
            image: (C, rows, columns) or (C, slices, rows, columns) fp32, 0 (air) to 1.
        """
