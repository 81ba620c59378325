"""Patchwise contrast (CUT): a place of the output resembles the same place of the input most.

Park et al. 2020 (Contrastive learning for unpaired image-to-image translation), section 3. A
"patch" is what one place of a feature map sees of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeepTranslateLib.engine.losses import in_full_precision

_WIDTH = 256
# Of the weights at the start, as in the authors' implementation.
_SD = 0.02


class PatchProjection(nn.Module):
    """H of the paper: for each layer of features two linear layers with ReLU, and unit length.

    Args:
        channels: Of each layer's features.
        width: Of both linear layers, 256 as published.
    """

    def __init__(self, channels: Sequence[int], width: int = _WIDTH) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width))
            for count in channels
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=_SD)
                nn.init.zeros_(module.bias)

    def forward(self, samples: Sequence[Tensor]) -> list[Tensor]:
        """Vectors (B, places, width) of length 1 for (B, places, channels) of each layer."""
        return [_unit(head(v)) for head, v in zip(self.heads, samples, strict=True)]


def contrastive_loss(
    projection: PatchProjection,
    output_features: Sequence[Tensor],
    input_features: Sequence[Tensor],
    patches: int = 256,
    temperature: float = 0.07,
) -> Tensor:
    """Park et al. 2020, eq. 3: `patch_nce` at places drawn anew, averaged over layers.

    The paper sums over layers and places, the authors' implementation averages. Draws are from
    torch's generator.

    Args:
        projection: Made for the layers' channels; learns with the generator.
        output_features: Of each layer of the encoder, (B, C, *S), of the translated image.
        input_features: Those of the input, shapes as above.
        patches: Places that are compared in each layer, or all where it has fewer.
        temperature: As of `patch_nce`.
    """
    sizes = [features.shape[2:] for features in output_features]
    places = [sampled_places(size, patches) for size in sizes]
    queries = projection([at(f, where) for f, where in zip(output_features, places, strict=True)])
    # Not before the queries: weights that autocast casts without a gradient would stay without.
    with torch.no_grad():
        keys = projection([at(f, where) for f, where in zip(input_features, places, strict=True)])
    terms = [patch_nce(q, k, temperature) for q, k in zip(queries, keys, strict=True)]
    return torch.stack(terms).mean()


@in_full_precision
def patch_nce(queries: Tensor, keys: Tensor, temperature: float = 0.07) -> Tensor:
    """Park et al. 2020, eq. 2: which of the input's places is that of a place of the output?

    The mean over places of -log(exp(v.k/t) / (exp(v.k/t) + sum over n of exp(v.n/t))), where v is
    the query of a place, k the key of the same place and n those of the others of the same image.

    Args:
        queries: (B, places, width), of the output, of length 1.
        keys: (B, places, width), of the input; no gradient flows to them.
        temperature: t; the lower, the more the most similar of the others count.
    """
    similarity = torch.bmm(queries, keys.detach().transpose(1, 2)) / temperature
    count = similarity.shape[1]
    same = torch.arange(count, device=similarity.device).repeat(len(similarity))
    return F.cross_entropy(similarity.flatten(0, 1), same)


def sampled_places(size: Sequence[int], patches: int) -> Tensor:
    """Different places of a feature map of this size, drawn from torch's generator of the CPU.

    Returns:
        (n,) indices into the flattened map; n is `patches`, or all where there are fewer.
    """
    return torch.randperm(math.prod(size))[:patches]


def at(features: Tensor, places: Tensor) -> Tensor:
    """Features (B, C, *S) at places, as of `sampled_places`: (B, places, C)."""
    return features.flatten(2)[:, :, places.to(features.device)].transpose(1, 2)


@in_full_precision
def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1)
