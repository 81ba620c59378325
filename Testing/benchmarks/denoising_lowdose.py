"""CT at a tenth of the dose: noise of a simulated scanner, learnt on images of other objects.

The phantom of LCD_CT (MITA low-contrast phantom, fan beam, filtered back-projection) is one image
in all its realisations, and a network that has seen it could know it by heart. So it learns from
real CT of patients, to which the noise of ten scans at 10 % dose was added: what each of the
signal-absent realisations differs by from their mean. The phantom is never shown. Tested are the
ten signal-present realisations, whose noise is independent of the others.

A recipe that learns without pairs gets the noise on every second slice of the patients, and the
slices between as they are.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from DeepTranslateLib.cohort.case import DOMAINS
from DeepTranslateLib.engine.metrics.intensity import intensity_errors
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.recipe import Recipe, read_recipe, recipe_from_json, write_recipe
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

NAME = "denoising_lowdose"
AIM = 0.5  # of the input's RMSE
OFFSET = 1000  # stored are HU + 1000
TILE = 96
TILE_SEED = 4
PAIRED: dict[str, dict[str, Any]] = {
    "sampling": {"context": 0, "mirror": False},
    # Wide enough that the noise of air is not cut off.
    "preprocessing": {"window": [-1250, 1250]},
    "target": {"range": [-1250, 1250]},
    "noise": {"kind": "none", "level": None},
    "training": {"epochs": 12},
}
# As small as two cores need it. Tiles have no air around a body that could be cropped.
UNPAIRED: dict[str, dict[str, Any]] = {
    "preprocessing": {"window": [-1250, 1250], "body_crop": False},
    "target": {"range": [-1250, 1250]},
    "network": {"channels": 16},
    "adversarial": {"discriminator_channels": 16, "discriminator_layers": 2},
    "optimizer": {"learning_rate": 0.0006},
    "training": {"epochs": 20, "batch_size": 4, "ema": 0.99},
}
# File, and how many tiles of it.
PATIENTS = {
    "training": {
        "ct_thin_lidc0314/lidc0314_lower16x1mm.nii.gz": 90,
        "ct_abdomen_crlm1004/ct.nii.gz": 150,
    },
    "validation": {"ct_dicom_ts_j2k/dicom": 10},
}
# Pixels from the middle: the inside of the phantom, away from its edge.
INSIDE = 98

Voxels = npt.NDArray[np.float64]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="ct-denoise", help="changed to fit the tiles")
    parser.add_argument("--variant", default="ct-denoise, pairs")
    parser.add_argument("--epochs", type=int, help="default: 12 with pairs, 20 without")
    options = asked(parser, arguments, NAME, table)
    if options is None:
        return
    results = options.results
    print(f"{options.variant}, {machine()}", flush=True)
    for seed in options.seeds:
        done = {(record["variant"], record["seed"]) for record in read_records(results)}
        if (options.variant, seed) not in done:
            append_record(results, experiment(seed, options))
    print(table(read_records(results)))


def experiment(seed: int, options: argparse.Namespace) -> Record:
    """Train on patients, translate the phantom, measure."""
    folder: Path = options.output / f"{options.variant.replace(', ', '_')}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    recipe = changed(read_recipe(options.recipe))
    write_recipe(recipe, folder / "recipe.json")
    if recipe.is_unpaired:
        write_unpaired_cohort(folder)
    else:
        _write_cohort(folder)
    started = time.monotonic()
    command = ["train", "--recipe", folder / "recipe.json", "--cohort", folder / "cohort.csv"]
    if options.epochs is not None:
        command += ["--epochs", options.epochs]
    deeptranslate(*command, "--seed", seed, "--output", folder / "run")
    seconds = time.monotonic() - started
    given = folder / "phantom.nrrd"
    phantom = _scans("dose010_signal_present")
    write_image(_as_image(phantom), given, compressed=False)
    model = folder / "run" / "model.dtmodel"
    deeptranslate("translate", "--model", model, "--output", folder / "out", given)
    (path,) = (folder / "out").glob("phantom_*.nrrd")
    truth = _truth()
    images = {"input": phantom, "network": read_image(path).voxels.astype(np.float64)}
    kinds = ("median", "gaussian", "bilateral", "non-local means")
    # The slices are the same object: to look across would be to scan it ten times.
    for name, apply in classical_filters(kinds, across=False).items():
        images[name] = apply(phantom.astype(np.float32)).astype(np.float64)
    pieces = [phantom[0], images["network"][0], truth]
    picture([pieces], [(-100, 100)], folder / "picture.png")
    return {
        "experiment": NAME,
        "variant": options.variant,
        "seed": seed,
        "seconds": round(seconds),
        "commit": commit(),
        "epochs": options.epochs or recipe.training.epochs,
        "scores": {name: measure(image, truth) for name, image in images.items()},
    }


def changed(recipe: Recipe) -> Recipe:
    """The recipe for tiles of this size, window and number."""
    content = to_json(recipe)
    for part, fields in (UNPAIRED if recipe.is_unpaired else PAIRED).items():
        content[part].update(fields)
    return recipe_from_json(content)


def _write_cohort(folder: Path) -> None:
    """Tiles of patients with and without noise, as one volume each, and the CSV that names them."""
    rows, noise = [], scanner_noise()
    for name, split, voxels, count, random in _patients():
        clean = np.stack([_tile(voxels, random) for _ in range(count)])
        images = {"noisy": _with_noise(clean, noise, random), "clean": clean}
        rows.append([name, *_write_tiles(folder, name, images), split])
    _write_csv(folder, ["subject", "image", "target", "split"], rows)


def write_unpaired_cohort(folder: Path) -> None:
    """Tiles with noise of every second slice, tiles without of the slices between, and the CSV."""
    rows, noise = [], scanner_noise()
    for name, split, voxels, count, random in _patients():
        drawn, others = (
            np.stack([_tile(voxels[first::2], random) for _ in range(count)]) for first in (0, 1)
        )
        images = {"noisy": _with_noise(drawn, noise, random), "clean": others}
        files = _write_tiles(folder, name, images)
        for file, domain in zip(files, DOMAINS, strict=True):
            rows.append([f"{name}_{domain}", file, domain, split])
    _write_csv(folder, ["subject", "image", "domain", "split"], rows)


def _patients() -> Iterator[tuple[str, str, npt.NDArray[Any], int, np.random.Generator]]:
    """Name, split, voxels, how many tiles, and where they are drawn from, one after the other."""
    random = np.random.default_rng(TILE_SEED)
    for split, patients in PATIENTS.items():
        for number, (file, count) in enumerate(patients.items()):
            voxels = read_image(data_folder() / file).oriented("LPS").voxels
            yield f"{split}_{number}", split, voxels, count, random


def _with_noise(tiles: Voxels, noise: Voxels, random: np.random.Generator) -> Voxels:
    return tiles + np.stack([_noise_tile(noise, random) for _ in tiles])


def _write_tiles(folder: Path, name: str, images: Mapping[str, Voxels]) -> list[str]:
    files = [f"{name}_{kind}.nrrd" for kind in images]
    for file, tiles in zip(files, images.values(), strict=True):
        write_image(_as_image(tiles), folder / file, compressed=False)
    return files


def _write_csv(folder: Path, header: list[str], rows: list[list[str]]) -> None:
    with open(folder / "cohort.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def scanner_noise() -> Voxels:
    """Noise of ten scans at 10 % dose, (10, 256, 256) HU.

    The mean of n scans holds 1 / n of the noise's variance, and so much is missing in what each
    differs by from it.
    """
    scans = _scans("dose010_signal_absent")
    return (scans - scans.mean(axis=0)) * np.sqrt(len(scans) / (len(scans) - 1))


def _tile(voxels: npt.NDArray[Any], random: np.random.Generator) -> Voxels:
    """A piece of a slice, half of it tissue or bone."""
    while True:
        index, row, column = (
            random.integers(length) for length in np.array(voxels.shape) - (0, TILE - 1, TILE - 1)
        )
        piece = voxels[index, row : row + TILE, column : column + TILE]
        if (piece > -500).mean() > 0.5:
            return piece.clip(-1000, 1250).astype(np.float64)


def _noise_tile(noise: Voxels, random: np.random.Generator) -> Voxels:
    row, column = random.integers(noise.shape[1] - TILE + 1, size=2)
    piece = noise[random.integers(len(noise)), row : row + TILE, column : column + TILE]
    turned = np.rot90(piece, int(random.integers(4)))
    return turned[::-1] if random.random() < 0.5 else turned


def measure(scans: Voxels, truth: Voxels) -> dict[str, Any]:
    """RMSE to the truth, in the whole image and inside, and the contrast of each signal."""
    inside = np.hypot(*(np.indices(truth.shape) - 127.5)) < INSIDE
    references = np.broadcast_to(truth, scans.shape)
    whole = intensity_errors(scans, references)
    within = intensity_errors(scans, references, np.broadcast_to(inside, scans.shape))
    return {
        "rmse": round(whole.rmse, 2),
        "inside": round(within.rmse, 2),
        "contrasts": {
            name: [round(float(value), 2) for value in _contrasts(scans, signal, around)]
            for name, signal, around in signals(truth)
        },
    }


def signals(truth: Voxels) -> list[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """The signals of the noise-free image: contrast in HU and size, pixels, and those around."""
    labels, count = ndimage.label(truth > 0.5)
    found = []
    for label in range(1, count + 1):
        signal = labels == label
        contrast = np.median(truth[signal])
        around = ndimage.binary_dilation(signal, iterations=12)
        around &= ~ndimage.binary_dilation(signal, iterations=4)
        found.append((f"{contrast:.0f} HU, {signal.sum()} px", signal, around))
    return found


def _contrasts(
    scans: Voxels, signal: npt.NDArray[np.bool_], around: npt.NDArray[np.bool_]
) -> Voxels:
    return np.asarray(scans[:, signal].mean(axis=1) - scans[:, around].mean(axis=1))


def _scans(name: str) -> Voxels:
    path = data_folder() / "ct_lowdose_lcd_simulated" / f"fbp_{name}.nii.gz"
    return read_image(path).oriented("LPS").voxels.astype(np.float64) - OFFSET


def _truth() -> Voxels:
    path = data_folder() / "ct_lowdose_lcd_simulated" / "ground_truth.nii.gz"
    truth = read_image(path).oriented("LPS").voxels
    return truth.reshape(truth.shape[-2:]).astype(np.float64) - OFFSET


def _as_image(slices: Voxels) -> Image:
    return Image(np.rint(slices).astype(np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]))


def table(records: list[Record]) -> str:
    """The README's tables: errors, and what is left of the contrast of each signal."""
    if not records:
        return ""
    first = records[0]["scores"]
    chosen = ["input"]
    for kind in ("median", "Gaussian", "bilateral", "non-local means"):
        rivals = [name for name in first if name.startswith(kind)]
        chosen.append(min(rivals, key=lambda name: first[name]["rmse"]))
    rows = [(name, [first[name]]) for name in chosen]
    for variant in dict.fromkeys(record["variant"] for record in records):
        mine = matching(records, variant=variant)
        scores = [record["scores"]["network"] for record in mine]
        rows.append((f"**{variant}**, {seeds_cell(mine)}", scores))
    names = list(first["input"]["contrasts"])
    lines = [
        "| image | RMSE, HU | of the input's | RMSE inside, HU | "
        + " | ".join(f"signal of {name}" for name in names)
        + " |",
        "|---|---|---|---|" + "---|" * len(names),
    ]
    for title, scores in rows:
        rmse = [score["rmse"] for score in scores]
        cells = [
            title,
            cell(rmse, 1),
            cell([value / first["input"]["rmse"] for value in rmse], 2),
            cell([score["inside"] for score in scores], 1),
            *(_contrast_cell([score["contrasts"][name] for score in scores]) for name in names),
        ]
        lines.append(table_row(cells))
    lines.append(table_row(["*aim*", "", f"at most {AIM:.2f}", "", *[""] * len(names)]))
    return "\n".join(lines)


def _contrast_cell(values: list[list[float]]) -> str:
    """Mean contrast with its standard error over the scans; means over seeds where several."""
    scans = np.mean(values, axis=0)
    return f"{scans.mean():.1f} ± {scans.std(ddof=1) / np.sqrt(len(scans)):.1f}"


if __name__ == "__main__":
    main(sys.argv[1:])
