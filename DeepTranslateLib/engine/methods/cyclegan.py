"""CycleGAN: two ways between images that are not paired, each the other's check."""

from __future__ import annotations

import torch
from torch import Tensor

from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.discriminators import build_discriminator
from DeepTranslateLib.engine.losses import build_loss
from DeepTranslateLib.engine.losses.intensity import mean_absolute_error
from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.methods.critic import Critic
from DeepTranslateLib.engine.methods.game import Game, Play, Round
from DeepTranslateLib.engine.methods.structure import StructureTerms
from DeepTranslateLib.engine.methods.supervised import loss_spec
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.recipe import BACKWARD, FORWARD, Recipe, in_direction

THERE, BACK = "there", "back"


class CycleGAN(Game):
    """Zhu et al. 2017, eq. 3: G there, F back, a critic on either side.

    The generators' loss is what both critics say, the recipe's loss between x and F(G(x)) and
    between y and G(F(y)), `identity_weight` times |G(y) - y| + |F(x) - x| (section 5.2), and the
    recipe's `structure` terms between each image and what was made of it. `structure` makes it
    the structure-preserving CycleGAN of Ozaki et al. 2022.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        recipes = {THERE: recipe, BACK: in_direction(recipe, BACKWARD)}
        networks = {
            name: place(build_network(each), each, device) for name, each in recipes.items()
        }
        critics = {
            f"critic of {name}": Critic(build_discriminator(each, 1).to(device), each)
            for name, each in recipes.items()
        }
        super().__init__(recipe, device, networks, critics, {FORWARD: THERE, BACKWARD: BACK})
        self._cycle = build_loss(loss_spec(recipe.method))
        self._structure = StructureTerms(recipe, device)

    def play(self, batch: Batch) -> Play:
        """Both ways, and back again."""
        ways = (
            (THERE, BACK, batch.images, batch.targets),
            (BACK, THERE, batch.targets, batch.images),
        )
        losses: dict[str, Tensor] = {}
        rounds = []
        for way, return_way, image, other in ways:
            output = self._through(way, image)
            rounds.append(Round(f"critic of {way}", other, output))
            terms = {
                "adversarial": self._settings.weight
                * self._critics[f"critic of {way}"].fooled(output),
                "cycle": self._cycle(
                    self._through(return_way, output), image, torch.ones_like(image)
                ),
                **self._structure.terms(image, output, back=way == BACK),
                **self._structure.through_latent(
                    self.networks[way], self.networks[return_way], image
                ),
            }
            if self._settings.identity_weight:
                same = mean_absolute_error(self._through(way, other), other, torch.ones_like(other))
                terms["identity"] = self._settings.identity_weight * same
            losses.update({f"{name} {way}": value for name, value in terms.items()})
        return Play(losses, rounds)

    def validation_loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss between images and what came back of them."""
        return self._cycle(output, batch.images, torch.ones_like(batch.images))

    def _through(self, way: str, image: Tensor) -> Tensor:
        return self.networks[way](image)[0].float()
