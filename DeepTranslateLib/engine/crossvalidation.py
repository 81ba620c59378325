"""Cross-validation: each subject is held out once and measured with a model that never saw it.

The folder holds `plan.json` (who is held out in which fold), a run folder for each training, named
such as `seed_0/fold_2` or `slices_17/seed_0/fold_2`, each with `held_out.json` once its fold is
measured, and the tables of `engine.crossvalidation_tables`. The same call goes on after a kill;
with more seeds or numbers of slices it adds theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cohort import Case, Cohort, CohortError
from DeepTranslateLib.cohort.case import SOURCE
from DeepTranslateLib.cohort.check import check_cohort, faults_table
from DeepTranslateLib.cohort.folds import Fold, subject_folds, with_fewer_slices
from DeepTranslateLib.configuration import configured, with_labels_of
from DeepTranslateLib.engine.device import choose_device
from DeepTranslateLib.engine.foldprocesses import in_processes
from DeepTranslateLib.engine.foldrun import FoldRun, read_rows, run_fold
from DeepTranslateLib.engine.tensorboard import require_tensorboard
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.image import Image
from DeepTranslateLib.jobs import EventSink
from DeepTranslateLib.recipe import Recipe, RecipeError, recipe_from_json
from DeepTranslateLib.runfolder import RunError
from DeepTranslateLib.schema import to_json

PLAN_FILE = "plan.json"
_OF_WINDOWS = ("desktop.ini", "thumbs.db")


def cross_validate(
    recipe: Recipe,
    cohort: Cohort,
    folds: int,
    folder: str | Path,
    *,
    seeds: Sequence[int] | None = None,
    slices: Sequence[int] | None = None,
    device: str = "auto",
    jobs: int = 1,
    sink: EventSink | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    fixed: Sequence[str] = (),
    tensorboard: bool = False,
) -> list[dict[str, Any]]:
    """Train each fold and measure its held-out subjects; go on where the folder holds a part.

    The folds are drawn by the recipe's seed and are the same for all seeds and numbers of slices.
    A recipe that is configured from a cohort is configured anew for each fold, from what the fold
    learns from; only the labels are those of the whole cohort.

    Without pairs, held-out images of the source are measured by the targets that their cases name
    and that nothing learns from.

    Args:
        recipe: What to train.
        cohort: On what; those named "test" are left out.
        folds: How many; the number of subjects to leave one out at a time.
        folder: New, empty, or of the same cross-validation.
        seeds: Of the trainings and of the subsets of slices; default: the recipe's.
        slices: Numbers of labelled slices to learn from; default: all there are.
        device: "auto", "cpu", "cuda" or "mps".
        jobs: Folds at a time, each in a process of its own if more than one.
        sink: Called with each event; those of trainings have `slices`, `seed` and `fold`, too.
        should_stop: Asked after each step.
        fixed: Fields such as "training.epochs" that a recipe which is configured from a cohort
            keeps, also at their defaults.
        tensorboard: Write each training's curves and pictures to `tensorboard` in its folder.

    Returns:
        The rows of `engine.heldout.measure_held_out` with `slices_learnt`, `seed` and `fold`.

    Raises:
        CohortError: The cohort has faults, or too few subjects or slices, or nothing to measure by.
        RecipeError: The recipe freezes a part of the network, and there is no model to start from.
        RunError: The folder holds files, and no cross-validation; nothing was written.
        TrainingError: A training diverged, or the folder holds another cross-validation.
        Stopped: It was asked to stop; what is finished is kept.
    """
    folder = Path(folder)
    choose_device(device)
    if tensorboard:
        require_tensorboard()
    if recipe.training.frozen != "none":
        raise RecipeError(
            "$.training.frozen",
            f"the recipe '{recipe.name}' freezes its {recipe.training.frozen}, and a "
            "cross-validation starts from no model, which might have seen those it is measured "
            "on. Set training.frozen to 'none'.",
        )
    _refuse_another_use(folder)
    if recipe.is_denoising:
        cohort = cohort.with_clean_targets()
    divided = subject_folds(cohort, folds, recipe.training.seed)
    recipe = with_labels_of(recipe, cohort)
    _check(cohort, recipe)
    if recipe.is_unpaired:
        _refuse_without_truth(cohort)
    if slices:
        for fold in divided:
            chosen = configured(recipe, fold.learning, fixed=fixed).recipe
            for count in slices:
                with_fewer_slices(fold.learning, count, chosen)
    _keep_plan(folder / PLAN_FILE, recipe, divided)
    runs = [
        FoldRun(
            recipe.with_training(seed=seed),
            fold,
            count,
            folder / _place(count, seed, fold),
            device,
            recipe.training.seed,
            tuple(fixed),
            tensorboard,
        )
        for count in slices or (None,)
        for seed in (seeds if seeds is not None else (recipe.training.seed,))
        for fold in divided
    ]
    waiting = [run for run in runs if not run.is_measured]
    if jobs > 1 and len(waiting) > 1:
        in_processes(run_fold, waiting, min(jobs, len(waiting)), sink, should_stop)
    else:
        for run in waiting:
            run_fold(run, sink, should_stop)
    return [row for run in runs for row in read_rows(run)]


def _refuse_another_use(folder: Path) -> None:
    """Refuse a folder with files that are no cross-validation's."""
    if not folder.is_dir() or (folder / PLAN_FILE).is_file():
        return
    # Hidden ones are the system's, or what a kill left of a plan.
    names = sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name.lower() not in _OF_WINDOWS
    )
    if names:
        shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        raise RunError(
            f"{folder} is no cross-validation's folder: expected a new or empty one, or one with "
            f"{PLAN_FILE} to go on with; found {shown}. Nothing was written. Give a new folder as "
            "output."
        )


def _check(cohort: Cohort, recipe: Recipe) -> None:
    """Refuse here what would stop the third fold an hour later."""
    faults = check_cohort(Cohort(cohort.learning, cohort.source), recipe)
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        raise CohortError(
            f"The cohort has {len(errors)} fault(s); nothing was trained.\n{faults_table(faults)}"
        )


def _refuse_without_truth(cohort: Cohort) -> None:
    """Refuse images of the source that no target tells the truth about."""
    sources = [case for case in cohort.learning if case.domain == SOURCE]
    without = [case.name for case in sources if case.target is None]
    if without:
        names = ", ".join(without[:5]) + (" ..." if len(without) > 5 else "")
        raise CohortError(
            f"Held-out images of the source are measured by their targets, which {len(without)} of "
            f"{cohort.source} lack: {names}. Name them in the CSV's column target, nothing learns "
            "from them; or train once and compare with 'deeptranslate evaluate-unpaired', which "
            "needs none."
        )


def _place(slices: int | None, seed: int, fold: Fold) -> Path:
    path = Path(f"seed_{seed}") / f"fold_{fold.number}"
    return path if slices is None else f"slices_{slices}" / path


def _keep_plan(path: Path, recipe: Recipe, folds: Sequence[Fold]) -> None:
    """Write who is held out in which fold, or compare it with what is written."""
    plan: dict[str, Any] = {
        "recipe": to_json(recipe),
        "folds": [list(fold.held_out) for fold in folds],
        "cases": sorted(_digest(case) for fold in folds for case in fold.testing),
    }
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise TrainingError(
                f"{path} is damaged ({error}). Give a new folder as output."
            ) from error
        what = {
            "recipe": "recipe",
            "folds": "division into folds",
            "cases": "images, labels or masks",
        }
        before["recipe"] = _by_content(before.get("recipe"))
        now = {**plan, "recipe": to_json(recipe.with_files_by_content)}
        other = [name for key, name in what.items() if before.get(key) != now[key]]
        if other:
            raise TrainingError(
                f"{path.parent} holds a cross-validation with another {', another '.join(other)}. "
                "Give a new folder as output, or the same arguments and files as before to go on."
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")


def _by_content(recipe: Any) -> Any:
    """A recipe's JSON with the fields that were not there when it was written, files by content."""
    try:
        return to_json(recipe_from_json(recipe).with_files_by_content)
    except RecipeError:
        return recipe


def _digest(case: Case) -> str:
    """Subject and slices of a case, and a digest of its voxels, wherever its files lie."""
    digest = hashlib.blake2b(digest_size=16)
    target = None if case.target is None else case.read_target()
    for image in (case.read_image(), target, case.read_mask()):
        if image is not None:
            digest.update(_content(image))
    domain = "" if case.domain is None else f" {case.domain}"
    return f"{case.subject} {case.name} {digest.hexdigest()} {case.slices or 'all'}{domain}"


def _content(image: Image) -> bytes:
    digest = hashlib.blake2b(f"{image.shape} {np.round(image.affine, 4).tolist()}".encode())
    for plane in image.voxels:
        digest.update(np.ascontiguousarray(plane, np.float32).data)
    return digest.digest()
