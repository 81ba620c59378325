"""The discriminator of patches (PatchGAN) of Isola et al. 2017 (arXiv:1611.07004, 6.1.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from DeepTranslateLib.engine.discriminators import DiscriminatorError
from DeepTranslateLib.engine.networks.unet import CONVOLUTION, norm_layers

_SIDE = 4
_SLOPE = 0.2
_MOST = 8  # times the first layer's channels: 512 of 64


class PatchDiscriminator(nn.Module):
    """C64-C128-C256-C512 with kernels of 4: a logit for each overlapping patch of 70x70 pixels.

    The first `layers` convolutions halve the size, the one after them and the last do not: with 1
    to 5 layers a logit sees 16, 34, 70, 142 or 286 pixels. Leaky ReLU of 0.2, no norm after the
    first convolution, channels doubled up to eight times the first. MONAI's PatchDiscriminator has
    the same layers up to 3 and doubles on (1024, 2048 channels) beyond.

    Args:
        dimension: 2 for slices, 3 for volumes.
        in_channels: Channels of what is judged.
        channels: After the first convolution.
        layers: Convolutions that halve the size, 1 or more.
        norm: "none", "group", "instance" or "batch".
        spectral: Divide each kernel by its largest singular value (Miyato et al. 2018,
            arXiv:1802.05957), estimated by one power iteration for each pass in training.
    """

    def __init__(
        self,
        dimension: int,
        in_channels: int,
        channels: int = 64,
        layers: int = 3,
        norm: str = "instance",
        spectral: bool = False,
    ) -> None:
        super().__init__()
        self._least = 3 * 2**layers
        self._count = layers

        def convolution(read: int, made: int, stride: int, bias: bool) -> nn.Module:
            made_of = CONVOLUTION[dimension](read, made, _SIDE, stride=stride, padding=1, bias=bias)
            nn.init.normal_(made_of.weight, std=0.02)
            if made_of.bias is not None:
                nn.init.zeros_(made_of.bias)
            return spectral_norm(made_of) if spectral else made_of

        stages = [convolution(in_channels, channels, 2, True), nn.LeakyReLU(_SLOPE, inplace=True)]
        width = channels
        for number in range(1, layers + 1):
            wider = min(2 * width, _MOST * channels)
            stages += [
                convolution(width, wider, 2 if number < layers else 1, norm == "none"),
                *norm_layers(norm, wider, dimension),
                nn.LeakyReLU(_SLOPE, inplace=True),
            ]
            width = wider
        self.layers = nn.Sequential(*stages, convolution(width, 1, 1, True))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1, *T) for images (B, in_channels, *S), T being S / 2**layers less 2.

        Raises:
            DiscriminatorError: An axis is too short for a single logit: below 6, 12, 24, 48 or 96
                pixels with 1 to 5 layers.
        """
        size = tuple(images.shape[2:])
        if min(size) < self._least:
            raise DiscriminatorError(
                f"A discriminator of {self._count} layers needs images of at least {self._least} "
                f"pixels along each axis, found {' x '.join(map(str, size))}. Use fewer "
                "adversarial.discriminator_layers, or larger images or patches."
            )
        return self.layers(images)
