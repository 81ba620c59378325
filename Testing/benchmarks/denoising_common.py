"""What the denoising experiments share: classical filters, commands, pictures."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from DeepTranslateLib.engine.comparison import median_range
from Testing.benchmarks.records import FOLDER, Record, read_records
from Testing.benchmarks.sample import data_folder

Volume = npt.NDArray[np.float32]
Filter = Callable[[Volume], Volume]


def asked(
    parser: argparse.ArgumentParser,
    arguments: list[str] | None,
    name: str,
    table: Callable[[list[Record]], str],
) -> argparse.Namespace | None:
    """The options of an experiment, `results` among them; None where there is nothing to measure.

    Args:
        parser: With what is the experiment's own.
        arguments: None: none.
        name: Of the experiment.
        table: Makes the table that is printed where it alone is wanted.
    """
    parser.add_argument("--output", type=Path, default=Path("build") / name)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="print the table and measure nothing")
    options = parser.parse_args([] if arguments is None else arguments)
    options.results = FOLDER / f"{name}.jsonl"
    if options.table:
        print(table(read_records(options.results)))
        return None
    if not data_folder().is_dir():
        print("The real images are not here (DEEPTRANSLATE_DATA); nothing was measured.")
        return None
    return options


def classical_filters(kinds: Iterable[str], *, across: bool = True) -> dict[str, Filter]:
    """Filters of volumes (slices, rows, columns) by a name that says their setting.

    Args:
        kinds: Of "median", "gaussian", and, in slices alone, "bilateral" and "non-local means".
        across: Filters may look at neighbouring slices, too.
    """
    made: dict[str, Filter] = {}
    if "median" in kinds:
        flat, cubes = ((1, 3, 3), (1, 5, 5), (1, 7, 7)), ((3, 3, 3), (5, 5, 5))
        for size in (*flat, *cubes) if across else flat:
            name = "median " + "x".join(map(str, size))
            made[name] = partial(ndimage.median_filter, size=size)
    if "gaussian" in kinds:
        for sd in (0.7, 1.0, 1.5, 2.0, 3.0):
            made[f"Gaussian 2D {sd:g}"] = partial(ndimage.gaussian_filter, sigma=(0, sd, sd))
            if across:
                made[f"Gaussian 3D {sd:g}"] = partial(ndimage.gaussian_filter, sigma=sd)
    if "bilateral" in kinds:
        for sd, reach in ((1.5, 50), (2, 100), (3, 100), (3, 200), (3, 300), (4, 400)):
            name = f"bilateral {sd:g} px, {reach} HU"
            made[name] = partial(_bilateral, domain_sd=sd, range_sd=reach)
    if "non-local means" in kinds:
        for strength in (40, 60, 80, 100):
            name = f"non-local means {strength} HU"
            made[name] = partial(_non_local_means, strength=strength)
    return made


def _bilateral(volume: Volume, domain_sd: float, range_sd: float) -> Volume:
    slices = (
        sitk.GetArrayFromImage(sitk.Bilateral(sitk.GetImageFromArray(piece), domain_sd, range_sd))
        for piece in volume
    )
    return np.stack(list(slices)).astype(np.float32)


def _non_local_means(volume: Volume, strength: float, patch: int = 5, search: int = 7) -> Volume:
    """Buades et al. 2005: pixels averaged by how alike the patches around them are, in slices.

    Args:
        volume: (slices, rows, columns).
        strength: h of the weights exp(-d^2 / h^2), where d is the root mean squared difference of
            two patches.
        patch: Side of a patch, in pixels.
        search: Farthest row and column of a patch that takes part.
    """
    total = np.zeros_like(volume)
    weights = np.zeros_like(volume)
    for row in range(-search, search + 1):
        for column in range(-search, search + 1):
            moved = ndimage.shift(volume, (0, row, column), order=0, mode="mirror")
            distance = ndimage.uniform_filter((volume - moved) ** 2, (1, patch, patch))
            weight = np.exp(-distance / strength**2)
            total += weight * moved
            weights += weight
    return total / weights


def cell(values: Sequence[float], decimals: int) -> str:
    """Median and range of the seeds' values; the value where there is one seed, or all agree."""
    if max(values) == min(values):
        return f"{values[0]:.{decimals}f}"
    return median_range(values, decimals)


def seeds_cell(records: Sequence[Record]) -> str:
    """How many trainings a row is of, and how long they were."""
    epochs = sorted({record["epochs"] for record in records})
    count = "1 seed" if len(records) == 1 else f"{len(records)} seeds"
    return f"{count}, {'/'.join(map(str, epochs))} epochs"


def deeptranslate(*arguments: object) -> None:
    """Run a command in a process of its own.

    Raises:
        CalledProcessError: It failed; what it said was printed.
    """
    subprocess.run(
        [sys.executable, "-m", "DeepTranslateLib", *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def picture(
    rows: Sequence[Sequence[npt.NDArray[Any]]], windows: Sequence[tuple[float, float]], path: Path
) -> None:
    """Grey pictures side by side, one row below the other.

    Args:
        rows: Each of pictures (rows, columns) of one height.
        windows: Of each row: the values that are black and white.
        path: PNG.
    """
    lines = []
    for pieces, (low, high) in zip(rows, windows, strict=True):
        grey = [np.clip((piece - low) / (high - low) * 255, 0, 255) for piece in pieces]
        lines.append(np.concatenate(grey, axis=1))
    canvas = np.concatenate(lines).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(canvas), str(path))
