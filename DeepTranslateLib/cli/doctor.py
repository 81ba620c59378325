"""What this machine can do and what is missing, without importing anything that may be."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Any

PACKAGE = "DeepTranslateLib"
_EXTRAS = {"report": "the demo's report"}


def examine() -> dict[str, Any]:
    """Checks with their state ("ok", "missing", "note"), advice, and whether all is ready."""
    checks = [
        _check("ok" if sys.version_info >= (3, 10) else "missing", "Python", _python()),
        *_packages(),
    ]
    advice = []
    missing = [check["name"] for check in checks if check["state"] == "missing"]
    if missing:
        advice.append(
            f"Missing or too old: {', '.join(missing)}. Install with: pip install {PACKAGE}"
        )
    absent = [check for check in checks if check["state"] == "note"]
    for extra, purpose in _EXTRAS.items():
        names = [check["name"] for check in absent if check["extra"] == extra]
        if names:
            advice.append(
                f"Needed for {purpose} only: {', '.join(names)}. Install with: "
                f'pip install "{PACKAGE}[{extra}]"'
            )
    checks.append(_check("ok", "processor", f"{os.cpu_count()} cores, {platform.machine()}"))
    checks.append(_check("ok", "memory", _memory()))
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    checks.append(_check("ok" if free > 5 else "note", "free disk here", f"{free:.0f} GB"))
    if not missing:
        checks.extend(_devices())
    return {
        "ready": not missing,
        "checks": [{k: v for k, v in check.items() if k != "extra"} for check in checks],
        "advice": advice,
    }


def _packages() -> list[dict[str, str]]:
    checks = []
    for text in importlib.metadata.requires(PACKAGE) or []:
        match = re.match(r"([A-Za-z0-9_.-]+)([^;]*)(?:;(.*))?", text)
        assert match is not None
        name, wanted, marker = match[1], match[2].strip(), match[3] or ""
        extra = next((word for word in _EXTRAS if f'"{word}"' in marker), "")
        if marker and not extra:
            continue
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            state = "note" if extra else "missing"
            checks.append(_check(state, name, f"not installed, needed {wanted}", extra))
            continue
        enough = _enough(version, wanted)
        state = "ok" if enough else "missing"
        found = version if enough else f"{version}, needed {wanted}"
        checks.append(_check(state, name, found, extra))
    return checks


def _enough(version: str, wanted: str) -> bool:
    minimum = re.search(r">=\s*([0-9.]+)", wanted)
    if minimum is None:
        return True

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])

    return numbers(version) >= numbers(minimum[1])


def _devices() -> list[dict[str, str]]:
    import torch

    checks = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            size = properties.total_memory / 2**30
            checks.append(_check("ok", f"cuda:{index}", f"{properties.name}, {size:.0f} GB"))
    if torch.backends.mps.is_available():
        checks.append(_check("ok", "mps", "Apple GPU"))
    if not checks:
        checks.append(_check("ok", "GPU", "none found; networks run on the CPU"))
    return checks


def _python() -> str:
    return f"{platform.python_version()}, {platform.system()} {platform.release()}"


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total:.0f} GB"


def _check(state: str, name: str, found: str, extra: str = "") -> dict[str, str]:
    return {"state": state, "name": name, "found": found, "extra": extra}
