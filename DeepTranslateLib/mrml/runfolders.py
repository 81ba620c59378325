"""Run folders: where they lie, how they are named, what may be done in them."""

from __future__ import annotations

import datetime
import re
import shutil
from pathlib import Path

import slicer

from DeepTranslateLib.jobs.descriptions import JOB_FILE, LOG_FILE
from DeepTranslateLib.model import SUFFIX, models_folder
from DeepTranslateLib.mrml.cohorts import COHORT_NAME
from DeepTranslateLib.mrml.jobs import newJobFolder, removeJobFolder
from DeepTranslateLib.mrml.modellibrary import addModel
from DeepTranslateLib.proposal import reasons_path
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.runfolder import EVENTS_FILE, RECIPE_FILE, Run, read_run

RUNS_SETTING = "DeepTranslate/RunsFolder"
# What lies in a run folder before the first step.
_REASONS_FILE = reasons_path(Path(RECIPE_FILE)).name
_PREPARED = ("images", "cache", COHORT_NAME, JOB_FILE, LOG_FILE, EVENTS_FILE, _REASONS_FILE)


def runsFolder() -> Path:
    """Folder in which new run folders are made: the one in the settings, else the default."""
    chosen = slicer.app.userSettings().value(RUNS_SETTING, "")
    return Path(chosen) if chosen else models_folder().parent / "runs"


def setRunsFolder(folder: str | Path) -> None:
    """Remember where new run folders are made; an empty text goes back to the default."""
    text = str(folder).strip()
    settings = slicer.app.userSettings()
    if text:
        settings.setValue(RUNS_SETTING, str(Path(text).expanduser().absolute()))
    else:
        settings.remove(RUNS_SETTING)


def newRunFolder(recipe: Recipe) -> Path:
    """Name a run folder that does not exist yet, after the recipe and today's date."""
    name = re.sub(r"[^\w-]+", "-", recipe.name).strip("-") or "training"
    first = runsFolder() / f"{name}-{datetime.date.today().isoformat()}"
    folder, number = first, 2
    while folder.exists():
        folder, number = first.with_name(f"{first.name}-{number}"), number + 1
    return folder


def modelName(run: Run, epoch: int | None = None) -> str:
    """Name of the library's file of a run's model: the run folder's, with the epoch if chosen."""
    return f"{run.folder.name}{'' if epoch is None else f'-epoch-{epoch}'}{SUFFIX}"


def refuseUsedFolder(folder: str | Path) -> None:
    """Refuse a run folder that holds something, which a new training would mix with its own.

    Raises:
        ValueError: It is not empty, or is a file.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(f"{folder} is a file. Give the name of a folder for the training.")
    if folder.is_dir() and any(folder.iterdir()):
        if isRun(folder):
            raise ValueError(
                f"{folder} already holds a training; nothing in it was changed. Choose a new "
                "folder, or go on with that training instead."
            )
        raise ValueError(
            f"{folder} already holds other files; nothing in it was changed. Choose a new folder."
        )


def discardUnbegun(folder: Path) -> None:
    """Remove what was prepared for a training that failed before it learnt anything.

    So the same folder can be given again once the fault is mended. A folder with a recipe in it
    has begun, and stays.
    """
    if (folder / RECIPE_FILE).exists():
        return
    for name in _PREPARED:
        entry = folder / name
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def isRun(folder: str | Path) -> bool:
    """Tell whether a folder holds a training."""
    return any((Path(folder) / name).exists() for name in (RECIPE_FILE, JOB_FILE))


def addRunModel(folder: str | Path) -> Path:
    """Copy the model that a training made into the library, under the run's name.

    Returns:
        The file in the library.

    Raises:
        ValueError: The training has made no model yet.
        OSError: The library's folder may not be written to.
    """
    run = read_run(folder)
    if run.model is None:
        raise ValueError(
            f"{run.folder} has no model yet. Continue the training, or choose one of its epochs."
        )
    scratch = newJobFolder("model")
    try:
        return addModel(shutil.copyfile(run.model, scratch / modelName(run)))
    finally:
        removeJobFolder(scratch)
