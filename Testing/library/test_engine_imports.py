"""The library's root and its shell load nothing heavy: torch stays in the worker."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import DeepTranslateLib

PACKAGE = Path(DeepTranslateLib.__file__).parent
ROOT = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] not in ("cli", "engine", "mrml", "__main__.py")
    and path.stem != "__init__"
)
HEAVY = {"torch", "monai", "safetensors", "matplotlib", "jinja2", "slicer", "vtk", "qt"}


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages in memory after a fresh interpreter imported these modules."""
    code = (
        "import importlib, json, sys\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(json.loads(result.stdout))


def test_the_rooms_that_must_be_light_are_all_there() -> None:
    words = "image.volume image.files image.dicom cohort.cases cohort.check"
    words += " recipe.whole recipe.files model statistics phantom familiarity runfolder"
    words += " jobs.events jobs.descriptions jobs.process jobs.client jobs.crash jobs.report"
    assert {f"DeepTranslateLib.{word}" for word in words.split()} <= set(ROOT)


def test_the_root_loads_neither_torch_nor_what_only_reports_need() -> None:
    assert loaded_by(*ROOT).isdisjoint({*HEAVY, "rich"})


@pytest.mark.parametrize("module", ["cli", "cli.commands", "cli.worker", "cli.handlers"])
def test_the_shell_and_the_worker_start_without_torch(module: str) -> None:
    assert loaded_by(f"DeepTranslateLib.{module}").isdisjoint({*HEAVY, "rich"})


def test_the_engine_does_load_torch() -> None:
    # So that the tests above look for the right names.
    assert {"torch", "safetensors"} <= loaded_by("DeepTranslateLib.engine.translation")
