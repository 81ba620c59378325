"""A training's folder, read without the engine: how far it is and what can be made of it.

The names of the files in it are here, once for those who write and those who read.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DeepTranslateLib.jobs import read_events
from DeepTranslateLib.recipe import Recipe, RecipeError, read_recipe

RECIPE_FILE = "recipe.json"
COHORT_FILE = "cohort.json"
EVENTS_FILE = "events.jsonl"
MODEL_FILE = "model.dtmodel"
TENSORBOARD_FOLDER = "tensorboard"
STAGES_FOLDER = "stages"
LAST_CHECKPOINT = "checkpoints/last.safetensors"
BEST_CHECKPOINT = "checkpoints/best.safetensors"
_KEPT = re.compile(r"epoch_(\d{4,})\.safetensors")
_LARGEST_HEADER = 1 << 28


class RunError(ValueError):
    """A folder is no training's: what was expected, what was found, what to do."""


@dataclass(frozen=True)
class Run:
    """How far a training is. Epochs are counted from 1 here, from 0 in the rows of the history.

    Attributes:
        folder: Where it is.
        recipe: With every value that training uses.
        history: For each epoch done, what its event said: epoch, loss, validation_loss,
            validation_dice by label name, validation_metrics by their name (None where unknown),
            best_epoch so far.
        saved_epochs: Those that a model can be made from, ascending; the best among them.
        best_epoch: That with the best validation; None before the first is done.
        epochs_done: Epochs that a training which goes on would not do again.
        model: The file, where one was made.
        state: "new" (nothing to go on from yet), "unfinished" or "finished" (its model is made;
            given more epochs it goes on).
        warnings: What the cohort's check remarked, and what of the folder cannot be read.
    """

    folder: Path
    recipe: Recipe
    history: tuple[dict[str, Any], ...]
    saved_epochs: tuple[int, ...]
    best_epoch: int | None
    epochs_done: int
    model: Path | None
    state: str
    warnings: tuple[str, ...]


def kept_checkpoint(epoch: int) -> str:
    """File, in the run's folder, with the weights that were kept of an epoch (from 1)."""
    return f"checkpoints/epoch_{epoch:04d}.safetensors"


def read_run(folder: str | Path) -> Run:
    """Read how far a training is, from the files of its folder.

    Not to be called at the moment when a training in the same folder saves: Windows does not
    replace a file that is open. While one runs, its events tell the same.

    Raises:
        RunError: It holds no training, or the training's recipe cannot be read.
        OSError: Something may not be opened.
    """
    folder = Path(folder)
    recipe = _recipe(folder)
    events = read_events(folder / EVENTS_FILE)
    warnings = list(_remarks(events))
    checkpoint = folder / LAST_CHECKPOINT
    progress: dict[str, Any] | None = None
    try:
        progress = _progress(checkpoint) if checkpoint.is_file() else None
    except (ValueError, KeyError, TypeError) as error:
        warnings.append(
            f"The checkpoint {checkpoint} is damaged ({error}), so this training cannot go on. "
            "Models can still be made from the epochs that were kept."
        )
    damaged = checkpoint.is_file() and progress is None
    history = _history_of(events) if damaged else (progress or {}).get("history", [])
    best = -1 if progress is None else progress["best_epoch"]
    saved = {epoch for epoch in _kept(folder) if damaged or epoch <= len(history)}
    if best >= 0:
        saved.add(best + 1)
    elif damaged and history:
        best = history[-1]["best_epoch"]
    model = folder / MODEL_FILE
    return Run(
        folder=folder,
        recipe=recipe,
        history=tuple(history),
        saved_epochs=tuple(sorted(saved)),
        best_epoch=best + 1 if best >= 0 else None,
        epochs_done=len(history),
        model=model if model.is_file() else None,
        state=_state(
            checkpoint.is_file() or (folder / STAGES_FOLDER).is_dir(), model.is_file(), events
        ),
        warnings=tuple(warnings),
    )


def _recipe(folder: Path) -> Recipe:
    path = folder / RECIPE_FILE
    if not os.path.isdir(folder):  # False, not an error, for names that no system takes
        raise RunError(f"{folder} is no folder. Give the folder of a training.")
    if not path.is_file():
        raise RunError(
            f"{folder} holds no training: {RECIPE_FILE} is missing. Give the folder that a "
            "training was started in; one that ended before its first step leaves nothing to "
            "go on from."
        )
    try:
        return read_recipe(path)
    except RecipeError as error:
        raise RunError(
            f"The recipe of the training in {folder} cannot be used: {error} Update DeepTranslate "
            "if a newer one made it."
        ) from error


def _progress(path: Path) -> dict[str, Any]:
    """What a checkpoint says of the training's progress; its tensors are not touched.

    A safetensors file begins with the length of its header (8 bytes, little endian) and the
    header, JSON.
    """
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= min(_LARGEST_HEADER, path.stat().st_size - 8):
            raise ValueError("it ends early")
        header = json.loads(stream.read(length))
    tensors = [value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"]
    if path.stat().st_size < 8 + length + max(tensors, default=0):
        raise ValueError("it ends early")
    structure = json.loads(header["__metadata__"]["structure"])
    progress = next(value for key, value in structure["items"] if key == "progress")
    content = _plain(progress)
    if not isinstance(content.get("history"), list) or not isinstance(content["best_epoch"], int):
        raise ValueError("it does not say how far it is")
    return content


def _plain(structure: Any) -> Any:
    """Values of the structure in a checkpoint, as `engine.checkpoint` writes it; no tensors."""
    ((kind, content),) = structure.items()
    if kind == "items":
        return {key: _plain(item) for key, item in content}
    if kind == "list":
        return [_plain(item) for item in content]
    return content if kind == "value" else None


def _kept(folder: Path) -> list[int]:
    names = (path.name for path in (folder / "checkpoints").glob("epoch_*.safetensors"))
    return [int(match[1]) for name in names if (match := _KEPT.fullmatch(name))]


def _history_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each epoch; one that was done again after a crash tells the same."""
    keys = (
        "epoch",
        "loss",
        "validation_loss",
        "validation_dice",
        "validation_metrics",
        "best_epoch",
    )
    # Each stage of auto-context begins anew; the last one is that of the folder itself.
    rows = {
        event["epoch"]: {key: event.get(key) for key in keys}
        for event in events
        if event.get("event") == "epoch"
        and isinstance(event.get("epoch"), int)
        and event.get("stage") == event.get("stages")
    }
    return [rows[epoch] for epoch in sorted(rows)]


def _state(has_checkpoint: bool, has_model: bool, events: list[dict[str, Any]]) -> str:
    if not has_checkpoint:
        return "finished" if has_model else "new"
    milestones = [
        event["event"] for event in events if event.get("event") in ("training_started", "finished")
    ]
    # Given more epochs, a training goes on beside the model that it made before.
    if has_model and (not milestones or milestones[-1] == "finished"):
        return "finished"
    return "unfinished"


def _remarks(events: list[dict[str, Any]]) -> tuple[str, ...]:
    """Warnings of the last time that the cohort was checked, each once."""
    remarks: dict[str, None] = {}
    for event in events:
        if event.get("event") == "checking_cohort":
            remarks.clear()
        elif event.get("event") == "warning":
            subject = event.get("subject")
            message = str(event.get("message", ""))
            remarks[f"{subject}: {message}" if subject else message] = None
    return tuple(remarks)
