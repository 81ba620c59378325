"""What a command shows: tables and progress bars to a person, JSON lines to a machine."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import rich.console
import rich.table
import rich.text
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


class Console:
    """Output of one command.

    With `as_json` standard output carries one JSON object a line, each with an `event`, the last
    of which is `result` or `error`; otherwise it carries text, and errors go to standard error.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._rich = rich.console.Console(soft_wrap=True, highlight=False)
        self._errors = rich.console.Console(stderr=True, soft_wrap=True, highlight=False)
        self._bar: Progress | None = None
        self._task: Any = None

    def result(self, content: dict[str, Any]) -> None:
        """The outcome, for machines; people have read it in tables and texts."""
        self.event({"event": "result", **content})

    def event(self, record: dict[str, Any]) -> None:
        """An event of a job, for machines."""
        if self._as_json:
            print(json.dumps(record), flush=True)

    def say(self, text: str) -> None:
        """A line for people."""
        if not self._as_json:
            self._rich.print(text, markup=False)

    def warn(self, text: str) -> None:
        """A warning: an event for machines, a paragraph on standard error for people."""
        if self._as_json:
            self.event({"event": "warning", "message": text})
        else:
            self._errors.print(_paragraph(f"Warning: {text}"), markup=False, style="yellow")

    def error(self, text: str, code: int) -> None:
        """What went wrong."""
        if self._as_json:
            self.event({"event": "error", "message": text, "exit_code": code})
        else:
            self._errors.print(_paragraph(text), markup=False, style="red")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table for people; columns whose name begins with ">" are aligned to the right."""
        if self._as_json:
            return
        table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            right = name.startswith(">")
            table.add_column(name.lstrip(">"), justify="right" if right else "left")
        for row in rows:
            table.add_row(*(rich.text.Text(cell) for cell in row))
        self._rich.print(table)

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0) -> Iterator[None]:
        """A bar with the time left, moved by `advance_to`; silent where nobody watches."""
        if self._as_json or not sys.stderr.isatty():
            yield
            return
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._errors,
        )
        with bar:
            self._bar, self._task = bar, bar.add_task(title, total=total, completed=done, note="")
            try:
                yield
            finally:
                self._bar = None

    def advance_to(self, done: float, note: str = "") -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)


def _paragraph(text: str) -> str:
    return "\n".join(
        textwrap.fill(line, 100) if len(line) > 120 else line for line in text.split("\n")
    )
