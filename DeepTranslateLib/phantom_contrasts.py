"""Synthetic heads in three contrasts: T1, T2 and CT of one anatomy, with its tissue labels.

A subject is drawn from a seed (`phantom_head`). Its MR signals follow from proton density and
relaxation times, its CT from attenuations, so that no function of one contrast's intensity gives
another: grey matter, deep grey matter, lesion, muscle and fresh blood are alike in T1, bone and
air in both MR, fat and grey matter in T2. Who knows place and shape can tell them apart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.image import Image
from DeepTranslateLib.phantom_anatomy import Floats
from DeepTranslateLib.phantom_head import Head, HeadTissue, Waves

CONTRASTS = ("t1", "t2", "ct")


@dataclass(frozen=True)
class Matter:
    """What a tissue is to the scanners.

    Attributes:
        protons: Density, 1 for water.
        t1: Longitudinal relaxation time in ms.
        t2: Transverse relaxation time in ms.
        hu: Attenuation.
        hu_texture: SD of the attenuation within the tissue.
    """

    protons: float
    t1: float
    t2: float
    hu: float
    hu_texture: float


_T = HeadTissue
#: Relaxation of CSF, grey and white matter, fat, muscle and no signal of bone at 1.5 T are those
#: of BrainWeb (Kwan et al. 1999, doi:10.1109/42.816072); deep grey matter holds iron, which
#: shortens T2 alone. Relaxation of diseased tissue and attenuations are typical values.
MATTER: dict[HeadTissue, Matter] = {
    _T.AIR: Matter(0, 1, 1, -1000, 0),
    _T.SKIN: Matter(0.9, 900, 47, 40, 8),
    _T.FAT: Matter(1.0, 350, 70, -95, 8),
    _T.MUSCLE: Matter(1.0, 900, 47, 55, 8),
    _T.BONE: Matter(0, 1, 1, 1250, 120),
    _T.DIPLOE: Matter(0.6, 400, 60, 480, 90),
    _T.CAVITY: Matter(0, 1, 1, -990, 0),
    _T.CSF: Matter(1.0, 2569, 329, 8, 1),
    _T.GREY: Matter(0.86, 833, 83, 38, 2),
    _T.WHITE: Matter(0.77, 500, 70, 29, 2),
    _T.DEEP_GREY: Matter(0.86, 833, 60, 42, 2),
    _T.LESION: Matter(0.86, 800, 200, 22, 2),
    _T.BLOOD: Matter(0.88, 850, 38, 68, 4),
    _T.OEDEMA: Matter(0.92, 1150, 160, 20, 2),
    _T.CALCIFICATION: Matter(0.3, 900, 50, 160, 30),
}
#: Repetition and echo time of the spin echoes, in ms.
SEQUENCES = {"t1": (400.0, 10.0), "t2": (4500.0, 100.0)}
# The MR signal of water that is fully relaxed, and of an image's noise; HU of the CT's noise.
_FULL = 1000.0
_NOISE = {"t1": 9.0, "t2": 11.0, "ct": 6.0}
# SD within a tissue, as a part: where there is more water, both times are longer.
_RELAXATION_TEXTURE = 0.05
# Of BrainWeb's "20 %": from 0.9 to 1.1.
_BIAS = 0.10
# Of the points of which a voxel is the mean: mm between them, and how many along an axis, at most.
_FINEST, _MOST = 1.5, 3


@dataclass(frozen=True)
class HeadPhantom:
    """A synthetic subject in several contrasts on one grid.

    Args:
        name: Unique for the seed, usable as a file name.
        images: For each of CONTRASTS its image, int16, voxels (K, J, I), orientation LPS: MR in
            thousandths of the signal of fully relaxed water, CT in HU.
        labels: The tissue that most of each voxel is, a `HeadTissue`; uint8.
        body: 1 inside the head, cavities included, 0 around it; uint8.
        seed: The seed of anatomy, bias and noise.
    """

    name: str
    images: Mapping[str, Image]
    labels: Image
    body: Image
    seed: int


def head(
    seed: int,
    *,
    slices: int = 16,
    size: tuple[int, int] = (64, 64),
    spacing: tuple[float, float, float] = (3.0, 3.0, 3.0),
) -> HeadPhantom:
    """Make the upper head of one subject as T1, T2 and CT.

    Anatomy and the MR's bias depend on the seed alone, so another size or spacing samples the
    same subject. Beyond the volumes, memory is that of a few slices.

    Args:
        seed: Any integer >= 0; the same one makes the same voxels.
        slices: Number of axial slices, centred on the ventricles, from foot to head.
        size: Columns and rows; the default field of view is 192 mm, which the head nearly fills.
        spacing: Column, row and slice spacing in mm.

    Raises:
        ValueError: A size or spacing is not positive.
    """
    if slices < 1 or min(size) < 1 or not min(spacing) > 0:
        raise ValueError(
            "Expected positive numbers of slices, columns and rows and a positive spacing, found "
            f"slices={slices}, size={size}, spacing={spacing}."
        )
    anatomy = Head(np.random.default_rng([seed, 7]))
    shape = (slices, size[1], size[0])
    volumes = {contrast: np.empty(shape, np.int16) for contrast in CONTRASTS}
    labels = np.empty(shape, np.uint8)
    body = np.empty(shape, np.uint8)
    first = -(np.array([size[0], size[1], slices]) - 1) / 2 * spacing
    biases = {
        contrast: Waves.drawn(np.random.default_rng([seed, 8, number]), 3, (220, 400))
        for number, contrast in enumerate(SEQUENCES)
    }
    for k in range(slices):
        signals, shares = _slice(anatomy, first, k, size, spacing)
        labels[k] = shares.argmax(axis=0)
        body[k] = shares[_T.AIR] < 0.5
        # A generator a slice, so that a slice does not depend on how many came before.
        rng = np.random.default_rng([seed, 9, k])
        at = _points(anatomy, first, k, size, spacing, (0.0, 0.0, 0.0))
        for contrast, volume in volumes.items():
            gain = 1 + _BIAS * np.tanh(biases[contrast](*at)) if contrast in biases else 1.0
            volume[k] = _exposed(contrast, signals[contrast] * gain, rng)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (first + anatomy.origin) * (-1, -1, 1)
    return HeadPhantom(
        f"head-{seed:03d}",
        {contrast: Image(volume, affine) for contrast, volume in volumes.items()},
        Image(labels, affine),
        Image(body, affine),
        seed,
    )


def signal(matter: Matter, contrast: str, water: float = 0.0) -> float:
    """What a scanner measures of a tissue, without bias and noise.

    MR is a spin echo, S = 1000 PD (1 - exp(-TR / T1)) exp(-TE / T2); CT is in HU.

    Args:
        matter: The tissue.
        contrast: One of CONTRASTS.
        water: How much more water than usual, in SDs within the tissue.
    """
    if contrast == "ct":
        return matter.hu - matter.hu_texture * water
    repetition, echo = SEQUENCES[contrast]
    stretch = 1 + _RELAXATION_TEXTURE * water
    recovered = 1 - math.exp(-repetition / (stretch * matter.t1))
    return _FULL * matter.protons * recovered * math.exp(-echo / (stretch * matter.t2))


def _points(
    anatomy: Head,
    first: Floats,
    k: int,
    size: tuple[int, int],
    spacing: tuple[float, float, float],
    offset: tuple[float, ...],
) -> tuple[Floats, Floats, Floats]:
    """Points of a slice in the head's coordinates, `offset` voxels from the voxels' middles."""
    x, y, z = (
        first[axis] + (numbers + offset[axis]) * spacing[axis]
        for axis, numbers in enumerate((np.arange(size[0]), np.arange(size[1]), np.array([k])))
    )
    return anatomy.place(*np.broadcast_arrays(x[None], y[:, None], z[:, None]))


def _slice(
    anatomy: Head,
    first: Floats,
    k: int,
    size: tuple[int, int],
    spacing: tuple[float, float, float],
) -> tuple[dict[str, Floats], Floats]:
    """Mean signals of each contrast (J, I), and each tissue's share (tissue, J, I) of voxels."""
    steps = []
    for step in spacing:
        count = min(math.ceil(step / _FINEST), _MOST)
        steps.append((np.arange(count) + 0.5) / count - 0.5)
    sums = {contrast: np.zeros((size[1], size[0]), np.float32) for contrast in CONTRASTS}
    shares = np.zeros((len(_T), size[1], size[0]), np.float32)
    offsets = list(itertools.product(*steps))
    for offset in offsets:
        at = _points(anatomy, first, k, size, spacing, offset)
        tissues = anatomy.tissues(*at)
        water = anatomy.texture(*at)
        for tissue in np.unique(tissues):
            shares[tissue] += tissues == tissue
        for contrast, total in sums.items():
            mean, slope = _TABLES[contrast]
            total += mean[tissues] + slope[tissues] * water
    means: dict[str, Floats] = {contrast: total / len(offsets) for contrast, total in sums.items()}
    return means, shares / len(offsets)


def _table(contrast: str) -> tuple[Floats, Floats]:
    """Of each tissue the signal, and by how much it changes with one SD of water."""
    values = [
        (signal(MATTER[t], contrast), *(signal(MATTER[t], contrast, sd) for sd in (-1, 1)))
        for t in _T
    ]
    mean, less, more = np.array(values, np.float32).T
    return mean, (more - less) / 2


_TABLES = {contrast: _table(contrast) for contrast in CONTRASTS}


def _exposed(contrast: str, plane: Floats, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """The slice with the scanner's noise: Rician in MR, Gaussian in CT."""
    real, imaginary = _NOISE[contrast] * rng.standard_normal((2, *plane.shape))
    noisy = plane + real
    if contrast in SEQUENCES:
        noisy = np.hypot(noisy, imaginary)
    return np.clip(np.rint(noisy), -1024, 3071).astype(np.int16)
