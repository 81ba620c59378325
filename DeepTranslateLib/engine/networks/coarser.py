"""Images at the size of a network's coarser levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def averaged(values: Tensor, size: Sequence[int]) -> Tensor:
    """Values (B, C, *S) averaged over larger pixels: (B, C, *size)."""
    if tuple(values.shape[2:]) == tuple(size):
        return values
    if len(size) == 2:
        return F.adaptive_avg_pool2d(values, (size[0], size[1]))
    return F.adaptive_avg_pool3d(values, (size[0], size[1], size[2]))
