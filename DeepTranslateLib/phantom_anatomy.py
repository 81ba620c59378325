"""Synthetic anatomy of the abdomen: what `phantom` paints, in millimetres and tissues.

Attenuations are typical of unenhanced and portal-venous abdominal CT; shapes are inventions and
of no use for diagnosis. Coordinates: u to the patient's left, v to the back, z to the head, in mm
from the centre of the body at the third lumbar vertebra (so u, v, z is LPS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


class Tissue(IntEnum):
    """What a pixel is made of; all but air, both fats and the table are lean tissue."""

    AIR = 0
    SUBCUTANEOUS = 1
    VISCERAL = 2
    SKIN = 3
    MUSCLE = 4
    SEPTUM = 5
    LIVER = 6
    SPLEEN = 7
    CORTEX = 8
    MEDULLA = 9
    ARTERY = 10
    VEIN = 11
    PANCREAS = 12
    BILE = 13
    BOWEL = 14
    FLUID = 15
    STOOL = 16
    GAS = 17
    BONE = 18
    MARROW = 19
    DISC = 20
    THECA = 21
    MESENTERY = 22
    SHELL = 23
    FOAM = 24


_T = Tissue
#: HU before contrast, HU in the portal-venous phase, amplitude of the texture.
ATTENUATION: dict[Tissue, tuple[float, float, float]] = {
    _T.AIR: (-1000, -1000, 0),
    _T.SUBCUTANEOUS: (-105, -105, 5),
    _T.VISCERAL: (-100, -100, 7),
    _T.SKIN: (20, 25, 5),
    _T.MUSCLE: (52, 60, 9),
    _T.SEPTUM: (0, 5, 5),
    _T.LIVER: (60, 110, 5),
    _T.SPLEEN: (50, 120, 4),
    _T.CORTEX: (34, 190, 6),
    _T.MEDULLA: (30, 150, 8),
    _T.ARTERY: (42, 170, 2),
    _T.VEIN: (40, 155, 4),
    _T.PANCREAS: (40, 95, 12),
    _T.BILE: (10, 10, 2),
    _T.BOWEL: (42, 85, 8),
    _T.FLUID: (15, 15, 8),
    _T.STOOL: (15, 15, 70),
    _T.GAS: (-920, -920, 15),
    _T.BONE: (560, 580, 140),
    _T.MARROW: (170, 190, 50),
    _T.DISC: (85, 90, 8),
    _T.THECA: (18, 22, 5),
    _T.MESENTERY: (25, 40, 10),
    _T.SHELL: (100, 100, 10),
    _T.FOAM: (-550, -550, 20),
}
# The torso is modelled this far from L3; cross-sections beyond it stay as they are at the end.
REACH = 110.0
VERTEBRA = 36.0
# At least a pixel of the default grid, so that the skin closes the body.
SKIN = 2.7


@dataclass(frozen=True)
class Tube:
    """A chain of capsules: bowel, vessels, ribs."""

    points: Floats  # (n, 3), u v z
    radius: float
    wall: float
    tissue: Tissue
    core: Tissue | None = None
    gas: float = 2.0  # height of the fluid level in radii towards the front; 2 is none


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, turned about z and dented by a few waves so that none looks machined."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    turn: float
    wall: float
    tissue: Tissue
    core: Tissue | None = None
    gas: float = 2.0
    dent: float = 0.06
    phase: float = 0.0


class Anatomy:
    """All that a seed decides. Draws come first and never depend on adiposity."""

    def __init__(self, rng: np.random.Generator, adiposity: float) -> None:
        self.adiposity = adiposity
        draw = rng.uniform
        fat = adiposity
        scale = draw(0.96, 1.015)
        self.lateral = (140 + 31 * fat) * scale
        self.depth = (85 + 44 * fat) * scale * draw(0.98, 1.03)
        self.squareness = draw(2.2, 2.45)
        self.layer = (8 + 30 * fat) * draw(0.94, 1.06)
        self.waves = [
            (m, draw(0.003, 0.010), draw(0, 2 * np.pi), draw(-0.012, 0.012)) for m in (2, 3, 4, 5)
        ]
        self.lobes = draw(0.9, 1.1, 4)
        self.turn = math.radians(draw(-4, 4))
        self.shift = np.array([draw(-6, 6), draw(-12, -4)])
        self.origin = np.array([draw(-20, 20), draw(-160, -120), draw(-400, -200)])
        self.navel = draw(-22, -4)
        self.contrast = bool(draw() < 0.6)
        oral = draw() < 0.4
        self.hu = np.array([ATTENUATION[t][int(self.contrast)] for t in _T], np.float32)
        self.texture = np.array([ATTENUATION[t][2] for t in _T], np.float32)
        self.hu[_T.SUBCUTANEOUS : _T.SKIN] += draw(-5, 5)
        self.hu[_T.MUSCLE] -= 8 * fat
        self.hu[_T.LIVER] -= 12 * fat * draw()  # steatosis
        if oral:
            self.hu[_T.FLUID] = draw(180, 300)
        self.noise = 12 * (1 + 0.6 * fat)
        self.ripples = rng.normal(size=(10, 3)) * (0.35, 0.35, 0.15), draw(0, 2 * np.pi, 10)
        self.spine = self.depth - 78  # v of the vertebral bodies, far enough for the back muscles
        self.solids = self._bowel(rng) + self._upper_organs(rng)
        self.retroperitoneum = self._kidneys(rng)
        self.vessels = self._vessels(rng)
        self.ribs = self._ribs(rng)
        angles = np.linspace(-np.pi, np.pi, 361)
        back = [
            (r[0] * np.sin(angles + self.turn)).max()
            for r in (self.radii(z, angles) for z in np.linspace(-REACH, REACH, 12))
        ]
        self.table = float(max(back) + self.shift[1] + 9)

    def radii(self, z: float, angles: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the radii, in mm, of skin, muscle wall and cavity at angles from u towards v."""
        cos, sin = np.cos(angles), np.sin(angles)
        waist = 1 - 0.05 * (1 - self.adiposity) * math.exp(-(((z - 5) / 45) ** 2))
        hips = 1 / (1 + math.exp((z + 60) / 12))
        lateral = self.lateral * waist * (1 + 0.06 * hips)
        depth = self.depth * (1 + 0.03 * self.adiposity * math.exp(-(((z + 10) / 60) ** 2)))
        n = self.squareness
        wall = (np.abs(cos / lateral) ** n + np.abs(sin / depth) ** n) ** (-1 / n)
        for m, amplitude, phase, twist in self.waves:
            wall = wall * (1 + amplitude * np.cos(m * angles + phase + twist * z))
        wall -= 5 * bump(angles, np.pi / 2, 0.13)  # the furrow over the spinous processes

        lobes = self.lobes
        loins = bump(angles, np.pi / 2 - 0.75, 0.5) + bump(angles, np.pi / 2 + 0.75, 0.5)
        flanks = bump(angles, 0, 0.5) + bump(angles, np.pi, 0.5)
        belly = bump(angles, -np.pi / 2, 0.9)
        low = 1 / (1 + math.exp((z + 10) / 40))
        layer = 0.72 + 0.75 * lobes[0] * loins + 0.30 * lobes[1] * flanks
        layer += 0.35 * lobes[2] * belly * (0.4 + low) + 0.25 * lobes[3] * low
        layer -= 0.25 * bump(angles, np.pi / 2, 0.2)
        # Navel: the skin reaches almost down to the linea alba.
        pit = 0.75 * math.exp(-(((z - self.navel) / 9) ** 2)) * bump(angles, -np.pi / 2, 0.07)
        layer = np.maximum(self.layer * layer * (1 - pit), 6.5)

        muscle = 13 + 3 * bump(angles, 0, 0.6) + 3 * bump(angles, np.pi, 0.6)
        muscle -= 4 * bump(angles, -np.pi / 2, 0.08)
        for side in (-1, 1):
            muscle -= 4 * bump(angles, -np.pi / 2 + side * (0.62 + 0.1 * self.adiposity), 0.10)
            # Iliac wings with gluteal and iliac muscles on both their faces.
            muscle += 30 * hips * bump(angles, np.pi / 2 - side * 0.95, 0.45)
        return wall + layer + SKIN, wall, wall - muscle

    def _bowel(self, rng: np.random.Generator) -> list[Tube | Ellipsoid]:
        """Small bowel, then the colon as a frame about it."""
        stretch = np.array([self.lateral / 140, self.depth / 85, 1.0])
        solids: list[Tube | Ellipsoid] = []
        for _ in range(40):
            point = np.array([rng.uniform(-72, 72), rng.uniform(-50, -4), rng.uniform(-118, 42)])
            path = [point]
            heading = rng.normal(size=3)
            for _ in range(4):
                heading = 0.7 * heading + rng.normal(size=3)
                point = point + 19 * heading / np.linalg.norm(heading)
                point = np.clip(point, (-82, -56, -140), (82, 4, 52))
                path.append(point)
            gas = rng.uniform(-0.2, 0.6) if rng.uniform() < 0.3 else 2.0
            radius = rng.uniform(9.5, 13.5) * (1 + 0.05 * self.adiposity)
            solids.append(Tube(np.array(path) * stretch, radius, 2.6, _T.BOWEL, _T.FLUID, gas))
        z = np.linspace(-130, 60, 9)
        for side, reach in ((-1, 60), (1, 95)):
            u = side * (96 + rng.normal(0, 3, 9)) * stretch[0]
            v = self.spine - 4 + rng.normal(0, 5, 9)
            points = np.column_stack([u, v, z * (1 if reach == 95 else 0.85)])
            gas = rng.uniform(-0.3, 0.5)
            solids.append(
                Tube(points, rng.uniform(17, 21) + 4 * (side < 0), 3, _T.BOWEL, _T.STOOL, gas)
            )
        u = np.linspace(-88, 88, 9)
        sag = rng.uniform(20, 45)
        points = np.column_stack([u, -52 + 0.003 * u**2, 52 - sag * np.cos(u / 58)]) * stretch
        gas = rng.uniform(-0.5, 0.4)
        solids.append(Tube(points, rng.uniform(16, 20), 3, _T.BOWEL, _T.STOOL, gas))
        return solids

    def _upper_organs(self, rng: np.random.Generator) -> list[Tube | Ellipsoid]:
        """Stomach, pancreas, spleen, liver and gallbladder."""
        wide, deep = self.lateral / 140, self.depth / 85
        draw = rng.uniform
        organ = 1 + 0.10 * self.adiposity
        tip = draw(-22, 8)  # z of the lowest point of the right lobe

        def solid(
            centre: tuple[float, float, float],
            axes: tuple[float, float, float],
            turn: float,
            *kind: Tissue,
            wall: float = 0.0,
            gas: float = 2.0,
        ) -> Ellipsoid:
            jitter = rng.normal(0, 1, 3) * (3, 3, 4)
            u, v, z = np.array(centre) * (wide, deep, 1) + jitter
            a, b, c = np.array(axes) * organ * draw(0.95, 1.05)
            turn += draw(-0.1, 0.1)
            tissue, core = kind[0], kind[1] if len(kind) > 1 else None
            return Ellipsoid(
                (u, v, z), (a, b, c), turn, wall, tissue, core, gas, phase=draw(0, 6.3)
            )

        return [
            solid(
                (38, -28, 92), (44, 30, 46), 0.5, _T.BOWEL, _T.FLUID, wall=5, gas=draw(-0.1, 0.4)
            ),
            solid((12, -6, 52), (46, 11, 17), -0.25, _T.PANCREAS),
            solid((98, 18, 96), (24, 40, 48), 0.35, _T.SPLEEN),
            solid((-20, -38, 108), (72, 36, 48), 0.15, _T.LIVER),
            solid((-84, 0, 98), (58, 74, 98 - tip), 0.1, _T.LIVER),
            solid((-52, -42, 40), (15, 24, 20), 0.3, _T.BILE),
        ]

    def _kidneys(self, rng: np.random.Generator) -> list[tuple[Ellipsoid, float]]:
        """Both kidneys, and for each how far its perirenal fat reaches."""
        found = []
        for side, drop in ((-1, 28), (1, 40)):
            size = rng.uniform(0.93, 1.07)
            centre = (
                side * (62 + rng.uniform(-3, 3) + 8 * self.adiposity),
                self.spine + 10 + rng.uniform(-4, 4),
                drop + rng.uniform(-8, 8),
            )
            axes = (25 * size, 29 * size, 56 * size)
            turn = side * rng.uniform(0.3, 0.7)
            kidney = Ellipsoid(
                centre, axes, turn, 7.0, _T.CORTEX, _T.MEDULLA, dent=0.03, phase=rng.uniform(0, 6)
            )
            found.append((kidney, 6 + 16 * self.adiposity))
        return found

    def _vessels(self, rng: np.random.Generator) -> list[Tube]:
        z = np.linspace(-140, 140, 15)
        sway = 3 * np.sin(z / 60 + rng.uniform(0, 6))
        # Aorta and cava divide in front of L4.
        fork = np.clip(-(z + 36), 0, None)
        front = self.spine - 27
        aorta = np.column_stack([12 + sway - 0.2 * fork, front + 2 + 0.2 * fork, z])
        cava = np.column_stack([-16 + sway + 0.2 * fork, front + 3 + 0.25 * fork, z])
        left = np.column_stack([12 + sway + 0.55 * fork, front + 2 + 0.2 * fork, z])
        right = np.column_stack([-16 + sway - 0.55 * fork, front + 3 + 0.25 * fork, z])
        cut = z <= -30
        mesenteric = np.column_stack([5 + 2 * sway, front - 22 - 0 * z, z])
        branches = [self._branch(rng, front - 22) for _ in range(8)]
        return [
            Tube(aorta[~cut], rng.uniform(8.5, 10.5), 0, _T.ARTERY),
            Tube(cava[~cut], rng.uniform(10, 12), 0, _T.VEIN),
            Tube(left[z <= -20], 6.5, 0, _T.ARTERY),
            Tube(right[z <= -20], 8.0, 0, _T.VEIN),
            Tube(aorta[cut], 6.5, 0, _T.ARTERY),
            Tube(cava[cut], 8.0, 0, _T.VEIN),
            Tube(mesenteric[(z > -20) & (z < 60)], 4.5, 0, _T.VEIN),
            *branches,
        ]

    def _branch(self, rng: np.random.Generator, root: float) -> Tube:
        """Return a mesenteric vessel from its root towards the loops."""
        end = np.array([rng.uniform(-60, 60), rng.uniform(-45, -20), rng.uniform(-90, 30)])
        end *= (self.lateral / 140, self.depth / 85, 1)
        start = np.array([5.0, root, rng.uniform(-10, 30)])
        bend = rng.uniform(-10, 10, 3)
        along = np.linspace(0, 1, 6)[:, None]
        points = start + along * (end - start) + np.sin(np.pi * along) * bend
        return Tube(points, 2.8, 0, _T.VEIN)

    def _ribs(self, rng: np.random.Generator) -> list[Tube]:
        """Ribs 7 to 12: down and forwards within the wall, so that slices cut them one by one."""
        tubes = []
        slope = rng.uniform(50, 60)
        for number, reach in ((12, 1.1), (11, 1.6), (10, 2.2), (9, 2.4), (8, 2.5), (7, 2.5)):
            start = 3 * VERTEBRA + 0.9 * VERTEBRA * (12 - number)
            sweep = np.linspace(0.35, reach, 14)
            for side in (-1, 1):
                points = []
                for angle in sweep:
                    z = start - slope * angle
                    direction = np.pi / 2 - side * angle
                    _, wall, cavity = self.radii(
                        float(np.clip(z, -REACH, REACH)), np.array([direction])
                    )
                    radius = float(0.55 * wall[0] + 0.45 * cavity[0])
                    points.append((radius * np.cos(direction), radius * np.sin(direction), z))
                tubes.append(Tube(np.array(points), 4.6, 1.8, _T.BONE, _T.MARROW))
        return tubes


def bump(angles: Floats, centre: float, width: float) -> Floats:
    """Return a bell of height 1 about an angle, periodic, with `width` in radians."""
    return np.exp(-2 * (1 - np.cos(angles - centre)) / width**2)
