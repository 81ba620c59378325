"""Architectures, one a file; `build_network` makes the one that a recipe names."""

from __future__ import annotations

from torch import nn

from DeepTranslateLib.recipe import Recipe


def build_network(recipe: Recipe) -> nn.Module:
    """The network of a recipe, freshly initialised.

    The network takes (B, inputs, H, W) and returns a list of tensors, finest first: the output
    (B, labels or 1, H, W) and, in training with deep supervision, those of the coarser levels.
    """
    from DeepTranslateLib.engine.networks.unet import UNet

    return UNet(
        in_channels=len(recipe.inputs),
        out_channels=recipe.output_channels,
        levels=recipe.network.levels,
        channels=recipe.network.channels,
        norm=recipe.network.norm,
        deep_supervision=recipe.network.deep_supervision,
    )
