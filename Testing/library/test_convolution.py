"""Convolutions of a volume in halves: those of PyTorch, for each volume and gradient."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from engine_samples import labels_recipe
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from DeepTranslateLib.engine.convolution import HalvedConv3d, with_halved_volumes
from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.networks import build_network


def both(layer: nn.Conv3d) -> tuple[nn.Module, nn.Module]:
    return layer, with_halved_volumes(copy.deepcopy(layer))


def batches_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many volumes each convolution is given, as it is called."""
    seen: list[int] = []
    real = torch.nn.functional.conv3d

    def watched(input: torch.Tensor, *arguments: Any) -> torch.Tensor:
        seen.append(len(input))
        return real(input, *arguments)

    monkeypatch.setattr(torch.nn.functional, "conv3d", watched)
    return seen


@pytest.mark.parametrize(
    ("options", "width"),
    [
        ({"kernel_size": 3, "padding": 1}, 8),
        ({"kernel_size": 3, "padding": 1, "bias": False}, 2),
        ({"kernel_size": 3}, 10),
        ({"kernel_size": (1, 3, 5), "padding": (0, 1, 2)}, 6),
        ({"kernel_size": 3, "padding": 2, "dilation": 2}, 8),
        ({"kernel_size": 3, "padding": 1, "stride": (2, 2, 1)}, 8),
        ({"kernel_size": (3, 1, 1)}, 4),
        ({"kernel_size": (2, 3, 4), "padding": 1}, 9),
        ({"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}, 8),
        ({"kernel_size": 3, "padding": (2, 1, 3), "padding_mode": "replicate"}, 8),
    ],
)
def test_halves_give_the_outputs_and_gradients_of_the_whole(
    options: dict[str, Any], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layers = both(nn.Conv3d(3, 4, **options))
    images = torch.randn(1, 3, 6, 7, width)
    seen = batches_of(monkeypatch)
    outputs = []
    for layer in layers:
        image = images.clone().requires_grad_()
        output = layer(image)
        (output * torch.arange(output.numel()).reshape(output.shape).sin()).sum().backward()
        gradients = [image.grad, *(each.grad for each in layer.parameters())]
        outputs.append([output.detach(), *gradients])
    assert seen == [1, 2]
    for expected, found in zip(*outputs, strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "shape", "dtype"),
    [
        ({"padding": 1}, (2, 3, 4, 4, 8), torch.float32),
        ({"padding": 1}, (1, 3, 4, 4, 7), torch.float32),
        ({"padding": 1}, (1, 3, 4, 4, 8), torch.float64),
        ({"padding": 1}, (1, 3, 80, 86, 8), torch.float32),
        ({"padding": "same"}, (1, 3, 4, 4, 8), torch.float32),
        ({"padding": 1, "padding_mode": "reflect"}, (1, 3, 4, 4, 7), torch.float32),
        ({"padding": 1, "padding_mode": "reflect"}, (1, 3, 78, 86, 8), torch.float32),
        ({"padding": 1, "stride": 2}, (1, 3, 4, 4, 8), torch.float32),
        ({"padding": 1, "groups": 3}, (1, 3, 4, 4, 8), torch.float32),
        ({"kernel_size": 1}, (1, 3, 4, 4, 8), torch.float32),
        ({"kernel_size": 5, "padding": 2}, (1, 3, 4, 4, 8), torch.float32),
        ({"padding": 1, "in_channels": 1}, (1, 4, 4, 8), torch.float32),
    ],
)
def test_what_cannot_be_halved_is_convolved_as_it_is(
    options: dict[str, Any],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    options = {"in_channels": 3, "out_channels": 3, "kernel_size": 3, **options}
    whole, halved = both(nn.Conv3d(**options).to(dtype))
    image = torch.randn(shape, dtype=dtype)
    seen = batches_of(monkeypatch)
    assert torch.equal(whole(image), halved(image))
    assert seen == [len(image)] * 2


def test_a_network_of_volumes_on_the_cpu_is_halved_and_keeps_its_weights() -> None:
    recipe = labels_recipe(2, sampling={"patch": [8, 16, 16]}, network={"dimension": 3})
    torch.manual_seed(0)
    network = build_network(recipe)
    before = copy.deepcopy(network)
    placed = place(network, recipe, torch.device("cpu"))
    layers = [each for each in placed.modules() if isinstance(each, nn.Conv3d)]
    assert layers
    assert all(type(each) is HalvedConv3d for each in layers)
    assert placed.state_dict().keys() == before.state_dict().keys()
    image = torch.randn(1, 1, 8, 16, 16)
    with torch.no_grad():
        for found, expected in zip(placed(image), before(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_is_derived_from_a_convolution_is_left_as_it_is() -> None:
    layer = spectral_norm(nn.Conv3d(2, 2, 3))
    kind = type(layer)
    with_halved_volumes(nn.Sequential(layer))
    assert type(layer) is kind
