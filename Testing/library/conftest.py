"""Settings for all library tests; loads nothing heavy."""

import os
import sys

import pytest
from hypothesis import settings

# Tiny arrays gain nothing from more threads, and tests may run beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# The first example of a test may import torch or compile a kernel; a deadline would be a lottery.
settings.register_profile("library", deadline=None)
settings.load_profile("library")


@pytest.fixture(autouse=True)
def processor_without_bf16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are compared with computations in full precision, whatever the machine has."""
    if "torch" in sys.modules and request.node.get_closest_marker("mixed_precision") is None:
        monkeypatch.setattr("DeepTranslateLib.engine.device._cpu_has_bf16", lambda: False)
