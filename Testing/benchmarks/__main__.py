"""Runs benchmarks: `make bench` those of minutes, `python -m Testing.benchmarks NAME...` any."""

from __future__ import annotations

import importlib
import sys

# Minutes each; `make bench` runs these.
SHORT = ("translation_memory", "volume_memory", "translation_speed", "single_volume")
# Trainings, hours on a processor; each goes on where it ended.
TRAININGS = (
    "proposal",
    "phantom_body_composition",
    "real_body_composition",
    "denoising",
    "denoising_phantom",
    "denoising_lowdose",
    "patches_3d",
    "t1_to_t2",
    "mr_to_ct",
    "unpaired",
    "limbs_adversarial",
)


def main(names: list[str]) -> int:
    known = (*SHORT, *TRAININGS)
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"There is no benchmark '{unknown[0]}'. Known: {', '.join(known)}.", file=sys.stderr)
        return 2
    for name in names or SHORT:
        print(f"== {name}", flush=True)
        importlib.import_module(f"Testing.benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
