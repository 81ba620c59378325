"""MONAI's DynUNet: the U-Net of nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z)."""

from __future__ import annotations

from typing import Any

from monai.networks.nets import DynUNet as MonaiDynUNet
from torch import Tensor

from DeepTranslateLib.engine.networks.anysize import AnySize
from DeepTranslateLib.engine.networks.monai_norms import monai_norm

_MOST_CHANNELS = {2: 512, 3: 320}  # as in nnU-Net


class DynUNet(AnySize):
    """Strided convolutions down, transposed ones up, leaky ReLU.

    Args:
        dimension: 2 for slices, 3 for volumes.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        levels: Resolutions, the full one included, at least 3.
        channels: Of the finest level; doubled at each level below, up to nnU-Net's limit.
        norm: "none", "group", "instance" or "batch".
        deep_supervision: Give each coarser decoder level an output of its own, in training.
    """

    def __init__(
        self,
        dimension: int,
        in_channels: int,
        out_channels: int,
        levels: int,
        channels: int,
        norm: str,
        deep_supervision: bool = False,
    ) -> None:
        widths = [min(channels * 2**level, _MOST_CHANNELS[dimension]) for level in range(levels)]
        network = MonaiDynUNet(
            spatial_dims=dimension,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1),
            upsample_kernel_size=[2] * (levels - 1),
            filters=widths,
            norm_name=monai_norm(norm, channels),
            deep_supervision=deep_supervision,
            deep_supr_num=levels - 2,
        )
        # What `skip_layers` holds, too: files would carry these weights twice.
        for twice in ("input_block", "downsamples", "bottleneck", "upsamples"):
            delattr(network, twice)
        if deep_supervision:
            del network.deep_supervision_heads
        super().__init__(network, halvings=levels - 1)

    def outputs(self, images: Tensor) -> list[Tensor]:
        """The finest output and, in training with deep supervision, those of coarser levels."""
        network: Any = self.network
        finest = network.output_block(network.skip_layers(images))
        if not (self.training and network.deep_supervision):
            return [finest]
        # MONAI's own forward would enlarge them all to the finest size.
        return [finest, *network.heads]
