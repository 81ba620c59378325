"""Nie's context-aware GAN: pairs of 3D patches, of which the central half counts."""

from __future__ import annotations

import torch
from torch import Tensor

from DeepTranslateLib.engine.centralhalf import central_half
from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.discriminators import build_discriminator
from DeepTranslateLib.engine.losses import build_loss
from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.methods.critic import Critic
from DeepTranslateLib.engine.methods.game import Game, Play, Round
from DeepTranslateLib.engine.methods.supervised import loss_spec
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.recipe import Recipe


class ContextGAN(Game):
    """Nie et al. 2018 (doi:10.1109/TBME.2018.2814538), section III: one stage of it.

    The generator's loss is `adversarial.weight` times what the critic says, and the recipe's loss
    between output and target: in the paper squared errors and the difference of gradients. The
    critic sees outputs and targets alone, not what they were made of. Which stage it is makes no
    difference but for the channel that the stage before has made (`engine.autocontext`).
    """

    def __init__(self, recipe: Recipe, device: torch.device, earlier: int = 0) -> None:
        network = place(build_network(recipe, earlier), recipe, device)
        critic = Critic(build_discriminator(recipe, recipe.output_channels).to(device), recipe)
        super().__init__(recipe, device, {"network": network}, {"critic": critic})
        self._loss = build_loss(loss_spec(recipe.method))

    def play(self, batch: Batch) -> Play:
        """Translate the patches, and compare their central halves with those of the targets."""
        output = central_half(self.networks["network"](batch.images)[0].float())
        target, mask = central_half(batch.targets), central_half(batch.mask)
        # What does not count must not tell true from translated.
        real, fake = target * mask, output * mask
        losses = {
            "pairs": self._loss(output, target, mask),
            "adversarial": self._settings.weight * self._critics["critic"].fooled(fake),
        }
        return Play(losses, [Round("critic", real, fake)])

    def validation_loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss between output and target alone."""
        halves = (central_half(each) for each in (output.float(), batch.targets, batch.mask))
        return self._loss(*halves)
