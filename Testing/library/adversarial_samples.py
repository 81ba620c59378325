"""Tiny recipes, cohorts and models, steps and losses that tests of adversarial methods share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import lps_affine
from safetensors.torch import save
from torch import Tensor

from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.engine.dataset import LabelledSlice
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.methods import Batch, build_method
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.unpairedset import Pair
from DeepTranslateLib.image import Image
from DeepTranslateLib.model import Card, write_model
from DeepTranslateLib.recipe import Recipe, recipe_from_json

CPU = torch.device("cpu")
SIDE = 16
UNPAIRED = ("cyclegan", "unit", "cut")
METHODS = ("pix2pix", *UNPAIRED)


def recipe_of(method: str, /, **parts: dict[str, Any]) -> Recipe:
    """CT of -1000 to 1000 HU to CT of -1000 to 500 HU; parts replace fields."""
    content: dict[str, Any] = {
        "target": {"kind": "volume", "units": "HU", "modality": "CT", "range": [-1000, 500]},
        "preprocessing": {"window": [-1000, 1000], "spacing": None},
        "network": {
            "name": "unit" if method == "unit" else "resnet",
            "levels": 2,
            "channels": 2,
            "norm": "instance",
            "blocks": [1],
        },
        "method": {"name": method, "loss": [{"name": "mae", "weight": 10}]},
        "adversarial": {"discriminator_channels": 2, "discriminator_layers": 1, "pool": 0},
        "training": {"epochs": 2, "monitor": "mae" if method == "pix2pix" else "last"},
    }
    if method == "cut":
        del content["method"]["loss"]
    for part, fields in parts.items():
        content[part] = {**content.get(part, {}), **fields}
    content["inputs"] = [{"name": "image", "modality": "CT", "units": "HU"}]
    return recipe_from_json({"name": "tiny", **content})


def image(seed: int, slices: int = 2, side: int = SIDE, bright: float = 600.0) -> Image:
    """Noise around air with a bright square at a place of its own in each slice."""
    random = np.random.default_rng(seed)
    voxels = random.normal(-800, 30, (slices, side, side))
    for one in voxels:
        row, column = random.integers(1, side - 7, 2)
        one[row : row + 6, column : column + 6] += 800 + bright
    return Image(voxels.astype(np.float32), lps_affine((2.0, 2.0, 3.0)))


def cohort(method: str, sources: int = 2, targets: int = 2, slices: int = 2) -> Cohort:
    """Subjects in memory: pairs, or images of both domains."""
    if method not in UNPAIRED:
        pairs = [(image(n, slices), image(n, slices, bright=200.0)) for n in range(sources)]
        cases = [Case(f"s{n}", *pair) for n, pair in enumerate(pairs)]
    else:
        cases = [Case(f"s{n}", image(n, slices), None, domain="source") for n in range(sources)]
        cases += [
            Case(f"t{n}", image(50 + n, slices, bright=200.0), None, domain="target")
            for n in range(targets)
        ]
    return Cohort(tuple(cases), "the cohort")


def batch(count: int = 2, *size: int, seed: int = 3) -> Batch:
    """Images and targets of 0 to 1, all of which counts."""
    random = torch.Generator().manual_seed(seed)
    images, targets = (
        torch.rand(count, 1, *(size or (SIDE, SIDE)), generator=random) for _ in range(2)
    )
    return Batch(images, targets, torch.ones_like(images))


def pairs(count: int = 2, seed: int = 3) -> list[Any]:
    """A batch of an unpaired set."""
    made = batch(count, seed=seed)
    return [
        Pair(LabelledSlice(x, x, (SIDE, SIDE)), LabelledSlice(y, y, (SIDE, SIDE)))
        for x, y in zip(made.images, made.targets, strict=True)
    ]


def copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def model_file(folder: Path, recipe: Recipe, name: str) -> Path:
    """A model file with random weights."""
    torch.manual_seed(11)
    card = Card(name, "2026-01-01T00:00:00+00:00", "0.1.0", epoch=1, seed=0)
    weights = save(build_network(recipe).state_dict())
    return write_model(folder / f"{name}.dtmodel", recipe, card, weights)


class Turns:
    """Takes the losses of a step and moves nothing: whose they are, their values and gradients."""

    def __init__(self, method: Any) -> None:
        self._method = method
        self.names: list[str] = []
        self.losses: dict[str, float] = {}
        # By whose turn it is, the networks that got a gradient.
        self.reached: dict[str, set[str]] = {}

    def __call__(self, name: str, loss: Tensor) -> None:
        networks = self._method.networks
        for network in networks.values():
            network.zero_grad(set_to_none=True)
        loss.backward()
        self.names.append(name)
        self.losses[name] = float(loss.detach())
        self.reached[name] = {
            which
            for which, network in networks.items()
            if any(p.grad is not None and bool(p.grad.any()) for p in network.parameters())
        }


def stepped(recipe: Recipe, shown: Batch, seed: int = 5) -> tuple[Any, Turns, dict[str, Tensor]]:
    """A method, its losses in its first step, and what it says of them; nothing has moved."""
    torch.manual_seed(0)
    method = build_method(recipe, CPU)
    turns = Turns(method)
    torch.manual_seed(seed)
    found = method.training_step(shown, turns)
    return method, turns, found


def draws(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def moved(learner: Learner, step: Callable[[], Any]) -> dict[str, float]:
    """By network how far the weight went that went farthest."""

    def weights() -> dict[str, dict[str, Tensor]]:
        return {name: copied(w) for name, w in learner.state()["networks"].items()}

    before = weights()
    step()
    return {
        name: max(float((after[key] - before[name][key]).abs().max()) for key in after)
        for name, after in weights().items()
    }


def translating(method: Any) -> set[str]:
    return {name for name in method.networks if not name.startswith("critic")}


def l1(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().mean()


def for_generator(logits: Tensor) -> Tensor:
    return ((logits - 1) ** 2).mean()


def for_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return (((real - 1) ** 2).mean() + (fake**2).mean()) / 2


def about(value: Tensor | float) -> Any:
    return pytest.approx(float(torch.as_tensor(value).detach()), rel=2e-5)
