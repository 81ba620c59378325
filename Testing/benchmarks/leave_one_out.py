"""Volume recipes on few subjects, each measured with networks that never saw it.

A study trains its recipe, and the same without augmentation, on all subjects but one, with several
seeds, by `cross_validate`. Beside the network stand the regressions on intensity alone that it
makes of the same slices. All is measured inside the masks of the cases.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import SimpleITK as sitk

from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.engine.comparison import median_range
from DeepTranslateLib.engine.crossvalidation import PLAN_FILE, cross_validate
from DeepTranslateLib.engine.device import choose_device
from DeepTranslateLib.engine.foldrun import HELD_OUT_FILE
from DeepTranslateLib.engine.heldout import NETWORK, translated_slices
from DeepTranslateLib.engine.intensities import read_target
from DeepTranslateLib.engine.preprocessing import slice_stack
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.model import read_model
from DeepTranslateLib.recipe import PLANES, Recipe, read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json
from Testing.benchmarks.records import (
    FOLDER,
    Record,
    append_record,
    commit,
    matching,
    read_records,
    table_row,
)
from Testing.benchmarks.sample import machine

FULL, STILL = "recipe", "without augmentation"
_METRICS = ("mae", "rmse", "psnr", "ssim")


@dataclass(frozen=True)
class Study:
    """One table.

    Attributes:
        name: Of the benchmark and of its file of results.
        recipe: Name of a built-in recipe.
        unit: Of the mean absolute error.
        window: Values of the target shown black and white in the picture.
        cases: Makes the cases, with files below a folder.
        changes: Fields of the recipe by part, where the images ask for others.
    """

    name: str
    recipe: str
    unit: str
    window: tuple[float, float]
    cases: Callable[[Path], list[Case]]
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def plan(self) -> Recipe:
        """The recipe with the changes."""
        content = to_json(read_recipe(self.recipe))
        for part, fields in self.changes.items():
            content[part].update(fields)
        return recipe_from_json(content)

    @property
    def digest(self) -> str:
        """Changes when the file of the recipe, or the changes, say something else."""
        path = Path(__file__).resolve().parents[2] / "Resources" / "Recipes" / f"{self.recipe}.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        if self.changes:
            content = [content, self.changes]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def results(self) -> Path:
        """Where its records are kept."""
        return FOLDER / f"{self.name}.jsonl"


def run_study(study: Study, arguments: Sequence[str]) -> None:
    """Train what has no record yet, and print the table."""
    parser = argparse.ArgumentParser(prog=f"python -m Testing.benchmarks.{study.name}")
    parser.add_argument("--output", type=Path, default=Path("build") / study.name)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--still-seeds", type=int, nargs="*", help="default: as --seeds")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--jobs", type=int, default=1, help="folds at a time")
    parser.add_argument("--table", action="store_true", help="of what is there; no training")
    parser.add_argument("--picture", nargs="+", metavar="SUBJECT", help="of these; no training")
    options = parser.parse_args(arguments)
    if options.picture:
        cases = study.cases(options.output / "data")
        draw([case for case in cases if case.subject in options.picture], study, options)
        return
    if not options.table:
        (options.output / "data").mkdir(parents=True, exist_ok=True)
        cases = study.cases(options.output / "data")
        recipe = study.plan
        if options.epochs is not None:
            recipe = recipe.with_training(epochs=options.epochs)
        still = options.seeds if options.still_seeds is None else options.still_seeds
        for seed in sorted({*options.seeds, *still}):
            for variant, seeds in ((FULL, options.seeds), (STILL, still)):
                if seed in seeds:
                    _train(study, variant, seed, recipe, cases, options)
    print_table(study, matching(read_records(study.results), recipe=study.digest))


def draw(cases: Sequence[Case], study: Study, options: argparse.Namespace) -> None:
    """Write a picture: of each case a middle slice; input, output, target, and how far they differ.

    The models are those of the first seed in the output folder.
    """
    folder = options.output / FULL / f"seed_{options.seeds[0]}"
    plan = json.loads((options.output / FULL / PLAN_FILE).read_text(encoding="utf-8"))
    rows = []
    for case in cases:
        fold = 1 + next(n for n, names in enumerate(plan["folds"]) if case.subject in names)
        model = read_model(folder / f"fold_{fold}" / "model.dtmodel")
        recipe = model.recipe
        stored = case.slices[len(case.slices) // 2] if case.slices else 0
        image = case.read_image()
        output = translated_slices(Translator.from_model(model, choose_device()), image, [stored])
        volumes = (image, output, read_target(case, recipe), case.read_mask())
        # Nearest slices of the upright volumes, all of one size in the picture.
        place = slice_stack(image, recipe).index(stored)
        seen = [
            each.oriented(PLANES[recipe.sampling.plane]).voxels[place] for each in volumes if each
        ]
        grey, mine, truth, inside = (piece.astype(np.float64) for piece in seen)
        bright = max(float(np.percentile(grey[inside > 0], 99)), 1e-6)
        shown = study.window[1] - study.window[0]
        pieces = [
            grey / bright,
            (mine - study.window[0]) / shown,
            (truth - study.window[0]) / shown,
            np.abs(mine - truth) * (inside > 0) / shown,
        ]
        rows.append(np.concatenate([_square(piece) for piece in pieces], axis=1))
    picture = np.clip(np.concatenate(rows) * 255, 0, 255).astype(np.uint8)
    path = Path(__file__).resolve().parent / "pictures" / f"{study.name}.png"
    sitk.WriteImage(sitk.GetImageFromArray(picture), str(path), True, 9)
    print(path)


def _square(piece: np.ndarray, side: int = 180) -> np.ndarray:
    """A slice scaled to fit into a square."""
    scale = side / max(piece.shape)
    size = [max(1, round(length * scale)) for length in reversed(piece.shape)]
    image = sitk.GetImageFromArray(piece)
    small = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, (0, 0), (1 / scale, 1 / scale)
    )
    canvas = np.zeros((side, side))
    canvas[: size[1], : size[0]] = sitk.GetArrayFromImage(small)
    return canvas


def without_augmentation(recipe: Recipe) -> Recipe:
    """The recipe on slices as they are."""
    still = dataclasses.replace(recipe.augmentation, probability=0.0)
    return recipe_from_json(to_json(dataclasses.replace(recipe, augmentation=still)))


def _train(
    study: Study,
    variant: str,
    seed: int,
    recipe: Recipe,
    cases: Sequence[Case],
    options: argparse.Namespace,
) -> None:
    about = {
        "variant": variant,
        "seed": seed,
        "epochs": recipe.training.epochs,
        "recipe": study.digest,
    }
    found = {record["fold"] for record in matching(read_records(study.results), **about)}
    if len(found) == len(cases):
        return
    folder = options.output / variant.replace(" ", "_")

    def keep(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            print(
                f"{variant}, seed {seed}, fold {event['run']['fold']}: epoch {event['epoch'] + 1}, "
                f"loss {event['loss']:.4f}, validation {event['validation_loss']:.4f}",
                flush=True,
            )
        if event["event"] != "measured" or event["run"]["fold"] in found:
            return
        fold = event["run"]["fold"]
        path = folder / f"seed_{seed}" / f"fold_{fold}" / HELD_OUT_FILE
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        measured = [
            {key: row[key] for key in ("subject", "method", "slices", *_METRICS)} for row in rows
        ]
        append_record(
            study.results,
            {
                "experiment": study.name,
                **about,
                "fold": fold,
                "rows": measured,
                "machine": machine(),
                "commit": commit(),
            },
        )

    cross_validate(
        recipe if variant == FULL else without_augmentation(recipe),
        Cohort(tuple(cases), None),
        len(cases),
        folder,
        seeds=[seed],
        jobs=options.jobs,
        sink=keep,
    )


def print_table(study: Study, records: Sequence[Record]) -> None:
    """Median (lowest to highest) over subjects and seeds, and the network's error as a share."""
    rows: dict[str, list[Record]] = {}
    for record in records:
        for row in record["rows"]:
            is_network = row["method"] == NETWORK
            if is_network or record["variant"] == FULL:
                name = f"network, {record['variant']}" if is_network else row["method"]
                place = {"seed": record["seed"], "subject": row["subject"]}
                rows.setdefault(name, []).append({**row, **place})
    head = ("method", "subjects", "seeds", f"MAE ({study.unit})", "PSNR (dB)", "SSIM")
    print(table_row(head))
    print(table_row("---" for _ in head))
    for name, found in rows.items():
        cells = (
            median_range([row[metric] for row in found], 3) for metric in ("mae", "psnr", "ssim")
        )
        counts = (len({row[key] for row in found}) for key in ("subject", "seed"))
        print(table_row((name, *counts, *cells)))
    best = min(
        (name for name in rows if not name.startswith("network")),
        key=lambda name: median(row["mae"] for row in rows[name]),
        default=None,
    )
    if best is None:
        return
    print(f"\nMAE of the network as a part of that of '{best}', subject by subject:\n")
    base = {(row["seed"], row["subject"]): row["mae"] for row in rows[best]}
    for name, found in rows.items():
        if name.startswith("network"):
            shares = [
                row["mae"] / base[row["seed"], row["subject"]]
                for row in found
                if (row["seed"], row["subject"]) in base
            ]
            print(f"- {name}: {median_range(shares, 3)}")
