"""Ways to train, one a file.

A method builds its networks and optimizers and does one training step; everything around the
step is the training loop's, once for all methods. In the step it hands each loss to the loop's
`update(optimizer name, loss)`, which differentiates, clips and steps.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from DeepTranslateLib.recipe import Recipe

# Imported where they are used: a method loads what it needs.
_CLASSES = {
    "supervised": "Supervised",
    "pix2pix": "Pix2Pix",
    "cyclegan": "CycleGAN",
    "unit": "UNIT",
    "cut": "CUT",
    "context_gan": "ContextGAN",
}

Update = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class Batch:
    """Slices and what the network should make of them.

    Without pairs, `targets` are images of the target's kind that have nothing to do with `images`,
    and may be of another size.

    Attributes:
        images: (B, inputs, H, W) fp32, 0 to 1; behind the inputs what a stage before made of them.
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
    # By direction the network that translates; the way there first.
    translators: dict[str, str]
    # The optimizer that moves the translating networks.
    generator: str
    # What the recipe's learning rate is multiplied by, for optimizers that have their own.
    rates: dict[str, float]

    def begin_epoch(self, epoch: int) -> None:
        """Told of each epoch, from 0, before its first step."""
        ...

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """Learn from one batch; returns losses and measures by name, "loss" among them."""
        ...

    def validation_loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss of the translating network's output (B, outputs, H, W) for a batch.

        With both directions: of what the way back made of that output.
        """
        ...

    def state(self) -> dict[str, Any]:
        """All that later steps depend on besides networks and optimizers; for checkpoints."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that `state` gave."""
        ...


def build_method(recipe: Recipe, device: torch.device, earlier: int = 0) -> Method:
    """The method of a recipe, with fresh networks on the device.

    Args:
        recipe: Says which.
        device: Where to compute.
        earlier: Further channels of images, as of `build_network`; of methods with stages.
    """
    name = recipe.method.name
    module = importlib.import_module(f"DeepTranslateLib.engine.methods.{name}")
    arguments = (recipe, device, earlier) if earlier else (recipe, device)
    method: Method = getattr(module, _CLASSES[name])(*arguments)
    return method
