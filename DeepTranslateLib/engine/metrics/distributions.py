"""How far two sets of images are apart, by features of a network that somebody names.

KID and FID compare distributions of features, one row an image; nothing is paired. Published
values are of Inception-v3, trained on photographs. Ours are of an extractor for medical images,
whose name belongs to every number: values of two extractors do not compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Features = npt.NDArray[np.floating]
_MOST_AT_ONCE = 1000  # rows of a kernel matrix, and of a random subset
_SUBSETS = 100


@dataclass(frozen=True)
class KernelDistance:
    """KID and how far to trust it.

    Attributes:
        value: Unbiased, so around 0 (and below it half of the time) for two draws of one set.
        standard_error: Of the value, where images are drawn independently. Slices of one volume
            are alike, so with few volumes the truth is more uncertain than this says. NaN below
            four images on a side.
        subsets: Random subsets that it was estimated from.
    """

    value: float
    standard_error: float
    subsets: int


def kernel_distance(
    first: _Features, second: _Features, *, subsets: int = _SUBSETS, seed: int = 0
) -> KernelDistance:
    """KID (Binkowski et al. 2018, section 4): unbiased squared MMD of a polynomial kernel.

    The kernel of features of d dimensions is k(x, y) = (x . y / d + 1)^3 (eq. 3). The value is of
    all pairs of images. Its error comes from random subsets of half of both sides, at most 1000
    images, as the delete-d jackknife estimates it (Shao & Wu 1989): the SD of the subsets' values
    times sqrt(f / (1 - f)), f the part of the images in a subset.

    Args:
        first: (n, d) features, n >= 2.
        second: (m, d) features, m >= 2.
        subsets: How many.
        seed: Of their choice.

    Raises:
        ValueError: Fewer than two images on a side, or features of different lengths.
    """
    first, second = _checked(first, second)
    value = squared_discrepancy(first, second)
    part = min(0.5, _MOST_AT_ONCE / max(len(first), len(second)))
    sizes = [int(len(side) * part) for side in (first, second)]
    if min(sizes) < 2 or subsets < 2:
        return KernelDistance(value, math.nan, 0)
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(subsets):
        chosen = (
            side[generator.permutation(len(side))[:size]]
            for side, size in zip((first, second), sizes, strict=True)
        )
        found.append(squared_discrepancy(*chosen))
    error = float(np.std(found, ddof=1)) * math.sqrt(part / (1 - part))
    return KernelDistance(value, error, subsets)


def squared_discrepancy(first: _Features, second: _Features) -> float:
    """Unbiased MMD^2 of the kernel of KID (Gretton et al. 2012, eq. 3).

    Pairs of an image with itself are left out.

    Args:
        first: (n, d), n >= 2.
        second: (m, d), m >= 2.
    """
    first, second = _checked(first, second)
    n, m = len(first), len(second)
    within = _kernel_sum(first, first) - float(_kernel_of_itself(first).sum())
    other = _kernel_sum(second, second) - float(_kernel_of_itself(second).sum())
    between = _kernel_sum(first, second)
    return within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * between / (n * m)


def frechet_distance(first: _Features, second: _Features) -> float:
    """FID (Heusel et al. 2017, eq. 6): squared Wasserstein-2 distance of two Gaussians.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), of means m and covariances C (divided by n - 1).
    It is biased: two draws of one set have a distance above 0, the larger the fewer images there
    are (Binkowski et al. 2018, appendix D). With fewer images than features, which is usual here,
    compare only values of equally many images, or look at KID.

    Args:
        first: (n, d) features, n >= 2.
        second: (m, d) features, m >= 2.

    Raises:
        ValueError: As `kernel_distance`.
    """
    first, second = _checked(first, second)
    shift = first.mean(0) - second.mean(0)
    mine, theirs = (np.atleast_2d(np.cov(side, rowvar=False)) for side in (first, second))
    # C1 C2 has the eigenvalues of R C2 R with R = C1^(1/2), which is symmetric.
    values, vectors = np.linalg.eigh(mine)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ theirs @ root).clip(min=0)
    distance = shift @ shift + np.trace(mine) + np.trace(theirs) - 2 * np.sqrt(product).sum()
    return max(0.0, float(distance))


def _checked(
    first: _Features, second: _Features
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    shapes = first.shape, second.shape
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"Expected features (images, length) of one length, found {shapes[0]} and {shapes[1]}."
        )
    if min(len(first), len(second)) < 2:
        raise ValueError(
            f"Expected at least two images on each side, found {len(first)} and {len(second)}."
        )
    return first.astype(np.float64), second.astype(np.float64)


def _kernel_sum(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    total = 0.0
    for start in range(0, len(first), _MOST_AT_ONCE):
        inner = first[start : start + _MOST_AT_ONCE] @ second.T
        total += float(((inner / first.shape[1] + 1) ** 3).sum())
    return total


def _kernel_of_itself(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(((features**2).sum(1) / features.shape[1] + 1) ** 3)
