"""What to say of a worker that ended without an answer."""

from __future__ import annotations

import signal
from pathlib import Path

from DeepTranslateLib.jobs.process import WorkerProcess
from DeepTranslateLib.jobs.report import JobError, log_tail, make_report

_SIGKILL = 9  # Windows has no name for it
_ACCESS_VIOLATION = 0xC0000005


def crash_error(folder: Path, process: WorkerProcess, doing: str | None) -> JobError:
    """The error of a job whose process ended before it answered.

    Args:
        folder: The job's.
        process: It has ended.
        doing: What it did, such as "translating"; None: it had not begun.
    """
    code = process.code or 0
    if doing is None:
        message = (
            f"The worker could not be started: it ended with exit code {code} before it began. "
            "Check that the Python set for the worker can run, and that DeepTranslate's packages "
            "are installed for it; the report holds what it said."
        )
    elif code in (-signal.SIGTERM, -_SIGKILL, 128 + _SIGKILL):
        message = (
            f"The worker was ended from outside while {doing}, most often by the system because "
            "memory ran out. Close other programs, or make the job smaller: a cropped volume, a "
            "smaller batch, fewer channels."
        )
    else:
        how = "with a memory fault " if _is_memory_fault(code, folder, process) else ""
        message = (
            f"The worker crashed {how}while {doing} (exit code {code}). Start it again. If it "
            "happens again, choose the device CPU, update the driver of the graphics card, or "
            "install DeepTranslate's packages anew; the report says where it happened."
        )
    return JobError(message, make_report(folder, message, process.said))


def _is_memory_fault(code: int, folder: Path, process: WorkerProcess) -> bool:
    # A launcher in between may turn the signal into an exit code of its own.
    told = f"{process.said}\n{log_tail(folder)}"
    faults = (-signal.SIGSEGV, 128 + signal.SIGSEGV, _ACCESS_VIOLATION)
    return code in faults or "Segmentation fault" in told or "access violation" in told
