"""Networks to count and to look through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def seeded(build: Callable[..., nn.Module], *given: Any, **named: Any) -> Any:
    torch.manual_seed(0)
    return build(*given, **named)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def kernels(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.ndim > 1)


def transparent(network: nn.Module) -> nn.Module:
    """Positive weights let every path through (leaky) ReLU, and no two paths cancel."""
    for parameter in network.parameters():
        parameter.data.abs_().clamp_min_(1e-3)
    return network.eval().double()


def seen(
    network: Callable[[Tensor], Tensor], size: int, at: int, dimension: int = 2
) -> tuple[int, int]:
    """First and last pixel along an axis that output pixel `at` of each axis depends on."""
    image = torch.rand(1, 1, *(size,) * dimension, dtype=torch.float64, requires_grad=True)
    output = network(image)[0, 0]
    for _ in range(dimension):
        output = output[at]
    output.backward()
    assert image.grad is not None
    found = torch.nonzero(image.grad[0, 0])
    assert (found.min(dim=0).values == found.min()).all()
    return int(found.min()), int(found.max())
