"""slicer.packaging by its documented interface. pip itself is never run here.

What would have been installed is recorded in `pipCalls`, and the outcome is what a test says:

    packaging.pipFails("no such package")     # the next calls end with code 1 and this log
    packaging.userDeclines()                  # pip_ensure's question is answered with No
    packaging.setInstalled(monai="1.6.1", torch=None)   # what pip_check sees (None: not installed)
    packaging.reset()
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import shlex
import types
from pathlib import Path
from subprocess import CalledProcessError

import slicer
import slicer.util
import tomllib
from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

pipCalls: list[dict] = []
_state: dict = {}


def reset():
    """Forget calls and answers: pip succeeds, the user agrees, what is installed is what is."""
    pipCalls.clear()
    _state.clear()
    _state.update(code=0, log="", agrees=True, installed={})


reset()


def pipFails(log="ERROR: No matching distribution found", code=1):
    _state.update(code=code, log=log)


def userDeclines():
    _state["agrees"] = False


def setInstalled(**versions):
    _state["installed"].update({canonicalize_name(k): v for k, v in versions.items()})


def _version(name):
    told = _state["installed"]
    name = canonicalize_name(name)
    if name in told:
        return told[name]
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements(given):
    if isinstance(given, Requirement):
        return [given]
    if isinstance(given, str):
        try:
            return [Requirement(given)]
        except InvalidRequirement:
            return [Requirement(part) for part in given.split()]
    if isinstance(given, list):
        return [r if isinstance(r, Requirement) else Requirement(r) for r in given]
    raise TypeError(f"Expected str, Requirement, or list, got {type(given).__name__}")


def load_requirements(path):
    lines = (line.strip() for line in Path(path).read_text().splitlines())
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def load_pyproject_dependencies(path):
    data = tomllib.loads(Path(path).read_text())
    if "project" not in data:
        raise KeyError(f"pyproject.toml has no [project] table: {path}")
    return [Requirement(text) for text in data["project"].get("dependencies", [])]


def pip_check(req):
    def satisfied(requirement):
        marker = requirement.marker
        if marker is not None and not marker.evaluate(default_environment()):
            return True
        version = _version(requirement.name)
        return version is not None and requirement.specifier.contains(version)

    return all(map(satisfied, _requirements(req)))


def isPipInstallInProgress():
    return False


def _pip(action, **details):
    pipCalls.append({"action": action, **details})
    for line in _state["log"].splitlines():
        print(line)
    if _state["code"]:
        raise CalledProcessError(_state["code"], ["pip", action], output=_state["log"])


def pip_install(
    requirements,
    constraints=None,
    no_deps_requirements=None,
    skip_packages=None,
    blocking=True,
    show_progress=True,
    requester=None,
    parent=None,
    logCallback=None,
    completedCallback=None,
):
    if skip_packages is not None and no_deps_requirements is not None:
        raise ValueError("skip_packages and no_deps_requirements are mutually exclusive.")
    if skip_packages is not None and not blocking:
        raise ValueError("skip_packages requires blocking=True.")
    if constraints is not None and not Path(constraints).is_file():
        raise CalledProcessError(1, ["pip", "install"], output=f"no such file: {constraints}")
    arguments = shlex.split(requirements) if isinstance(requirements, str) else list(requirements)
    try:
        _pip(
            "install",
            requirements=[str(a) for a in arguments],
            constraints=Path(constraints).read_text() if constraints is not None else None,
            no_deps_requirements=no_deps_requirements,
            skip_packages=skip_packages,
            requester=requester,
        )
    except CalledProcessError as error:
        if blocking:
            raise
        for line in (error.output or "").splitlines():
            logCallback and logCallback(line)
        completedCallback and completedCallback(error.returncode)
        return None
    if not blocking:
        completedCallback and completedCallback(0)
    for text in arguments:
        try:
            requirement = Requirement(str(text))
        except InvalidRequirement:
            continue
        exact = [s.version for s in requirement.specifier if s.operator in ("==", ">=", "~=")]
        _state["installed"][canonicalize_name(requirement.name)] = exact[0] if exact else "1.0"
    return [] if skip_packages is not None else None


def pip_uninstall(requirements, blocking=True, logCallback=None, completedCallback=None):
    arguments = shlex.split(requirements) if isinstance(requirements, str) else list(requirements)
    _pip("uninstall", requirements=arguments)
    _state["installed"].update({canonicalize_name(a): None for a in arguments})


def pip_ensure(
    requirements,
    constraints=None,
    skip_packages=None,
    prompt_install=True,
    prompt_restart=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
):
    missing = [r for r in _requirements(requirements) if not pip_check(r)]
    if not missing:
        return None
    if skip_in_testing and slicer.app.testingEnabled():
        logging.info("Testing mode is enabled: skipping pip_ensure for %s", missing)
        return None
    if prompt_install and not _state["agrees"]:
        raise RuntimeError("User declined package installation")
    return pip_install(
        [str(r) for r in missing],
        constraints=constraints,
        skip_packages=skip_packages,
        show_progress=show_progress,
        requester=requester,
    )


_OFFERED = [
    "CalledProcessError",
    "InvalidRequirement",
    "Path",
    "Requirement",
    "canonicalize_name",
    "default_environment",
    "importlib",
    "isPipInstallInProgress",
    "load_pyproject_dependencies",
    "load_requirements",
    "logging",
    "pip_check",
    "pip_ensure",
    "pip_install",
    "pip_uninstall",
    "shlex",
    "slicer",
    "tomllib",
]


def asModule():
    """What `import slicer.packaging` finds: without the controls above."""
    module = types.ModuleType("slicer.packaging", "Python packages, without pip")
    for name in _OFFERED:
        setattr(module, name, globals()[name])
    return module
