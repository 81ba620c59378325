"""Body composition on phantoms, whose truth is known: the recipes, and two questions of the paper.

`recipes`: `ct-body-composition` and `-best` learn from 17 labelled slices of three subjects (three
slices of a fourth choose the epoch), and translate lean and obese subjects that they never saw.
`table2`: augmentation x deep supervision, and `slices`: 165 to 5 labelled slices, ask on coarser
phantoms for the order of things, each with the same number of steps (Ye et al. 2021, Table 2 and
Figure 7). Each seed has other phantoms and other weights; the intensity alone is held beside.

    python -m Testing.benchmarks.phantom_body_composition --experiment recipes --seeds 0 1 2
    python -m Testing.benchmarks.phantom_body_composition --table
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.engine.device import choose_device
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.phantom import Phantom, torso
from DeepTranslateLib.recipe import Recipe, read_recipe
from Testing.benchmarks.overlays import Row, overlay_picture
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

TISSUES = ("ScAT", "VAT", "lean")
AIM = (0.98, 0.95, 0.97)
BASELINE = "intensity only"
EXPERIMENTS = ("recipes", "table2", "slices")
COUNTS = (165, 84, 42, 17, 10, 5)
# For questions of order small images (4.4 mm, the same field of view) and a small network.
COARSE = {"size": (112, 112), "spacing": (4.4, 4.4, 8.0)}
LEVELS, CHANNELS = 4, 8
STEPS = 4000
# Adiposity and labelled slices of the demo's teachers, and of who chooses the epoch; then
# the adiposity of the demo's unseen subjects.
TEACHERS = (
    (0.0, (1, 5, 9, 14, 18, 22)),
    (0.5, (1, 6, 12, 17, 22)),
    (1.0, (1, 5, 9, 14, 18, 22)),
)
VALIDATION = (0.35, (1, 12, 22))
UNSEEN = {"lean": 0.08, "obese": 0.92}
_SLICES = 24


@dataclass(frozen=True)
class Variant:
    """A way to train: a recipe, and the labelled slices of each teacher (adiposity, slices)."""

    name: str
    recipe: Recipe
    teachers: tuple[tuple[float, tuple[int, ...]], ...]
    coarse: bool


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS)
    parser.add_argument("--variant", nargs="+", help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=FOLDER)
    parser.add_argument("--output", type=Path, default=Path("build/phantom_body_composition"))
    parser.add_argument("--table", action="store_true", help="print the results, train nothing")
    options = parser.parse_args([] if arguments is None else arguments)
    if not options.table:
        for seed in options.seeds:
            for experiment in options.experiment:
                for variant in variants(experiment):
                    if options.variant is None or variant.name in options.variant:
                        _run(experiment, variant, seed, options)
    for experiment in options.experiment:
        print("\n".join(table(experiment, read_records(_path(experiment, options.results)))))
        print()


def variants(experiment: str) -> list[Variant]:
    """What an experiment compares."""
    if experiment == "recipes":
        names = ("ct-body-composition", "ct-body-composition-best")
        return [Variant(name, read_recipe(name), TEACHERS, coarse=False) for name in names]
    if experiment == "table2":
        return [
            Variant(f"{kind}, {depth}", _paper(17, augmented, deep), TEACHERS, coarse=True)
            for augmented, kind in ((False, "no augmentation"), (True, "augmentation"))
            for deep, depth in ((False, "one output"), (True, "deep supervision"))
        ]
    return [
        Variant(str(count), _paper(count, True, True), spread(count), coarse=True)
        for count in COUNTS
    ]


def _paper(slices: int, augmented: bool, deep: bool) -> Recipe:
    """The paper's way to train, with as many steps however many slices teach."""
    recipe = read_recipe("ct-body-composition")
    recipe = dataclasses.replace(
        recipe,
        name=f"paper-{slices}",
        network=dataclasses.replace(
            recipe.network, levels=LEVELS, channels=CHANNELS, deep_supervision=deep
        ),
        method=dataclasses.replace(recipe.method, coarse_targets="full_size"),
        augmentation=dataclasses.replace(recipe.augmentation, probability=float(augmented)),
    )
    return recipe.with_training(epochs=round(STEPS / slices), patience=None, keep_every=None)


def spread(count: int, subjects: int = 7) -> tuple[tuple[float, tuple[int, ...]], ...]:
    """Teachers from lean to obese that have `count` labelled slices in all, evenly spread.

    Fewer slices than subjects are one each of as many subjects.
    """
    used = min(count, subjects)
    chosen = np.linspace(0, subjects - 1, used).round().astype(int)
    shares = np.diff(np.linspace(0, count, used + 1).round().astype(int))
    teachers = []
    for place, (subject, share) in enumerate(zip(chosen, shares, strict=True)):
        # Subjects with a single slice do not all show the same level.
        start = (place + 0.5) / used if share == 1 else 0.5
        slices = np.floor((np.arange(share) + start) * _SLICES / share).astype(int)
        teachers.append((float(subject) / (subjects - 1), tuple(int(index) for index in slices)))
    return tuple(teachers)


def _run(experiment: str, variant: Variant, seed: int, options: argparse.Namespace) -> None:
    path = _path(experiment, options.results)
    epochs = variant.recipe.training.epochs
    if matching(read_records(path), variant=variant.name, seed=seed, epochs=epochs):
        return
    folder: Path = options.output / experiment / f"{variant.name.replace(', ', '_')}_{seed}"
    recipe = variant.recipe.with_training(seed=seed)
    cohort = Cohort(tuple(_cases(variant, seed)), "phantoms")
    shutil.rmtree(folder, ignore_errors=True)
    started, busy = time.monotonic(), time.process_time()
    model = train(recipe, cohort, folder, "cpu")
    seconds, busy = time.monotonic() - started, time.process_time() - busy
    translator = Translator.from_model(model, choose_device("cpu"))
    teaching = [case for case in cohort.cases if case.split == "training"]
    baseline = IntensityBaseline(model.recipe, teaching, [case.slices or () for case in teaching])
    found: dict[str, list[float]] = {}
    trivial: dict[str, list[float]] = {}
    shown: list[Row] = []
    for name, phantom in unseen(seed, variant.coarse).items():
        labels = translator.translate(phantom.image)
        found[name] = dice(labels, phantom.labels)
        (other,) = baseline.translate(phantom.image, range(_SLICES)).values()
        trivial[name] = dice(other, phantom.labels)
        middle = _SLICES // 2
        image, truth = phantom.image.voxels[middle], phantom.labels.voxels[middle]
        shown.append((image, labels.voxels[middle], truth))
    overlay_picture(shown, folder / "picture.png")
    record: Record = {
        "experiment": experiment,
        "variant": variant.name,
        "seed": seed,
        "dice": found,
        "baseline": trivial,
        "slices": sum(len(case.slices or ()) for case in teaching),
        "epochs": recipe.training.epochs,
        "best_epoch": model.card.epoch,
        "seconds": round(seconds),
        "cpu_seconds": round(busy),
        "commit": commit(),
    }
    append_record(path, record)
    print(record, flush=True)


def _cases(variant: Variant, seed: int) -> list[Case]:
    cases = []
    for number, (adiposity, slices) in enumerate((*variant.teachers, VALIDATION)):
        last = number == len(variant.teachers)
        # A subject has the same number in each of an experiment's variants.
        phantom = _phantom(100 * (seed + 1) + (99 if last else number), adiposity, variant.coarse)
        split = "validation" if last else "training"
        cases.append(Case(phantom.name, phantom.image, phantom.labels, slices, split))
    return cases


def unseen(seed: int, coarse: bool) -> dict[str, Phantom]:
    """The subjects that models of this seed are measured on, by name."""
    return {
        name: _phantom(100 * (seed + 1) + 50 + number, adiposity, coarse)
        for number, (name, adiposity) in enumerate(UNSEEN.items())
    }


def _phantom(seed: int, adiposity: float, coarse: bool) -> Phantom:
    return torso(seed, adiposity, slices=_SLICES, **(COARSE if coarse else {}))  # type: ignore[arg-type]


def dice(labels: Image, truth: Image) -> list[float]:
    """Dice of each tissue, pooled over the volume."""
    return [
        2
        * int(np.count_nonzero((labels.voxels == value) & (truth.voxels == value)))
        / int(np.count_nonzero(labels.voxels == value) + np.count_nonzero(truth.voxels == value))
        for value in (1, 2, 3)
    ]


def table(experiment: str, records: list[Record]) -> list[str]:
    """The lines of an experiment's table: medians and ranges over seeds."""
    lines = [table_row(["trained", "seeds", "subjects", *TISSUES, "CPU s"]), "|---" * 7 + "|"]
    names = [variant.name for variant in variants(experiment)]
    for name in dict.fromkeys([*names, *(record["variant"] for record in records)]):
        of_variant = matching(records, variant=name)
        if of_variant:
            # Trainings of another length are another experiment; the last one counts.
            of_variant = matching(of_variant, epochs=of_variant[-1].get("epochs"))
            lines += _rows(name, of_variant, "dice", experiment)
    # What a threshold learns hardly depends on the variant.
    trivial = once_a_seed(records)
    if trivial:
        lines += _rows(BASELINE, trivial, "baseline", experiment)
    if experiment == "recipes":
        lines.append(table_row(["*aim*", "", "", *(f"{value:.2f}" for value in AIM), ""]))
    return lines


def _rows(name: str, records: list[Record], values: str, experiment: str) -> list[str]:
    seconds = round(float(np.median([record["cpu_seconds"] for record in records])))
    rows = []
    for group in ([each] for each in UNSEEN) if experiment == "recipes" else [list(UNSEEN)]:
        # Lean and obese are two levels, not a spread: their mean, then the range over seeds.
        scores = [np.mean([record[values][each] for each in group], axis=0) for record in records]
        time_cell = "" if name == BASELINE else seconds
        rows.append(table_row([name, len(records), ", ".join(group), *cells(scores), time_cell]))
    return rows


def _path(experiment: str, folder: Path) -> Path:
    return folder / f"phantom_{experiment}.jsonl"


if __name__ == "__main__":
    main(sys.argv[1:])
