"""The command `register`: one image brought onto another, and outputs brought back."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DeepTranslateLib.cli.argument_types import whole_number
from DeepTranslateLib.cli.console import Console, native_silence
from DeepTranslateLib.cli.failures import DONE, CommandError

if TYPE_CHECKING:
    from DeepTranslateLib.image import Image
    from DeepTranslateLib.image.transform import Transform

KINDS = ("rigid", "affine", "deformable")
_DESCRIPTION = """Find how a moving image lies to a fixed one and resample it onto the fixed image's
grid; or do so by a transform that was found earlier.

  --kind K                  find the transform, by mutual information (needs itk-elastix)
  --apply TRANSFORM         use one that --transform-output or 'prepare' wrote
  --apply TRANSFORM --undo  the way back: --moving is an image on the grid that the transform leads
                            to, such as a model's output; --fixed is the image as it was before

Volumes are interpolated linearly and keep their data type, label maps take the nearest voxel. The
same images give the same files. See docs/preparation.md."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = _DESCRIPTION
    parser.add_argument("--fixed", type=Path, required=True, metavar="FILE", help="has the grid")
    parser.add_argument("--moving", type=Path, required=True, metavar="FILE", help="is resampled")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the moving image, resampled"
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--kind", choices=KINDS, help="deformable includes affine, and that rigid")
    how.add_argument("--apply", type=Path, metavar="TRANSFORM", help="a .tfm, .txt or .h5 file")
    parser.add_argument("--undo", action="store_true", help="apply the inverse transform")
    parser.add_argument("--transform-output", type=Path, metavar="FILE.tfm", help="keep it")
    parser.add_argument(
        "--mask", type=Path, metavar="FILE", help="of the fixed image: compared where it is not 0"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="of the moving image; written beside the output as NAME_registered",
    )
    parser.add_argument(
        "--interpolation",
        choices=("linear", "nearest"),
        help="of the moving image; default: nearest where it looks like a label map",
    )
    add_iterations(parser)


def add_iterations(parser: argparse.ArgumentParser) -> None:
    """Add the option --iterations."""
    parser.add_argument(
        "--iterations",
        type=whole_number(1),
        metavar="N",
        help="of a registration, at each of four levels; default: 256",
    )


def register_files(options: argparse.Namespace, console: Console) -> int:
    """Find or read the transform, resample, write."""
    from DeepTranslateLib.engine.preparation import is_label_map, outside_value
    from DeepTranslateLib.image.files import read_image, write_image

    _check(options)
    with native_silence():
        fixed, moving = read_image(options.fixed), read_image(options.moving)
        labels = {path: read_image(path) for path in options.labels}
    if options.apply is None:
        transform, found = _search(options, fixed, moving, console)
    else:
        transform, found = _given(options, fixed), {}
    interpolation = options.interpolation or ("nearest" if is_label_map(moving) else "linear")
    fill = 0.0 if interpolation == "nearest" else outside_value(moving)
    result = transform.resampled(moving, fixed, interpolation, fill)
    write_image(result, options.output)
    console.say(f"{options.moving} -> {options.output} ({interpolation})")
    written = {}
    for path, image in labels.items():
        written[str(path)] = str(_beside(options.output, path))
        write_image(transform.resampled(image, fixed, "nearest", 0), written[str(path)])
        console.say(f"{path} -> {written[str(path)]}")
    console.result(
        {
            "fixed": str(options.fixed),
            "moving": str(options.moving),
            "output": str(options.output),
            "labels": written,
            "interpolation": interpolation,
            **found,
        }
    )
    return DONE


def _check(options: argparse.Namespace) -> None:
    from DeepTranslateLib.image.files import WRITTEN_SUFFIXES
    from DeepTranslateLib.image.transform import TRANSFORM_SUFFIXES

    if options.apply is None and options.undo:
        raise CommandError("--undo needs the transform to undo. Give it with --apply.")
    if options.apply is not None:
        for name in ("mask", "transform_output", "iterations"):
            if getattr(options, name) is not None:
                raise CommandError(
                    f"--{name.replace('_', '-')} belongs to a search, and --apply names a "
                    "transform that is known. Leave one of the two out."
                )
    # Before minutes of searching, not after.
    if not options.output.name.lower().endswith(WRITTEN_SUFFIXES):
        raise CommandError(
            f"{options.output} cannot be written: its suffix must be one of "
            f"{', '.join(WRITTEN_SUFFIXES)}."
        )
    kept = options.transform_output
    if kept is not None and kept.suffix.lower() not in TRANSFORM_SUFFIXES:
        raise CommandError(
            f"{kept} cannot be written: a transform's suffix must be one of "
            f"{', '.join(TRANSFORM_SUFFIXES)}."
        )
    inputs = [options.fixed, options.moving, options.mask, options.apply, *options.labels]
    outputs = [options.output, options.transform_output]
    outputs += [_beside(options.output, path) for path in options.labels]
    for output in filter(None, outputs):
        if not output.parent.is_dir():
            raise CommandError(f"{output} cannot be written: there is no folder {output.parent}.")
        for source in filter(None, inputs):
            if output.exists() and source.exists() and output.samefile(source):
                raise CommandError(f"{output} is an input and is not overwritten. Name another.")
    if len({str(path) for path in outputs if path}) < len([path for path in outputs if path]):
        raise CommandError("Two outputs would have the same name. Rename one of the inputs.")


def _beside(output: Path, labels: Path) -> Path:
    from DeepTranslateLib.image.files import image_name

    suffix = output.name[len(image_name(output)) :]
    return output.with_name(f"{image_name(labels)}_registered{suffix}")


def _search(
    options: argparse.Namespace, fixed: Image, moving: Image, console: Console
) -> tuple[Transform, dict[str, Any]]:
    from DeepTranslateLib.engine.registration import ITERATIONS, register
    from DeepTranslateLib.image.files import read_image
    from DeepTranslateLib.image.transform import write_transform

    mask = None if options.mask is None else read_image(options.mask)
    iterations = options.iterations or ITERATIONS
    found = register(fixed, moving, options.kind, mask=mask, iterations=iterations)
    if options.transform_output is not None:
        write_transform(found.transform, options.transform_output)
    before, after = found.before, found.after
    console.table(
        ["", ">before", ">after"],
        [
            ["mutual information", f"{before.information:.3f}", f"{after.information:.3f}"],
            ["overlap of foregrounds", f"{before.overlap:.3f}", f"{after.overlap:.3f}"],
            ["reached", f"{before.coverage:.3f}", f"{after.coverage:.3f}"],
        ],
    )
    if not found.improved:
        console.warn(
            "The registration may be wrong: the images say no more about each other than before. "
            "Look at the output before you use it."
        )
    return found.transform, {
        "kind": options.kind,
        "start": found.start,
        "before": dataclasses.asdict(before),
        "after": dataclasses.asdict(after),
        "improved": found.improved,
        "transform": None if options.transform_output is None else str(options.transform_output),
    }


def _given(options: argparse.Namespace, fixed: Image) -> Transform:
    from DeepTranslateLib.image.transform import read_transform

    transform = read_transform(options.apply)
    return transform.inverse(fixed) if options.undo else transform
