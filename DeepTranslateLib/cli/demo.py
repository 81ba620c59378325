"""The demo: train on 17 labelled slices of phantoms, translate two unseen ones, show how well.

Phantoms are written to files first, so that everything after that is what happens to a user's own
images: the same cohort file, training run, model file, translation and table.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cli import pictures, report
from DeepTranslateLib.cli.console import Console
from DeepTranslateLib.cli.failures import DONE
from DeepTranslateLib.cli.watching import stop_signals, training_progress
from DeepTranslateLib.cohort import read_cohort
from DeepTranslateLib.cohort.case import slices_to_text
from DeepTranslateLib.cohort.files import COLUMNS
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.jobs import read_events
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import Recipe, read_recipe
from DeepTranslateLib.statistics import LabelStatistics, measure, write_statistics

if TYPE_CHECKING:
    from DeepTranslateLib.model import Model

RECIPE = "ct-body-composition"
# Of the recipe's 200: phantoms are easier than patients, and a demo should not take an hour.
EPOCHS = 150


@dataclass(frozen=True)
class Learned:
    """A phantom of the cohort; `slices` are the labelled ones, its other labels stay empty."""

    name: str
    seed: int
    adiposity: float
    slices: tuple[int, ...]
    split: str


@dataclass(frozen=True)
class Unseen:
    """A phantom that is translated and that no training has seen."""

    name: str
    seed: int
    adiposity: float


# As in the paper, 17 slices teach; some of one more subject choose the best epoch.
COHORT = (
    Learned("subject-1", 1, 0.0, (1, 5, 9, 14, 18, 22), "training"),
    Learned("subject-2", 2, 0.5, (1, 6, 12, 17, 22), "training"),
    Learned("subject-3", 3, 1.0, (1, 5, 9, 14, 18, 22), "training"),
    Learned("subject-4", 4, 0.35, (1, 12, 22), "validation"),
)
UNSEEN = (Unseen("lean", 11, 0.08), Unseen("obese", 12, 0.92))
TEACHERS = tuple(subject for subject in COHORT if subject.split == "training")
LABELLED_SLICES = sum(len(subject.slices) for subject in TEACHERS)


@dataclass(frozen=True)
class Translated:
    """An unseen phantom, read back from its files, and what the model made of it."""

    subject: Unseen
    image: Image
    labels: Image
    truth: Image


def run_demo(options: argparse.Namespace, console: Console) -> int:
    """Run the demo in `options.output`; given again after an interruption, its training goes on.

    Raises:
        CommandError: The packages that the report needs are not installed.
    """
    report.require_packages()
    folder: Path = options.output
    recipe = read_recipe(RECIPE).with_training(epochs=options.epochs or EPOCHS)
    started = time.monotonic()
    console.say(
        f"Making {len(COHORT) + len(UNSEEN)} phantoms; {LABELLED_SLICES} labelled slices of "
        f"{len(TEACHERS)} of them are to learn from."
    )
    write_phantoms(folder)
    seconds = {"phantoms": round(time.monotonic() - started, 1)}

    from DeepTranslateLib.engine.run import train

    cohort = read_cohort(folder / "cohort" / "cohort.csv")
    with training_progress(console, recipe.training.epochs) as sink, stop_signals() as stopped:
        model = train(
            recipe, cohort, folder / "run", options.device, sink=sink, should_stop=stopped
        )
    events = read_events(folder / "run" / "events.jsonl")
    # Of all epochs, also of those before an interruption.
    seconds["training"] = round(report.training_history(events)[-1]["seconds"], 1)
    with atomic_file(folder / "model.dtmodel") as temporary:
        shutil.copyfile(model.path, temporary)

    started = time.monotonic()
    translated = translate_unseen(folder, options.device, console)
    seconds["translation"] = round(time.monotonic() - started, 1)
    measured, comparisons = compare(translated, recipe)
    write_statistics(folder / "tissue_volumes.csv", measured)
    summary = summarise(recipe, comparisons, seconds)
    with atomic_file(folder / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    _write_pictures_and_report(folder, model, translated, comparisons, summary, events)
    _show(folder, comparisons, console)
    console.result(summary)
    return DONE


def write_phantoms(folder: Path) -> None:
    """Write the cohort with its CSV, and the unseen phantoms with their true labels."""
    rows = []
    for learned in COHORT:
        phantom = torso(learned.seed, learned.adiposity)
        place = folder / "cohort" / learned.name
        place.mkdir(parents=True, exist_ok=True)
        labels = np.zeros_like(phantom.labels.voxels)
        labels[list(learned.slices)] = phantom.labels.voxels[list(learned.slices)]
        write_image(phantom.image, place / "image.nrrd")
        write_image(phantom.labels.with_voxels(labels), place / "labels.nrrd")
        files = [f"{learned.name}/{name}.nrrd" for name in ("image", "labels")]
        rows.append([learned.name, *files, slices_to_text(learned.slices), learned.split])
    with (
        atomic_file(folder / "cohort" / "cohort.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as stream,
    ):
        csv.writer(stream).writerows([COLUMNS, *rows])
    (folder / "unseen" / "truth").mkdir(parents=True, exist_ok=True)
    for unseen in UNSEEN:
        phantom = torso(unseen.seed, unseen.adiposity)
        write_image(phantom.image, folder / "unseen" / f"{unseen.name}.nrrd")
        write_image(phantom.labels, folder / "unseen" / "truth" / f"{unseen.name}_labels.nrrd")


def translate_unseen(folder: Path, device: str, console: Console) -> list[Translated]:
    """Translate the unseen phantoms with the model file in the folder."""
    from DeepTranslateLib.engine.device import choose_device
    from DeepTranslateLib.engine.translation import Translator
    from DeepTranslateLib.model import read_model

    translator = Translator.from_model(read_model(folder / "model.dtmodel"), choose_device(device))
    (folder / "translated").mkdir(exist_ok=True)
    results = []
    for unseen in UNSEEN:
        source = folder / "unseen" / f"{unseen.name}.nrrd"
        output = folder / "translated" / f"{unseen.name}_labels.nrrd"
        console.event({"event": "translating", "input": str(source)})
        image = read_image(source)
        with console.progress(f"Translating {unseen.name}", image.shape[0]):
            labels = translator.translate(image, lambda done, total: console.advance_to(done))
        write_image(labels, output)
        console.event({"event": "translated", "input": str(source), "output": str(output)})
        truth = read_image(folder / "unseen" / "truth" / output.name)
        results.append(Translated(unseen, image, labels, truth))
    return results


def compare(
    translated: Sequence[Translated], recipe: Recipe
) -> tuple[list[LabelStatistics], list[report.Comparison]]:
    """Measure what was translated, and compare it with the truth; a row a subject and tissue."""
    names = {label.value: label.name for label in recipe.target.labels}
    measured: list[LabelStatistics] = []
    comparisons: list[report.Comparison] = []
    for each in translated:
        found, true = (
            measure(each.image, labels, names, volume=each.subject.name).totals
            for labels in (each.labels, each.truth)
        )
        measured.extend(found)
        for row, reference in zip(found, true, strict=True):
            both = (each.labels.voxels == row.label) & (each.truth.voxels == row.label)
            size = row.voxels + reference.voxels
            comparisons.append(
                report.Comparison(
                    subject=row.volume,
                    label=row.name,
                    volume_ml=row.volume_ml,
                    true_volume_ml=reference.volume_ml,
                    dice=2 * int(np.count_nonzero(both)) / size if size else None,
                )
            )
    return measured, comparisons


def summarise(
    recipe: Recipe, comparisons: Sequence[report.Comparison], seconds: dict[str, float]
) -> dict[str, Any]:
    """The outcome as JSON; null for a Dice or an error that is not defined."""
    subjects: dict[str, Any] = {
        unseen.name: {"adiposity": unseen.adiposity, "tissues": {}} for unseen in UNSEEN
    }
    for row in comparisons:
        subjects[row.subject]["tissues"][row.label] = {
            "dice": _rounded(row.dice, 4),
            "volume_ml": _rounded(row.volume_ml, 3),
            "true_volume_ml": _rounded(row.true_volume_ml, 3),
            "volume_error_percent": _rounded(row.volume_error_percent, 2),
        }
    dice = [row.dice for row in comparisons if row.dice is not None]
    errors = [
        abs(row.volume_error_percent) for row in comparisons if row.volume_error_percent is not None
    ]
    return {
        "recipe": recipe.name,
        "labelled_slices": LABELLED_SLICES,
        "seconds": seconds,
        "subjects": subjects,
        "lowest_dice": _rounded(min(dice, default=None), 4),
        "largest_volume_error_percent": _rounded(max(errors, default=None), 2),
    }


def _write_pictures_and_report(
    folder: Path,
    model: Model,
    translated: Sequence[Translated],
    comparisons: Sequence[report.Comparison],
    summary: dict[str, Any],
    events: Sequence[dict[str, Any]],
) -> None:
    labels = model.recipe.target.labels
    overlay = pictures.png(
        pictures.overlay_figure(
            [
                pictures.Subject(_described(each.subject), each.image, each.labels, each.truth)
                for each in translated
            ],
            labels,
        )
    )
    with atomic_file(folder / "overlay.png") as temporary:
        temporary.write_bytes(overlay)
    history = report.training_history(events)
    curve = pictures.curve_figure(history, {label.name: label.color for label in labels})
    window = " to ".join(report.number_text(edge, ".0f") for edge in pictures.CT_WINDOW)
    report.write_report(
        folder / "report.html",
        report.Report(
            title=f"{model.card.name}: DeepTranslate demo",
            summary=f"A network learnt from {LABELLED_SLICES} labelled slices of {len(TEACHERS)} "
            f"synthetic subjects, then labelled {len(UNSEEN)} others that it had never seen. "
            "Their truth is known, since they are phantoms: the lowest Dice is "
            f"{report.number_text(summary['lowest_dice'], '.3f')}, the largest error of a volume "
            f"{report.number_text(summary['largest_volume_error_percent'], '.1f')} %. The model "
            "is for trying out, not for patients.",
            overlay=overlay,
            overlay_caption=f"Unseen subjects: CT (window {window} HU) and the same slices with "
            "the model's labels. White: outline of the true labels.",
            comparisons=comparisons,
            curve=pictures.png(curve),
            curve_caption="Dashed: the best epoch, whose weights the model holds.",
            facts=_facts(model, len(history), events, summary["seconds"]),
            steps=_steps(model.recipe),
        ),
    )


def _facts(
    model: Model, epochs: int, events: Sequence[dict[str, Any]], seconds: dict[str, float]
) -> dict[str, str]:
    card = model.card
    device = [event["device"] for event in events if event["event"] == "training_started"][-1]
    parts = [
        f"{sum(len(each.slices) for each in COHORT if each.split == split)} slices of "
        f"{_counted(card.cohort[f'{split}_subjects'], 'subject')} for {split}"
        for split in ("training", "validation")
    ]
    versions = {"DeepTranslate": card.deeptranslate, **card.versions}
    return {
        "Recipe": f"{model.recipe.name}, seed {card.seed}",
        "Cohort": "; ".join(parts),
        "Weights": f"of epoch {card.epoch}, the best of {epochs}",
        "Time": f"{_duration(seconds['training'])} of training, "
        f"{_duration(seconds['translation'])} for {len(UNSEEN)} volumes, on {device}",
        "Made": card.created.replace("T", " ").replace("+00:00", " UTC"),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _steps(recipe: Recipe) -> list[tuple[str, str]]:
    return [
        (
            "Label slices, say in 3D Slicer, and list the files in a table with the columns "
            f"{', '.join(COLUMNS)}, as in cohort/cohort.csv beside this page. Then train:",
            f"deeptranslate train --recipe {recipe.name} --cohort cohort.csv --output run",
        ),
        (
            "Translate image files or DICOM folders; tissue_volumes.csv lists the volumes:",
            "deeptranslate translate --model run/model.dtmodel --output translated scan.nii.gz",
        ),
    ]


def _show(folder: Path, comparisons: Sequence[report.Comparison], console: Console) -> None:
    rows = [
        [
            row.subject,
            row.label,
            report.number_text(row.dice, ".3f"),
            report.number_text(row.volume_ml, ".1f"),
            report.number_text(row.true_volume_ml, ".1f"),
            report.number_text(row.volume_error_percent, "+.1f"),
        ]
        for row in comparisons
    ]
    console.say("")
    console.table(["subject", "tissue", ">Dice", ">mL", ">true mL", ">error %"], rows)
    console.say("")
    for what, name in (("Report", "report.html"), ("Picture", "overlay.png")):
        console.say(f"{what + ':':9}{folder / name}")
    console.say(f"{'Model:':9}{folder / 'model.dtmodel'}")


def _described(subject: Unseen) -> str:
    return f"{subject.name} (adiposity {subject.adiposity:g})"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
