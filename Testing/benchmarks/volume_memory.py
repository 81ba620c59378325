"""Peak memory of `deeptranslate translate --memory-limit` with a 3D network on 512x512x1000 voxels.

The limit is on the whole process: interpreter, libraries, input and output among it. Give other
limits (GB) or another number of slices as arguments: `... volume_memory --slices 200 1.2 1.5`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.recipe import Recipe, recipe_from_json
from Testing.benchmarks.sample import large_ct, machine, model_with_random_weights, peak_of

LIMITS_GB = (1.4, 2.0)
SLICES = 1000


def recipe() -> Recipe:
    """Three labels from patches of 32x128x128 voxels by the smallest of U-Nets."""
    labels = [{"value": n, "name": f"label {n}"} for n in (1, 2, 3)]
    return recipe_from_json(
        {
            "name": "volume-memory",
            "inputs": [{"name": "image", "modality": "CT", "units": "HU"}],
            "target": {"kind": "labels", "labels": labels},
            "sampling": {"patch": [32, 128, 128]},
            "preprocessing": {"window": [-200, 300], "spacing": None},
            "network": {"dimension": 3, "levels": 2, "channels": 1},
            "method": {"loss": "dice_binary_cross_entropy"},
        }
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("limits", nargs="*", type=float, default=LIMITS_GB)
    parser.add_argument("--slices", type=int, default=SLICES)
    options = parser.parse_args([] if arguments is None else arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = large_ct(options.slices)
        write_image(image, folder / "ct.nrrd", compressed=False)
        held = image.voxels.nbytes + image.voxels.size  # int16 in, uint8 out
        print(f"{'x'.join(str(n) for n in image.shape[::-1])} on the CPU ({machine()})")
        del image
        model = model_with_random_weights(folder / "model.dtmodel", recipe())
        for limit in options.limits:
            command = [sys.executable, "-m", "DeepTranslateLib", "translate", "--device", "cpu"]
            command += ["--memory-limit", str(limit), "--model", str(model)]
            command += ["--output", str(folder / f"out{limit}"), str(folder / "ct.nrrd")]
            started = time.monotonic()
            peak = peak_of(command)
            verdict = "within" if peak <= limit * 2**30 else "ABOVE"
            print(
                f"limit {limit} GB: peak {peak / 2**30:.2f} GB, {verdict} the limit; input and "
                f"output {held / 2**30:.2f} GB, above them {(peak - held) / 2**30:.2f} GB; "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
