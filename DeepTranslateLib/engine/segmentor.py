"""A trained segmentation that judges translated images: what must still be found in them.

It sees images as the recipe that learns has prepared them. Their window alone is converted to its
own: what else its recipe does to images (pixel size, masks, the correction of bias) is not done.
"""

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

# A standardisation and the landmarks of its scale, as recipes have them.
Scale = tuple[str, tuple[float, ...] | None]
AS_STORED: Scale = ("none", None)


class Segmentor(Pretrained):
    """Takes images (B, 1, *S) of 0 to 1 and gives logits (B, labels, *S).

    A network of slices labels patches slice by slice. Gradients flow to the images and to no
    weight.

    Attributes:
        exclusive: A pixel has one label or none, as the network was trained.
        finds: Value and name of each label, in the order of the logits.
    """

    def __init__(
        self, network: nn.Module, model: Model, window: tuple[float, float] | None
    ) -> None:
        super().__init__(model.recipe.network.dimension, model.path)
        self._network = network
        self._model = model
        self._window = window
        self.finds = tuple((label.value, label.name) for label in model.recipe.target.labels)
        terms = model.recipe.method.losses
        self.exclusive = any(term.name in EXCLUSIVE for term in terms)
        self._freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images.

        Raises:
            PretrainedError: The network is of volumes and the images are slices.
        """
        logits, slices = by_dimension(self._logits, images, self.dimension, self.path)
        if images.ndim - 2 == self.dimension:
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
    scale: Scale = AS_STORED,
) -> Segmentor:
    """The segmentor that a recipe names.

    Args:
        path: A model (.dtmodel) that labels one input.
        sha256: Of the file; None where any will do.
        window: What 0 and 1 of the images stand for, in the units of the model's input; they are
            brought to its own window. None: images are as the model sees them.
        device: Where it computes.
        scale: How the images were standardised before.

    Raises:
        PretrainedError: No such file, another hash, a model that makes no labels, or one whose
            images are standardised otherwise.
        ModelError: The model is damaged.
    """
    path = check_file(path, sha256)
    network, model = load_network(path, device)
    if model.recipe.target.kind != "labels":
        raise PretrainedError(
            f"The model {path} makes a volume; a segmentor makes labels. Name one that does."
        )
    theirs = (model.recipe.preprocessing.standardisation, model.recipe.preprocessing.landmarks)
    # Landmarks that are still to be had are looked at again when they are.
    awaited = scale == ("histogram", None) and theirs[0] == "histogram"
    if theirs != scale and not awaited:
        raise PretrainedError(
            f"The segmentor {path} reads images that are {_told(theirs)}, and this recipe shows it "
            f"images that are {_told(scale)}. When it judges, only the window is converted: name "
            "one that was trained with the same standardisation and landmarks. "
            "structure.segmentor reads images of the source as preprocessing.standardisation "
            "makes them, structure.target_segmentor those of the target as "
            "target.standardisation does."
        )
    return Segmentor(network, model, window)


def refuse_other_labels(first: Segmentor, second: Segmentor) -> None:
    """Refuse two segmentors of which one finds something else than the other.

    Raises:
        PretrainedError: Values, names or order of their labels differ, or a pixel has one label
            at most for one of them alone.
    """
    found = [
        ", ".join(f"{value} {name}" for value, name in segmentor.finds)
        + (" (one at most)" if segmentor.exclusive else " (each by itself)")
        for segmentor in (first, second)
    ]
    if found[0] != found[1]:
        raise PretrainedError(
            "Two segmentors must find the same labels, with the same values, names and order, and "
            "both with losses of labels that exclude each other, or both with others. Expected, "
            f"as of {first.path}: {found[0]}. Found in {second.path}: {found[1]}. Train one of "
            "them with the labels and the loss of the other, or name one segmentor for both."
        )


def _told(scale: Scale) -> str:
    name, landmarks = scale
    if name == "none":
        return "not standardised"
    told = f"standardised by '{name}'"
    if landmarks is not None:
        told += f" with the landmarks {', '.join(f'{value:g}' for value in landmarks)}"
    return told
