"""The worker: does the jobs of folders, one after another, and reports on standard output.

It must never be left over. While it serves, its standard input is a pipe whose other end only the
process that started it holds; when that process ends, however it does, the pipe closes.
"""

from __future__ import annotations

import contextlib
import datetime
import faulthandler
import gc
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import DeepTranslateLib
from DeepTranslateLib.cli.console import finite
from DeepTranslateLib.cli.failures import DONE, STOPPED, explain
from DeepTranslateLib.cli.handlers import Handlers, JobContext
from DeepTranslateLib.cli.watching import stop_signals
from DeepTranslateLib.jobs.descriptions import (
    LOG_FILE,
    RESULT_FILE,
    job_kind,
    read_job,
    write_result,
)
from DeepTranslateLib.jobs.events import FINISH_FILE, STOP_FILE
from DeepTranslateLib.jobs.report import make_report

# How long a job may go on when nobody listens any more; a training has a checkpoint to save.
_GRACE_SECONDS = 1.5
_GRACE_SECONDS_OF_TRAINING = 8.0


def run_jobs(folder: Path, serve: bool, idle_seconds: float) -> int:
    """Do the job of a folder.

    Args:
        folder: With `job.json`.
        serve: Then do those whose folders standard input names, one a line.
        idle_seconds: Leave after so long without a job.

    Returns:
        The exit code of the job. After serving the process ends here.
    """
    folder = folder.absolute()
    session = _Session(_Channel())
    if not serve:
        for name in (STOP_FILE, FINISH_FILE):  # of an earlier start
            (folder / name).unlink(missing_ok=True)
        return session.do(folder)
    inbox = _Inbox(session.abandon)
    code = DONE
    try:
        session.do(folder)
        while not session.is_over.is_set():
            following = inbox.next(idle_seconds)
            if following is None:
                break
            session.do(following)
    except KeyboardInterrupt:  # a signal while it was idle
        code = STOPPED
    # Python aborts when it ends in good order while a thread waits for standard input.
    os._exit(code)


class _Channel:
    """The events' way out; all else that is printed goes into the log of the job.

    Libraries print, from Python and from C, and none of it may end up between the events.
    """

    def __init__(self) -> None:
        sys.stdout.flush()
        self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        self.is_broken = False
        # The first event must not become part of a line that was begun before.
        self._write("\n")
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        self.log_to(None)
        # Where a memory fault happened is written into the log, too.
        faulthandler.enable(file=2)

    def send(self, record: dict[str, Any]) -> None:
        """Send an event. That nobody listens is no error: the job shall stop in good order."""
        self._write(json.dumps(finite(record), allow_nan=False) + "\n")

    def log_to(self, path: Path | None) -> None:
        """Send what is printed to the end of a file; None: nowhere."""
        sys.stdout.flush()
        sys.stderr.flush()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        descriptor = os.open(os.devnull if path is None else path, flags, 0o666)
        for number in (1, 2):
            os.dup2(descriptor, number)
        os.close(descriptor)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self.is_broken = True


class _Inbox:
    """Folders that come in on standard input.

    Args:
        on_end: Called, in another thread, when it closes.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._lines: queue.Queue[Path | None] = queue.Queue()
        self._on_end = on_end
        threading.Thread(target=self._read, name="standard input", daemon=True).start()

    def next(self, seconds: float) -> Path | None:
        """The next folder; None when none has come for so long, or none will."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in sys.stdin.buffer:
                if line.strip():
                    self._lines.put(Path(os.fsdecode(line.rstrip(b"\r\n"))))
        self._lines.put(None)
        self._on_end()


class _Session:
    """What the worker keeps from one job to the next."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._handlers = Handlers()
        self._kind = ""
        self._is_idle = threading.Event()
        self.is_over = threading.Event()

    def abandon(self) -> None:
        """End this process soon: nobody listens any more."""
        self.is_over.set()
        began = time.monotonic()
        while not self._is_idle.wait(0.02):
            grace = _GRACE_SECONDS_OF_TRAINING if self._kind == "train" else _GRACE_SECONDS
            if time.monotonic() - began > grace:
                os._exit(STOPPED)
        # Not by way of the main thread: taking torch down in good order takes a second.
        os._exit(DONE)

    def do(self, folder: Path) -> int:
        """Do the job of a folder; returns its exit code."""
        self._is_idle.clear()
        self._channel.send({"event": "job_started", "folder": str(folder), "pid": os.getpid()})
        try:
            with stop_signals() as signalled:
                result = self._result(folder, signalled)
            answer = {"event": "job_finished", "result": result}
            code = DONE
        except BaseException as error:
            answer, code = self._failure(folder, error)
        for name in (STOP_FILE, FINISH_FILE):
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        self._channel.log_to(None)
        self._channel.send({**answer, "folder": str(folder)})
        self._kind = ""
        _give_memory_back()
        self._is_idle.set()
        return code

    def _result(self, folder: Path, signalled: Callable[[], bool]) -> dict[str, Any]:
        if not folder.is_dir():
            raise FileNotFoundError(2, "There is no such folder", str(folder))
        (folder / RESULT_FILE).unlink(missing_ok=True)
        self._channel.log_to(folder / LOG_FILE)
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        print(f"{now}: DeepTranslate {DeepTranslateLib.__version__} begins", flush=True)
        job = read_job(folder)
        self._kind = job_kind(job)

        def should_stop() -> bool:
            if signalled():
                self.is_over.set()
            return self.is_over.is_set() or self._channel.is_broken or (folder / STOP_FILE).exists()

        context = JobContext(folder, self._channel.send, should_stop)
        context.stop_if_asked()
        result = finite(self._handlers.do(job, context))
        write_result(folder, result)
        return result

    def _failure(self, folder: Path, error: BaseException) -> tuple[dict[str, Any], int]:
        message, code = explain(error)
        if code == STOPPED:
            print(message, flush=True)
            return {"event": "job_stopped"}, code
        details = "".join(traceback.format_exception(error))
        report = make_report(folder, message, details)
        print(details, file=sys.stderr, flush=True)
        return {"event": "job_failed", "message": message, "report": report, "code": code}, code


def _give_memory_back() -> None:
    """Return what the job needed on a GPU, where others wait for it; the model stays."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
