"""A sharp kernel's image made as smooth as a soft kernel's: real pairs of a skull phantom.

One scan, reconstructed twice. Some slices teach and others test, with neither a slice nor a
neighbour of one on both sides: either the same inserts further down, or, but for the top of one
disc, other objects (a skull base and a bar teach, discs and a square in air test), where there is
half as much noise. Noise is measured in the uniform inserts, sharpness at the edges of the discs.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from DeepTranslateLib.engine.metrics.intensity import intensity_errors
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.recipe import read_recipe, recipe_from_json, write_recipe
from DeepTranslateLib.schema import to_json
from Testing.benchmarks.denoising_common import (
    asked,
    cell,
    classical_filters,
    deeptranslate,
    picture,
    seeds_cell,
)
from Testing.benchmarks.records import (
    Record,
    append_record,
    commit,
    matching,
    read_records,
    table_row,
)
from Testing.benchmarks.sample import data_folder, machine

NAME = "denoising_phantom"
# First slice that teaches and the one after the last; the same of those that test.
SPLITS = {"slices": ((0, 20), (21, 27)), "objects": ((0, 13), (17, 27))}
AIM_NOISE = 0.15
# HU of the inserts, which are plastics.
INSERTS = (40.0, 140.0)
CHANGES: dict[str, dict[str, Any]] = {
    "sampling": {"mirror": False},
    "preprocessing": {"window": [-1024, 1024]},
    "target": {"range": [-1024, 1024]},
    "noise": {"kind": "none", "level": None},
    "training": {"batch_size": 1, "epochs": 90},
}

Slice = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Disc:
    """A round insert: its middle and radius in pixels of its slice."""

    index: int
    row: float
    column: float
    radius: float


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="ct-denoise", help="changed to learn from pairs")
    parser.add_argument("--variant", default="ct-denoise, pairs")
    parser.add_argument("--split", choices=tuple(SPLITS), default="slices")
    parser.add_argument("--epochs", type=int, help=f"default: {CHANGES['training']['epochs']}")
    options = asked(parser, arguments, NAME, table)
    if options is None:
        return
    results = options.results
    print(f"{options.variant}, {machine()}", flush=True)
    for seed in options.seeds:
        same = {"variant": options.variant, "split": options.split, "seed": seed}
        if not matching(read_records(results), **same):
            append_record(results, experiment(seed, options))
    print(table(read_records(results)))


def experiment(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train, translate the test slices, measure."""
    folder: Path = options.output / f"{options.variant.replace(', ', '_')}_{options.split}_{seed}"
    training, test = SPLITS[options.split]
    folder.mkdir(parents=True, exist_ok=True)
    content = to_json(read_recipe(options.recipe))
    for part, fields in CHANGES.items():
        content[part].update(fields)
    recipe = recipe_from_json(content)
    write_recipe(recipe, folder / "recipe.json")
    pairs = {
        "sharp": read_image(_data("sharp_1mm.nii.gz")).oriented("LPS"),
        "soft": read_image(_data("soft_1mm_iDose.nii.gz")).oriented("LPS"),
    }
    for name, image in pairs.items():
        write_image(_slices(image, training, tiled=True), folder / f"{name}_training.nrrd")
        write_image(_slices(image, test), folder / f"{name}_test.nrrd")
    with open(folder / "cohort.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["subject", "image", "target", "slices"])
        files = ("sharp_training.nrrd", "soft_training.nrrd")
        writer.writerow(["phantom", *files, ";".join(map(str, taught(training)))])
    started = time.monotonic()
    command = ["train", "--recipe", folder / "recipe.json", "--cohort", folder / "cohort.csv"]
    if options.epochs is not None:
        command += ["--epochs", options.epochs]
    deeptranslate(*command, "--seed", seed, "--output", folder / "run")
    seconds = time.monotonic() - started
    given = folder / "sharp_test.nrrd"
    model = folder / "run" / "model.dtmodel"
    deeptranslate("translate", "--model", model, "--output", folder / "out", given)
    (path,) = (folder / "out").glob("sharp_test_*.nrrd")
    sharp, soft = read_image(given), read_image(folder / "soft_test.nrrd")
    images = {"sharp": sharp, "network": read_image(path)}
    volume = sharp.voxels.astype(np.float32)
    for name, apply in classical_filters(("median", "gaussian", "bilateral")).items():
        images[name] = sharp.with_voxels(apply(volume))
    index = 4
    pieces = [image.voxels[index] for image in (sharp, images["network"], soft)]
    picture([pieces, pieces], [(-1000, 300), (20, 160)], folder / "picture.png")
    return {
        "experiment": NAME,
        "variant": options.variant,
        "split": options.split,
        "seed": seed,
        "seconds": round(seconds),
        "commit": commit(),
        "epochs": options.epochs or recipe.training.epochs,
        "scores": {name: measure(image, soft) for name, image in images.items()},
    }


def taught(training: tuple[int, int]) -> list[int]:
    """The slices of four quarters, one below the other, whose neighbours are their quarter's."""
    length = training[1] - training[0]
    return [index for index in range(4 * length) if 0 < index % length < length - 1]


def measure(image: Image, soft: Image) -> dict[str, Any]:
    """RMSE to the soft kernel's image, and noise and edge widths as parts of its own."""
    mine, reference = (each.voxels.astype(np.float64) for each in (image, soft))
    noise = [
        detrended_sd(mine[index], where) / detrended_sd(reference[index], where)
        for index, where in uniform_regions(reference)
    ]
    edges = [
        edge_width(mine[disc.index], disc) / edge_width(reference[disc.index], disc)
        for disc in discs(reference)
    ]
    return {
        "rmse": round(intensity_errors(mine, reference).rmse, 2),
        "noise": [round(value, 3) for value in noise],
        "edges": [round(value, 3) for value in edges],
    }


def uniform_regions(volume: Slice, margin: int = 6) -> list[tuple[int, npt.NDArray[np.bool_]]]:
    """Insides of inserts at least 300 pixels large, this many pixels from anything else.

    Args:
        volume: (slices, rows, columns) HU of the soft kernel.
        margin: Pixels.

    Returns:
        Slices, and a mask (rows, columns) for each insert in them.
    """
    found = []
    for index, piece in enumerate(volume):
        smooth = ndimage.gaussian_filter(piece, 1)
        inside = (smooth > INSERTS[0]) & (smooth < INSERTS[1])
        inside = ndimage.binary_erosion(inside, iterations=margin)
        labels, count = ndimage.label(inside)
        regions = [labels == label for label in range(1, count + 1)]
        found += [(index, region) for region in regions if np.count_nonzero(region) >= 300]
    return found


def detrended_sd(piece: Slice, where: npt.NDArray[np.bool_]) -> float:
    """SD of the pixels of a region around the plane that fits them best, in HU."""
    rows, columns = np.nonzero(where)
    terms = np.stack([np.ones(len(rows)), rows, columns], axis=1)
    values = piece[where]
    fit, *_ = np.linalg.lstsq(terms, values, rcond=None)
    return float((values - terms @ fit).std(ddof=3))


def discs(volume: Slice) -> list[Disc]:
    """Round inserts in air: middle and radius of the circle that fits their outline at half height.

    Args:
        volume: (slices, rows, columns) HU of the soft kernel.
    """
    found = []
    for index, piece in enumerate(volume):
        labels, count = ndimage.label(piece > -450)
        for label in range(1, count + 1):
            region = labels == label
            rows, columns = np.nonzero(region)
            radius = np.sqrt(len(rows) / np.pi)
            touches = min(rows.min(), columns.min()) == 0 or max(rows.max(), columns.max()) == 255
            # Smaller ones are tapered: their edge is blurred by the slice's thickness.
            if touches or radius < 19:
                continue
            disc = Disc(index, float(rows.mean()), float(columns.mean()), float(radius))
            if _roundness(piece, disc) < 0.25:
                found.append(disc)
    return found


def _roundness(piece: Slice, disc: Disc) -> float:
    """How far the outline at half height is from the circle: SD over directions, in pixels."""
    reach = np.arange(-4, 4, 0.05)
    outline = []
    for angle in np.linspace(0, 2 * np.pi, 72, endpoint=False):
        place = [
            disc.row + (disc.radius + reach) * np.sin(angle),
            disc.column + (disc.radius + reach) * np.cos(angle),
        ]
        values = ndimage.map_coordinates(piece, place, order=1, mode="nearest")
        outline.append(reach[int(np.argmin(np.abs(values + 450)))])
    return float(np.std(outline))


def edge_width(piece: Slice, disc: Disc) -> float:
    """Distance between 10 % and 90 % of a disc's edge, in pixels.

    The pixels around the edge are averaged by their distance from the middle, in steps of a
    quarter pixel; 0 and 100 % are the means of pixels 8 to 11 outside and inside of the edge.

    Returns:
        Infinity where the edge is so blurred that it does not end there.
    """
    rows, columns = np.indices(piece.shape)
    distance = np.hypot(rows - disc.row, columns - disc.column) - disc.radius
    inner = piece[(distance > -11) & (distance < -8)].mean()
    outer = piece[(distance > 8) & (distance < 11)].mean()
    near = np.abs(distance) <= 8
    steps = np.round(distance[near] * 4).astype(int)
    places = np.unique(steps)
    profile = np.array([piece[near][steps == place].mean() for place in places])
    part = (profile - outer) / (inner - outer)
    return _crossing(places / 4, part, 0.1) - _crossing(places / 4, part, 0.9)


def _crossing(places: Slice, part: Slice, level: float) -> float:
    """Where a falling profile passes a level around its middle, between two places."""
    middle = int(np.argmin(np.abs(part - 0.5)))
    step = 1 if level < 0.5 else -1
    index = middle
    while (part[index] - level) * step > 0:
        index += step
        if not 0 <= index < len(part):
            return step * np.inf
    before = index - step
    share = (part[before] - level) / (part[before] - part[index])
    return float(places[before] + share * (places[index] - places[before]))


def _data(name: str) -> Path:
    return data_folder() / "ct_phantom_philips_paired" / name


def _slices(image: Image, span: tuple[int, int], *, tiled: bool = False) -> Image:
    """Some slices; or quarters of them, one after the other, so that more steps take as long."""
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (0, 0, span[0])
    voxels = image.voxels[span[0] : span[1]]
    if tiled:
        halves = (slice(0, 128), slice(128, 256))
        voxels = np.concatenate([voxels[:, row, column] for row in halves for column in halves])
    return Image(voxels, affine)


def table(records: list[Record]) -> str:
    """The README's table; of the filters those whose image is nearest to the soft kernel's."""
    lines = [
        "| test | image | noise SD / soft kernel's | edge width / soft kernel's | RMSE to it, HU |",
        "|---|---|---|---|---|",
    ]
    for split in SPLITS:
        here = matching(records, split=split)
        if not here:
            continue
        first = here[0]["scores"]
        chosen = ["sharp"]
        for kind in ("median", "Gaussian", "bilateral"):
            rivals = [name for name in first if name.startswith(kind)]
            chosen.append(min(rivals, key=lambda name: first[name]["rmse"]))
        lines += [_row(split, name, [first[name]]) for name in chosen]
        for variant in dict.fromkeys(record["variant"] for record in here):
            mine = matching(here, variant=variant)
            scores = [record["scores"]["network"] for record in mine]
            lines.append(_row(split, f"**network**, {seeds_cell(mine)}", scores))
    lines.append(f"| | *aim* | {1 - AIM_NOISE:.2f} to {1 + AIM_NOISE:.2f} | at most 1 | |")
    return "\n".join(lines)


def _row(split: str, name: str, scores: list[dict[str, Any]]) -> str:
    """Medians over inserts or edges; of several seeds their median and range."""
    columns = [
        ([float(np.median(score["noise"])) for score in scores], 2),
        ([float(np.median(score["edges"])) for score in scores], 2),
        ([score["rmse"] for score in scores], 1),
    ]
    cells = [cell(values, decimals) for values, decimals in columns]
    return table_row([f"other {split}", name, *cells])


if __name__ == "__main__":
    main(sys.argv[1:])
