"""One network that learns its output from paired targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from DeepTranslateLib.engine.device import autocast, place
from DeepTranslateLib.engine.losses import LossSpec, build_loss
from DeepTranslateLib.engine.methods import Batch, Update
from DeepTranslateLib.engine.methods.deep_supervision import levels_of
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.optimizers import build_optimizer
from DeepTranslateLib.recipe import FORWARD, Method, Recipe


class Supervised:
    """A network, an optimizer and a loss between the network's outputs and the target."""

    generator = "network"

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self._device = device
        self._in_3d = recipe.network.dimension == 3
        self._loss = build_loss(loss_spec(recipe.method))
        self._coarse_targets = recipe.method.coarse_targets
        network = place(build_network(recipe), recipe, device)
        self.translators = {FORWARD: "network"}
        self.rates: dict[str, float] = {}
        self.networks: dict[str, nn.Module] = {"network": network}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "network": build_optimizer(recipe.optimizer, network.parameters())
        }

    def begin_epoch(self, epoch: int) -> None:
        """Nothing changes from epoch to epoch."""

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One step on one batch."""
        with autocast(self._device, learning_in_3d=self._in_3d):
            outputs = self.networks["network"](batch.images)
        loss = torch.zeros((), device=batch.images.device)
        for level in levels_of(outputs, batch, self._coarse_targets):
            part = self._loss(level.output.float(), level.targets, level.mask)
            loss = loss + level.weight * part
        update("network", loss)
        return {"loss": loss.detach()}

    def validation_loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Loss of the finest output alone."""
        return self._loss(output.float(), batch.targets, batch.mask)

    def state(self) -> dict[str, Any]:
        """Nothing but the network and its optimizer."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to go back to."""


def loss_spec(method: Method) -> LossSpec:
    """The loss of a recipe's method, as `build_loss` takes it."""
    if isinstance(method.loss, str):
        return method.loss
    return [(term.name, term.weight) for term in method.loss]
