"""What the worker needs in Slicer's Python: what is missing, how large it is, and one call for it.

Nothing is imported to find out, nothing is installed unasked, and what was installed is proven in
a child process, as the application itself never loads torch.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.jobs import JobError
from DeepTranslateLib.mrml import jobs, packages, requirements
from DeepTranslateLib.mrml.installfailures import explain, offlineAdvice
from DeepTranslateLib.mrml.jobs import WORKER_PYTHON_SETTING
from DeepTranslateLib.mrml.requirements import TORCH, Requirement

WHEEL_FOLDER_SETTING = "DeepTranslate/WheelFolder"
PROXY_SETTING = "DeepTranslate/Proxy"
_SECONDS_TO_VERIFY = 300
# Downloads are kept until they are unpacked, to about three times their size.
_DISK_PER_DOWNLOAD = 3.5


class InstallError(RuntimeError):
    """Something could not be installed. The message says what to do.

    Args:
        message: What happened and what to do.
        report: All that was said meanwhile, for those who are asked for help.
    """

    def __init__(self, message: str, report: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.report = f"{message}\n\n{report}".strip()


class Installation:
    """The packages that the worker needs, in the Python that the worker runs in.

    `needsRestart` says after an installation whether the application still uses old versions; the
    worker never does.
    """

    def __init__(self) -> None:
        self.needsRestart = False
        self._elsewhere: tuple[str, dict[str, str | None]] | None = None

    @property
    def python(self) -> str:
        """Interpreter that the worker runs in: the one in the settings, else Slicer's."""
        return setting(WORKER_PYTHON_SETTING) or shutil.which("PythonSlicer") or sys.executable

    @property
    def isSlicers(self) -> bool:
        """Whether the worker runs in Slicer's Python, the only one that is ever changed."""
        return not setting(WORKER_PYTHON_SETTING)

    @property
    def isReady(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing()

    def missing(self) -> list[Requirement]:
        """Packages that are not there or too old; torch first.

        Slicer's Python is only asked for what is installed in it (a few milliseconds). Another
        one that the settings name is asked by starting it, once.

        Raises:
            InstallError: The interpreter that the settings name cannot be started.
        """
        wanted = [TORCH, *requirements.read()]
        if self.isSlicers:
            versions = {need.name: requirements.installedVersion(need.name) for need in wanted}
        else:
            versions = self._versionsElsewhere([need.name for need in wanted])
        wanted = [replace(need, installed=versions[need.name]) for need in wanted]
        return [need for need in wanted if not need.isSatisfied]

    def install(
        self,
        wheelFolder: str | None = None,
        proxy: str | None = None,
        onMessage: Callable[[str], None] | None = None,
    ) -> str:
        """Install what is missing and prove that it works. Takes minutes; the panel stays alive.

        torch comes through the PyTorch extension, the others through Slicer's pip; with a wheel
        folder all comes from there. What belongs to Slicer keeps its version.

        Args:
            wheelFolder: Folder of wheels to install from, without network; "": none;
                None: the one in the settings.
            proxy: Such as "http://host:port"; "": none; None: the one in the settings.
            onMessage: Gets each line of what is going on.

        Returns:
            What was installed, and whether Slicer must be restarted.

        Raises:
            InstallError: It failed; the message says why and what to do.
        """
        folder = setting(WHEEL_FOLDER_SETTING) if wheelFolder is None else wheelFolder
        proxy = setting(PROXY_SETTING) if proxy is None else proxy
        say = onMessage or (lambda line: None)
        self._elsewhere = None
        missing = self.missing()
        self._refuse(missing, folder)
        self.needsRestart = any(need.name in sys.modules for need in missing)
        if missing:
            _endWorker()
            self._installAll(missing, folder, proxy, say)
        say(_("Checking in a child process that everything works..."))
        found = self.verify()
        if not found["ready"]:
            broken = [check for check in found["checks"] if check["state"] == "missing"]
            wrong = [f"{check['name']}: {check['found']}" for check in broken]
            raise InstallError(
                _(
                    "Everything is installed, but does not work: {what}.\nRestart Slicer and press "
                    "Install again; where that does not help, uninstall PyTorch in the module "
                    "PyTorch Util and press Install here."
                ).format(what="; ".join(wrong)),
                json.dumps(found, indent=1),
            )
        names = ", ".join(requirement.name for requirement in missing)
        done = _("Installed: {names}.").format(names=names) if missing else _("All is there.")
        if self.needsRestart:
            done += " " + _("Restart Slicer: other modules still use the old versions.")
        return done

    def verify(self) -> dict[str, Any]:
        """Load the packages in a child process: what `deeptranslate doctor` says.

        Returns:
            "ready", "checks" (each with "name", "state", "found") and "advice".

        Raises:
            InstallError: The child cannot be started or does not answer.
        """
        command = [self.python, "-m", "DeepTranslateLib", "doctor", "--json"]
        output = self._run(command)
        for line in reversed(output.splitlines()):
            if line.startswith("{"):
                return json.loads(line)
        raise InstallError(
            _("{python} cannot run DeepTranslate: {said}").format(
                python=self.python, said=(output.strip().splitlines() or [""])[-1]
            ),
            output,
        )

    def _refuse(self, missing: list[Requirement], folder: str) -> None:
        """Raise where it is known before that it cannot work."""
        if missing and not self.isSlicers:
            wanted = " ".join(f'"{requirement}"' for requirement in missing)
            raise InstallError(
                _(
                    "The worker runs in {python}, which is not changed from here. Install there:\n"
                    "{python} -m pip install {packages}\nor empty that field under Options."
                ).format(python=self.python, packages=wanted)
            )
        needsTorch = any(requirement.name == "torch" for requirement in missing)
        if needsTorch and (sys.platform, platform.machine()) == ("darwin", "x86_64"):
            raise InstallError(
                _(
                    "PyTorch ended with version 2.2.2 on Macs with an Intel processor, and "
                    "{needed} is needed. Choose another Python that has it for the worker under "
                    "Options, or use another computer."
                ).format(needed=TORCH)
            )
        if folder and missing and not os.path.isdir(folder):
            raise InstallError(
                _(
                    "The wheel folder {folder} does not exist. Choose another one under Options, "
                    "or empty the field to install from the network."
                ).format(folder=folder)
            )
        needed = _DISK_PER_DOWNLOAD * sum(need.megabytes for need in missing) / 1000
        free = shutil.disk_usage(sys.prefix).free / 1e9
        if free < needed:
            raise InstallError(
                _(
                    "About {needed:.1f} GB are needed in {folder} while installing, and "
                    "{free:.1f} GB are free. Free some space and press Install again."
                ).format(needed=needed, folder=sys.prefix, free=free)
            )

    def _installAll(
        self, missing: list[Requirement], folder: str, proxy: str, say: Callable[[str], None]
    ) -> None:
        names = [requirement.name for requirement in missing]
        wanted = [str(requirement) for requirement in missing]
        with tempfile.TemporaryDirectory(prefix="DeepTranslate") as temporary:
            constraints = packages.writeConstraints(
                Path(temporary, "constraints.txt"), without=names
            )
            with packages.surroundings(proxy, constraints), packages.overheard(say) as log:
                try:
                    if folder:
                        say(_("Installing from {folder}...").format(folder=folder))
                        packages.installFromFolder(wanted, folder, constraints)
                    else:
                        self._fromNetwork(missing, constraints, say)
                except InstallError:
                    raise
                except packages.NoPyTorchExtensionError as error:
                    raise InstallError(
                        _(
                            "The extension PyTorch, which installs torch, is missing. Open View > "
                            "Extensions Manager, install PyTorch, restart Slicer and press Install "
                            "again."
                        )
                    ) from error
                except Exception as error:  # pip and two extensions, each with its own errors
                    report = "\n".join([*log, f"{type(error).__name__}: {error}"])
                    if "declined" in str(error):
                        raise InstallError(_declined(), report) from error
                    raise InstallError(explain(report, wanted, folder), report) from error
        importlib.invalidate_caches()
        if left := self.missing():
            report = "\n".join(log)
            raise InstallError(self._stillMissing(left), report)

    def _fromNetwork(
        self, missing: list[Requirement], constraints: Path, say: Callable[[str], None]
    ) -> None:
        if missing[0].name == "torch":
            torch, *missing = missing
            say(_("Installing torch, {size}...").format(size=torch.sizeText))
            packages.installTorch(TORCH.specifier)
            importlib.invalidate_caches()
            if not requirements.satisfies(requirements.installedVersion("torch"), TORCH.specifier):
                raise InstallError(self._stillMissing([torch]))
            # From here on the build that was chosen for the graphics card stays.
            packages.writeConstraints(constraints, without=[r.name for r in missing])
        if missing:
            names = [requirement.name for requirement in missing]
            say(_("Installing {names}...").format(names=", ".join(names)))
            packages.installPackages(requirements.FILE, names, constraints)

    def _stillMissing(self, left: list[Requirement]) -> str:
        if slicer.app.testingEnabled():
            return _("Slicer runs in testing mode, where it installs nothing.")
        lines = [
            f"{requirement.name}: {requirement.installed or _('not installed')}, "
            + _("needed {specifier}").format(specifier=requirement.specifier)
            for requirement in left
        ]
        return (
            _("Nothing failed, but this is still missing: {what}.").format(what="; ".join(lines))
            + "\n"
            + _("You may have declined. Restart Slicer and press Install again.")
            + "\n"
            + offlineAdvice([str(requirement) for requirement in left])
        )

    def _versionsElsewhere(self, names: list[str]) -> dict[str, str | None]:
        """Ask another interpreter; it is not asked again before the settings name another one."""
        python = self.python
        if self._elsewhere is None or self._elsewhere[0] != python:
            code = (
                "import importlib.metadata as m, json, sys\n"
                "have = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
                "print(json.dumps({n: have.get(n.lower()) for n in sys.argv[1:]}))"
            )
            output = self._run([python, "-c", code, *names])
            try:
                self._elsewhere = (python, json.loads(output.splitlines()[-1]))
            except (ValueError, IndexError) as error:
                raise InstallError(_noPython(python), output) from error
        return self._elsewhere[1]

    def _run(self, command: list[str]) -> str:
        """Run a process to its end and return what it printed, while the panel stays alive."""
        # Slicer's PYTHONHOME and library paths would break any Python but its own.
        own = os.environ if self.isSlicers else slicer.util.startupEnvironment()
        paths = [str(requirements.LIBRARY), own.get("PYTHONPATH", "")]
        environment = {**own, "PYTHONUTF8": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        # No console window on Windows.
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                    env=environment, creationflags=flags,
                )  # fmt: skip
            except OSError as error:
                raise InstallError(_noPython(command[0]), str(error)) from error
            end = time.monotonic() + _SECONDS_TO_VERIFY
            while process.poll() is None:
                if time.monotonic() > end:
                    process.kill()
                    process.wait()
                    raise InstallError(
                        _("{python} did not answer for {seconds} s. Restart the computer.").format(
                            python=command[0], seconds=_SECONDS_TO_VERIFY
                        )
                    )
                slicer.app.processEvents()
                time.sleep(0.02)
            output.seek(0)
            return output.read()


def setting(key: str) -> str:
    """Return a text from the user's settings; empty: not set."""
    return str(slicer.app.userSettings().value(key, "") or "").strip()


def _declined() -> str:
    return _("Nothing was installed, as you declined. Press Install to be asked again.")


def _noPython(python: str) -> str:
    return _(
        "{python}, which is to run the worker, is no Python that can be started. Choose another "
        "one under Options, or empty the field to use Slicer's."
    ).format(python=python)


def _endWorker() -> None:
    """End the warm worker, whose files could not be replaced while it lives."""
    try:
        worker = jobs.applicationWorker()
    except JobError:
        return
    if worker.busy:
        raise InstallError(
            _("A job is running. Wait for its end, or cancel it, and press Install.")
        )
    worker.close()
