"""Ends of a training other than its last epoch: finished early, kept epochs, models made later."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import blobs_cohort, labels_recipe, volume_recipe
from safetensors.torch import load

from DeepTranslateLib.cohort import cohort_from_lists
from DeepTranslateLib.engine.checkpoint import load_state
from DeepTranslateLib.engine.export import export_model
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.memory import memory_use
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.jobs import FINISH_FILE, STOP_FILE, Stopped, read_events
from DeepTranslateLib.model import Model, ModelError, read_model
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.runfolder import RunError, kept_checkpoint, read_run

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a power cut would notice.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def tiny(**training: Any) -> Recipe:
    return labels_recipe(
        2, training={"epochs": 4, "validation_fraction": 0.3, "batch_size": 3, **training}
    )


class Run:
    """A training in a folder, which may be asked something at one of its events."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heard: list[dict[str, Any]] = []

    def train(
        self, recipe: Recipe, file: str = "", event: str = "", epoch: int | None = None, **more: Any
    ) -> Model:
        def listen(heard: dict[str, Any]) -> None:
            self.heard.append(heard)
            if heard["event"] == event and heard.get("epoch") == epoch:
                (self.folder / file).touch()

        return train(recipe, blobs_cohort(), self.folder, device="cpu", sink=listen, **more)

    def of(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.heard if each["event"] == event]


# ---- finished early


@pytest.mark.parametrize(
    ("event", "epoch", "done"), [("checking_cohort", None, 1), ("epoch", 0, 1), ("preview", 0, 2)]
)
def test_a_finish_file_ends_the_training_after_its_epoch_with_the_model_of_the_best(
    tmp_path: Path, event: str, epoch: int | None, done: int
) -> None:
    run = Run(tmp_path / "run")
    model = run.train(tiny(), FINISH_FILE, event, epoch)
    epochs = run.of("epoch")
    assert [each["epoch"] for each in epochs] == list(range(done))
    assert run.heard[-1]["event"] == "finished"
    assert run.heard[-1]["finished_early"] is True
    assert model.card.epoch == epochs[-1]["best_epoch"] + 1
    assert not (run.folder / FINISH_FILE).exists()
    # The same as a training that was never meant to be longer.
    short = Run(tmp_path / "short").train(tiny(epochs=done))
    assert model.weights() == short.weights()
    assert model.card.metrics == short.card.metrics
    state = read_run(run.folder)
    assert (state.state, state.epochs_done) == ("finished", done)


def test_a_finish_file_that_is_there_before_the_training_starts_counts(tmp_path: Path) -> None:
    # A job is asked while its engine is still being loaded.
    (tmp_path / FINISH_FILE).touch()
    run = Run(tmp_path)
    run.train(tiny())
    assert len(run.of("epoch")) == 1
    assert not (tmp_path / FINISH_FILE).exists()


def test_a_training_that_was_finished_early_goes_on_as_if_it_never_was(tmp_path: Path) -> None:
    straight = Run(tmp_path / "straight").train(tiny())
    run = Run(tmp_path / "run")
    for epoch in (0, 2):
        run.train(tiny(), FINISH_FILE, "epoch", epoch)
    assert run.train(tiny()).weights() == straight.weights()
    assert [event["epoch"] for event in run.of("epoch")] == [0, 1, 2, 3]
    assert [event["finished_early"] for event in run.of("finished")] == [True, True, False]


def test_a_training_may_be_stopped_then_finished_then_stopped(tmp_path: Path) -> None:
    straight = Run(tmp_path / "straight").train(tiny())
    run = Run(tmp_path / "run")
    asks = [
        (STOP_FILE, "training_started", 0),
        (FINISH_FILE, "training_started", 0),
        (STOP_FILE, "training_started", 1),
    ]
    for file, event, epoch in asks:
        try:
            run.train(tiny(), file, event, epoch)
        except Stopped:
            assert file == STOP_FILE
        assert not {STOP_FILE, FINISH_FILE} & {path.name for path in run.folder.iterdir()}
    assert run.train(tiny()).weights() == straight.weights()


def test_asked_in_its_last_epoch_a_training_has_not_finished_early(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(tiny(epochs=2), FINISH_FILE, "epoch", 0)
    again = Run(tmp_path)
    again.train(tiny(epochs=2), FINISH_FILE, "training_started", 1)
    assert again.heard[-1]["finished_early"] is False
    assert not (tmp_path / FINISH_FILE).exists()


def test_a_training_without_patience_left_has_not_finished_early(tmp_path: Path) -> None:
    recipe = labels_recipe(
        2,
        optimizer={"learning_rate": 0.5},
        training={"epochs": 200, "patience": 1, "validation_fraction": 0.3},
    )
    run = Run(tmp_path)
    run.train(recipe)
    assert len(run.of("epoch")) < 200
    assert run.heard[-1]["finished_early"] is False


# ---- kept epochs


def test_the_weights_of_every_nth_epoch_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    validate = Learner.validate

    def watched(learner: Learner, *arguments: Any) -> Any:
        seen.append(learner.weights())
        return validate(learner, *arguments)

    monkeypatch.setattr(Learner, "validate", watched)
    Run(tmp_path).train(tiny(epochs=7, keep_every=3, ema=0.6))
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("epoch*"))
    assert names == ["epoch_0003.safetensors", "epoch_0006.safetensors"]
    for epoch in (3, 6):
        state = load_state(tmp_path / kept_checkpoint(epoch))
        assert state["epoch"] == epoch - 1
        for name, tensor in seen[epoch - 1].items():
            assert torch.equal(state["weights"][name], tensor)


def test_keeping_epochs_changes_nothing_and_may_be_asked_for_later(tmp_path: Path) -> None:
    expected = Run(tmp_path / "none").train(tiny())
    run = Run(tmp_path / "kept")
    with pytest.raises(Stopped):
        run.train(tiny(), STOP_FILE, "epoch", 0)
    assert run.train(tiny(keep_every=1)).weights() == expected.weights()
    assert read_run(run.folder).saved_epochs[-3:] == (2, 3, 4)


# ---- models of any epoch


def test_a_model_of_a_kept_epoch_is_the_model_that_a_training_of_so_many_epochs_makes(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path / "run")
    run.train(tiny(keep_every=1))
    for epoch in (1, 3):
        path = export_model(run.folder, epoch, tmp_path / f"{epoch}.dtmodel")
        model = read_model(path)
        kept = load_state(run.folder / kept_checkpoint(epoch))["weights"]
        weights = load(model.weights())
        assert all(torch.equal(weights[name], kept[name]) for name in kept)
        row = run.of("epoch")[epoch - 1]
        assert model.card.epoch == epoch
        assert model.card.metrics == {
            "validation": {"loss": row["validation_loss"], "dice": row["validation_dice"]}
        }
        assert model.recipe == read_run(run.folder).recipe
        image = blobs_cohort().cases[0].read_image()
        assert Translator.from_model(model, CPU).translate(image).same_grid(image)


def test_the_best_epoch_can_be_made_a_model_of_in_a_run_that_was_stopped(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(Stopped):
        run.train(tiny(), STOP_FILE, "epoch", 1)
    best = read_run(run.folder).best_epoch
    assert best is not None
    model = read_model(export_model(run.folder, best, tmp_path / "best.dtmodel"))
    straight = Run(tmp_path / "straight").train(tiny(epochs=2))
    assert straight.card.epoch == best
    assert model.weights() == straight.weights()


def test_the_card_of_an_exported_model_says_what_it_learnt_from(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    made = run.train(tiny(keep_every=1))
    exported = read_model(export_model(run.folder, 1, tmp_path / "1.dtmodel"))
    cohort = dict(made.card.cohort)
    assert cohort.pop("training_seconds") > 0
    assert exported.card.cohort == cohort
    assert exported.card.seed == made.card.seed
    assert exported.card.name == made.card.name


def test_a_model_of_a_volume_recipe_has_no_dice(tmp_path: Path) -> None:
    images = [case.read_image() for case in blobs_cohort().cases]
    cohort = cohort_from_lists(images, [i.with_voxels(i.voxels // 2) for i in images])
    recipe = volume_recipe(training={"epochs": 1, "keep_every": 1})
    train(recipe, cohort, tmp_path / "run", device="cpu")
    model = read_model(export_model(tmp_path / "run", 1, tmp_path / "1.dtmodel"))
    assert set(model.card.metrics["validation"]) == {"loss"}
    assert np.isfinite(model.card.metrics["validation"]["loss"])


def test_what_was_not_kept_cannot_be_exported(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.train(tiny(keep_every=2))
    saved = read_run(run.folder).saved_epochs
    missing = next(epoch for epoch in (1, 3, 5) if epoch not in saved)
    with pytest.raises(RunError, match=f"epoch {missing} are not.*{saved[0]}.*keep_every"):
        export_model(run.folder, missing, tmp_path / "a.dtmodel")
    with pytest.raises(ModelError, match=r"ends in \.dtmodel"):
        export_model(run.folder, 2, tmp_path / "a.zip")
    (run.folder / "cohort.json").write_text("[")
    with pytest.raises(RunError, match=r"cohort\.json cannot be read"):
        export_model(run.folder, 2, tmp_path / "a.dtmodel")
    assert not (tmp_path / "a.dtmodel").exists()


# ---- memory


def test_steps_and_epochs_say_how_much_memory_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    run = Run(tmp_path)
    run.train(tiny(epochs=2))
    used = [
        event["memory"] for event in read_events(tmp_path / "events.jsonl") if "memory" in event
    ]
    assert len(used) >= len(run.of("epoch")) + len(run.of("step")) > 4
    sizes = [memory["used"] for memory in used]
    assert sizes == sorted(sizes)
    for memory in used:
        assert memory["kind"] == "process"
        # Torch alone takes 100 MB.
        assert 50e6 < memory["used"] < memory["total"]


def test_memory_is_the_largest_size_that_the_process_had() -> None:
    before = memory_use(CPU)["used"]
    block = np.ones(before + 100 * 2**20, np.uint8)
    during = memory_use(CPU)["used"]
    assert during >= block.size
    del block
    assert memory_use(CPU)["used"] >= during
