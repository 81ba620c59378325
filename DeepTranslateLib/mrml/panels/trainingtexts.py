"""What a training will do and what it will take, in sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from DeepTranslateLib.cohort import read_cohort
from DeepTranslateLib.model import Model
from DeepTranslateLib.mrml.pairs import Pair
from DeepTranslateLib.mrml.panels.jobprogress import durationText
from DeepTranslateLib.recipe import Recipe

_GIGABYTE = 1 << 30


def summaryText(
    recipe: Recipe,
    cohort: str | Path | Sequence[Pair],
    estimate: dict[str, Any] | None = None,
    initialModel: Model | None = None,
) -> str:
    """Return what Train is about to do.

    Args:
        recipe: What will be trained.
        cohort: On what.
        estimate: What was measured for just this; None: nothing yet.
        initialModel: What it begins with.
    """
    if isinstance(cohort, (str, Path)):
        subjects = [case.subject for case in read_cohort(cohort).cases]
    else:
        subjects = [pair.subject for pair in cohort]
    text = _("Train '{title}' on {images} images of {people} people").format(
        title=recipe.title or recipe.name, images=len(subjects), people=len(set(subjects))
    )
    if recipe.is_configured:
        text += _(" for {epochs} epochs").format(epochs=recipe.training.epochs)
    else:
        text += _("; what the recipe leaves at its defaults is chosen from the images first")
    if initialModel is not None:
        text += _(", starting from '{name}'").format(name=initialModel.card.name)
    return f"{text}. {estimateText(estimate) if estimate else ''}".strip()


def configuredText(reasons: Sequence[dict[str, Any]]) -> str:
    """Return what was chosen from the images, in a line."""
    left = ("inputs", "target.labels", "target.ignore", "target.range")
    chosen = [
        f"{reason['field'].partition('.')[2]} {json.dumps(reason['value'])}"
        for reason in reasons
        if reason["field"] not in left
    ]
    return _("Chosen from the images (the run folder says why): {fields}.").format(
        fields=", ".join(chosen)
    )


def estimateText(estimate: dict[str, Any]) -> str:
    """Return a measured estimate as sentences."""
    device = _("processor") if estimate["device"] == "cpu" else estimate["device"]
    text = _(
        "It will take about {duration} ({epoch} an epoch, measured on the {device}) and {used:.1f} "
        "GB of memory"
    ).format(
        duration=durationText(estimate["seconds"]),
        epoch=durationText(estimate["seconds_per_epoch"]),
        device=device,
        used=estimate["memory_bytes"] / _GIGABYTE,
    )
    total = estimate.get("memory_total_bytes")
    if total:
        text += _(" of {total:.1f} GB").format(total=total / _GIGABYTE)
        if estimate["memory_bytes"] > 0.9 * total:
            text += _(", which is too much: take smaller batches or fewer channels")
    slices = _("{training} slices train, {validation} validate.").format(
        training=estimate["training_slices"], validation=estimate["validation_slices"]
    )
    return f"{text}. {slices}"


def exportingText(event: dict[str, Any]) -> str:
    """Return what an event of the export of nodes says."""
    subject = event["subject"]
    return _("Reading {subject}").format(subject=subject) if subject else _("Starting")


def stageText(event: Mapping[str, Any]) -> str:
    """Return which training of a recipe with stages an event is of, to put before the rest."""
    if "stage" not in event:
        return ""
    text = _("Stage {stage} of {stages}").format(stage=event["stage"], stages=event["stages"])
    if "fold" in event:
        text += _(", fold {fold} of {folds}").format(fold=event["fold"], folds=event["folds"])
    return f"{text}: "
