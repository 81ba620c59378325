"""What a command shows: tables and progress bars to a person, JSON lines to a machine.

Only the progress bar needs rich; without it there is none.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

_RED, _YELLOW, _BOLD = "31", "33", "1"
_GAP = "  "


class Console:
    """Output of one command.

    With `as_json` standard output carries one JSON object a line, each with an `event`, the last
    of which is `result` or `error`; otherwise it carries text, and errors go to standard error.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._bar: Any = None
        self._task: Any = None

    @property
    def shows_bar(self) -> bool:
        """Whether a progress bar is on the screen."""
        return self._bar is not None

    def result(self, content: dict[str, Any]) -> None:
        """The outcome, for machines; people have read it in tables and texts."""
        self.event({"event": "result", **content})

    def event(self, record: dict[str, Any]) -> None:
        """An event of a job, for machines; null stands for numbers that are not finite."""
        if self._as_json:
            print(json.dumps(finite(record), allow_nan=False), flush=True)

    def say(self, text: str) -> None:
        """A line for people."""
        if not self._as_json:
            print(text, flush=True)

    def warn(self, text: str) -> None:
        """A warning: an event for machines, a paragraph on standard error for people."""
        if self._as_json:
            self.event({"event": "warning", "message": text})
        else:
            self._complain(f"Warning: {text}", _YELLOW)

    def error(self, text: str, code: int) -> None:
        """What went wrong."""
        if self._as_json:
            self.event({"event": "error", "message": text, "exit_code": code})
        else:
            self._complain(text, _RED)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table for people; columns whose name begins with ">" are aligned to the right.

        In a terminal a last column of text is wrapped; elsewhere every row is one line.
        """
        if self._as_json:
            return
        right = [name.startswith(">") for name in columns]
        head = [name.lstrip(">") for name in columns]
        widths = [max(map(len, cells)) for cells in zip(head, *rows, strict=True)]
        room = shutil.get_terminal_size().columns - sum(widths[:-1]) - len(_GAP) * (len(head) - 1)
        if not sys.stdout.isatty() or right[-1] or room < 20:
            room = widths[-1] or 1
        if any(head):
            print(_styled(_row(head, widths, right), _BOLD, sys.stdout))
        for row in rows:
            for number, line in enumerate(textwrap.wrap(row[-1], room) or [""]):
                before = row[:-1] if number == 0 else [""] * (len(row) - 1)
                print(_row([*before, line], widths, right))
        sys.stdout.flush()

    @contextmanager
    def progress(self, title: str, total: int, *, keep: bool = True) -> Iterator[None]:
        """A bar with the time left, moved by `advance_to`; silent where nobody watches.

        Args:
            title: Stands before the bar.
            total: What is complete.
            keep: Leave the bar on the screen in the end.
        """
        if self._as_json or not sys.stderr.isatty():
            yield
            return
        try:
            import rich.console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )
        except ModuleNotFoundError:
            yield
            return

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=rich.console.Console(stderr=True, highlight=False, soft_wrap=True),
            transient=not keep,
            # What is said goes above the bar, unless it goes to a file.
            redirect_stdout=sys.stdout.isatty(),
        )
        with bar:
            self._bar, self._task = bar, bar.add_task(title, total=total, note="")
            try:
                yield
            finally:
                self._bar = None

    def advance_to(self, done: float, note: str | None = None) -> None:
        """Move the bar; the note behind it stays where none is given."""
        if self._bar is not None:
            fields = {} if note is None else {"note": note}
            self._bar.update(self._task, completed=done, **fields)

    def _complain(self, text: str, style: str) -> None:
        lines = text.split("\n")
        wrapped = [
            textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False)
            if len(line) > 120
            else line
            for line in lines
        ]
        print(_styled("\n".join(wrapped), style, sys.stderr), file=sys.stderr, flush=True)


@contextmanager
def native_silence() -> Iterator[None]:
    """Keep off standard error what C libraries write there past Python, such as MetaIO's remarks.

    Only around code that raises its errors and prints nothing itself.
    """
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return _GAP.join(padded).rstrip()


def _styled(text: str, style: str, stream: TextIO) -> str:
    # Windows sets no TERM, and its older consoles show the codes as they are.
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return text if plain or not stream.isatty() else f"\x1b[{style}m{text}\x1b[0m"


def finite(value: Any) -> Any:
    """JSON content with null for numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
