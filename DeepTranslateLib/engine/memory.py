"""How much memory a job has taken, and how much there is."""

from __future__ import annotations

import os
import sys
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


def _posix_memory() -> tuple[int, int]:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kB, macOS in bytes.
    used = int(peak) if sys.platform == "darwin" else int(peak) * 1024
    return used, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _windows_memory() -> tuple[int, int]:
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
    return int(counters.PeakWorkingSetSize), int(status.ullTotalPhys)
