"""The command `deeptranslate`: its arguments, its exit codes and how errors reach a person."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import DeepTranslateLib
from DeepTranslateLib.cli.argument_types import gigabytes, millimetres, table, whole_number
from DeepTranslateLib.cli.console import Console
from DeepTranslateLib.cli.crossvalidate import add_arguments as add_cross_validate_arguments
from DeepTranslateLib.cli.evaluate_unpaired import add_arguments as add_evaluate_unpaired_arguments
from DeepTranslateLib.cli.export import add_arguments as add_export_arguments
from DeepTranslateLib.cli.failures import STOPPED, explain
from DeepTranslateLib.cli.noise import add_arguments as add_noise_arguments
from DeepTranslateLib.cli.prepare import add_arguments as add_prepare_arguments
from DeepTranslateLib.cli.propose import add_arguments as add_propose_arguments
from DeepTranslateLib.cli.register import add_arguments as add_register_arguments
from DeepTranslateLib.cli.train import add_arguments as add_train_arguments
from DeepTranslateLib.recipe import DIRECTIONS

EXIT_CODES = """exit codes:
  0  done
  1  unexpected error (run again with --debug for the details)
  2  the command line is wrong
  3  an input, cohort, recipe or model is not usable; nothing was written for it
  4  some inputs were translated, others not
  5  something is missing on this machine (a package, a device)
  6  training diverged, or the folder holds another training
  130  stopped by Ctrl-C or SIGTERM; training can be continued with the same command"""

DEVICES = ("auto", "cpu", "cuda", "mps")


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    main_parser = argparse.ArgumentParser(
        prog="deeptranslate",
        description="Turn one medical image into another: train on a few labelled slices, "
        "translate volumes, measure tissues.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main_parser.add_argument("--version", action="version", version=DeepTranslateLib.__version__)
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object a line")
    common.add_argument("--debug", action="store_true", help="show the traceback of errors")
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")

    demo = commands.add_parser(
        "demo", parents=[common, device], help="train and translate phantoms, write a report"
    )
    demo.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="created where it is missing"
    )
    demo.add_argument("--epochs", type=whole_number(1), metavar="N", help="default: 150")

    add_train_arguments(
        commands.add_parser(
            "train",
            parents=[common, device],
            help="train a recipe on a cohort; started again, an unfinished run goes on",
        )
    )

    translate = commands.add_parser(
        "translate", parents=[common, device], help="apply a model to volumes"
    )
    translate.add_argument(
        "--model", type=Path, required=True, metavar="FILE", help="a .dtmodel file"
    )
    translate.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="for NAME_labels or NAME_translated of each input, and tissue_volumes.csv",
    )
    translate.add_argument(
        "--format", choices=("nrrd", "nii.gz"), default="nrrd", help="default: nrrd"
    )
    translate.add_argument("--series", metavar="UID", help="of a DICOM folder with several series")
    translate.add_argument(
        "--direction",
        choices=DIRECTIONS,
        default=DIRECTIONS[0],
        help="the second where the model has both ways, for NAME_translated_to_source; default: "
        "source-to-target",
    )
    translate.add_argument(
        "--memory-limit",
        type=gigabytes,
        metavar="GB",
        help="most memory to take, volume and output among it; default: what patches need at once",
    )
    translate.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="image file, DICOM folder, or folder of image files",
    )

    statistics = commands.add_parser(
        "statistics", parents=[common], help="measure the labels of a label map in an image"
    )
    statistics.add_argument("--image", type=Path, required=True, metavar="FILE")
    statistics.add_argument("--labels", type=Path, required=True, metavar="FILE")
    statistics.add_argument("--output", type=table, required=True, metavar="FILE.csv|FILE.tsv")
    statistics.add_argument("--per-slice", type=table, metavar="FILE.csv|FILE.tsv")
    statistics.add_argument(
        "--recipe", metavar="NAME_OR_FILE", help="names the labels; default: their values"
    )

    evaluate = commands.add_parser(
        "evaluate", parents=[common], help="compare a translated image with its reference"
    )
    evaluate.add_argument("--prediction", type=Path, required=True, metavar="FILE")
    evaluate.add_argument("--reference", type=Path, required=True, metavar="FILE")
    evaluate.add_argument(
        "--mask", type=Path, metavar="FILE", help="only voxels where it is not 0 count"
    )
    evaluate.add_argument(
        "--recipe", metavar="NAME_OR_FILE", help="names labels; says units, scale, range and plane"
    )
    evaluate.add_argument(
        "--kind", choices=("labels", "volume"), help="default: the recipe's, or what they look like"
    )
    evaluate.add_argument(
        "--tolerance", type=millimetres, metavar="MM", help="of the surface Dice; default: 2"
    )
    evaluate.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="for PSNR and SSIM; default: the recipe's, or the reference's",
    )

    add_evaluate_unpaired_arguments(
        commands.add_parser(
            "evaluate-unpaired",
            parents=[common, device],
            help="measure translations where no reference shows what they should be",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    add_cross_validate_arguments(
        commands.add_parser(
            "cross-validate",
            parents=[common, device],
            help="train and measure with each subject held out once, beside a trivial baseline",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    add_export_arguments(
        commands.add_parser(
            "export", parents=[common], help="make a model of an epoch that a training kept"
        )
    )
    add_propose_arguments(
        commands.add_parser(
            "propose",
            parents=[common],
            help="write a recipe for a cohort, with the reason of each choice",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    add_noise_arguments(
        commands.add_parser(
            "add-noise",
            parents=[common],
            help="add noise to an image, as of a lower dose or a weaker signal",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    add_register_arguments(
        commands.add_parser(
            "register",
            parents=[common],
            help="bring one image onto another's grid, and outputs back",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    add_prepare_arguments(
        commands.add_parser(
            "prepare",
            parents=[common],
            help="register a cohort's images, remove tables, bring to a common spacing",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    commands.add_parser("recipes", parents=[common], help="list the built-in recipes")
    models = commands.add_parser("models", parents=[common], help="list models")
    models.add_argument("folder", nargs="?", type=Path, help="default: the model library")
    info = commands.add_parser("info", parents=[common], help="describe a model, recipe or image")
    info.add_argument("file", type=Path, metavar="FILE")
    commands.add_parser("doctor", parents=[common], help="say what this machine can do")
    run = commands.add_parser(
        "run", help="do the job of a folder (job.json), as Slicer's panels start it"
    )
    run.add_argument("folder", type=Path, metavar="FOLDER")
    run.add_argument(
        "--serve", action="store_true", help="then read further folders from standard input"
    )
    run.add_argument(
        "--idle", type=float, default=300.0, metavar="SECONDS", help="wait for them; default: 300"
    )
    run.set_defaults(json=True, debug=False)
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    _prepare_process()
    console = Console(as_json=options.json)
    try:
        with _terminable():
            from DeepTranslateLib.cli import commands

            return int(getattr(commands, options.command.replace("-", "_"))(options, console))
    except BrokenPipeError:
        # Nobody reads on, as after `| head`; Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STOPPED
    except (KeyboardInterrupt, Exception) as error:
        if options.debug:
            traceback.print_exc()
        message, code = explain(error)
        console.error(message, code)
        return code


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM interrupts like Ctrl-C, so that no temporary file is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _prepare_process() -> None:
    # Idle OpenMP threads that spin steal the cores from the ones that work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
