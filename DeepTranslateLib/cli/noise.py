"""The command `add-noise`: an image with the noise of a lower dose or a weaker signal."""

from __future__ import annotations

import argparse
from pathlib import Path

from DeepTranslateLib.cli.argument_types import whole_number
from DeepTranslateLib.cli.console import Console, native_silence
from DeepTranslateLib.cli.failures import DONE, CommandError

KINDS = ("pixel-subset", "gaussian", "poisson", "rician", "ring")
_DESCRIPTION = """Add noise to an image, on its own grid and in its data type; integers are rounded.
The same image, kind, level and seed give the same file.

what the level is:
  pixel-subset  part of the voxels, 0 to 1, that receive Gaussian noise whose SD is the width of
                the window; Ye et al. 2021 have 0.3, and 0.5 as a stress test (default: 0.3)
  gaussian      SD, in the image's units (default: 5 % of the window's width)
  poisson       for CT in HU: dose as a part of the full one, above 0 to 1; water has 10 HU of
                noise at full dose (default: 0.25)
  rician        for MR magnitudes: SD of the real and of the imaginary part, in the image's units
                (default: 5 % of the window's width)
  ring          SD of the rings' offsets, in the image's units (default: 2 % of the window's width)

The window is that of --window, or from the 0.5th to the 99.5th percentile of the image."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = _DESCRIPTION
    parser.add_argument("--kind", required=True, choices=KINDS)
    parser.add_argument("--level", type=float, metavar="X", help="see above")
    parser.add_argument(
        "--seed", type=whole_number(0), required=True, metavar="N", help="0 or more"
    )
    parser.add_argument(
        "--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help="in the image's units"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="NRRD, NIfTI or MetaImage"
    )
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="image file, or folder of a DICOM series"
    )


def add_noise_to_file(options: argparse.Namespace, console: Console) -> int:
    """Read, add noise, write."""
    from DeepTranslateLib.cohort.hounsfield import why_not_hounsfield
    from DeepTranslateLib.engine.noise import add_noise, resolve_level, window_width
    from DeepTranslateLib.image.files import read_image, write_image

    paths: tuple[Path, Path] = (options.input, options.output)
    if all(path.exists() for path in paths) and paths[0].samefile(paths[1]):
        raise CommandError("The output is the input itself. Give another file as --output.")
    with native_silence():
        image = read_image(options.input)
    if options.kind == "poisson":
        fault = why_not_hounsfield(image.voxels)
        if fault is not None:
            raise CommandError(
                f"The noise of a lower dose is for CT in HU, and in {options.input} {fault[0]} "
                f"{fault[1]}"
            )
    window = None if options.window is None else tuple(options.window)
    level = resolve_level(options.kind, options.level, window_width(image, window))
    noisy = add_noise(image, options.kind, options.seed, level, window)
    write_image(noisy, options.output)
    console.say(f"{options.output}: {options.kind} noise, level {level:g}, seed {options.seed}")
    console.result(
        {
            "input": str(options.input),
            "output": str(options.output),
            "kind": options.kind,
            "level": level,
            "seed": options.seed,
        }
    )
    return DONE
