"""`ct-body-composition` on real CT: 17 labelled slices of two patients, measured on the third.

All three rotations, each as a user would: a cohort CSV, `deeptranslate train`, `deeptranslate
translate`. The labels are the silver standard described beside the data (3 and 4 are both lean
tissue); Dice counts the voxels inside `trust`.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from Testing.benchmarks.sample import data_folder, machine

TISSUES = ("ScAT", "VAT", "lean")
AIM = (0.92, 0.82, 0.93)


@dataclass(frozen=True)
class Patient:
    """A labelled CT: files beside the data, and which slices may be labelled (first, last)."""

    name: str
    image: str
    labels: str
    trust: str | None
    slices: tuple[int, int]


PATIENTS = (
    Patient(
        "ts3mm",
        "ct_abdomen_ts3mm/example_ct_sm.nii.gz",
        "ct_abdomen_ts3mm/example_ct_sm_tissue4_silver.nii.gz",
        None,
        (0, 29),
    ),
    Patient(
        "crlm1004",
        "ct_abdomen_crlm1004/ct.nii.gz",
        "ct_abdomen_crlm1004/tissue.nii.gz",
        "ct_abdomen_crlm1004/trust.nii.gz",
        (0, 26),
    ),
    Patient(
        "ts_j2k",
        "ct_dicom_ts_j2k/dicom",
        "ct_dicom_ts_j2k/tissue.nii.gz",
        "ct_dicom_ts_j2k/trust.nii.gz",
        (0, 19),
    ),
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/real_body_composition"))
    parser.add_argument("--recipe", default="ct-body-composition")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--test", nargs="+", choices=[p.name for p in PATIENTS])
    options = parser.parse_args([] if arguments is None else arguments)
    if not data_folder().is_dir():
        print("The real images are not here (DEEPTRANSLATE_DATA); nothing was measured.")
        return
    options.output.mkdir(parents=True, exist_ok=True)
    print(f"{options.recipe}, {machine()}")
    print("| test | seed | " + " | ".join(TISSUES) + " | train s |")
    print("|---|---|" + "---|" * (len(TISSUES) + 1))
    for test in PATIENTS:
        if options.test is None or test.name in options.test:
            for seed in options.seeds:
                dice, seconds = _rotation(test, seed, options)
                cells = " | ".join(f"{value:.3f}" for value in dice)
                print(f"| {test.name} | {seed} | {cells} | {seconds:.0f} |", flush=True)
    print("aim: " + " / ".join(f"{value:.2f}" for value in AIM))


def _rotation(test: Patient, seed: int, options: argparse.Namespace) -> tuple[list[float], float]:
    folder: Path = options.output / f"{test.name}_{seed}"
    folder.mkdir(exist_ok=True)
    teachers = [patient for patient in PATIENTS if patient is not test]
    cohort = folder / "cohort.csv"
    with open(cohort, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["subject", "image", "labels", "slices"])
        for patient, count in zip(teachers, (9, 8), strict=True):
            labels = folder / f"{patient.name}_labels.nrrd"
            write_image(_labels(patient), labels)
            first, last = patient.slices
            slices = np.linspace(first + 1, last - 1, count).round().astype(int)
            chosen = ";".join(str(index) for index in slices)
            writer.writerow([patient.name, data_folder() / patient.image, labels.resolve(), chosen])
    started = time.monotonic()
    command = ["train", "--recipe", options.recipe, "--cohort", str(cohort), "--seed", str(seed)]
    if options.epochs is not None:
        command += ["--epochs", str(options.epochs)]
    _deeptranslate([*command, "--output", str(folder / "run")])
    seconds = time.monotonic() - started
    model = folder / "run" / "model.dtmodel"
    image = data_folder() / test.image
    _deeptranslate(
        ["translate", "--model", str(model), "--output", str(folder / "out"), str(image)]
    )
    (output,) = (folder / "out").glob("*_labels.nrrd")
    predicted, truth = read_image(output), _labels(test)
    inside = np.ones(truth.shape, bool)
    if test.trust is not None:
        inside = read_image(data_folder() / test.trust).voxels > 0
    upright = [each.oriented("LPS") for each in (read_image(image), predicted, truth)]
    _picture(*upright, folder / "picture.png")
    return [
        _dice(predicted.voxels[inside] == value, truth.voxels[inside] == value)
        for value in (1, 2, 3)
    ], seconds


def _labels(patient: Patient) -> Image:
    labels = read_image(data_folder() / patient.labels)
    return labels.with_voxels(np.where(labels.voxels == 4, 3, labels.voxels).astype(np.uint8))


def _dice(mine: np.ndarray, theirs: np.ndarray) -> float:
    return 2 * np.count_nonzero(mine & theirs) / (np.count_nonzero(mine) + np.count_nonzero(theirs))


def _picture(image: Image, predicted: Image, truth: Image, path: Path) -> None:
    """Image, labels and truth of three slices, one below the other."""
    colors = [0, 0, 255, 255, 0, 0, 0, 255, 0]  # of labels 3, 1, 2: SimpleITK counts on from n
    rows = []
    for index in np.linspace(0, len(image.voxels) - 1, 5)[1:4].round().astype(int):
        grey = np.clip((image.voxels[index] + 160.0) / 400 * 255, 0, 255).astype(np.uint8)
        slice_image = sitk.GetImageFromArray(grey)
        pieces = [np.stack([grey] * 3, axis=-1)]
        for labels in (predicted, truth):
            label_slice = sitk.GetImageFromArray(labels.voxels[index].astype(np.uint8))
            overlay = sitk.LabelOverlay(slice_image, label_slice, 0.4, 0, colors)
            pieces.append(sitk.GetArrayFromImage(overlay))
        rows.append(np.concatenate(pieces, axis=1))
    canvas = sitk.GetImageFromArray(np.concatenate(rows), isVector=True)
    sitk.WriteImage(canvas, str(path))


def _deeptranslate(arguments: list[str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "DeepTranslateLib", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
