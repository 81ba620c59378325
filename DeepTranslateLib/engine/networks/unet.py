"""The U-Net of Ye et al. 2021 (doi:10.1101/2021.05.15.444315), for images of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
_INSTANCE_NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MAX_POOL = {2: F.max_pool2d, 3: F.max_pool3d}


class UNet(nn.Module):
    """Double 3x3(x3) convolutions with ReLU, 2x2(x2) max pooling, nearest up-sampling, skips.

    The up-sampled features are resized to the skip's size before concatenation, and pooling
    rounds sizes up, so that any image size works, down to a single pixel (instance norm needs
    more than one pixel at the deepest level to learn from).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output (logits or values; there is no final activation).
        levels: Resolutions, the full one included.
        channels: Channels after the first convolution; doubled at each level below.
        norm: "none", "group", "instance" or "batch", between convolution and ReLU.
        deep_supervision: Give each coarser decoder level an output of its own, in training.
        dimension: 2 for slices, 3 for volumes (Cicek et al. 2016).
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        levels: int = 5,
        channels: int = 16,
        norm: str = "none",
        deep_supervision: bool = False,
        dimension: int = 2,
    ) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(levels)]
        self.encoder = nn.ModuleList(
            _double_convolution(
                in_channels if level == 0 else widths[level - 1], width, norm, dimension
            )
            for level, width in enumerate(widths)
        )
        self.decoder = nn.ModuleList(
            _double_convolution(widths[level] + widths[level + 1], widths[level], norm, dimension)
            for level in range(levels - 1)
        )
        heads = levels - 1 if deep_supervision else 1
        self.heads = nn.ModuleList(
            CONVOLUTION[dimension](widths[level], out_channels, kernel_size=1)
            for level in range(heads)
        )
        self.deep_supervision = deep_supervision
        self._pool = _MAX_POOL[dimension]
        self.apply(_initialise)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Outputs for images (B, in_channels, *S), finest first; only the finest in eval mode."""
        features = image
        skips = []
        for level, block in enumerate(self.encoder):
            if level > 0:
                features = self._pool(features, kernel_size=2, ceil_mode=True)
            features = block(features)
            skips.append(features)
        outputs = []
        for level in range(len(self.decoder) - 1, -1, -1):
            skip = skips[level]
            features = F.interpolate(features, size=skip.shape[2:], mode="nearest")
            features = self.decoder[level](torch.cat([skip, features], dim=1))
            if level == 0 or (self.training and self.deep_supervision):
                outputs.append(self.heads[level](features))
        return outputs[::-1]


def group_count(channels: int) -> int:
    """Groups of a group norm: 8, or the next lower power of 2 that divides the channels."""
    return next(groups for groups in (8, 4, 2, 1) if channels % groups == 0)


def _double_convolution(
    in_channels: int, out_channels: int, norm: str, dimension: int
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(
            CONVOLUTION[dimension](
                channels, out_channels, kernel_size=3, padding=1, bias=norm == "none"
            )
        )
        layers.extend(norm_layers(norm, out_channels, dimension))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def norm_layers(norm: str, channels: int, dimension: int) -> list[nn.Module]:
    """The norm of a recipe as layers: one, or none for "none".

    Args:
        norm: "none", "group", "instance" or "batch".
        channels: That it is applied to.
        dimension: 2 for slices, 3 for volumes.
    """
    if norm == "group":
        return [nn.GroupNorm(num_groups=group_count(channels), num_channels=channels)]
    if norm == "instance":
        return [_INSTANCE_NORM[dimension](channels, affine=True)]
    if norm == "batch":
        return [_BATCH_NORM[dimension](channels)]
    return []


def _initialise(module: nn.Module) -> None:
    # He et al. 2015: keeps the signal's variance through ReLU layers, which matters without norm.
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
