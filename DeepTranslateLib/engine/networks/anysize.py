"""Images of any size for networks that halve only even sizes."""

from __future__ import annotations

from abc import abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn


class AnySize(nn.Module):
    """Pads images with 0, which is air, to a size that a network can halve, and crops back.

    Padding is added at the end of each axis alone, so that a pixel of an output at half the size
    covers the same pixels of the image with and without it.

    Args:
        network: What a subclass calls.
        halvings: How often it halves the size.
    """

    def __init__(self, network: nn.Module, halvings: int) -> None:
        super().__init__()
        self.network = network
        self._multiple = 2**halvings

    def forward(self, images: Tensor) -> list[Tensor]:
        """Outputs (B, out_channels, ...) for images (B, in_channels, *S), that of size S first."""
        whole = padded(images, self._multiple)
        return [_cropped(output, whole, images) for output in self.outputs(whole)]

    @abstractmethod
    def outputs(self, images: Tensor) -> list[Tensor]:
        """Outputs for images whose sizes are multiples, finest first."""


def padded(images: Tensor, multiple: int) -> Tensor:
    """Images (B, C, *S) with 0 at the end of each axis, up to a multiple.

    Twice the multiple at least: a norm over a single pixel could not learn.
    """
    padding: list[int] = []  # as `F.pad` takes it: before and after, the last axis first
    for length in reversed(images.shape[2:]):
        wanted = max(2, -(-length // multiple)) * multiple
        padding += [0, wanted - length]
    return F.pad(images, padding)


def _cropped(output: Tensor, padded: Tensor, images: Tensor) -> Tensor:
    """The part of an output, at its own resolution, that lies over the image."""
    for axis in range(2, images.ndim):
        pixels = padded.shape[axis] // output.shape[axis]
        output = output.narrow(axis, 0, -(-images.shape[axis] // pixels))
    return output
