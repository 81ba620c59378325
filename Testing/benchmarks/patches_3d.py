"""3D patches against slices on the tissue task: the same labelled slices, the same training time.

`slices` is the network of `ct-body-composition`, `patches` a U-Net of dimension 3; both have its
loss and its augmentation, learn from three phantoms (a fourth chooses the epoch) for as many CPU
seconds, and translate a lean and an obese phantom that they never saw. In `dense` all slices of the
phantoms are labelled, in `sparse` 17 of the teachers', and what lies between them is ignored. Each
training and translation is a process of its own, whose peak memory is held against the limit.
`memory` asks the same of 512x512 pixels and a network of usual size: one step, no quality.

    python -m Testing.benchmarks.patches_3d --experiment dense memory --variant slices patches
    python -m Testing.benchmarks.patches_3d --table
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from DeepTranslateLib.cohort import read_cohort
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.engine.comparison import median_range
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.jobs import FINISH_FILE
from DeepTranslateLib.model import read_model
from DeepTranslateLib.phantom import Phantom, torso
from DeepTranslateLib.recipe import Recipe, read_recipe, recipe_from_json, write_recipe
from DeepTranslateLib.schema import to_json
from Testing.benchmarks.overlays import overlay_picture
from Testing.benchmarks.phantom_body_composition import BASELINE, TISSUES, UNSEEN, dice
from Testing.benchmarks.records import (
    FOLDER,
    Record,
    append_record,
    cells,
    commit,
    matching,
    read_records,
    table_row,
)
from Testing.benchmarks.sample import machine, peak_of

LIMIT_GB = 24
EXPERIMENTS = ("dense", "sparse", "memory")
LONGER = "patches, twice the time"
VARIANTS = ("slices", "patches", LONGER)
SECONDS = 50
# Of patches, in the end of which the learning rate is 0: about as many as the time allows.
PATCH_EPOCHS = 12
RESULTS = FOLDER / "patches_3d.jsonl"
SIZES: dict[str, dict[str, Any]] = {
    "dense": {"slices": 32, "size": (96, 96), "spacing": (5.2, 5.2, 5.0)},
    "sparse": {"slices": 32, "size": (96, 96), "spacing": (5.2, 5.2, 5.0)},
    "memory": {"slices": 32, "size": (512, 512), "spacing": (0.98, 0.98, 5.0)},
}
# Adiposity, and how many slices are labelled where they are sparse; then who chooses the epoch.
TEACHERS = ((0.0, 6), (0.5, 5), (1.0, 6))
VALIDATION = (0.35, 3)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m Testing.benchmarks.patches_3d")
    parser.add_argument("--experiment", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS)
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("build/patches_3d"))
    parser.add_argument("--table", action="store_true", help="print the results, train nothing")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)  # a run's own process
    parser.add_argument("--cpu-seconds", type=float, default=SECONDS, help=argparse.SUPPRESS)
    options = parser.parse_args([] if arguments is None else arguments)
    if options.train is not None:
        train_for(options.cpu_seconds, options.train)
        return
    if not options.table:
        for seed in options.seeds:
            for experiment in options.experiment:
                for variant in options.variant:
                    _run(experiment, variant, seed, options)
    print("\n".join(table(read_records(RESULTS))))


def recipe_of(experiment: str, variant: str, seed: int = 0) -> Recipe:
    """What learns in an experiment; its training ends when its time is over."""
    content = to_json(read_recipe("ct-body-composition"))
    training = {"epochs": 100000, "patience": None, "keep_every": None, "seed": seed}
    content["training"].update(training)
    if variant != "slices":
        epochs = PATCH_EPOCHS * (2 if variant == LONGER else 1)
        content["sampling"].update(patch=[16, 48, 48], patches_per_epoch=48)
        content["network"].update(dimension=3, channels=8, levels=4, norm="batch")
        content["training"].update(batch_size=2, ema=0.95, epochs=epochs)
        content["optimizer"].update(learning_rate=0.005, schedule="cosine")
    if experiment == "memory":
        content["training"].update(epochs=1)
        content["sampling"].update(patch=[32, 128, 128], patches_per_epoch=2)
        content["network"].update(channels=16, levels=5)
    return recipe_from_json(content)


def phantoms_of(experiment: str, seed: int) -> dict[str, tuple[Phantom, tuple[int, ...]]]:
    """The teachers, the one that chooses the epoch (the last), and their labelled slices."""
    size = SIZES[experiment]
    teachers = TEACHERS[:1] if experiment == "memory" else TEACHERS
    subjects = {}
    for number, (adiposity, count) in enumerate((*teachers, VALIDATION)):
        last = number == len(teachers)
        phantom = torso(100 * (seed + 1) + (99 if last else number), adiposity, **size)
        chosen = np.arange(size["slices"])
        if experiment == "sparse":
            chosen = spread(count, size["slices"])
        split = "validation" if last else "training"
        subjects[f"{split}_{number}"] = (phantom, tuple(int(index) for index in chosen))
    return subjects


def spread(count: int, slices: int) -> np.ndarray:
    """So many slices, each in the middle of an equal part of the volume."""
    return np.floor((np.arange(count) + 0.5) * slices / count).astype(int)


def train_for(seconds: float, folder: Path) -> None:
    """Train the recipe of a folder on its cohort, and say what was spent in `spent.json`.

    The epoch in which the process has used so many CPU seconds since its first step is the last.
    """
    started = time.process_time()
    spent: dict[str, Any] = {}
    run = folder / "run"

    def watch(event: dict[str, Any]) -> None:
        nonlocal started
        if event["event"] == "training_started":
            started = time.process_time()
        if event["event"] == "epoch":
            used = time.process_time() - started
            spent.update(cpu_seconds=round(used, 1), epochs=event["epoch"] + 1)
            print(json.dumps(event), flush=True)
            if used >= seconds:
                (run / FINISH_FILE).touch()

    train(
        read_recipe(folder / "recipe.json"), read_cohort(folder / "cohort.csv"), run, "cpu", watch
    )
    (folder / "spent.json").write_text(json.dumps(spent))


def _run(experiment: str, variant: str, seed: int, options: argparse.Namespace) -> None:
    done = {"experiment": experiment, "variant": variant, "seed": seed}
    if experiment == "memory" and (variant, seed) != ("patches", 0):
        return
    if matching(read_records(RESULTS), **done):
        return
    folder: Path = options.output / f"{experiment}_{VARIANTS.index(variant)}_{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recipe = recipe_of(experiment, variant, seed)
    write_recipe(recipe, folder / "recipe.json")
    labelled = _write_cohort(experiment, seed, folder)
    here = [sys.executable, "-m", "Testing.benchmarks.patches_3d"]
    seconds = SECONDS * (2 if variant == LONGER else 1)
    peak = peak_of([*here, "--train", str(folder), "--cpu-seconds", str(seconds)])
    record: Record = {
        **done,
        **json.loads((folder / "spent.json").read_text()),
        "slices": labelled,
        "training_gb": round(peak / 2**30, 2),
    }
    model = folder / "run" / "model.dtmodel"
    record["best_epoch"] = read_model(model).card.epoch
    unseen = {
        name: torso(100 * (seed + 1) + 50 + number, adiposity, **SIZES[experiment])
        for number, (name, adiposity) in enumerate(UNSEEN.items())
    }
    if experiment == "memory":
        del unseen["lean"]
    command = [sys.executable, "-m", "DeepTranslateLib", "translate", "--device", "cpu"]
    command += ["--model", str(model), "--output", str(folder / "out")]
    for name, phantom in unseen.items():
        write_image(phantom.image, folder / f"{name}.nrrd")
        command.append(str(folder / f"{name}.nrrd"))
    record["translating_gb"] = round(peak_of(command) / 2**30, 2)
    found = {name: read_image(folder / "out" / f"{name}_labels.nrrd") for name in unseen}
    if experiment != "memory":
        record["dice"] = {name: dice(found[name], unseen[name].labels) for name in found}
        record["baseline"] = _baseline(recipe, folder, unseen)
        _picture(found, unseen, folder / "picture.png")
    record.update(machine=machine(), commit=commit())
    append_record(RESULTS, record)
    print(record, flush=True)


def _write_cohort(experiment: str, seed: int, folder: Path) -> int:
    """Write phantoms and the CSV that names their labelled slices; how many of these teach."""
    labelled = 0
    with open(folder / "cohort.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["subject", "image", "labels", "slices", "split"])
        for name, (phantom, slices) in phantoms_of(experiment, seed).items():
            files = [f"{name}_image.nrrd", f"{name}_labels.nrrd"]
            for image, file in zip((phantom.image, phantom.labels), files, strict=True):
                write_image(image, folder / file)
            split = name.split("_")[0]
            chosen = ";".join(str(index) for index in slices)
            writer.writerow([name, *files, chosen, split])
            labelled += len(slices) if split == "training" else 0
    return labelled


def _baseline(recipe: Recipe, folder: Path, unseen: dict[str, Phantom]) -> dict[str, list[float]]:
    """Dice of what intensity alone tells, learnt from the same labelled slices."""
    cohort = read_cohort(folder / "cohort.csv")
    teaching = [case for case in cohort.cases if case.split == "training"]
    chosen = [case.slices or () for case in teaching]
    baseline = IntensityBaseline(read_model(folder / "run/model.dtmodel").recipe, teaching, chosen)
    scores = {}
    for name, phantom in unseen.items():
        (labels,) = baseline.translate(phantom.image, range(len(phantom.image.voxels))).values()
        scores[name] = dice(labels, phantom.labels)
    return scores


def _picture(found: dict[str, Image], unseen: dict[str, Phantom], path: Path) -> None:
    """An axial and a coronal slice of each subject: the CT, what was found, and the truth."""
    rows = []
    for name, phantom in unseen.items():
        volumes = [each.voxels for each in (phantom.image, found[name], phantom.labels)]
        middle = [length // 2 for length in volumes[0].shape]
        rows.append(tuple(volume[middle[0]] for volume in volumes))
        rows.append(tuple(volume[::-1, middle[1]] for volume in volumes))
    overlay_picture([(image, labels, truth) for image, labels, truth in rows], path)


def table(records: list[Record]) -> list[str]:
    """The lines of the table: medians and ranges over seeds, and what it took."""
    head = ["labelled", "trained", "seeds", "subject", *TISSUES, "CPU s", "training", "translating"]
    lines = [table_row(head), "|---" * len(head) + "|"]
    for experiment in ("dense", "sparse"):
        of_experiment = matching(records, experiment=experiment)
        # What a threshold learns is the same for both ways: one of them for each seed.
        once = list({record["seed"]: record for record in of_experiment}.values())
        groups = [(name, "dice", matching(of_experiment, variant=name)) for name in VARIANTS]
        for name, values, chosen in [*groups, (BASELINE, "baseline", once)]:
            for subject in UNSEEN if chosen else ():
                scores = cells([record[values][subject] for record in chosen])
                labelled = f"{chosen[0]['slices']} slices"
                row = [labelled, name, len(chosen), subject, *scores]
                lines.append(table_row([*row, *_costs(chosen, name)]))
        for subject in UNSEEN if groups[0][2] and groups[1][2] else ():
            gains = cells(_differences(groups[1][2], groups[0][2], subject))
            lines.append(table_row(["", "*patches - slices*", "", subject, *gains, "", "", ""]))
    for record in matching(records, experiment="memory"):
        lines.append("")
        lines.append(
            f"Patches of 32x128x128 of 512x512x32 voxels, two at a time, 16 channels, 5 levels: "
            f"training took {record['training_gb']:.2f} GB, translating "
            f"{record['translating_gb']:.2f} GB."
        )
    peaks = [record[part] for record in records for part in ("training_gb", "translating_gb")]
    if peaks:
        verdict = "within" if max(peaks) <= LIMIT_GB else "ABOVE"
        lines += ["", f"Highest peak: {max(peaks):.2f} GB, {verdict} the limit of {LIMIT_GB} GB."]
    return lines


def _differences(patches: list[Record], slices: list[Record], subject: str) -> list[list[float]]:
    """By how much the Dice of patches is above that of slices, seed by seed."""
    rows = []
    for record in patches:
        for other in matching(slices, seed=record["seed"]):
            pairs = zip(record["dice"][subject], other["dice"][subject], strict=True)
            rows.append([mine - theirs for mine, theirs in pairs])
    return rows


def _costs(records: list[Record], name: str) -> list[str]:
    if name == BASELINE:
        return ["", "", ""]
    seconds = median_range([record["cpu_seconds"] for record in records], 0)
    peaks = [max(record[part] for record in records) for part in ("training_gb", "translating_gb")]
    return [seconds, *(f"{peak:.2f} GB" for peak in peaks)]


if __name__ == "__main__":
    main(sys.argv[1:])
