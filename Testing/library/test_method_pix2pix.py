"""One step of pix2pix, held against its paper's formula."""

from __future__ import annotations

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

from DeepTranslateLib.engine.methods import Batch


def masked() -> Batch:
    made = batch()
    mask = torch.ones_like(made.images)
    mask[:, :, :5] = 0
    return Batch(made.images, made.targets, mask)


def test_pix2pix_is_equation_4_of_isola_and_the_mispair_term() -> None:
    recipe = recipe_of(
        "pix2pix",
        method={"loss": [{"name": "mae", "weight": 100}]},
        adversarial={"weight": 2, "mispair_weight": 0.5},
        training={"batch_size": 2},
    )
    shown = masked()
    method, turns, found = stepped(recipe, shown)
    x, y, mask = shown.images, shown.targets, shown.mask
    critic = method.networks["critic"]
    output = method.networks["network"](x)[0]

    def judged(condition: Tensor, made: Tensor) -> Tensor:
        return critic(torch.cat([condition, made * mask], dim=1))

    pairs_apart = ((output - y).abs() * mask).sum() / mask.sum()
    fooled = for_generator(judged(x, output))
    assert turns.losses["generator"] == about(100 * pairs_apart + 2 * fooled)
    wrong = (judged(x.flip(0), y) ** 2).mean()
    told = for_discriminator(judged(x, y), judged(x, output))
    assert turns.losses["discriminator"] == about(told + 0.5 * wrong)
    assert float(found["loss"]) == turns.losses["generator"]
    assert float(found["discriminator"]) == about(told + 0.5 * wrong)
    right = (judged(x, y) > 0.5).float().mean() + (judged(x, output) < 0.5).float().mean()
    assert float(found["discriminator_accuracy"]) == about(right / 2)
    spread = (output * mask).var() / (y * mask).var()
    assert float(found["variance_ratio"]) == about(spread)


def test_pix2pix_by_wassersteins_distance_has_the_penalty_between_truth_and_output() -> None:
    recipe = recipe_of("pix2pix", adversarial={"objective": "wgan_gp", "gradient_penalty": 7})
    shown = batch()
    method, turns, _ = stepped(recipe, shown, seed=9)
    x, y = shown.images, shown.targets
    critic = method.networks["critic"]
    output = method.networks["network"](x)[0].detach()
    torch.manual_seed(9)
    share = torch.rand(2, 1, 1, 1)
    between = (share * y + (1 - share) * output).requires_grad_()
    scores = critic(torch.cat([x, between], dim=1)).mean(dim=(1, 2, 3))
    slopes = torch.stack(
        [torch.autograd.grad(one, between, retain_graph=True)[0].norm() for one in scores]
    )
    apart = critic(torch.cat([x, output], 1)).mean() - critic(torch.cat([x, y], 1)).mean()
    assert turns.losses["discriminator"] == about(apart + 7 * ((slopes - 1) ** 2).mean())
    fooled = -critic(torch.cat([x, output], 1)).mean()
    assert turns.losses["generator"] == about(10 * l1(output, y) + fooled)
