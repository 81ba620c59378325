"""Translating a CT against MONAI's SliceInferer with the same network, in the same process.

Both take a volume in memory to a label map in memory. Runs alternate; what is counted is the CPU
time of the process, which other work on the machine disturbs little.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.inferers import SliceInferer

from DeepTranslateLib.engine.device import autocast, choose_device, place
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.translation import Translator, channels_of
from DeepTranslateLib.image import Image
from DeepTranslateLib.model import Model, read_model
from Testing.benchmarks.sample import large_ct, machine, untrained_model


def main(slices: int = 40, pairs: int = 5) -> None:
    torch.set_num_threads(1)  # threads that wait for each other take CPU time, too
    image = large_ct(slices)
    with tempfile.TemporaryDirectory() as name:
        model = read_model(untrained_model(Path(name) / "model.dtmodel"))
        translator = Translator.from_model(model, choose_device("cpu"))
    cpu = torch.device("cpu")
    # As a program would use it, and with the precision and the memory format that ours has.
    theirs = {
        "as it is": (build_network(model.recipe).eval(), nullcontext),
        "mixed precision, channels last": (
            place(build_network(model.recipe).eval(), model.recipe, cpu),
            lambda: autocast(cpu),
        ),
    }
    ratios: dict[str, list[float]] = {name: [] for name in theirs}
    for number in range(pairs + 1):
        ours = _seconds(lambda: translator.translate(image))
        for name, (network, precision) in theirs.items():
            with precision():
                seconds = _seconds(partial(_with_monai, network, model, image))
            if number:  # the first of each warms up
                ratios[name].append(seconds / ours)
    print(f"512x512x{slices} on the CPU ({machine()}, one thread)")
    for name, found in ratios.items():
        print(
            f"MONAI SliceInferer, {name}, takes {statistics.median(found):.2f} times as long "
            f"(CPU time, median of {pairs}, {min(found):.2f} to {max(found):.2f})"
        )


def _with_monai(network: torch.nn.Module, model: Model, image: Image) -> np.ndarray:
    window = model.recipe.preprocessing.window
    assert window is not None
    volume = torch.from_numpy(image.voxels.astype(np.float32))
    volume = ((volume - window[0]) / (window[1] - window[0])).clamp_(0, 1)
    size = (volume.shape[1], volume.shape[2])
    inferer = SliceInferer(roi_size=size, sw_batch_size=1, spatial_dim=0)
    with torch.inference_mode():
        output = inferer(volume[None, None], lambda slices: network(slices)[0])
        return channels_of(output[0].transpose(0, 1).float()).numpy()


def _seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


if __name__ == "__main__":
    main()
