"""What a discriminator and a generator learn from each other, for four objectives.

D is the discriminator, x a true image and y a translated one; logits are what D says of an image,
one number for each patch of it (Isola et al. 2017, section 3.2.2), and E is the mean over patches
and images. s is the sigmoid.

| objective | D makes small | G makes small |
| --- | --- | --- |
| lsgan | (E[(D(x) - 1)^2] + E[D(y)^2]) / 2 | E[(D(y) - 1)^2] |
| bce | (E[-log s(D(x))] + E[-log(1 - s(D(y)))]) / 2 | E[-log s(D(y))] |
| hinge | E[max(0, 1 - D(x))] + E[max(0, 1 + D(y))] | -E[D(y)] |
| wgan_gp | E[D(y)] - E[D(x)], and the gradient penalty | -E[D(y)] |

lsgan is Mao et al. 2017, eq. 9, as Zhu et al. 2017 use it (section 4: D's objective is halved);
bce is Goodfellow et al. 2014 with G's form that does not saturate, D's halved as by Isola et al.
2017 (section 3.3); hinge is Lim & Ye 2017; wgan_gp is Gulrajani et al. 2017.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from DeepTranslateLib.engine.losses import LossError, in_full_precision

OBJECTIVES = ("lsgan", "bce", "hinge", "wgan_gp")
# Those that hold logits to a label, 1 for true and 0 for translated.
_LABELLED = ("lsgan", "bce")


@in_full_precision
def discriminator_loss(
    objective: str, real_logits: Tensor, fake_logits: Tensor, jitter: float = 0.0
) -> Tensor:
    """What the discriminator makes small, as in the table above.

    Args:
        objective: One of `OBJECTIVES`.
        real_logits: (B, 1, *S) of true images.
        fake_logits: (B, 1, *S) of translated images, without gradient to the generator.
        jitter: j of 0 to 0.5: each true image's label is drawn from 1 - j to 1, each translated
            one's from 0 to j, one draw for all patches of an image. The implementation of Kaji &
            Kida 2019 moves labels by a normal number of SD j, the same for a batch; a uniform draw
            to the inside keeps them between 0 and 1, as cross-entropy needs.

    Raises:
        LossError: An unknown objective, or jitter of labels where there are none.
    """
    loss = _judged(objective, real_logits, True, jitter)
    loss = loss + _judged(objective, fake_logits, False, jitter)
    return loss / 2 if objective in _LABELLED else loss


@in_full_precision
def mispair_loss(objective: str, mispair_logits: Tensor, jitter: float = 0.0) -> Tensor:
    """What a discriminator of pairs makes small so as to refuse true images beside other inputs.

    The term of a translated image, not halved: Kaji & Kida's implementation shows D the input of
    another pair beside a true target and adds the term, times its weight, to D's loss; so Reed et
    al. 2016 (section 4.2) do for captions. Without it D may judge targets alone.

    Args:
        objective: One of `OBJECTIVES`.
        mispair_logits: (B, 1, *S) of pairs of one case's input and another's target.
        jitter: As of `discriminator_loss`.

    Raises:
        LossError: As of `discriminator_loss`.
    """
    return _judged(objective, mispair_logits, False, jitter)


@in_full_precision
def generator_loss(objective: str, fake_logits: Tensor) -> Tensor:
    """What the generator makes small, as in the table above.

    Args:
        objective: One of `OBJECTIVES`.
        fake_logits: (B, 1, *S) of translated images.

    Raises:
        LossError: An unknown objective.
    """
    if objective in ("hinge", "wgan_gp"):
        return -fake_logits.mean()
    return _judged(objective, fake_logits, True, 0.0)


@in_full_precision
def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor
) -> Tensor:
    """Gulrajani et al. 2017, eq. 3, without its weight: E[(|gradient of D at z| - 1)^2].

    z = e x + (1 - e) y for each pair of a true and a translated image, e drawn from 0 to 1 by
    torch's generator; D of an image is the mean over its patches, which is what the objective
    compares. Where D judges pairs, the input is no part of the gradient: give a function that
    puts it beside z, such as `lambda z: network(torch.cat([images, z], dim=1))`. D needs no
    batch norm, since each image's penalty is its own.

    Args:
        discriminator: Gives logits (B, 1, *S') for images (B, C, *S).
        real: (B, C, *S), true images.
        fake: (B, C, *S), translated images; no gradient flows to what made them.

    Returns:
        A scalar with a gradient to the discriminator's weights.

    Raises:
        LossError: The images differ in shape.
    """
    if real.shape != fake.shape:
        raise LossError(
            "The gradient penalty lies between as many true as translated images of one size; "
            f"their shapes are {tuple(real.shape)} and {tuple(fake.shape)}."
        )
    share = torch.rand(len(real), *[1] * (real.ndim - 1), dtype=real.dtype, device=real.device)
    between = torch.lerp(fake.detach(), real.detach(), share).requires_grad_()
    value = discriminator(between).flatten(1).mean(dim=1).sum()
    (gradient,) = torch.autograd.grad(value, between, create_graph=True)
    return ((torch.linalg.vector_norm(gradient.flatten(1), dim=1) - 1) ** 2).mean()


@torch.no_grad()
def accuracy(real_logits: Tensor, fake_logits: Tensor, objective: str) -> float:
    """Share of patches that the discriminator tells right, true and translated counting the same.

    A patch is taken for true above 0.5 (lsgan) or 0 (bce, hinge). Wasserstein's critic has no
    such value: there it is half way between the means of both kinds. 1 means that D wins, 0.5
    that it guesses. Logits just at the limit count as half.

    Args:
        real_logits: (B, 1, *S) of true images.
        fake_logits: (B, 1, *S) of translated images.
        objective: One of `OBJECTIVES`.

    Raises:
        LossError: An unknown objective.
    """
    _check(objective)
    real, fake = real_logits.float(), fake_logits.float()
    if objective == "wgan_gp":
        limit = (real.mean() + fake.mean()) / 2
    else:
        limit = torch.tensor(0.5 if objective == "lsgan" else 0.0, device=real.device)
    right = (torch.sign(real - limit).mean() - torch.sign(fake - limit).mean()) / 2
    return float(right + 1) / 2


def _judged(objective: str, logits: Tensor, real: bool, jitter: float) -> Tensor:
    """How far logits are from saying of all patches that they are true, or that none is."""
    _check(objective)
    if objective in _LABELLED:
        labels = _labels(logits, real, jitter)
        if objective == "lsgan":
            return F.mse_loss(logits, labels)
        return F.binary_cross_entropy_with_logits(logits, labels)
    if jitter:
        raise LossError(
            f"The objective '{objective}' has no labels to jitter; use 'lsgan' or 'bce', or a "
            "label_jitter of 0."
        )
    signed = -logits if real else logits
    return F.relu(1 + signed).mean() if objective == "hinge" else signed.mean()


def _labels(logits: Tensor, real: bool, jitter: float) -> Tensor:
    if not jitter:
        return torch.full_like(logits, float(real))
    shape = (len(logits), *[1] * (logits.ndim - 1))
    moved = jitter * torch.rand(shape, dtype=logits.dtype, device=logits.device)
    return (1 - moved if real else moved).expand_as(logits)


def _check(objective: str) -> None:
    if objective not in OBJECTIVES:
        raise LossError(f"There is no objective '{objective}'. Possible: {', '.join(OBJECTIVES)}.")
