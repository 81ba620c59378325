"""Networks that say what to change rather than what to show."""

from __future__ import annotations

from torch import Tensor, nn

from DeepTranslateLib.engine.networks.coarser import averaged
from DeepTranslateLib.recipe import Recipe


class Residual(nn.Module):
    """Adds the input, as a value of the target's range, to what a network says (He et al. 2016).

    Args:
        network: Takes (B, C, *S); returns a list of outputs with one channel, of size S first.
        channel: Of the input that is to be changed.
        scale: Target value, 0 to 1 over its range, of an input of 1, less the offset.
        offset: Target value of an input of 0.
    """

    def __init__(self, network: nn.Module, channel: int, scale: float, offset: float) -> None:
        super().__init__()
        self.network = network
        self._channel = channel
        self._scale = scale
        self._offset = offset

    def forward(self, images: Tensor) -> list[Tensor]:
        """Outputs (B, 1, ...) for images (B, C, *S), that of size S first."""
        start = images[:, self._channel : self._channel + 1] * self._scale + self._offset
        return [averaged(start, output.shape[2:]) + output for output in self.network(images)]


def scale_and_offset(recipe: Recipe) -> tuple[float, float]:
    """From what a network sees of an input (0 to 1 over the window) to what a target's value is.

    Both are in the same units, so that 0 to 1 over the target's range is a linear function of it.
    """
    assert recipe.target.range is not None
    low, high = recipe.target.range
    first, last = recipe.preprocessing.window or (0.0, 1.0)
    return (last - first) / (high - low), (first - low) / (high - low)
