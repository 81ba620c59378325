"""What this machine can do and what is missing; nothing here needs what may be missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Any

# The same as in pyproject.toml, which is not there where the package is only on Python's path.
NEEDED = {
    "monai": "1.6",
    "numpy": "1.26",
    "pydicom": "3.0",
    "safetensors": "0.4.3",
    "SimpleITK": "2.4",
    "torch": "2.8",
}
# Being there is not enough for those that a replaced package breaks.
LOADED = ("torch", "SimpleITK", "safetensors", "monai")
FOR_REPORT = {"jinja2": "3.1", "matplotlib": "3.8", "scipy": "1.13"}
FOR_REGISTRATION = {"itk-elastix": "0.23"}
FOR_TENSORBOARD = {"tensorboard": "2.18"}
FOR_TERMINAL = {"rich": "13.7"}


def examine() -> dict[str, Any]:
    """Checks with their state ("ok", "missing", "note"), advice, and whether all is ready."""
    checks = [
        _check("ok" if sys.version_info >= (3, 10) else "missing", "Python", _python()),
        *(_package(name, minimum, "missing") for name, minimum in NEEDED.items()),
        *(_package(name, minimum, "note") for name, minimum in FOR_TERMINAL.items()),
        *(_package(name, minimum, "note") for name, minimum in FOR_REPORT.items()),
        *(_package(name, minimum, "note") for name, minimum in FOR_REGISTRATION.items()),
        *(_package(name, minimum, "note") for name, minimum in FOR_TENSORBOARD.items()),
    ]
    states = {check["name"]: check for check in checks}
    for name in LOADED:
        # Without torch the others fail for no fault of their own.
        if states[name]["state"] == states["torch"]["state"] == "ok":
            try:
                importlib.import_module(name)
            except Exception as error:  # a broken one fails in as many ways as it has parts
                states[name]["state"] = "missing"
                states[name]["found"] += f", cannot be loaded ({type(error).__name__}: {error})"
    if states["torch"]["state"] == "ok":
        checks.extend(_devices())
    missing = [check["name"] for check in checks if check["state"] == "missing"]
    absent = [check["name"] for check in checks if check["state"] == "note"]
    advice = []
    if "Python" in missing:
        advice.append("Python is too old. Install version 3.10 or newer.")
    if packages := [name for name in missing if name in NEEDED]:
        advice.append(f"Missing, too old or broken: {', '.join(packages)}. {_install(packages)}")
    for purpose, optional in (
        ("reports and tests of significance", FOR_REPORT),
        ("registration", FOR_REGISTRATION),
        ("logs for TensorBoard", FOR_TENSORBOARD),
        ("progress bars", FOR_TERMINAL),
    ):
        if packages := [name for name in absent if name in optional]:
            advice.append(f"Needed for {purpose} only: {', '.join(packages)}. {_install(packages)}")
    checks.append(_check("ok", "processor", f"{os.cpu_count()} cores, {platform.machine()}"))
    checks.append(_check("ok", "memory", _memory()))
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    checks.append(_check("ok" if free > 5 else "note", "free disk here", f"{free:.0f} GB"))
    return {"ready": not missing, "checks": checks, "advice": advice}


def _package(name: str, minimum: str, without: str) -> dict[str, str]:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return _check(without, name, f"not installed, needed {minimum} or newer")
    if _numbers(version) < _numbers(minimum):
        return _check(without, name, f"{version}, needed {minimum} or newer")
    return _check("ok", name, version)


def _install(names: list[str]) -> str:
    if "SLICER_HOME" in os.environ and set(names) <= set(NEEDED):
        return "Install with the button in the panel of the module DeepTranslate in Slicer."
    wanted = {
        **NEEDED,
        **FOR_REPORT,
        **FOR_REGISTRATION,
        **FOR_TENSORBOARD,
        **FOR_TERMINAL,
    }
    packages = " ".join(f'"{name}>={wanted[name]}"' for name in names)
    return f"Install with: {Path(sys.executable).name} -m pip install --upgrade {packages}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _devices() -> list[dict[str, str]]:
    from DeepTranslateLib.engine.device import accelerators

    found = [_check("ok", name, description) for name, description in accelerators()]
    return found or [_check("ok", "GPU", "none found; networks run on the CPU")]


def _python() -> str:
    return f"{platform.python_version()}, {platform.system()} {platform.release()}"


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total:.0f} GB"


def _check(state: str, name: str, found: str) -> dict[str, str]:
    return {"state": state, "name": name, "found": found}
