"""Installing: what is missing, in which order it comes, under which constraints, and why not.

What is outside is played: pip, the PyTorch extension, and which distributions there are.
"""

import importlib.abc
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import types
from collections import namedtuple
from pathlib import Path

import pytest
import slicer

from DeepTranslateLib.mrml import installing, packages, requirements
from DeepTranslateLib.mrml.installfailures import explain
from DeepTranslateLib.mrml.installing import Installation, InstallError

try:
    import slicer.packaging as slicerPackaging
except ImportError:  # before Slicer 5.11
    slicerPackaging = None

KEYS = ("DeepTranslate/WheelFolder", "DeepTranslate/Proxy", "DeepTranslate/WorkerPython")
LACKS_NOTHING = {"torch": "2.9.0+cu126", "monai": "1.6.1", "safetensors": "0.8.0"}
LACKS_ALL = dict.fromkeys(LACKS_NOTHING)
COMES_WITH_SLICER = {
    "numpy": "2.4.6", "scipy": "1.17.1", "SimpleITK": "2.5.5", "requests": "2.32.4",
    "pydicom": "3.0.1", "pillow": "11.3.0", "packaging": "25.0",
}  # fmt: skip
VERIFIED = {"ready": True, "checks": [], "advice": []}


@pytest.fixture(autouse=True)
def settings():
    """The user's settings are as they were afterwards."""
    stored = slicer.app.userSettings()
    before = {key: stored.value(key, "") for key in KEYS}
    for key in KEYS:
        stored.setValue(key, "")
    yield stored
    for key, value in before.items():
        stored.setValue(key, value)


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


class Machine:
    """A computer with some distributions, on which pip and the PyTorch extension are played.

    `calls` has what was asked of them, in order, with the constraints and the environment.
    """

    def __init__(self, monkeypatch):
        self.calls = []
        self.installed = {**COMES_WITH_SLICER, **LACKS_ALL}
        self.says = []
        self.fails = {}
        self.torchComes = "2.9.0+cu126"
        self.keywords = ("askConfirmation", "torchVersionRequirement")
        known = importlib.metadata.version

        def version(name):
            if name not in self.installed:
                return known(name)
            if self.installed[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return self.installed[name]

        monkeypatch.setattr(importlib.metadata, "version", version)
        extension = types.ModuleType("PyTorchUtils")
        extension.PyTorchUtilsLogic = lambda: self
        monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
        if slicerPackaging is not None:
            monkeypatch.setattr(slicerPackaging, "pip_ensure", self.pipEnsure)
            monkeypatch.setattr(slicerPackaging, "pip_install", self.pipInstall)
        monkeypatch.setattr(slicer.util, "pip_install", self.oldPipInstall)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(0, 0, 500 * 10**9))
        self.monkeypatch = monkeypatch

    def verifies(self):
        self.monkeypatch.setattr(Installation, "verify", lambda self: VERIFIED)
        return self

    def withoutExtension(self):
        self.monkeypatch.setitem(sys.modules, "PyTorchUtils", None)

    def before511(self):
        self.monkeypatch.setattr(packages, "_packaging", lambda: None)

    def installTorch(self, **keywords):
        for keyword in keywords:
            if keyword not in self.keywords:
                raise TypeError(f"installTorch() got an unexpected keyword argument '{keyword}'")
        self._record("torch", **keywords)
        self.installed["torch"] = self.torchComes
        # As the extension does it after pip; in the application this must not load torch.
        import torch

        return torch

    def pipEnsure(self, requirements, constraints=None, skip_packages=None, prompt_install=True,
                  prompt_restart=True, requester=None, skip_in_testing=True,
                  show_progress=True):  # fmt: skip
        # Requirement objects, as the first versions of pip_ensure took nothing else.
        self._record("pip_ensure", *map(_spelled, requirements), constraints=constraints,
                     prompt_install=prompt_install, requester=requester)  # fmt: skip
        for requirement in requirements:
            self.installed[requirement.name] = LACKS_NOTHING[requirement.name]

    def pipInstall(self, requirements, constraints=None, requester=None, show_progress=True):
        self._record("pip_install", *requirements, constraints=constraints)
        self._arrive(requirements)

    def oldPipInstall(self, requirements):
        constraints = requirements[requirements.index("-c") + 1] if "-c" in requirements else None
        self._record("pip_install 5.10", *requirements, constraints=constraints)
        self._arrive(requirements)

    def _arrive(self, requirements):
        for name, version in LACKS_NOTHING.items():
            if any(text.startswith(name) for text in requirements):
                self.installed[name] = version

    def _record(self, what, *arguments, constraints=None, **details):
        text = Path(constraints).read_text() if constraints else None
        environment = {k: v for k, v in os.environ.items() if "PROXY" in k.upper()}
        for_all = Path(os.environ["PIP_CONSTRAINT"]).read_text()
        call = Call(what, arguments, text, for_all, environment, details)
        self.calls.append(call)
        for line in self.says:
            print(line)
        if what in self.fails:
            raise self.fails[what]


Call = namedtuple("Call", "what arguments constraints forEveryPip environment details")
Disk = namedtuple("Disk", "total used free")


def _spelled(requirement):
    return str(requirement)


def failure(machine, **arguments):
    with pytest.raises(InstallError) as caught:
        Installation().install(**arguments)
    return caught.value


# what is missing


def test_missing_lists_torch_first_with_versions_and_sizes(machine):
    machine.installed["monai"] = "1.3.0"
    missing = Installation().missing()
    assert [(r.name, r.installed) for r in missing] == [
        ("torch", None),
        ("monai", "1.3.0"),
        ("safetensors", None),
    ]
    assert all(r.sizeText.startswith("about ") for r in missing)
    assert str(missing[0]) == "torch>=2.8"
    assert not Installation().isReady


def test_a_graphics_card_makes_torch_larger(machine, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    small = Installation().missing()[0].sizeText
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/" + name)
    large = Installation().missing()[0].sizeText
    assert (small, large) == ("about 200 MB", "about 3 GB")


def test_nothing_is_missing_where_all_is_there(machine):
    machine.installed.update(LACKS_NOTHING)
    assert Installation().missing() == []
    assert Installation().isReady


@pytest.mark.parametrize(
    ("version", "specifier", "expected"),
    [
        ("2.8.0+cu126", ">=2.8", True),
        ("2.8", ">=2.8", True),
        ("2.10.0", ">=2.8", True),
        ("2.7.1", ">=2.8", False),
        ("2.2.2", ">=2.8", False),
        ("2.4.6", ">=1.26,<3", True),
        ("3.0.0", ">=1.26,<3", False),
        ("1.26", ">=1.26,<3", True),
        ("0.4.3", ">=0.4.3", True),
        ("0.4", ">=0.4.3", False),
        (None, ">=1", False),
    ],
)
def test_versions_are_compared_as_numbers(version, specifier, expected):
    assert requirements.satisfies(version, specifier) is expected


def test_looking_loads_neither_torch_nor_monai(machine):
    loaded = set(sys.modules)
    Installation().missing()
    assert not {"torch", "monai", "safetensors"} & (set(sys.modules) - loaded)


# what is called, and with what


def test_nothing_is_installed_by_looking(machine):
    installation = Installation()
    installation.missing()
    assert not installation.isReady
    assert machine.calls == []


def test_torch_comes_first_and_through_the_extension_the_rest_through_pip_ensure(machine):
    if slicerPackaging is None:
        pytest.skip("before Slicer 5.11 there is no pip_ensure")
    machine.verifies()
    said = Installation().install()
    assert [call.what for call in machine.calls] == ["torch", "pip_ensure"]
    torch, rest = machine.calls
    assert torch.details == {"askConfirmation": False, "torchVersionRequirement": ">=2.8"}
    assert rest.arguments == ("monai>=1.6", "safetensors>=0.4.3")
    assert rest.details == {"prompt_install": False, "requester": "DeepTranslate"}
    assert said == "Installed: torch, monai, safetensors."


def test_before_slicer_5_11_the_rest_comes_through_pip_install_with_constraints(machine):
    machine.before511()
    machine.verifies()
    Installation().install()
    assert [call.what for call in machine.calls] == ["torch", "pip_install 5.10"]
    assert machine.calls[1].arguments[:3] == ("monai>=1.6", "safetensors>=0.4.3", "-c")
    assert "numpy==2.4.6" in machine.calls[1].constraints


def test_constraints_keep_what_is_slicers_and_the_exact_build_of_torch(machine):
    machine.verifies()
    Installation().install()
    torch, rest = machine.calls
    kept = {f"{name}=={version}" for name, version in COMES_WITH_SLICER.items()}
    # While torch is installed everything but torch is kept, also by the extension's own pip.
    assert set(torch.forEveryPip.split()) == kept
    assert set(rest.constraints.split()) == kept | {"torch==2.9.0+cu126"}
    assert rest.forEveryPip == rest.constraints


def test_an_installed_torch_is_neither_replaced_nor_asked_for(machine):
    machine.verifies()
    machine.installed["torch"] = "2.8.0+cu128"
    Installation().install()
    (rest,) = machine.calls
    assert "torch==2.8.0+cu128" in rest.constraints.split()
    assert not any("torch" in argument for argument in rest.arguments if argument[0] != "/")


def test_the_extension_is_called_with_the_keywords_that_it_knows(machine):
    machine.verifies()
    machine.keywords = ("torchVersionRequirement",)
    Installation().install()
    assert machine.calls[0].details == {"torchVersionRequirement": ">=2.8"}
    machine.installed["torch"], machine.keywords = None, ()
    Installation().install()
    assert machine.calls[-1].details == {}


def test_torch_is_not_loaded_into_this_process_although_the_extension_imports_it(machine):
    if "torch" in sys.modules:
        pytest.skip("something else has loaded torch")
    machine.verifies()
    Installation().install()
    assert machine.installed["torch"] == "2.9.0+cu126"
    assert "torch" not in sys.modules


def test_what_pip_says_is_handed_on_line_by_line_and_still_printed(machine, capsys):
    machine.verifies()
    machine.says = ["Collecting monai", "Successfully installed"]
    heard = []
    Installation().install(onMessage=heard.append)
    assert [line for line in heard if line in machine.says] == machine.says * 2
    assert "Collecting monai" in capsys.readouterr().out


def test_the_environment_of_this_process_is_as_before(machine):
    machine.verifies()
    before = dict(os.environ)
    Installation().install(proxy="http://proxy:3128")
    assert dict(os.environ) == before


def test_the_proxy_of_the_settings_reaches_every_pip(machine, settings):
    machine.verifies()
    settings.setValue("DeepTranslate/Proxy", "http://proxy:3128")
    Installation().install()
    for call in machine.calls:
        for name in ("PIP_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
            assert call.environment[name] == "http://proxy:3128"


def test_a_wheel_folder_is_all_that_is_used(machine, settings, tmp_path):
    machine.verifies()
    settings.setValue("DeepTranslate/WheelFolder", str(tmp_path))
    Installation().install()
    (call,) = machine.calls
    expected = ("--no-index", "--find-links", str(tmp_path), "torch>=2.8", "monai>=1.6")
    assert call.arguments[:5] == expected
    assert "numpy==2.4.6" in call.constraints.split()


def test_an_upgrade_of_what_is_loaded_asks_for_a_restart(machine, monkeypatch):
    machine.verifies()
    machine.installed.update({**LACKS_NOTHING, "safetensors": "0.3.0"})
    monkeypatch.setitem(sys.modules, "safetensors", types.ModuleType("safetensors"))
    installation = Installation()
    assert "Restart Slicer" in installation.install()
    assert installation.needsRestart


# failures


NETWORK = "NewConnectionError: Failed to establish a new connection: getaddrinfo failed"
ABSENT = "ERROR: No matching distribution found for monai>=1.6"
FAILURES = [
    (NETWORK, ["no connection", "proxy", "pip download", "wheel folder"]),
    ("OSError: [Errno 28] No space left on device", ["disk is full", "7 GB"]),
    ("PermissionError: [Errno 13] Permission denied: '/opt/Slicer'", ["may not be written"]),
    ("[WinError 5] Access is denied: 'C:\\\\Slicer\\\\torch_cpu.dll'", ["in use", "Restart"]),
    ("[WinError 32] being used by another process", ["in use", "Restart"]),
    ("OSError: [WinError 206] The filename or extension is too long", ["too long", "C:\\Slicer"]),
    ("HINT: This error might have occurred since this system does not have Windows Long Path "
     "support enabled.", ["too long"]),
    ("ProxyError('Cannot connect to proxy.')", ["proxy refused", "http://user"]),
    ("SSLError(SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED)", ["administrator"]),
    ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", ["damaged", "again"]),
    ("ERROR: ResolutionImpossible", ["belong to Slicer"]),
    (ABSENT, ["no suitable version of monai", "another"]),
    ("ERROR: something new", ["ERROR: something new", "report"]),
    ("", ["said nothing"]),
]  # fmt: skip


@pytest.mark.parametrize(("log", "said"), FAILURES, ids=lambda value: str(value)[:30])
def test_every_failure_of_pip_says_what_to_do(log, said):
    message = explain(log, ["monai>=1.6"])
    for words in said:
        assert words in message


def test_no_network_is_found_among_the_errors_that_follow_from_it():
    assert "no connection" in explain(f"WARNING: {NETWORK}\n{ABSENT}", ["monai>=1.6"])


def test_a_wheel_folder_without_a_package_is_named_with_the_package_and_the_command(tmp_path):
    message = explain(ABSENT, ["monai>=1.6"], str(tmp_path))
    assert str(tmp_path) in message
    assert 'pip download -d FOLDER "monai>=1.6"' in message
    assert "Python 3." in message


def test_a_failing_pip_raises_the_explanation_and_a_report_with_all_that_was_said(machine):
    machine.fails["pip_ensure"] = machine.fails["pip_install 5.10"] = subprocess.CalledProcessError(
        1, "pip install"
    )
    machine.says = ["Collecting monai", NETWORK]
    error = failure(machine)
    assert "no connection" in error.message
    assert "Collecting monai" in error.report
    assert "CalledProcessError" in error.report


def test_a_failing_extension_raises_the_explanation_and_the_rest_is_not_tried(machine):
    machine.fails["torch"] = subprocess.CalledProcessError(1, "light_the_torch")
    machine.says = ["OSError: [Errno 28] No space left on device"]
    assert "disk is full" in failure(machine).message
    assert [call.what for call in machine.calls] == ["torch"]


def test_without_the_extension_its_installation_is_explained(machine):
    machine.withoutExtension()
    message = failure(machine).message
    assert "Extensions Manager" in message
    assert "PyTorch" in message
    assert machine.calls == []


def test_who_declines_is_told_that_nothing_was_installed(machine):
    if slicerPackaging is None:
        pytest.skip("before Slicer 5.11 nobody is asked")
    machine.fails["pip_ensure"] = RuntimeError("User declined package installation")
    assert "declined" in failure(machine).message


def test_pip_that_silently_did_nothing_is_noticed(machine, monkeypatch):
    if slicerPackaging is None:
        pytest.skip("before Slicer 5.11 there is no testing mode of pip")
    monkeypatch.setattr(slicerPackaging, "pip_ensure", lambda *a, **k: None)
    message = failure(machine).message
    assert "testing mode" in message or "still missing" in message


def test_an_extension_that_brings_too_old_a_torch_is_noticed(machine):
    machine.torchComes = "2.2.2"
    failure(machine)
    assert [call.what for call in machine.calls] == ["torch"]


def test_a_mac_with_an_intel_processor_is_told_before_anything_is_downloaded(machine, monkeypatch):
    monkeypatch.setattr(installing.sys, "platform", "darwin")
    monkeypatch.setattr(installing.platform, "machine", lambda: "x86_64")
    message = failure(machine).message
    assert "2.2.2" in message
    assert "another Python" in message
    assert machine.calls == []


def test_too_little_disk_is_told_before_anything_is_downloaded(machine, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(0, 0, 10**8))
    assert "0.1 GB are free" in failure(machine).message
    assert machine.calls == []


def test_a_wheel_folder_that_does_not_exist_is_told(machine, tmp_path):
    assert "does not exist" in failure(machine, wheelFolder=str(tmp_path / "no")).message
    assert machine.calls == []


def test_what_is_installed_but_does_not_load_is_no_success(machine, monkeypatch):
    checks = [{"name": "torch", "state": "missing", "found": "2.9.0, cannot be loaded (OSError)"}]
    monkeypatch.setattr(Installation, "verify", lambda self: {"ready": False, "checks": checks})
    message = failure(machine).message
    assert "torch: 2.9.0, cannot be loaded (OSError)" in message
    assert "Restart" in message


# another Python for the worker


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the other Python")
def test_another_python_is_asked_and_never_changed(machine, settings, tmp_path):
    settings.setValue("DeepTranslate/WorkerPython", _bareInterpreter(tmp_path))
    installation = Installation()
    assert "torch" in [r.name for r in installation.missing()]
    with pytest.raises(InstallError, match=r'-m pip install .*"torch>=2.8"'):
        installation.install()
    assert machine.calls == []


def _bareInterpreter(folder):
    """An interpreter that has nothing installed, called as `python -c CODE NAMES`.

    Slicer's own takes no -I: without its environment variables it does not find its library.
    """
    bare = (
        "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; "
        "code = sys.argv[2]; sys.argv = ['-c', *sys.argv[3:]]; exec(code)"
    )
    path = folder / "bare"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{bare}" "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_a_python_that_is_none_is_told(machine, settings, tmp_path):
    settings.setValue("DeepTranslate/WorkerPython", str(tmp_path / "no-python"))
    with pytest.raises(InstallError, match="Choose another"):
        Installation().missing()


# the child process


def test_verify_asks_doctor_in_another_process(inApplication):
    if inApplication and not Installation().isReady:
        pytest.skip("torch is not installed in this Slicer")
    found = Installation().verify()
    assert found["ready"]
    by_name = {check["name"]: check for check in found["checks"]}
    assert by_name["torch"]["found"] == importlib.metadata.version("torch")
    assert by_name["monai"]["state"] == "ok"
    assert "GPU" in by_name or any("cuda" in name or "mps" in name for name in by_name)


def test_verify_runs_a_process_of_its_own(tmp_path, settings):
    # An interpreter that writes down its process id before it works.
    path = tmp_path / ("python.bat" if os.name == "nt" else "python")
    if os.name == "nt":
        pytest.skip("a shell script")
    note = tmp_path / "pid"
    path.write_text(f'#!/bin/sh\necho $$ > "{note}"\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    settings.setValue("DeepTranslate/WorkerPython", str(path))
    Installation().verify()
    assert int(note.read_text()) != os.getpid()


def test_what_cannot_run_the_library_is_quoted(tmp_path, settings):
    if os.name == "nt":
        pytest.skip("a shell script")
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho this is no Python\n")
    path.chmod(0o755)
    settings.setValue("DeepTranslate/WorkerPython", str(path))
    with pytest.raises(InstallError, match="this is no Python"):
        Installation().verify()


# what is written down twice


def test_requirements_are_those_of_the_package_without_what_the_terminal_needs():
    pyproject = requirements.LIBRARY / "pyproject.toml"
    if not pyproject.is_file():
        pytest.skip("an installation has no pyproject.toml")
    tomllib = pytest.importorskip("tomllib")
    wanted = set(tomllib.loads(pyproject.read_text())["project"]["dependencies"])
    ours = {str(r) for r in [requirements.TORCH, *requirements.read()]}
    assert ours == {text for text in wanted if not text.startswith("rich")}


def test_every_requirement_has_a_size():
    for requirement in [requirements.TORCH, *requirements.read()]:
        assert requirement.megabytes > 0


def test_the_list_that_slicer_reads_is_the_list_that_is_read_here():
    packaging = pytest.importorskip("slicer.packaging")
    theirs = [(r.name, set(str(r.specifier).split(","))) for r in
              packaging.load_requirements(requirements.FILE)]  # fmt: skip
    ours = [(r.name, set(r.specifier.split(","))) for r in requirements.read()]
    assert theirs == ours


def test_doctor_without_rich_is_ready_for_the_worker(tmp_path):
    """A worker's Python as it is in Slicer: rich is not there."""
    code = (
        "import sys, importlib.metadata as m\n"
        "known = m.version\n"
        "def version(name):\n"
        "    if name == 'rich': raise m.PackageNotFoundError(name)\n"
        "    return known(name)\n"
        "m.version = version\n"
        "sys.modules['rich'] = None\n"
        "from DeepTranslateLib.cli import main\n"
        "sys.exit(main(['doctor', '--json']))\n"
    )
    if not Installation().isReady:
        pytest.skip("torch is not installed in this Slicer")
    done = subprocess.run(
        [Installation().python, "-c", code], capture_output=True, text=True, timeout=120,
        check=False, env={**os.environ, "PYTHONPATH": str(requirements.LIBRARY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["ready"]
