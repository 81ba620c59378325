"""Auto-context: stages that learn from predictions out of fold, killed, resumed, in one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import lps_affine
from safetensors.torch import load
from test_context_gan import recipe_of
from torch import Tensor

from DeepTranslateLib.cohort import Case, Cohort, CohortError
from DeepTranslateLib.engine import autocontext
from DeepTranslateLib.engine.autocontext import (
    StageTraining,
    folds_of,
    stage_folder,
    trainings_of,
)
from DeepTranslateLib.engine.checkpoint import load_state
from DeepTranslateLib.engine.export import export_model
from DeepTranslateLib.engine.memory import MemoryLimitError
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.patches import augmented_patches
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.engine.stages import joined_stages, of_stage, split_stages
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.engine.volumestack import volume_stack
from DeepTranslateLib.engine.volumetranslation import VolumeTranslation
from DeepTranslateLib.image import Image
from DeepTranslateLib.jobs import Stopped
from DeepTranslateLib.model import Model
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.runfolder import read_run

CPU = torch.device("cpu")
SUBJECTS = 5


@pytest.fixture(autouse=True)
def small_discriminator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published one has five million weights, which take long to write down."""
    from DeepTranslateLib.engine.discriminators import context

    monkeypatch.setattr(context, "_FILTERS", (2, 2, 2, 2))
    monkeypatch.setattr(context, "_UNITS", (4, 2))


def staged(further: int = 1, **training: Any) -> Recipe:
    return recipe_of(
        method={"auto_context": further},
        sampling={"patches_per_epoch": 3, "overlap": 0.0},
        optimizer={"learning_rate": 0.01},
        adversarial={"pool": 2, "label_jitter": 0.1},
        training={"epochs": 2, "batch_size": 2, "ema": 0.5, **training},
        augmentation={"probability": 1, "flip_left_right": 0.5},
    )


def image_of(seed: int) -> tuple[Image, Image]:
    """A ball on air and its negative, within 7 slices of 8 x 14."""
    rng = np.random.default_rng(seed)
    places = np.indices((7, 8, 14)) - rng.uniform(3, 4, (3, 1, 1, 1))
    ball = (places**2).sum(axis=0) < 14
    voxels = np.where(ball, 500, -600) + rng.normal(0, 40, ball.shape)
    return tuple(Image(values.astype(np.float32), lps_affine()) for values in (voxels, -voxels))  # type: ignore[return-value]


def cohort(subjects: int = SUBJECTS) -> Cohort:
    return Cohort(tuple(Case(f"s{n}", *image_of(n)) for n in range(subjects)), "the cohort")


def of_folder(folder: Path, stage: int, fold: int | None) -> dict[str, Tensor]:
    return load_state(folder / stage_folder(stage, fold) / "weights.safetensors")["weights"]


def predicted(
    weights: dict[str, Tensor], recipe: Recipe, image: Image, made: Tensor | None = None
) -> Tensor:
    """(1, D, H, W) of one stage's network, by the plain way from a model to a prepared volume."""
    network = build_network(recipe, earlier=0 if made is None else 1)
    network.load_state_dict(weights)
    stack = volume_stack(image, recipe)
    channels = stack.prepared(0, stack.depth)
    if made is not None:
        channels = torch.cat([channels, made])
    return Translator(network, recipe, CPU).translate_prepared(channels).clamp(0, 1)


class Seen:
    """What each training of a run was given, by stage and fold."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sets: dict[tuple[int, int | None], Any] = {}
        inner = StageTraining._trained

        def trained(this: Any, training: Any, validation: Any, about: Any) -> Any:
            self.sets[about["stage"], about.get("fold")] = training, validation
            return inner(this, training, validation, about)

        monkeypatch.setattr(StageTraining, "_trained", trained)
        run = StageTraining.run

        def whole(this: Any, training: Any, validation: Any) -> Any:
            self.folds = folds_of(training, this._recipe)
            found = run(this, training, validation)
            self.last = found.training, found.validation
            return found

        monkeypatch.setattr(StageTraining, "run", whole)


def test_further_stages_see_predictions_by_networks_that_have_not_learnt_from_the_subject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autocontext, "FOLDS", 2)
    seen, events = Seen(monkeypatch), []
    recipe = staged(2, epochs=1)
    model = train(recipe, cohort(), tmp_path, "cpu", sink=events.append)
    recipe = model.recipe
    training, validation = seen.last
    subjects = [case.subject for case in training.cases]
    held_out = [case.subject for case in validation.cases]
    assert sorted(subjects + held_out) == [f"s{n}" for n in range(SUBJECTS)]
    assert sorted(name for fold in seen.folds for name in fold) == sorted(subjects)
    for fold, names in enumerate(seen.folds, start=1):
        for stage in (1, 2):
            learnt = {case.subject for case in seen.sets[stage, fold][0].cases}
            assert learnt == set(subjects) - set(names)
    # Independently: of a subject, what the networks of its own fold make of it, one after another.
    for stage in (1, 2):
        given = seen.last if stage == 2 else seen.sets[2, None]
        for volumes, whose in zip(given, (subjects, held_out), strict=True):
            for volume, name in zip(volumes.volumes, whose, strict=True):
                fold = next((n for n, f in enumerate(seen.folds, start=1) if name in f), None)
                image = image_of(int(name[1:]))[0]
                made = None
                for number in range(1, stage + 1):
                    made = predicted(of_folder(tmp_path, number, fold), recipe, image, made)
                # A CPU sums the halves of a volume apart.
                torch.testing.assert_close(volume.earlier, made, rtol=0, atol=1e-5)
                assert made.std() > 0
                if fold is not None:
                    other = predicted(of_folder(tmp_path, 1, None), recipe, image)
                    assert (made - other).abs().max() > 1e-3
    assert {event["stage"] for event in events if event["event"] == "epoch"} == {1, 2, 3}
    counted = [(e["training"], e["trainings"]) for e in events if e["event"] == "training_started"]
    assert counted == [(n, 7) for n in range(1, 8)]
    assert trainings_of(recipe, 4) == 7
    order = [
        (event["stage"], event.get("fold"))
        for event in events
        if event["event"] == "training_started"
    ]
    assert order == [(1, 1), (1, 2), (1, None), (2, 1), (2, 2), (2, None), (3, None)]


def test_what_was_made_is_moved_with_the_image_and_has_no_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch)
    train(staged(1, epochs=1), cohort(3), tmp_path, "cpu")
    training, _ = seen.last
    recipe = recipe_of(
        augmentation={"probability": 1, "rotation": 40, "noise_fraction": 1, "noise_sd": 0.2}
    )
    still = recipe_of(augmentation={"probability": 1, "rotation": 40})
    # What was made is the image itself here, so that moved alike both are the same.
    volumes = training.beside([each.image.clone() for each in training.volumes], "itself")
    for number, draw in enumerate(volumes.epoch(0)):
        noisy, calm = (
            augmented_patches([draw], each, random_state(0, 0, number), CPU)[0]
            for each in (recipe, still)
        )
        assert noisy.shape == (1, 2, 16, 16, 16)
        assert torch.equal(calm[:, 0], calm[:, 1])
        assert torch.equal(noisy[:, 1], calm[:, 1])
        assert not torch.equal(noisy[:, 0], calm[:, 0])


class Killed(BaseException):
    """As a process ends: nothing is saved any more."""


def killed_after(steps: int) -> Any:
    done = []

    def should_stop() -> bool:
        done.append(0)
        if len(done) == steps:
            raise Killed
        return False

    return should_stop


def weights_of(model: Model) -> tuple[str, Any]:
    return model.card.weights_sha256, model.card.metrics


def test_killed_in_any_stage_a_run_goes_on_to_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autocontext, "FOLDS", 2)
    arguments = (staged(), cohort(4))
    straight = train(*arguments, tmp_path / "0", "cpu", checkpoint_seconds=1e9)
    # Two epochs of two steps: two folds, all of them, and the second stage from step 13 on.
    for steps in (7, 14):
        folder = tmp_path / f"{steps}"
        with pytest.raises(Killed):
            train(
                *arguments,
                folder,
                "cpu",
                should_stop=killed_after(steps),
                checkpoint_seconds=0.0,
            )
        assert read_run(folder).state == "unfinished"
        again: list[dict[str, Any]] = []
        model = train(*arguments, folder, "cpu", sink=again.append)
        assert weights_of(model) == weights_of(straight)
        begun = [
            (event["stage"], event.get("fold"), event["resumed"])
            for event in again
            if event["event"] == "training_started"
        ]
        expected = [(1, 1), (1, 2), (1, None), (2, None)][(steps - 1) // 4 :]
        assert begun == [(*each, n == 0) for n, each in enumerate(expected)]
    assert not list((tmp_path / "0" / "stages").rglob("checkpoints"))
    # Of more epochs only the last stage has more: what it sees stays as it is.
    before = {n: of_folder(tmp_path / "0", 1, n) for n in (None, 1, 2)}
    longer = train(staged(epochs=3), cohort(4), tmp_path / "0", "cpu")
    for fold, weights in before.items():
        same = of_folder(tmp_path / "0", 1, fold)
        assert all(torch.equal(same[name], weights[name]) for name in weights)
    assert len(read_run(tmp_path / "0").history) == 3
    assert longer.path == tmp_path / "0" / "model.dtmodel"


def test_another_recipe_or_cohort_does_not_go_on_in_a_folder_with_stages(tmp_path: Path) -> None:
    def stop() -> bool:
        return True

    with pytest.raises(Stopped):
        train(staged(), cohort(3), tmp_path, "cpu", should_stop=stop)
    recipe = (tmp_path / "recipe.json").read_text()
    for other, cases in ((staged(seed=1), 3), (staged(), 4), (staged(0), 3)):
        with pytest.raises(TrainingError, match="new folder"):
            train(other, cohort(cases), tmp_path, "cpu")
    assert (tmp_path / "recipe.json").read_text() == recipe
    with pytest.raises(Stopped):
        train(staged(0), cohort(3), tmp_path / "without", "cpu", should_stop=stop)
    with pytest.raises(TrainingError, match="new folder"):
        train(staged(), cohort(3), tmp_path / "without", "cpu")


def test_too_few_subjects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"2 subjects to learn from .* found 2"):
        train(staged(), cohort(2), tmp_path, "cpu")
    assert not (tmp_path / "stages").exists()


def test_a_model_holds_all_stages_and_translates_by_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = train(staged(keep_every=1), cohort(3), tmp_path, "cpu")
    weights, recipe = load(model.weights()), model.recipe
    first, second = split_stages(weights, recipe)
    of_one = of_folder(tmp_path, 1, None)
    assert {name: tensor.shape for name, tensor in first.items()} == {
        name: tensor.shape for name, tensor in of_one.items()
    }
    assert all(torch.equal(first[name], of_one[name]) for name in first)
    assert len(weights) == len(first) + len(second) == 2 * len(first)
    assert joined_stages([first, second]).keys() == weights.keys()
    assert {name for name in weights if name.startswith("stage 2/")} == {
        f"stage 2/{name}" for name in of_stage(weights, 2)
    }
    image = image_of(9)[0]
    translator = Translator.from_model(model, CPU)
    counts: list[tuple[int, int]] = []
    found = translator.translate(image, lambda *each: counts.append(each)).voxels
    made = predicted(first, recipe, image)
    stack = volume_stack(image, recipe)
    network = build_network(recipe, earlier=1)
    network.load_state_dict(second)
    channels = torch.cat([stack.prepared(0, 7), made])
    whole = Translator(network, recipe, CPU).translate_prepared(channels)[0].numpy()
    # The stored grid is the prepared one.
    assert found == pytest.approx(whole * 2000 - 1000, abs=1e-2)
    assert np.ptp(found) > 0
    assert counts == [(n, counts[-1][1]) for n in range(1, counts[-1][1] + 1)]
    # Slices alone, and bands of rows, take the same way.
    some = translator.translate_slices(image, [6, 2])[1]
    assert np.array_equal(some, found[[6, 2]])
    with monkeypatch.context() as patch:
        patch.setattr(VolumeTranslation, "_free", lambda *rest: 8000)
        assert np.array_equal(translator.translate(image).voxels, found)
    with pytest.raises(MemoryLimitError, match=r"the limit is 0\.00 GB"):
        Translator.from_model(model, CPU, memory_limit=2**20).translate(image)
    roomy = Translator.from_model(model, CPU, memory_limit=2**40).translate(image)
    assert np.array_equal(roomy.voxels, found)
    # A model of an epoch that was kept holds the stages before, too.
    kept = load(_read(export_model(tmp_path, 1, tmp_path / "kept.dtmodel")))
    assert kept.keys() == weights.keys()
    assert all(torch.equal(kept[name], first[name]) for name in first)


def _read(path: Path) -> bytes:
    from DeepTranslateLib.model import read_model

    return read_model(path).weights()


def test_stages_do_not_start_from_a_model(tmp_path: Path) -> None:
    model = train(staged(epochs=1), cohort(3), tmp_path / "a", "cpu")
    for transfer in (False, True):
        for recipe in (staged(), staged(0)):
            with pytest.raises(TrainingError, match="auto_context"):
                train(recipe, cohort(3), tmp_path / "b", "cpu", initial=model, transfer=transfer)
