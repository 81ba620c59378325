"""pix2pix: pairs, and a discriminator that sees input and output side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.discriminators import build_discriminator
from DeepTranslateLib.engine.features import feature_network
from DeepTranslateLib.engine.losses import build_loss
from DeepTranslateLib.engine.losses.perceptual import perceptual
from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.methods.critic import Critic
from DeepTranslateLib.engine.methods.game import Game, Play, Round
from DeepTranslateLib.engine.methods.supervised import loss_spec
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.recipe import Recipe


class Pix2Pix(Game):
    """Isola et al. 2017, eq. 4: the loss between output and target, and what the critic says.

    With the settings of Kaji & Kida 2019 (doi:10.1007/s12194-019-00520-y) that the recipe may ask
    for: labels that jitter, earlier outputs, pairs that do not belong together, a critic that
    begins earlier, and features of output and target.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        network = place(build_network(recipe), recipe, device)
        channels = recipe.input_channels + recipe.output_channels
        critic = Critic(build_discriminator(recipe, channels).to(device), recipe)
        super().__init__(recipe, device, {"network": network}, {"critic": critic})
        self._loss = build_loss(loss_spec(recipe.method))
        self._perceptual_weight = recipe.structure.perceptual_weight
        if self._perceptual_weight:
            named = recipe.structure
            self._features = feature_network(
                named.features, named.features_sha256, named.features_level, device
            )

    def play(self, batch: Batch) -> Play:
        """Translate, and compare with the target."""
        output = self.networks["network"](batch.images)[0].float()
        # What does not count must not tell true from translated.
        real, fake = batch.targets * batch.mask, output * batch.mask
        losses = {
            "pairs": self._loss(output, batch.targets, batch.mask),
            "adversarial": self._settings.weight
            * self._critics["critic"].fooled(fake, batch.images),
        }
        if self._perceptual_weight:
            felt = perceptual(self._features, fake, real)
            losses["perceptual"] = self._perceptual_weight * felt
        return Play(losses, [Round("critic", real, fake, batch.images)])

    def validation_loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss between output and target alone."""
        return self._loss(output.float(), batch.targets, batch.mask)
