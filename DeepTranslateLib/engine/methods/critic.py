"""A discriminator with its memory of translated images, and what both sides learn from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from DeepTranslateLib.engine.imagepool import ImagePool
from DeepTranslateLib.engine.losses.adversarial import (
    accuracy,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    mispair_loss,
)
from DeepTranslateLib.recipe import Recipe


class Critic:
    """Tells true from translated images; of pairs where it is given what they were made of.

    Attributes:
        network: Gives logits (B, 1, *S') for images (B, C, *S).

    Args:
        network: On its device.
        recipe: Says by which objective it learns.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.network = network
        self._settings = recipe.adversarial
        self._pool = ImagePool(recipe.adversarial.pool)

    def fooled(self, fake: Tensor, condition: Tensor | None = None) -> Tensor:
        """The generator's loss of translated images (B, 1, *S); it alone gets a gradient.

        Args:
            fake: Translated.
            condition: (B, C, *S), what they were made of.
        """
        with _fixed(self.network):
            logits = self.network(_beside(condition, fake))
        return generator_loss(self._settings.objective, logits.float())

    def loss(
        self, real: Tensor, fake: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, float]:
        """The discriminator's loss of true and translated images, and its accuracy.

        Args:
            real: (B, 1, *S), true.
            fake: (B, 1, *S), translated; mixed with earlier ones.
            condition: (B, C, *S), what true images belong to and translated ones were made of.
        """
        settings, fake = self._settings, fake.detach()
        truths = self.network(_beside(condition, real)).float()
        fakes = self.network(self._pool.mixed(_beside(condition, fake))).float()
        loss = discriminator_loss(settings.objective, truths, fakes, settings.label_jitter)
        if settings.mispair_weight and condition is not None and len(real) > 1:
            # Each truth beside the input of the next case of the batch.
            others = self.network(_beside(condition.roll(1, dims=0), real)).float()
            mispaired = mispair_loss(settings.objective, others, settings.label_jitter)
            loss = loss + settings.mispair_weight * mispaired
        if settings.objective == "wgan_gp" and settings.gradient_penalty:
            both = _cut_alike(real, fake)
            penalty = gradient_penalty(
                lambda image: self.network(_beside(condition, image)).float(), *both
            )
            loss = loss + settings.gradient_penalty * penalty
        return loss, accuracy(truths, fakes, settings.objective)

    def state(self) -> dict[str, Any]:
        """Of its memory, for checkpoints."""
        return self._pool.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that `state` gave."""
        self._pool.restore(dict(state))


def _beside(condition: Tensor | None, image: Tensor) -> Tensor:
    return image if condition is None else torch.cat([condition, image], dim=1)


def _cut_alike(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Both cut to a common size: images of two kinds are not of one size always."""
    sizes = zip(real.shape[2:], fake.shape[2:], strict=True)
    corner: tuple[Any, ...] = (..., *(slice(min(both)) for both in sizes))
    return real[corner], fake[corner]


@contextmanager
def _fixed(network: nn.Module) -> Iterator[None]:
    """No gradient for a network's weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
