"""A training run: from a cohort to a model file, in one folder.

The folder holds `recipe.json` (with every value that was used), `cohort.json` (which slices of
which files trained and validated), `events.jsonl`, `checkpoints/`, `previews/`, with auto-context
`stages/` (see `engine.autocontext`) and, in the end, `model.dtmodel`. A run that was killed goes on
when it is started again with the same arguments.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cohort import Cohort, CohortError, Split, split_for
from DeepTranslateLib.cohort.check import check_cohort, faults_table
from DeepTranslateLib.engine.autocontext import (
    EarlierStages,
    StageEvents,
    StageTraining,
    refuse_other_stages,
    refuse_unfit,
)
from DeepTranslateLib.engine.device import choose_device
from DeepTranslateLib.engine.directions import of_direction
from DeepTranslateLib.engine.evaluation import evaluate
from DeepTranslateLib.engine.export import write_weights
from DeepTranslateLib.engine.finetuning import (
    initial_spacings,
    initial_weights,
    layers_of,
    transferred_weights,
)
from DeepTranslateLib.engine.intensities import taken_landmarks, with_landmarks
from DeepTranslateLib.engine.learner import InitialWeights
from DeepTranslateLib.engine.methods.structure import check_structure
from DeepTranslateLib.engine.noisy_inputs import noisy_selections
from DeepTranslateLib.engine.previews import Previews
from DeepTranslateLib.engine.stages import (
    channels_before,
    joined_stages,
    stage_networks,
    stages_of,
)
from DeepTranslateLib.engine.tensorboard import TensorBoardLog
from DeepTranslateLib.engine.training import Trainer, TrainingError
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.engine.unpairedset import training_set
from DeepTranslateLib.engine.volumeset import VolumeSet
from DeepTranslateLib.engine.volumestack import resolved_spacings, taken_spacings
from DeepTranslateLib.jobs import FINISH_FILE, STOP_FILE, Events, EventSink
from DeepTranslateLib.model import Model, read_model
from DeepTranslateLib.recipe import FORWARD, Recipe, RecipeError, read_recipe, write_recipe
from DeepTranslateLib.runfolder import (
    COHORT_FILE,
    EVENTS_FILE,
    LAST_CHECKPOINT,
    MODEL_FILE,
    RECIPE_FILE,
)


def train(
    recipe: Recipe,
    cohort: Cohort,
    folder: str | Path,
    device: str = "auto",
    sink: EventSink | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 15.0,
    initial: Model | None = None,
    transfer: bool = False,
    tensorboard: bool = False,
) -> Model:
    """Train a recipe on a cohort, or go on with the training that the folder holds.

    Two files ask something of a running training: `stop` to save a checkpoint at the next step
    and raise Stopped, `finish` to end after the current epoch and make the model of the best one.
    Both may be there before it starts, and are gone when it ends. A training that was finished so
    goes on to the recipe's epochs when it is started again.

    Args:
        recipe: What to train.
        cohort: On what; checked first.
        folder: The run's folder, created where it does not exist.
        device: "auto", "cpu", "cuda" or "mps".
        sink: Called with each event.
        should_stop: Asked after each step, like the file `stop`.
        checkpoint_seconds: Least time between two checkpoints.
        initial: A model to start from, whose network has the shape of the recipe's. A pixel size
            of "auto" is then the model's, where both see the same plane. A run that goes on needs
            it no longer, and takes no other.
        transfer: The recipe's inputs or outputs may be others than the initial model's; layers
            that do not fit start anew.
        tensorboard: Write curves and preview pictures to `folder/tensorboard`, too.

    Returns:
        The model at the best validation, `folder/model.dtmodel`.

    Raises:
        CohortError: The cohort has faults; the message is their table.
        DeviceError: There is no such device.
        MissingPackageError: TensorBoard is asked for and not installed.
        ModelError: The initial model, or one that the recipe names, cannot be read.
        PretrainedError: A network that the recipe's `structure` names is not there, is another,
            or does not fit; found before anything is read of the cohort.
        RecipeError: The recipe is to be configured from the cohort first.
        TrainingError: Training diverged, the initial model does not fit, or the folder holds a
            run on other data.
        Stopped: It was asked to stop, and saved a checkpoint.
    """
    recipe.refuse_if_open()
    folder = Path(folder)
    torch_device = choose_device(device)
    check_structure(recipe)
    start = None
    if initial is not None:
        start = (transferred_weights if transfer else initial_weights)(initial, recipe)
    elif recipe.training.frozen != "none" and not (folder / LAST_CHECKPOINT).is_file():
        raise TrainingError(
            f"The recipe '{recipe.name}' freezes its {recipe.training.frozen}, which would stay "
            "as it is drawn at random. Give a model to start from, or set training.frozen to "
            "'none'."
        )
    log = TensorBoardLog(folder, recipe) if tensorboard else None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _train(
            recipe,
            cohort,
            folder,
            torch_device,
            Events(folder / EVENTS_FILE, _heard_by(log, sink)),
            should_stop,
            checkpoint_seconds,
            initial,
            start,
        )
    finally:
        if log is not None:
            log.close()
        # Not when it starts: whoever asked while the engine was loading has asked, too.
        for name in (STOP_FILE, FINISH_FILE):
            (folder / name).unlink(missing_ok=True)


def _heard_by(*listeners: EventSink | None) -> EventSink:
    def tell(record: dict[str, Any]) -> None:
        for listener in listeners:
            if listener is not None:
                listener(record)

    return tell


def _train(
    recipe: Recipe,
    cohort: Cohort,
    folder: Path,
    device: torch.device,
    events: Events,
    should_stop: Callable[[], bool],
    checkpoint_seconds: float,
    initial: Model | None,
    start: InitialWeights | None,
) -> Model:
    _check(cohort, recipe, events)
    if recipe.is_denoising:
        cohort = cohort.with_clean_targets()
    split = split_for(cohort, recipe)
    events.emit("split", **_split_counts(split), note=split.note)
    if stages_of(recipe) > 1:
        refuse_unfit(split)
    refuse_other_stages(recipe, folder)
    recipe = _resolved(recipe, split, folder, initial)
    recipe = _with_landmarks(recipe, split, folder, initial)
    cache = folder / "cache"
    validation = noisy_selections(split.validation, recipe, cache / "noisy")
    learnt_from = training_set(split.training, recipe, cache, teaching=True)
    validated_on = training_set(validation, recipe, cache / "validation")
    begins = not (folder / LAST_CHECKPOINT).is_file()
    about = {**_split_counts(split), "training": learnt_from.fingerprint()}

    def accepted() -> None:
        # Not before a trainer has accepted the folder's checkpoint as one of this run.
        write_recipe(recipe, folder / RECIPE_FILE)
        _write_cohort(split, about, folder / COHORT_FILE)

    loop: dict[str, Any] = {
        "should_stop": lambda: should_stop() or (folder / STOP_FILE).exists(),
        "checkpoint_seconds": checkpoint_seconds,
        "should_finish": (folder / FINISH_FILE).exists,
    }
    before = EarlierStages((), learnt_from, validated_on)
    if isinstance(learnt_from, VolumeSet) and isinstance(validated_on, VolumeSet):
        before = StageTraining(recipe, folder, device, events, accepted, **loop).run(
            learnt_from, validated_on
        )
    if before.weights:
        stages, trainings = stages_of(recipe), before.trainings + 1
        events = StageEvents(
            events, stage=stages, stages=stages, training=trainings, trainings=trainings
        )
    networks = stage_networks(before.weights, recipe, device)
    trainer = Trainer(
        recipe,
        before.training,
        before.validation,
        folder,
        device,
        events,
        **loop,
        after_epoch=Previews(folder, recipe, validated_on, device, events, networks),
        initial=start,
        earlier=channels_before(stages_of(recipe)),
    )
    if trainer.initial is not None:
        about["initial_model"] = trainer.initial
    accepted()
    if begins and start is not None:
        events.emit("started_from_model", **start.origin, fresh=list(layers_of(start.fresh)))
    weights = joined_stages([*before.weights, trainer.run()])
    events.emit("validating")
    translator = Translator.of_weights(of_direction(weights, FORWARD), recipe, device)
    progress = trainer.progress
    best = progress.history[progress.best_epoch]
    # Without pairs there is nothing more to compare with than in training.
    measured = (
        best["validation_metrics"] if recipe.is_unpaired else evaluate(translator, validation)
    )
    found = {**measured, "loss": best["validation_loss"]}
    about["training_seconds"] = round(before.seconds + trainer.seconds, 1)
    path = write_weights(
        folder / MODEL_FILE,
        recipe,
        progress.best_epoch + 1,
        {"validation": found},
        about,
        weights,
    )
    shutil.rmtree(cache, ignore_errors=True)
    model = read_model(path)
    events.emit(
        "finished",
        model=str(path),
        best_epoch=model.card.epoch,
        metrics=model.card.metrics,
        finished_early=not trainer.is_complete,
    )
    return model


def _check(cohort: Cohort, recipe: Recipe, events: Events) -> None:
    events.emit("checking_cohort", cases=len(cohort.cases))
    faults = check_cohort(cohort, recipe)
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        raise CohortError(
            f"The cohort has {len(errors)} fault(s); nothing was trained.\n{faults_table(faults)}"
        )
    for fault in faults:
        events.emit("warning", subject=fault.subject, message=f"{fault.found} {fault.advice}")


def _resolved(recipe: Recipe, split: Split, folder: Path, initial: Model | None) -> Recipe:
    """The recipe with the spacings that "auto" stands for in this run."""
    if (folder / LAST_CHECKPOINT).is_file():
        with contextlib.suppress(RecipeError, OSError):
            recipe = taken_spacings(recipe, read_recipe(folder / RECIPE_FILE))
    if initial is not None:
        recipe = initial_spacings(initial, recipe)
    return resolved_spacings(recipe, (selection.case.read_image() for selection in split.training))


def _with_landmarks(recipe: Recipe, split: Split, folder: Path, initial: Model | None) -> Recipe:
    """The recipe with the standard scales that this run has had, or learns from its training."""
    if (folder / LAST_CHECKPOINT).is_file():
        with contextlib.suppress(RecipeError, OSError):
            recipe = taken_landmarks(recipe, read_recipe(folder / RECIPE_FILE))
    if initial is not None:
        recipe = taken_landmarks(recipe, initial.recipe)
    return with_landmarks(recipe, (selection.case for selection in split.training))


def _split_counts(split: Split) -> dict[str, Any]:
    parts = {"training": split.training, "validation": split.validation}
    return {
        f"{name}_subjects": len({selection.case.subject for selection in part})
        for name, part in parts.items()
    }


def _write_cohort(split: Split, about: dict[str, Any], path: Path) -> None:
    """Write which slices do what, and what cards say of them under "card"."""
    content = {**split.to_json(), "card": about}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
