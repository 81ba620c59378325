"""3D patches one at a time on the CPU, against PyTorch's own convolution of them.

One step of training and one translation of a patch in full precision, with the 3D U-Net as it is
placed on a CPU (`engine.convolution`) and with its convolutions left as PyTorch has them. Both are
done alternately in one process; what is counted is its CPU time, which other work on the machine
disturbs little.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from DeepTranslateLib.engine.convolution import HalvedConv3d
from DeepTranslateLib.engine.device import place
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.recipe import Recipe, read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json
from Testing.benchmarks.records import table_row
from Testing.benchmarks.sample import machine

# Slices, rows and columns of a patch; channels and levels of the network.
SIZES = (((16, 48, 48), 8, 4), ((32, 96, 96), 16, 4), ((32, 128, 128), 16, 5))
PAIRS = 5


def main() -> None:
    torch.set_num_threads(1)  # threads that wait for each other take CPU time, too
    print(f"CPU time of PyTorch's own as a multiple of ours, median (lowest to highest) of {PAIRS}")
    print(f"{machine()}, one thread\n")
    print(table_row(["patch", "channels", "levels", "a step of training", "translating"]))
    print("|---" * 5 + "|")
    for patch, channels, levels in SIZES:
        recipe = recipe_of(patch, channels, levels)
        torch.manual_seed(0)
        ours = place(build_network(recipe), recipe, torch.device("cpu"))
        theirs = as_pytorch_has_it(copy.deepcopy(ours))
        image = torch.rand(1, 1, *patch)
        cells = [ratio(run, ours, theirs, image) for run in (_step, _translate)]
        print(table_row(["x".join(map(str, patch)), channels, levels, *cells]), flush=True)


def recipe_of(patch: tuple[int, int, int], channels: int, levels: int) -> Recipe:
    """A 3D U-Net for patches of a size."""
    content = to_json(read_recipe("ct-body-composition-best"))
    content["sampling"].update(patch=list(patch))
    content["network"].update(dimension=3, channels=channels, levels=levels, norm="batch")
    return recipe_from_json(content)


def as_pytorch_has_it(network: nn.Module) -> nn.Module:
    """The same network with plain convolutions."""
    for module in network.modules():
        if type(module) is HalvedConv3d:
            module.__class__ = nn.Conv3d
    return network


def ratio(
    run: Callable[[nn.Module, Tensor], None], ours: nn.Module, theirs: nn.Module, image: Tensor
) -> str:
    """How many times as long the second takes, with its spread."""
    found = []
    for number in range(PAIRS + 1):
        seconds = [_seconds(run, network, image) for network in (ours, theirs)]
        if number:  # the first of each warms up
            found.append(seconds[1] / seconds[0])
    return f"**{statistics.median(found):.1f}** ({min(found):.1f} to {max(found):.1f})"


def _seconds(run: Callable[[nn.Module, Tensor], None], network: nn.Module, image: Tensor) -> float:
    started = time.process_time()
    run(network, image)
    return time.process_time() - started


def _step(network: nn.Module, image: Tensor) -> None:
    network.train()
    network(image)[0].square().mean().backward()


def _translate(network: nn.Module, image: Tensor) -> None:
    network.eval()
    with torch.inference_mode():
        network(image)


if __name__ == "__main__":
    main()
