"""Air stays air: the loss of Ozaki et al. 2022 for what lies around and inside of the body."""

from __future__ import annotations

from torch import Tensor

from DeepTranslateLib.engine.losses import LossError, in_full_precision, masked_mean


@in_full_precision
def air(
    source: Tensor,
    output: Tensor,
    mask: Tensor,
    source_threshold: float,
    output_threshold: float,
) -> Tensor:
    """How far pixels are on the wrong side that are air in one image and not in the other.

    Published (Ozaki et al. 2022, doi:10.1002/mp.15626; the authors' implementation): the sum of
    |x - y| over the pixels of which exactly one, x of the source or y of the output, is below the
    threshold, -600 HU. The mask of these pixels has no gradient.

    Ours: a mean over all pixels that count, which does not depend on the size of the image; and
    each value is measured from its own image's threshold, which is the published difference where
    both have one window, and holds where they have two. A value at the threshold is air, since
    values are clipped to the window, which may begin there.

    Args:
        source: (B, 1, *S), 0 to 1.
        output: (B, 1, *S), made of the source, 0 to 1 or beyond.
        mask: (B, 1, *S), 0 to 1.
        source_threshold: Of air in the source's window, as of `threshold_in`.
        output_threshold: The same in the output's.
    """
    x, y = source - source_threshold, output - output_threshold
    differ = ((x <= 0) != (y <= 0)).to(mask.dtype)
    return masked_mean(differ * (x - y).abs(), mask)


def threshold_in(window: tuple[float, float], threshold: float = -600.0) -> float:
    """Where in a window, from 0 to 1, a threshold of air lies.

    Args:
        window: What 0 and 1 stand for, in HU.
        threshold: In HU.

    Raises:
        LossError: The window does not hold the threshold, so that air cannot be told.
    """
    low, high = window
    if not low <= threshold < high:
        raise LossError(
            f"Air is what lies below {threshold:g} HU, and the window is {low:g} to {high:g} HU, "
            "in which it cannot be told from other values. Widen the window, or change "
            "structure.air_threshold."
        )
    return (threshold - low) / (high - low)
