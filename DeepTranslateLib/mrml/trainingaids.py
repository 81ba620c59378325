"""What helps before and after a training: check, estimate, preview of augmentation, other epochs.

Each is a job in a folder of its own, which is removed when it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from DeepTranslateLib.cohort import read_cohort
from DeepTranslateLib.cohort.case import SOURCE
from DeepTranslateLib.jobs import AugmentJob, CheckJob, EstimateJob, ExportJob
from DeepTranslateLib.model import SUFFIX
from DeepTranslateLib.mrml.cohortcache import CohortCache
from DeepTranslateLib.mrml.cohorts import EventSink
from DeepTranslateLib.mrml.jobs import PanelJob, newJobFolder, removeJobFolder, runJob
from DeepTranslateLib.mrml.pairs import Pair
from DeepTranslateLib.mrml.training import CohortLike, RecipeLike, asRecipe, cohortFile, startJob
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.runfolder import read_run
from DeepTranslateLib.schema import to_json


def startCheck(
    recipe: RecipeLike, cohort: CohortLike, cache: CohortCache | None = None, **callbacks: Any
) -> PanelJob:
    """Start what `checkCohort` does and return at once.

    Args:
        recipe: As `checkCohort` takes it.
        cohort: Likewise.
        cache: Keeps what is exported for the next time.
        **callbacks: As `PanelJob` takes them.
    """
    recipe = asRecipe(recipe, cohort)
    return _startScratch(
        "check",
        lambda folder: CheckJob(*_about(recipe, cohort, folder, cache, callbacks)),
        callbacks,
    )


def startEstimate(
    recipe: RecipeLike,
    cohort: CohortLike,
    device: str = "auto",
    cache: CohortCache | None = None,
    **callbacks: Any,
) -> PanelJob:
    """Start what `estimateTraining` does and return at once."""
    recipe = asRecipe(recipe, cohort)
    return _startScratch(
        "estimate",
        lambda folder: EstimateJob(*_about(recipe, cohort, folder, cache, callbacks), device),
        callbacks,
    )


def startAugmentation(
    recipe: RecipeLike,
    cohort: CohortLike,
    seed: int = 0,
    count: int = 1,
    cache: CohortCache | None = None,
    **callbacks: Any,
) -> PanelJob:
    """Start to augment one slice of the cohort's first case as training would.

    The result names the job's `folder` and the `file` in it with the arrays, which is there until
    onFinished returns.

    Raises:
        ValueError: There is no case with a target.
    """
    recipe = asRecipe(recipe, cohort)

    def job(folder: Path) -> AugmentJob:
        first = cohort if isinstance(cohort, (str, Path)) else _firstOf(list(cohort))
        file = folder / cohortFile(first, recipe, folder, callbacks.get("onEvent"), cache)
        found = read_cohort(file)
        if recipe.is_unpaired:
            found = found.of_domain(SOURCE)
        alone = recipe.is_denoising or recipe.is_unpaired
        cases = (found.with_clean_targets() if alone else found).cases
        case = next((case for case in cases if case.target is not None), None)
        if case is None:
            raise ValueError(f"{file} has no case with a target. Add labels or target volumes.")
        slices = None if case.slices is None else case.slices[len(case.slices) // 2]
        image, target = str(case.image), str(case.target)
        return AugmentJob(to_json(recipe), image, target, slices, seed, count)

    return _startScratch("augment", job, callbacks)


def checkCohort(
    recipe: RecipeLike, cohort: CohortLike, onEvent: EventSink | None = None
) -> dict[str, Any]:
    """Check a cohort before it is trained on, and wait.

    Returns:
        `faults`: {subject, kind, severity, found, advice} each; `split`: the cases of "training",
        "validation" and "test", and a "note" that says why.

    Raises:
        ValueError: There is no cohort to check.
        JobError: The check failed.
    """
    recipe = asRecipe(recipe, cohort)
    with _scratch("check") as folder:
        job = CheckJob(to_json(recipe), cohortFile(cohort, recipe, folder, onEvent))
        return runJob(folder, job, onEvent)


def estimateTraining(
    recipe: RecipeLike,
    cohort: CohortLike,
    device: str = "auto",
    onEvent: EventSink | None = None,
) -> dict[str, Any]:
    """Measure a few steps of a training, and wait.

    Returns:
        As `engine.estimate.estimate`: seconds, memory in bytes, numbers of slices.

    Raises:
        ValueError: The cohort cannot be used.
        JobError: The measurement failed.
    """
    recipe = asRecipe(recipe, cohort)
    with _scratch("estimate") as folder:
        file = cohortFile(cohort, recipe, folder, onEvent)
        return runJob(folder, EstimateJob(to_json(recipe), file, device), onEvent)


def exportEpoch(run: str | Path, epoch: int, output: str | Path) -> Path:
    """Make a model of an epoch whose weights were kept, and wait.

    Args:
        run: A run folder.
        epoch: Counted from 1; one of `read_run(run).saved_epochs`.
        output: The model file, NAME.dtmodel.

    Raises:
        ValueError: The epoch was not kept, or the file exists.
        JobError: The export failed.
    """
    job = exportJob(run, epoch, output)
    with _scratch("export") as folder:
        return Path(runJob(folder, job)["model"])


def exportJob(run: str | Path, epoch: int, output: str | Path) -> ExportJob:
    """Return the job that makes a model of an epoch; checked as `exportEpoch` says."""
    found, output = read_run(run), Path(output)
    if epoch not in found.saved_epochs:
        known = ", ".join(str(number) for number in found.saved_epochs) or "none"
        raise ValueError(f"Epoch {epoch} of {run} was not kept. Kept are: {known}.")
    if output.suffix.lower() != SUFFIX:
        raise ValueError(f"{output} is no name of a model: it must end in {SUFFIX}.")
    if output.exists():
        raise ValueError(f"{output} exists and stays as it is. Choose another name.")
    return ExportJob(str(found.folder), epoch, str(output.absolute()))


def _firstOf(pairs: list[Pair]) -> list[Pair]:
    """The first pair; of images that are not paired, the first of each domain."""
    firsts = {pair.domain: pair for pair in reversed(pairs)}
    return [pair for pair in pairs if firsts[pair.domain] is pair]


def _about(
    recipe: Recipe,
    cohort: CohortLike,
    folder: Path,
    cache: CohortCache | None,
    callbacks: dict[str, Any],
) -> tuple[dict[str, Any], str]:
    return to_json(recipe), cohortFile(cohort, recipe, folder, callbacks.get("onEvent"), cache)


def _startScratch(kind: str, makeJob: Callable[[Path], Any], callbacks: dict[str, Any]) -> PanelJob:
    """Start a job in a folder of its own, which is removed when the job has come to its end."""
    folder = newJobFolder(kind)

    def ending(name: str) -> Callable[..., None]:
        callback = callbacks.get(name)

        def end(*arguments: Any) -> None:
            try:
                if callback is not None and name == "onFinished":
                    callback({**arguments[0], "folder": str(folder)})
                elif callback is not None:
                    callback(*arguments)
            finally:
                removeJobFolder(folder)

        return end

    endings = {name: ending(name) for name in ("onFinished", "onStopped", "onFailed")}
    try:
        return startJob(folder, makeJob(folder), onEvent=callbacks.get("onEvent"), **endings)
    except BaseException:
        removeJobFolder(folder)
        raise


@contextmanager
def _scratch(kind: str) -> Iterator[Path]:
    folder = newJobFolder(kind)
    try:
        yield folder
    finally:
        removeJobFolder(folder)
