"""Settings for all library tests; loads nothing heavy."""

import os

from hypothesis import settings

# Tiny arrays gain nothing from more threads, and tests may run beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# The first example of a test may import torch or compile a kernel; a deadline would be a lottery.
settings.register_profile("library", deadline=None)
settings.load_profile("library")
