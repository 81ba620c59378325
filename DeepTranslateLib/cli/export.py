"""The command `export`: a model of any epoch whose weights a training kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from DeepTranslateLib.cli.argument_types import whole_number
from DeepTranslateLib.cli.console import Console
from DeepTranslateLib.cli.failures import DONE, CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="of a training")
    parser.add_argument(
        "--epoch",
        type=whole_number(1),
        metavar="N",
        help="from 1, one that was kept; default: the best",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="NAME.dtmodel, a new file"
    )


def export_epoch(options: argparse.Namespace, console: Console) -> int:
    """Write the model file of the epoch that was asked for."""
    from DeepTranslateLib.model import read_model
    from DeepTranslateLib.runfolder import read_run
    from DeepTranslateLib.schema import to_json

    if options.output.exists():
        raise CommandError(f"{options.output} is there already. Give the name of a new file.")
    run = read_run(options.run)
    epoch = run.best_epoch if options.epoch is None else options.epoch
    if epoch is None:
        raise CommandError(
            f"{options.run} has no epoch to make a model of yet: none is done. Train on first."
        )
    from DeepTranslateLib.engine.export import export_model

    options.output.parent.mkdir(parents=True, exist_ok=True)
    path = export_model(options.run, epoch, options.output)
    model = read_model(path)
    kept = ", ".join(str(each) for each in run.saved_epochs)
    console.say(f"Model: {path} (epoch {epoch} of {run.epochs_done}; kept are {kept})")
    console.result(
        {
            "model": str(path),
            "epoch": epoch,
            "saved_epochs": list(run.saved_epochs),
            "card": to_json(model.card),
        }
    )
    return DONE
