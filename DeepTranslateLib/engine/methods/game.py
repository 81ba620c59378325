"""What all methods with a discriminator share: whose turn it is, and what is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from DeepTranslateLib.engine.device import autocast
from DeepTranslateLib.engine.methods import Batch, Update
from DeepTranslateLib.engine.methods.critic import Critic
from DeepTranslateLib.engine.methods.variety import Variety
from DeepTranslateLib.engine.optimizers import build_optimizer
from DeepTranslateLib.engine.watch import ACCURACY, DIVERSITY, VARIANCE, of_way
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
        critics: By name; where there are two directions, in their order.
        translators: By direction the name of the network that translates, which names the way in
            measures, too.
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
        self._varieties = {name: Variety() for name in critics}
        judges = {name: critic.network for name, critic in critics.items()}
        self.networks: dict[str, nn.Module] = {**networks, **judges}
        self.translators = translators or {FORWARD: "network"}
        ways = self.translators.values() if len(self.translators) > 1 else ("",)
        self._way_of = dict(zip(critics, ways, strict=True))
        guessing = self._of_ways(ACCURACY, dict.fromkeys(critics, 0.5), max)
        self._judged = {"discriminator": 0.0, **guessing}
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
        measures = {**self._judged, **self._vary(played.rounds)}
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
            "varieties": {name: variety.state() for name, variety in self._varieties.items()},
            "critics": {name: critic.state() for name, critic in self._critics.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that `state` gave."""
        self._steps = state["steps"]
        judged: dict[str, float] = dict(state["judged"])
        # Older checkpoints know one accuracy, and the variety of the way there or none.
        accuracy = judged[ACCURACY]
        same = self._of_ways(ACCURACY, dict.fromkeys(self._critics, accuracy), max)
        self._judged = {**same, **judged}
        first = next(iter(self._critics))
        older = {first: state["variety"]} if "variety" in state else {}
        for name, variety in state.get("varieties", older).items():
            self._varieties[name].restore(variety)
        for name, critic in self._critics.items():
            critic.restore(state["critics"][name])

    def _judge(self, rounds: Sequence[Round], update: Update) -> None:
        losses, right = [], {}
        with autocast(self._device, learning_in_3d=self._in_3d):
            for each in rounds:
                loss, share = self._critics[each.critic].loss(each.real, each.fake, each.condition)
                losses.append(loss)
                right[each.critic] = share
        total = torch.stack(losses).sum()
        update("discriminator", total)
        told = self._of_ways(ACCURACY, right, max)
        self._judged = {"discriminator": float(total.detach()), **told}

    def _vary(self, rounds: Sequence[Round]) -> dict[str, float]:
        found = {
            each.critic: self._varieties[each.critic].ratios(each.fake, each.real)
            for each in rounds
        }
        measures: dict[str, float] = {}
        for name in (VARIANCE, DIVERSITY):
            ratios = {critic: each[name] for critic, each in found.items()}
            measures |= self._of_ways(name, ratios, min)
        return measures

    def _of_ways(
        self, name: str, values: Mapping[str, float], worst: Callable[[Iterable[float]], float]
    ) -> dict[str, float]:
        """A measure of the worst way and, where there are two, of each; values are by critic."""
        each = {of_way(name, self._way_of[critic]): value for critic, value in values.items()}
        return {name: worst(values.values()), **each}


def _weights(networks: Iterable[nn.Module]) -> list[nn.Parameter]:
    found = {id(each): each for network in networks for each in network.parameters()}
    return list(found.values())
