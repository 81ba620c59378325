"""Synthetic abdominal CT with its tissue labels, for the demo and the tests.

A subject is drawn from a seed and an adiposity (`phantom_anatomy`), then one axial slice after the
other is painted from the outside inwards, as tissues. Labels and Hounsfield units follow from the
tissues, so that they cannot disagree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from DeepTranslateLib.image import Image
from DeepTranslateLib.phantom_anatomy import (
    REACH,
    SKIN,
    VERTEBRA,
    Anatomy,
    Ellipsoid,
    Floats,
    Tissue,
    Tube,
    bump,
)

LABELS = {1: "Subcutaneous fat", 2: "Visceral fat", 3: "Lean tissue"}

_Mask = npt.NDArray[np.bool_]


_T = Tissue
_LABEL_OF = np.array(
    [0 if t in (_T.AIR, _T.SHELL, _T.FOAM) else t if t < _T.SKIN else 3 for t in _T], np.uint8
)


@dataclass(frozen=True)
class Phantom:
    """A synthetic subject.

    Args:
        name: Unique for seed and adiposity, usable as a file name.
        image: CT in HU, int16, voxels (K, J, I), orientation LPS.
        labels: Tissue labels on the same grid, uint8: 0 background and the keys of LABELS.
        seed: The seed of the anatomy and the noise.
        adiposity: From 0 (lean) to 1 (obese).
    """

    name: str
    image: Image
    labels: Image
    seed: int
    adiposity: float


def torso(
    seed: int,
    adiposity: float = 0.5,
    *,
    slices: int = 24,
    size: tuple[int, int] = (192, 192),
    spacing: tuple[float, float, float] = (2.6, 2.6, 8.0),
) -> Phantom:
    """Make the abdomen of one subject, lying on its back on the scanner's table.

    Anatomy depends on seed and adiposity alone, so another size or spacing samples the same
    subject. Beyond the two volumes, memory is that of a few slices.

    Args:
        seed: Any integer >= 0; the same one makes the same voxels.
        adiposity: From 0 (lean) to 1 (obese); at the same seed both fat compartments grow with it.
        slices: Number of axial slices, centred on L3, from foot to head.
        size: Columns and rows; the default field of view is 500 mm, which the obese nearly fill.
        spacing: Column, row and slice spacing in mm.

    Raises:
        ValueError: The adiposity is outside 0..1, or a size or spacing is not positive.
    """
    if not 0 <= adiposity <= 1:
        raise ValueError(f"Expected an adiposity from 0 (lean) to 1 (obese), found {adiposity}.")
    if slices < 1 or min(size) < 1 or not min(spacing) > 0:
        raise ValueError(
            "Expected positive numbers of slices, columns and rows and a positive spacing, found "
            f"slices={slices}, size={size}, spacing={spacing}."
        )
    body = Anatomy(np.random.default_rng(seed), adiposity)
    image = np.empty((slices, size[1], size[0]), np.int16)
    labels = np.empty(image.shape, np.uint8)
    first = -(np.array([size[0], size[1], slices]) - 1) / 2 * spacing
    for k in range(slices):
        canvas = _Canvas(body, size, spacing, first, float(first[2] + k * spacing[2]))
        _paint(canvas, body)
        labels[k] = _LABEL_OF[canvas.tissue]
        # A generator a slice, so that a slice does not depend on how many came before.
        noise = np.random.default_rng([seed, 1, k])
        image[k] = _expose(canvas, body, noise)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (first + body.origin) * (-1, -1, 1)
    name = f"torso-{seed:03d}-{round(100 * adiposity):03d}"
    return Phantom(name, Image(image, affine), Image(labels, affine), seed, adiposity)


def subjects(
    count: int,
    seed: int = 0,
    *,
    slices: int = 24,
    size: tuple[int, int] = (192, 192),
    spacing: tuple[float, float, float] = (2.6, 2.6, 8.0),
) -> list[Phantom]:
    """Make `count` different subjects from lean to obese; see `torso` for the arguments.

    Raises:
        ValueError: As `torso`.
    """
    return [
        torso(seed + n, n / max(count - 1, 1), slices=slices, size=size, spacing=spacing)
        for n in range(count)
    ]


class _Canvas:
    """One slice's tissues, and the pixels' places in the body."""

    def __init__(
        self,
        body: Anatomy,
        size: tuple[int, int],
        spacing: tuple[float, float, float],
        first: Floats,
        z: float,
    ) -> None:
        self.z = z
        self.spacing = spacing
        self._first = first
        self._body = body
        x = first[0] + np.arange(size[0]) * spacing[0]
        self.y = (first[1] + np.arange(size[1]) * spacing[1])[:, None]
        du, dv = x[None] - body.shift[0], self.y - body.shift[1]
        cos, sin = math.cos(body.turn), math.sin(body.turn)
        self.x = x[None]
        self.u = (cos * du + sin * dv).astype(np.float32)
        self.v = (cos * dv - sin * du).astype(np.float32)
        self.tissue = np.full((size[1], size[0]), _T.AIR, np.uint8)

    def window(self, u: float, v: float, radius: float) -> tuple[slice, slice]:
        """Return rows and columns that hold the disc, so that small things cost little."""
        cos, sin = math.cos(self._body.turn), math.sin(self._body.turn)
        x = cos * u - sin * v + self._body.shift[0]
        y = cos * v + sin * u + self._body.shift[1]
        spans = []
        for centre, axis in ((y, 1), (x, 0)):
            low = (centre - radius - self._first[axis]) / self.spacing[axis]
            high = (centre + radius - self._first[axis]) / self.spacing[axis]
            spans.append(slice(max(math.floor(low), 0), max(math.ceil(high) + 1, 0)))
        return spans[0], spans[1]

    def ellipsoid(self, solid: Ellipsoid, room: _Mask, margin: float = 0.0) -> None:
        """Paint an ellipsoid, grown by `margin` mm, where `room` allows."""
        (u0, v0, z0), axes = solid.centre, np.array(solid.axes) + margin
        dz = (self.z - z0) / axes[2]
        if abs(dz) >= 1.2:
            return
        at = self.window(u0, v0, 1.2 * float(axes[:2].max()))
        u, v = self.u[at] - np.float32(u0), self.v[at] - np.float32(v0)
        cos, sin = math.cos(solid.turn), math.sin(solid.turn)
        a, b = (cos * u + sin * v) / axes[0], (cos * v - sin * u) / axes[1]
        angle = np.arctan2(b, a)
        dents = np.cos(3 * angle + solid.phase + 2 * dz) + np.cos(2 * angle - solid.phase - dz)
        length = np.sqrt(a**2 + b**2 + dz**2) * (1 + solid.dent * dents)
        depth = (1 - length) * float(min(axes[:2]))
        self.tissue[at][(depth > 0) & room[at]] = solid.tissue
        self._core(at, depth, solid, room, -v / axes[1])

    def tube(self, solid: Tube, room: _Mask) -> None:
        """Paint a tube where `room` allows; its walls first, so that its lumen is one."""
        reach = solid.radius
        depths = []
        for start, end in zip(solid.points[:-1], solid.points[1:], strict=True):
            if min(start[2], end[2]) - reach > self.z or max(start[2], end[2]) + reach < self.z:
                continue
            middle, half = (start + end) / 2, float(np.linalg.norm(end - start)) / 2
            at = self.window(middle[0], middle[1], half + reach)
            du, dv = self.u[at] - np.float32(start[0]), self.v[at] - np.float32(start[1])
            dz, way = self.z - start[2], end - start
            along = (du * way[0] + dv * way[1] + dz * way[2]) / max(4 * half**2, 1e-6)
            along = np.clip(along, 0, 1)
            distance = np.sqrt(
                (du - along * way[0]) ** 2 + (dv - along * way[1]) ** 2 + (dz - along * way[2]) ** 2
            )
            up = (start[1] + along * way[1] - self.v[at]) / reach
            depths.append((at, reach - distance, up))
        for at, depth, _ in depths:
            self.tissue[at][(depth > 0) & room[at]] = solid.tissue
        for at, depth, up in depths:
            self._core(at, depth, solid, room, up)

    def _core(
        self,
        at: tuple[slice, slice],
        depth: Floats,
        solid: Tube | Ellipsoid,
        room: _Mask,
        up: Floats,
    ) -> None:
        if solid.core is None:
            return
        inside = (depth > solid.wall) & room[at]
        self.tissue[at][inside] = solid.core
        self.tissue[at][inside & (up > solid.gas)] = _T.GAS


def _paint(canvas: _Canvas, body: Anatomy) -> None:
    """Paint one slice's tissues."""
    z = float(np.clip(canvas.z, -REACH, REACH))
    u, v = canvas.u, canvas.v
    angles = np.linspace(-np.pi, np.pi, 721)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    skin, wall, cavity = (np.interp(angle, angles, r) for r in body.radii(z, angles))
    inside = radius < skin
    _paint_table(canvas, body, radius > skin + 6)
    canvas.tissue[inside] = _T.SKIN
    canvas.tissue[radius < skin - SKIN] = _T.SUBCUTANEOUS
    canvas.tissue[radius < wall] = _T.MUSCLE
    # The three flat muscles of the flank are told apart by the fat between them.
    depth = (wall - radius) / (wall - cavity)
    flank = (np.abs(np.cos(angle)) > 0.5) & (v < 0.5 * body.depth) & (z > -50)
    for layer in (0.36, 0.68):
        canvas.tissue[flank & (np.abs(depth - layer) < 0.055)] = _T.SEPTUM
    room = radius < cavity
    back = (np.abs(u) / 84) ** 3 + (np.abs(v - body.spine - 66) / 40) ** 3 < 1
    room &= ~back
    canvas.tissue[back & (radius < wall)] = _T.MUSCLE
    canvas.tissue[room] = _T.VISCERAL

    # Loops keep away from the wall so that the fat between is wide enough to be learnt.
    peritoneum = room & (v < body.spine + 8)
    for solid in body.solids:
        if isinstance(solid, Tube):
            canvas.tube(solid, peritoneum)
        else:
            canvas.ellipsoid(solid, room)
    for kidney, fat in body.retroperitoneum:
        capsule = Ellipsoid(kidney.centre, kidney.axes, kidney.turn, 0, _T.VISCERAL)
        canvas.ellipsoid(capsule, room, fat)
        canvas.ellipsoid(kidney, room)
        side = math.copysign(1, kidney.centre[0])
        sinus = (kidney.centre[0] - side * 15, kidney.centre[1] - 3, kidney.centre[2])
        extent = (13.0 + 3 * body.adiposity, 7.0 + 2 * body.adiposity, 24.0)
        canvas.ellipsoid(Ellipsoid(sinus, extent, 0, 0, _T.VISCERAL), room)
    prevertebral = (u / 34) ** 2 + ((v - body.spine + 24) / 18) ** 2 < 1
    canvas.tissue[prevertebral & room] = _T.VISCERAL
    for vessel in body.vessels:
        canvas.tube(vessel, room)
    _paint_back(canvas, body, z, radius < wall - 6)
    _paint_pelvis(canvas, body, z, depth, angle)
    for rib in body.ribs:
        canvas.tube(rib, (radius < wall - 1.5) & (depth < 1))
    # Fat too thin or too small for a person to label is mesentery: whole regions remain.
    fat = canvas.tissue == _T.VISCERAL
    canvas.tissue[fat & ~_whole(fat, canvas.spacing)] = _T.MESENTERY


def _paint_back(canvas: _Canvas, body: Anatomy, z: float, room: _Mask) -> None:
    """Paint psoas, quadratus lumborum, back muscles and the spine."""
    u, v = canvas.u, canvas.v - np.float32(body.spine)
    tissue = canvas.tissue
    side = np.abs(u)
    psoas = 15 + 11 / (1 + math.exp((z + 5) / 28))
    muscle = ((side - 25 - 0.75 * psoas) / psoas) ** 2 + ((v - 2) / (1.15 * psoas)) ** 2 < 1
    muscle |= ((side - 68) / 19) ** 2 + ((v - 28) / 11) ** 2 < 1
    tissue[muscle & room] = _T.MUSCLE
    # Fascia between the erector spinae and its neighbours.
    erector = ((side - 36) / 31) ** 2 + ((v - 50) / 25) ** 2
    tissue[(np.abs(erector - 1) < 0.12) & room & (v > 24)] = _T.SEPTUM
    tissue[(np.abs(side - 24 - 0.15 * v) < 1.2) & (erector < 1) & (v > 30)] = _T.SEPTUM

    level = (canvas.z / VERTEBRA + 0.5) % 1.0  # 0.5 in the middle of a body
    sacrum = 1 / (1 + math.exp((z + 80) / 5))
    a, b = 25 + 25 * sacrum, 18.5 + 4 * sacrum
    arches = abs(level - 0.42) < 0.3
    if arches or sacrum > 0.5:
        process = (np.abs(v - 32) < 4.0) & (side < 42 + 10 * sacrum)
        process |= ((side - 19) / 10) ** 2 + ((v - 34) / 10) ** 2 < 1
        process |= (side < 3.6) & (v > 36) & (v < 66)
        tissue[process & room] = _T.BONE
        core = (np.abs(v - 32) < 1.8) & (side < 38) & (side > 14)
        core |= ((side - 19) / 6.5) ** 2 + ((v - 34) / 6.5) ** 2 < 1
        core |= (side < 1.6) & (v > 42) & (v < 63)
        tissue[core & room] = _T.MARROW
    canal = (u / 13) ** 2 + ((v - 27) / 10) ** 2
    tissue[(canal < 1.5) & room] = _T.BONE if arches else _T.MUSCLE
    tissue[(canal < 1) & room] = _T.THECA
    # The body's rear is hollow where the canal lies.
    bean = np.sqrt((u / a) ** 2 + (v / b) ** 2) + 0.22 * np.exp(-((u / 10) ** 2)) * (v > 0)
    tissue[(bean < 1) & room] = _T.BONE
    if 0.13 < level < 0.87 or sacrum > 0.5:
        tissue[(bean < 0.88) & room] = _T.MARROW
    elif level < 0.10 or level > 0.90:
        tissue[(bean < 1) & room] = _T.DISC


def _paint_pelvis(canvas: _Canvas, body: Anatomy, z: float, depth: Floats, angle: Floats) -> None:
    """Paint the iliac wings, from their crests at L4 downwards."""
    drop = -(z + 42)
    if drop <= 0:
        return
    span = min(0.25 + drop / 75, 0.75)
    for side in (-1, 1):
        sector = bump(angle, np.pi / 2 - side * 0.95, span)
        band = np.abs(depth - 0.55) < 0.17
        wing = (sector > math.exp(-1)) & band & (np.abs(angle - np.pi / 2) > 0.4)
        canvas.tissue[wing] = _T.BONE
        canvas.tissue[wing & (np.abs(depth - 0.55) < 0.09)] = _T.MARROW


def _paint_table(canvas: _Canvas, body: Anatomy, room: _Mask) -> None:
    """Paint the couch: a shell about foam, hollowed for the patient."""
    top = canvas.y - body.table + 22 * (canvas.x / 215) ** 2
    across = np.abs(canvas.x) < 215
    bottom = top - 26 + 34 * (canvas.x / 215) ** 4
    couch = across & (top > 0) & (bottom < 0) & room
    canvas.tissue[couch] = _T.FOAM
    shell = (top < 4) | (bottom > -4)
    canvas.tissue[couch & shell] = _T.SHELL


def _expose(canvas: _Canvas, body: Anatomy, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Return the slice in HU as a scanner would show it: textured, blurred, noisy."""
    waves, phases = body.ripples
    texture = np.zeros(canvas.tissue.shape, np.float32)
    for (a, b, c), phase in zip(waves, phases, strict=True):
        texture += np.sin((a * canvas.u + b * canvas.v) + np.float32(c * canvas.z + phase))
    texture *= math.sqrt(2 / len(waves))
    hu = body.hu[canvas.tissue] + body.texture[canvas.tissue] * texture
    hu = _blurred(hu, 0.6, 0.6)
    grain = _unit_noise(canvas.tissue.shape, rng, 0.7, 0.7)
    # Photon starvation: where the body is widest, noise runs from side to side.
    streaks = _unit_noise(canvas.tissue.shape, rng, 4.0, 0.5)
    share = 0.5 * body.adiposity
    noise = math.sqrt(1 - share**2) * grain + share * streaks
    distance = (canvas.u / 190) ** 2 + (canvas.v / 140) ** 2
    hu += body.noise * (0.75 + 0.45 * np.exp(-distance)) * noise
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def _unit_noise(shape: tuple[int, ...], rng: np.random.Generator, x: float, y: float) -> Floats:
    """Return Gaussian noise of SD 1, correlated over `x` columns and `y` rows."""
    noise = _blurred(rng.standard_normal(shape, np.float32), x, y)
    return noise / max(float(noise.std()), 1e-6)


def _blurred(plane: Floats, x: float, y: float) -> Floats:
    """Return a (J, I) plane blurred by a Gaussian with SDs in pixels."""
    for sigma, axis in ((y, 0), (x, 1)):
        reach = math.ceil(3 * sigma)
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        kernel /= kernel.sum()
        padding = [(0, 0), (0, 0)]
        padding[axis] = (reach, reach)
        padded = np.moveaxis(np.pad(plane, padding, mode="edge"), axis, 0)
        blurred = np.zeros_like(plane)
        along = np.moveaxis(blurred, axis, 0)
        for offset, weight in enumerate(kernel.astype(np.float32)):
            along += weight * padded[offset : offset + len(along)]
        plane = blurred
    return plane


def _whole(mask: _Mask, spacing: tuple[float, float, float]) -> _Mask:
    """Return the part of a (J, I) mask that a disc fits into, less regions under 1.5 cm2."""
    steps = [max(1, round(2.7 / step)) for step in spacing[:2]]
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image = sitk.BinaryMorphologicalOpening(image, steps, sitk.sitkBall)
    smallest = math.ceil(150 / (spacing[0] * spacing[1]))
    image = sitk.RelabelComponent(sitk.ConnectedComponent(image), minimumObjectSize=smallest)
    return sitk.GetArrayFromImage(image) > 0
