"""MONAI's Restormer (Zamir et al. 2022, arXiv:2111.09881), with instance norms for layer norms."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets.restormer import Restormer as MonaiRestormer
from torch import Tensor

from DeepTranslateLib.engine.networks.anysize import AnySize

_PUBLISHED = (4, 6, 6, 8)


class Restormer(AnySize):
    """Attention between channels, so that its cost grows with the pixels and not their square.

    Args:
        dimension: 2 for slices, 3 for volumes.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        levels: Resolutions, the full one included; 4 in the paper.
        channels: Of the finest level; doubled at each level below; 48 in the paper.
        blocks: Transformer blocks of each level, finest first; None: 4, 6, 6, 8 as published,
            and 8 at each level below.
    """

    def __init__(
        self,
        dimension: int,
        in_channels: int,
        out_channels: int,
        levels: int,
        channels: int,
        blocks: Sequence[int] | None = None,
    ) -> None:
        network = MonaiRestormer(
            spatial_dims=dimension,
            in_channels=in_channels,
            out_channels=out_channels,
            dim=channels,
            num_blocks=tuple(blocks or (*_PUBLISHED, *[8] * levels)[:levels]),
            heads=tuple(2**level for level in range(levels)),
        )
        super().__init__(network, halvings=levels - 1)

    def outputs(self, images: Tensor) -> list[Tensor]:
        """One output."""
        return [self.network(images)]
