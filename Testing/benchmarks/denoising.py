"""`ct-denoise` on real CT: noise of Ye et al. 2021, patients that training never saw.

Each training is as a user's: a cohort CSV of clean images, `deeptranslate train`, `add-noise`,
`translate`. Metrics are those of `deeptranslate evaluate`, with all voxels of the slices named,
clean image and outputs clipped to the recipe's window, which is PSNR's range, too.
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

from DeepTranslateLib.engine.metrics.intensity import intensity_errors
from DeepTranslateLib.engine.metrics.structure import slice_similarity
from DeepTranslateLib.engine.noise import add_noise
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.recipe import Recipe, read_recipe, write_recipe
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
    read_records,
    table_row,
)
from Testing.benchmarks.sample import data_folder, machine

NAME = "denoising"
LEVELS = (0.3, 0.5)
AIM_DB, AIM_SSIM = 10.0, 0.98
TILE = 64
NOISE_SEED = 20210515


@dataclass(frozen=True)
class Patient:
    """A CT beside the data.

    Attributes:
        name: As in tables.
        image: File or folder.
        slices: The first and the one after the last that take part, upright.
        every: Of their tiles, each so many-th teaches.
    """

    name: str
    image: str
    slices: tuple[int, int]
    every: int = 1


def _limb(number: str, every: int = 1) -> Patient:
    return Patient(f"sts_{number}", f"paired_ct_mrt1_sts/STS_{number}/CT.nii.gz", (4, 44), every)


TRAINING = (
    Patient("lidc0314", "ct_thin_lidc0314/lidc0314_lower16x1mm.nii.gz", (0, 16)),
    Patient("crlm1004", "ct_abdomen_crlm1004/ct.nii.gz", (0, 41), 2),
    Patient("ts3mm", "ct_abdomen_ts3mm/example_ct.nii.gz", (0, 112)),
    _limb("004"),
    _limb("010"),
    _limb("029"),
)
VALIDATION = (_limb("048", every=8),)
TEST = (
    Patient("ts_j2k", "ct_dicom_ts_j2k/dicom", (4, 16)),
    Patient("sts_035", "paired_ct_mrt1_sts/STS_035/CT.nii.gz", (10, 42)),
    Patient("sts_051", "paired_ct_mrt1_sts/STS_051/CT.nii.gz", (10, 42)),
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="ct-denoise")
    parser.add_argument("--variant", help="default: the recipe's name")
    parser.add_argument("--epochs", type=int, default=10, help="of about 950 steps")
    options = asked(parser, arguments, NAME, table)
    if options is None:
        return
    results = options.results
    recipe = read_recipe(options.recipe)
    variant = options.variant or recipe.name
    print(f"{variant}, {machine()}", flush=True)
    for seed in options.seeds:
        done = {(record["variant"], record["seed"]) for record in read_records(results)}
        if (variant, seed) in done:
            continue
        folder = options.output / f"{variant}_{seed}"
        started = time.monotonic()
        model = train(recipe, seed, options.epochs, folder)
        record: Record = {
            "experiment": NAME,
            "variant": variant,
            "seed": seed,
            "seconds": round(time.monotonic() - started),
            "commit": commit(),
            "epochs": options.epochs,
            "tests": [
                measure(patient, level, recipe, model, folder)
                for patient in TEST
                for level in LEVELS
            ],
        }
        append_record(results, record)
    print(table(read_records(results)))


def train(recipe: Recipe, seed: int, epochs: int, folder: Path) -> Path:
    """Train on tiles of the training patients, the epoch chosen on the validation patients."""
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, folder / "recipe.json")
    cohort = folder / "cohort.csv"
    with open(cohort, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["subject", "image", "slices", "split"])
        for split, patients in (("training", TRAINING), ("validation", VALIDATION)):
            for patient in patients:
                file = f"{patient.name}.nrrd"
                slices = tiles(patient, recipe, folder / file, patient.every)
                writer.writerow([patient.name, file, ";".join(map(str, slices)), split])
    command = ["train", "--recipe", folder / "recipe.json", "--cohort", cohort]
    deeptranslate(*command, "--seed", seed, "--epochs", epochs, "--output", folder / "run")
    return folder / "run" / "model.dtmodel"


def tiles(patient: Patient, recipe: Recipe, path: Path, every: int) -> list[int]:
    """Write pieces of a CT, 64 pixels wide, as one volume, one below the other.

    A step on whole slices of 512 pixels takes as long as 32 steps on two such tiles.

    Returns:
        The slices that teach: those that hold more than air (also of the table, whose thin line is
        hard to tell from noise), and neither the first nor the last of their tile, whose neighbours
        are another tile's.
    """
    image = clean_image(patient, recipe)
    rows, columns = image.voxels.shape[1:]
    pieces: list[np.ndarray] = []
    chosen: list[int] = []
    for top in range(0, rows - TILE + 1, TILE):
        for left in range(0, columns - TILE + 1, TILE):
            piece = image.voxels[:, top : top + TILE, left : left + TILE]
            filled = (piece > -800).mean(axis=(1, 2)) > 1 / 50
            start = len(pieces) * len(piece)
            chosen += [start + index for index in range(1, len(piece) - 1) if filled[index]]
            pieces.append(piece)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(Image(np.concatenate(pieces), image.affine), path, compressed=False)
    return chosen[::every]


def clean_image(patient: Patient, recipe: Recipe) -> Image:
    """The slices of a patient that take part, upright, clipped to the window; int16."""
    assert recipe.preprocessing.window is not None
    image = read_image(data_folder() / patient.image).oriented("LPS")
    first, last = patient.slices
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (0, 0, first)
    voxels = np.clip(image.voxels[first:last], *recipe.preprocessing.window)
    return Image(voxels.astype(np.int16), affine)


def measure(
    patient: Patient, level: float, recipe: Recipe, model: Path, folder: Path
) -> dict[str, Any]:
    """Metrics of noisy input, filters and network for a patient."""
    assert recipe.preprocessing.window is not None
    window = recipe.preprocessing.window
    clean = clean_image(patient, recipe)
    noisy = add_noise(clean, "pixel-subset", NOISE_SEED, level, window)
    given = folder / f"{patient.name}_{level}.nrrd"
    write_image(noisy, given, compressed=False)
    started = time.monotonic()
    deeptranslate("translate", "--model", model, "--output", folder / "out", given)
    seconds = time.monotonic() - started
    (path,) = (folder / "out").glob(f"{given.stem}_*.nrrd")
    output = read_image(path)

    def clipped(image: Image) -> Image:
        return image.with_voxels(np.clip(image.voxels, *window).astype(np.float32))

    truth, start = clipped(clean), clipped(noisy)
    images = {"noisy": start, "network": clipped(output)}
    for name, apply in classical_filters(("median", "gaussian")).items():
        images[name] = start.with_voxels(apply(start.voxels))
    scores = {}
    for name, image in images.items():
        errors = intensity_errors(image.voxels, truth.voxels)
        scores[name] = {"psnr": round(errors.psnr(window), 3), "mae": round(errors.mae, 2)}
    best = _best(scores, "median")
    for name in ("noisy", best, "network"):
        similarity = slice_similarity(images[name].voxels, truth.voxels, window)
        scores[name]["ssim"] = round(similarity, 4)
    index = len(truth.voxels) // 2
    pieces = [images[name].voxels[index] for name in ("noisy", best, "network")]
    middle = [_middle(piece) for piece in (*pieces, truth.voxels[index])]
    picture([middle], [(-160, 240)], folder / f"{patient.name}_{level}.png")
    return {
        "patient": patient.name,
        "level": level,
        "translate_seconds": round(seconds, 1),
        "scores": scores,
    }


def _middle(piece: np.ndarray, side: int = 192) -> np.ndarray:
    top, left = (max(0, (length - side) // 2) for length in piece.shape)
    return piece[top : top + side, left : left + side]


def _best(scores: dict[str, dict[str, float]], kind: str) -> str:
    return max((n for n in scores if n.startswith(kind)), key=lambda name: scores[name]["psnr"])


def table(records: list[Record]) -> str:
    """The README's table: the network beside the best filters for each patient.

    Of several ways to train the last one counts.
    """
    records = [record for record in records if record["variant"] == records[-1]["variant"]]
    lines = [
        "| noise | patient | noisy, dB | best median | dB | SSIM | best Gaussian, dB | network, dB "
        "| SSIM | above the median, dB | above the best in slices, dB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for level in LEVELS:
        for patient in TEST:
            scores = [
                test["scores"]
                for record in records
                for test in record["tests"]
                if (test["level"], test["patient"]) == (level, patient.name)
            ]
            if scores:
                lines.append(_row(level, patient, scores))
    lines.append(f"| *aim* | | | | | | | | {AIM_SSIM:.2f} | {AIM_DB:.0f} | |")
    return "\n".join([*lines, "", f"Network: {seeds_cell(records)}."])


def _row(level: float, patient: Patient, scores: list[dict[str, dict[str, float]]]) -> str:
    median, flat, gaussian = (
        _best(scores[0], kind) for kind in ("median", "median 1x", "Gaussian")
    )

    def psnr(name: str) -> list[float]:
        return [score[name]["psnr"] for score in scores]

    def gain(rival: str) -> list[float]:
        return [mine - theirs for mine, theirs in zip(psnr("network"), psnr(rival), strict=True)]

    return table_row(
        [
            f"{100 * level:.0f} %",
            f"`{patient.name}`",
            cell(psnr("noisy"), 1),
            median.removeprefix("median "),
            cell(psnr(median), 1),
            cell([score[median]["ssim"] for score in scores], 3),
            cell(psnr(gaussian), 1),
            cell(psnr("network"), 1),
            cell([score["network"]["ssim"] for score in scores], 3),
            f"**{cell(gain(median), 1)}**",
            cell(gain(flat), 1),
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
