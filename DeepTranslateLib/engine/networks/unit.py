"""The translator of Liu et al. 2017 (UNIT, arXiv:1703.00848): two domains with one latent.

As in the table of the paper's appendix, the encoder has a 7x7 convolution, two that halve the size
and three residual blocks, then a residual block that both domains share, whose output is the mean
of the latent's Gaussian with unit variance. The decoder mirrors it: a shared block, three of its
own, two transposed convolutions and a 1x1 convolution with tanh. As in one of the generators of the
authors' code, convolutions outside of blocks have leaky ReLU and no norm, and blocks keep the
channels of the last halving (256 of 64). Mirrored borders are a choice.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from DeepTranslateLib.engine.networks.anysize import padded
from DeepTranslateLib.engine.networks.residualblock import (
    Bounded,
    ResidualBlock,
    doubling_convolution,
    initialise,
    mirrored_convolution,
)
from DeepTranslateLib.engine.networks.resnet import cropped
from DeepTranslateLib.engine.networks.unet import CONVOLUTION
from DeepTranslateLib.recipe import Recipe

PUBLISHED_BLOCKS = 3


class UnitTranslator(nn.Module):
    """From the image of one domain through the shared latent to one of the other.

    Args:
        encoder: Of the domain that is read, (B, C, *S) to features.
        shared_encoder: From its features to the latent; of both directions.
        shared_decoder: From the latent to features; of both directions.
        decoder: Of the domain that is written, from features to images.
        multiple: Of which the sizes are that the encoder can halve.
    """

    def __init__(
        self,
        encoder: nn.Module,
        shared_encoder: nn.Module,
        shared_decoder: nn.Module,
        decoder: nn.Module,
        multiple: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.shared_encoder = shared_encoder
        self.shared_decoder = shared_decoder
        self.decoder = decoder
        self._multiple = multiple

    def forward(self, images: Tensor) -> list[Tensor]:
        """One output (B, out_channels, *S) for images (B, in_channels, *S), by the mean latent."""
        return [self.decode(self.encode(images), images.shape[2:])]

    def encode(self, images: Tensor) -> Tensor:
        """The mean of the latent of images (B, in_channels, *S), padded to be halved."""
        return self.shared_encoder(self.encoder(padded(images, self._multiple)))

    def decode(self, latent: Tensor, size: Sequence[int]) -> Tensor:
        """Images (B, out_channels, *size) of a latent, of whichever domain that is."""
        return cropped(self.decoder(self.shared_decoder(latent)), size)


def build_translator(recipe: Recipe) -> UnitTranslator:
    """One direction by itself: what a model of a pair is translated with."""
    return build_pair(recipe)[0]


def build_pair(recipe: Recipe) -> tuple[UnitTranslator, UnitTranslator]:
    """Both directions, freshly initialised, from source to target first.

    They hold the very same `shared_encoder` and `shared_decoder`, so that the parameters of both
    have these twice. An image is rebuilt from its own latent by the decoder of the other direction.
    """
    inputs, outputs = recipe.input_channels, recipe.output_channels
    wanted = recipe.network
    multiple = 2 ** (wanted.levels - 1)
    shared_encoder, shared_decoder = _block(recipe), _block(recipe)
    forward, backward = (
        UnitTranslator(
            _encoder(recipe, read), shared_encoder, shared_decoder, _decoder(recipe, made), multiple
        )
        for read, made in ((inputs, outputs), (outputs, inputs))
    )
    for translator in (forward, backward):
        assert isinstance(translator.decoder, nn.Sequential)
        initialise(translator, translator.decoder[-2], published=False)
    return forward, backward


def _block(recipe: Recipe) -> ResidualBlock:
    network = recipe.network
    width = network.channels * 2 ** (network.levels - 1)
    return ResidualBlock(width, network.norm, network.dimension)


def _blocks(recipe: Recipe) -> list[nn.Module]:
    (count,) = recipe.network.blocks or (PUBLISHED_BLOCKS,)
    return [_block(recipe) for _ in range(count)]


def _encoder(recipe: Recipe, in_channels: int) -> nn.Sequential:
    network = recipe.network
    width, dimension = network.channels, network.dimension
    layers = [mirrored_convolution(in_channels, width, 7, 1, True, dimension), _activation()]
    for _ in range(network.levels - 1):
        layers += [mirrored_convolution(width, 2 * width, 3, 2, True, dimension), _activation()]
        width *= 2
    return nn.Sequential(*layers, *_blocks(recipe))


def _decoder(recipe: Recipe, out_channels: int) -> nn.Sequential:
    network = recipe.network
    width, dimension = network.channels * 2 ** (network.levels - 1), network.dimension
    layers = _blocks(recipe)
    for _ in range(network.levels - 1):
        layers += [doubling_convolution(width, width // 2, True, dimension), _activation()]
        width //= 2
    last = CONVOLUTION[dimension](width, out_channels, 1)
    return nn.Sequential(*layers, last, Bounded())


def _activation() -> nn.Module:
    return nn.LeakyReLU(inplace=True)
