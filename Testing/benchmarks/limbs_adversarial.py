"""MR to CT of eleven limbs learnt with a discriminator, leave one out, with and without pairs.

Small recipes of pix2pix and Nie's context GAN (pairs), CycleGAN, the same held to its input, and
CUT (no pairs), each measured on a patient whose images it never saw: HU inside the body, on the
slices of `mr_to_ct`, whose records of the supervised recipe stand beside them.

Without pairs the MR of every second slice teaches and the CT of the slices between, so that no
slice of the one has its own among those of the other.

    python -m Testing.benchmarks.limbs_adversarial --method pix2pix cyclegan --folds 1 2 3
    python -m Testing.benchmarks.limbs_adversarial --table
    python -m Testing.benchmarks.limbs_adversarial --picture STS_026
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.cohort.case import SOURCE, TARGET, labelled_slices
from DeepTranslateLib.cohort.folds import Fold, subject_folds
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.engine.device import choose_device
from DeepTranslateLib.engine.heldout import compared_slices, translated_slices
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.model import read_model
from DeepTranslateLib.recipe import Recipe, recipe_from_json
from Testing.benchmarks.denoising_common import picture
from Testing.benchmarks.leave_one_out import FULL
from Testing.benchmarks.limbs_adversarial_table import MATCHED, SUPERVISED, table
from Testing.benchmarks.mr_to_ct import STUDY, limbs
from Testing.benchmarks.records import (
    FOLDER,
    Record,
    append_record,
    commit,
    matching,
    read_records,
)
from Testing.benchmarks.sample import machine
from Testing.benchmarks.unpaired_recipes import digest

NAME = "limbs_adversarial"
RESULTS = FOLDER / f"{NAME}.jsonl"

_SHARED: dict[str, Any] = {
    "version": 1,
    "inputs": [{"name": "image", "modality": "MR", "units": "T1"}],
    "target": {"kind": "volume", "modality": "CT", "units": "HU", "range": [-300, 1200]},
    "sampling": {"plane": "axial"},
    "preprocessing": {"window": [0, 1200], "spacing": 3, "spacing_tolerance": 0.1},
    "augmentation": {
        "rotation": 180,
        "perspective": 20,
        "translation": 40,
        "scale_probability": 1,
        "scale": [0.8, 1.25],
        "elastic_probability": 0,
        "noise_probability": 0,
    },
    "training": {"batch_size": 2, "monitor": "last", "validation_fraction": 0.1, "ema": 0.99},
}
_UNET = {"name": "unet", "levels": 4, "channels": 12, "norm": "instance"}
_RESNET = {"name": "resnet", "levels": 3, "channels": 16, "norm": "instance", "blocks": [4]}
_GAN = {"name": "adam", "learning_rate": 0.0006, "beta1": 0.5, "schedule": "linear"}
_CRITIC = {"objective": "lsgan", "discriminator_channels": 16, "discriminator_layers": 2}
_CYCLE = {
    "network": _RESNET,
    "method": {"name": "cyclegan", "loss": [{"name": "mae", "weight": 10}]},
    "adversarial": _CRITIC,
    "optimizer": _GAN,
    "training": {"epochs": 10},
}
#: What each method changes about `_SHARED`: networks of a size, and lengths, that fit two cores.
METHODS: dict[str, dict[str, Any]] = {
    "L1": {
        "network": _UNET,
        "method": {"name": "supervised", "loss": "mae"},
        "optimizer": {"name": "adam", "learning_rate": 0.001, "schedule": "linear"},
        "training": {"epochs": 16},
    },
    "pix2pix": {
        "network": _UNET,
        "method": {"name": "pix2pix", "loss": [{"name": "mae", "weight": 100}]},
        "adversarial": {**_CRITIC, "discriminator_rate": 0.0002},
        "optimizer": {**_GAN, "learning_rate": 0.001},
        "training": {"epochs": 16},
    },
    # As `t1-to-t2-context-gan`, but smaller, and of one stage.
    "context gan": {
        "sampling": {
            "patch": [32, 32, 32],
            "patches_per_epoch": 120,
            "foreground_share": 0.9,
            "overlap": 0,
        },
        "network": {"name": "context_fcn", "dimension": 3, "channels": 8, "norm": "batch"},
        "method": {
            "name": "context_gan",
            "loss": [{"name": "mse"}, {"name": "gradient_difference"}],
        },
        "adversarial": {
            "objective": "bce",
            "weight": 0.001,
            "discriminator_rate": 0.0001,
            "pool": 0,
        },
        "optimizer": {"name": "adam", "learning_rate": 0.003, "schedule": "cosine"},
        "training": {"epochs": 6, "batch_size": 4},
    },
    "cyclegan": _CYCLE,
    "cyclegan, gradient": {**_CYCLE, "structure": {"gradient_weight": 1.0}},
    "cyclegan, structure": {**_CYCLE, "structure": {"gradient_weight": 1.0, "latent_weight": 1.0}},
    "cut": {
        "network": _RESNET,
        "method": {"name": "cut"},
        "adversarial": {**_CRITIC, "identity_weight": 1.0},
        "contrast": {"patches": 128},
        "optimizer": _GAN,
        "training": {"epochs": 10},
    },
}


def main(arguments: Sequence[str] = ()) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog=f"python -m Testing.benchmarks.{NAME}")
    parser.add_argument("--method", nargs="*", choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument("--folds", type=int, nargs="+", help="default: all eleven")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--output", type=Path, default=Path("build") / NAME)
    parser.add_argument("--table", action="store_true", help="of what is there; no training")
    parser.add_argument("--picture", metavar="SUBJECT", help="of the first seed; no training")
    options = parser.parse_args(list(arguments))
    if not options.table:
        (options.output / "data").mkdir(parents=True, exist_ok=True)
        cases = limbs(options.output / "data")
        if options.picture:
            draw(cases, options)
            return
        measure_baseline(cases)
        for seed in options.seeds:
            for number in options.folds or range(1, len(cases) + 1):
                for method in options.method:
                    run_fold(method, seed, number, cases, options)
    print("\n".join(table(read_records(RESULTS), read_records(STUDY.results), METHODS)))


def recipe_of(method: str, *, seed: int = 0, epochs: int | None = None) -> Recipe:
    """A method's recipe for the limbs.

    Raises:
        RecipeError: The recipe is not possible.
    """
    content = copy.deepcopy(_SHARED)
    for part, fields in METHODS[method].items():
        content[part] = {**content.get(part, {}), **copy.deepcopy(fields)}
    content["name"] = f"limbs, {method}"
    content["training"]["seed"] = seed
    if epochs is not None:
        content["training"]["epochs"] = epochs
    return recipe_from_json(content)


def fold_of(recipe: Recipe, cases: Sequence[Case], number: int) -> Fold:
    """The fold of `mr_to_ct` of this number (from 1), with cases as the recipe learns from them.

    Held-out cases are the same for all; those that are learnt from without pairs are images of the
    source on their slices, and images of the target on the slices that those leave out.
    """
    fold = subject_folds(Cohort(tuple(cases), None), len(cases))[number - 1]
    learning: list[Case] = []
    for case in fold.learning.cases:
        assert case.slices is not None
        # Beyond the ends of the MR nothing is to be learnt from, and instance norm explodes.
        shown = [index for index, piece in enumerate(case.read_image().voxels) if piece.any()]
        seen = tuple(index for index in case.slices if index in shown)
        if recipe.is_unpaired:
            between = tuple(index + 1 for index in case.slices[:-1])
            mr = dataclasses.replace(case, target=None, slices=seen, domain=SOURCE)
            ct = dataclasses.replace(
                case, image=case.target, target=None, slices=between, domain=TARGET
            )
            learning += [mr, ct]
        else:
            # Patches hold neighbouring slices, which all have to teach.
            slices = tuple(shown) if recipe.is_volumetric else seen
            learning.append(dataclasses.replace(case, slices=slices))
    return dataclasses.replace(fold, learning=Cohort(tuple(learning), None))


def run_fold(
    method: str, seed: int, number: int, cases: Sequence[Case], options: argparse.Namespace
) -> None:
    """Train a method without one patient, and measure it on that one; unless there is a record."""
    recipe = recipe_of(method, seed=seed, epochs=options.epochs)
    key = {"method": method, "seed": seed, "fold": number, "recipe": digest(recipe)}
    if matching(read_records(RESULTS), **key):
        return
    fold = fold_of(recipe, cases, number)
    folder = _folder(options.output, method, seed, number)

    def tell(event: dict[str, Any]) -> None:
        if event["event"] in ("epoch", "warning"):
            print(f"{method}, seed {seed}, fold {number}: {event}", flush=True)

    started = time.process_time()
    model = train(recipe, fold.learning, folder / digest(recipe), "cpu", tell)
    seconds = round(time.process_time() - started)
    (case,) = fold.testing
    assert case.slices is not None
    translator = Translator.from_model(model, choose_device("cpu"))
    output = translated_slices(translator, case.read_image(), case.slices)
    write_image(output, folder / "translated.nrrd")
    row = {"epochs": model.card.epoch, "cpu_seconds": seconds, **measured(output, case)}
    _append({**key, **row})


def measure_baseline(cases: Sequence[Case]) -> None:
    """Histogram matching, which learns from what the methods without pairs do, on all patients."""
    # What the supervised recipe reads and makes, whose records have the regressions on intensity.
    recipe = dataclasses.replace(
        recipe_of("cyclegan"), target=dataclasses.replace(STUDY.plan.target, modality="CT")
    )
    known = {record["fold"] for record in matching(read_records(RESULTS), method=MATCHED)}
    for number in sorted({*range(1, len(cases) + 1)} - known):
        fold = fold_of(recipe, cases, number)
        learnt = fold.learning.cases
        slices = [labelled_slices(case, recipe.sampling.plane) for case in learnt]
        (case,) = fold.testing
        assert case.slices is not None
        outputs = IntensityBaseline(recipe, learnt, slices).translate(
            case.read_image(), case.slices
        )
        _append({"method": MATCHED, "fold": number, **measured(outputs[MATCHED], case)})


def measured(output: Image, case: Case) -> Record:
    """Metrics of a translation on the case's slices, as those of the supervised recipe."""
    assert case.slices is not None
    (row,) = compared_slices(output, case.read_target(), STUDY.plan, case.slices, case.read_mask())
    return {"subject": case.subject, "slices": len(case.slices)} | {
        name: round(row[name], 4) for name in ("mae", "rmse", "psnr", "ssim")
    }


def draw(cases: Sequence[Case], options: argparse.Namespace) -> None:
    """Write a picture of a patient's middle slice: MR, what each method made, CT; errors below."""
    folds = (fold_of(recipe_of("L1"), cases, n + 1) for n in range(len(cases)))
    fold = next(fold for fold in folds if options.picture in fold.held_out)
    (case,) = fold.testing
    assert case.slices is not None
    stored = case.slices[len(case.slices) // 2]
    image, truth = case.read_image(), case.read_target().voxels[stored].astype(np.float64)
    seed = options.seeds[0]
    outputs: list[Image] = []
    supervised = Path("build") / STUDY.name / FULL / f"seed_{seed}" / f"fold_{fold.number}"
    if (supervised / "model.dtmodel").is_file():
        model = read_model(supervised / "model.dtmodel")
        translator = Translator.from_model(model, choose_device("cpu"))
        outputs.append(translated_slices(translator, image, [stored]))
        print(SUPERVISED)
    for method in METHODS:
        path = _folder(options.output, method, seed, fold.number) / "translated.nrrd"
        if path.is_file():
            outputs.append(read_image(path))
            print(method)
    made = [each.voxels[stored].astype(np.float64) for each in outputs]
    low, high = STUDY.window
    bright = float(np.percentile(image.voxels[stored], 99))
    first = low + image.voxels[stored].astype(np.float64) / bright * (high - low)
    mask = case.read_mask()
    assert mask is not None
    inside = mask.voxels[stored] > 0
    errors = [low + np.abs(each - truth) * inside for each in made]
    nothing = np.full_like(truth, low)
    path = Path(__file__).resolve().parent / "pictures" / f"{NAME}_{options.picture}.png"
    rows = [[first, *made, truth], [nothing, *errors, nothing]]
    picture(rows, [STUDY.window] * 2, path)
    print(path)


def _append(record: Record) -> None:
    record = {"experiment": NAME, **record, "machine": machine(), "commit": commit()}
    append_record(RESULTS, record)
    print(record, flush=True)


def _folder(output: Path, method: str, seed: int, number: int) -> Path:
    return output / method.replace(", ", "_").replace(" ", "_") / f"seed_{seed}" / f"fold_{number}"


if __name__ == "__main__":
    main(sys.argv[1:])
