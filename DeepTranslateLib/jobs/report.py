"""What went wrong in a job, and the report that helps somebody else to find out why."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from pathlib import Path

import DeepTranslateLib

_PACKAGES = ("torch", "monai", "numpy", "SimpleITK", "safetensors")
_JOB_CHARACTERS, _LOG_CHARACTERS = 20_000, 8_000


class JobError(RuntimeError):
    """A job failed, or cannot be done.

    Attributes:
        report: Versions, job, traceback and the end of the log, to be copied.
        code: What the worker's exit code would be, as in `deeptranslate --help`.
    """

    def __init__(self, message: str, report: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.report = report
        self.code = code


def make_report(folder: Path, message: str, details: str = "") -> str:
    """A report on a job that failed.

    It names files and holds no voxels: it is meant to be sent to somebody.

    Args:
        folder: The job's.
        message: What the person was told.
        details: Traceback, or what the process said before it had a log.
    """
    parts = [
        message,
        f"Versions\n{_versions()}",
        f"Details\n{details.strip()}" if details.strip() else "",
        f"End of log.txt\n{log_tail(folder)}",
        f"Job {folder}\n{_text(folder / 'job.json', _JOB_CHARACTERS, from_end=False)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def log_tail(folder: Path, characters: int = _LOG_CHARACTERS) -> str:
    """The last lines of a job's log, "" where there is none."""
    return _text(folder / "log.txt", characters, from_end=True)


def _versions() -> str:
    lines = [
        f"DeepTranslate {DeepTranslateLib.__version__}",
        f"Python {platform.python_version()} ({sys.platform}, {platform.platform()})",
    ]
    for package in _PACKAGES:
        try:
            lines.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{package} is not installed")
    return "\n".join(lines)


def _text(path: Path, characters: int, *, from_end: bool) -> str:
    try:
        with open(path, "rb") as stream:
            if from_end:
                stream.seek(max(0, path.stat().st_size - characters))
            text = stream.read(characters).decode("utf-8", "replace")
    except OSError:
        return ""
    return text.strip()
