"""Settings for all library tests; loads nothing heavy."""

import os
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

# Tiny arrays gain nothing from more threads, and tests may run beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# The first example of a test may import torch or compile a kernel; a deadline would be a lottery.
settings.register_profile("library", deadline=None)
settings.load_profile("library")


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
