"""What a process holds and has held, against what the system's own tools say."""

from __future__ import annotations

import os
import time

import numpy as np
import psutil
import pytest

from DeepTranslateLib.engine.memory import (
    MemoryLimitError,
    MemoryPeak,
    refuse_above,
    resident_memory,
)

SIZE = 200_000_000


def test_what_is_held_now_is_what_the_system_says() -> None:
    held = np.ones(SIZE, np.uint8)
    assert resident_memory() == pytest.approx(psutil.Process(os.getpid()).memory_info().rss, 0.05)
    with_it = resident_memory()
    del held
    assert with_it - resident_memory() == pytest.approx(SIZE, 0.1)


def test_a_peak_is_seen_although_it_has_passed() -> None:
    with MemoryPeak() as peak:
        held = np.ones(SIZE, np.uint8)
        time.sleep(0.05)
        del held
        time.sleep(0.02)
    assert peak.bytes == pytest.approx(SIZE, 0.1)
    with MemoryPeak() as peak:
        time.sleep(0.02)
    assert peak.bytes < SIZE / 10


def test_a_limit_is_kept_to_the_byte() -> None:
    refuse_above(10**9, 10**9)
    with pytest.raises(MemoryLimitError, match=r"at least 2\.50 GB .* limit is 1\.00 GB"):
        refuse_above(2**30, 2.5 * 2**30)
