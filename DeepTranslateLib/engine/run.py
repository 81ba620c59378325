"""A training run: from a cohort to a model file, in one folder.

The folder holds `recipe.json` (with every value that was used), `cohort.json` (which slices of
which files trained and validated), `events.jsonl`, `checkpoints/` and, in the end,
`model.dtmodel`. A run that was killed goes on when it is started again with the same arguments.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save

import DeepTranslateLib
from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cohort import Cohort, CohortError, Split, split_cohort
from DeepTranslateLib.cohort.check import check_cohort, faults_table
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.device import choose_device, place
from DeepTranslateLib.engine.evaluation import evaluate
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.preprocessing import resolve_spacing
from DeepTranslateLib.engine.training import Trainer
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.jobs import STOP_FILE, Events, EventSink
from DeepTranslateLib.model import Card, Model, read_model, write_model
from DeepTranslateLib.recipe import Recipe, write_recipe

MODEL_NAME = "model.dtmodel"


def train(
    recipe: Recipe,
    cohort: Cohort,
    folder: str | Path,
    device: str = "auto",
    sink: EventSink | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 15.0,
) -> Model:
    """Train a recipe on a cohort, or go on with the training that the folder holds.

    Args:
        recipe: What to train.
        cohort: On what; checked first.
        folder: The run's folder, created where it does not exist.
        device: "auto", "cpu", "cuda" or "mps".
        sink: Called with each event.
        should_stop: Asked after each step. A file named `stop` in the folder says yes, too.
        checkpoint_seconds: Least time between two checkpoints.

    Returns:
        The model at the best validation, `folder/model.dtmodel`.

    Raises:
        CohortError: The cohort has faults; the message is their table.
        DeviceError: There is no such device.
        TrainingError: Training diverged, or the folder holds a run on other data.
        Stopped: It was asked to stop, and saved a checkpoint.
    """
    folder = Path(folder)
    torch_device = choose_device(device)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STOP_FILE).unlink(missing_ok=True)
    events = Events(folder / "events.jsonl", sink)
    events.emit("checking_cohort", cases=len(cohort.cases))
    faults = check_cohort(cohort, recipe)
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        raise CohortError(
            f"The cohort has {len(errors)} fault(s); nothing was trained.\n{faults_table(faults)}"
        )
    for fault in faults:
        events.emit("warning", subject=fault.subject, message=f"{fault.found} {fault.advice}")
    training = recipe.training
    split = split_cohort(cohort, training.validation_fraction, training.seed, recipe.sampling.plane)
    events.emit("split", **_split_counts(split), note=split.note)
    recipe = _resolved(recipe, split)
    cache = folder / "cache"
    training_set = SliceSet(split.training, recipe, cache)
    validation_set = SliceSet(split.validation, recipe, cache / "validation")
    trainer = Trainer(
        recipe,
        training_set,
        validation_set,
        folder,
        torch_device,
        events,
        should_stop=lambda: should_stop() or (folder / STOP_FILE).exists(),
        checkpoint_seconds=checkpoint_seconds,
    )
    # Not before the trainer has accepted the folder's checkpoint as one of this run.
    write_recipe(recipe, folder / "recipe.json")
    _write_split(split, folder / "cohort.json")
    weights = trainer.run()
    network = build_network(recipe)
    network.load_state_dict(weights)
    events.emit("validating")
    translator = Translator(place(network, recipe, torch_device), recipe, torch_device)
    best = trainer.progress.history[trainer.progress.best_epoch]
    card = Card(
        name=recipe.title or recipe.name,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        deeptranslate=DeepTranslateLib.__version__,
        epoch=trainer.progress.best_epoch + 1,
        seed=training.seed,
        metrics={
            "validation": {
                **evaluate(translator, split.validation),
                "loss": best["validation_loss"],
            }
        },
        cohort={
            **_split_counts(split),
            "training": training_set.fingerprint(),
            "training_seconds": round(trainer.seconds, 1),
        },
        versions=_versions(),
    )
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    path = write_model(folder / MODEL_NAME, recipe, card, save(contiguous))
    shutil.rmtree(cache, ignore_errors=True)
    events.emit("finished", model=str(path), best_epoch=card.epoch, metrics=card.metrics)
    return read_model(path)


def _resolved(recipe: Recipe, split: Split) -> Recipe:
    """The recipe with the pixel size that "auto" stands for with the training images."""
    if recipe.preprocessing.spacing != "auto":
        return recipe
    images = (selection.case.read_image() for selection in split.training)
    spacing = resolve_spacing(recipe, images)
    preprocessing = dataclasses.replace(recipe.preprocessing, spacing=spacing)
    return dataclasses.replace(recipe, preprocessing=preprocessing)


def _split_counts(split: Split) -> dict[str, Any]:
    parts = {"training": split.training, "validation": split.validation}
    return {
        f"{name}_subjects": len({selection.case.subject for selection in part})
        for name, part in parts.items()
    }


def _write_split(split: Split, path: Path) -> None:
    content = {
        name: [
            {
                "subject": selection.case.subject,
                "image": str(selection.case.image)
                if isinstance(selection.case.image, Path)
                else "in memory",
                "slices": selection.slices if selection.slices is None else list(selection.slices),
            }
            for selection in getattr(split, name)
        ]
        for name in ("training", "validation", "test")
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    packages = ("monai", "numpy", "SimpleITK", "torch")
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }
