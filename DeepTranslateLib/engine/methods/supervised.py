"""One network that learns its output from paired targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeepTranslateLib.engine.device import autocast, place
from DeepTranslateLib.engine.losses import build_loss
from DeepTranslateLib.engine.methods import Batch, Update
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.recipe import Recipe


class Supervised:
    """A network, Adam and a loss between its output and the target.

    With deep supervision the outputs of coarser levels are held to the target averaged over
    their pixels, with weights that halve from level to level and add up to 1 (Isensee et al.
    2021, nnU-Net).
    """

    translator = "network"

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self._device = device
        self._loss = build_loss(recipe.method.loss)
        network = place(build_network(recipe), recipe, device)
        self.networks: dict[str, nn.Module] = {"network": network}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "network": torch.optim.Adam(network.parameters(), lr=recipe.optimizer.learning_rate)
        }

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One step on one batch."""
        with autocast(self._device):
            outputs = self.networks["network"](batch.images)
        weights = [0.5**level for level in range(len(outputs))]
        loss = torch.zeros((), device=batch.images.device)
        for weight, output in zip(weights, outputs, strict=True):
            loss = loss + weight / sum(weights) * self._level_loss(output, batch)
        update("network", loss)
        return {"loss": loss.detach()}

    def validation_loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Loss of the finest output alone."""
        return self._loss(output.float(), batch.targets, batch.mask)

    def _level_loss(self, output: Tensor, batch: Batch) -> Tensor:
        size = (output.shape[2], output.shape[3])
        if size == tuple(batch.targets.shape[2:]):
            return self._loss(output.float(), batch.targets, batch.mask)
        mask = F.adaptive_avg_pool2d(batch.mask, size)
        # Ignored pixels take no part in the average of a coarse pixel's target.
        targets = F.adaptive_avg_pool2d(batch.targets * batch.mask, size) / mask.clamp_min(1e-6)
        return self._loss(output.float(), targets, mask)
