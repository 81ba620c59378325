"""Gradient difference loss: edges as steep as the target's."""

from __future__ import annotations

import torch
from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision, masked_mean
from DeepTranslateLib.engine.losses.total_variation import steps


@in_full_precision
def gradient_difference(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Nie et al. 2018, eq. 6: sum over axes of mean((|step of target| - |step of prediction|)^2).

    A step is the difference of two neighbours along the axis and counts as both of them do. The
    paper sums over pixels; a mean does not depend on the size of the image.

    Args:
        prediction: (B, C, *S), 0 to 1.
        target: (B, C, *S), 0 to 1.
        mask: (B, 1, *S), 0 to 1.
    """
    loss = torch.zeros((), dtype=prediction.dtype, device=prediction.device)
    pairs = zip(steps(prediction, mask), steps(target, mask), strict=True)
    for (mine, counted), (theirs, _) in pairs:
        loss = loss + masked_mean((theirs.abs() - mine.abs()) ** 2, counted)
    return loss
