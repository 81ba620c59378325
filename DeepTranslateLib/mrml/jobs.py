"""Jobs in the application: one warm worker, listened to by a timer, and never left over.

In the application a Python thread runs only while the main thread runs Python, so the threads
that listen to the worker get their turn when the timers here tick.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.jobs import Job, JobError, RunningJob, Worker, job_kind, write_job

EventCallback = Callable[[dict[str, Any]], None]

WORKER_PYTHON_SETTING = "DeepTranslate/WorkerPython"
_POLL_MILLISECONDS = 100
# What a training has to save its checkpoint before it is ended.
_GRACE_SECONDS_OF_TRAINING = 8.0
# Workers of this application. Kept where a reloaded copy of this module finds them.
_REGISTRY = "_deepTranslateWorkers"


class _State:
    """What this copy of the module holds."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.workerPython = ""
        self.running: set[RunningJob] = set()
        self.listeners: set[PanelJob] = set()
        self.folders: set[Path] = set()
        self.isConnected = False
        self.sceneObserver: int | None = None


_state = _State()


def applicationWorker() -> Worker:
    """The worker of this application; its process starts with the first job.

    Raises:
        JobError: There is no Python to run it.
    """
    python = slicer.app.userSettings().value(WORKER_PYTHON_SETTING, "") or ""
    if _state.worker is not None and (_state.worker.busy or _state.workerPython == python):
        return _state.worker
    command, environment = _pythonOf(python)
    _connect()
    for other in list(_workers()):
        if not other.busy:  # of a Python chosen before, or of this module before its reload
            other.close()
            _workers().remove(other)
    _state.worker = Worker([command], environment)
    _state.workerPython = python
    _workers().append(_state.worker)
    return _state.worker


class PanelJob:
    """Listens to a running job from the application's event loop.

    Args:
        runningJob: What `Worker.start` returned.
        onEvent: Called with each event.
        onFinished: Called with the result.
        onStopped: Called when the job was stopped or cancelled.
        onFailed: Called with the JobError.
    """

    def __init__(
        self,
        runningJob: RunningJob,
        onEvent: EventCallback | None = None,
        onFinished: Callable[[dict[str, Any]], None] | None = None,
        onStopped: Callable[[], None] | None = None,
        onFailed: Callable[[JobError], None] | None = None,
    ) -> None:
        self._job = runningJob
        self._onEvent, self._onFinished = onEvent, onFinished
        self._onStopped, self._onFailed = onStopped, onFailed
        self._events: deque[dict[str, Any]] = deque()
        self._isTicking = self._isReleased = False
        _watch(runningJob)
        _state.listeners.add(self)
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._tick)
        self._timer.start()

    @property
    def folder(self) -> Path:
        """The job's folder."""
        return self._job.folder

    @property
    def isRunning(self) -> bool:
        """Whether the job has not ended, or its end has not been reported."""
        return self in _state.listeners and not self._isReleased

    def cancel(self, grace: float = 1.0) -> None:
        """End the job and its process; `onStopped` follows when they are gone.

        Args:
            grace: Seconds that the job has to stop by itself; a training then saves a checkpoint
                at its next step. `stop` gives it as long as it takes.
        """
        self._job.cancel(grace)

    def stop(self) -> None:
        """Ask the job to stop; a training saves a checkpoint at its next step."""
        self._job.stop()

    def finish(self) -> None:
        """Ask a training to end after this epoch and to make the model of the best one."""
        self._job.finish()

    def release(self) -> None:
        """Report no more, and cancel the job where it still runs; for a widget's cleanup."""
        self._isReleased = True
        _cancel(self._job)

    def _tick(self) -> None:
        # A callback may keep the event loop going while it works.
        if self._isTicking or self not in _state.listeners:
            return
        self._isTicking = True
        try:
            time.sleep(0.002)  # the turn of the threads that listen, and of the one that cancels
            state = self._job.state
            self._events.extend(self._job.poll())
            while self._events and not self._isReleased:
                event = self._events.popleft()
                if self._onEvent is not None:
                    self._onEvent(event)
            if state != "running":
                self._timer.stop()
                # PythonQt counts a connection as a use: what the callbacks know, such as nodes
                # with their voxels, would stay in memory as long as the timer.
                self._timer.deleteLater()
                _state.listeners.discard(self)
                _state.running.discard(self._job)
                if not self._isReleased:
                    self._report(state)
        finally:
            self._isTicking = False

    def _report(self, state: str) -> None:
        if state == "failed":
            logging.error(str(self._job.error))
            if self._onFailed is not None:
                assert self._job.error is not None
                self._onFailed(self._job.error)
        elif state == "stopped":
            if self._onStopped is not None:
                self._onStopped()
        elif self._onFinished is not None:
            assert self._job.result is not None
            self._onFinished(self._job.result)


def runJob(folder: str | Path, job: Job, onEvent: EventCallback | None = None) -> dict[str, Any]:
    """Do a job and wait for it while the application stays alive; for the console and scripts.

    Args:
        folder: The job's; created where it is missing.
        job: What to do.
        onEvent: Called with each event.

    Returns:
        The result.

    Raises:
        JobError: It failed, or another job runs.
        Stopped: It was stopped, as by closing the scene.
    """
    kind = job_kind(job)
    running = applicationWorker().start(write_job(folder, job))
    _watch(running)
    logging.info(f"DeepTranslate: {running.doing} begins ({running.folder})")
    began = time.monotonic()
    try:
        while running.state == "running":
            slicer.app.processEvents()
            with contextlib.suppress(TimeoutError):
                running.wait(0.05, onEvent)
        result = running.wait(0, onEvent)
    except BaseException:
        # Such as an error in onEvent: nothing may run on that nobody waits for.
        _cancel(running)
        raise
    finally:
        _state.running.discard(running)
    logging.info(f"DeepTranslate: {kind} done after {time.monotonic() - began:.1f} s")
    return result


def newJobFolder(kind: str) -> Path:
    """A new folder for a job, which only this user can read.

    It is removed by `removeJobFolder`, or when the application ends.

    Args:
        kind: Begins its name.
    """
    parent = Path(slicer.app.temporaryPath) / "DeepTranslate"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=parent))
    _connect()
    _state.folders.add(folder)
    return folder


def removeJobFolder(folder: str | Path) -> None:
    """Remove a folder that `newJobFolder` made, with the images in it; no other."""
    folder = Path(folder)
    if folder in _state.folders:
        _state.folders.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)


def shutDown() -> None:
    """End all jobs and workers, and wait until they are gone; for the end of the application.

    A training saves its checkpoint first.
    """
    for worker in list(_workers()):
        worker.close(0.0 if worker.job is None else _graceOf(worker.job))
        _workers().remove(worker)
    _state.worker = None
    _state.running.clear()
    for folder in list(_state.folders):
        removeJobFolder(folder)
    if _state.sceneObserver is not None:
        slicer.mrmlScene.RemoveObserver(_state.sceneObserver)
        _state.sceneObserver = None


def _pythonOf(setting: str) -> tuple[str, dict[str, str]]:
    """The Python that runs the worker, and its environment."""
    if setting:
        if not shutil.which(setting):
            raise JobError(
                _(
                    "The Python set for the worker is not there: {path}. Choose another one, or "
                    "none to use Slicer's own."
                ).format(path=setting)
            )
        # Slicer's PYTHONHOME and library paths would break any Python but its own.
        return setting, dict(slicer.util.startupEnvironment())
    python = shutil.which("PythonSlicer")
    if python is None:
        raise JobError(
            _(
                "PythonSlicer, which comes with Slicer, is not on the PATH. Start Slicer by its "
                "launcher, or set a Python for the worker."
            )
        )
    return python, dict(os.environ)


def _workers() -> list[Worker]:
    found: list[Worker] = vars(slicer).setdefault(_REGISTRY, [])
    return found


def _watch(job: RunningJob) -> None:
    _connect()
    _state.running = {each for each in _state.running if each.state == "running"} | {job}
    if _state.sceneObserver is None:
        _state.sceneObserver = slicer.mrmlScene.AddObserver(
            slicer.mrmlScene.StartCloseEvent, _onStartClose
        )


def _onStartClose(caller: Any, event: Any) -> None:
    for job in _state.running:
        _cancel(job)


def _cancel(job: RunningJob) -> None:
    """End a job that nobody waits for any more; a training keeps what it has learnt."""
    job.cancel(_graceOf(job))


def _graceOf(job: RunningJob) -> float:
    return _GRACE_SECONDS_OF_TRAINING if job.kind == "train" else 1.0


def _connect() -> None:
    if not _state.isConnected:
        _state.isConnected = True
        slicer.app.connect("aboutToQuit()", shutDown)
        atexit.register(shutDown)
