"""The ways in which packages reach Slicer's Python: the PyTorch extension and Slicer's own pip."""

from __future__ import annotations

import importlib.abc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

import slicer

from DeepTranslateLib.mrml.requirements import installedVersion, read

REQUESTER = "DeepTranslate"
# Slicer's own, which other modules and the application rely on, and the exact build of torch.
KEPT = ("numpy", "scipy", "SimpleITK", "pydicom", "requests", "pillow", "packaging", "torch")

OnLine = Callable[[str], None]


class NoPyTorchExtensionError(Exception):
    """The PyTorch extension, through which torch is installed, is not there."""


def writeConstraints(path: Path, without: Sequence[str] = ()) -> Path:
    """Write a pip constraints file that keeps what is installed as it is.

    Args:
        path: File to write.
        without: Packages that are to be changed.
    """
    versions = {name: installedVersion(name) for name in KEPT if name not in without}
    lines = [f"{name}=={version}" for name, version in versions.items() if version]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def installTorch(specifier: str) -> None:
    """Install torch through the PyTorch extension, which chooses the build for the graphics card.

    Args:
        specifier: Such as ">=2.8".

    Raises:
        NoPyTorchExtensionError: The extension is not installed.
        Exception: Whatever the extension raises; see the log.
    """
    try:
        import PyTorchUtils
    except ImportError as error:
        raise NoPyTorchExtensionError from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    # Its keywords have changed between versions. The click on Install was the confirmation.
    wanted = {"askConfirmation": False, "torchVersionRequirement": specifier}
    choices: list[dict[str, Any]] = [wanted, {"torchVersionRequirement": specifier}, {}]
    with _withoutLoading("torch", "torchvision"):
        for keywords in choices:
            try:
                logic.installTorch(**keywords)
                return
            except TypeError as error:
                if "argument" not in str(error) or keywords == choices[-1]:
                    raise
            except _NotLoadedError:
                return


def installPackages(requirements: Path, names: Sequence[str], constraints: Path) -> None:
    """Install packages from the network with Slicer's pip.

    Args:
        requirements: A requirements file.
        names: Those of its packages that are missing.
        constraints: A constraints file.

    Raises:
        RuntimeError: The user declined.
        subprocess.CalledProcessError: pip failed; see the log.
    """
    if packaging := _packaging():
        wanted = [r for r in packaging.load_requirements(requirements) if r.name in names]
        packaging.pip_ensure(
            wanted,
            constraints=constraints,
            requester=REQUESTER,
            prompt_install=False,
            prompt_restart=False,
            show_progress=False,
        )
    else:
        wanted = [f"{r.name}{r.specifier}" for r in read(requirements) if r.name in names]
        slicer.util.pip_install([*wanted, "-c", str(constraints)])


def installFromFolder(requirements: Sequence[str], folder: str, constraints: Path) -> None:
    """Install packages from a folder of wheels, without any network.

    Raises:
        subprocess.CalledProcessError: pip failed; see the log.
    """
    arguments = ["--no-index", "--find-links", folder, *requirements]
    if packaging := _packaging():
        packaging.pip_install(
            arguments, constraints=constraints, requester=REQUESTER, show_progress=False
        )
    else:
        slicer.util.pip_install([*arguments, "-c", str(constraints)])


@contextmanager
def surroundings(proxy: str, constraints: Path) -> Iterator[None]:
    """Environment variables for every pip that is started meanwhile, by whomever."""
    wanted = {"PIP_CONSTRAINT": str(constraints), "PIP_NO_INPUT": "1"}
    if proxy:
        wanted.update(dict.fromkeys(("PIP_PROXY", "HTTP_PROXY", "HTTPS_PROXY"), proxy))
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def overheard(onLine: OnLine) -> Iterator[list[str]]:
    """Hand every line that is printed meanwhile to `onLine` and keep it in the list.

    Slicer prints what pip says, and its errors do not carry it.
    """
    ear = _Ear(sys.stdout, onLine)
    with redirect_stdout(ear):
        yield ear.lines


class _Ear:
    """A text stream that passes on what is written to it."""

    def __init__(self, stream: Any, onLine: OnLine) -> None:
        self.lines: list[str] = []
        self._stream = stream
        self._onLine = onLine
        self._rest = ""

    def write(self, text: str) -> int:
        self._stream.write(text)
        *whole, self._rest = (self._rest + text).split("\n")
        for line in whole:
            self.lines.append(line)
            self._onLine(line)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _NotLoadedError(ImportError):
    """A package was asked for that stays out of the application."""


class _Refusal(importlib.abc.MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.partition(".")[0] in self._names:
            _refuse(fullname)


def _refuse(name: str) -> NoReturn:
    raise _NotLoadedError(f"{name} is loaded by the worker only", name=name)


@contextmanager
def _withoutLoading(*names: str) -> Iterator[None]:
    """Keep packages out of this process: the PyTorch extension imports torch when it is done.

    In the application torch has led to crashes, and its files could not be replaced any more.
    """
    refusal = _Refusal(names)
    sys.meta_path.insert(0, refusal)
    try:
        yield
    finally:
        sys.meta_path.remove(refusal)


def _packaging() -> Any:
    """Return slicer.packaging, or None before Slicer 5.11."""
    try:
        import slicer.packaging
    except ImportError:
        return None
    return slicer.packaging
