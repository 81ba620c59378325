"""The modules as the application loads them: quickly, and without what they must not load."""

import subprocess
import sys
from pathlib import Path

import pytest
import qt
import slicer
import translate_samples as samples

from DeepTranslateLib.mrml.panels.jobprogress import JobProgress, durationText

ROOT = Path(__file__).resolve().parents[2]
LOADED = """
import sys, time
sys.path[:0] = {paths!r}
{prepare}
before = set(sys.modules)
start = time.perf_counter()
import {name}
seconds = time.perf_counter() - start
heavy = {{"torch", "monai", "pandas", "matplotlib", "safetensors", "scipy", "SimpleITK", "pydicom"}}
loaded = {{name.split(".")[0] for name in set(sys.modules) - before}}
print("RESULT", seconds, sorted(heavy & loaded))
"""
HOST = "from Testing.host import gui; gui.start()"


def loaded(name):
    """Seconds that a fresh process takes to load a module, and what heavy it loads."""
    paths = [str(ROOT), str(ROOT / "DeepTranslate")]
    code = LOADED.format(paths=paths, prepare=HOST, name=name)
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    line = next((each for each in found.stdout.splitlines() if each.startswith("RESULT")), None)
    assert line is not None, found.stdout + found.stderr
    _mark, seconds, heavy = line.split(" ", 2)
    return float(seconds), heavy


@pytest.mark.parametrize("name", ["DeepTranslate", "DeepTranslateTrain"])
def test_loading_a_module_takes_less_than_a_tenth_of_a_second(inApplication, name):
    if inApplication:
        pytest.skip("the application has loaded the module already, in this process")
    times, heavy = zip(*(loaded(name) for _ in range(3)), strict=True)
    assert set(heavy) == {"[]"}
    assert min(times) < 0.1


def test_the_module_says_what_it_is():
    module = slicer.modules.deeptranslate
    assert module.title == "DeepTranslate"
    assert module.categories == ["Image Synthesis"] or module.categories == ("Image Synthesis",)
    assert "Ye" in module.acknowledgementText
    assert "model" in module.helpText


def test_the_self_test_passes():
    samples.needTorch()
    module = sys.modules["DeepTranslate"]
    module.DeepTranslateTest().runTest()


def test_a_duration_reads_as_a_person_says_it():
    assert [durationText(s) for s in (0.2, 8, 59, 90, 3599, 3600, 7500)] == [
        "1 s",
        "8 s",
        "59 s",
        "2 min",
        "1 h 0 min",
        "1 h 0 min",
        "2 h 5 min",
    ]


def test_progress_says_the_rate_and_the_time_left():
    now = [0.0]
    parent = qt.QWidget()
    progress = JobProgress(qt.QVBoxLayout(parent), lambda: None, clock=lambda: now[0])
    progress.start("Starting")
    progress.update("Translating", 0, 100, "slices")
    assert progress.label.text == "Translating, 0 of 100 slices"
    now[0] = 2.0
    progress.update("Translating", 20, 100, "slices")
    assert progress.label.text == (
        "Translating, 20 of 100 slices, 10.0 slices a second, about 8 s left"
    )
    assert progress.bar.value == 200
    progress.update("Writing", 0, 0)
    assert progress.bar.maximum == 0
    progress.finish()
    assert not progress.widget.visible


def test_cancel_is_asked_once():
    asked = []
    parent = qt.QWidget()
    progress = JobProgress(qt.QVBoxLayout(parent), lambda: asked.append(1))
    progress.start("Starting")
    progress.cancelButton.click()
    progress.cancelButton.click()
    assert asked == [1]
