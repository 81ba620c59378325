"""Faults of a cohort, and their table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from DeepTranslateLib.cohort.case import slices_to_text

# Stands for the subject of a fault that is nobody's alone.
WHOLE_COHORT = "all"


@dataclass(frozen=True)
class Fault:
    """Something in a cohort that a person should look at.

    Args:
        subject: Whose case it is; `WHOLE_COHORT` if nobody's alone.
        kind: Stable identifier, such as "geometry_mismatch".
        severity: "error" (would teach something wrong; training refuses it) or "warning".
        found: What is there, as a sentence.
        advice: What to do, as a sentence.
    """

    subject: str
    kind: str
    severity: str
    found: str
    advice: str


def faults_table(faults: Sequence[Fault]) -> str:
    """Return faults as a plain table of about 100 columns, errors first."""
    if not faults:
        return "No faults."
    ordered = sorted(faults, key=lambda fault: fault.severity)
    subject_width = min(20, max(7, *(len(fault.subject) for fault in faults)))
    widths = (subject_width, 7, 42, 100 - subject_width - 7 - 42 - 6)
    lines = [_row(("subject", "", "found", "what to do"), widths)]
    lines.append("  ".join("-" * width for width in widths))
    for fault in ordered:
        lines.append(_row((fault.subject, fault.severity, fault.found, fault.advice), widths))
    return "\n".join(lines)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    columns = [textwrap.wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    height = max(len(column) for column in columns)
    return "\n".join(
        "  ".join(
            (column[line] if line < len(column) else "").ljust(width)
            for column, width in zip(columns, widths, strict=True)
        ).rstrip()
        for line in range(height)
    )


def listed(indices: Sequence[int]) -> str:
    """Slices for a sentence, shortened where they are many."""
    return textwrap.shorten(slices_to_text(indices).replace(";", ", "), 60, placeholder=" ...")
