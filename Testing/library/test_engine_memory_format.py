"""The order in which a network's weights lie in memory changes its speed alone."""

from __future__ import annotations

import pytest
import torch
from engine_samples import labels_recipe

from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.networks import build_network

CPU = torch.device("cpu")


@pytest.mark.parametrize("slices", [3, 8])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_volumes_in_channels_last_give_the_same_outputs_and_gradients(
    norm: str, slices: int
) -> None:
    recipe = labels_recipe(
        2,
        sampling={"patch": [8, 12, 12]},
        network={"dimension": 3, "norm": norm, "channels": 4, "levels": 2},
    )
    torch.manual_seed(0)
    plain = build_network(recipe)
    placed = build_network(recipe)
    placed.load_state_dict(plain.state_dict())
    placed = place(placed, recipe, CPU)
    image = torch.rand(2, 1, slices, 12, 12)
    results = []
    for network in (plain, placed):
        output = network(image)[0]
        output.square().mean().backward()
        results.append([output.detach(), *(weight.grad for weight in network.parameters())])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    deep = placed.encoder[1][0].weight  # type: ignore[index,union-attr]
    assert deep.is_contiguous(memory_format=torch.channels_last_3d)
    assert not deep.is_contiguous()


def test_volumes_with_instance_norm_stay_as_they_are() -> None:
    recipe = labels_recipe(
        sampling={"patch": [8, 12, 12]}, network={"dimension": 3, "norm": "instance"}
    )
    network = place(build_network(recipe), recipe, CPU)
    assert all(weight.is_contiguous() for weight in network.parameters())
