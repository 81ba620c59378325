"""Ways to train, one a file.

A method builds its networks and optimizers and does one training step; everything around the
step is the training loop's, once for all methods. In the step it hands each loss to the loop's
`update(optimizer name, loss)`, which differentiates, clips and steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from DeepTranslateLib.recipe import Recipe

Update = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class Batch:
    """Slices and what the network should make of them.

    Attributes:
        images: (B, inputs, H, W) fp32, 0 to 1.
        targets: (B, outputs, H, W) fp32, 0 to 1.
        mask: (B, 1, H, W) fp32, the weight of each pixel; 0 is ignored.
    """

    images: Tensor
    targets: Tensor
    mask: Tensor


class Method(Protocol):
    """What the training loop needs of a method."""

    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    translator: str  # name of the network that translates

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """Learn from one batch; returns the losses by name, "loss" among them."""
        ...

    def validation_loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss of the translating network's output (B, outputs, H, W) for a batch."""
        ...


def build_method(recipe: Recipe, device: torch.device) -> Method:
    """The method of a recipe, with fresh networks on the device."""
    from DeepTranslateLib.engine.methods.supervised import Supervised

    return Supervised(recipe, device)
