"""One step of CUT and of FastCUT, held against the paper's formulas."""

from __future__ import annotations

from typing import Any

import torch
from adversarial_samples import about, batch, for_discriminator, for_generator, recipe_of, stepped
from torch import Tensor


def contrast(network: Any, heads: Any, made: Tensor, image: Tensor, layers: list[int]) -> Tensor:
    """Park et al. 2020, eq. 2 and 3, place by place; 6 places, a temperature of 0.1."""
    terms = []
    places = []
    for layer in layers:
        (size,) = {network.encode(image, [layer])[0].shape[2:]}
        places.append(torch.randperm(size[0] * size[1])[:6])
    for number, layer in enumerate(layers):
        both = []
        for images in (made, image):
            features = network.encode(images, [layer])[0].flatten(2)[:, :, places[number]]
            vectors = heads[number](features.transpose(1, 2))
            both.append(vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12))
        for queries, keys in zip(*both, strict=True):
            for place, query in enumerate(queries):
                alike = torch.stack([query @ key for key in keys]) / 0.1
                terms.append(-(alike[place] - alike.logsumexp(dim=0)))
    return torch.stack(terms).mean()


def test_cut_is_equation_5_of_park_at_the_same_places() -> None:
    recipe = recipe_of(
        "cut",
        adversarial={"identity_weight": 2},
        contrast={"weight": 3, "patches": 6, "temperature": 0.1, "layers": [0, 2, 3]},
    )
    shown = batch()
    method, turns, _ = stepped(recipe, shown, seed=8)
    x, y = shown.images, shown.targets
    network, critic = method.networks["network"], method.networks["critic"]
    heads = method.networks["projection"].heads
    torch.manual_seed(8)
    output = network(x)[0]
    loss = for_generator(critic(output)) + 3 * contrast(network, heads, output, x, [0, 2, 3])
    loss = loss + 2 * contrast(network, heads, network(y)[0], y, [0, 2, 3])
    assert turns.losses["generator"] == about(loss)
    assert turns.losses["discriminator"] == about(for_discriminator(critic(y), critic(output)))
    assert turns.reached["generator"] == {"network", "projection"}


def test_fastcut_translates_no_targets_and_takes_the_published_layers() -> None:
    recipe = recipe_of(
        "cut",
        network={"levels": 3, "blocks": [9]},
        contrast={"weight": 10, "patches": 6, "temperature": 0.1},
    )
    shown = batch()
    method, turns, found = stepped(recipe, shown, seed=8)
    network, critic = method.networks["network"], method.networks["critic"]
    torch.manual_seed(8)
    output = network(shown.images)[0]
    heads = method.networks["projection"].heads
    held = contrast(network, heads, output, shown.images, [0, 2, 3, 4, 8])
    assert turns.losses["generator"] == about(for_generator(critic(output)) + 10 * held)
    assert "identity" not in found
