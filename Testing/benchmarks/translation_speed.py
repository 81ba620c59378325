"""Translating a CT against MONAI's SliceInferer with the same network, in the same process.

Both take a volume in memory to a label map in memory. Runs alternate; a pair during which the
processes did not get the machine (CPU time under 1.6 times the wall time on two threads) is
thrown away.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.inferers import SliceInferer

from DeepTranslateLib.engine.device import choose_device
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.translation import Translator, channels_of
from DeepTranslateLib.image import Image
from DeepTranslateLib.model import Model, read_model
from Testing.benchmarks.sample import large_ct, machine, untrained_model


def main(slices: int = 40, pairs: int = 5) -> None:
    image = large_ct(slices)
    with tempfile.TemporaryDirectory() as name:
        model = read_model(untrained_model(Path(name) / "model.dtmodel"))
        translator = Translator.from_model(model, choose_device("cpu"))
    network = build_network(model.recipe).eval()
    ratios, rejected = [], 0
    while len(ratios) < pairs and rejected < 3 * pairs:
        ours, ours_load = _timed(lambda: translator.translate(image))
        theirs, theirs_load = _timed(lambda: _with_monai(network, model, image))
        if min(ours_load, theirs_load) < 1.6:
            rejected += 1
            continue
        ratios.append(theirs / ours)
    print(f"512x512x{slices} on the CPU ({machine()}); {rejected} disturbed pairs thrown away")
    if len(ratios) < pairs:
        print(f"only {len(ratios)} undisturbed pairs: run again on a quiet machine")
        return
    print(
        f"MONAI SliceInferer takes {statistics.median(ratios):.2f} times as long "
        f"(median of {pairs}, {min(ratios):.2f} to {max(ratios):.2f})"
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
        return channels_of(output[0].transpose(0, 1)).numpy()


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and CPU seconds to a second."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    seconds = time.perf_counter() - wall
    return seconds, (time.process_time() - cpu) / seconds


if __name__ == "__main__":
    main()
