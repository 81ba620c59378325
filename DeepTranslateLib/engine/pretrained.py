"""Networks that were trained before and stay as they are: files a recipe names by their hash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.directions import of_direction
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.stages import of_stage
from DeepTranslateLib.model import Model, ModelError, read_model
from DeepTranslateLib.recipe import FORWARD

_Module = TypeVar("_Module", bound="Pretrained")


class PretrainedError(ValueError):
    """A trained network that is asked for is not there, is another, or does not fit."""


class Pretrained(nn.Module):
    """Never learns: no weight has a gradient, and `train` leaves it in evaluation mode.

    Attributes:
        dimension: Of what it takes, 2 or 3; slices of patches, too, where it is 2.
        path: Its file.
    """

    def __init__(self, dimension: int, path: Path) -> None:
        super().__init__()
        self.dimension = dimension
        self.path = path

    def train(self: _Module, mode: bool = True) -> _Module:
        """Stay as it is, whatever the method around it does."""
        return super().train(False)

    def _freeze(self) -> None:
        """To be called once its parts are there."""
        self.requires_grad_(False)
        self.train()


def check_file(path: str | Path, sha256: str | None) -> Path:
    """The path of a file that is there and has the hash that is expected.

    Args:
        path: Of a local file; nothing is ever downloaded.
        sha256: 64 hexadecimal digits; None where any file will do.

    Raises:
        PretrainedError: There is no such file, or it is another.
    """
    path = Path(path)
    if not path.is_file():
        raise PretrainedError(
            f"The file {path} does not exist. Nothing is downloaded: copy it there, or name "
            "another in the recipe."
        )
    found = file_sha256(path)
    if sha256 is not None and found != sha256.lower():
        raise PretrainedError(
            f"{path} is not the file that the recipe was made with: its SHA-256 is {found}, "
            f"expected {sha256}. Get that file, or write this one's hash into the recipe."
        )
    return path


def load_network(path: Path, device: torch.device) -> tuple[nn.Module, Model]:
    """The network of a model file, of stages the first, with its weights, and the model.

    Raises:
        ModelError: It is no model, or is damaged.
    """
    model = read_model(path)
    network = build_network(model.recipe)
    try:
        network.load_state_dict(of_stage(of_direction(load(model.weights()), FORWARD), 1))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"The weights in {path} do not fit its recipe ({error}). Get the model again from "
            "where it came from."
        ) from error
    return place(network, model.recipe, device), model


def neighbours_alike(images: Tensor, model: Model) -> Tensor:
    """Images (B, 1, *S) as a model sees them that looks at neighbouring slices: each its own."""
    return images.repeat(1, model.recipe.input_channels, *[1] * (images.ndim - 2))


def by_dimension(
    network: Callable[[Tensor], Tensor], images: Tensor, dimension: int, path: Path
) -> tuple[Tensor, int]:
    """What a network makes of images, slice by slice where it is of slices and they are patches.

    It computes in fp32, also under autocast: what judges by differences of two outputs
    would lose most of a small one.

    Args:
        network: Takes (B, 1, *S), S of `dimension` axes.
        images: (B, 1, H, W) or (B, 1, D, H, W).
        dimension: 2 or 3.
        path: Of the network's file, for messages.

    Returns:
        Its output, in whose batch slices follow each other, and how many there are of an image.

    Raises:
        PretrainedError: The network is of volumes and the images are slices.
    """
    refuse_volumes(dimension, images.ndim - 2, path)
    with torch.autocast(images.device.type, enabled=False):
        images = images.float()
        if images.ndim - 2 == dimension:
            return network(images), 1
        slices = images.transpose(1, 2).flatten(0, 1)
        return network(slices), images.shape[2]


def refuse_volumes(dimension: int, of_images: int, path: Path) -> None:
    """Refuse a network of volumes where the images are slices.

    Args:
        dimension: Of what the network takes, 2 or 3.
        of_images: Of what it is to be shown.
        path: Of its file, for the message.

    Raises:
        PretrainedError: It is one.
    """
    if dimension > of_images:
        raise PretrainedError(
            f"The network of {path} takes patches of volumes, and the images are slices. Name one "
            "that was trained on slices."
        )
