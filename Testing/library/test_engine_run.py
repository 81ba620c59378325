"""A whole training run in its folder: what it writes, refuses, and survives."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_killing
import numpy as np
import pytest
import torch
from engine_killing import Moment
from engine_samples import blobs, blobs_cohort, labels_recipe, lps_affine, volume_recipe

import DeepTranslateLib
from DeepTranslateLib.cohort import Cohort, CohortError, cohort_from_lists, split_cohort
from DeepTranslateLib.engine.device import DeviceError
from DeepTranslateLib.engine.evaluation import evaluate
from DeepTranslateLib.engine.methods.supervised import Supervised
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.jobs import Stopped, read_events
from DeepTranslateLib.model import Model, read_model
from DeepTranslateLib.recipe import Recipe, read_recipe

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a power cut would notice.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def tiny(**training: Any) -> Recipe:
    return labels_recipe(2, training={"epochs": 2, "validation_fraction": 0.3, **training})


def contents(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


# ---- killed as a process


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    """Makes processes that have torch loaded already, where the system can fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        yield multiprocessing.get_context("spawn")
        return
    context = multiprocessing.get_context("forkserver")
    # The last two are what training loads on its way.
    context.set_forkserver_preload(
        ["DeepTranslateLib.engine.run", "engine_killing", "monai.losses", "torch._dynamo"]
    )
    # Not all versions of Python pass their own path on to what is preloaded.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    yield context
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def run_in(processes: Any, folder: Path, moment: Moment | None = None, seconds: float = 0.0) -> Any:
    process = processes.Process(target=engine_killing.train, args=(str(folder), moment, seconds))
    process.start()
    return process


def finished(process: Any) -> int:
    process.join(60)
    assert process.exitcode is not None
    return int(process.exitcode)


def outcome(folder: Path) -> tuple[str, int, Any]:
    """Checksum of the weights, epoch and metrics of the model that a run made."""
    card = read_model(folder / "model.dtmodel").card
    return card.weights_sha256, card.epoch, card.metrics


@pytest.fixture(scope="module")
def never_killed(processes: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("straight")
    assert finished(run_in(processes, folder, seconds=1e9)) == 0
    return outcome(folder)


MOMENTS = [
    Moment("event", "split", 1),
    Moment("before", "recipe.json", 1),
    Moment("event", "training_started", 1),
    Moment("step", "", 1),
    Moment("step", "", 6),
    Moment("half", "checkpoint", 1),
    Moment("half", "checkpoint", 7),
    Moment("before", "last.safetensors", 3),
    Moment("after", "last.safetensors", 4),
    Moment("after", "best.safetensors", 1),
    Moment("event", "epoch", 2),
    Moment("event", "validating", 1),
    Moment("before", "model.dtmodel", 1),
    Moment("after", "model.dtmodel", 1),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: f"{m.what} {m.name} {m.number}")
def test_killed_at_any_moment_a_run_goes_on_to_the_same_model(
    processes: Any, never_killed: Any, tmp_path: Path, moment: Moment
) -> None:
    assert finished(run_in(processes, tmp_path, moment)) == -9
    assert (tmp_path / "model.dtmodel").exists() == (moment.what == "after" and "dt" in moment.name)
    assert finished(run_in(processes, tmp_path)) == 0
    assert outcome(tmp_path) == never_killed
    events = read_events(tmp_path / "events.jsonl")
    assert events[-1]["event"] == "finished"


def test_killed_again_and_again_a_run_ends_in_the_same_model(
    processes: Any, never_killed: Any, tmp_path: Path
) -> None:
    deaths = 0
    while not (tmp_path / "model.dtmodel").exists():
        # Each life gets four checkpoints further.
        code = finished(run_in(processes, tmp_path, Moment("after", "last.safetensors", 4)))
        deaths += code == -9
        assert deaths < 20
    assert deaths >= 3
    assert outcome(tmp_path) == never_killed


@pytest.mark.parametrize("lines", [3, 5])
def test_killed_from_outside_a_run_goes_on_to_the_same_model(
    processes: Any, never_killed: Any, tmp_path: Path, lines: int
) -> None:
    process = run_in(processes, tmp_path)
    path = tmp_path / "events.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert process.is_alive()
        time.sleep(0.002)
    process.kill()
    assert finished(process) == -9
    assert finished(run_in(processes, tmp_path)) == 0
    assert outcome(tmp_path) == never_killed


# ---- stopped


def test_a_stop_file_ends_a_run_which_can_go_on(tmp_path: Path) -> None:
    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["epoch"] == 0:
            (tmp_path / "run" / "stop").touch()

    with pytest.raises(Stopped, match="epoch 2, step 1"):
        train(tiny(), blobs_cohort(), tmp_path / "run", sink=on_event)
    assert not (tmp_path / "run" / "model.dtmodel").exists()
    model = train(tiny(), blobs_cohort(), tmp_path / "run")
    straight = train(tiny(), blobs_cohort(), tmp_path / "straight")
    assert model.weights() == straight.weights()
    assert not (tmp_path / "run" / "stop").exists()


@pytest.mark.parametrize("when", ["checking_cohort", "split", "training_started"])
def test_a_stop_file_counts_from_the_first_event_on(tmp_path: Path, when: str) -> None:
    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == when:
            (tmp_path / "stop").touch()

    with pytest.raises(Stopped):
        train(tiny(), blobs_cohort(), tmp_path, sink=on_event)


def test_whoever_starts_a_run_can_stop_it(tmp_path: Path) -> None:
    answers = iter([False, False, True])
    with pytest.raises(Stopped, match="epoch 1, step 3"):
        train(tiny(), blobs_cohort(), tmp_path, should_stop=lambda: next(answers))


# ---- what a run writes


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model, list[dict[str, Any]]]:
    """A finished run with "auto" spacing."""
    folder = tmp_path_factory.mktemp("done")
    heard: list[dict[str, Any]] = []
    recipe = dataclasses.replace(
        tiny(epochs=4),
        preprocessing=dataclasses.replace(tiny().preprocessing, spacing="auto"),
    )
    model = train(recipe, blobs_cohort(), folder, sink=heard.append)
    return folder, model, heard


def test_the_folder_holds_recipe_cohort_events_checkpoints_and_model(done: Any) -> None:
    folder, _, _ = done
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints",
        "cohort.json",
        "events.jsonl",
        "model.dtmodel",
        "previews",
        "recipe.json",
    ]


def test_the_recipe_in_the_folder_can_be_read_again_and_has_the_spacing_in_mm(done: Any) -> None:
    folder, model, _ = done
    recipe = read_recipe(folder / "recipe.json")
    assert recipe.preprocessing.spacing == 1.0
    assert recipe == model.recipe == read_model(folder / "model.dtmodel").recipe
    assert recipe.training.epochs == 4


def test_the_card_tells_the_best_epoch_and_how_it_did(done: Any) -> None:
    _, model, heard = done
    losses = [event["validation_loss"] for event in heard if event["event"] == "epoch"]
    assert model.card.epoch == int(np.argmin(losses)) + 1
    assert model.card.metrics["validation"]["loss"] == pytest.approx(min(losses))
    assert model.card.deeptranslate == DeepTranslateLib.__version__
    assert model.card.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert model.card.cohort["training_subjects"] == 2
    assert model.card.cohort["validation_subjects"] == 1
    assert model.card.cohort["training"]["slices"] == 8
    split = split_cohort(blobs_cohort(), 0.3, 0)
    expected = evaluate(Translator.from_model(model, CPU), split.validation)
    assert model.card.metrics["validation"]["dice"] == expected["dice"]


def test_the_model_is_that_of_the_best_epoch_not_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = []
    for losses in ([3.0, 1.0], [3.0, 1.0, 2.0]):
        # One for each of the four validation slices.
        each = iter([loss for loss in losses for _ in range(4)])
        monkeypatch.setattr(
            Supervised, "validation_loss", lambda *_, each=each: torch.tensor(next(each))
        )
        folder = tmp_path / str(len(losses))
        models.append(train(tiny(epochs=len(losses)), blobs_cohort(), folder))
    assert [model.card.epoch for model in models] == [2, 2]
    assert [model.card.metrics["validation"]["loss"] for model in models] == [1, 1]
    assert models[0].weights() == models[1].weights()


def test_listener_and_file_have_the_same_events_from_the_check_to_the_end(done: Any) -> None:
    folder, model, heard = done
    assert read_events(folder / "events.jsonl") == heard
    names = [
        event["event"] for event in heard if event["event"] not in ("warning", "step", "preview")
    ]
    assert names == [
        *("checking_cohort", "split", "training_started"),
        *("epoch",) * 4,
        *("validating", "finished"),
    ]
    assert heard[-1]["model"] == str(model.path) == str(folder / "model.dtmodel")
    assert heard[-1]["best_epoch"] == model.card.epoch


def test_the_cohort_in_the_folder_says_which_slices_of_which_files_did_what(
    tmp_path: Path,
) -> None:
    cohort = on_disk(tmp_path / "data", slices=(0, 2))
    train(tiny(epochs=1), cohort, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "cohort.json").read_text())
    everything = [*written["training"], *written["validation"], *written["test"]]
    assert sorted(case["image"] for case in everything) == sorted(
        str(case.image) for case in cohort.cases
    )
    assert all(case["slices"] == [0, 2] for case in everything)
    assert {case["subject"] for case in written["training"]}.isdisjoint(
        case["subject"] for case in written["validation"]
    )


def on_disk(folder: Path, slices: tuple[int, ...] | None = None) -> Cohort:
    folder.mkdir()
    images, targets = [], []
    for number, case in enumerate(blobs_cohort().cases):
        images.append(write_image(case.read_image(), folder / f"{number}.nii.gz"))
        targets.append(write_image(case.read_target(), folder / f"{number}-labels.nii.gz"))
    names = [f"subject {number}" for number in range(len(images))]
    return cohort_from_lists(images, targets, names, [slices] * len(images))


def test_files_and_images_in_memory_train_the_same_model(tmp_path: Path) -> None:
    in_memory = train(tiny(), blobs_cohort(), tmp_path / "memory")
    from_files = train(tiny(), on_disk(tmp_path / "data"), tmp_path / "files")
    assert in_memory.weights() == from_files.weights()


def test_too_many_slices_for_memory_train_the_same_model_and_leave_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(tiny(), blobs_cohort(), tmp_path / "memory")
    monkeypatch.setattr("DeepTranslateLib.engine.dataset.MEMORY_LIMIT", 0)
    paged = train(tiny(), blobs_cohort(), tmp_path / "files")
    assert paged.weights() == expected.weights()
    assert not (tmp_path / "files" / "cache").exists()


def test_the_model_translates_and_remembers_its_labels(done: Any) -> None:
    _, model, _ = done
    voxels, _ = blobs(9)
    found = Translator.from_model(model, CPU).translate(Image(voxels, lps_affine()))
    assert set(np.unique(found.voxels)) <= {0, 10, 20}


def test_a_volume_is_trained_and_its_error_is_in_the_card(tmp_path: Path) -> None:
    pairs = [blobs(seed)[0] for seed in range(3)]
    cohort = cohort_from_lists(
        [Image(voxels, lps_affine()) for voxels in pairs],
        [Image((voxels - 1000) // 2, lps_affine()) for voxels in pairs],
    )
    model = train(volume_recipe(training={"epochs": 1}), cohort, tmp_path)
    assert 0 < model.card.metrics["validation"]["mean_absolute_error"] < 2000


def test_a_single_coronal_subject_is_split_along_its_coronal_slices(tmp_path: Path) -> None:
    # Two axial slices, sixteen coronal ones.
    voxels, labels = (array[:2] for array in blobs(1))
    cohort = cohort_from_lists([Image(voxels, lps_affine())], [Image(labels, lps_affine())])
    recipe = dataclasses.replace(
        tiny(epochs=1), sampling=dataclasses.replace(tiny().sampling, plane="coronal")
    )
    heard: list[dict[str, Any]] = []
    train(recipe, cohort, tmp_path, sink=heard.append)
    (start,) = (event for event in heard if event["event"] == "training_started")
    assert start["slices"] + start["validation_slices"] == 16
    assert start["validation_slices"] >= 3


def test_a_finished_run_may_be_given_more_epochs(tmp_path: Path) -> None:
    straight = train(tiny(epochs=3), blobs_cohort(), tmp_path / "straight")
    train(tiny(epochs=1), blobs_cohort(), tmp_path / "run")
    longer = train(tiny(epochs=3), blobs_cohort(), tmp_path / "run")
    assert longer.weights() == straight.weights()
    assert read_recipe(tmp_path / "run" / "recipe.json").training.epochs == 3


# ---- what a run refuses


def test_a_cohort_with_faults_is_refused_before_anything_but_events_is_written(
    tmp_path: Path,
) -> None:
    case = blobs_cohort().cases[0]
    cohort = Cohort((case, dataclasses.replace(case, subject="twin")), "a list")
    with pytest.raises(CohortError, match=r"(?s)nothing was trained.*twin"):
        train(tiny(), cohort, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["events.jsonl"]
    assert read_events(tmp_path / "run" / "events.jsonl")[0]["event"] == "checking_cohort"


@pytest.mark.parametrize("other", ["recipe", "data"])
def test_a_folder_of_another_run_is_refused_and_left_as_it_is(tmp_path: Path, other: str) -> None:
    train(tiny(), blobs_cohort(), tmp_path)
    files = (
        *("recipe.json", "cohort.json", "model.dtmodel"),
        *("checkpoints/last.safetensors", "checkpoints/best.safetensors"),
    )
    before = contents(tmp_path, *files)
    recipe = tiny(seed=5) if other == "recipe" else tiny()
    cohort = blobs_cohort() if other == "recipe" else blobs_cohort(4)
    with pytest.raises(TrainingError, match="new folder"):
        train(recipe, cohort, tmp_path)
    assert contents(tmp_path, *files) == before


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DeviceError):
        train(tiny(), blobs_cohort(), tmp_path / "run", device="abacus")
    assert not (tmp_path / "run").exists()
