"""Run the module tests inside the Slicer application:

    Slicer --testing --no-splash --additional-module-paths "$PWD/DeepTranslate" \\
           --python-script Testing/modules/run_in_slicer.py [pytest arguments]

Without arguments everything beside this file is run. The application ends with pytest's exit code,
so 0 means that every test passed; `--testing` makes any Python error, in a slot too, a failure.

The tests need pytest in Slicer's Python. It is not installed without being asked:

    PythonSlicer -m pip install pytest

What trains or translates is skipped while torch, monai and safetensors are not there; the button
in the panels installs them.
"""

import sys
from pathlib import Path

import slicer

HERE = Path(__file__).resolve().parent


def run(arguments):
    """pytest's exit code."""
    try:
        import pytest
    except ImportError:
        print(
            "The module tests need pytest, which this Slicer's Python does not have.\n"
            "Install it with\n    PythonSlicer -m pip install pytest\nand run this again.",
            file=sys.stderr,
        )
        return 1
    return int(pytest.main([*(arguments or [str(HERE)]), "-p", "no:cacheprovider"]))


if __name__ == "__main__":
    slicer.util.exit(run(sys.argv[1:]))
