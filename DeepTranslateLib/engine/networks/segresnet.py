"""MONAI's SegResNet: the network of Myronenko 2018 (arXiv:1810.11654) without its autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import SegResNet as MonaiSegResNet
from torch import Tensor

from DeepTranslateLib.engine.networks.anysize import AnySize
from DeepTranslateLib.engine.networks.monai_norms import monai_norm

_PUBLISHED = (1, 2, 2, 4)


class SegResNet(AnySize):
    """Residual blocks, more of them in the encoder than in the decoder.

    Args:
        dimension: 2 for slices, 3 for volumes.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        levels: Resolutions, the full one included.
        channels: Of the finest level; doubled at each level below.
        norm: "none", "group", "instance" or "batch".
        blocks: Residual blocks of each level's encoder, finest first; None: 1, 2, 2, 4 as
            published, and 4 at each level below.
    """

    def __init__(
        self,
        dimension: int,
        in_channels: int,
        out_channels: int,
        levels: int,
        channels: int,
        norm: str,
        blocks: Sequence[int] | None = None,
    ) -> None:
        network = MonaiSegResNet(
            spatial_dims=dimension,
            init_filters=channels,
            in_channels=in_channels,
            out_channels=out_channels,
            norm=monai_norm(norm, channels),
            blocks_down=tuple(blocks or (*_PUBLISHED, *[4] * levels)[:levels]),
            blocks_up=(1,) * (levels - 1),
        )
        super().__init__(network, halvings=levels - 1)

    def outputs(self, images: Tensor) -> list[Tensor]:
        """One output."""
        return [self.network(images)]
