"""Trainings from the application: what is prepared, started and gone on with in run folders.

The console waits (`train`), a panel does not (`startTraining`); both prepare the same folder. The
folder is complete, so that a training goes on tomorrow without the scene.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from DeepTranslateLib.cohort import read_cohort
from DeepTranslateLib.jobs import JobError, TrainJob, read_job, write_job
from DeepTranslateLib.model import Model
from DeepTranslateLib.mrml.cohortcache import CohortCache
from DeepTranslateLib.mrml.cohorts import COHORT_NAME, EventSink, exportPair, writeCohort
from DeepTranslateLib.mrml.jobs import PanelJob, applicationWorker, runJob
from DeepTranslateLib.mrml.modellibrary import findModel
from DeepTranslateLib.mrml.pairs import Pair, checkPairs, labelsOfPairs
from DeepTranslateLib.mrml.runfolders import discardUnbegun, refuseUsedFolder
from DeepTranslateLib.recipe import Recipe, read_recipe, recipe_from_json
from DeepTranslateLib.runfolder import RECIPE_FILE, read_run
from DeepTranslateLib.schema import to_json

RecipeLike = Recipe | str | Path | dict[str, Any]
CohortLike = str | Path | Sequence[Pair]


def train(
    recipe: RecipeLike,
    cohort: CohortLike,
    folder: str | Path,
    *,
    device: str = "auto",
    initialModel: Model | str | Path | None = None,
    transfer: bool = False,
    onEvent: EventSink | None = None,
) -> Path:
    """Train a recipe in a new run folder, and wait while the application stays alive.

    Args:
        recipe: A recipe, its JSON, the name of a built-in recipe, or a recipe file.
        cohort: A CSV or folder as `read_cohort` takes it, or pairs of nodes.
        folder: The run's folder; it must not exist, or be empty.
        device: "auto", "cpu", "cuda" or "mps".
        initialModel: A model whose weights the training begins with.
        transfer: The task may be another: inputs and labels may differ in number from that
            model's, and layers that do not fit start anew.
        onEvent: Called with each event.

    Returns:
        The model file in the run folder.

    Raises:
        ValueError: The recipe, the cohort or the folder cannot be used; nothing was started.
        JobError: The training failed.
        Stopped: It was stopped; `continueTraining` goes on with it.
    """
    folder, job = prepareTraining(
        recipe, cohort, folder, device, initialModel, onEvent, transfer=transfer
    )
    try:
        return Path(runJob(folder, job, onEvent)["model"])
    except JobError:
        discardUnbegun(folder)
        raise


def startTraining(
    recipe: RecipeLike,
    cohort: CohortLike,
    folder: str | Path,
    *,
    device: str = "auto",
    initialModel: Model | str | Path | None = None,
    transfer: bool = False,
    onEvent: EventSink | None = None,
    cache: CohortCache | None = None,
    **callbacks: Callable[..., None],
) -> PanelJob:
    """Start what `train` does, with the same arguments, and return at once.

    Images that `cache` keeps are not exported again.
    The callbacks are onFinished(result), onStopped() and onFailed(error), as `PanelJob` takes them.

    Raises:
        ValueError: As `train`.
    """
    folder, job = prepareTraining(
        recipe, cohort, folder, device, initialModel, onEvent, cache, transfer
    )
    tell = callbacks.pop("onFailed", None)

    def failed(error: JobError) -> None:
        discardUnbegun(folder)
        if tell is not None:
            tell(error)

    try:
        return startJob(folder, job, onEvent=onEvent, onFailed=failed, **callbacks)
    except JobError:
        discardUnbegun(folder)
        raise


def continueTraining(
    folder: str | Path,
    *,
    epochs: int | None = None,
    device: str | None = None,
    onEvent: EventSink | None = None,
) -> Path:
    """Go on with the training that a run folder holds, and wait.

    Args:
        folder: A run folder that `train` or the panel made.
        epochs: Train up to this many epochs in all; None: as many as the recipe says.
        device: Where to compute; None: as before.
        onEvent: Called with each event.

    Returns:
        The model file.

    Raises:
        ValueError: The folder holds no such training, or it has come to its end.
        JobError: The training failed.
        Stopped: It was stopped again.
    """
    job = continuation(folder, epochs, device)
    return Path(runJob(Path(folder), job, onEvent)["model"])


def startContinuation(
    folder: str | Path,
    *,
    epochs: int | None = None,
    device: str | None = None,
    onEvent: EventSink | None = None,
    **callbacks: Callable[..., None],
) -> PanelJob:
    """Start what `continueTraining` does and return at once.

    Raises:
        ValueError: As `continueTraining`.
    """
    job = continuation(folder, epochs, device)
    return startJob(Path(folder), job, onEvent=onEvent, **callbacks)


def startJob(folder: Path, job: Any, **callbacks: Any) -> PanelJob:
    """Write a job into its folder and start it in the application's worker."""
    write_job(folder, job)
    return PanelJob(applicationWorker().start(folder), **callbacks)


def prepareTraining(
    recipe: RecipeLike,
    cohort: CohortLike,
    folder: str | Path,
    device: str = "auto",
    initialModel: Model | str | Path | None = None,
    onEvent: EventSink | None = None,
    cache: CohortCache | None = None,
    transfer: bool = False,
) -> tuple[Path, TrainJob]:
    """Fill a new run folder with all that a training needs.

    Raises:
        ValueError: As `train`; what was written is removed again.
    """
    recipe, folder = asRecipe(recipe, cohort), Path(folder).expanduser().absolute()
    initial = None if initialModel is None else findModel(initialModel)
    if initial is not None:
        _refuseOtherNetwork(initial, recipe, transfer)
    refuseUsedFolder(folder)
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        file = cohortFile(cohort, recipe, folder, onEvent, cache)
        path = str(initial.path) if initial is not None else None
        job = TrainJob(to_json(recipe), file, device, path, transfer and initial is not None)
        write_job(folder, job)
    except BaseException:
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if not existed:
            folder.rmdir()
        raise
    return folder, job


def continuation(
    folder: str | Path, epochs: int | None = None, device: str | None = None
) -> TrainJob:
    """Return the job that goes on with a run folder's training.

    Raises:
        ValueError: As `continueTraining`.
    """
    folder = Path(folder)
    try:
        job = read_job(folder)
    except (JobError, OSError) as error:
        raise ValueError(
            f"{folder} does not say how it was trained ({error}), so it cannot go on here. Its "
            "epochs can be made into models; or fine-tune its model in a new folder."
        ) from error
    if not isinstance(job, TrainJob):
        raise ValueError(f"{folder} holds no training. Choose the folder of a run.")
    # Without its recipe it was stopped before the first step, and begins anew.
    run = read_run(folder) if (folder / RECIPE_FILE).is_file() else None
    recipe = recipe_from_json(job.recipe)
    if run is not None and not recipe.is_configured:
        recipe = run.recipe
    if epochs is not None:
        recipe = recipe.with_training(epochs=epochs)
    if run and run.state == "finished" and run.epochs_done >= recipe.training.epochs:
        raise ValueError(
            f"This training has done all of its {run.epochs_done} epochs. Ask for more epochs to "
            "go on."
        )
    return dataclasses.replace(job, recipe=to_json(recipe), device=device or job.device)


def isUnfinished(folder: str | Path) -> bool:
    """Tell whether a training that was stopped can go on in a folder."""
    try:
        continuation(folder)
    except ValueError:
        return False
    return True


def cohortFile(
    cohort: CohortLike,
    recipe: Recipe,
    folder: Path,
    onEvent: EventSink | None = None,
    cache: CohortCache | None = None,
) -> str:
    """Return a job's `cohort`: nodes are exported into its folder, files stay where they are.

    Args:
        cohort: As `train` takes it.
        recipe: What is trained.
        folder: The job's.
        onEvent: Called with each event of the export.
        cache: Keeps what is exported for the next time.

    Raises:
        ValueError: The cohort cannot be used.
    """
    if isinstance(cohort, (str, Path)):
        path = Path(cohort).expanduser().absolute()
        read_cohort(path)
        return str(path)
    pairs = list(cohort)
    checkPairs(pairs, recipe)
    writeCohort(pairs, recipe, folder, onEvent, exportPair if cache is None else cache.export)
    return COHORT_NAME


def asRecipe(recipe: RecipeLike, cohort: CohortLike) -> Recipe:
    """Return the recipe that a caller means: a recipe, its JSON, a name or a file.

    One that is configured from its cohort, and names no label, gets those of the segmentations.

    Raises:
        RecipeError: It holds something impossible, or there is none.
    """
    if isinstance(recipe, Recipe):
        recipe = recipe_from_json(to_json(recipe))
    else:
        recipe = recipe_from_json(recipe) if isinstance(recipe, dict) else read_recipe(recipe)
    named = recipe.is_configured or recipe.target.kind != "labels" or recipe.target.labels
    if named or isinstance(cohort, (str, Path)):
        return recipe
    target = dataclasses.replace(recipe.target, labels=labelsOfPairs(cohort))
    return dataclasses.replace(recipe, target=target)


def _refuseOtherNetwork(initial: Model, recipe: Recipe, transfer: bool) -> None:
    theirs = initial.recipe
    if transfer:
        heads = recipe.network.deep_supervision
        if dataclasses.replace(theirs.network, deep_supervision=heads) != recipe.network:
            raise ValueError(
                f"What {initial.path.name} has learnt cannot be transferred to this training: its "
                "network is not that of the recipe. Take the network from its recipe, or begin "
                "with nothing."
            )
        return
    if (theirs.network, theirs.input_channels, theirs.output_channels) != (
        recipe.network,
        recipe.input_channels,
        recipe.output_channels,
    ):
        raise ValueError(
            f"{initial.path.name} cannot be the beginning of this training: its network, slices of "
            f"context ({theirs.sampling.context}) or its number of labels "
            f"({theirs.output_channels}) is not that of the recipe ({recipe.sampling.context} and "
            f"{recipe.output_channels}). Take these from its recipe, or begin with nothing; or "
            "transfer it to another task, if the networks are the same."
        )
