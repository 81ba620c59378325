"""What all methods with a discriminator share: whose turn it is, and what is watched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from DeepTranslateLib.engine.device import autocast
from DeepTranslateLib.engine.methods import Batch, Update
from DeepTranslateLib.engine.methods.critic import Critic
from DeepTranslateLib.engine.methods.variety import Variety
from DeepTranslateLib.engine.optimizers import build_optimizer
from DeepTranslateLib.engine.watch import ACCURACY
from DeepTranslateLib.recipe import FORWARD, Recipe


@dataclass(frozen=True)
class Round:
    """What one critic is shown.

    Attributes:
        critic: Its name.
        real: (B, 1, *S), true images.
        fake: (B, 1, *S), translated ones.
        condition: (B, C, *S), what they were made of, where the critic judges pairs.
    """

    critic: str
    real: Tensor
    fake: Tensor
    condition: Tensor | None = None


@dataclass(frozen=True)
class Play:
    """What the generator made of a batch.

    Attributes:
        losses: By name, weighted; their sum is the generator's.
        rounds: What the critics are shown, the way there first.
    """

    losses: dict[str, Tensor]
    rounds: Sequence[Round]


class Game:
    """Generator and discriminator in turn; a method says what the generator plays.

    The generator learns in each `discriminator_steps`-th step but those of the first
    `discriminator_warmup_epochs`, the discriminator in each `generator_steps`-th.

    Args:
        recipe: Says how long each learns, and how fast.
        device: Where the networks are.
        networks: Those that translate, and what learns with them, by name.
        critics: By name.
        translators: By direction the name of the network that translates.
    """

    generator = "generator"

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        networks: dict[str, nn.Module],
        critics: dict[str, Critic],
        translators: dict[str, str] | None = None,
    ) -> None:
        self._device = device
        self._settings = recipe.adversarial
        self._in_3d = recipe.network.dimension == 3
        self._critics = critics
        self._warming = False
        self._steps = 0
        self._judged = {"discriminator": 0.0, ACCURACY: 0.5}
        self._variety = Variety()
        judges = {name: critic.network for name, critic in critics.items()}
        self.networks: dict[str, nn.Module] = {**networks, **judges}
        self.translators = translators or {FORWARD: "network"}
        # Networks may share layers.
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": build_optimizer(recipe.optimizer, _weights(networks.values())),
            "discriminator": build_optimizer(recipe.optimizer, _weights(judges.values())),
        }
        own = recipe.adversarial.discriminator_rate
        rate = recipe.optimizer.learning_rate
        self.rates = {} if own is None else {"discriminator": own / rate}

    def play(self, batch: Batch) -> Play:
        """Translate a batch, and what the generator has lost."""
        raise NotImplementedError

    def begin_epoch(self, epoch: int) -> None:
        """Whether the discriminator alone learns."""
        self._warming = epoch < self._settings.discriminator_warmup_epochs

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One step of the generator and of the discriminator, of each where it is its turn."""
        generating = not self._warming and self._steps % self._settings.discriminator_steps == 0
        with torch.set_grad_enabled(generating):
            with autocast(self._device, learning_in_3d=self._in_3d):
                played = self.play(batch)
            loss = torch.stack([each.float() for each in played.losses.values()]).sum()
        if generating:
            update("generator", loss)
        if self._warming or self._steps % self._settings.generator_steps == 0:
            self._judge(played.rounds, update)
        self._steps += 1
        there = played.rounds[0]
        measures = {**self._judged, **self._variety.ratios(there.fake, there.real)}
        return {
            "loss": loss.detach(),
            **{name: each.detach() for name, each in played.losses.items()},
            **{name: torch.tensor(value) for name, value in measures.items()},
        }

    def state(self) -> dict[str, Any]:
        """Whose turn it is, and what critics remember."""
        return {
            "steps": self._steps,
            "judged": self._judged,
            "variety": self._variety.state(),
            "critics": {name: critic.state() for name, critic in self._critics.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that `state` gave."""
        self._steps, self._judged = state["steps"], dict(state["judged"])
        if "variety" in state:  # older checkpoints have none
            self._variety.restore(state["variety"])
        for name, critic in self._critics.items():
            critic.restore(state["critics"][name])

    def _judge(self, rounds: Sequence[Round], update: Update) -> None:
        losses, right = [], []
        with autocast(self._device, learning_in_3d=self._in_3d):
            for each in rounds:
                loss, share = self._critics[each.critic].loss(each.real, each.fake, each.condition)
                losses.append(loss)
                right.append(share)
        total = torch.stack(losses).sum()
        update("discriminator", total)
        self._judged = {"discriminator": float(total.detach()), ACCURACY: sum(right) / len(right)}


def _weights(networks: Iterable[nn.Module]) -> list[nn.Parameter]:
    found = {id(each): each for network in networks for each in network.parameters()}
    return list(found.values())
