"""Runs the benchmarks: `make bench`, or `python -m Testing.benchmarks NAME...` for some."""

from __future__ import annotations

import importlib
import sys

NAMES = (
    "translation_memory",
    "volume_memory",
    "translation_speed",
    "proposal",
    "real_body_composition",
    "t1_to_t2",
    "mr_to_ct",
)


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"There is no benchmark '{unknown[0]}'. Known: {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        importlib.import_module(f"Testing.benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
