"""The discriminator of 3D patches of Nie et al. 2018 (doi:10.1109/TBME.2018.2814538).

Published are three stages of convolution, batch norm, ReLU and max pooling, one more convolution,
the filters 32, 64, 128 and 256, and fully connected layers of 512, 128 and 1. Kernels of 5 are
those of the authors' code for slices; here they are padded with zeros, since a patch of 16^3
voxels would not last three stages without.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from DeepTranslateLib.engine.discriminators import DiscriminatorError

_FILTERS = (32, 64, 128, 256)
_UNITS = (512, 128)
_SIDE = 5
_POOLINGS = 3


class ContextDiscriminator(nn.Module):
    """One logit for a whole patch.

    Where three halvings leave a single voxel, of less than 16 along each axis, the last convolution
    has no norm: one patch alone would have no variance.

    Args:
        in_channels: Channels of what is judged.
        size: Voxels of a patch along each axis, 8 or more; 16 as published.

    Raises:
        DiscriminatorError: A patch is too small to be halved three times.
    """

    def __init__(self, in_channels: int, size: tuple[int, int, int] = (16, 16, 16)) -> None:
        super().__init__()
        if min(size) < 2**_POOLINGS:
            raise DiscriminatorError(
                "The discriminator of patches halves the central half of a patch three times; "
                "sampling.patch needs at least 16 voxels along each axis, found a central half of "
                f"{' x '.join(map(str, size))}."
            )
        self._size = size
        layers: list[nn.Module] = []
        width = in_channels
        coarsest = math.prod(length // 2**_POOLINGS for length in size)
        for number, filters in enumerate(_FILTERS):
            normed = number < _POOLINGS or coarsest > 1
            layers += [
                nn.Conv3d(width, filters, _SIDE, padding=_SIDE // 2, bias=not normed),
                *([nn.BatchNorm3d(filters)] if normed else []),
                nn.ReLU(inplace=True),
            ]
            if number < _POOLINGS:
                layers.append(nn.MaxPool3d(2))
            width = filters
        layers.append(nn.Flatten())
        width *= coarsest
        for units in _UNITS:
            layers += [nn.Linear(width, units), nn.ReLU(inplace=True)]
            width = units
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))
        for module in self.layers:
            if isinstance(module, (nn.Conv3d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1) for patches (B, in_channels, *size).

        Raises:
            ValueError: The patches are of another size.
        """
        if tuple(images.shape[2:]) != self._size:
            raise ValueError(
                f"expected patches of {self._size} voxels, found {tuple(images.shape[2:])}"
            )
        return self.layers(images)
