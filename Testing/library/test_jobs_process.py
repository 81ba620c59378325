"""Whatever happens to either side, nothing is left running and somebody is told why."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from job_samples import (
    ENDLESS,
    living,
    recipe,
    seconds_until_gone,
    train_job,
    translate_job,
    write_cohort,
    write_untrained_model,
    write_volume,
)

from DeepTranslateLib.jobs import (
    CheckJob,
    Job,
    JobError,
    RunningJob,
    Stopped,
    Worker,
    read_result,
    write_job,
)
from DeepTranslateLib.schema import to_json

PATIENCE = 120.0
LIMIT_OF_CANCEL = 2.0


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory, cohort: Path) -> dict[str, Job]:
    """Jobs that take longer than any test waits."""
    folder = tmp_path_factory.mktemp("endless")
    model = write_untrained_model(folder / "m.dtmodel", channels=8)
    volume = write_volume(folder / "v.nrrd", 3000, 128)
    return {
        "translate": translate_job(model, volume),
        "train": train_job(cohort, epochs=ENDLESS),
    }


@pytest.fixture
def check(cohort: Path) -> CheckJob:
    """A job that is soon done, and without torch."""
    return CheckJob(to_json(recipe()), str(cohort))


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def wait_until(running: RunningJob, reached: Callable[[dict[str, Any]], bool]) -> None:
    """Follow a job to a moment; fails the test where the job ends before."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        state = running.state
        if any(reached(event) for event in running.poll()):
            return
        assert state == "running", running.error and running.error.report
        time.sleep(0.005)
    raise AssertionError("the moment never came")


def at_work(event: dict[str, Any]) -> bool:
    """In the midst of a translation or a training."""
    return bool(event.get("done") and event.get("stage") == "translating") or (
        event["event"] == "epoch"
    )


def with_module(folder: Path, name: str, code: str) -> dict[str, str]:
    """An environment in which Python finds a module before all others of this name."""
    folder.mkdir()
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    return {**os.environ, "PYTHONPATH": str(folder)}


# ---- cancel


MOMENTS: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
    "a worker begins": ("train", lambda event: event["event"] == "job_started"),
    "an image is read": ("translate", lambda event: event.get("stage") == "reading"),
    "a model is loaded": ("translate", lambda event: event.get("stage") == "loading the model"),
    "a volume is translated": ("translate", at_work),
    "a cohort is checked": ("train", lambda event: event["event"] == "checking_cohort"),
    "a training starts": ("train", lambda event: event["event"] == "training_started"),
    "a training goes on": ("train", at_work),
}


def cancelled(worker: Worker, folder: Path, job: Job, moment: Any, delay: float) -> float:
    """Cancel a job a little after a moment; returns how long it took until all was gone."""
    running = worker.start(write_job(folder, job))
    session = worker.pid
    assert session is not None
    if moment is not None:
        wait_until(running, moment)
    time.sleep(delay)
    began = time.monotonic()
    running.cancel()
    assert time.monotonic() - began < 0.5
    seconds_until_gone(session, LIMIT_OF_CANCEL)
    seconds = time.monotonic() - began
    with pytest.raises(Stopped):
        running.wait(PATIENCE)
    assert running.state == "stopped"
    assert not worker.busy
    assert worker.pid is None
    assert read_result(folder) is None
    return seconds


@pytest.mark.parametrize("name", MOMENTS)
def test_cancel_leaves_nothing_running_after_two_seconds_when(
    tmp_path: Path, worker: Worker, endless: dict[str, Job], name: str
) -> None:
    kind, moment = MOMENTS[name]
    cancelled(worker, tmp_path, endless[kind], moment, 0.0)


def test_cancel_before_the_worker_has_begun_leaves_nothing_running(
    tmp_path: Path, worker: Worker, endless: dict[str, Job]
) -> None:
    for number, delay in enumerate((0.0, 0.05, 0.1)):
        cancelled(worker, tmp_path / str(number), endless["train"], None, delay)


@pytest.mark.slow
def test_cancel_leaves_nothing_running_fifty_times_in_a_row(
    tmp_path: Path, worker: Worker, endless: dict[str, Job]
) -> None:
    rng = random.Random(0)
    moments = [None, *MOMENTS]
    for number in range(50):
        name = moments[number % len(moments)]
        kind, moment = MOMENTS[name] if name else ("train", None)
        folder = tmp_path / str(number)
        cancelled(worker, folder, endless[kind], moment, rng.uniform(0.0, 0.5))


def test_a_cancelled_training_has_saved_what_it_learnt(
    tmp_path: Path, worker: Worker, endless: dict[str, Job]
) -> None:
    cancelled(worker, tmp_path, endless["train"], at_work, 0.0)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    running = worker.start(tmp_path)
    heard: list[dict[str, Any]] = []

    def started(event: dict[str, Any]) -> bool:
        heard.append(event)
        return bool(event["event"] == "training_started")

    wait_until(running, started)
    assert heard[-1]["resumed"] is True
    assert heard[-1]["epoch"] >= max(e["epoch"] for e in events if e["event"] == "epoch")


def test_the_next_job_after_a_cancelled_one_has_a_new_worker(
    tmp_path: Path, worker: Worker, endless: dict[str, Job], check: CheckJob
) -> None:
    cancelled(worker, tmp_path / "a", endless["train"], None, 0.0)
    assert worker.start(write_job(tmp_path / "b", check)).wait(PATIENCE)["faults"]


def test_cancel_ends_what_does_not_listen_and_what_it_started(
    tmp_path: Path, endless: dict[str, Job]
) -> None:
    # Deaf to signals and to its input, with a child that is, too.
    code = """
        import os, signal, subprocess, sys
        if "DeepTranslateLib" in " ".join(sys.orig_argv):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal = lambda *arguments: signal.SIG_IGN
            subprocess.Popen(["sleep", "1000"])
            os._exit = lambda code: None
    """
    worker = Worker(environment=with_module(tmp_path / "deaf", "sitecustomize", code))
    running = worker.start(write_job(tmp_path / "job", endless["translate"]))
    wait_until(running, lambda event: event["event"] == "job_started")
    session = worker.pid
    assert session is not None
    assert {"sleep"} < {process.name() for process in living(session)}
    os.killpg(session, signal.SIGSTOP)
    running.cancel(grace=0.2)
    assert seconds_until_gone(session, LIMIT_OF_CANCEL) >= 0.2
    with pytest.raises(Stopped):
        running.wait(PATIENCE)


def test_close_ends_a_running_job_and_may_be_repeated(
    tmp_path: Path, worker: Worker, endless: dict[str, Job]
) -> None:
    running = worker.start(write_job(tmp_path, endless["translate"]))
    session = worker.pid
    assert session is not None
    worker.close()
    assert living(session) == []
    assert running.state == "stopped"
    worker.close()


# ---- idle


def test_an_idle_worker_leaves_and_the_next_job_has_another(
    tmp_path: Path, check: CheckJob
) -> None:
    worker = Worker(idle_seconds=0.2)
    pids = []
    for number in range(2):
        running = worker.start(write_job(tmp_path / str(number), check))
        pids.append(worker.pid)
        assert running.wait(PATIENCE)["split"]
        assert pids[-1] is not None
        seconds_until_gone(pids[-1], PATIENCE)
        while worker.pid is not None:
            time.sleep(0.01)
    assert pids[0] != pids[1]


def test_an_idle_worker_leaves_in_good_order(tmp_path: Path, check: CheckJob) -> None:
    for number, (idle, code) in enumerate((("0.2", 0), ("1000", 130))):
        folder = write_job(tmp_path / str(number), check)
        command = [sys.executable, "-m", "DeepTranslateLib", "run", str(folder), "--serve"]
        with subprocess.Popen(
            [*command, "--idle", idle],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            while b"job_finished" not in process.stdout.readline():
                pass
            if code:
                time.sleep(0.1)
                process.terminate()
            assert process.wait(PATIENCE) == code


def test_a_job_that_comes_while_the_worker_leaves_is_not_lost(
    tmp_path: Path, worker: Worker, check: CheckJob
) -> None:
    worker.start(write_job(tmp_path / "a", check)).wait(PATIENCE)
    first = worker.pid
    assert first is not None
    # It takes the line that names the folder and ends before it reads it.
    os.kill(first, signal.SIGSTOP)
    running = worker.start(write_job(tmp_path / "b", check))
    assert worker.pid == first
    os.kill(first, signal.SIGKILL)
    assert running.wait(PATIENCE)["split"]
    assert worker.pid not in (first, None)


def test_jobs_given_around_the_end_of_the_idle_time_are_all_done(
    tmp_path: Path, check: CheckJob
) -> None:
    idle = 0.15
    worker = Worker(idle_seconds=idle)
    for number in range(8):
        worker.start(write_job(tmp_path / str(number), check)).wait(PATIENCE)
        time.sleep(idle - 0.02 + 0.005 * number)
    worker.close()


# ---- crashes


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGSEGV, r"crashed with a memory fault while training"),
        (signal.SIGKILL, r"ended from outside while training.*memory ran out"),
        (signal.SIGABRT, r"crashed while training \(exit code -6\)"),
    ],
)
def test_a_crash_is_explained_and_does_not_stop_the_next_job(
    tmp_path: Path,
    worker: Worker,
    endless: dict[str, Job],
    check: CheckJob,
    number: int,
    said: str,
) -> None:
    running = worker.start(write_job(tmp_path / "a", endless["train"]))
    wait_until(running, at_work)
    assert worker.pid is not None
    os.kill(worker.pid, number)
    with pytest.raises(JobError, match=said) as caught:
        running.wait(PATIENCE)
    assert running.state == "failed"
    assert running.error is caught.value
    for expected in ("DeepTranslate 0", "torch 2", '"kind": "train"', "End of log.txt"):
        assert expected in caught.value.report
    if number == signal.SIGSEGV:
        assert "Segmentation fault" in caught.value.report
    assert worker.start(write_job(tmp_path / "b", check)).wait(PATIENCE)["faults"]


def test_a_python_that_cannot_run_the_worker_is_named_with_what_it_said(
    tmp_path: Path, check: CheckJob
) -> None:
    environment = with_module(tmp_path / "bad", "argparse", "raise ImportError('no argparse here')")
    running = Worker(environment=environment).start(write_job(tmp_path / "job", check))
    with pytest.raises(JobError, match="could not be started") as caught:
        running.wait(PATIENCE)
    assert "no argparse here" in caught.value.report
    with pytest.raises(JobError, match="/no/such/python cannot be started"):
        Worker(["/no/such/python"]).start(tmp_path / "job")


def test_an_error_in_a_job_is_one_paragraph_with_a_report_and_the_worker_stays(
    tmp_path: Path, worker: Worker, check: CheckJob
) -> None:
    worker.start(write_job(tmp_path / "a", check)).wait(PATIENCE)
    pid = worker.pid
    missing = CheckJob(check.recipe, "missing.csv")
    with pytest.raises(JobError, match=r"missing\.csv does not exist") as caught:
        worker.start(write_job(tmp_path / "b", missing)).wait(PATIENCE)
    assert caught.value.code == 3
    assert "\n" not in str(caught.value)
    assert "Traceback" in caught.value.report
    assert "Traceback" in (tmp_path / "b" / "log.txt").read_text()
    (tmp_path / "b" / "job.json").write_text('{"version": 1, "kind": "che')
    with pytest.raises(JobError, match=r"job\.json is no job"):
        worker.start(tmp_path / "b").wait(PATIENCE)
    assert worker.pid == pid


def test_a_folder_that_is_none_is_refused(tmp_path: Path, worker: Worker) -> None:
    with pytest.raises(JobError, match="There is no folder"):
        worker.start(tmp_path / "missing")
    assert worker.pid is None


def test_finished_without_a_result_is_a_failure(
    tmp_path: Path, endless: dict[str, Job], check: CheckJob
) -> None:
    code = """
        import os
        replace = os.replace
        def lose(source, target):
            replace(source, target)
            if str(target).endswith("result.json"):
                os.unlink(target)
        os.replace = lose
    """
    worker = Worker(environment=with_module(tmp_path / "lossy", "sitecustomize", code))
    running = worker.start(write_job(tmp_path / "job", check))
    with pytest.raises(JobError, match=r"there is no result\.json"):
        running.wait(PATIENCE)
    worker.close()


def test_a_result_of_an_earlier_start_is_not_taken_for_that_of_this_one(
    tmp_path: Path, worker: Worker, check: CheckJob
) -> None:
    worker.start(write_job(tmp_path, check)).wait(PATIENCE)
    write_job(tmp_path, CheckJob(check.recipe, "missing.csv"))
    running = worker.start(tmp_path)
    with pytest.raises(JobError):
        running.wait(PATIENCE)
    assert read_result(tmp_path) is None


# ---- the other side ends


PARENT = """
import sys, time
from DeepTranslateLib.jobs import Worker
worker = Worker()
running = worker.start(sys.argv[1])
while running.state == "running":
    for event in running.poll():
        if event["event"] == "epoch" or event.get("done") and event["stage"] == "translating":
            print(worker.pid, flush=True)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("kind", ["translate", "train"])
def test_a_worker_whose_parent_was_killed_ends(
    tmp_path: Path, endless: dict[str, Job], kind: str
) -> None:
    write_job(tmp_path, endless[kind])
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, cwd=root
    ) as parent:
        assert parent.stdout is not None
        session = int(parent.stdout.readline())
        assert living(session)
        parent.kill()
        parent.wait()
    assert seconds_until_gone(session, 10.0) < 4.0
    if kind == "train":
        assert list((tmp_path / "checkpoints").iterdir())


def test_a_worker_that_is_deaf_to_its_input_while_it_computes_is_ended_all_the_same(
    tmp_path: Path, endless: dict[str, Job]
) -> None:
    # A library call that does not return, while the parent dies.
    code = """
        import sys, time
        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "torch":
                    time.sleep(1000)
        if "DeepTranslateLib" in " ".join(sys.orig_argv):
            sys.meta_path.insert(0, Finder())
    """
    environment = with_module(tmp_path / "stuck", "sitecustomize", code)
    write_job(tmp_path / "job", endless["translate"])
    script = PARENT.replace(
        'event["event"] == "epoch"', 'event.get("stage") == "loading the model"'
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "job")],
        stdout=subprocess.PIPE,
        cwd=root,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        session = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    assert 1.0 < seconds_until_gone(session, 10.0) < 4.0


def test_a_parent_that_ends_without_closing_leaves_no_worker(
    tmp_path: Path, check: CheckJob
) -> None:
    write_job(tmp_path, check)
    script = (
        "import sys; from DeepTranslateLib.jobs import Worker; worker = Worker();"
        "worker.start(sys.argv[1]).wait(); print(worker.pid)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        timeout=PATIENCE,
    )
    assert seconds_until_gone(int(done.stdout), 10.0) < 2.0


# ---- noise


def test_noisy_libraries_do_not_spoil_the_events_and_are_kept_in_the_log(
    tmp_path: Path, cohort: Path
) -> None:
    code = """
        import ctypes, os, sys, threading, time
        def shout():
            libc = ctypes.CDLL(None)
            while True:
                print('{"event": "epoch", "epoch": 99}')
                print("from Python to stderr", file=sys.stderr)
                os.write(1, b'from C without an end')
                os.write(2, b'\\xff\\x00 no text')
                libc.puts(b'{"event": "job_finished", "folder": "x", "result": {}}')
                libc.fflush(None)
                time.sleep(0.001)
        if "DeepTranslateLib" in " ".join(sys.orig_argv):
            os.write(1, b'before anything else, without an end')
            import DeepTranslateLib.cli.worker as worker
            take = worker._Channel.__init__
            def take_and_shout(self):
                take(self)
                threading.Thread(target=shout, daemon=True).start()
            worker._Channel.__init__ = take_and_shout
    """
    # The library is found through PYTHONPATH, which sitecustomize sees.
    worker = Worker(environment=with_module(tmp_path / "noisy", "sitecustomize", code))
    events: list[dict[str, Any]] = []
    job = train_job(cohort, epochs=3)
    worker.start(write_job(tmp_path / "job", job)).wait(PATIENCE, events.append)
    worker.close()
    assert [e["epoch"] for e in events if e["event"] == "epoch"] == [0, 1, 2]
    assert [events[0]["event"], events[-1]["event"]] == ["job_started", "job_finished"]
    log = (tmp_path / "job" / "log.txt").read_bytes()
    for noise in (b'"epoch": 99', b"stderr", b"without an end", b"\xff\x00", b"job_finished"):
        assert noise in log


# ---- without what is heavy


def test_a_cohort_is_checked_without_torch_and_without_what_only_people_need(
    tmp_path: Path, check: CheckJob
) -> None:
    code = """
        import sys
        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "monai", "safetensors", "rich", "jinja2"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Finder())
    """
    worker = Worker(environment=with_module(tmp_path / "bare", "sitecustomize", code))
    assert worker.start(write_job(tmp_path / "job", check)).wait(PATIENCE)["split"]["training"]
    job = train_job(Path(check.cohort), epochs=1)
    with pytest.raises(JobError, match=r"The Python package '\w+' is not installed") as caught:
        worker.start(write_job(tmp_path / "train", job)).wait(PATIENCE)
    assert caught.value.code == 5
    worker.close()


def test_these_tests_leave_no_worker() -> None:
    def workers() -> list[psutil.Process]:
        found = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "-m DeepTranslateLib run " in " ".join(process.cmdline()):
                    found.append(process)
        return found

    # One that was just told to end has as long as a cancelled job; one left over would stay.
    end = time.monotonic() + 5
    while workers() and time.monotonic() < end:
        time.sleep(0.05)
    assert [process.cmdline() for process in workers()] == []
