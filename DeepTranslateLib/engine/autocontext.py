"""Auto-context: networks that learn from an image and from what the one before made of it.

Tu & Bai 2010 (doi:10.1109/TPAMI.2009.186); Nie et al. 2018 (doi:10.1109/TBME.2018.2814538), III-D.
A network is better on images that it has learnt from than on new ones, so a stage must not see
what the stage before makes of its own training images. Each stage before the last is therefore
trained several times: once on all training subjects, which is the network that translates, and
once without each fold of them, to predict that fold. Validation images, which nothing learns from,
are predicted by the network that translates. A fold's network of a further stage sees predictions
out of fold, too.

The run's folder holds `stages/N/all` and `stages/N/fold_M`, each like the folder of a training
with its checkpoints while it lasts, and `weights.safetensors` when it is done. The last stage is
the training in the run's folder itself.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from DeepTranslateLib.cohort import Cohort, CohortError, Split
from DeepTranslateLib.cohort.folds import subject_folds
from DeepTranslateLib.engine.checkpoint import load_state, save_state
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.identity import is_same_training
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.stages import channels_before, joined_stages, stages_of
from DeepTranslateLib.engine.training import Trainer, TrainingError
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.engine.unpairedset import UnpairedSet
from DeepTranslateLib.engine.volumeset import VolumeSet
from DeepTranslateLib.jobs import Events
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.runfolder import LAST_CHECKPOINT, STAGES_FOLDER
from DeepTranslateLib.schema import to_json

FOLDS = 3  # fewer where there are not as many subjects
_WEIGHTS = "weights.safetensors"
_ALL = "all"


class StageEvents(Events):
    """Events of a training, with the stage that it is of.

    Args:
        events: Told of all.
        about: Added to each: `stage` and `stages`, `fold` and `folds` where it is one's, and
            `training` and `trainings`, which of all it is; all from 1.
    """

    def __init__(self, events: Events, **about: int) -> None:
        super().__init__()
        self._events = events
        self._about = about

    def emit(self, event: str, **content: Any) -> None:
        """Report an event."""
        self._events.emit(event, **content, **self._about)


@dataclass(frozen=True)
class EarlierStages:
    """What the last stage of a recipe needs of those before it.

    Attributes:
        weights: Of the network of each stage that translates, the first stage first.
        training: What the last stage learns from.
        validation: What it is validated on.
        seconds: Spent on them.
        trainings: How many.
    """

    weights: tuple[dict[str, Tensor], ...]
    training: VolumeSet | SliceSet | UnpairedSet
    validation: VolumeSet | SliceSet | UnpairedSet
    seconds: float = 0.0
    trainings: int = 0


class StageTraining:
    """Trains the stages before the last, or goes on with them.

    Args:
        recipe: With its spacings resolved.
        folder: Of the run.
        device: Where to compute.
        events: Told of all trainings, each event with its stage and fold.
        accepted: Called when the folder has proved to hold this training and no other.
        loop: Further arguments of each `Trainer`.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        device: torch.device,
        events: Events,
        accepted: Callable[[], None],
        **loop: Any,
    ) -> None:
        self._recipe = recipe
        self._folder = folder
        self._device = device
        self._events = events
        self._accepted = accepted
        self._loop = loop
        self._seconds = 0.0
        self._done = 0

    def run(self, training: VolumeSet, validation: VolumeSet) -> EarlierStages:
        """Train them all; where there are none, what is given is what there is.

        Args:
            training: All subjects to learn from.
            validation: Those that choose the best epoch, in every training.

        Raises:
            Stopped: It was asked to stop.
            TrainingError: Training diverged, or the folder holds another training.
        """
        stages = range(1, stages_of(self._recipe))
        held_out = folds_of(training, self._recipe) if stages else []
        self._trainings = trainings_of(self._recipe, len(held_out))
        found: list[dict[str, Tensor]] = []
        for stage in stages:
            made: dict[int, Tensor] = {}
            origins = []
            for fold, subjects in enumerate(held_out, start=1):
                about = {"stage": stage, "fold": fold, "folds": len(held_out)}
                weights = self._trained(training.without(subjects), validation, about)
                origins.append(_digest(weights))
                made |= {
                    n: self._made(weights, training.volumes[n].channels, stage)
                    for n, case in enumerate(training.cases)
                    if case.subject in subjects
                }
            weights = self._trained(training, validation, {"stage": stage})
            found.append(weights)
            seen = [self._made(weights, each.channels, stage) for each in validation.volumes]
            origins.append(_digest(weights))
            validation = validation.beside(seen, origins[-1])
            ordered = [made[n] for n in range(len(training.volumes))]
            training = training.beside(ordered, _digest_of(origins))
        return EarlierStages(tuple(found), training, validation, self._seconds, self._done)

    def _trained(
        self, training: VolumeSet, validation: VolumeSet, about: Mapping[str, int]
    ) -> dict[str, Tensor]:
        """The weights of one training at its best validation."""
        recipe, stage = self._recipe, about["stage"]
        self._done += 1
        folder = self._folder / stage_folder(stage, about.get("fold"))
        done = folder / _WEIGHTS
        digests = {"training": training.digest, "validation": validation.digest}
        if done.is_file():
            state = load_state(done)
            if not is_same_training(state["recipe"], recipe) or state["digests"] != digests:
                raise another_training(done)
            self._accepted()
            self._seconds += state["seconds"]
            return state["weights"]
        events = StageEvents(
            self._events,
            stages=stages_of(recipe),
            training=self._done,
            trainings=self._trainings,
            **about,
        )
        trainer = Trainer(
            recipe,
            training,
            validation,
            folder,
            self._device,
            events,
            earlier=channels_before(stage),
            **self._loop,
        )
        self._accepted()
        weights = trainer.run()
        self._seconds += trainer.seconds
        state = {"recipe": to_json(recipe), "digests": digests, "weights": weights}
        save_state(done, {**state, "seconds": trainer.seconds})
        shutil.rmtree((folder / LAST_CHECKPOINT).parent, ignore_errors=True)
        return weights

    def _made(self, weights: Mapping[str, Tensor], channels: Tensor, stage: int) -> Tensor:
        """What a network makes of a prepared volume, (1, D, H, W), kept to 0 to 1."""
        network = build_network(self._recipe, earlier=channels_before(stage))
        network.load_state_dict(weights)
        network = place(network, self._recipe, self._device)
        translator = Translator(network, self._recipe, self._device)
        return translator.translate_prepared(channels).clamp(0, 1)


def refuse_unfit(split: Split) -> None:
    """Refuse what auto-context cannot learn from without seeing its own training images.

    Raises:
        CohortError: There are too few subjects.
    """
    training = {selection.case.subject for selection in split.training}
    validation = {selection.case.subject for selection in split.validation}
    if len(training) < 2 or training & validation:
        raise CohortError(
            "A recipe with stages (method.auto_context) needs 2 subjects to learn from and another "
            f"to validate on; found {len(training | validation)}. Add subjects, or set "
            "method.auto_context to 0."
        )


def refuse_other_stages(recipe: Recipe, folder: Path) -> None:
    """Refuse a folder with a training of a recipe with stages where this has none, and vice versa.

    Raises:
        TrainingError: It holds one.
    """
    begun, has_stages = (folder / LAST_CHECKPOINT).is_file(), (folder / STAGES_FOLDER).is_dir()
    if has_stages if stages_of(recipe) == 1 else begun and not has_stages:
        raise another_training(folder / (STAGES_FOLDER if has_stages else LAST_CHECKPOINT))


def folds_of(training: VolumeSet, recipe: Recipe) -> list[tuple[str, ...]]:
    """The subjects of each fold; the same for all stages."""
    cases = tuple(dict.fromkeys(training.cases))
    count = min(FOLDS, len({case.subject for case in cases}))
    divided = subject_folds(Cohort(cases, "the training"), count, recipe.training.seed)
    return [fold.held_out for fold in divided]


def trainings_of(recipe: Recipe, subjects: int) -> int:
    """How often a recipe trains a network, with so many subjects to learn from."""
    return recipe.method.auto_context * (min(FOLDS, subjects) + 1) + 1


def stage_folder(stage: int, fold: int | None) -> str:
    """Folder, in the run's, of a training of a stage before the last; both from 1."""
    return f"{STAGES_FOLDER}/{stage}/{_ALL if fold is None else f'fold_{fold}'}"


def with_earlier_stages(
    weights: Mapping[str, Tensor], recipe: Recipe, folder: Path
) -> dict[str, Tensor]:
    """Weights of all stages, as `joined_stages`, for those of the last one.

    Args:
        weights: Of the last stage.
        recipe: Of the run; without further stages they are returned as they are.
        folder: Of the run, which holds the others.

    Raises:
        CheckpointError: Those of a stage are missing or damaged.
    """
    paths = [folder / stage_folder(n, None) / _WEIGHTS for n in range(1, stages_of(recipe))]
    return joined_stages([*(load_state(path)["weights"] for path in paths), weights])


def another_training(path: Path) -> TrainingError:
    """An error for a folder that holds another training."""
    return TrainingError(
        f"{path} was made with another recipe or other images than those given now, so going on "
        "from it would mix two trainings. Train into a new folder, or give the same recipe, seed "
        "and images again."
    )


def _digest(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _digest_of(texts: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(texts).encode()).hexdigest()
