"""Worker and RunningJob: what a panel, a script or a test holds of jobs in another process."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import DeepTranslateLib
from DeepTranslateLib.jobs.crash import crash_error
from DeepTranslateLib.jobs.descriptions import DOING, RESULT_FILE, job_kind, read_job, read_result
from DeepTranslateLib.jobs.events import FINISH_FILE, STOP_FILE, Stopped
from DeepTranslateLib.jobs.process import WorkerProcess
from DeepTranslateLib.jobs.report import JobError

_LIBRARY_PARENT = Path(DeepTranslateLib.__file__).resolve().parents[1]
_ENDINGS = ("job_finished", "job_stopped", "job_failed")
# From the polite end of an idle process, or the signal to a busy one, to the kill.
_PATIENCE_SECONDS = 0.5


def worker_environment(base: Mapping[str, str]) -> dict[str, str]:
    """The variables that a worker starts with.

    It finds this library, speaks UTF-8, and on Linux keeps freed memory for the next slice, which
    took half of the time of a translation when it was given back page by page.

    Args:
        base: All other variables.
    """
    found = dict(base)
    paths = [str(_LIBRARY_PARENT), *filter(None, [found.get("PYTHONPATH")])]
    found["PYTHONPATH"] = os.pathsep.join(paths)
    found["PYTHONUTF8"] = "1"
    if sys.platform.startswith("linux"):
        found.setdefault(
            "GLIBC_TUNABLES",
            "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592"
            ":glibc.malloc.hugetlb=1",
        )
    return found


class Worker:
    """A process that does one job after another, and leaves when it has had none for a while.

    Args:
        python: The command of the Python that runs it; this one where None.
        environment: All of its environment variables; None: those of this process.
        idle_seconds: How long it waits for the next job with everything loaded.
    """

    def __init__(
        self,
        python: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        idle_seconds: float = 300.0,
    ) -> None:
        self._python = list(python) if python is not None else [sys.executable]
        base = os.environ if environment is None else environment
        self._environment = worker_environment(base)
        self._idle_seconds = idle_seconds
        self._lock = threading.RLock()
        self._process: WorkerProcess | None = None
        self._job: RunningJob | None = None

    @property
    def busy(self) -> bool:
        """Whether a job runs, or is being cancelled."""
        return self._job is not None

    @property
    def job(self) -> RunningJob | None:
        """The job that runs, or is being cancelled."""
        return self._job

    @property
    def pid(self) -> int | None:
        """Id of the process; None where there is none."""
        process = self._process
        return None if process is None or process.gone.is_set() else process.pid

    def start(self, folder: str | Path) -> RunningJob:
        """Start the job of a folder, in a new process where there is none that waits for one.

        Raises:
            JobError: Another job runs, the folder is none, or Python cannot be started.
        """
        folder = Path(folder).absolute()
        if not folder.is_dir() or "\n" in str(folder):
            raise JobError(f"There is no folder {folder}. Write a job into one first.")
        with self._lock:
            if self._job is not None:
                raise JobError(
                    f"The worker is {self._job.doing} just now. Wait until it has finished, or "
                    "cancel it."
                )
            for name in (STOP_FILE, FINISH_FILE, RESULT_FILE):  # of an earlier start
                (folder / name).unlink(missing_ok=True)
            job = RunningJob(self, folder)
            self._submit(job)
            self._job = job
        return job

    def close(self, grace: float = 0.0) -> None:
        """End the process and all it started, and wait until they are gone.

        Args:
            grace: Seconds that a running job has to stop by itself.
        """
        with self._lock:
            process, job = self._process, self._job
        if job is not None:
            job.cancel(grace)
            process = job._process
        elif process is not None:
            self._end(process, None, 0.0)
        if process is not None and not process.gone.wait(grace + 2 * _PATIENCE_SECONDS):
            process.kill()  # it was being cancelled with more patience
            process.gone.wait(1.0)

    def _submit(self, job: RunningJob) -> None:
        process = self._process
        if process is not None and process.code is None:
            try:
                process.send(str(job.folder))
            except OSError:
                pass  # it was just leaving
            else:
                job._process, job._may_be_lost = process, True
                return
        command = [*self._python, "-u", "-m", "DeepTranslateLib", "run", str(job.folder)]
        command += ["--serve", "--idle", f"{self._idle_seconds:g}"]
        try:
            process = WorkerProcess(
                command, self._environment, _LIBRARY_PARENT, self._on_event, self._on_exit
            )
        except OSError as error:
            raise JobError(
                f"{self._python[0]} cannot be started ({error.strerror}). Check the Python that "
                "is set for the worker."
            ) from error
        self._process = job._process = process
        job._may_be_lost = False

    def _on_event(self, process: WorkerProcess, event: dict[str, Any]) -> None:
        with self._lock:
            job = self._job
            if job is None or job._process is not process:
                return
            job._hear(event)
            if event["event"] in _ENDINGS and not job._is_cancelled:
                self._job = None
                job._end_with(event)

    def _on_exit(self, process: WorkerProcess) -> None:
        with self._lock:
            if self._process is process:
                self._process = None
            job = self._job
            if job is None or job._process is not process:
                return
            if job._is_cancelled:
                error = None
            elif job._may_be_lost and not job._has_begun:
                # The process left, as after its idle time, just when the job was given to it.
                try:
                    self._submit(job)
                except JobError as failure:
                    error = failure
                else:
                    return
            else:
                error = crash_error(job.folder, process, job.doing if job._has_begun else None)
            self._job = None
            job._end("stopped" if error is None else "failed", error=error)

    @staticmethod
    def _end(process: WorkerProcess, job: RunningJob | None, grace: float) -> None:
        """End a process in steps: asked by a file before, then by its input, signals, force."""
        if job is not None:
            job._answered.wait(grace)
        process.close_input()
        if job is not None and not job._answered.is_set():
            process.terminate()
        if not process.gone.wait(_PATIENCE_SECONDS):
            process.kill()


class RunningJob:
    """A job in a worker.

    Attributes:
        folder: Its folder.
        kind: "translate", "train" and so on; "" where the folder holds no usable job.
        state: "running", "finished", "stopped" or "failed". Events may still be waiting for
            `poll` when it is no longer "running".
        result: What `result.json` says, once it has finished.
        error: Why it failed.
    """

    def __init__(self, worker: Worker, folder: Path) -> None:
        self.folder = folder
        self.kind = _kind(folder)
        self.state = "running"
        self.result: dict[str, Any] | None = None
        self.error: JobError | None = None
        self._worker = worker
        self._process: WorkerProcess | None = None
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._news = threading.Event()
        self._answered = threading.Event()
        self._has_begun = self._may_be_lost = self._is_cancelled = False

    @property
    def doing(self) -> str:
        """What it does, in a word: "translating"."""
        return DOING.get(self.kind, "busy")

    def poll(self) -> list[dict[str, Any]]:
        """The events since the last time."""
        events = []
        with contextlib.suppress(queue.Empty):
            while True:
                events.append(self._events.get_nowait())
        return events

    def wait(
        self,
        timeout: float | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Wait for the end of the job.

        Args:
            timeout: Seconds; None: as long as it takes.
            on_event: Called with each event, in this thread.

        Returns:
            The result.

        Raises:
            JobError: It failed.
            Stopped: It was stopped or cancelled.
            TimeoutError: It still runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._news.clear()
            state = self.state
            for event in self.poll():
                if on_event is not None:
                    on_event(event)
            if state != "running":
                break
            left = 1.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"The job in {self.folder} is not done after {timeout} s.")
            self._news.wait(min(left, 1.0))
        if self.error is not None:
            raise self.error
        if state == "stopped" or self.result is None:
            raise Stopped(f"the job in {self.folder} was stopped")
        return self.result

    def cancel(self, grace: float = 1.0) -> None:
        """End the job and its process, whatever they do; returns at once.

        The job is asked to stop (a training saves a checkpoint), after `grace` seconds told to
        end, and then killed; a second later at most nothing of it is left, and `state` is
        "stopped".
        """
        with self._worker._lock:
            process = self._process
            if self.state != "running" or self._is_cancelled or process is None:
                return
            self._is_cancelled = True
        self.stop()
        threading.Thread(
            target=Worker._end, args=(process, self, grace), name="worker cancel", daemon=True
        ).start()

    def stop(self) -> None:
        """Ask the job to stop; a training saves a checkpoint at its next step."""
        self._ask(STOP_FILE)

    def finish(self) -> None:
        """Ask a training to end after this epoch and to make the model of the best one."""
        self._ask(FINISH_FILE)

    def _ask(self, name: str) -> None:
        if self.state == "running":
            (self.folder / name).touch()

    def _hear(self, event: dict[str, Any]) -> None:
        self._has_begun = True
        if event["event"] in _ENDINGS:
            self._answered.set()
        self._events.put(event)
        self._news.set()

    def _end_with(self, event: dict[str, Any]) -> None:
        if event["event"] == "job_stopped":
            self._end("stopped")
        elif event["event"] == "job_failed":
            error = JobError(
                str(event.get("message")), str(event.get("report", "")), int(event.get("code", 1))
            )
            self._end("failed", error=error)
        else:
            try:
                result = read_result(self.folder)
                error = JobError(
                    f"The job in {self.folder} says that it has finished, and there is no "
                    f"{RESULT_FILE}. Check the free space of the disk and start it anew."
                )
            except JobError as failure:
                result, error = None, failure
            if result is None:
                self._end("failed", error=error)
            else:
                self._end("finished", result=result)

    def _end(
        self, state: str, result: dict[str, Any] | None = None, error: JobError | None = None
    ) -> None:
        self.result, self.error = result, error
        self.state = state
        self._answered.set()
        self._news.set()


def _kind(folder: Path) -> str:
    try:
        return job_kind(read_job(folder))
    except JobError:
        return ""  # the worker says what is wrong with it
