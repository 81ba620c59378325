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

from DeepTranslateLib.engine.comparison import median_range
from DeepTranslateLib.engine.metrics.images import volume_metrics
from DeepTranslateLib.engine.noise import add_noise
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.recipe import Recipe, read_recipe, write_recipe
from Testing.benchmarks.denoising_common import classical_filters, deeptranslate, picture
from Testing.benchmarks.records import FOLDER, Record, append_record, commit, read_records
from Testing.benchmarks.sample import data_folder, machine

NAME = "denoising"
LEVELS = (0.3, 0.5)
AIM_DB, AIM_SSIM = 10.0, 0.98
TILE = 128
NOISE_SEED = 20210515


@dataclass(frozen=True)
class Patient:
    """A CT beside the data.

    Attributes:
        name: As in tables.
        image: File or folder.
        slices: The first and the one after the last that take part, upright.
        every: Of them, each so many-th teaches; its neighbours are seen as context.
    """

    name: str
    image: str
    slices: tuple[int, int]
    every: int = 1


def _head(number: int) -> Patient:
    return Patient(f"kbp_{number}", f"ct_headneck_openkbp/pt_{number}.nii.gz", (20, 108), 6)


def _limb(number: str) -> Patient:
    return Patient(f"sts_{number}", f"paired_ct_mrt1_sts/STS_{number}/CT.nii.gz", (4, 44), 6)


TRAINING = (
    Patient("lidc0314", "ct_thin_lidc0314/lidc0314_lower16x1mm.nii.gz", (0, 16)),
    Patient("ts3mm", "ct_abdomen_ts3mm/example_ct.nii.gz", (0, 112), 4),
    *(_head(number) for number in (2, 3, 4, 7, 13, 15)),
    *(_limb(number) for number in ("004", "010", "029", "048")),
)
VALIDATION = (
    Patient("crlm1004", "ct_abdomen_crlm1004/ct.nii.gz", (0, 41), 8),
    Patient("kbp_12", "ct_headneck_openkbp/pt_12.nii.gz", (20, 108), 22),
)
TEST = (
    Patient("ts_j2k", "ct_dicom_ts_j2k/dicom", (0, 20)),
    Patient("kbp_201", "ct_headneck_openkbp/pt_201.nii.gz", (40, 72)),
    Patient("kbp_250", "ct_headneck_openkbp/pt_250.nii.gz", (40, 72)),
    Patient("sts_051", "paired_ct_mrt1_sts/STS_051/CT.nii.gz", (10, 42)),
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/denoising"))
    parser.add_argument("--recipe", default="ct-denoise")
    parser.add_argument("--variant", help="default: the recipe's name")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--tune", action="store_true", help="measure on the validation patients")
    parser.add_argument("--table", action="store_true", help="print the table and measure nothing")
    options = parser.parse_args([] if arguments is None else arguments)
    results = FOLDER / f"{NAME}.jsonl"
    if options.table:
        print(table(read_records(results)))
        return
    if not data_folder().is_dir():
        print("The real images are not here (DEEPTRANSLATE_DATA); nothing was measured.")
        return
    recipe = read_recipe(options.recipe)
    variant = options.variant or recipe.name
    patients = VALIDATION if options.tune else TEST
    if options.tune:
        results = options.output / "tuning.jsonl"
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
            "epochs": options.epochs or recipe.training.epochs,
            "tests": [
                measure(patient, level, recipe, model, folder)
                for patient in patients
                for level in LEVELS
            ],
        }
        append_record(results, record)
    print(table(read_records(results)))


def train(recipe: Recipe, seed: int, epochs: int | None, folder: Path) -> Path:
    """Train on tiles of the training patients, the epoch chosen on the validation patients."""
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, folder / "recipe.json")
    cohort = folder / "cohort.csv"
    with open(cohort, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["subject", "image", "slices", "split"])
        for split, patients in (("training", TRAINING), ("validation", VALIDATION)):
            for patient in patients:
                most = None if split == "training" else 2
                for path, slices in tiles(patient, recipe, folder / "tiles", most):
                    chosen = ";".join(map(str, slices))
                    writer.writerow([patient.name, path.resolve(), chosen, split])
    command = ["train", "--recipe", folder / "recipe.json", "--cohort", cohort, "--seed", seed]
    if epochs is not None:
        command += ["--epochs", epochs]
    deeptranslate(*command, "--output", folder / "run")
    return folder / "run" / "model.dtmodel"


def tiles(
    patient: Patient, recipe: Recipe, folder: Path, most: int | None
) -> list[tuple[Path, list[int]]]:
    """Pieces of a CT, 128 pixels wide or as wide as it is, a tenth of them tissue or bone.

    Whole slices of 512 pixels would take ten times as long, and differ less from each other.

    Returns:
        Files, and which of their slices teach.
    """
    image = clean_image(patient, recipe)
    voxels = image.voxels
    rows, columns = voxels.shape[1:]
    found = []
    for top in _starts(rows):
        for left in _starts(columns):
            piece = voxels[:, top : top + TILE, left : left + TILE]
            if (piece > -500).mean() < 0.1:
                continue
            affine = image.affine.copy()
            affine[:3, 3] += affine[:3, :3] @ (left, top, 0)
            path = folder / f"{patient.name}_{top}_{left}.nrrd"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(Image(piece, affine), path, compressed=False)
            found.append((path, list(range(0, len(piece), patient.every))))
    middle = len(found) // 2
    return found if most is None else found[max(0, middle - 1) : middle - 1 + most] or found[:most]


def clean_image(patient: Patient, recipe: Recipe) -> Image:
    """The slices of a patient that take part, upright, clipped to the window; int16."""
    assert recipe.preprocessing.window is not None
    image = read_image(data_folder() / patient.image).oriented("LPS")
    first, last = patient.slices
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (0, 0, first)
    voxels = np.clip(image.voxels[first:last], *recipe.preprocessing.window)
    return Image(voxels.astype(np.int16), affine)


def _starts(length: int) -> list[int]:
    """Where tiles start that cover a length evenly."""
    if length <= TILE + 16:
        return [0]
    count = -(-length // TILE)
    return [round(start) for start in np.linspace(0, length - TILE, count)]


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
        found = volume_metrics(image, truth, value_range=window)
        scores[name] = {
            "psnr": round(found.psnr, 3),
            "ssim": round(found.ssim, 4),
            "rmse": round(found.rmse, 2),
            "mae": round(found.mae, 2),
        }
    best = _best(scores, "median")
    index = len(truth.voxels) // 2
    pieces = [images[name].voxels[index] for name in ("noisy", best, "network")]
    side = min(truth.shape[1:])
    rows = [[piece[:side, :side] for piece in (*pieces, truth.voxels[index])]] * 2
    picture(rows, [window, (-160, 240)], folder / f"{patient.name}_{level}.png")
    return {
        "patient": patient.name,
        "level": level,
        "translate_seconds": round(seconds, 1),
        "scores": scores,
    }


def _best(scores: dict[str, dict[str, float]], kind: str) -> str:
    return max((n for n in scores if n.startswith(kind)), key=lambda name: scores[name]["psnr"])


def table(records: list[Record]) -> str:
    """The README's table: network beside the best median filter of each patient."""
    lines = [
        "| variant | noise | patient | noisy dB | best median | dB | SSIM | best Gaussian dB "
        "| network dB | SSIM | above the median, dB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = {
        (record["variant"], test["level"], test["patient"]): None
        for record in records
        for test in record["tests"]
    }
    for variant, level, patient in sorted(keys, key=lambda key: (key[0], key[1])):
        scores = [
            test["scores"]
            for record in records
            for test in record["tests"]
            if (record["variant"], test["level"], test["patient"]) == (variant, level, patient)
        ]
        median, gaussian = _best(scores[0], "median"), _best(scores[0], "Gaussian")
        psnr = [score["network"]["psnr"] for score in scores]
        gain = [score["network"]["psnr"] - score[median]["psnr"] for score in scores]
        cells = (
            variant,
            f"{100 * level:.0f} %",
            f"`{patient}`",
            median_range([score["noisy"]["psnr"] for score in scores], 1),
            median.removeprefix("median "),
            median_range([score[median]["psnr"] for score in scores], 1),
            median_range([score[median]["ssim"] for score in scores], 3),
            median_range([score[gaussian]["psnr"] for score in scores], 1),
            median_range(psnr, 1),
            median_range([score["network"]["ssim"] for score in scores], 3),
            f"**{median_range(gain, 1)}**",
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines.append(f"| *aim* |  |  |  |  |  |  |  |  | {AIM_SSIM:.2f} | {AIM_DB:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
