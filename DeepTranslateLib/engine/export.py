"""Model files of a training: the card, and models of epochs other than the best."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

import DeepTranslateLib
from DeepTranslateLib.engine.autocontext import with_earlier_stages
from DeepTranslateLib.engine.checkpoint import load_state
from DeepTranslateLib.model import Card, write_model
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.runfolder import (
    COHORT_FILE,
    LAST_CHECKPOINT,
    Run,
    RunError,
    kept_checkpoint,
    read_run,
)


def export_model(run_folder: str | Path, epoch: int, path: str | Path) -> Path:
    """Make a model file of an epoch that a training has kept, or of its best so far.

    Its card says which epoch it is and how that validated while it trained: on the slices as
    the network sees them, not yet on their own grid as in the model at the end of a training.

    Args:
        run_folder: The training's folder.
        epoch: From 1; one of `read_run(run_folder).saved_epochs`.
        path: NAME.dtmodel, in a folder that exists.

    Returns:
        The path.

    Raises:
        RunError: The folder holds no training, or the epoch was not kept.
        CheckpointError: Its weights are damaged.
        ModelError: The path does not end in .dtmodel, or its folder does not exist.
        OSError: The file cannot be written.
    """
    run = read_run(run_folder)
    if epoch not in run.saved_epochs:
        kept = ", ".join(str(each) for each in run.saved_epochs) or "none yet"
        raise RunError(
            f"The weights of epoch {epoch} are not in {run.folder}. Kept are: {kept}. With "
            "training.keep_every in its recipe a training keeps more."
        )
    # After a crash the file of the best epoch may be ahead of the last checkpoint; this is not.
    last = run.folder / LAST_CHECKPOINT
    kept_path = run.folder / kept_checkpoint(epoch)
    weights = load_state(kept_path)["weights"] if kept_path.is_file() else load_state(last)["best"]
    row = next(row for row in run.history if row["epoch"] == epoch - 1)
    metrics: dict[str, Any] = {"loss": row["validation_loss"]}
    if run.recipe.target.kind == "labels":
        metrics["dice"] = row["validation_dice"]
    weights = with_earlier_stages(weights, run.recipe, run.folder)
    return write_weights(path, run.recipe, epoch, {"validation": metrics}, _cohort(run), weights)


def write_weights(
    path: str | Path,
    recipe: Recipe,
    epoch: int,
    metrics: dict[str, Any],
    cohort: dict[str, Any],
    weights: Mapping[str, Tensor],
) -> Path:
    """Write a model file of a translating network's weights, with the card of what made it.

    Args:
        path: NAME.dtmodel.
        recipe: With every value that training used.
        epoch: Whose weights these are, from 1.
        metrics: How well they do.
        cohort: What they have learnt from.
        weights: On the CPU; of two directions as `directions.joined`, of several stages as
            `stages.joined_stages`.
    """
    card = Card(
        name=recipe.title or recipe.name,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        deeptranslate=DeepTranslateLib.__version__,
        epoch=epoch,
        seed=recipe.training.seed,
        metrics=metrics,
        cohort=cohort,
        versions=_versions(),
    )
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    return write_model(path, recipe, card, save(contiguous))


def _cohort(run: Run) -> dict[str, Any]:
    """What a card says of the cohort, as the training wrote it down when it started."""
    path = run.folder / COHORT_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return dict(content.get("card", {}))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read ({error}), so nothing could be said of what the model has "
            "learnt from. Start the training again in its folder to have it written anew."
        ) from error


def _versions() -> dict[str, str]:
    packages = ("monai", "numpy", "SimpleITK", "torch")
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }
