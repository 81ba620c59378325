"""MONAI's SwinUNETR (Hatamizadeh et al. 2022, arXiv:2201.01266)."""

from __future__ import annotations

from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from torch import Tensor

from DeepTranslateLib.engine.networks.anysize import AnySize
from DeepTranslateLib.engine.networks.monai_norms import monai_norm


class SwinUNETR(AnySize):
    """Attention in shifted windows down, residual convolutions up.

    Args:
        dimension: 2 for slices, 3 for volumes.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        channels: A multiple of 12; 48 in the paper.
        norm: Of the convolutions: "none", "group", "instance" or "batch".
    """

    def __init__(
        self, dimension: int, in_channels: int, out_channels: int, channels: int, norm: str
    ) -> None:
        network = MonaiSwinUNETR(
            in_channels=in_channels,
            out_channels=out_channels,
            feature_size=channels,
            norm_name=monai_norm(norm, channels),
            spatial_dims=dimension,
        )
        super().__init__(network, halvings=5)

    def outputs(self, images: Tensor) -> list[Tensor]:
        """One output."""
        return [self.network(images)]
