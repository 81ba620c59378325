"""CUT: one way between images that are not paired, held by what is at the same place."""

from __future__ import annotations

import torch
from torch import Tensor

from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.discriminators import build_discriminator
from DeepTranslateLib.engine.losses.contrastive import PatchProjection, contrastive_loss
from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.methods.critic import Critic
from DeepTranslateLib.engine.methods.game import Game, Play, Round
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.networks.resnet import ResNetGenerator
from DeepTranslateLib.recipe import Recipe


class CUT(Game):
    """Park et al. 2020, eq. 5: what the critic says, and a contrastive loss of features.

    `contrast.weight` times the loss of input and output, and `adversarial.identity_weight` times
    that of an image of the target and what is made of it. With weights of 1 and 1 it is CUT, with
    10 and 0 FastCUT.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        network = place(build_network(recipe), recipe, device)
        assert isinstance(network, ResNetGenerator)
        self._network = network
        self._contrast = recipe.contrast
        self._layers = recipe.contrast.layers or published_layers(recipe)
        # Long enough for norms of the coarsest level to have something to average.
        side = 2 ** (recipe.network.levels + 1)
        nothing = torch.zeros(1, recipe.input_channels, *[side] * recipe.network.dimension)
        with torch.no_grad():
            features = network.encode(nothing.to(device), self._layers)
        self._projection = PatchProjection([each.shape[1] for each in features]).to(device)
        critic = Critic(build_discriminator(recipe, 1).to(device), recipe)
        networks = {"network": network, "projection": self._projection}
        super().__init__(recipe, device, networks, {"critic": critic})

    def play(self, batch: Batch) -> Play:
        """Translate, and compare features of each place with the others."""
        output = self._network(batch.images)[0].float()
        losses = {
            "adversarial": self._settings.weight * self._critics["critic"].fooled(output),
            "contrast": self._contrast.weight * self._held(output, batch.images),
        }
        if self._settings.identity_weight:
            same = self._network(batch.targets)[0].float()
            losses["identity"] = self._settings.identity_weight * self._held(same, batch.targets)
        return Play(losses, [Round("critic", batch.targets, output)])

    def validation_loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The contrastive loss of input and output."""
        return self._held(output, batch.images)

    def _held(self, output: Tensor, image: Tensor) -> Tensor:
        made = self._network.encode(output, self._layers)
        # No gradient flows to what is compared with, so that its features need not be kept.
        with torch.no_grad():
            wanted = self._network.encode(image, self._layers)
        return contrastive_loss(
            self._projection,
            made,
            wanted,
            self._contrast.patches,
            self._contrast.temperature,
        )


def published_layers(recipe: Recipe) -> tuple[int, ...]:
    """The image, each halving, and the first and the middle block.

    Of the paper's network these are 0, 2, 3, 4 and 8, as `ResNetGenerator.encode` counts.
    """
    levels = recipe.network.levels
    (blocks,) = recipe.network.blocks or (9,)
    return tuple(dict.fromkeys((0, *range(2, levels + 2), levels + 1 + blocks // 2)))
