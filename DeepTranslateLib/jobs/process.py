"""A worker's process as the operating system sees it: started, listened to, ended with all it did.

On POSIX the process leads a session and a group of its own, on Windows a process group; whatever
it starts can be ended with it, also when a launcher such as `PythonSlicer` stands between.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_ON_WINDOWS = sys.platform == "win32"
_TAIL_BYTES = 16_000
# For output that is still in the pipe when a process is gone.
_DRAIN_SECONDS = 2.0


class WorkerProcess:
    """A process that prints one JSON event a line and reads one line at a time.

    Args:
        command: Program and arguments.
        environment: All of its environment variables.
        folder: Its working directory.
        on_event: Called with each event, in a thread of its own.
        on_exit: Called once, after the last event, when nothing of the process is left.

    Raises:
        OSError: The program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        on_event: Callable[[WorkerProcess, dict[str, Any]], None],
        on_exit: Callable[[WorkerProcess], None],
    ) -> None:
        self._popen = subprocess.Popen(
            list(command),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What is said before the worker has its log, such as that a module is missing.
            stderr=subprocess.STDOUT,
            **_own_group(),
        )
        self._on_event, self._on_exit = on_event, on_exit
        self._said = b""
        self._writing = threading.Lock()
        self.gone = threading.Event()
        self._reader = threading.Thread(target=self._read, name="worker events", daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, name="worker end", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id of what was started."""
        return self._popen.pid

    @property
    def code(self) -> int | None:
        """Exit code, negative for the number of a signal; None while it runs."""
        return self._popen.poll()

    @property
    def said(self) -> str:
        """The end of what it printed that was no event."""
        return self._said.decode("utf-8", "replace").strip()

    def send(self, line: str) -> None:
        """Write a line to the process.

        Raises:
            OSError: It does not listen any more.
        """
        assert self._popen.stdin is not None
        with self._writing:
            try:
                self._popen.stdin.write(os.fsencode(line) + b"\n")
                self._popen.stdin.flush()
            except ValueError as error:  # closed by close_input
                raise BrokenPipeError(str(error)) from error

    def close_input(self) -> None:
        """Tell the process that nobody listens any more: it stops its job and ends."""
        assert self._popen.stdin is not None
        with self._writing, contextlib.suppress(OSError):
            self._popen.stdin.close()

    def terminate(self) -> None:
        """Ask the process and all it started to end; on Windows `close_input` has done so."""
        if not _ON_WINDOWS and not self.gone.is_set():
            self._signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """End the process and all it started, whatever they do."""
        if self.gone.is_set():
            return
        if _ON_WINDOWS:
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(self.pid)],
                capture_output=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                check=False,
            )
        else:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as stream:
            for line in stream:
                event = _event(line)
                if event is None:
                    self._said = (self._said + line)[-_TAIL_BYTES:]
                else:
                    self._on_event(self, event)

    def _wait(self) -> None:
        self._popen.wait()
        # What it started must not outlive it, and might hold the pipe of the events open.
        if not _ON_WINDOWS:
            self._signal_group(signal.SIGKILL)
        self._reader.join(_DRAIN_SECONDS)
        self.close_input()
        self.gone.set()
        self._on_exit(self)


def _own_group() -> dict[str, Any]:
    if _ON_WINDOWS:
        flags = ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW")
        return {"creationflags": sum(getattr(subprocess, flag, 0) for flag in flags)}
    return {"start_new_session": True}


def _event(line: bytes) -> dict[str, Any] | None:
    """The event that a line holds, or None for any other text."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
