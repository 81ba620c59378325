"""Parts of a network that do not learn, so that what a model knows already is kept."""

from __future__ import annotations

from typing import Any

from torch import nn

from DeepTranslateLib.engine.networks.residual import Residual
from DeepTranslateLib.recipe import Recipe


def freeze(network: nn.Module, recipe: Recipe, epoch: int) -> None:
    """Freeze what the recipe says for an epoch, and let all else learn.

    What is frozen has no gradient, so that no optimizer moves it, and is in evaluation mode, so
    that no norm's statistics change and nothing is dropped.

    Args:
        network: Of the recipe, in training mode.
        recipe: Says what is frozen, and for how many epochs.
        epoch: From 0.
    """
    if recipe.training.frozen == "none":
        return
    network.requires_grad_(True)
    if is_frozen(recipe, epoch):
        for part in encoder_of(network, recipe.network.name):
            part.requires_grad_(False)
            part.eval()


def is_frozen(recipe: Recipe, epoch: int) -> bool:
    """Whether the encoder keeps what it knows in an epoch, from 0."""
    training = recipe.training
    if training.frozen == "none":
        return False
    return training.frozen_epochs is None or epoch < training.frozen_epochs


def encoder_of(network: nn.Module, name: str) -> tuple[nn.Module, ...]:
    """The layers from the input to the coarsest level, that level with all its blocks included.

    Args:
        network: As of `build_network`.
        name: Of its architecture: one of `recipe.network.WITH_ENCODER`.
    """
    inner: Any = network.network if isinstance(network, Residual) else network
    if name in ("unet", "resnet"):
        return (inner.encoder,)
    inner = inner.network  # MONAI's, in what pads images for it
    if name == "basicunet":
        return (inner.conv_0, inner.down_1, inner.down_2, inner.down_3, inner.down_4)
    if name == "segresnet":
        return (inner.convInit, inner.down_layers)
    parts = []
    layer = inner.skip_layers
    while hasattr(layer, "next_layer"):
        parts.append(layer.downsample)
        layer = layer.next_layer
    return (*parts, layer)
