"""A job's folder: its events, one JSON object a line, and the files that ask it to stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EventSink = Callable[[dict[str, Any]], None]

# Stop and save a checkpoint; end a training after this epoch and keep the best.
STOP_FILE, FINISH_FILE = "stop", "finish"


class Stopped(Exception):  # noqa: N818 - a person's decision, not an error
    """A job was asked to stop and has saved what it had."""


class Events:
    """Reports what a job does: to a file, one JSON object a line, and to whoever listens.

    Every event has `event` (its kind) and `time` (seconds since 1970).

    Args:
        path: File that events are appended to, or None.
        sink: Called with each event.
    """

    def __init__(self, path: Path | None = None, sink: EventSink | None = None) -> None:
        self._path = path
        self._sink = sink
        if path is not None and path.is_file() and not _ends_a_line(path):
            # Cut off by a crash; the first event of this job must not become part of that line.
            with open(path, "a", encoding="utf-8") as stream:
                stream.write("\n")

    def emit(self, event: str, **content: Any) -> None:
        """Report an event; the content must be JSON."""
        record = {"event": event, "time": round(time.time(), 3), **content}
        if self._path is not None:
            with open(self._path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        if self._sink is not None:
            self._sink(record)


def _ends_a_line(path: Path) -> bool:
    content = path.read_bytes()
    return not content or content.endswith(b"\n")


def read_events(path: Path) -> list[dict[str, Any]]:
    """Events of a job so far; a last line that was cut off by a crash is left out."""
    events = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return events
