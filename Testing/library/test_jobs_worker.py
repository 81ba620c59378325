"""The worker does jobs: real processes, the real engine, tiny models."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_samples import (
    ENDLESS,
    recipe,
    train_job,
    translate_job,
    write_cohort,
    write_untrained_model,
    write_volume,
)

from DeepTranslateLib.image.files import read_image
from DeepTranslateLib.jobs import (
    AugmentJob,
    CheckJob,
    EstimateJob,
    ExportJob,
    JobError,
    Stopped,
    TranslateJob,
    Worker,
    read_result,
    write_job,
)
from DeepTranslateLib.model import read_model
from DeepTranslateLib.schema import to_json

PATIENCE = 120.0


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_untrained_model(tmp_path_factory.mktemp("model") / "m.dtmodel")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def image_of(cohort: Path, subject: int = 0) -> Path:
    return cohort / f"subject{subject}" / "image.nrrd"


# ---- translating


@pytest.mark.mixed_precision
def test_a_translation_is_that_of_the_engine_and_is_measured(
    tmp_path: Path, worker: Worker, cohort: Path, model: Path
) -> None:
    from DeepTranslateLib.engine.device import choose_device
    from DeepTranslateLib.engine.translation import Translator

    events: list[dict[str, Any]] = []
    job = worker.start(write_job(tmp_path, translate_job(model, image_of(cohort))))
    assert worker.busy
    result = job.wait(PATIENCE, events.append)
    assert job.state == "finished"
    assert not worker.busy
    assert result == job.result == read_result(tmp_path)
    image = read_image(image_of(cohort))
    expected = Translator.from_model(read_model(model), choose_device("cpu")).translate(image)
    output = read_image(result["output"])
    np.testing.assert_array_equal(output.voxels, expected.voxels)
    assert output.same_grid(image)
    assert len(np.unique(output.voxels)) > 1
    for row in result["totals"]:
        inside = output.voxels == row["label"]
        assert row["voxels"] == inside.sum()
        assert row["volume_ml"] == pytest.approx(inside.sum() * image.spacing.prod() / 1000)
        if inside.any():
            assert row["mean"] == pytest.approx(image.voxels[inside].mean())
        assert row["volume"] == "volume"
    assert len(result["slices"]) == 2 * len(image.voxels)
    assert result["device"] == "cpu"
    stages = [event["stage"] for event in events if event["event"] == "progress"]
    assert list(dict.fromkeys(stages)) == [
        "reading",
        "loading the model",
        "translating",
        "measuring",
        "writing",
    ]
    assert [event["event"] for event in events if event["event"] != "progress"] == [
        "job_started",
        "job_finished",
    ]
    progress = [(e["done"], e["total"]) for e in events if e.get("stage") == "translating"]
    assert progress[-1] == (4, 4)


def test_an_output_in_the_folder_is_quick_to_read_and_one_outside_is_small(
    tmp_path: Path, worker: Worker, cohort: Path, model: Path
) -> None:
    outside = tmp_path / "new folder" / "output.nrrd"
    for output, encoding in (("output.nrrd", b"raw"), (str(outside), b"gzip")):
        job = translate_job(model, image_of(cohort), output)
        result = worker.start(write_job(tmp_path / "job", job)).wait(PATIENCE)
        path = Path(result["output"])
        assert path == (tmp_path / "job" / output)
        header = path.read_bytes().split(b"\n\n")[0]
        assert b"encoding: " + encoding in header


def test_relative_paths_begin_in_the_jobs_folder(
    tmp_path: Path, worker: Worker, cohort: Path, model: Path
) -> None:
    (tmp_path / "m.dtmodel").write_bytes(model.read_bytes())
    (tmp_path / "i.nrrd").write_bytes(image_of(cohort).read_bytes())
    job = translate_job(Path("m.dtmodel"), Path("i.nrrd"))
    assert worker.start(write_job(tmp_path, job)).wait(PATIENCE)["totals"]


def test_the_worker_stays_for_the_next_job(
    tmp_path: Path, worker: Worker, cohort: Path, model: Path
) -> None:
    pids = []
    for number in range(3):
        job = translate_job(model, image_of(cohort, number))
        worker.start(write_job(tmp_path / str(number), job)).wait(PATIENCE)
        pids.append(worker.pid)
    assert pids[0] is not None
    assert len(set(pids)) == 1


def test_a_model_that_was_replaced_under_its_name_is_loaded_anew(
    tmp_path: Path, worker: Worker, cohort: Path
) -> None:
    outputs = []
    for seed in (0, 1):
        model = write_untrained_model(tmp_path / "m.dtmodel", seed)
        job = translate_job(model, image_of(cohort))
        result = worker.start(write_job(tmp_path / str(seed), job)).wait(PATIENCE)
        outputs.append(read_image(result["output"]).voxels)
    assert not np.array_equal(*outputs)


def test_a_model_gets_an_image_for_each_of_its_inputs_or_nothing(
    tmp_path: Path, worker: Worker, cohort: Path, model: Path
) -> None:
    job = TranslateJob(str(model), {"MR": str(image_of(cohort))}, "o.nrrd", "n")
    with pytest.raises(JobError, match=r"needs an image for each of its inputs \(image\).*has MR"):
        worker.start(write_job(tmp_path, job)).wait(PATIENCE)


# ---- the other kinds


def test_training_makes_a_model_in_its_folder(tmp_path: Path, worker: Worker, cohort: Path) -> None:
    events: list[dict[str, Any]] = []
    job = worker.start(write_job(tmp_path, train_job(cohort, epochs=2)))
    result = job.wait(PATIENCE, events.append)
    assert result["finished"] is True
    assert result["best_epoch"] == read_model(result["model"]).card.epoch
    assert Path(result["model"]) == tmp_path / "model.dtmodel"
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [0, 1]
    assert set(result["metrics"]["validation"]["dice"]) == {"label 1", "label 2"}


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    tmp_path: Path, worker: Worker, cohort: Path
) -> None:
    job = train_job(cohort, epochs=12)
    whole = worker.start(write_job(tmp_path / "whole", job)).wait(PATIENCE)
    running = worker.start(write_job(tmp_path / "stopped", job))
    stops = 0

    def stop_sometimes(event: dict[str, Any]) -> None:
        if event["event"] == "training_started" or event.get("epoch") == 5:
            running.stop()

    while True:
        try:
            result = running.wait(PATIENCE, stop_sometimes)
        except Stopped:
            assert running.state == "stopped"
            assert (tmp_path / "stopped" / "checkpoints").is_dir()
            stops += 1
            assert stops < 20
            running = worker.start(tmp_path / "stopped")
            if stops > 2:
                result = running.wait(PATIENCE)
                break
        else:
            break
    assert stops > 0
    weights = [read_model(each["model"]).card.weights_sha256 for each in (whole, result)]
    assert weights[0] == weights[1]


def test_a_job_that_is_stopped_before_it_has_begun_stops(
    tmp_path: Path, worker: Worker, cohort: Path
) -> None:
    running = worker.start(write_job(tmp_path, train_job(cohort, epochs=ENDLESS)))
    running.stop()
    with pytest.raises(Stopped):
        running.wait(PATIENCE)
    assert not worker.busy
    assert not (tmp_path / "stop").exists()


def test_a_training_that_shall_finish_makes_the_model_of_its_best_epoch(
    tmp_path: Path, worker: Worker, cohort: Path
) -> None:
    running = worker.start(write_job(tmp_path, train_job(cohort, epochs=ENDLESS)))
    result = running.wait(
        PATIENCE, lambda event: running.finish() if event.get("epoch") == 2 else None
    )
    assert result["finished"] is False
    assert read_model(result["model"]).card.epoch == result["best_epoch"] < 1000
    exported = tmp_path / "models" / "epoch.dtmodel"
    job = ExportJob(str(tmp_path), result["best_epoch"], str(exported))
    made = worker.start(write_job(tmp_path / "export", job)).wait(PATIENCE)
    assert Path(made["model"]) == exported
    assert read_model(exported).card.epoch == result["best_epoch"]


def test_a_training_begins_with_the_weights_of_the_model_it_is_given(
    tmp_path: Path, worker: Worker, cohort: Path
) -> None:
    job = train_job(cohort, epochs=1)
    first = worker.start(write_job(tmp_path / "a", job)).wait(PATIENCE)
    fields = {**vars(job), "initial_model": first["model"]}
    tuned = worker.start(write_job(tmp_path / "b", type(job)(**fields))).wait(PATIENCE)
    digests = {read_model(each["model"]).card.weights_sha256 for each in (first, tuned)}
    assert len(digests) == 2


def test_a_check_says_what_is_wrong_and_who_teaches(
    tmp_path: Path, worker: Worker, cohort: Path
) -> None:
    job = CheckJob(to_json(recipe()), str(cohort))
    result = worker.start(write_job(tmp_path, job)).wait(PATIENCE)
    assert {fault["kind"] for fault in result["faults"]} == {"partly_labelled"}
    assert all(fault["advice"] and fault["severity"] == "warning" for fault in result["faults"])
    parts = {name: result["split"][name] for name in ("training", "validation", "test")}
    assert [len(part) for part in parts.values()] == [2, 1, 0]
    subjects = [entry["subject"] for part in parts.values() for entry in part]
    assert sorted(subjects) == ["subject0", "subject1", "subject2"]
    assert "held out" in result["split"]["note"]


def test_a_cohort_that_cannot_be_split_is_still_checked(tmp_path: Path, worker: Worker) -> None:
    cohort = write_cohort(tmp_path / "cohort", subjects=1)
    (cohort / "subject0" / "image.nrrd").write_bytes(b"NRRD0004\ndamaged")
    job = CheckJob(to_json(recipe()), str(cohort))
    result = worker.start(write_job(tmp_path / "job", job)).wait(PATIENCE)
    assert "unreadable_image" in {fault["kind"] for fault in result["faults"]}
    assert result["split"]["training"] == []
    assert result["split"]["note"]


def test_an_estimate_is_measured(tmp_path: Path, worker: Worker, cohort: Path) -> None:
    job = EstimateJob(to_json(recipe(epochs=7)), str(cohort), "cpu")
    result = worker.start(write_job(tmp_path, job)).wait(PATIENCE)
    assert result["seconds_per_epoch"] > 0
    assert result["seconds"] >= 7 * result["seconds_per_epoch"]
    assert result["training_slices"] == 8


def test_an_augmented_slice_comes_as_arrays(tmp_path: Path, worker: Worker, cohort: Path) -> None:
    target = image_of(cohort).with_name("labels.nrrd")
    job = AugmentJob(to_json(recipe()), str(image_of(cohort)), str(target), 1, 0, 3)
    result = worker.start(write_job(tmp_path, job)).wait(PATIENCE)
    with np.load(tmp_path / result["file"]) as arrays:
        size = arrays["image"].shape
        assert arrays["target"].shape == size
        assert arrays["images"].shape == arrays["targets"].shape == (3, *size)
        assert set(np.unique(arrays["target"])) <= {0, 10, 20}


# ---- from the shell


def run_in_shell(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "DeepTranslateLib", "run", str(folder), *options]
    return subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_the_shell_does_a_job_whatever_its_standard_input_is(tmp_path: Path, cohort: Path) -> None:
    done = run_in_shell(write_job(tmp_path, CheckJob(to_json(recipe()), str(cohort))))
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert [events[0]["event"], events[-1]["event"]] == ["job_started", "job_finished"]
    assert events[-1]["result"] == read_result(tmp_path)


def test_the_shell_hears_of_a_failure_by_the_exit_code(tmp_path: Path) -> None:
    done = run_in_shell(tmp_path / "missing")
    event = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, event["event"], event["code"]) == (3, "job_failed", 3)
    assert "missing" in event["message"]


def test_a_signal_stops_a_training_in_good_order(tmp_path: Path, cohort: Path) -> None:
    folder = write_job(tmp_path, train_job(cohort, epochs=ENDLESS))
    command = [sys.executable, "-m", "DeepTranslateLib", "run", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b'"epoch"' in line:
                break
        process.terminate()
        last = process.stdout.readlines()[-1]
        assert process.wait(PATIENCE) == 130
    assert json.loads(last)["event"] == "job_stopped"
    assert list((tmp_path / "checkpoints").iterdir())


def test_a_long_job_can_be_waited_for_in_pieces(
    tmp_path: Path, worker: Worker, model: Path
) -> None:
    volume = write_volume(tmp_path / "v.nrrd", 400, 64)
    running = worker.start(write_job(tmp_path / "job", translate_job(model, volume)))
    with pytest.raises(TimeoutError):
        running.wait(0.0)
    with pytest.raises(JobError, match="translating just now"):
        worker.start(tmp_path / "job")
    seen = []
    while running.state == "running":
        seen.extend(running.poll())
        time.sleep(0.01)
    seen.extend(running.poll())
    assert [seen[0]["event"], seen[-1]["event"]] == ["job_started", "job_finished"]
    assert running.wait(0.0) == running.result
