"""MONAI's BasicUNet (Falk et al. 2019, doi:10.1038/s41592-018-0261-2)."""

from __future__ import annotations

from monai.networks.nets import BasicUNet as MonaiBasicUNet
from torch import Tensor

from DeepTranslateLib.engine.networks.anysize import AnySize
from DeepTranslateLib.engine.networks.monai_norms import monai_norm


class BasicUNet(AnySize):
    """Five levels with max pooling and transposed convolutions.

    Args:
        dimension: 2 for slices, 3 for volumes.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        channels: Of the two finest levels; doubled at each of the three below.
        norm: "none", "group", "instance" or "batch".
    """

    def __init__(
        self, dimension: int, in_channels: int, out_channels: int, channels: int, norm: str
    ) -> None:
        features = (channels, channels, 2 * channels, 4 * channels, 8 * channels, channels)
        network = MonaiBasicUNet(
            spatial_dims=dimension,
            in_channels=in_channels,
            out_channels=out_channels,
            features=features,
            norm=monai_norm(norm, channels) or None,
        )
        super().__init__(network, halvings=4)

    def outputs(self, images: Tensor) -> list[Tensor]:
        """One output."""
        return [self.network(images)]
