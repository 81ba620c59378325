"""A training's folder as it is read without the engine, whatever state it was left in."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from engine_samples import blobs_cohort, labels_recipe

from DeepTranslateLib.engine.run import train
from DeepTranslateLib.jobs import Stopped
from DeepTranslateLib.recipe import read_recipe
from DeepTranslateLib.runfolder import RunError, kept_checkpoint, read_run

RECIPE = labels_recipe(2, training={"epochs": 4, "keep_every": 2, "validation_fraction": 0.3})


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a power cut would notice.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("finished")
    heard: list[dict[str, Any]] = []
    train(RECIPE, blobs_cohort(), folder, device="cpu", sink=heard.append)
    return folder, heard


@pytest.fixture
def folder(finished: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def stopped(folder: Path, epoch: int) -> None:
    """Train until some step after an epoch (from 1) is done."""
    done = [0]

    def count(event: dict[str, Any]) -> None:
        done[0] += event["event"] == "epoch"

    with pytest.raises(Stopped):
        train(
            RECIPE,
            blobs_cohort(),
            folder,
            device="cpu",
            sink=count,
            should_stop=lambda: done[0] >= epoch,
        )


def test_a_finished_run_tells_its_epochs_as_its_events_did(finished: Any) -> None:
    folder, heard = finished
    run = read_run(folder)
    epochs = [event for event in heard if event["event"] == "epoch"]
    assert len(run.history) == run.epochs_done == 4
    for row, event in zip(run.history, epochs, strict=True):
        assert row == {key: event[key] for key in row}
        assert set(row) == {
            "epoch",
            "loss",
            "validation_loss",
            "validation_dice",
            "validation_metrics",
            "best_epoch",
        }
    assert run.best_epoch == heard[-1]["best_epoch"]
    assert run.saved_epochs == tuple(sorted({2, 4, run.best_epoch}))
    assert run.state == "finished"
    assert run.model == folder / "model.dtmodel"
    assert run.recipe == read_recipe(folder / "recipe.json")
    assert run.folder == folder


def test_a_stopped_run_is_unfinished_and_knows_what_it_has_kept(tmp_path: Path) -> None:
    stopped(tmp_path, 3)
    run = read_run(tmp_path)
    assert (run.state, run.model, run.epochs_done) == ("unfinished", None, 3)
    assert set(run.saved_epochs) == {2, run.best_epoch}
    assert 1 <= (run.best_epoch or 0) <= 3


def test_a_run_stopped_in_its_first_epoch_has_no_best_one(tmp_path: Path) -> None:
    stopped(tmp_path, 0)
    run = read_run(tmp_path)
    assert (run.state, run.best_epoch, run.saved_epochs, run.history) == (
        "unfinished",
        None,
        (),
        (),
    )


def test_before_the_first_checkpoint_a_run_is_new(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")
    (folder / "model.dtmodel").unlink()
    run = read_run(folder)
    assert (run.state, run.epochs_done, run.saved_epochs) == ("new", 0, ())


def test_a_finished_run_that_was_given_more_epochs_and_stopped_is_unfinished(folder: Path) -> None:
    longer = RECIPE.with_training(epochs=6)
    with pytest.raises(Stopped):
        train(longer, blobs_cohort(), folder, device="cpu", should_stop=lambda: True)
    run = read_run(folder)
    assert run.state == "unfinished"
    assert run.model is not None
    assert run.recipe.training.epochs == 6


def test_weights_kept_after_the_last_checkpoint_do_not_count(folder: Path) -> None:
    # As after a crash: the run will do that epoch again.
    shutil.copy(folder / kept_checkpoint(4), folder / kept_checkpoint(6))
    assert 6 not in read_run(folder).saved_epochs


def test_warnings_are_those_of_the_last_check_of_the_cohort(folder: Path) -> None:
    lines = [
        {"event": "checking_cohort"},
        {"event": "warning", "subject": "a", "message": "old"},
        {"event": "checking_cohort"},
        {"event": "warning", "subject": "b", "message": "new"},
        {"event": "warning", "subject": "b", "message": "new"},
    ]
    with open(folder / "events.jsonl", "a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)
    assert read_run(folder).warnings == ("b: new",)


@pytest.mark.parametrize("left", [0, 5, 300, -1])
def test_a_damaged_checkpoint_is_told_and_kept_epochs_stay(
    finished: Any, folder: Path, left: int
) -> None:
    path = folder / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    run = read_run(folder)
    assert any("damaged" in warning for warning in run.warnings)
    assert run.saved_epochs == (2, 4)
    assert run.history == read_run(finished[0]).history


@pytest.mark.parametrize("content", [b"{}", b"\x02" + b"\0" * 7 + b"{}", b"\xff" * 64])
def test_any_bytes_instead_of_a_checkpoint_are_told(folder: Path, content: bytes) -> None:
    (folder / "checkpoints" / "last.safetensors").write_bytes(content)
    assert any("damaged" in warning for warning in read_run(folder).warnings)


def test_what_is_no_training_is_refused_with_advice(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"recipe\.json is missing"):
        read_run(tmp_path)
    (folder / "recipe.json").write_text('{"name": 5}')
    with pytest.raises(RunError, match="cannot be used"):
        read_run(folder)
