"""The command `evaluate`: one translated image against its reference."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from DeepTranslateLib.cli.console import Console, native_silence
from DeepTranslateLib.cli.failures import DONE, CommandError
from DeepTranslateLib.image.files import read_image
from DeepTranslateLib.recipe import Recipe, read_recipe
from DeepTranslateLib.schema import to_json

if TYPE_CHECKING:
    from DeepTranslateLib.engine.metrics.images import LabelMetrics
    from DeepTranslateLib.image import Image

# An image with more values than this is taken for a volume; 8-bit pictures have up to 256.
_MOST_LABELS = 128
_LABEL_COLUMNS = (
    ("Dice", "dice", ".4f"),
    ("sensitivity", "sensitivity", ".4f"),
    ("specificity", "specificity", ".4f"),
    ("area diff.", "fractional_area_difference", "+.4f"),
    ("HD95 mm", "hausdorff95_mm", ".2f"),
    ("ASSD mm", "average_surface_distance_mm", ".2f"),
    ("surface Dice", "surface_dice", ".4f"),
)
_VOLUME_ROWS = (
    ("MAE", "mae", ".5g", True),
    ("RMSE", "rmse", ".5g", True),
    ("MSE", "mse", ".5g", False),
    ("bias", "bias", "+.5g", True),
    ("PSNR", "psnr", ".2f", False),
    ("SSIM", "ssim", ".4f", False),
    ("MS-SSIM", "ms_ssim", ".4f", False),
)


@dataclass(frozen=True)
class _Pair:
    prediction: Image
    reference: Image
    mask: Image | None


def evaluate_files(options: argparse.Namespace, console: Console) -> int:
    """Compare the files of the command line; as labels or as volumes."""
    from DeepTranslateLib.engine.jsonnumbers import json_numbers
    from DeepTranslateLib.engine.metrics.images import refuse_unclear_mask

    recipe = None if options.recipe is None else read_recipe(options.recipe)
    if recipe is not None:
        recipe.refuse_if_open()
    with native_silence():
        mask = None if options.mask is None else read_image(options.mask)
        pair = _Pair(read_image(options.prediction), read_image(options.reference), mask)
    files = {
        "prediction": str(options.prediction),
        "reference": str(options.reference),
        "mask": None if options.mask is None else str(options.mask),
    }
    kind = _kind(options, recipe, pair)
    if mask is not None:
        refuse_unclear_mask(mask, str(options.mask))
        _refuse_empty(mask, options.mask)
    if kind == "labels":
        content = _compare_labels(options, recipe, pair, console)
    else:
        content = _compare_volumes(options, recipe, pair, console)
    console.result({**files, **json_numbers(content)})
    return DONE


def _refuse_empty(mask: Image, file: Path) -> None:
    if not mask.voxels.any():
        raise CommandError(
            f"{file} has no voxel that counts: every one is 0. Give a mask that is not 0 where "
            "voxels count, or leave out --mask to count all."
        )


def _kind(options: argparse.Namespace, recipe: Recipe | None, pair: _Pair) -> str:
    """What the images are, "labels" or "volume"; refuses options of the other."""
    if recipe is not None:
        kind, why = recipe.target.kind, f"the recipe '{recipe.name}' makes"
        if options.kind not in (None, kind):
            raise CommandError(
                f"--kind says {options.kind}, and {why} {kind}. Leave one of the two options out."
            )
    elif options.kind is not None:
        kind, why = options.kind, "--kind says"
    else:
        labels = all(_label_values(i) is not None for i in (pair.prediction, pair.reference))
        kind, why = ("labels" if labels else "volume"), "the files hold"
    useless = {"labels": ("range",), "volume": ("tolerance",)}[kind]
    for name in useless:
        if getattr(options, name) is not None:
            other = "volumes" if kind == "labels" else "labels"
            raise CommandError(
                f"--{name} is for {other}, and {why} {kind}. Leave it out, or give --kind."
            )
    return str(kind)


def _label_values(image: Image) -> set[int] | None:
    """The values of a label map but 0; None where there are too many, or not whole ones."""
    values: set[float] = set()
    for plane in image.voxels:
        values.update(np.unique(plane).tolist())
        if len(values) > _MOST_LABELS:
            return None
    if any(not math.isfinite(v) or v < 0 or v != int(v) for v in values):
        return None
    return {int(value) for value in values} - {0}


def _compare_labels(
    options: argparse.Namespace, recipe: Recipe | None, pair: _Pair, console: Console
) -> dict[str, Any]:
    from DeepTranslateLib.engine.metrics.images import TOLERANCE_MM, label_metrics

    found = {}
    for name in ("prediction", "reference"):
        values = _label_values(getattr(pair, name))
        if values is None:
            raise CommandError(
                f"{getattr(options, name)} is no label map: its values are not a few whole numbers "
                "from 0. Give a label map, or compare the two as volumes with --kind volume."
            )
        found[name] = values
    tolerance = TOLERANCE_MM if options.tolerance is None else options.tolerance
    ignore = None
    prediction, reference = pair.prediction, pair.reference
    if recipe is None:
        names = {value: f"label {value}" for value in sorted(set().union(*found.values()))}
    else:
        names = {label.value: label.name for label in recipe.target.labels}
        ignore = recipe.target.ignore
        for name, values in found.items():
            warn_of_unknown(getattr(options, name), values, recipe, console)
        prediction, reference = (_with_one_value(i, recipe) for i in (prediction, reference))
        _refuse_all_ignored(options, recipe, pair)
    if not names:
        raise CommandError("Neither file holds a label: every voxel is 0, the background.")
    rows = label_metrics(
        prediction, reference, tuple(names), mask=pair.mask, ignore=ignore, tolerance=tolerance
    )
    _show_labels(console, rows, names, tolerance)
    labels = [{"name": names[row.value], **to_json(row)} for row in rows]
    return {"kind": "labels", "tolerance_mm": tolerance, "labels": labels}


def _refuse_all_ignored(options: argparse.Namespace, recipe: Recipe, pair: _Pair) -> None:
    """Refuse a reference in which the recipe ignores each voxel that could count."""
    from DeepTranslateLib.engine.metrics.images import on_grid_of

    if recipe.target.ignore is None:
        return
    known = pair.reference.voxels != recipe.target.ignore
    if pair.mask is not None:
        known &= on_grid_of(pair.reference, pair.mask, "mask").voxels != 0
    if not known.any():
        where = "" if pair.mask is None else f" inside {options.mask}"
        raise CommandError(
            f"{options.reference} has no voxel that counts: every one{where} is "
            f"{recipe.target.ignore}, which the recipe '{recipe.name}' ignores. Give another "
            "reference or mask."
        )


def warn_of_unknown(file: Path, values: set[int], recipe: Recipe, console: Console) -> None:
    """Warn of a label map that holds values which a recipe does not know.

    Args:
        file: The label map.
        values: That it holds.
        recipe: For labels.
        console: Where to say it.
    """
    known = {value for label in recipe.target.labels for value in (label.value, *label.also)}
    unknown = sorted(values - known - {0, recipe.target.ignore})
    if unknown:
        console.warn(
            f"{file} holds values that the recipe '{recipe.name}' does not know: "
            f"{', '.join(map(str, unknown))}. They count as background."
        )


def _with_one_value(image: Image, recipe: Recipe) -> Image:
    """The label map with each label's other values replaced by its own."""
    voxels = image.voxels
    for label in recipe.target.labels:
        if label.also:
            voxels = np.where(np.isin(voxels, label.also), label.value, voxels)
    return image.with_voxels(voxels)


def _compare_volumes(
    options: argparse.Namespace, recipe: Recipe | None, pair: _Pair, console: Console
) -> dict[str, Any]:
    from DeepTranslateLib.engine.intensities import prepared_target
    from DeepTranslateLib.engine.metrics.images import volume_metrics

    value_range, units, plane, reference = options.range, "", "axial", pair.reference
    if recipe is not None:
        units, plane = recipe.target.units, recipe.sampling.plane
        # Translations are on the target's standard scale, where there is one.
        reference = prepared_target(reference, recipe)
        value_range = value_range or recipe.target.range
    if value_range is not None and not all(map(math.isfinite, value_range)):
        raise CommandError(
            f"--range expects two finite numbers, found {value_range[0]:g} and {value_range[1]:g}. "
            "Give the lowest and the highest value that such images have, as -1000 3000 for CT."
        )
    if value_range is not None and not value_range[0] < value_range[1]:
        raise CommandError(
            f"The range {value_range[0]:g} to {value_range[1]:g} is empty. Give the lowest and "
            "then the highest value."
        )
    found = volume_metrics(
        pair.prediction,
        reference,
        mask=pair.mask,
        value_range=None if value_range is None else tuple(value_range),
        plane=plane,
    )
    content = to_json(found)
    suffix = f" {units}" if units else ""
    rows = [
        [name, format(content[field], form) + (suffix if in_units else " dB" * (name == "PSNR"))]
        for name, field, form, in_units in _VOLUME_ROWS
    ]
    where = "all" if pair.mask is None else "those in the mask"
    console.table(["", ">"], rows)
    console.say(
        f"\nOf {found.voxels} voxels ({where}). PSNR and SSIM refer to the range from "
        f"{found.lowest:g} to {found.highest:g}{suffix}."
    )
    return {"kind": "volume", "units": units, "metrics": content}


def _show_labels(
    console: Console, rows: tuple[LabelMetrics, ...], names: dict[int, str], tolerance: float
) -> None:
    cells = []
    for row in rows:
        values = [getattr(row, field) for _, field, _ in _LABEL_COLUMNS]
        texts = [format(v, f) for v, (_, _, f) in zip(values, _LABEL_COLUMNS, strict=True)]
        # An undefined value has no number; it is not a bad one.
        texts = ["" if math.isnan(v) else t for v, t in zip(values, texts, strict=True)]
        cells.append([names[row.value], *texts])
    console.table(["label", *(f">{title}" for title, _, _ in _LABEL_COLUMNS)], cells)
    console.say(f"\nSurface Dice at {tolerance:g} mm.")
