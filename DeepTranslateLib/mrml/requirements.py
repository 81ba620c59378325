"""What the worker needs: packages, versions that will do, and how large their downloads are."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

import DeepTranslateLib

LIBRARY = Path(DeepTranslateLib.__file__).resolve().parents[1]
FILE = LIBRARY / "Resources" / "requirements.txt"

# Downloads in MB, as the package index had them in November 2026 for Python 3.12. torch is that
# for the processor (127 on Windows, 139 on macOS, more on Linux) and that for graphics cards.
_TORCH, _TORCH_NVIDIA = 200.0, 3000.0
_MEGABYTES = {"monai": 1.7, "safetensors": 0.5, "numpy": 17.0, "SimpleITK": 53.0, "pydicom": 2.4}


@dataclass(frozen=True)
class Requirement:
    """A package that the worker needs.

    Args:
        name: Of the package.
        specifier: Versions that will do, such as ">=1.6" or ">=1.26,<3".
        installed: Version that is there; None: none, or nobody has looked.
    """

    name: str
    specifier: str
    installed: str | None = None

    @property
    def megabytes(self) -> float:
        """Size of the download, roughly."""
        if self.name == "torch":
            return _TORCH_NVIDIA if shutil.which("nvidia-smi") else _TORCH
        return _MEGABYTES[self.name]

    @property
    def sizeText(self) -> str:
        """Size of the download, such as "about 2 MB"."""
        return sizeText([self])

    @property
    def isSatisfied(self) -> bool:
        """Whether the installed version will do."""
        return satisfies(self.installed, self.specifier)

    def __str__(self) -> str:
        return f"{self.name}{self.specifier}"


TORCH = Requirement("torch", ">=2.8")


def read(path: Path = FILE) -> list[Requirement]:
    """Read the requirements of a requirements file."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    found = []
    for line in lines:
        if line and not line.startswith("#"):
            name = re.split(r"[<>=!~ ;\[]", line, maxsplit=1)[0]
            found.append(Requirement(name, line.removeprefix(name)))
    return found


def installedVersion(name: str) -> str | None:
    """Return the installed version of a package, without importing it; None: not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def satisfies(version: str | None, specifier: str) -> bool:
    """Whether a version, such as "2.8.0+cu126", fits a specifier of >= and <; None never does."""
    if version is None:
        return False
    found = _numbers(version.partition("+")[0])
    for part in specifier.split(","):
        bound = _numbers(part)
        if part.startswith("<") and not found < bound:
            return False
        if part.startswith(">=") and not found >= bound:
            return False
    return True


def sizeText(requirements: Sequence[Requirement]) -> str:
    """Return how much is to be downloaded in all, such as "about 200 MB"."""
    megabytes = sum(requirement.megabytes for requirement in requirements)
    if megabytes >= 1000:
        return _("about {size} GB").format(size=round(megabytes / 1000))
    # Two digits are as much as is known.
    coarse = 10 if megabytes >= 100 else 1
    return _("about {size} MB").format(size=max(1, round(megabytes / coarse) * coarse))


def _numbers(text: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", text)[:3]]
    return (*numbers, *[0] * (3 - len(numbers)))  # 1.6 is 1.6.0
