"""What each command does; one function a command, named like it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DeepTranslateLib.cli.console import Console, native_silence
from DeepTranslateLib.cli.failures import DONE, MISSING, CommandError
from DeepTranslateLib.schema import to_json

if TYPE_CHECKING:
    from DeepTranslateLib.image import Image
    from DeepTranslateLib.model import Model
    from DeepTranslateLib.recipe import Input, Target

_MOST_LABELS = 255
_SHOWN_OF_ITEMS = ("weight", "modality", "units")


def train(options: argparse.Namespace, console: Console) -> int:
    """Train a recipe on a cohort; leaves RUN/model.dtmodel."""
    from DeepTranslateLib.cli.train import train_on_cohort

    return train_on_cohort(options, console)


def translate(options: argparse.Namespace, console: Console) -> int:
    """Apply a model to volumes."""
    from DeepTranslateLib.cli.batch import translate_all

    return translate_all(options, console)


def demo(options: argparse.Namespace, console: Console) -> int:
    """Train on phantoms, translate two that were never seen, write a report."""
    from DeepTranslateLib.cli.demo import run_demo

    return run_demo(options, console)


def statistics(options: argparse.Namespace, console: Console) -> int:
    """Measure the labels of a label map in an image."""
    from DeepTranslateLib.image.files import image_name, read_image
    from DeepTranslateLib.recipe import read_recipe
    from DeepTranslateLib.statistics import measure, write_statistics

    with native_silence():
        image, labels = read_image(options.image), read_image(options.labels)
    if options.recipe is not None:
        recipe = read_recipe(options.recipe)
        recipe.refuse_if_open()
        if not recipe.target.labels:
            raise CommandError(
                f"The recipe '{recipe.name}' makes volumes, not labels. Give one with labels."
            )
        names = {label.value: label.name for label in recipe.target.labels}
    else:
        names = _names_by_value(labels, options.labels)
    measured = measure(image, labels, names, volume=image_name(options.image))
    for table, rows in ((options.output, measured.totals), (options.per_slice, measured.slices)):
        if table is not None:
            table.parent.mkdir(parents=True, exist_ok=True)
            write_statistics(table, rows)
    show_statistics(console, measured.totals)
    console.say(f"\nTable: {options.output}")
    console.result({"table": str(options.output), "rows": statistics_json(measured.totals)})
    return DONE


def evaluate(options: argparse.Namespace, console: Console) -> int:
    """Compare a translated image with its reference."""
    from DeepTranslateLib.cli.evaluate import evaluate_files

    return evaluate_files(options, console)


def evaluate_unpaired(options: argparse.Namespace, console: Console) -> int:
    """Measure translations where no reference shows what they should be."""
    from DeepTranslateLib.cli.evaluate_unpaired import evaluate_unpaired_files

    return evaluate_unpaired_files(options, console)


def cross_validate(options: argparse.Namespace, console: Console) -> int:
    """Train and measure with each subject held out once."""
    from DeepTranslateLib.cli.crossvalidate import cross_validate_cohort

    return cross_validate_cohort(options, console)


def export(options: argparse.Namespace, console: Console) -> int:
    """Make a model of an epoch that a training kept."""
    from DeepTranslateLib.cli.export import export_epoch

    return export_epoch(options, console)


def propose(options: argparse.Namespace, console: Console) -> int:
    """Write a recipe for a cohort, with the reason of each choice."""
    from DeepTranslateLib.cli.propose import propose_for_cohort

    return propose_for_cohort(options, console)


def add_noise(options: argparse.Namespace, console: Console) -> int:
    """Add noise to an image."""
    from DeepTranslateLib.cli.noise import add_noise_to_file

    return add_noise_to_file(options, console)


def register(options: argparse.Namespace, console: Console) -> int:
    """Bring one image onto another's grid, or an output back."""
    from DeepTranslateLib.cli.register import register_files

    return register_files(options, console)


def prepare(options: argparse.Namespace, console: Console) -> int:
    """Register a cohort's images, remove tables, bring to a common spacing."""
    from DeepTranslateLib.cli.prepare import prepare_cohort

    return prepare_cohort(options, console)


def recipes(options: argparse.Namespace, console: Console) -> int:
    """List the built-in recipes."""
    from DeepTranslateLib.recipe import builtin_recipes, read_recipe

    known = [read_recipe(path) for path in builtin_recipes().values()]
    console.table(["name", "what it does"], [[r.name, r.description] for r in known])
    console.result({"recipes": [to_json(recipe) for recipe in known]})
    return DONE


def models(options: argparse.Namespace, console: Console) -> int:
    """List the models of a folder, or of the model library."""
    from DeepTranslateLib.model import Model, list_models, models_folder

    folder = options.folder or models_folder()
    if options.folder is not None and not folder.is_dir():
        raise CommandError(f"There is no folder {folder}. Give a folder with .dtmodel files.")
    found = list_models(folder)
    rows: list[list[str]] = []
    records: list[dict[str, Any]] = []
    for path, model in found:
        if isinstance(model, Model):
            ways = "; ".join(each["what"] for each in _ways(model).values())
            rows.append([path.name, model.card.created[:10], model.card.name, ways])
            records.append(
                {"file": str(path), "card": to_json(model.card), "directions": _ways(model)}
            )
        else:
            rows.append([path.name, "", f"not usable: {model}", ""])
            records.append({"file": str(path), "error": str(model)})
    if rows:
        console.table(["file", "made", "model", "translates"], rows)
    else:
        console.say(f"There are no models in {folder}.")
    console.result({"folder": str(folder), "models": records})
    return DONE


def info(options: argparse.Namespace, console: Console) -> int:
    """Describe a model, a recipe or an image."""
    from DeepTranslateLib.image.files import read_image
    from DeepTranslateLib.model import read_model
    from DeepTranslateLib.recipe import read_recipe

    path: Path = options.file
    if not path.exists():
        raise CommandError(f"There is no file {path}. Give a .dtmodel, a recipe or an image.")
    if path.suffix.lower() == ".dtmodel":
        model = read_model(path)
        facts: dict[str, Any] = {"card": to_json(model.card), "recipe": to_json(model.recipe)}
        ways = _ways(model)
        shown = {direction: each["what"] for direction, each in ways.items()}
        _show_facts(console, {**facts["card"], "directions": shown, "recipe": facts["recipe"]})
        facts["directions"] = ways
    elif path.suffix.lower() == ".json":
        facts = {"recipe": to_json(read_recipe(path))}
        _show_facts(console, facts["recipe"])
    else:
        with native_silence():
            image = read_image(path)
        facts = {
            "size": list(image.shape[::-1]),
            "spacing_mm": [round(float(v), 6) for v in image.spacing],
            "orientation": image.orientation,
            "left_handed": image.is_left_handed,
            "type": str(image.voxels.dtype),
            "lowest": float(image.voxels.min()),
            "highest": float(image.voxels.max()),
            "affine_ras": image.affine.tolist(),
        }
        _show_facts(console, facts)
    console.result({"file": str(path), **facts})
    return DONE


def doctor(options: argparse.Namespace, console: Console) -> int:
    """Say what this machine can do and what is missing."""
    from DeepTranslateLib.cli.doctor import examine

    report = examine()
    console.table(["", "", ""], [[c["state"], c["name"], c["found"]] for c in report["checks"]])
    for advice in report["advice"]:
        console.say(advice)
    if not report["advice"]:
        console.say("Everything that DeepTranslate needs is here.")
    console.result(report)
    return DONE if report["ready"] else MISSING


def run(options: argparse.Namespace, console: Console) -> int:
    """Do the job of a folder, and those that standard input names after it."""
    from DeepTranslateLib.cli.worker import run_jobs

    return run_jobs(options.folder, options.serve, options.idle)


def statistics_json(rows: Any) -> list[dict[str, Any]]:
    """Rows of a table as JSON, with null for what is not a number."""
    return [
        {name: None if value != value else value for name, value in to_json(row).items()}
        for row in rows
    ]


def show_statistics(console: Console, rows: Any) -> None:
    """Totals of label statistics as a table."""
    columns = ["volume", "label", ">mL", ">mean", ">SD", ">median", ">5 %", ">95 %"]
    numbers = ("mean", "sd", "median", "p05", "p95")
    cells = [
        [row.volume, row.name, f"{row.volume_ml:.1f}"]
        + ["" if getattr(row, n) != getattr(row, n) else f"{getattr(row, n):.1f}" for n in numbers]
        for row in rows
    ]
    console.table(columns, cells)


def _ways(model: Model) -> dict[str, dict[str, Any]]:
    """What a model reads and makes in each direction that it has."""
    ways = {}
    for direction in model.directions:
        recipe = model.in_direction(direction).recipe
        source, target = recipe.inputs[0], recipe.target
        made = "labels" if target.kind == "labels" else _kind_of_image(target)
        ways[direction] = {
            "what": f"{_kind_of_image(source)} to {made}",
            "input": {"modality": source.modality, "units": source.units},
            "output": {
                "kind": target.kind,
                "modality": target.modality,
                "units": target.units,
                "range": target.range,
            },
        }
    return ways


def _kind_of_image(part: Input | Target) -> str:
    kind = part.modality if part.modality != "other" else "image"
    return f"{kind} ({part.units})" if part.units else kind


def _names_by_value(labels: Image, path: Path) -> dict[int, str]:
    """Names such as "label 3" for the values of a label map."""
    import numpy as np

    values = np.unique(labels.voxels)
    values = values[values != 0]
    if len(values) > _MOST_LABELS or not np.array_equal(values, np.floor(values)):
        raise CommandError(
            f"{path} is no label map: its values are not a few whole numbers. Give the label map "
            "as --labels and the image that it was drawn on as --image."
        )
    if not len(values):
        raise CommandError(f"{path} has no label: every voxel is 0, the background.")
    return {int(value): f"label {int(value)}" for value in values}


def _show_facts(console: Console, facts: dict[str, Any], indent: str = "") -> None:
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            console.say(f"{indent}{name}:")
            _show_facts(console, value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            console.say(f"{indent}{name}:")
            for item in value:
                words = [str(item[key]) for key in ("value", "name") if key in item]
                more = [f"{key} {item[key]}" for key in _SHOWN_OF_ITEMS if item.get(key)]
                console.say(f"{indent}  - {', '.join([' '.join(words), *more])}")
        elif value not in (None, "", [], {}):
            console.say(f"{indent}{name}: {value}")
