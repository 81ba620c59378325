"""What the texts of a command line must be: numbers and names of files, refused with a reason."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def whole_number(minimum: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `minimum`."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {minimum}, found '{text}'"
            )
        return value

    return number


def millimetres(text: str) -> float:
    """A distance, from 0."""
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected millimetres from 0, found '{text}'")
    return value


def gigabytes(text: str) -> float:
    """An amount of memory, above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected gigabytes above 0, found '{text}'")
    return value


def table(text: str) -> Path:
    """A table to be written."""
    path = Path(text)
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise argparse.ArgumentTypeError(f"expected a table named *.csv or *.tsv, found '{text}'")
    return path


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
