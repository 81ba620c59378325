"""The command `evaluate-unpaired`: translations where no reference shows what they should be."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DeepTranslateLib.cli.argument_types import whole_number
from DeepTranslateLib.cli.console import Console, native_silence
from DeepTranslateLib.cli.failures import DONE, CommandError
from DeepTranslateLib.recipe import BACKWARD, DIRECTIONS, FORWARD

if TYPE_CHECKING:
    from DeepTranslateLib.engine.metrics.extractors import Extractor
    from DeepTranslateLib.engine.translation import Translator
    from DeepTranslateLib.engine.unpairedevaluation import DistributionMetrics, UnpairedMetrics
    from DeepTranslateLib.image import Image
    from DeepTranslateLib.recipe import Recipe

_DESCRIPTION = """Measure translations where no reference shows what they should be.

  --input      what each translation was made from: NSelfSSIM and DIG say whether its structure is
               kept, and with --cycled, the translations translated back, so does the cycle's SSIM
  --reference  images of the target domain, of any patients: distances of intensities, and KID and
               FID of features of slices
  --segmentor  a model that makes labels: whether it finds the same in inputs and translations

Files of --input, --cycled, --labels and --prediction-mask stand in the order of the predictions.
What the numbers mean is in docs/unpaired-metrics.md."""

_PLANES = ("axial", "coronal", "sagittal")
_FILES = (
    ("prediction", "translated volumes"),
    ("reference", "of the target domain, of any patients and on any grid"),
    ("input", "what each prediction was made from, on its grid"),
    ("cycled", "each prediction translated back, on its grid"),
    ("labels", "label map of each input; default: the segmentor's of the input"),
    ("prediction-mask", "of each prediction: only voxels where it is not 0 count"),
    ("reference-mask", "of each reference, alike"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = _DESCRIPTION
    for name, text in _FILES:
        parser.add_argument(
            f"--{name}",
            type=Path,
            nargs="+",
            default=[],
            required=name == "prediction",
            metavar="FILE",
            help=text,
        )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="MODEL",
        help="a .dtmodel whose encoder makes the features; default: random convolutions",
    )
    parser.add_argument(
        "--features-level",
        type=whole_number(0),
        metavar="N",
        help="of the encoder, 0 the full resolution; default: the coarsest",
    )
    parser.add_argument(
        "--segmentor", type=Path, metavar="MODEL", help="a .dtmodel that makes labels"
    )
    parser.add_argument(
        "--recipe", metavar="NAME_OR_FILE", help="says units, scale, range and plane of the target"
    )
    parser.add_argument(
        "--direction",
        choices=DIRECTIONS,
        default=FORWARD,
        help="of the recipe: with the second, predictions and references are of its source "
        "domain; default: source-to-target",
    )
    parser.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="of the target domain; default: the recipe's, or 99 %% of the references' values",
    )
    parser.add_argument(
        "--plane", choices=_PLANES, help="of slices; default: the recipe's, or axial"
    )


def evaluate_unpaired_files(options: argparse.Namespace, console: Console) -> int:
    """Measure the files of the command line."""
    from DeepTranslateLib.engine.intensities import prepared_target
    from DeepTranslateLib.engine.unpairedevaluation import evaluate_unpaired
    from DeepTranslateLib.recipe import in_direction, read_recipe
    from DeepTranslateLib.schema import to_json

    recipe = way_back = None
    if options.recipe is not None:
        recipe = read_recipe(options.recipe)
    if recipe is None and options.direction == BACKWARD:
        raise CommandError("--direction is of a recipe. Give --recipe, or leave it out.")
    if recipe is not None:
        recipe.refuse_if_open()
        if recipe.target.kind != "volume":
            raise CommandError(
                f"The recipe '{recipe.name}' makes labels, and this command measures volumes. "
                "Give another, or leave it out."
            )
        if recipe.is_two_way:
            other = FORWARD if options.direction == BACKWARD else BACKWARD
            way_back = in_direction(recipe, other)
        recipe = in_direction(recipe, options.direction)
    value_range = _range(options, recipe)
    plane = options.plane or ("axial" if recipe is None else recipe.sampling.plane)
    extractor = _extractor(options)
    segmentor = None if options.segmentor is None else _translator(options)
    images = {name: _read(getattr(options, name.replace("-", "_"))) for name, _ in _FILES}
    if recipe is not None:
        # Translations are on the target's standard scale, where there is one.
        images["reference"] = [prepared_target(each, recipe) for each in images["reference"]]
    begun: list[Image] = []
    if way_back is not None and images["cycled"]:
        # What came back is on the standard scale of the inputs, where there is one.
        begun = [prepared_target(each, way_back) for each in images["input"]]
    found = evaluate_unpaired(
        images["prediction"],
        images["reference"],
        inputs=images["input"],
        cycled=images["cycled"],
        cycled_inputs=begun,
        prediction_masks=images["prediction-mask"],
        reference_masks=images["reference-mask"],
        value_range=value_range,
        extractor=extractor,
        segmentor=segmentor,
        labels=images["labels"],
        plane=plane,
    )
    if segmentor is not None:
        _warn_of_labels(options.labels, images["labels"], segmentor.recipe, console)
    units = "" if recipe is None else recipe.target.units
    _show(console, found, options.prediction, units)
    console.result(
        {
            **{name.replace("-", "_"): _texts(options, name) for name, _ in _FILES},
            "plane": plane,
            "direction": options.direction,
            "units": units,
            **to_json(found),
        }
    )
    return DONE


def _read(paths: list[Path]) -> list[Image]:
    from DeepTranslateLib.image.files import read_image

    with native_silence():
        return [read_image(path) for path in paths]


def _texts(options: argparse.Namespace, name: str) -> list[str]:
    return [str(path) for path in getattr(options, name.replace("-", "_"))]


def _range(options: argparse.Namespace, recipe: Recipe | None) -> tuple[float, float] | None:
    if options.range is not None:
        return options.range[0], options.range[1]
    return None if recipe is None else recipe.target.range


def _extractor(options: argparse.Namespace) -> Extractor | None:
    if options.features is None:
        if options.features_level is not None:
            raise CommandError("--features-level is of the encoder of --features. Give a model.")
        return None
    if not options.reference:
        raise CommandError(
            "--features are for the distance to references. Give --reference, or leave it out."
        )
    from DeepTranslateLib.engine.device import choose_device
    from DeepTranslateLib.engine.metrics.extractors import ModelExtractor

    return ModelExtractor(options.features, choose_device(options.device), options.features_level)


def _translator(options: argparse.Namespace) -> Translator:
    from DeepTranslateLib.engine.device import choose_device
    from DeepTranslateLib.engine.translation import Translator
    from DeepTranslateLib.model import read_model

    return Translator.from_model(read_model(options.segmentor), choose_device(options.device))


def _warn_of_labels(
    files: list[Path], labels: list[Image], recipe: Recipe, console: Console
) -> None:
    import numpy as np

    from DeepTranslateLib.cli.evaluate import warn_of_unknown

    for file, image in zip(files, labels, strict=True):
        warn_of_unknown(file, set(map(int, np.unique(image.voxels))), recipe, console)


def _show(console: Console, found: UnpairedMetrics, predictions: list[Path], units: str) -> None:
    from DeepTranslateLib.image.files import image_name

    if found.structure:
        back = any(not math.isnan(row.cycle_ssim) for row in found.structure)
        rows = [
            [
                image_name(path),
                f"{row.self_ssim:.4f}",
                f"{row.gradient_difference:.4g}",
                *([f"{row.cycle_ssim:.4f}"] if back else []),
            ]
            for path, row in zip(predictions, found.structure, strict=True)
        ]
        head = ["against its input", ">NSelfSSIM", ">DIG (SD/mm)"]
        console.table([*head, *([">SSIM of the cycle"] if back else [])], rows)
    if found.distribution is not None:
        if found.structure:
            console.say("")
        _show_distribution(console, found.distribution, units)
    if found.agreement:
        if found.structure or found.distribution:
            console.say("")
        console.table(
            ["segmented", ">Dice"],
            [
                [row.name, "" if row.dice != row.dice else f"{row.dice:.4f}"]
                for row in found.agreement
            ],
        )


def _show_distribution(console: Console, found: DistributionMetrics, units: str) -> None:
    suffix = f" {units}" if units else ""
    kid: Any = found.kid
    error = "" if math.isnan(kid.standard_error) else f" +- {kid.standard_error:.2g}"
    console.table(
        ["against the target domain", ">"],
        [
            ["Wasserstein distance of intensities", f"{found.wasserstein:.5g}{suffix}"],
            ["Jensen-Shannon divergence", f"{found.jensen_shannon:.4f}"],
            [f"KID ({found.extractor})", f"{kid.value:.4g}{error}"],
            [f"FID ({found.extractor})", f"{found.fid:.4g}"],
        ],
    )
    console.say(
        f"\nOf {found.prediction_slices} and {found.reference_slices} slices, in the range from "
        f"{found.lowest:g} to {found.highest:g}{suffix}."
    )
