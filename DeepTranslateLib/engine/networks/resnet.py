"""The generator of Johnson et al. 2016 (arXiv:1603.08155) and Zhu et al. 2017 (CycleGAN).

As in the appendix of arXiv:1703.10593, 7.2: c7s1-64, d128, d256, R256 nine times, u128, u64 and
c7s1 with tanh.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from DeepTranslateLib.engine.networks.anysize import padded
from DeepTranslateLib.engine.networks.residualblock import (
    Bounded,
    ResidualBlock,
    doubling_convolution,
    initialise,
    mirrored_convolution,
)
from DeepTranslateLib.engine.networks.unet import norm_layers

PUBLISHED_BLOCKS = 9


class ResNetGenerator(nn.Module):
    """Strided convolutions down, residual blocks, transposed convolutions up; no skips.

    Norms scale and shift, and the convolutions before them have no bias, which a norm would take
    out again. Images of any size are padded with 0, which is air, and cropped back.

    Args:
        dimension: 2 for slices, 3 for volumes.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        channels: Of the finest level, 64 as published; doubled at each level below.
        levels: Resolutions, the full one included; 3 as published.
        norm: "none", "group", "instance" or "batch"; instance as published.
        blocks: Residual blocks at the coarsest level.
        bounded: End with (tanh + 1) / 2; otherwise outputs are any values, such as logits or a
            difference.
    """

    def __init__(
        self,
        dimension: int,
        in_channels: int,
        out_channels: int,
        channels: int,
        levels: int,
        norm: str,
        blocks: int = PUBLISHED_BLOCKS,
        bounded: bool = True,
    ) -> None:
        super().__init__()
        self._multiple = 2 ** (levels - 1)
        bias = norm == "none"
        widths = [channels * 2**level for level in range(levels)]

        def activated(convolution: nn.Module, width: int) -> nn.Sequential:
            return nn.Sequential(
                convolution, *norm_layers(norm, width, dimension), nn.ReLU(inplace=True)
            )

        first = mirrored_convolution(in_channels, channels, 7, 1, bias, dimension)
        stages: list[nn.Module] = [activated(first, channels)]
        for above, width in itertools.pairwise(widths):
            halving = mirrored_convolution(above, width, 3, 2, bias, dimension)
            stages.append(activated(halving, width))
        stages += [ResidualBlock(widths[-1], norm, dimension) for _ in range(blocks)]
        self.encoder = nn.ModuleList(stages)

        rising: list[nn.Module] = []
        for width, above in zip(widths[:0:-1], widths[-2::-1], strict=True):
            rising.append(activated(doubling_convolution(width, above, bias, dimension), above))
        last = mirrored_convolution(channels, out_channels, 7, 1, True, dimension)
        self.decoder = nn.Sequential(*rising, last, Bounded() if bounded else nn.Identity())
        initialise(self, last, published=norm != "none")

    @property
    def encoder_layers(self) -> int:
        """The number of the encoder's last layer, which is the latent; see `encode`."""
        return len(self.encoder)

    def forward(self, images: Tensor) -> list[Tensor]:
        """One output (B, out_channels, *S) for images (B, in_channels, *S)."""
        (latent,) = self.encode(images, [self.encoder_layers])
        return [self.decode(latent, images.shape[2:])]

    def encode(self, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Features of some layers of the encoder, in the order asked for.

        Layer 0 is the image itself, 1 what follows the first convolution, then one for each
        halving and one for each residual block, all after norm and ReLU. Park et al. 2020 (CUT)
        compare those of the image, of both halvings and of the first and fifth block: with 3
        levels 0, 2, 3, 4 and 8.

        Args:
            images: (B, in_channels, *S).
            layers: From 0 to `encoder_layers`; nothing beyond the last of them is computed.

        Raises:
            ValueError: There is no such layer.
        """
        for layer in layers:
            if not 0 <= layer <= self.encoder_layers:
                raise ValueError(
                    f"expected layers of the encoder from 0 to {self.encoder_layers}, found {layer}"
                )
        features = padded(images, self._multiple)
        found = {0: features}
        for number in range(1, max(layers, default=0) + 1):
            features = self.encoder[number - 1](features)
            found[number] = features
        return [found[layer] for layer in layers]

    def decode(self, latent: Tensor, size: Sequence[int]) -> Tensor:
        """Images (B, out_channels, *size) of the encoder's last layer."""
        return cropped(self.decoder(latent), size)


def cropped(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images without what lies beyond a size at the end of each axis."""
    beyond = [(0, wanted - length) for length, wanted in zip(images.shape[2:], size, strict=True)]
    return F.pad(images, [number for axis in reversed(beyond) for number in axis])
