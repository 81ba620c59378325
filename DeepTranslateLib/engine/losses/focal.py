"""Focal loss: what is easy counts less."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision, masked_mean


@in_full_precision
def focal(
    logits: Tensor, target: Tensor, mask: Tensor, gamma: float = 2.0, alpha: float = 0.25
) -> Tensor:
    """Lin et al. 2017, eq. 5: mean of -a (1 - s)^g t log(s) - (1 - a) s^g (1 - t) log(1 - s).

    s = sigmoid(logit), and the defaults are the paper's best. The mean is over counted pixels and
    labels; the paper divides by the number of objects, which slices do not have.

    Args:
        logits: (B, labels, *S).
        target: (B, labels, *S), 0 to 1.
        mask: (B, 1, *S), 0 to 1.
        gamma: g, how much less the easy counts; 0 is weighted cross-entropy.
        alpha: a, weight of pixels of a label; those that are not of it have 1 - a.
    """
    s = torch.sigmoid(logits)
    of_label = alpha * (1 - s) ** gamma * target * F.logsigmoid(logits)
    of_others = (1 - alpha) * s**gamma * (1 - target) * F.logsigmoid(-logits)
    return masked_mean(-of_label - of_others, mask)
