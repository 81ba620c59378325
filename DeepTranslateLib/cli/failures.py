"""Exceptions as one paragraph for a person, and an exit code for a script."""

from __future__ import annotations

import errno
import re
from pathlib import Path

DONE, UNEXPECTED, USAGE, BAD_INPUT, PARTLY, MISSING, DIVERGED, STOPPED = 0, 1, 2, 3, 4, 5, 6, 130
_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.part")


class CommandError(ValueError):
    """What a command was asked cannot be done as asked."""


def explain(error: BaseException) -> tuple[str, int]:
    """The message and the exit code of an exception."""
    # By name, so that torch need not be imported to explain that a file is missing.
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, KeyboardInterrupt) or "Stopped" in names:
        return (
            "Stopped. What was finished is kept; an unfinished training goes on when the same "
            "command is given again.",
            STOPPED,
        )
    if isinstance(error, ImportError):
        what = f"'{error.name}' " if error.name else ""
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else "cannot be loaded"
        return (
            f"The Python package {what}{why}. 'deeptranslate doctor' lists what is missing and how "
            "to install it; in Slicer the panel installs it.",
            MISSING,
        )
    if names & {"DeviceError", "MissingPackageError"}:
        return str(error), MISSING
    if "TrainingError" in names:
        return str(error), DIVERGED
    if "OutOfMemoryError" in names or isinstance(error, MemoryError):
        return (
            "There is not enough memory for this. Close other programs, choose the device CPU "
            "(--device cpu), translate a cropped volume, or train with a smaller batch.",
            MISSING,
        )
    if isinstance(error, OSError) and error.strerror:
        return _of_system(error), BAD_INPUT
    if "RecipeError" in names:
        return f"The recipe cannot be used: {str(error).removeprefix('$: ')}", BAD_INPUT
    if type(error).__module__.startswith("DeepTranslateLib"):
        return str(error), BAD_INPUT
    return (
        f"Something unexpected happened ({type(error).__name__}: {error}). This is a defect of "
        "DeepTranslate; please report it with the output of the same command and --debug, or with "
        "the report that Slicer copies.",
        UNEXPECTED,
    )


def _of_system(error: OSError) -> str:
    path = Path(str(error.filename or ""))
    if _TEMPORARY.match(path.name):
        path = path.parent
    place = f"{path}: " if error.filename else ""
    advice = {
        errno.EEXIST: "A folder is needed where this file is. Give another path.",
        errno.ENOTDIR: "A file stands where a folder is needed. Give another path.",
        errno.ENOSPC: "Free some space on the disk, or give a path on another one.",
    }.get(error.errno or 0, "Check that the path exists and may be used.")
    return f"{place}{error.strerror}. {advice}"
