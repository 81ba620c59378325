"""Watches a training with a discriminator: says early what goes wrong, and what to change.

What it knows is the history of epochs alone, so that a training that is resumed says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from DeepTranslateLib.recipe import Recipe

# Measures that methods with a discriminator give of each step, averaged over an epoch.
ACCURACY, VARIANCE = "discriminator_accuracy", "variance_ratio"
GENERATOR_GRADIENT, DISCRIMINATOR_GRADIENT = "generator_gradient", "discriminator_gradient"
MEASURES = (ACCURACY, VARIANCE, GENERATOR_GRADIENT, DISCRIMINATOR_GRADIENT)

_SURE = 0.95  # share of patches that a discriminator tells right when nothing is left to learn
_FLAT = 0.1  # of the target's variance, below which outputs are all alike
_STEEP = 30.0  # times the median gradient of the epochs before
_IN_A_ROW = 3

_Measures = Sequence[Mapping[str, float]]


def new_warnings(history: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[str]:
    """What went wrong with the last epoch and had not before, each with what to change.

    Args:
        history: Records of epochs; measures are under "losses".
        recipe: That is trained.
    """
    if recipe.method.name == "supervised":
        return []
    before = set(_warnings(history[:-1], recipe))
    return [text for text in _warnings(history, recipe) if text not in before]


def _warnings(history: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[str]:
    known = [record["losses"] for record in history if "losses" in record]
    learning = known[recipe.adversarial.discriminator_warmup_epochs :]
    checks: tuple[Callable[[_Measures, Recipe], str], ...] = (_won, _collapsed, _steep)
    return [text for check in checks if (text := check(learning, recipe))]


def _won(epochs: _Measures, recipe: Recipe) -> str:
    last = [each[ACCURACY] for each in epochs[-_IN_A_ROW:]]
    # Of Wasserstein's critic no number says that it has won: its gradient goes on.
    if len(last) < _IN_A_ROW or min(last) < _SURE or recipe.adversarial.objective == "wgan_gp":
        return ""
    return (
        "The discriminator tells nearly all translated patches from true ones "
        f"(in {_IN_A_ROW} epochs at least {_SURE:.0%}), so that the generator learns little from "
        "it. Lower adversarial.discriminator_rate, raise adversarial.generator_steps or "
        "label_jitter, or set spectral_norm."
    )


def _collapsed(epochs: _Measures, recipe: Recipe) -> str:
    last = [each[VARIANCE] for each in epochs[-2:]]
    if len(last) < 2 or max(last) > _FLAT:
        return ""
    return (
        "Translated images are nearly of one value (in 2 epochs less than "
        f"{_FLAT:.0%} of the variance of true ones): the generator has collapsed. Lower "
        "optimizer.learning_rate and adversarial.weight, or raise the weights of method.loss, and "
        "train again into a new folder."
    )


def _steep(epochs: _Measures, recipe: Recipe) -> str:
    for name in (GENERATOR_GRADIENT, DISCRIMINATOR_GRADIENT):
        values = [each[name] for each in epochs]
        if len(values) > _IN_A_ROW and values[-1] > _STEEP * median(values[:-1]):
            return (
                f"The {name.replace('_', ' ')} has become more than {_STEEP:g} times what it was: "
                "training is about to diverge. Set optimizer.gradient_clip to 1, or lower the "
                "learning rates."
            )
    return ""
