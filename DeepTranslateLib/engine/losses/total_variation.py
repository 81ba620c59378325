"""Total variation: how rough an image is."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision, masked_mean


@in_full_precision
def total_variation(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Sum over axes of the mean absolute step (anisotropic form of Rudin et al. 1992).

    A part of a weighted sum, since by itself it knows no target and is least for a flat image.

    Args:
        prediction: (B, C, *S), 0 to 1.
        target: Not looked at.
        mask: (B, 1, *S), 0 to 1; a step counts as both of its pixels do.
    """
    loss = torch.zeros((), dtype=prediction.dtype, device=prediction.device)
    for step, counted in steps(prediction, mask):
        loss = loss + masked_mean(step.abs(), counted)
    return loss


def steps(values: Tensor, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Differences of neighbours along each axis of S, and the product of their weights.

    Args:
        values: (B, C, *S).
        mask: (B, 1, *S).

    Yields:
        For each axis longer than 1: (B, C, ...) and (B, 1, ...), one shorter along it.
    """
    for axis in range(2, values.ndim):
        size = values.shape[axis]
        if size > 1:
            counted = mask.narrow(axis, 1, size - 1) * mask.narrow(axis, 0, size - 1)
            yield values.diff(dim=axis), counted
