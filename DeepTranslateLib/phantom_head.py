"""Synthetic anatomy of the upper head: what `phantom_contrasts` shows as MR and CT.

Shapes are inventions and of no use for diagnosis. Coordinates: u to the patient's left, v to the
back, w to the head, in mm from the middle of the brain between the thalami (so u, v, w is LPS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.phantom_anatomy import Floats, bump

_Mask = npt.NDArray[np.bool_]


class HeadTissue(IntEnum):
    """What a point is made of; all but AIR is inside the head."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    DIPLOE = 5
    CAVITY = 6
    CSF = 7
    GREY = 8
    WHITE = 9
    DEEP_GREY = 10
    LESION = 11
    BLOOD = 12
    OEDEMA = 13
    CALCIFICATION = 14


_T = HeadTissue
_SKIN = 2.0
_FRONT, _BACK = -math.pi / 2, math.pi / 2
_LOWEST = -45.0  # beyond, cross-sections stay as they are there


@dataclass(frozen=True)
class Blob:
    """An ellipsoid, dented by a wave so that none looks machined; lengths in mm."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    phase: float = 0.0
    dent: float = 0.0

    def reach(self, u: Floats, v: Floats, w: Floats) -> Floats:
        """How far points are from the centre, as a part of the way to the surface."""
        a, b, c = (
            (along - middle) / axis
            for along, middle, axis in zip((u, v, w), self.centre, self.axes, strict=True)
        )
        length = np.sqrt(a**2 + b**2 + c**2)
        if self.dent:
            length = length * (1 + self.dent * np.cos(3 * np.arctan2(b, a) + self.phase + 2 * c))
        return length


@dataclass(frozen=True)
class Waves:
    """A smooth random field: plane waves of random directions, with mean 0 and SD 1."""

    vectors: Floats  # (n, 3), radians a mm
    phases: Floats

    @classmethod
    def drawn(cls, rng: np.random.Generator, count: int, lengths: tuple[float, float]) -> Waves:
        """Draw waves whose lengths, in mm, lie in a range."""
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        vectors = directions * 2 * np.pi / rng.uniform(*lengths, (count, 1))
        return cls(vectors.astype(np.float32), rng.uniform(0, 2 * np.pi, count).astype(np.float32))

    @property
    def slope(self) -> float:
        """SD of the field's change over a mm, across its level surfaces."""
        return float(np.sqrt((self.vectors**2).sum(axis=1).mean()))

    def __call__(self, u: Floats, v: Floats, w: Floats) -> Floats:
        """The field at points."""
        total = np.zeros(np.broadcast(u, v, w).shape, np.float32)
        for (a, b, c), phase in zip(self.vectors, self.phases, strict=True):
            total += np.sin(a * u + b * v + (c * w + phase))
        return total * np.float32(math.sqrt(2 / len(self.vectors)))


class Head:
    """All that a seed decides."""

    def __init__(self, rng: np.random.Generator) -> None:
        draw = rng.uniform
        self.lateral, self.depth = draw(66, 74), draw(80, 87)
        self.top = draw(74, 84)
        self.squareness = draw(2.1, 2.5)
        self.outline = [(m, draw(0.004, 0.014), draw(0, 6.3), draw(-0.01, 0.01)) for m in (2, 3, 4)]
        self.scalp = draw(2.5, 6.0), draw(0, 6.3)
        self.temporalis = draw(4.0, 9.0)
        self.skull = draw(5.5, 9.0), draw(0, 6.3)
        self.pneumatisation = draw(0, 1.2), draw(-0.5, 1.0)
        atrophy = draw()
        self.subarachnoid = 1.5 + 2.5 * atrophy
        self.sulcus = 0.4 + 1.0 * atrophy
        self.fissure = 0.8 + 1.2 * atrophy
        self.folds = Waves.drawn(rng, 8, (19, 30))
        self.cells = Waves.drawn(rng, 6, (7, 11))
        self.texture = Waves.drawn(rng, 14, (9, 45))
        self.turn, self.tilt = np.radians(rng.uniform((-7, -6), (7, 6)))
        self.shift = rng.uniform((-4, -3, -5), (4, 3, 5))
        self.origin = rng.uniform((-20, -30, -60), (20, 30, 60))
        self.nuclei = self._nuclei(rng)
        self.ventricles = self._ventricles(rng, draw(0.7, 1.1) + 0.7 * atrophy * draw())
        self.plexus = [
            Blob((side * 20, draw(22, 29), draw(7, 13)), (size, 1.4 * size, 1.2 * size))
            for side in (-1, 1)
            if (size := draw(1.0, 4.0)) > 1.6
        ]
        self.lesions = [self._lesion(rng) for _ in range(rng.integers(4, 13))]
        self.bleeding, self.swelling = self._bleeding(rng)

    def place(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """From mm in the field of view to coordinates of the head: shifted, turned and tilted."""
        du, dv, dw = x - self.shift[0], y - self.shift[1], z - self.shift[2]
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        u, front = cos * du + sin * dv, cos * dv - sin * du
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        v, w = cos * front + sin * dw, cos * dw - sin * front
        return u.astype(np.float32), v.astype(np.float32), w.astype(np.float32)

    def tissues(self, u: Floats, v: Floats, w: Floats) -> npt.NDArray[np.uint8]:
        """What points of the head, arrays of one shape, are made of, as `HeadTissue`."""
        w = np.maximum(w, _LOWEST)
        angle = np.arctan2(v, u)
        radius = np.hypot(u, v)
        rim = self._rim(angle, w)
        length = np.sqrt((radius / rim) ** 2 + (np.maximum(w, 0) / self.top) ** 2)
        depth = (1 - length) * rim
        found = np.full(depth.shape, _T.AIR, np.uint8)
        found[depth > 0] = _T.SKIN
        found[depth > _SKIN] = _T.FAT
        outer = _SKIN + self.scalp[0] * (1 + 0.25 * np.cos(angle + self.scalp[1]))
        found[depth > outer] = _T.MUSCLE
        sides = bump(angle, 0, 0.5) + bump(angle, math.pi, 0.5)
        outer = outer + self.temporalis * sides * _below(w, 12, 6)
        brain = depth - self._paint_skull(found, depth - outer, angle, (u, v, w)) - outer
        self._paint_brain(found, brain, u, v, w)
        return found

    def _rim(self, angle: Floats, w: Floats) -> Floats:
        """The skin's distance from the axis, in mm, where the head is widest."""
        n = self.squareness
        cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
        rim = ((cos / self.lateral) ** n + (sin / self.depth) ** n) ** (-1 / n)
        for m, amplitude, phase, twist in self.outline:
            rim = rim * (1 + amplitude * np.cos(m * angle + phase + twist * w))
        return rim

    def _paint_skull(
        self, found: npt.NDArray[np.uint8], depth: Floats, angle: Floats, at: tuple[Floats, ...]
    ) -> Floats:
        """Paint bone and its cavities from `depth` 0 on; how thick it is, in mm."""
        u, _, w = at
        frontal = bump(angle, _FRONT, 0.45) * _below(w, -2, 4)
        mastoid = bump(angle, _BACK - 0.95, 0.3) + bump(angle, _BACK + 0.95, 0.3)
        mastoid = mastoid * _below(w, -8, 4)
        thickness = self.skull[0] * (1 + 0.2 * np.cos(2 * angle + self.skull[1]))
        thickness = thickness + 9 * frontal + 9 * mastoid
        found[depth > 0] = _T.BONE
        inner = np.abs(depth / thickness - 0.5)
        found[inner < 0.22] = _T.DIPLOE
        sinus, cells = self.pneumatisation
        hollow = (frontal > 1.15 - 0.75 * sinus) & (np.abs(u) > 1.2)
        hollow |= (mastoid > 0.3) & (self.cells(*at) > 0.4 - cells)
        found[hollow & (depth > 2) & (depth < thickness - 2)] = _T.CAVITY
        return thickness

    def _paint_brain(
        self, found: npt.NDArray[np.uint8], depth: Floats, u: Floats, v: Floats, w: Floats
    ) -> None:
        """Paint what lies within the skull, of which `depth` is the distance to it in mm."""
        depth = depth - self.subarachnoid * (1 + 0.3 * np.cos(3 * np.arctan2(v, u)))
        inside = depth > -self.subarachnoid
        found[depth > -1.3 * self.subarachnoid] = _T.CSF
        # The folds' distance in mm, nearly, as the field's value over its slope.
        fold = np.abs(self.folds(u, v, w)) / self.folds.slope
        cleft = np.abs(u) + np.where((np.abs(v) > 28) | (w > 24), 0, 99)
        grey = (depth < 3.5) | ((fold < self.sulcus + 2.8) & (depth < 15))
        grey |= cleft < self.fissure + 3.5
        sulci = (fold < self.sulcus) & (depth < 12)
        sulci |= cleft < self.fissure
        cerebrum = (depth > 0) & inside
        found[cerebrum] = _T.WHITE
        found[cerebrum & grey] = _T.GREY
        found[cerebrum & sulci] = _T.CSF
        for nucleus in self.nuclei:
            found[cerebrum & (nucleus.reach(u, v, w) < 1)] = _T.DEEP_GREY
        for ventricle in self.ventricles:
            found[cerebrum & (ventricle.reach(u, v, w) < 1)] = _T.CSF
        for part in self.plexus:
            found[(found == _T.CSF) & (depth > 15) & (part.reach(u, v, w) < 1)] = _T.CALCIFICATION
        for lesion in self.lesions:
            found[(found == _T.WHITE) & (lesion.reach(u, v, w) < 1)] = _T.LESION
        if self.bleeding is not None:
            reach = self.bleeding.reach(u, v, w)
            found[(found == _T.WHITE) & (reach < self.swelling)] = _T.OEDEMA
            found[cerebrum & (found != _T.CSF) & (reach < 1)] = _T.BLOOD

    def _nuclei(self, rng: np.random.Generator) -> list[Blob]:
        """Thalamus, putamen with pallidum, and head of the caudate of both sides."""
        found = []
        for centre, axes in (
            ((11, 9, 3), (8, 13, 10)),
            ((25, -4, 2), (6, 16, 11)),
            ((13, -19, 11), (5.5, 9, 11)),
        ):
            size = rng.uniform(0.85, 1.15)
            for side in (-1, 1):
                u, v, w = np.array(centre) + rng.normal(0, 0.8, 3)
                a, b, c = size * np.array(axes)
                found.append(Blob((side * u, v, w), (a, b, c), rng.uniform(0, 6.3), 0.05))
        return found

    def _ventricles(self, rng: np.random.Generator, width: float) -> list[Blob]:
        """Bodies, horns and atria of the lateral ventricles, and the third."""
        found = [Blob((0, 4, 0), (1.9 * width, 13, 10))]
        for side in (-1, 1):
            size = width * rng.uniform(0.88, 1.12)
            for centre, axes in (
                ((9, -1, 21), (6, 27, 7)),
                ((9, -25, 13), (5, 9, 11)),
                ((20, 29, 10), (6.5, 14, 10)),
            ):
                u, v, w = np.array(centre) + rng.normal(0, 1, 3)
                a, b, c = size * np.array(axes) * (1, 0.9, 1)
                found.append(Blob((side * u, v, w), (a, b, c)))
        return found

    def _lesion(self, rng: np.random.Generator) -> Blob:
        side, along = rng.choice((-1, 1)), rng.uniform(-math.pi, math.pi)
        centre = (
            side * (20 + 10 * abs(math.cos(along)) + rng.normal(0, 4)),
            38 * math.sin(along) + rng.normal(0, 4),
            rng.uniform(-20, 36),
        )
        size = rng.uniform(2.8, 6.5)
        a, b, c = size * rng.uniform(0.75, 1.3, 3)
        return Blob(centre, (a, b, c), rng.uniform(0, 6.3), 0.1)

    def _bleeding(self, rng: np.random.Generator) -> tuple[Blob | None, float]:
        """Where the brain bled, and how far the oedema around it reaches; in two of three."""
        angle, distance = rng.uniform(-math.pi, math.pi), rng.uniform(24, 40)
        centre = (
            distance * math.cos(angle),
            1.2 * distance * math.sin(angle),
            rng.uniform(-15, 25),
        )
        size = rng.uniform(7, 14)
        a, b, c = size * rng.uniform(0.8, 1.25, 3)
        swelling = 1 + rng.uniform(3, 8) / size
        bleeding = Blob(centre, (a, b, c), rng.uniform(0, 6.3), 0.12)
        return (bleeding if rng.uniform() < 2 / 3 else None), swelling


def _below(w: Floats, level: float, softness: float) -> Floats:
    """From 1 well below a level (mm) to 0 above it."""
    return 1 / (1 + np.exp(np.clip((w - level) / softness, -30, 30)))
