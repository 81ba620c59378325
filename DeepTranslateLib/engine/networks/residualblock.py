"""Residual blocks and the convolutions around them, with borders that mirror the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from DeepTranslateLib.engine.networks.unet import CONVOLUTION, norm_layers

_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_PUBLISHED_SD = 0.02


class ResidualBlock(nn.Module):
    """Two 3x3(x3) convolutions whose output is added to the input (Johnson et al. 2016).

    There is no ReLU after the sum (Gross & Wilber 2016), and borders are mirrored.

    Args:
        channels: Of input and output.
        norm: "none", "group", "instance" or "batch", after each convolution.
        dimension: 2 for slices, 3 for volumes.
    """

    def __init__(self, channels: int, norm: str, dimension: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            mirrored_convolution(channels, channels, 3, 1, norm == "none", dimension),
            *norm_layers(norm, channels, dimension),
            nn.ReLU(inplace=True),
            mirrored_convolution(channels, channels, 3, 1, norm == "none", dimension),
            *norm_layers(norm, channels, dimension),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, channels, *S) for such features."""
        return features + self.layers(features)


class Bounded(nn.Module):
    """(tanh + 1) / 2: the published last layer, for images in 0..1 instead of -1..1.

    In full precision, also under autocast: of bf16, half of the range has steps of 1/256.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Values between 0 and 1."""
        precise = values.to(torch.promote_types(values.dtype, torch.float32))
        return (precise.tanh() + 1) / 2


def mirrored_convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int, bias: bool, dimension: int
) -> nn.Module:
    """A convolution that sees the image mirrored beyond its border; stride 1 keeps the size."""
    return CONVOLUTION[dimension](
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=kernel // 2,
        padding_mode="reflect",
        bias=bias,
    )


def doubling_convolution(
    in_channels: int, out_channels: int, bias: bool, dimension: int
) -> nn.Module:
    """A transposed 3x3(x3) convolution that doubles the size (a stride of one half)."""
    return _TRANSPOSED[dimension](
        in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias
    )


def initialise(network: nn.Module, last: nn.Module, published: bool) -> None:
    """Draw fresh weights.

    Args:
        network: All of it.
        last: Its last convolution, always drawn from a Gaussian with a standard deviation of 0.02.
        published: All others are, too (Isola et al. 2017), which keeps no signal alive unless norms
            scale it back. Otherwise as He et al. 2015, and residual blocks without norms begin as
            the identity (Zhang et al. 2019, arXiv:1901.09321), so that many do not add up.
    """
    for module in network.modules():
        if not isinstance(module, _CONVOLUTIONS):
            continue
        if published or module is last:
            nn.init.normal_(module.weight, std=_PUBLISHED_SD)
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if published:
        return
    for block in network.modules():
        if isinstance(block, ResidualBlock) and isinstance(block.layers[-1], _CONVOLUTIONS):
            nn.init.zeros_(block.layers[-1].weight)
