"""UNIT: images that are not paired meet in one latent."""

from __future__ import annotations

import torch
from torch import Tensor

from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.discriminators import build_discriminator
from DeepTranslateLib.engine.losses import build_loss
from DeepTranslateLib.engine.losses.latent import kl_divergence, sampled_latent
from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.methods.critic import Critic
from DeepTranslateLib.engine.methods.game import Game, Play, Round
from DeepTranslateLib.engine.methods.supervised import loss_spec
from DeepTranslateLib.engine.networks.unit import UnitTranslator, build_pair
from DeepTranslateLib.recipe import BACKWARD, FORWARD, Recipe

THERE, BACK = "there", "back"


class UNIT(Game):
    """Liu et al. 2017, eq. 2 to 6: two variational auto-encoders that share their latent.

    Of each kind of images: what the critic says of the translated ones; the recipe's loss between
    an image and what its own decoder makes of its latent, and between an image and what comes back
    of it (both with noise of SD 1 on the latent); and `kl_weight` times the distance of both
    latents to a unit Gaussian. The paper's weights are 10 for the critic, 100 for both losses and
    0.1 for the latents: the same as 1, 10 and 0.01. The distance of an image's own latent stands
    in its auto-encoder's loss and again in the cycle's; it counts once, as in the authors' code.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        pair = build_pair(recipe)
        for way in pair:
            place(way, recipe, device)
        self._ways: dict[str, UnitTranslator] = dict(zip((THERE, BACK), pair, strict=True))
        critics = {
            f"critic of {name}": Critic(build_discriminator(recipe, 1).to(device), recipe)
            for name in self._ways
        }
        super().__init__(
            recipe, device, dict(self._ways), critics, {FORWARD: THERE, BACKWARD: BACK}
        )
        self._loss = build_loss(loss_spec(recipe.method))

    def play(self, batch: Batch) -> Play:
        """Each kind into the latent, out as itself and as the other, and back."""
        losses: dict[str, Tensor] = {}
        rounds = []
        ways = (
            (THERE, BACK, batch.images, batch.targets),
            (BACK, THERE, batch.targets, batch.images),
        )
        for way, return_way, image, other in ways:
            there, back = self._ways[way], self._ways[return_way]
            size, everywhere = image.shape[2:], torch.ones_like(image)
            mean = there.encode(image)
            latent = sampled_latent(mean)
            itself = back.decode(latent, size).float()
            output = there.decode(latent, size).float()
            again_mean = back.encode(output)
            again = back.decode(sampled_latent(again_mean), size).float()
            rounds.append(Round(f"critic of {way}", other, output))
            distance = kl_divergence(mean) + kl_divergence(again_mean)
            judged = self._critics[f"critic of {way}"].fooled(output)
            terms = {
                "adversarial": self._settings.weight * judged,
                "itself": self._loss(itself, image, everywhere),
                "cycle": self._loss(again, image, everywhere),
                "latent": self._settings.kl_weight * distance,
            }
            losses.update({f"{name} {way}": value for name, value in terms.items()})
        return Play(losses, rounds)

    def validation_loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss between images and what came back of them, by the mean latents."""
        return self._loss(output, batch.images, torch.ones_like(batch.images))
