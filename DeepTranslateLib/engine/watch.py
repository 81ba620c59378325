"""Watches a training with a discriminator: says early what goes wrong, and what to change.

What it knows is the history of epochs alone, so that a training that is resumed says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

from DeepTranslateLib.recipe import Recipe

# Measures that methods with a discriminator give of each step, averaged over an epoch.
ACCURACY = "discriminator_accuracy"
VARIANCE, DIVERSITY = "variance_ratio", "diversity_ratio"
GENERATOR_GRADIENT, DISCRIMINATOR_GRADIENT = "generator_gradient", "discriminator_gradient"
MEASURES = (ACCURACY, VARIANCE, DIVERSITY, GENERATOR_GRADIENT, DISCRIMINATOR_GRADIENT)

_SURE = 0.95  # share of patches that a discriminator tells right when nothing is left to learn
_FLAT = 0.1  # of the target's variance, below which each output is of one value
_SAME = 0.02  # of that from image to image, below which every input gives the same output
_STEEP = 30.0  # times the median gradient of the epochs before
_IN_A_ROW = 3  # epochs of a discriminator that has won
_KNOWN = 3  # epochs before, which tell how steep is usual

_Measures = Sequence[Mapping[str, float]]


def new_warnings(history: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[str]:
    """What went wrong with the last epoch and had in none before, each with what to change.

    Args:
        history: Records of epochs; measures are under "losses".
        recipe: That is trained.
    """
    if recipe.method.name == "supervised":
        return []
    # From the last one back: what stays wrong is found there at once.
    earlier = [history[:count] for count in range(len(history) - 1, 0, -1)]
    return [
        text
        for text in _warnings(history, recipe)
        if not any(text in _warnings(each, recipe) for each in earlier)
    ]


def _warnings(history: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[str]:
    known = [record["losses"] for record in history if "losses" in record]
    learning = known[recipe.adversarial.discriminator_warmup_epochs :]
    checks: tuple[Callable[[_Measures, Recipe], str], ...] = (
        _won,
        _collapsed,
        _same,
        partial(_steep, GENERATOR_GRADIENT),
        partial(_steep, DISCRIMINATOR_GRADIENT),
    )
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
        f"{_FLAT:.0%} of the variance of true ones): the generator has collapsed. "
        f"{_mending(recipe)}"
    )


def _same(epochs: _Measures, recipe: Recipe) -> str:
    # Checkpoints of older versions did not measure it.
    last = [each.get(DIVERSITY, 1.0) for each in epochs[-2:]]
    if len(last) < 2 or max(last) > _SAME or _collapsed(epochs, recipe):
        return ""
    return (
        "Every input is translated to nearly the same image (in 2 epochs translated images differ "
        f"from each other by less than {_SAME:.0%} of what true ones do): the generator has "
        f"collapsed. {_mending(recipe)}"
    )


def _mending(recipe: Recipe) -> str:
    holds = "contrast.weight" if recipe.method.name == "cut" else "the weights of method.loss"
    return (
        "Lower optimizer.learning_rate and adversarial.weight, or raise "
        f"{holds}, and train again into a new folder."
    )


def _steep(gradient: str, epochs: _Measures, recipe: Recipe) -> str:
    # Of an epoch whose every step half precision has skipped there is none.
    values = [each[gradient] for each in epochs if gradient in each]
    if len(values) <= _KNOWN or values[-1] <= _STEEP * median(values[:-1]):
        return ""
    return (
        f"The {gradient.replace('_', ' ')} has become more than {_STEEP:g} times what it was: "
        "training is about to diverge. Set optimizer.gradient_clip to 1, or lower the learning "
        "rates."
    )
