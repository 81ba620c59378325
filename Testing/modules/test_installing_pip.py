"""What pip itself says when it fails is understood; nothing is installed, no network is used."""

import os
import subprocess
import zipfile

import pytest

from DeepTranslateLib.mrml.installfailures import explain
from DeepTranslateLib.mrml.installing import Installation

NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture
def pip():
    """Function that runs pip with arguments and returns what it said and whether it worked."""

    def run(*arguments, **environment):
        kept = {k: v for k, v in os.environ.items() if not k.upper().startswith("PIP_")}
        command = [Installation().python, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        done = subprocess.run(
            [*command, "--retries", "1", "--timeout", "5", *map(str, arguments)],
            env={**kept, "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "", "no_proxy": "",
                 **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.stdout, done.returncode == 0

    return run


@pytest.fixture
def wheel(tmp_path):
    """Function that makes a wheel of an empty package in the folder of the test."""

    def make(name, version, *requires):
        info = f"{name}-{version}.dist-info"
        metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
        path = tmp_path / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{name}.py", "")
            archive.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        return path

    return make


def test_an_empty_wheel_folder(pip, tmp_path):
    said, worked = pip("--no-index", "--find-links", tmp_path, "monai>=1.6")
    assert not worked
    message = explain(said, ["monai>=1.6"], str(tmp_path))
    assert f"wheel folder {tmp_path} has no suitable file of monai" in message


def test_a_dependency_that_the_wheel_folder_lacks_is_named(pip, wheel, tmp_path):
    wheel("dtone", "1.0", "dttwo>=1")
    said, worked = pip("--no-index", "--find-links", tmp_path, "dtone")
    assert not worked
    assert "no suitable file of dttwo" in explain(said, ["dtone"], str(tmp_path))


def test_a_wheel_folder_with_all_works(pip, wheel, tmp_path):
    wheel("dtone", "1.0", "dttwo>=1")
    wheel("dttwo", "1.5")
    said, worked = pip("--no-index", "--find-links", tmp_path, "dtone")
    assert worked, said


def test_no_network(pip):
    said, worked = pip("--index-url", NOBODY_LISTENS, "monai>=1.6")
    assert not worked
    assert "There is no connection" in explain(said, ["monai>=1.6"])


def test_no_network_of_which_pip_says_nothing(pip):
    said, worked = pip("--index-url", NOBODY_LISTENS, "--retries", "0", "monai>=1.6")
    assert not worked
    assert "Check the network" in explain(said, ["monai>=1.6"])


def test_a_version_that_no_index_has(pip, wheel, tmp_path):
    wheel("dtone", "1.0")
    said, worked = pip("--no-index", "--find-links", tmp_path, "dtone>=2")
    assert not worked
    assert "no suitable version of dtone" in explain(said, ["dtone>=2"])
    assert "no suitable file of dtone" in explain(said, ["dtone>=2"], str(tmp_path))


def test_a_proxy_that_does_not_answer(pip):
    said, worked = pip("monai>=1.6", PIP_PROXY=NOBODY_LISTENS)
    assert not worked
    assert "the proxy under Options" in explain(said, ["monai>=1.6"])


def test_a_constraint_that_a_package_contradicts(pip, wheel, tmp_path):
    """As when a package wants another numpy than Slicer's."""
    wheel("dtone", "1.0", "dttwo>=2")
    wheel("dttwo", "1.5")
    wheel("dttwo", "2.0")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("dttwo==1.5\n")
    arguments = ("--no-index", "--find-links", tmp_path, "dtone")
    assert pip(*arguments)[1]
    for said, worked in (
        pip(*arguments, "-c", constraints),
        pip(*arguments, PIP_CONSTRAINT=str(constraints)),
    ):
        assert not worked
        assert "belong to Slicer" in explain(said, ["dtone"])


def test_a_damaged_wheel(pip, wheel, tmp_path):
    path = wheel("dtone", "1.0")
    path.write_bytes(path.read_bytes()[:100])
    said, worked = pip("--no-index", "--find-links", tmp_path, "dtone")
    assert not worked
    assert "damaged" in explain(said, ["dtone"], str(tmp_path))
