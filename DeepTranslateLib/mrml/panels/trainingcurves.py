"""What the epochs of a training say: as curves, and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.recipe.learning import LAST

Color = tuple[int, int, int]

# What the curves show at first: the losses, and the Dice of each label.
LOSS = "loss"
# Of methods with a discriminator: the losses of its networks, and what tells how the game goes.
LOSSES = "losses"
_MEASURES = {
    "discriminator_accuracy": ("discriminator_accuracy",),
    "variance_ratio": ("variance_ratio", "diversity_ratio"),
    "gradients": ("generator_gradient", "discriminator_gradient"),
}
_GREY, _BLACK = (150, 150, 150), (0, 0, 0)
_NAMES = {
    "dice": "Dice",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "fractional_area_difference": "fractional area difference",
    "mae": "MAE",
    "rmse": "RMSE",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "histogram_distance": "histogram distance",
    "cycle_ssim": "cycle SSIM",
    "self_ssim": "NSelfSSIM",
    "gradient_difference": "DIG",
    "losses": "losses of the networks",
    "discriminator_accuracy": "told right by the discriminator",
    "variance_ratio": "variance within and between outputs, part of the target's",
    "gradients": "gradients",
}


def metricTitle(name: str, recipe: Recipe) -> str:
    """Return what a validation metric is called, with its unit: "MAE (HU)"."""
    unit = _unitOf(name, recipe)
    title = _NAMES.get(name, name)
    return f"{title} ({unit})" if unit else title


def shownMetrics(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what curves there are: the loss, metrics of validation, what networks do."""
    names = dict.fromkeys(
        name for record in history for name in record.get("validation_metrics") or {}
    )
    played = any(record.get("losses") for record in history)
    # The Dice of each label lies beside the loss.
    return [
        LOSS,
        *[name for name in names if name != "dice"],
        *([LOSSES, *_MEASURES] if played else []),
    ]


def curveRows(
    history: Sequence[Mapping[str, Any]], recipe: Recipe, metric: str = LOSS
) -> list[dict[str, float | None]]:
    """Return the rows of the curves, epochs from 1.

    Args:
        history: The epochs, as their events say.
        recipe: What is trained.
        metric: One of `shownMetrics`; with the loss there is the Dice of each label.
    """
    rows = []
    for record in sorted(history, key=lambda record: record["epoch"]):
        row: dict[str, float | None] = {"epoch": record["epoch"] + 1}
        if metric == LOSS:
            row["training loss"] = record["loss"]
            row["validation loss"] = record["validation_loss"]
            for name, dice in (record.get("validation_dice") or {}).items():
                row[f"Dice {name}"] = dice
        elif metric == LOSSES or metric in _MEASURES:
            known = record.get("losses") or {}
            for name in _measuresOf(metric, known) or _lossesOf(known):
                row[name.replace("_", " ")] = known.get(name)
        else:
            value = (record.get("validation_metrics") or {}).get(metric)
            row[metricTitle(metric, recipe)] = value
        rows.append(row)
    return rows


def curveColors(recipe: Recipe) -> dict[str, Color]:
    """Return the colours of the curves that `curveRows` names: a label's is its own."""
    labels = {f"Dice {label.name}": label.color for label in recipe.target.labels}
    metrics = {metricTitle(name, recipe): _BLACK for name in _NAMES}
    return {**metrics, "training loss": _GREY, "validation loss": _BLACK, **labels}


def epochText(record: Mapping[str, Any], recipe: Recipe) -> str:
    """Return how well an epoch did, such as "epoch 12, mean Dice 0.93, validation loss 0.031".

    The metric that epochs are compared by comes first; of volumes MAE and PSNR are always named,
    and without pairs the histogram distance and the SSIM of the cycle.
    """
    parts = [_("epoch {number}").format(number=record["epoch"] + 1)]
    metrics = record.get("validation_metrics") or {}
    monitor = recipe.training.monitor
    if monitor not in (LOSS, "dice"):
        parts += _metricTexts([monitor], metrics, recipe)
    unpaired = [name for name in ("histogram_distance", "cycle_ssim") if name != monitor]
    parts += _metricTexts(unpaired, metrics, recipe)
    dice = [value for value in (record.get("validation_dice") or {}).values() if value is not None]
    if dice:
        parts.append(_("mean Dice {dice:.3f}").format(dice=sum(dice) / len(dice)))
    parts += _metricTexts([name for name in ("mae", "psnr") if name != monitor], metrics, recipe)
    if record.get("validation_loss") is not None:
        parts.append(_("validation loss {loss:.4g}").format(loss=record["validation_loss"]))
    return ", ".join(parts)


def bestText(record: Mapping[str, Any], recipe: Recipe) -> str:
    """Return which epoch is the best so far, and by what."""
    monitor = recipe.training.monitor
    if monitor == LAST:
        return str(_("The last epoch counts: {epoch}").format(epoch=epochText(record, recipe)))
    by = _("loss") if monitor == LOSS else _NAMES.get(monitor, monitor)
    return str(
        _("Best so far (by {metric}): {epoch}").format(metric=by, epoch=epochText(record, recipe))
    )


def _measuresOf(metric: str, known: Mapping[str, float]) -> list[str]:
    """Names of the measures of a chart: of each way where there are two, else of the only one."""
    measures = _MEASURES.get(metric, ())
    return [
        name
        for measure in measures
        for name in [key for key in known if key.startswith(f"{measure} ")] or [measure]
    ]


def _lossesOf(known: Mapping[str, float]) -> list[str]:
    """Names of losses among what networks say of an epoch; the sum has a chart of its own."""
    measures = {name for metric in _MEASURES for name in _measuresOf(metric, known)}
    measures |= {name for names in _MEASURES.values() for name in names}
    return [name for name in known if name != LOSS and name not in measures]


def _metricTexts(
    names: Sequence[str], metrics: Mapping[str, float | None], recipe: Recipe
) -> list[str]:
    texts = []
    for name in names:
        value = metrics.get(name)
        if value is not None:
            unit = _unitOf(name, recipe)
            texts.append(f"{_NAMES.get(name, name)} {value:.4g}{' ' + unit if unit else ''}")
    return texts


def _unitOf(name: str, recipe: Recipe) -> str:
    if name in ("mae", "rmse", "histogram_distance"):
        return recipe.target.units
    return "dB" if name == "psnr" else ""
