"""Overlap of labels (Milletari et al. 2016, V-Net, section 3), alone and with cross-entropy.

Without squares in the denominator, pooled over the batch and averaged over labels, as nnU-Net
does. A pixel's weight enters each sum once, so that a perfect prediction has loss 0 under any
mask; multiplying prediction and target by the mask, as MONAI does, squares fractional weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision
from DeepTranslateLib.engine.losses.cross_entropy import (
    binary_cross_entropy,
    cross_entropy,
    with_background_logit,
)

# Keeps labels that are nowhere in a batch from dividing by 0.
_SMOOTH = 1e-5


@in_full_precision
def dice(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - mean over labels of 2 sum(w s t) / (sum(w s) + sum(w t)), s = sigmoid(logit).

    Args:
        logits: (B, labels, *S).
        target: (B, labels, *S), 0 to 1.
        mask: (B, 1, *S), the weights w, 0 to 1.
    """
    return _soft_dice(torch.sigmoid(logits), target, mask)


@in_full_precision
def dice_binary_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice loss plus binary cross-entropy; arguments as of `dice`."""
    return dice(logits, target, mask) + binary_cross_entropy(logits, target, mask)


@in_full_precision
def dice_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice loss of softmax(0, logits) plus cross-entropy (nnU-Net: Isensee et al. 2021).

    The background, whose logit is 0, counts in the cross-entropy and not in the Dice. Arguments
    as of `dice`.
    """
    p = torch.softmax(with_background_logit(logits), dim=1)[:, 1:]
    return _soft_dice(p, target, mask) + cross_entropy(logits, target, mask)


def _soft_dice(p: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    axes = [0, *range(2, p.ndim)]
    both = (mask * p * target).sum(axes)
    either = (mask * p).sum(axes) + (mask * target).sum(axes)
    return (1 - (2 * both + _SMOOTH) / (either + _SMOOTH)).mean()
