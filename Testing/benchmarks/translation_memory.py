"""Peak memory of `deeptranslate translate` on a 512x512x400 CT, above its input and output."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from DeepTranslateLib.image.files import write_image
from Testing.benchmarks.sample import large_ct, machine, untrained_model

LIMIT_GB = 1.5


def main(slices: int = 400) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = large_ct(slices)
        write_image(image, folder / "ct.nrrd")
        model = untrained_model(folder / "model.dtmodel")
        held = image.voxels.nbytes + image.voxels.size  # int16 in, uint8 out
        size = "x".join(str(n) for n in image.shape[::-1])
        del image
        command = [sys.executable, "-m", "DeepTranslateLib", "translate", "--device", "cpu"]
        command += ["--model", str(model), "--output", str(folder / "out"), str(folder / "ct.nrrd")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    above = (peak - held) / 2**30
    verdict = "within" if above <= LIMIT_GB else "ABOVE"
    print(f"{size} on the CPU ({machine()})")
    print(f"peak {peak / 2**30:.2f} GB, input and output {held / 2**30:.2f} GB")
    print(f"above input and output: {above:.2f} GB, {verdict} the limit of {LIMIT_GB} GB")


if __name__ == "__main__":
    main()
