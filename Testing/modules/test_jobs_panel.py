"""Jobs in the application: its warm worker, panels that listen, and what ends them."""

import ctypes
import os
import shutil
import signal
import stat
import sys
import time

import pytest
import qt
import slicer
from job_helpers import PATIENCE, checkJob, living, waitUntil

from DeepTranslateLib.jobs import JobError, Stopped, write_job
from DeepTranslateLib.mrml import jobs

ENDLESS = 100_000
LIMIT_OF_CANCEL = 2.0


class Listener:
    """What a panel heard, in order."""

    def __init__(self, folder, job):
        self.heard = []
        self.job = jobs.PanelJob(
            jobs.applicationWorker().start(write_job(folder, job)),
            onEvent=lambda event: self.heard.append(event["event"]),
            onFinished=lambda result: self.heard.append(("finished", result)),
            onStopped=lambda: self.heard.append(("stopped",)),
            onFailed=lambda error: self.heard.append(("failed", error)),
        )

    @property
    def outcomes(self):
        return [each for each in self.heard if isinstance(each, tuple)]

    def waitUntilAtWork(self):
        waitUntil(lambda: self.heard.count("progress") > 1)


@pytest.fixture(autouse=True)
def noWorkerLeft():
    yield
    pid = jobs.applicationWorker().pid
    jobs.shutDown()
    if pid is not None:
        assert living(pid) == []


@pytest.fixture
def endless(tmp_path):
    return checkJob(tmp_path / "endless", ENDLESS)


# ---- the console


def test_the_console_waits_for_a_result_while_the_application_stays_alive(tmp_path):
    ticks, heard = [], []
    timer = qt.QTimer()
    timer.setInterval(10)
    timer.connect("timeout()", lambda: ticks.append(time.monotonic()))
    timer.start()
    result = jobs.runJob(tmp_path / "job", checkJob(tmp_path / "cohort", 200), heard.append)
    timer.stop()
    assert {fault["kind"] for fault in result["faults"]} >= {"duplicate_image"}
    assert len(ticks) > 3
    assert [heard[0]["event"], heard[-1]["event"]] == ["job_started", "job_finished"]
    assert (tmp_path / "job" / "result.json").is_file()


def test_the_console_gets_a_failure_as_an_exception_with_a_report(tmp_path):
    job = checkJob(tmp_path / "cohort")
    (tmp_path / "cohort" / "cohort.csv").unlink()
    with pytest.raises(JobError, match=r"cohort\.csv does not exist") as caught:
        jobs.runJob(tmp_path / "job", job)
    assert "Traceback" in caught.value.report


def test_an_error_in_what_listens_ends_the_job_that_nobody_waits_for_any_more(tmp_path, endless):
    def fail(event):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        jobs.runJob(tmp_path / "job", endless, fail)
    waitUntil(lambda: not jobs.applicationWorker().busy, LIMIT_OF_CANCEL)


# ---- panels


def test_a_panel_hears_all_events_and_then_the_result(tmp_path):
    listener = Listener(tmp_path / "job", checkJob(tmp_path / "cohort"))
    assert listener.job.isRunning
    waitUntil(lambda: not listener.job.isRunning)
    assert listener.heard[0] == "job_started"
    assert listener.heard[-2] == "job_finished"
    assert listener.heard[-1][0] == "finished"
    assert listener.heard[-1][1]["split"]["training"]
    assert len(listener.outcomes) == 1


def test_a_panel_hears_of_a_failure_once(tmp_path):
    job = checkJob(tmp_path / "cohort")
    (tmp_path / "cohort" / "cohort.csv").write_text("")
    listener = Listener(tmp_path / "job", job)
    waitUntil(lambda: not listener.job.isRunning)
    ((outcome, error),) = listener.outcomes
    assert outcome == "failed"
    assert "cohort.csv" in str(error)


def test_the_worker_stays_for_the_next_job_of_any_panel(tmp_path):
    job = checkJob(tmp_path / "cohort")
    pids = []
    for number in range(2):
        listener = Listener(tmp_path / str(number), job)
        pids.append(jobs.applicationWorker().pid)
        waitUntil(lambda listener=listener: not listener.job.isRunning)
    assert pids[0] == pids[1] is not None


def test_a_second_job_is_refused_while_one_runs(tmp_path, endless):
    listener = Listener(tmp_path / "a", endless)
    with pytest.raises(JobError, match="checking a cohort just now"):
        jobs.runJob(tmp_path / "b", endless)
    listener.job.cancel()
    waitUntil(lambda: not listener.job.isRunning)


@pytest.mark.parametrize("moment", ["at once", "at work"])
def test_cancel_leaves_nothing_running_after_two_seconds(tmp_path, endless, moment):
    listener = Listener(tmp_path / "job", endless)
    pid = jobs.applicationWorker().pid
    if moment == "at work":
        listener.waitUntilAtWork()
    began = time.monotonic()
    listener.job.cancel()
    assert time.monotonic() - began < 0.5
    waitUntil(lambda: not living(pid), LIMIT_OF_CANCEL)
    waitUntil(lambda: not listener.job.isRunning, LIMIT_OF_CANCEL)
    assert listener.outcomes == [("stopped",)]


def test_a_released_panel_hears_no_more_and_its_job_ends(tmp_path, endless):
    listener = Listener(tmp_path / "job", endless)
    listener.waitUntilAtWork()
    pid = jobs.applicationWorker().pid
    heard = list(listener.heard)
    listener.job.release()
    assert not listener.job.isRunning
    waitUntil(lambda: not living(pid), LIMIT_OF_CANCEL)
    waitUntil(lambda: not jobs.applicationWorker().busy, LIMIT_OF_CANCEL)
    assert listener.heard == heard


def test_closing_the_scene_ends_what_runs(tmp_path, endless):
    listener = Listener(tmp_path / "job", endless)
    listener.waitUntilAtWork()
    pid = jobs.applicationWorker().pid
    slicer.mrmlScene.Clear(0)
    waitUntil(lambda: not living(pid), LIMIT_OF_CANCEL)
    waitUntil(lambda: not listener.job.isRunning, LIMIT_OF_CANCEL)
    assert listener.outcomes == [("stopped",)]


def test_closing_the_scene_ends_what_the_console_waits_for(tmp_path, endless):
    qt.QTimer.singleShot(1500, lambda: slicer.mrmlScene.Clear(0))
    with pytest.raises(Stopped):
        jobs.runJob(tmp_path / "job", endless)


def test_closing_the_scene_leaves_an_idle_worker_alone(tmp_path):
    jobs.runJob(tmp_path / "job", checkJob(tmp_path / "cohort"))
    pid = jobs.applicationWorker().pid
    slicer.mrmlScene.Clear(0)
    assert jobs.applicationWorker().pid == pid is not None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_crash_of_the_worker_reaches_the_panel_with_advice(tmp_path, endless):
    listener = Listener(tmp_path / "job", endless)
    listener.waitUntilAtWork()
    os.killpg(jobs.applicationWorker().pid, signal.SIGKILL)
    waitUntil(lambda: not listener.job.isRunning)
    ((outcome, error),) = listener.outcomes
    assert outcome == "failed"
    assert "Start it again" in str(error) or "memory ran out" in str(error)
    assert '"kind": "check"' in error.report
    # The next job has a new worker.
    assert jobs.runJob(tmp_path / "next", checkJob(tmp_path / "cohort"))["split"]


# ---- the end of the application, and of the module


def test_the_end_of_the_application_ends_the_worker_and_removes_the_images(tmp_path, endless):
    folder = jobs.newJobFolder("check")
    assert folder.is_dir()
    assert folder != jobs.newJobFolder("check")
    if os.name != "nt":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    listener = Listener(folder, endless)
    listener.waitUntilAtWork()
    pid = jobs.applicationWorker().pid
    jobs.shutDown()
    assert living(pid) == []
    assert not folder.exists()
    waitUntil(lambda: not listener.job.isRunning)
    assert listener.outcomes == [("stopped",)]
    jobs.shutDown()


def test_only_folders_that_were_made_for_jobs_are_removed(tmp_path):
    jobs.removeJobFolder(tmp_path)
    assert tmp_path.is_dir()
    folder = jobs.newJobFolder("check")
    (folder / "image.nrrd").touch()
    jobs.removeJobFolder(str(folder))
    assert not folder.exists()


def test_a_reloaded_module_takes_the_place_of_the_worker_it_left(tmp_path):
    job = checkJob(tmp_path / "cohort")
    jobs.runJob(tmp_path / "a", job)
    old = jobs.applicationWorker().pid
    assert living(old)
    mine = {name: sys.modules[name] for name in sys.modules if name.startswith("DeepTranslateLib")}
    for name in mine:
        del sys.modules[name]
    try:
        from DeepTranslateLib.mrml import jobs as reloaded

        assert reloaded is not jobs
        from DeepTranslateLib.jobs import CheckJob

        reloaded.runJob(tmp_path / "b", CheckJob(job.recipe, job.cohort))
        new = reloaded.applicationWorker().pid
        assert new not in (old, None)
        assert living(old) == []
        # Whichever copy hears of the end of the application: nothing is left.
        jobs.shutDown()
        assert living(new) == []
    finally:
        for name in [name for name in sys.modules if name.startswith("DeepTranslateLib")]:
            del sys.modules[name]
        sys.modules.update(mine)


# ---- which Python


@pytest.fixture
def workerPython():
    settings = slicer.app.userSettings()
    before = settings.value(jobs.WORKER_PYTHON_SETTING, "")
    yield lambda path: settings.setValue(jobs.WORKER_PYTHON_SETTING, str(path))
    settings.setValue(jobs.WORKER_PYTHON_SETTING, before or "")


def test_another_python_can_be_set_for_the_worker_and_gets_its_environment(tmp_path, workerPython):
    if os.name == "nt":
        pytest.skip("a shell script stands in for the other Python")
    script, seen = tmp_path / "python", tmp_path / "seen.txt"
    script.write_text(f'#!/bin/sh\nenv > "{seen}"\nexec "{shutil.which("PythonSlicer")}" "$@"\n')
    script.chmod(0o755)
    workerPython(script)
    jobs.runJob(tmp_path / "job", checkJob(tmp_path / "cohort"))
    environment = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert environment["PYTHONUTF8"] == "1"
    first = environment["PYTHONPATH"].split(os.pathsep)[0]
    assert os.path.isdir(os.path.join(first, "DeepTranslateLib"))
    assert "PYTHONHOME" not in environment
    if sys.platform.startswith("linux"):
        assert "mmap_threshold=4294967296" in environment["GLIBC_TUNABLES"]


def test_a_change_of_the_setting_is_heeded_by_the_next_job(tmp_path, workerPython):
    job = checkJob(tmp_path / "cohort")
    jobs.runJob(tmp_path / "a", job)
    old = jobs.applicationWorker().pid
    workerPython(tmp_path / "no python")
    with pytest.raises(JobError, match=r"Python set for the worker is not there: .*no python"):
        jobs.runJob(tmp_path / "b", job)
    workerPython(sys.executable)
    jobs.runJob(tmp_path / "c", job)
    assert jobs.applicationWorker().pid != old
    assert living(old) == []


# ---- the application's interpreter


@pytest.mark.skipif(os.name == "nt", reason="usleep is POSIX's")
def test_a_job_goes_on_and_is_cancelled_though_python_runs_only_when_timers_tick(tmp_path, endless):
    # The application's main thread keeps Python to itself while it waits for events.
    sleepWithPython = ctypes.PyDLL(None).usleep

    def idleUntil(condition, patience):
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline
            sleepWithPython(90_000)
            slicer.app.processEvents()

    first = Listener(tmp_path / "a", checkJob(tmp_path / "cohort", 100))
    idleUntil(lambda: not first.job.isRunning, PATIENCE)
    assert first.heard[-1][0] == "finished"
    second = Listener(tmp_path / "b", endless)
    idleUntil(lambda: second.heard.count("progress") > 1, PATIENCE)
    pid = jobs.applicationWorker().pid
    second.job.cancel()
    idleUntil(lambda: not second.job.isRunning, LIMIT_OF_CANCEL)
    assert living(pid) == []
    third = Listener(tmp_path / "c", endless)
    idleUntil(lambda: third.heard.count("progress") > 1, PATIENCE)
    pid = jobs.applicationWorker().pid
    os.killpg(pid, signal.SIGSTOP)
    third.job.cancel()
    idleUntil(lambda: not third.job.isRunning, LIMIT_OF_CANCEL)
    assert living(pid) == []
