"""Perceptual loss: images alike in the eyes of another network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision


def perceptual(features: Callable[[Tensor], Tensor], output: Tensor, reference: Tensor) -> Tensor:
    """Johnson et al. 2016, eq. 2: the mean over features of (f(output) - f(reference))^2.

    The reference is the target where there are pairs. Without them, Ozaki et al. 2022 take the
    input itself: what is translated keeps the structure that the features tell of.

    Args:
        features: f, of images (B, 1, *S) as output and reference are; such as
            `DeepTranslateLib.engine.features.feature_network` gives.
        output: (B, 1, *S), 0 to 1.
        reference: (B, 1, *S), 0 to 1; no gradient flows to it.
    """
    with torch.no_grad():
        wanted = features(reference)
    return _mean_square(features(output), wanted)


@in_full_precision
def _mean_square(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().mean()
