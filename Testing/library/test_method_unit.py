"""One step of UNIT, held against its paper's formulas."""

from __future__ import annotations

from typing import Any

import torch
from adversarial_samples import (
    about,
    batch,
    for_discriminator,
    for_generator,
    l1,
    recipe_of,
    stepped,
)
from torch import Tensor


def test_unit_is_equations_2_to_6_of_liu_with_noise_on_each_latent() -> None:
    recipe = recipe_of("unit", adversarial={"weight": 2, "kl_weight": 0.3})
    shown = batch()
    method, turns, found = stepped(recipe, shown, seed=4)
    x, y = shown.images, shown.targets
    there, back = method.networks["there"], method.networks["back"]
    torch.manual_seed(4)

    def encoded(way: Any, images: Tensor) -> Tensor:
        return way.shared_encoder(way.encoder(images))

    def decoded(way: Any, latent: Tensor) -> Tensor:
        return way.decoder(way.shared_decoder(latent))

    total, told = torch.zeros(()), torch.zeros(())
    # `there` reads x and writes y; `back` the other way round.
    for way, other, image, wanted in ((there, back, x, y), (back, there, y, x)):
        critic = method.networks["critic of there" if way is there else "critic of back"]
        mean = encoded(way, image)
        latent = mean + torch.randn(mean.shape)
        translated = decoded(way, latent)
        mean_again = encoded(other, translated)
        again = decoded(other, mean_again + torch.randn(mean.shape))
        kl = (mean**2).mean() / 2 + (mean_again**2).mean() / 2
        total = total + 10 * l1(decoded(other, latent), image) + 10 * l1(again, image)
        total = total + 0.3 * kl + 2 * for_generator(critic(translated))
        told = told + for_discriminator(critic(wanted), critic(translated))
    assert turns.losses["generator"] == about(total)
    assert turns.losses["discriminator"] == about(told)
    assert float(found["latent there"] + found["latent back"]) > 0
