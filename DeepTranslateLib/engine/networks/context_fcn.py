"""The 3D network of Nie et al. 2018 (doi:10.1109/TBME.2018.2814538): nine layers at full size.

Published are the nine convolutions and their filters (32, 32, 32, 64, 64, 64, 32, 32, 1), batch
norm and ReLU after each but the last, no pooling, and patches of 32^3 voxels of which 16^3 are
made. The authors' code (github.com/ginobilinie/medSynthesis) has kernels of 9^3 in the first and
fifth layer, unpadded, which take the 16 voxels away, and of 3^3 with zero padding elsewhere; it
has no dilation.

The kernels here are a choice: 3^3 with dilations 1, 1, 2, 2, 1, 1 in the first six layers and 1^3
in the last three. Unpadded they take just these 16 voxels away, 8 on each side, with 0.34
million weights instead of 3.3, and no zero padding reaches the central half of a patch of 32^3.
"""

from __future__ import annotations

from torch import Tensor, nn

from DeepTranslateLib.engine.networks.unet import norm_layers

# Of each layer: filters as multiples of the first layer's, side of the kernel, dilation.
_LAYERS = (
    (1, 3, 1),
    (1, 3, 1),
    (1, 3, 2),
    (2, 3, 2),
    (2, 3, 1),
    (2, 3, 1),
    (1, 1, 1),
    (1, 1, 1),
)


class ContextFCN(nn.Module):
    """Convolutions of volumes, padded with zeros so that the size stays.

    An output voxel sees 8 voxels to each side. The outer quarter of a patch therefore sees its
    border, and the loss and the stitching of patches use their central half alone (`centralhalf`).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        channels: Of the first layer, 32 as published; twice as many in the middle three.
        norm: "none", "group", "instance" or "batch"; batch as published.
    """

    def __init__(self, in_channels: int, out_channels: int, channels: int, norm: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        for factor, side, dilation in _LAYERS:
            layers += [
                nn.Conv3d(
                    width,
                    factor * channels,
                    side,
                    padding=dilation * (side // 2),
                    dilation=dilation,
                    bias=norm == "none",
                ),
                *norm_layers(norm, factor * channels, 3),
                nn.ReLU(inplace=True),
            ]
            width = factor * channels
        self.layers = nn.Sequential(*layers, nn.Conv3d(width, out_channels, 1))
        for module in self.layers:
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        """One output (B, out_channels, D, H, W) for images (B, in_channels, D, H, W)."""
        return [self.layers(images)]
