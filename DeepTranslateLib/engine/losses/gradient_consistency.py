"""Gradient consistency: edges of the output where the input has them."""

from __future__ import annotations

import torch
from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision
from DeepTranslateLib.engine.losses.total_variation import steps

# Variance of gradients below which an image is flat, of values from 0 to 1.
_FLAT = 1e-8


@in_full_precision
def gradient_consistency(source: Tensor, output: Tensor, mask: Tensor) -> Tensor:
    """Hiasa et al. 2018 (arXiv:1803.06629): the mean over images of 1 - GC(source, output).

    GC is the mean over axes of the normalised cross-correlation of both images' gradients along
    that axis (Penney et al. 1998). The paper writes gradients; the first author's library takes
    their absolute values, and so does this, since what is bright in one modality may be dark in
    the other. A gradient is the difference of two neighbours and counts as both of them do. The
    paper's loss is half of the sum of both ways (MR to CT and CT to MR); this is one way's.

    A flat image correlates with none: its loss is 1.

    Args:
        source: (B, 1, *S), 0 to 1.
        output: (B, 1, *S), 0 to 1, made of the source.
        mask: (B, 1, *S), 0 to 1.

    Returns:
        0 (edges alike up to a factor for each axis) to 2.
    """
    pairs = zip(steps(source, mask), steps(output, mask), strict=True)
    correlations = [
        _correlation(mine.abs(), theirs.abs(), counted) for (mine, counted), (theirs, _) in pairs
    ]
    return 1 - torch.stack(correlations).mean()


def _correlation(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Of each image's values with another's, weighted: (B,)."""
    x, y, weight = (values.flatten(1) for values in (x, y, weight))
    weight = weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-6)
    x = x - (weight * x).sum(dim=1, keepdim=True)
    y = y - (weight * y).sum(dim=1, keepdim=True)
    spread = ((weight * x**2).sum(dim=1) + _FLAT) * ((weight * y**2).sum(dim=1) + _FLAT)
    return (weight * x * y).sum(dim=1) / spread.sqrt()
