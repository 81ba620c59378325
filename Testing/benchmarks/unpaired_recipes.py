"""Small recipes of each method for the heads of `unpaired`: what differs is the method alone."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from typing import Any

from DeepTranslateLib.recipe import Recipe, recipe_from_json
from Testing.benchmarks.unpaired_data import WINDOWS
from Testing.benchmarks.unpaired_segmentor import FEATURES_TO_BE_TRAINED, TO_BE_TRAINED

PAIRS = (("t1", "t2"), ("t1", "ct"), ("mv", "ct"))
_IMAGES = {"t1": ("MR", "T1"), "t2": ("MR", "T2"), "mv": ("CT", "HU"), "ct": ("CT", "HU")}

_SHARED: dict[str, Any] = {
    "version": 1,
    "sampling": {"plane": "axial"},
    "preprocessing": {"spacing": None},
    "augmentation": {
        "rotation": 10,
        "perspective": 0,
        "translation": 20,
        "flip_up_down": 0,
        "noise_probability": 0,
    },
    "training": {"epochs": 12, "batch_size": 1, "monitor": "last"},
}
_UNET = {"name": "unet", "levels": 4, "channels": 12, "norm": "instance"}
_RESNET = {"name": "resnet", "levels": 3, "channels": 16, "norm": "instance", "blocks": [4]}
_GAN = {"name": "adam", "learning_rate": 0.0004, "beta1": 0.5, "schedule": "linear"}
_CRITIC = {"objective": "lsgan", "discriminator_channels": 16, "discriminator_layers": 2}
_CYCLE = {
    "network": _RESNET,
    "method": {"name": "cyclegan", "loss": [{"name": "mae", "weight": 10}]},
    "optimizer": _GAN,
    "adversarial": {**_CRITIC, "identity_weight": 0.0},
}

#: What each method changes about `_SHARED`. Weights are those of its paper; networks, and how
#: long they learn, are such that a training takes minutes on one core.
METHODS: dict[str, dict[str, Any]] = {
    "L1": {
        "network": _UNET,
        "method": {"name": "supervised", "loss": "mae"},
        "optimizer": {"name": "adam", "learning_rate": 0.001, "schedule": "linear"},
    },
    "pix2pix": {
        "network": _UNET,
        "method": {"name": "pix2pix", "loss": [{"name": "mae", "weight": 20}]},
        "optimizer": {**_GAN, "learning_rate": 0.001},
        "adversarial": {**_CRITIC, "discriminator_rate": 0.001},
    },
    "cyclegan": _CYCLE,
    "cyclegan, identity": {**_CYCLE, "adversarial": {**_CRITIC, "identity_weight": 5.0}},
    "cyclegan, gradient": {**_CYCLE, "structure": {"gradient_weight": 1.0}},
    "cyclegan, structure": {
        **_CYCLE,
        "structure": {"latent_weight": 1.0},
    },
    "cyclegan, shape": {
        **_CYCLE,
        "structure": {"latent_weight": 1.0, "shape_weight": 1.0, **TO_BE_TRAINED},
    },
    "cyclegan, Ozaki": {
        **_CYCLE,
        "structure": {
            "latent_weight": 1.0,
            "air_weight": 100.0,
            "perceptual_weight": 1.0,
            **FEATURES_TO_BE_TRAINED,
        },
    },
    "unit": {
        "network": {"name": "unit", "levels": 3, "channels": 16, "norm": "instance"},
        "method": {"name": "unit", "loss": [{"name": "mae", "weight": 10}]},
        "optimizer": _GAN,
        "adversarial": _CRITIC,
    },
    "cut": {
        "network": _RESNET,
        "method": {"name": "cut"},
        "optimizer": _GAN,
        "adversarial": {**_CRITIC, "identity_weight": 1.0},
        "contrast": {"patches": 128},
    },
}
# Three times as long, and weights averaged: KID of a last step varies much from seed to seed.
LONG = ", long"
METHODS |= {
    name + LONG: {**METHODS[name], "training": {"epochs": 36, "ema": 0.99}}
    for name in ("cyclegan", "cyclegan, gradient")
}


def methods_of(source: str, target: str) -> tuple[str, ...]:
    """The methods that fit two contrasts: air is told by its HU, in both."""
    both_ct = _IMAGES[source][0] == _IMAGES[target][0] == "CT"
    return tuple(name for name in METHODS if both_ct or "Ozaki" not in name)


def recipe_of(
    method: str, source: str, target: str, *, seed: int = 0, epochs: int | None = None
) -> Recipe:
    """A method's recipe for two contrasts.

    Raises:
        RecipeError: The recipe is not possible.
    """
    content = copy.deepcopy(_SHARED)
    for part, fields in METHODS[method].items():
        content[part] = {**content.get(part, {}), **copy.deepcopy(fields)}
    return for_pair(content, f"{method}, {source} to {target}", source, target, seed, epochs)


def for_pair(
    content: dict[str, Any],
    name: str,
    source: str,
    target: str,
    seed: int,
    epochs: int | None = None,
) -> Recipe:
    """Any recipe with the images of two contrasts as its input and its target.

    Args:
        content: As JSON.
        name: Of the new recipe.
        source: What it reads.
        target: What it makes.
        seed: Of its training.
        epochs: Default: the recipe's.

    Raises:
        RecipeError: The recipe is not possible.
    """
    (read, unit), (made, target_unit) = _IMAGES[source], _IMAGES[target]
    content = copy.deepcopy(content)
    content["name"] = name
    content["inputs"] = [{"name": "image", "modality": read, "units": unit}]
    content["target"] = {
        "kind": "volume",
        "modality": made,
        "units": target_unit,
        "range": list(WINDOWS[target]),
    }
    content["preprocessing"] = {
        **content.get("preprocessing", {}),
        "window": list(WINDOWS[source]),
        "standardisation": "none",
        "spacing": None,
    }
    content["training"] = {**content.get("training", {}), "seed": seed}
    if epochs is not None:
        content["training"]["epochs"] = epochs
    return recipe_from_json(content)


def digest(recipe: Recipe) -> str:
    """Changes when the recipe says something else, but for its name and its seed.

    Fields at their default are left out, so that it stays as it is when recipes gain fields.
    """
    content = _said(recipe)
    content.get("training", {}).pop("seed", None)
    content.pop("name")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _said(value: Any) -> Any:
    """A recipe's part as JSON, without what is at its default."""
    if isinstance(value, tuple):
        return [_said(each) for each in value]
    if not dataclasses.is_dataclass(value):
        return value
    return {
        field.name: _said(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != field.default
    }
