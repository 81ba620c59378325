"""Networks that tell true from translated images; `build_discriminator` makes a recipe's."""

from __future__ import annotations

from torch import nn

from DeepTranslateLib.recipe import Recipe


class DiscriminatorError(RuntimeError):
    """An image is too small for a discriminator; the message says what to do."""


def build_discriminator(recipe: Recipe, in_channels: int) -> nn.Module:
    """The discriminator of a recipe, freshly initialised.

    It takes images (B, in_channels, *S) in 0 to 1, with `context_gan` the central half of patches,
    and returns logits: a map (B, 1, *T) of overlapping patches, or (B, 1) with `context_gan`.

    Args:
        recipe: Of an adversarial method.
        in_channels: Of what is judged: 1, or more where the input is shown beside it.

    Raises:
        DiscriminatorError: The recipe's patches are too small for it.
    """
    if recipe.method.name == "context_gan":
        from DeepTranslateLib.engine.discriminators.context import ContextDiscriminator

        patch = recipe.sampling.patch
        assert patch is not None
        slices, rows, columns = (length // 2 for length in patch)
        return ContextDiscriminator(in_channels, (slices, rows, columns))
    from DeepTranslateLib.engine.discriminators.patch import PatchDiscriminator

    wanted = recipe.adversarial
    return PatchDiscriminator(
        recipe.network.dimension,
        in_channels,
        channels=wanted.discriminator_channels,
        layers=wanted.discriminator_layers,
        norm=wanted.discriminator_norm,
        spectral=wanted.spectral_norm,
    )
