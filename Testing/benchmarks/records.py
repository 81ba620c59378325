"""Results of experiments: one JSON line for each training, from which tables are made."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from DeepTranslateLib.engine.comparison import median_range

FOLDER = Path(__file__).resolve().parent / "results"

Record = dict[str, Any]


def read_records(path: Path) -> list[Record]:
    """The records of a file, oldest first; none where there is no such file.

    Raises:
        ValueError: A line is no JSON.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def append_record(path: Path, record: Record) -> None:
    """Add a record, whole on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def matching(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """The records that have these values."""
    return [
        record
        for record in records
        if all(record.get(name) == value for name, value in wanted.items())
    ]


def commit() -> str:
    """The commit that runs, in short; "unknown" outside a checkout."""
    command = ["git", "-C", str(FOLDER.parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cells(rows: Sequence[Sequence[float]], decimals: int = 3) -> list[str]:
    """For each column of equally long rows its median and range; of one row the values alone."""
    if len(rows) == 1:
        return [f"{value:.{decimals}f}" for value in rows[0]]
    return [median_range(column, decimals) for column in zip(*rows, strict=True)]


def once_a_seed(records: Iterable[Record]) -> list[Record]:
    """Of the records of each seed the last one."""
    return list({record["seed"]: record for record in records}.values())


def table_row(cells: Iterable[object]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
