"""Cross-entropy: of labels that know nothing of each other, and of labels that exclude each other.

Both leave the background to itself: a network has one output channel for each label. Where labels
exclude each other, the background is one more class whose logit is always 0, which is no limit
(only differences of logits matter to a softmax) and makes the likeliest class the one that
translation chooses: the label with the largest logit if that is above 0, else none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision, masked_mean


@in_full_precision
def binary_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean over counted pixels and labels of -t log(s) - (1 - t) log(1 - s), s = sigmoid(logit).

    Args:
        logits: (B, labels, *S).
        target: (B, labels, *S), 0 to 1.
        mask: (B, 1, *S), 0 to 1.
    """
    return masked_mean(F.binary_cross_entropy_with_logits(logits, target, reduction="none"), mask)


@in_full_precision
def cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean over counted pixels of -sum over classes of t log(p), p = softmax(0, logits).

    Args:
        logits: (B, labels, *S); the background's, 0, is added.
        target: (B, labels, *S), 0 to 1; the background is what is left to 1.
        mask: (B, 1, *S), 0 to 1.
    """
    log_p = F.log_softmax(with_background_logit(logits), dim=1)
    return masked_mean(-(with_background(target) * log_p).sum(dim=1, keepdim=True), mask)


@in_full_precision
def sparse_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean over counted pixels of -log(p) of the one class of each pixel, p as in cross_entropy.

    Args:
        logits: (B, labels, *S); the background's, 0, is added.
        target: (B, 1, *S) channel numbers, 0 for the background and n for the nth label; or
            (B, labels, *S) parts from 0 to 1, the largest of which (the background among them)
            is the pixel's class.
        mask: (B, 1, *S), 0 to 1.
    """
    if target.shape[1] == 1 and logits.shape[1] > 1:
        channels = target[:, 0].long()
    else:
        channels = with_background(target).argmax(dim=1)
    log_p = F.log_softmax(with_background_logit(logits), dim=1)
    return masked_mean(-log_p.gather(1, channels[:, None]), mask)


def with_background_logit(logits: Tensor) -> Tensor:
    """Logits (B, labels, *S) after the background's, which is 0: (B, 1 + labels, *S)."""
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


def with_background(target: Tensor) -> Tensor:
    """Planes (B, labels, *S) after the background's, what they leave: (B, 1 + labels, *S)."""
    return torch.cat([(1 - target.sum(dim=1, keepdim=True)).clamp_min(0), target], dim=1)
