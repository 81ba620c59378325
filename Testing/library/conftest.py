"""Settings for all library tests, fixtures of the command line's; loads nothing heavy."""

import faulthandler
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Tiny arrays gain nothing from more threads, and tests may run beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# The first example of a test may import torch or compile a kernel; a deadline would be a lottery.
settings.register_profile("library", deadline=None)
settings.load_profile("library")

# Its assertions say as much as those of a test.
pytest.register_assert_rewrite("cli_samples")


@pytest.fixture(scope="session", autouse=True)
def processor_without_bf16() -> Iterator[Callable[[], bool] | None]:
    """Steps are compared with computations in full precision, whatever the machine has."""
    if "torch" not in sys.modules:
        yield None
        return
    from DeepTranslateLib.engine import device

    asked = device._cpu_has_bf16
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_cpu_has_bf16", lambda: False)
        yield asked


@pytest.fixture(autouse=True)
def processor_as_it_is(
    processor_without_bf16: Callable[[], bool] | None,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mark `mixed_precision` leaves the machine what it has."""
    if request.node.get_closest_marker("mixed_precision") is not None:
        target = "DeepTranslateLib.engine.device._cpu_has_bf16"
        monkeypatch.setattr(target, processor_without_bf16)


@pytest.fixture
def no_hang() -> Iterator[None]:
    """A command that does not come back, be it in a C library, ends the tests."""
    faulthandler.dump_traceback_later(120, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two untrained models."""
    from cli_samples import untrained
    from engine_samples import labels_recipe, volume_recipe

    folder = tmp_path_factory.mktemp("models")
    untrained(folder / "labels.dtmodel", labels_recipe(2))
    untrained(folder / "volume.dtmodel", volume_recipe())
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    """A working folder with two scans and two models."""
    from engine_samples import lps_affine, random_hu

    from DeepTranslateLib.image import Image
    from DeepTranslateLib.image.files import write_image

    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 1), ("b", 2)):
        write_image(Image(random_hu((3, 16, 20), seed), lps_affine()), tmp_path / f"{name}.nrrd")
    for model in models.iterdir():
        (tmp_path / model.name).write_bytes(model.read_bytes())
    return tmp_path
