"""The command itself: help, version, wrong command lines, exit codes."""

import os
import subprocess
import sys
import textwrap

import pytest
from cli_samples import ROOT, process, run

import DeepTranslateLib
from DeepTranslateLib.cli import EXIT_CODES

pytestmark = pytest.mark.usefixtures("no_hang")


def wrong_usage(capfd, *arguments):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    return err


def test_help_and_version_load_nothing_heavy(tmp_path):
    code = textwrap.dedent(
        """
        import sys
        from DeepTranslateLib.cli import main
        try:
            main(sys.argv[1:])
        finally:
            heavy = {"torch", "monai", "numpy", "SimpleITK", "rich"} & set(sys.modules)
            assert not heavy, heavy
        """
    )
    for argument in ("--help", "--version"):
        done = process("-c", code, argument, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == DeepTranslateLib.__version__


def test_the_module_is_the_command(tmp_path):
    done = process("-m", "DeepTranslateLib", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: deeptranslate ")
    commands = ("demo", "train", "translate", "statistics", "recipes", "models", "info", "doctor")
    for command in commands:
        assert f"    {command}" in done.stdout
    assert EXIT_CODES in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["foo"], "invalid choice: 'foo'"),
        (["translate", "--model", "m", "--output", "o"], "INPUT"),
        (["train", "--recipe", "r"], "--cohort, --output"),
        (["train", "--recipe", "r", "--cohort", "c", "--output", "o", "--seed", "-1"], "from 0"),
        (["train", "--recipe", "r", "--cohort", "c", "--output", "o", "--epochs", "x"], "from 1"),
        (["translate", "--model", "m", "--output", "o", "--device", "tpu", "a"], "'tpu'"),
        (["translate", "--model", "m", "--output", "o", "--format", "jpg", "a"], "'jpg'"),
        (["translate", "--model", "m", "--output", "o", "--memory-limit", "0", "a"], "above 0"),
        (["statistics", "--image", "i", "--labels", "l", "--output", "t.xls"], "*.csv or *.tsv"),
    ],
)
def test_a_wrong_command_line_exits_2_and_says_what_is_wrong(capfd, arguments, said):
    assert said in wrong_usage(capfd, *arguments)


def test_a_reader_that_goes_away_is_no_error(place):
    done = subprocess.run(
        f'"{sys.executable}" -m DeepTranslateLib recipes --json | head -c 1',
        shell=True, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("{", "")


def test_debug_shows_the_traceback_and_keeps_the_exit_code(place, capfd):
    assert run("info", "nowhere.nrrd", "--debug") == 3
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("There is no file nowhere.nrrd")
