"""Body composition on real CT: 17 labelled slices of two patients, measured on the third.

All three rotations, each as a user would: a cohort CSV, `deeptranslate train`, `deeptranslate
translate`. The labels are the silver standard described beside the data (3 and 4 are both lean
tissue); Dice counts the voxels inside `trust`.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from DeepTranslateLib.cohort import read_cohort
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.model import read_model
from DeepTranslateLib.recipe import read_recipe, write_recipe
from Testing.benchmarks.overlays import overlay_picture
from Testing.benchmarks.records import (
    FOLDER,
    Record,
    append_record,
    cells,
    commit,
    matching,
    once_a_seed,
    read_records,
    table_row,
)
from Testing.benchmarks.sample import data_folder, machine

TISSUES = ("ScAT", "VAT", "lean")
AIM = (0.92, 0.82, 0.93)
_WAY = ("recipe", "spacing", "epochs")


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
    parser.add_argument("--recipe", nargs="+", default=["ct-body-composition-best"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--spacing", type=float, help="network's pixel, mm; default: the recipe's")
    parser.add_argument("--test", nargs="+", choices=[p.name for p in PATIENTS])
    parser.add_argument("--results", type=Path, default=FOLDER / "real_body_composition.jsonl")
    parser.add_argument("--table", action="store_true", help="print the results, train nothing")
    options = parser.parse_args([] if arguments is None else arguments)
    if not data_folder().is_dir() and not options.table:
        print("The real images are not here (DEEPTRANSLATE_DATA); nothing was measured.")
        return
    if not options.table:
        print(machine())
        for seed in options.seeds:
            for recipe in options.recipe:
                for test in PATIENTS:
                    if options.test is None or test.name in options.test:
                        _rotation(test, recipe, seed, options)
    print("\n".join(table(read_records(options.results))))


def table(records: list[Record]) -> list[str]:
    """The lines of the table: for each patient the recipes, and the intensity alone."""
    head = ["test", "trained", "pixel mm", "epochs", "seeds", *TISSUES, "CPU s"]
    lines = [table_row(head), "|---" * len(head) + "|"]
    for test in PATIENTS:
        of_test = matching(records, test=test.name)
        ways = sorted({tuple(record[part] for part in _WAY) for record in of_test})
        for way in ways:
            chosen = matching(of_test, **dict(zip(_WAY, way, strict=True)))
            seconds = round(float(np.median([record["cpu_seconds"] for record in chosen])))
            scores = cells([record["dice"] for record in chosen])
            lines.append(table_row([test.name, *way, len(chosen), *scores, seconds]))
        if of_test:
            seeds = once_a_seed(of_test)
            trivial = cells([record["baseline"] for record in seeds])
            row = [test.name, "intensity only", "", "", len(seeds), *trivial, ""]
            lines.append(table_row(row))
    return [*lines, table_row(["*aim*", "", "", "", "", *(f"{value:.2f}" for value in AIM), ""])]


def _rotation(test: Patient, recipe: str, seed: int, options: argparse.Namespace) -> None:
    plan = read_recipe(recipe)
    if options.epochs is not None:
        plan = plan.with_training(epochs=options.epochs)
    if options.spacing is not None:
        preprocessing = dataclasses.replace(plan.preprocessing, spacing=options.spacing)
        plan = dataclasses.replace(plan, preprocessing=preprocessing)
    done = {
        "recipe": plan.name,
        "asked_spacing": plan.preprocessing.spacing,
        "epochs": plan.training.epochs,
        "test": test.name,
        "seed": seed,
    }
    if matching(read_records(options.results), **done):
        return
    folder: Path = options.output / "_".join(str(value) for value in done.values())
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(plan, folder / "recipe.json")
    cohort = _write_cohort(test, folder)
    started, busy = time.monotonic(), _busy_children()
    given = ["--recipe", str(folder / "recipe.json"), "--cohort", str(cohort)]
    output = ["--output", str(folder / "run")]
    _deeptranslate(["train", *given, "--seed", str(seed), *output])
    seconds, busy = time.monotonic() - started, _busy_children() - busy
    model = folder / "run" / "model.dtmodel"
    image = data_folder() / test.image
    _deeptranslate(
        ["translate", "--model", str(model), "--output", str(folder / "out"), str(image)]
    )
    (written,) = (folder / "out").glob("*_labels.nrrd")
    original, predicted, truth = read_image(image), read_image(written), _labels(test)
    inside = np.ones(truth.shape, bool)
    if test.trust is not None:
        inside = read_image(data_folder() / test.trust).voxels > 0
    trained = read_model(model)
    cases = read_cohort(cohort).cases
    baseline = IntensityBaseline(trained.recipe, cases, [case.slices or () for case in cases])
    (trivial,) = baseline.translate(original, range(len(truth.voxels))).values()
    upright = [each.oriented("LPS").voxels for each in (original, predicted, truth)]
    levels = np.linspace(0, len(truth.voxels) - 1, 5)[1:4].round().astype(int)
    rows = [tuple(volume[index] for volume in upright) for index in levels]
    overlay_picture(rows, folder / "picture.png")
    record: Record = {
        **done,
        "spacing": trained.recipe.preprocessing.spacing,
        "dice": _dice_of_tissues(predicted, truth, inside),
        "baseline": _dice_of_tissues(trivial, truth, inside),
        "best_epoch": trained.card.epoch,
        "seconds": round(seconds),
        "cpu_seconds": round(busy),
        "commit": commit(),
    }
    append_record(options.results, record)
    print(record, flush=True)


def _write_cohort(test: Patient, folder: Path) -> Path:
    """Write the labels of the other two, and the CSV that names 17 slices of them."""
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
    return cohort


def _busy_children() -> float:
    """Processor seconds of the commands that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _labels(patient: Patient) -> Image:
    labels = read_image(data_folder() / patient.labels)
    return labels.with_voxels(np.where(labels.voxels == 4, 3, labels.voxels).astype(np.uint8))


def _dice_of_tissues(mine: Image, truth: Image, inside: np.ndarray) -> list[float]:
    found, true = mine.voxels[inside], truth.voxels[inside]
    return [
        2
        * int(np.count_nonzero((found == value) & (true == value)))
        / int(np.count_nonzero(found == value) + np.count_nonzero(true == value))
        for value in (1, 2, 3)
    ]


def _deeptranslate(arguments: list[str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "DeepTranslateLib", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
