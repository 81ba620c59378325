"""What holds a translated image to its input besides the way back: the recipe's `structure`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from DeepTranslateLib.engine.features import feature_network
from DeepTranslateLib.engine.losses.air import air, threshold_in
from DeepTranslateLib.engine.losses.gradient_consistency import gradient_consistency
from DeepTranslateLib.engine.losses.latent import autoencoding
from DeepTranslateLib.engine.losses.perceptual import perceptual
from DeepTranslateLib.engine.losses.shape_consistency import shape_consistency
from DeepTranslateLib.engine.pretrained import refuse_volumes
from DeepTranslateLib.engine.segmentor import (
    Segmentor,
    refuse_other_labels,
    segmentation_network,
)
from DeepTranslateLib.recipe import Recipe


def check_structure(recipe: Recipe) -> None:
    """Refuse what a recipe's `structure` names and a training could not learn by.

    It opens the files as the training does once its images are prepared, on the CPU, and lets them
    go. Of a recipe that names none it does nothing.

    Raises:
        PretrainedError: A file is not there or another, has no such level, takes volumes where
            images are slices, or is no segmentor of such images.
        ModelError: A model is damaged.
    """
    # Weights are drawn before those of the file take their place.
    with torch.random.fork_rng(devices=[]):
        StructureTerms(recipe, torch.device("cpu"))


class StructureTerms:
    """The weighted terms of a recipe that compare an image with what was made of it.

    Perceptual, air and latent terms are those of Ozaki et al. 2022 (doi:10.1002/mp.15626), that of
    gradients of Hiasa et al. 2018, that of shapes of Zhang et al. 2018; each with its formula in
    `engine.losses`.

    Args:
        recipe: Whose `structure` it is.
        device: Where the networks are.

    Raises:
        PretrainedError, ModelError: As of `check_structure`.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self._settings = settings = recipe.structure
        windows = (recipe.preprocessing.window, recipe.target.range)
        if settings.air_weight:
            known = (window for window in windows if window is not None)
            self._air = tuple(threshold_in(window, settings.air_threshold) for window in known)
        if settings.perceptual_weight:
            self._features = feature_network(
                settings.features, settings.features_sha256, settings.features_level, device
            )
            refuse_volumes(self._features.dimension, recipe.network.dimension, self._features.path)
        if settings.shape_weight:
            self._segmentors = _segmentors(recipe, device)

    def terms(self, image: Tensor, output: Tensor, back: bool = False) -> dict[str, Tensor]:
        """Terms of one direction, by name.

        Args:
            image: (B, 1, *S), of the source; of the target where `back`.
            output: (B, 1, *S), made of it.
            back: It was made by the way back.
        """
        settings, everywhere = self._settings, torch.ones_like(image)
        found: dict[str, Tensor] = {}
        if settings.perceptual_weight:
            felt = perceptual(self._features, output, image)
            found["perceptual"] = settings.perceptual_weight * felt
        if settings.air_weight:
            first, second = self._air[::-1] if back else self._air
            found["air"] = settings.air_weight * air(image, output, everywhere, first, second)
        if settings.gradient_weight:
            edges = gradient_consistency(image, output, everywhere)
            found["gradient"] = settings.gradient_weight * edges
        if settings.shape_weight:
            reader, judge = self._segmentors[::-1] if back else self._segmentors
            shape = shape_consistency(
                judge(output), reader.labels(image), everywhere, judge.exclusive
            )
            found["shape"] = settings.shape_weight * shape
        return found

    def through_latent(self, reader: Any, writer: Any, image: Tensor) -> dict[str, Tensor]:
        """The term of an image that goes into the latent and comes back as it was.

        Args:
            reader: The ResNet that reads such images; its encoder is used.
            writer: The one that makes them; its decoder is used.
            image: (B, 1, *S).
        """
        weight = self._settings.latent_weight
        if not weight:
            return {}

        def encode(images: Tensor) -> Tensor:
            return reader.encode(images, [reader.encoder_layers])[0]

        def decode(latent: Tensor) -> Tensor:
            return writer.decode(latent, image.shape[2:])

        again = autoencoding(encode, decode, image, torch.ones_like(image))
        return {"latent": weight * again}


def _segmentors(recipe: Recipe, device: torch.device) -> tuple[Segmentor, Segmentor]:
    """That of images of the source, and that of images of the target."""
    settings, preprocessing, target = recipe.structure, recipe.preprocessing, recipe.target
    named = of_target = settings.segmentor, settings.segmentor_sha256
    if settings.target_segmentor:
        of_target = settings.target_segmentor, settings.target_segmentor_sha256
    scale = preprocessing.standardisation, preprocessing.landmarks
    first = segmentation_network(*named, preprocessing.window, device, scale)
    scale = target.standardisation, target.landmarks
    second = segmentation_network(*of_target, target.range, device, scale)
    refuse_other_labels(first, second)
    for each in (first, second):
        refuse_volumes(each.dimension, recipe.network.dimension, each.path)
    return first, second
