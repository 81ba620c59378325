"""What a network makes of an image and of its mirrored copies, as one output.

Isensee et al. 2021 (nnU-Net) translate so: every copy that training may have shown is seen, what
is made of it is mirrored back, and the mean counts, of labels that of their probabilities.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.losses.cross_entropy import with_background_logit
from DeepTranslateLib.engine.outputs import excludes
from DeepTranslateLib.recipe import Recipe


def mirrored_copies(recipe: Recipe) -> list[tuple[int, ...]]:
    """Axes of (B, C, *S) that each copy is mirrored along; the first copy is the image itself.

    An axis counts where the recipe mirrors along it and training may mirror along it, too.
    """
    augmentation = recipe.augmentation
    chances = [augmentation.flip_left_right, augmentation.flip_up_down]
    if recipe.is_volumetric:
        chances.append(augmentation.flip_slices)
    can = recipe.sampling.mirror and augmentation.probability > 0
    axes = [-1 - place for place, chance in enumerate(chances) if can and chance > 0]
    numbers = range(len(axes) + 1)
    return [some for count in numbers for some in itertools.combinations(axes, count)]


def mirrored_mean(network: Callable[[Tensor], Tensor], images: Tensor, recipe: Recipe) -> Tensor:
    """The mean of what a network makes of images and their mirrored copies, mirrored back.

    Args:
        network: Images (B, C, *S) to outputs (B, K, *S), fp32.
        images: As it takes them.
        recipe: Says which copies there are and what outputs are.

    Returns:
        Outputs (B, K, *S), fp32, of the same meaning: for labels the logits of the mean
        probabilities. What the network gives where there are no copies.
    """
    copies = mirrored_copies(recipe)
    if len(copies) == 1:
        return network(images)
    total: list[Tensor] | None = None
    for axes in copies:
        parts = _summands(network(images.flip(axes)).flip(axes), recipe)
        total = parts if total is None else _sums(total, parts, recipe)
    assert total is not None
    if recipe.target.kind == "volume":
        return total[0] / len(copies)
    # Both are sums of as many, so that their ratio is that of the means.
    return total[0] - total[1]


def _summands(output: Tensor, recipe: Recipe) -> list[Tensor]:
    """Values; or logarithms of the probability of each label, and of that of what it competes with.

    Logarithms, since probabilities close to 1 are all the same number.
    """
    if recipe.target.kind == "volume":
        return [output]
    if not excludes(recipe):
        return [F.logsigmoid(output), F.logsigmoid(-output)]
    logs = with_background_logit(output).log_softmax(dim=1)
    return [logs[:, 1:], logs[:, :1]]


def _sums(total: list[Tensor], parts: list[Tensor], recipe: Recipe) -> list[Tensor]:
    add = torch.add if recipe.target.kind == "volume" else torch.logaddexp
    return [add(one, other) for one, other in zip(total, parts, strict=True)]
