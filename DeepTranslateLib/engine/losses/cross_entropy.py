"""Cross-entropy of independent labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.losses import masked_mean


def binary_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean over counted pixels and labels of -t log(s) - (1 - t) log(1 - s), s = sigmoid(logit).

    Args:
        logits: (B, labels, H, W).
        target: (B, labels, H, W), 0 to 1.
        mask: (B, 1, H, W), 0 to 1.
    """
    return masked_mean(F.binary_cross_entropy_with_logits(logits, target, reduction="none"), mask)
