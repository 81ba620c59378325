"""`deeptranslate doctor`, and commands that lack the packages of the engine."""

import importlib.metadata
import re
import textwrap

import pytest
from cli_samples import process, run, run_json

from DeepTranslateLib.cli import doctor

pytestmark = pytest.mark.usefixtures("no_hang")


def test_doctor_on_this_machine(capfd):
    assert run("doctor") == 0
    assert re.search(r"^ok +torch ", capfd.readouterr().out, re.MULTILINE)
    code, events = run_json(capfd, "doctor")
    assert (code, events[-1]["ready"]) == (0, True)


def test_doctor_knows_what_the_package_needs():
    wanted = {"": {}, "report": {}, "registration": {}, "tensorboard": {}}
    for text in importlib.metadata.requires("DeepTranslateLib"):
        extra = re.search(r'extra == "(\w+)"', text)
        part = extra[1] if extra else ""
        if part in wanted:
            name, minimum = re.match(r"([\w-]+)[^;]*>=([\d.]+)", text).groups()
            wanted[part][name] = minimum
    assert wanted[""] == {**doctor.NEEDED, **doctor.FOR_TERMINAL}
    assert wanted["report"] == doctor.FOR_REPORT
    assert wanted["registration"] == doctor.FOR_REGISTRATION
    assert wanted["tensorboard"] == doctor.FOR_TENSORBOARD


def test_doctor_says_what_to_install(monkeypatch, capfd):
    known = importlib.metadata.version

    def version(name):
        if name in ("torch", "rich", "jinja2"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.5.2" if name == "monai" else known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, events = run_json(capfd, "doctor")
    assert code == 5
    assert not events[-1]["ready"]
    states = {check["name"]: check["state"] for check in events[-1]["checks"]}
    assert [name for name, state in states.items() if state == "missing"] == [
        "monai",
        "torch",
    ]
    assert (states["jinja2"], states["rich"]) == ("note", "note")
    needed, report, terminal = events[-1]["advice"]
    assert needed.endswith('-m pip install --upgrade "monai>=1.6" "torch>=2.8"')
    assert "significance only: jinja2" in report
    assert "progress bars only: rich" in terminal


def test_in_slicer_doctor_points_to_the_button_and_not_to_pip(monkeypatch):
    known = importlib.metadata.version

    def version(name):
        if name == "monai":
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setenv("SLICER_HOME", "/opt/Slicer")
    (advice,) = doctor.examine()["advice"]
    assert "monai" in advice
    assert "button in the panel" in advice
    assert "pip" not in advice


def test_without_the_packages_of_the_engine_commands_say_so(place):
    blocker = textwrap.dedent(
        """
        import importlib.abc, sys

        class Blocker(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("torch", "monai", "safetensors", "rich"):
                    raise ModuleNotFoundError(f"No module named '{name}'", name=name)

        sys.meta_path.insert(0, Blocker())
        from DeepTranslateLib.cli import main
        codes = [main(["doctor"]), main(["info", "labels.dtmodel"]), main(
            ["translate", "--model", "labels.dtmodel", "--output", "out", "a.nrrd"])]
        assert codes == [5, 0, 5], codes
        """
    )
    done = process("-c", blocker, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "torch. Install with: " in done.stdout
    assert done.stderr.startswith("The Python package 'torch' is not installed. 'deeptranslate")
    assert not (place / "out").exists()
