"""Overlap of labels (Milletari et al. 2016, V-Net, eq. 1), with cross-entropy."""

from __future__ import annotations

from monai.losses import MaskedDiceLoss
from torch import Tensor

from DeepTranslateLib.engine.losses.cross_entropy import binary_cross_entropy

_dice = MaskedDiceLoss(sigmoid=True, batch=True)


def dice_binary_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice loss, pooled over the batch and averaged over labels, plus cross-entropy.

    Args:
        logits: (B, labels, H, W).
        target: (B, labels, H, W), 0 to 1.
        mask: (B, 1, H, W), 0 to 1.
    """
    return _dice(logits, target, mask) + binary_cross_entropy(logits, target, mask)
