"""A trained segmentation that judges translated images: what must still be found in them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from DeepTranslateLib.engine.losses import EXCLUSIVE
from DeepTranslateLib.engine.outputs import shares
from DeepTranslateLib.engine.pretrained import (
    Pretrained,
    PretrainedError,
    by_dimension,
    check_file,
    load_network,
    neighbours_alike,
)
from DeepTranslateLib.model import Model


class Segmentor(Pretrained):
    """Takes images (B, 1, *S) of 0 to 1 and gives logits (B, labels, *S).

    A network of slices labels patches slice by slice. Gradients flow to the images and to no
    weight.

    Attributes:
        exclusive: A pixel has one label or none, as the network was trained.
    """

    def __init__(
        self, network: nn.Module, model: Model, window: tuple[float, float] | None
    ) -> None:
        super().__init__()
        self._network = network
        self._model = model
        self._window = window
        terms = model.recipe.method.losses
        self.exclusive = any(term.name in EXCLUSIVE for term in terms)
        self._freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images.

        Raises:
            PretrainedError: The network is of volumes and the images are slices.
        """
        dimension = self._model.recipe.network.dimension
        logits, slices = by_dimension(self._logits, images, dimension, self._model.path)
        if images.ndim - 2 == dimension:
            return logits
        return logits.unflatten(0, (len(images), slices)).transpose(1, 2)

    @torch.no_grad()
    def labels(self, images: Tensor) -> Tensor:
        """Probabilities (B, labels, *S) of the labels in images."""
        return shares(self._model.recipe, self(images))

    def _logits(self, images: Tensor) -> Tensor:
        theirs = self._model.recipe.preprocessing.window
        if self._window is not None and self._window != theirs:
            low, high = self._window
            images = images * (high - low) + low
            if theirs is not None:
                images = ((images - theirs[0]) / (theirs[1] - theirs[0])).clamp(0, 1)
        return self._network(neighbours_alike(images, self._model))[0]


def segmentation_network(
    path: str | Path,
    sha256: str | None,
    window: tuple[float, float] | None,
    device: torch.device,
) -> Segmentor:
    """The segmentor that a recipe names.

    Args:
        path: A model (.dtmodel) that labels one input.
        sha256: Of the file; None where any will do.
        window: What 0 and 1 of the images stand for, in the units of the model's input; they are
            brought to its own window. None: images are as the model sees them.
        device: Where it computes.

    Raises:
        PretrainedError: No such file, another hash, or a model that makes no labels.
        ModelError: The model is damaged.
    """
    path = check_file(path, sha256)
    network, model = load_network(path, device)
    if model.recipe.target.kind != "labels":
        raise PretrainedError(
            f"The model {path} makes a volume; a segmentor makes labels. Name one that does."
        )
    return Segmentor(network, model, window)
