"""Exceptions as one paragraph for a person, and an exit code for a script."""

from __future__ import annotations

DONE, UNEXPECTED, USAGE, BAD_INPUT, PARTLY, MISSING, DIVERGED, STOPPED = 0, 1, 2, 3, 4, 5, 6, 130


class CommandError(ValueError):
    """What a command was asked cannot be done as asked."""


def explain(error: BaseException) -> tuple[str, int]:
    """The message and the exit code of an exception."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, KeyboardInterrupt) or "Stopped" in names:
        return (
            "Stopped. An unfinished training goes on when the same command is given again.",
            STOPPED,
        )
    if isinstance(error, ModuleNotFoundError):
        return (
            f"The Python package '{error.name}' is not installed. 'deeptranslate doctor' lists "
            "what is missing and how to install it.",
            MISSING,
        )
    # By name, so that torch need not be imported to explain that a file is missing.
    if "DeviceError" in names:
        return str(error), MISSING
    if "TrainingError" in names:
        return str(error), DIVERGED
    if "OutOfMemoryError" in names or isinstance(error, MemoryError):
        return (
            "There is not enough memory for this. Close other programs, use --device cpu, or "
            "translate a cropped volume.",
            MISSING,
        )
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{place}. Check that the path exists and may be used.", BAD_INPUT
    if _is_ours(error):
        return str(error), BAD_INPUT
    return (
        f"Something unexpected happened ({type(error).__name__}: {error}). This is a defect of "
        "DeepTranslate; please report it with the output of the same command and --debug.",
        UNEXPECTED,
    )


def _is_ours(error: BaseException) -> bool:
    return isinstance(error, ValueError) and type(error).__module__.startswith("DeepTranslateLib")
