"""How much memory a job takes and has taken, and how much there is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import TracebackType
from typing import Any

import torch


def memory_use(device: torch.device) -> dict[str, Any]:
    """The most memory that this process has held so far.

    Returns:
        `used` and `total` bytes, and `kind`: "GPU" (what PyTorch has allocated on a CUDA device,
        and the device's memory), or "process" (the largest resident size, and the machine's
        memory; a GPU that shares the machine's memory counts here).
    """
    if device.type == "cuda":
        used = torch.cuda.max_memory_allocated(device)
        total = torch.cuda.get_device_properties(device).total_memory
        return {"used": int(used), "total": int(total), "kind": "GPU"}
    used, total = _windows_memory() if sys.platform == "win32" else _posix_memory()
    return {"used": used, "total": total, "kind": "process"}


class MemoryLimitError(RuntimeError):
    """A memory limit is too low for what was asked."""


def refuse_above(limit: int, needed: float) -> None:
    """Refuse to translate what needs more bytes than the limit.

    Raises:
        MemoryLimitError: With both numbers.
    """
    if needed > limit:
        raise MemoryLimitError(
            f"Translating this volume takes at least {needed / 2**30:.2f} GB of memory, its input "
            f"and output among them, and the limit is {limit / 2**30:.2f} GB. Give a higher limit, "
            "or use a model of smaller patches if it has patches."
        )


def resident_memory() -> int:
    """Bytes of the machine's memory that this process holds now."""
    if sys.platform == "win32":
        counters, _ = _windows_counters()
        return int(counters.WorkingSetSize)
    if sys.platform == "darwin":
        command = ["ps", "-o", "rss=", "-p", str(os.getpid())]
        answer = subprocess.run(command, capture_output=True, check=True, text=True)
        return int(answer.stdout) * 1024
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class MemoryPeak:
    """The most memory that the process holds while a block runs, looked at every millisecond.

    Attributes:
        bytes: More than at its beginning; known when the block ends.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._before = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory peak", daemon=True)

    def __enter__(self) -> MemoryPeak:
        """Begin to look."""
        self._before = resident_memory()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.001):
            self.bytes = max(self.bytes, resident_memory() - self._before)


def _posix_memory() -> tuple[int, int]:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kB, macOS in bytes.
    used = int(peak) if sys.platform == "darwin" else int(peak) * 1024
    return used, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _windows_memory() -> tuple[int, int]:
    counters, status = _windows_counters()
    return int(counters.PeakWorkingSetSize), int(status.ullTotalPhys)


def _windows_counters() -> tuple[Any, Any]:
    """PROCESS_MEMORY_COUNTERS of this process, and the MEMORYSTATUSEX of the machine."""
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        """PROCESS_MEMORY_COUNTERS of psapi.h."""

        _fields_ = (
            ("cb", wintypes.DWORD),
            ("PageFaultCount", wintypes.DWORD),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("WorkingSetSize", ctypes.c_size_t),
            ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
            ("QuotaPagedPoolUsage", ctypes.c_size_t),
            ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
            ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
            ("PagefileUsage", ctypes.c_size_t),
            ("PeakPagefileUsage", ctypes.c_size_t),
        )

    class Status(ctypes.Structure):
        """MEMORYSTATUSEX of sysinfoapi.h."""

        _fields_ = (
            ("dwLength", wintypes.DWORD),
            ("dwMemoryLoad", wintypes.DWORD),
            ("ullTotalPhys", ctypes.c_ulonglong),
            ("ullAvailPhys", ctypes.c_ulonglong),
            ("ullTotalPageFile", ctypes.c_ulonglong),
            ("ullAvailPageFile", ctypes.c_ulonglong),
            ("ullTotalVirtual", ctypes.c_ulonglong),
            ("ullAvailVirtual", ctypes.c_ulonglong),
            ("ullAvailExtendedVirtual", ctypes.c_ulonglong),
        )

    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    counters, status = Counters(), Status()
    counters.cb, status.dwLength = ctypes.sizeof(counters), ctypes.sizeof(status)
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    # psapi's function has been in kernel32 under this name since Windows 7.
    ask = kernel.K32GetProcessMemoryInfo
    ask.argtypes = (wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD)
    ask(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb)
    kernel.GlobalMemoryStatusEx(ctypes.byref(status))
    return counters, status
