"""What the benchmarks share: a large CT, a model, and how busy the machine was."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

import DeepTranslateLib
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.image import Image
from DeepTranslateLib.model import Card, write_model
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import Recipe, read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

# Prints the peak of the command that its arguments are: its only child.
_WATCH = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
)


def data_folder() -> Path:
    """Real images beside the checkout, or where DEEPTRANSLATE_DATA says."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("DEEPTRANSLATE_DATA", beside))


def large_ct(slices: int, size: int = 512) -> Image:
    """A phantom CT of this many slices: 20 different ones, up and down again."""
    spacing = (500 / size, 500 / size, 10.0)
    few = torso(7, 0.5, slices=min(20, slices), size=(size, size), spacing=spacing).image
    order = np.arange(slices) % (2 * len(few.voxels) - 2)
    order = np.minimum(order, 2 * len(few.voxels) - 2 - order)
    affine = few.affine.copy()
    affine[:3, 2] /= 10
    return Image(few.voxels[order], affine)


def untrained_model(path: Path) -> Path:
    """A model file of ct-body-composition with random weights, for time and memory only."""
    content = to_json(read_recipe("ct-body-composition"))
    content["preprocessing"]["spacing"] = None
    return model_with_random_weights(path, recipe_from_json(content))


def model_with_random_weights(path: Path, recipe: Recipe) -> Path:
    """A model file of any recipe that says everything."""
    torch.manual_seed(0)
    weights = build_network(recipe).state_dict()
    card = Card(
        name="untrained",
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        deeptranslate=DeepTranslateLib.__version__,
        epoch=1,
        seed=0,
        metrics={},
        cohort={},
        versions={},
    )
    return write_model(path, recipe, card, save(weights))


def machine() -> str:
    """The machine, in a line."""
    return f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}"


def peak_of(command: Sequence[str]) -> int:
    """Run a command to its end, and give the most memory (bytes) that it has held.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    watched = [sys.executable, "-c", _WATCH, *command]
    return int(subprocess.run(watched, check=True, stdout=subprocess.PIPE).stdout)
