"""Architectures, one a file; `build_network` makes the one that a recipe names."""

from __future__ import annotations

import importlib.util

from torch import nn

from DeepTranslateLib.recipe import Recipe


class NetworkError(RuntimeError):
    """A network needs what is not installed; the message says what to do."""


def build_network(recipe: Recipe, earlier: int = 0) -> nn.Module:
    """The network of a recipe, freshly initialised.

    The network takes (B, channels, *S), where S is (H, W) or (D, H, W) and the channels are each
    input with its neighbours (`sampling.context` slices on both sides, in the stack's order). It
    returns a list of tensors, finest first: the output (B, labels or 1, *S) and, in training with
    deep supervision, those of the coarser levels.

    Args:
        recipe: Says everything.
        earlier: Further channels, behind those of the input: what a stage before made of it.

    Raises:
        NetworkError: A package that this network needs is not installed.
        RecipeError: The recipe is to be configured from a cohort first.
    """
    recipe.refuse_if_open()
    network = _named(recipe, earlier)
    if not recipe.network.residual:
        return network
    from DeepTranslateLib.engine.networks.residual import Residual, scale_and_offset

    return Residual(network, recipe.sampling.context, *scale_and_offset(recipe))


def _named(recipe: Recipe, earlier: int) -> nn.Module:
    # Imported where they are used: MONAI takes seconds to load.
    wanted = recipe.network
    sizes = {
        "dimension": wanted.dimension,
        "in_channels": recipe.input_channels + earlier,
        "out_channels": recipe.output_channels,
        "channels": wanted.channels,
    }
    if wanted.name == "basicunet":
        from DeepTranslateLib.engine.networks.basicunet import BasicUNet

        return BasicUNet(norm=wanted.norm, **sizes)
    if wanted.name == "swinunetr":
        _require_einops(wanted.name)
        from DeepTranslateLib.engine.networks.swinunetr import SwinUNETR

        return SwinUNETR(norm=wanted.norm, **sizes)
    if wanted.name == "context_fcn":
        from DeepTranslateLib.engine.networks.context_fcn import ContextFCN

        del sizes["dimension"]
        return ContextFCN(norm=wanted.norm, **sizes)
    if wanted.name == "unit":
        from DeepTranslateLib.engine.networks.unit import build_translator

        return build_translator(recipe)
    sizes["levels"] = wanted.levels
    if wanted.name == "resnet":
        from DeepTranslateLib.engine.networks.resnet import PUBLISHED_BLOCKS, ResNetGenerator

        (blocks,) = wanted.blocks or (PUBLISHED_BLOCKS,)
        # Labels are made of logits, and differences have either sign.
        bounded = recipe.target.kind == "volume" and not wanted.residual
        return ResNetGenerator(norm=wanted.norm, blocks=blocks, bounded=bounded, **sizes)
    if wanted.name == "segresnet":
        from DeepTranslateLib.engine.networks.segresnet import SegResNet

        return SegResNet(norm=wanted.norm, blocks=wanted.blocks, **sizes)
    if wanted.name == "restormer":
        _require_einops(wanted.name)
        from DeepTranslateLib.engine.networks.restormer import Restormer

        return Restormer(blocks=wanted.blocks, **sizes)
    if wanted.name == "dynunet":
        from DeepTranslateLib.engine.networks.dynunet import DynUNet

        return DynUNet(norm=wanted.norm, deep_supervision=wanted.deep_supervision, **sizes)
    from DeepTranslateLib.engine.networks.unet import UNet

    return UNet(norm=wanted.norm, deep_supervision=wanted.deep_supervision, **sizes)


def _require_einops(network: str) -> None:
    if importlib.util.find_spec("einops") is None:
        raise NetworkError(
            f"The network '{network}' needs the Python package einops, which is not installed. "
            "Install it (pip install einops) or choose another network in the recipe."
        )
