"""Structural similarity: the same local means, contrasts and structures as the target."""

from __future__ import annotations

from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision
from DeepTranslateLib.engine.similarity import multiscale_ssim, pooled, ssim


@in_full_precision
def structural_similarity(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - SSIM (Wang et al. 2004), of values from 0 to 1.

    Args:
        prediction: (B, C, *S).
        target: (B, C, *S).
        mask: (B, 1, *S), 0 to 1; pixels of weight 0 enter no local statistics.

    Returns:
        0 to 2; 0 where nothing counts.
    """
    return 1 - pooled(*ssim(prediction, target, mask, data_range=1.0))


@in_full_precision
def multiscale_structural_similarity(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang et al. 2003), of values from 0 to 1; arguments as of SSIM.

    Images below 176 pixels have fewer than the paper's five scales.
    """
    return 1 - pooled(*multiscale_ssim(prediction, target, mask, data_range=1.0))
