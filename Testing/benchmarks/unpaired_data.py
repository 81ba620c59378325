"""Heads for learning without pairs, whose truth is known all the same, and what needs no network.

The subjects of the source domain, those of the target domain and those that are measured are all
different ones. Methods that learn from pairs learn from the subjects of the source domain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.image import Image
from DeepTranslateLib.phantom_contrasts import CONTRASTS, HeadPhantom, head

#: Values that are black and white, and that networks see as 0 and 1.
WINDOWS = {
    "t1": (0.0, 650.0),
    "t2": (0.0, 650.0),
    "mv": (-1000.0, 1250.0),
    "ct": (-1000.0, 1250.0),
}
# Of megavoltage CT: HU above which attenuation rises with electrons alone, by how much of the HU,
# SD of the blur in pixels, and of the noise in HU.
_COMPTON_FROM, _COMPTON, _MV_BLUR, _MV_NOISE = 100.0, 0.5, 0.6, 40.0


@dataclass(frozen=True)
class Scale:
    """How many subjects, and how large their images.

    Attributes:
        training: Subjects of each domain that teach; one more of each is for validation.
        test: Subjects that are measured.
        reference: Further subjects, whose true images are what KID compares with.
        grid: `slices`, `size` and `spacing` of a head.
    """

    training: int = 8
    test: int = 6
    reference: int = 18
    slices: int = 16
    size: tuple[int, int] = (64, 64)
    spacing: tuple[float, float, float] = (3.0, 3.0, 3.0)


USUAL = Scale()


@dataclass(frozen=True)
class Subjects:
    """Who teaches and who is measured: of each domain the last is for validation."""

    source: tuple[HeadPhantom, ...]
    target: tuple[HeadPhantom, ...]
    test: tuple[HeadPhantom, ...]
    reference: tuple[HeadPhantom, ...]

    @property
    def digest(self) -> str:
        """Changes with the images."""
        summed = hashlib.sha256()
        for phantom in (self.source[0], self.target[-1], *self.test, self.reference[-1]):
            for contrast in CONTRASTS:
                summed.update(phantom.images[contrast].voxels.tobytes())
        return summed.hexdigest()[:12]


@lru_cache(maxsize=1)
def subjects(seed: int, scale: Scale = USUAL) -> Subjects:
    """Draw the subjects of a seed, no two of them alike."""
    counts = (scale.training + 1, scale.training + 1, scale.test, scale.reference)
    groups = (
        tuple(
            with_megavoltage(
                head(
                    1000 * (seed + 1) + 100 * place + number,
                    slices=scale.slices,
                    size=scale.size,
                    spacing=scale.spacing,
                )
            )
            for number in range(count)
        )
        for place, count in enumerate(counts)
    )
    return Subjects(*groups)


def with_megavoltage(phantom: HeadPhantom) -> HeadPhantom:
    """The head with a further contrast "mv", as the CT of a treatment machine might show it.

    At megavolts photons are scattered by electrons alone, so that bone, whose calcium absorbs more
    at kilovolts, has fewer HU; the image is less sharp, and has more noise.
    """
    ct = phantom.images["ct"]
    scattered = ct.voxels.astype(np.float32)
    above = scattered > _COMPTON_FROM
    scattered[above] = _COMPTON_FROM + _COMPTON * (scattered[above] - _COMPTON_FROM)
    soft = ndimage.gaussian_filter(scattered, (0, _MV_BLUR, _MV_BLUR))
    noise = np.random.default_rng([phantom.seed, 10]).normal(0, _MV_NOISE, ct.shape)
    voxels = np.clip(np.rint(soft + noise), -1024, 3071).astype(np.int16)
    return replace(phantom, images={**phantom.images, "mv": ct.with_voxels(voxels)})


def unpaired_cohort(drawn: Subjects, source: str, target: str) -> Cohort:
    """Images of one contrast of some subjects, and of another contrast of others."""
    cases = [
        Case(phantom.name, phantom.images[contrast], None, split=split, domain=domain)
        for domain, contrast, phantoms in (
            ("source", source, drawn.source),
            ("target", target, drawn.target),
        )
        for phantom, split in zip(phantoms, splits(phantoms), strict=True)
    ]
    return Cohort(tuple(cases), f"heads, {source} and {target}, unpaired")


def paired_cohort(drawn: Subjects, source: str, target: str) -> Cohort:
    """Both contrasts of the subjects of the source domain."""
    cases = [
        Case(phantom.name, phantom.images[source], phantom.images[target], split=split)
        for phantom, split in zip(drawn.source, splits(drawn.source), strict=True)
    ]
    return Cohort(tuple(cases), f"heads, {source} with {target}")


def untranslated(image: Image, source: str, target: str) -> Image:
    """The source image with its window stretched to the target's."""
    (low, high), (lowest, highest) = WINDOWS[source], WINDOWS[target]
    share = np.clip((image.voxels.astype(np.float32) - low) / (high - low), 0, 1)
    return image.with_voxels((lowest + share * (highest - lowest)).astype(np.float32))


def histogram_matched(
    image: Image, pooled: npt.NDArray[np.generic], inside: Image | None = None
) -> Image:
    """The image with the values of other images, in the order of its own.

    A value becomes that of the same rank; equal values become the median of theirs.

    Args:
        image: What is changed.
        pooled: All values that are to be had, of any shape.
        inside: Where; voxels around it become the least value. Default: everywhere.
    """
    where = np.ones(image.shape, bool) if inside is None else inside.voxels > 0
    _, places, counts = np.unique(image.voxels[where], return_inverse=True, return_counts=True)
    middles = (np.cumsum(counts) - counts / 2) / counts.sum()
    matched = np.quantile(pooled.astype(np.float64), middles)
    voxels = np.full(image.shape, matched[0] if inside is None else pooled.min(), np.float32)
    voxels[where] = matched[places.reshape(-1)]
    return image.with_voxels(voxels)


def pooled_values(
    phantoms: Iterable[HeadPhantom], contrast: str, *, body: bool
) -> npt.NDArray[np.int16]:
    """All voxels of a contrast, or those of the bodies alone."""
    return np.concatenate(
        [
            phantom.images[contrast].voxels[phantom.body.voxels > 0]
            if body
            else phantom.images[contrast].voxels.ravel()
            for phantom in phantoms
        ]
    )


def splits(phantoms: Sequence[HeadPhantom]) -> list[str]:
    """What each does of those that teach: the last is for validation."""
    return ["training"] * (len(phantoms) - 1) + ["validation"]
