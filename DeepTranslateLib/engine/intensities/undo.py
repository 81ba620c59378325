"""What standardisation and bias correction did to a volume, done to others and undone again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.engine.intensities.standardisation import Scale

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Changes:
    """Changes of an upright volume's intensities: divided by a field, then brought to a scale.

    Attributes:
        scale: To the standard scale; None: there was none.
        field: (slices, rows, columns) that the volume was divided by; None: there was none.
    """

    scale: Scale | None = None
    field: npt.NDArray[np.float32] | None = None

    def made(self, values: Values, where: tuple[slice, ...] = ()) -> Values:
        """Values (slices, rows, columns) in the image's units as the network's image has them.

        Args:
            values: As many as `where` chooses.
            where: Which slices, rows and columns they are; default: all.
        """
        if self.field is not None:
            values = (values / self.field[where]).astype(np.float32)
        return values if self.scale is None else self.scale.apply(values)

    def undone(self, values: Values, where: tuple[slice, ...] = ()) -> Values:
        """Values of the network's scale in the image's units, arguments as of `made`."""
        if self.scale is not None:
            values = self.scale.undo(values)
        if self.field is not None:
            values = (values * self.field[where]).astype(np.float32)
        return values
