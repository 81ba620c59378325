"""Watches a training with a discriminator: says early what goes wrong, and what to change.

What it knows is the history of epochs alone, so that a training that is resumed says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.recipe.methods import is_read

# Measures that methods with a discriminator give of each step, averaged over an epoch. Where there
# are two ways, those of what each way makes are of the worse one, and of each beside it (`of_way`).
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
# What methods with two ways call them, and the directions that these are.
_WAYS = {"there": "source to target", "back": "target to source"}


def of_way(name: str, way: str) -> str:
    """What a measure of one way is called.

    Args:
        name: One of `MEASURES`.
        way: Such as "back"; empty where there is but one.
    """
    return f"{name} {way}" if way else name


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
    ways = _ways(learning)
    checks: tuple[Callable[[_Measures, Recipe], str], ...] = (
        *(partial(check, way) for check in (_won, _collapsed, _same) for way in ways),
        partial(_steep, GENERATOR_GRADIENT),
        partial(_steep, DISCRIMINATOR_GRADIENT),
    )
    return [text for check in checks if (text := check(learning, recipe))]


def _ways(epochs: _Measures) -> tuple[str, ...]:
    """Those that the last epoch was measured by; of older checkpoints none has a name."""
    named = tuple(way for way in _WAYS if epochs and of_way(ACCURACY, way) in epochs[-1])
    return named or ("",)


def _values(epochs: _Measures, name: str, way: str) -> list[float]:
    # Checkpoints of older versions measured ways together, and no diversity: as if it were good.
    return [each.get(of_way(name, way), each.get(name, 1.0)) for each in epochs]


def _won(way: str, epochs: _Measures, recipe: Recipe) -> str:
    last = _values(epochs[-_IN_A_ROW:], ACCURACY, way)
    # Of Wasserstein's critic no number says that it has won: its gradient goes on.
    if len(last) < _IN_A_ROW or min(last) < _SURE or recipe.adversarial.objective == "wgan_gp":
        return ""
    return _said_of(
        way,
        "the discriminator tells nearly all translated patches from true ones "
        f"(in {_IN_A_ROW} epochs at least {_SURE:.0%}), so that the generator learns little from "
        f"it. {_weakening(recipe)}",
    )


def _weakening(recipe: Recipe) -> str:
    """What makes a discriminator weaker, of all that the recipe would accept."""
    method, settings = recipe.method.name, recipe.adversarial
    advice = ["lower adversarial.discriminator_rate"]
    if settings.discriminator_steps > 1:
        advice.append("lower adversarial.discriminator_steps")
    else:
        advice.append("raise adversarial.generator_steps")
    if settings.objective in ("lsgan", "bce"):
        advice.append("raise adversarial.label_jitter")
    if is_read(method, "adversarial", "spectral_norm") and not settings.spectral_norm:
        advice.append("set adversarial.spectral_norm to true")
    return _begun(f"{', '.join(advice[:-1])} or {advice[-1]}.")


def _said_of(way: str, text: str) -> str:
    return _begun(f"on the way {way} ({_WAYS[way]}) {text}" if way else text)


def _begun(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _collapsed(way: str, epochs: _Measures, recipe: Recipe) -> str:
    last = _values(epochs[-2:], VARIANCE, way)
    if len(last) < 2 or max(last) > _FLAT:
        return ""
    return _said_of(
        way,
        "translated images are nearly of one value (in 2 epochs less than "
        f"{_FLAT:.0%} of the variance of true ones): the generator has collapsed. "
        f"{_mending(recipe)}",
    )


def _same(way: str, epochs: _Measures, recipe: Recipe) -> str:
    last = _values(epochs[-2:], DIVERSITY, way)
    if len(last) < 2 or max(last) > _SAME or _collapsed(way, epochs, recipe):
        return ""
    return _said_of(
        way,
        "every input is translated to nearly the same image (in 2 epochs translated images differ "
        f"from each other by less than {_SAME:.0%} of what true ones do): the generator has "
        f"collapsed. {_mending(recipe)}",
    )


def _mending(recipe: Recipe) -> str:
    held = is_read(recipe.method.name, "method", "loss")
    holds = "the weights of method.loss" if held else "contrast.weight"
    return (
        "Lower optimizer.learning_rate and adversarial.weight, or raise "
        f"{holds}, and train again into a new folder."
    )


def _steep(gradient: str, epochs: _Measures, recipe: Recipe) -> str:
    # Of an epoch whose every step half precision has skipped there is none.
    values = [each[gradient] for each in epochs if gradient in each]
    if len(values) <= _KNOWN or values[-1] <= _STEEP * median(values[:-1]):
        return ""
    clip = recipe.optimizer.gradient_clip
    clipping = "set optimizer.gradient_clip to 1, or " if clip is None or clip > 1 else ""
    return (
        f"The {gradient.replace('_', ' ')} has become more than {_STEEP:g} times what it was: "
        f"training is about to diverge. {_begun(clipping + 'lower the learning rates.')}"
    )
