"""Shape consistency: an output in which a segmentor finds what there is in the input."""

from __future__ import annotations

from torch import Tensor

from DeepTranslateLib.engine.losses.cross_entropy import binary_cross_entropy, cross_entropy


def shape_consistency(logits: Tensor, labels: Tensor, mask: Tensor, exclusive: bool) -> Tensor:
    """Cross-entropy of what a segmentor finds in G(x) and the labels of x.

    One way of the shape-consistency loss of Zhang et al. 2018 (arXiv:1802.09655): the mean over
    pixels of -sum over classes of y log(S(G(x))), S being the segmentor. There y was drawn by hand
    and S learnt along; here S is trained before and stays as it is, and y may be what it says of x
    itself, S(x), as probabilities.

    Args:
        logits: (B, labels, *S) of the segmentor for the output.
        labels: (B, labels, *S), 0 to 1; no gradient flows to them.
        mask: (B, 1, *S), 0 to 1.
        exclusive: A pixel has one label or none, and the background is one more class, whose
            logit is 0; else each label is told from its absence by itself.
    """
    loss = cross_entropy if exclusive else binary_cross_entropy
    return loss(logits, labels.detach(), mask)
