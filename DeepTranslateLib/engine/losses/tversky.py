"""Tversky loss: Dice with a price for each kind of error."""

from __future__ import annotations

import torch
from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision

# Keeps labels that are nowhere in a batch from dividing by 0.
_SMOOTH = 1e-5


@in_full_precision
def tversky(
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    false_positives: float = 0.3,
    false_negatives: float = 0.7,
) -> Tensor:
    """Salehi et al. 2017, eq. 4: 1 - TP / (TP + a FP + b FN), averaged over labels.

    TP = sum(w s t), FP = sum(w s (1 - t)), FN = sum(w (1 - s) t) over the batch, s =
    sigmoid(logit). The defaults are the paper's best, for lesions that are missed easily; 0.5 and
    0.5 is Dice.

    Args:
        logits: (B, labels, *S).
        target: (B, labels, *S), 0 to 1.
        mask: (B, 1, *S), the weights w, 0 to 1.
        false_positives: a, the price of what is not of the label.
        false_negatives: b, the price of what is missed.
    """
    s = torch.sigmoid(logits)
    axes = [0, *range(2, s.ndim)]
    right = (mask * s * target).sum(axes)
    too_much = (mask * s * (1 - target)).sum(axes)
    missed = (mask * (1 - s) * target).sum(axes)
    price = false_positives * too_much + false_negatives * missed
    return (1 - (right + _SMOOTH) / (right + price + _SMOOTH)).mean()
