"""Auto-encoding through the latent: what an encoder keeps must make the image again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from DeepTranslateLib.engine.losses import in_full_precision
from DeepTranslateLib.engine.losses.intensity import mean_absolute_error


def autoencoding(
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    images: Tensor,
    mask: Tensor,
) -> Tensor:
    """Mean absolute difference of images x and decode(encode(x)) over counted pixels.

    The auto-encoder loss of Ozaki et al. 2022. Each generator is an encoder and a decoder, G =
    d_Y e_X from X to Y and F = d_X e_Y back, so that both meet in one latent: an image of X goes
    in by G's encoder and out by F's decoder, d_X(e_X(x)); one of Y by the other two.

    Args:
        encode: Of the generator that takes such images, (B, 1, *S) to its latent.
        decode: Of the generator that makes such images, a latent to (B, 1, *S).
        images: (B, 1, *S), 0 to 1.
        mask: (B, 1, *S), 0 to 1.
    """
    return mean_absolute_error(decode(encode(images)), images, mask)


@in_full_precision
def kl_divergence(mean: Tensor) -> Tensor:
    """Of N(mean, 1) from N(0, 1), averaged over the latent: mean(m^2) / 2.

    Liu et al. 2017 (UNIT): the encoder gives the mean of a Gaussian whose
    variance is 1. The paper sums over the latent; a mean does not depend on the size of the image.

    Args:
        mean: m, (B, C, *S).
    """
    return mean.square().mean() / 2


def sampled_latent(mean: Tensor) -> Tensor:
    """One draw z = m + e, e of N(0, 1) from torch's generator (Kingma & Welling 2014, sec. 2.4).

    Args:
        mean: m, (B, C, *S).
    """
    return mean + torch.randn_like(mean)
