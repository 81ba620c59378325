"""The command `train`: a recipe, a cohort and a folder for the run."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from DeepTranslateLib.cli.argument_types import whole_number
from DeepTranslateLib.cli.console import Console, native_silence
from DeepTranslateLib.cli.failures import DONE, CommandError
from DeepTranslateLib.cli.watching import stop_signals, training_progress
from DeepTranslateLib.schema import to_json

# Of a recipe's training, what options of the same name change.
_CHANGES = ("seed", "epochs", "keep_every", "preview_every")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument(
        "--recipe", required=True, metavar="NAME_OR_FILE", help="built-in, or a JSON file"
    )
    parser.add_argument(
        "--cohort",
        type=Path,
        required=True,
        metavar="FOLDER_OR_CSV",
        help="table of images and labels, folder of subjects, or nnU-Net data set",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="RUN",
        help="folder of the training; the model will be RUN/model.dtmodel",
    )
    parser.add_argument("--seed", type=whole_number(0), metavar="N", help="default: the recipe's")
    parser.add_argument("--epochs", type=whole_number(1), metavar="N", help="default: the recipe's")
    parser.add_argument(
        "--keep-every",
        type=whole_number(1),
        metavar="N",
        help="keep the weights of every Nth epoch, for 'export'; default: the recipe's",
    )
    parser.add_argument(
        "--preview-every",
        type=whole_number(1),
        metavar="N",
        help="a preview after every Nth epoch, all of them kept; default: the recipe's",
    )
    parser.add_argument(
        "--initial",
        type=Path,
        metavar="MODEL",
        help="a .dtmodel whose weights are the first; its network must be the recipe's",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write curves and preview pictures to RUN/tensorboard, too",
    )
    parser.add_argument(
        "--transfer",
        action="store_true",
        help="with --initial: inputs and outputs may be others; layers that do not fit start anew",
    )


def train_on_cohort(options: argparse.Namespace, console: Console) -> int:
    """Train a recipe on a cohort; leaves RUN/model.dtmodel."""
    from DeepTranslateLib.cli.propose import show_reasons
    from DeepTranslateLib.cohort import read_cohort
    from DeepTranslateLib.configuration import configured
    from DeepTranslateLib.model import read_model
    from DeepTranslateLib.recipe import read_recipe

    recipe = read_recipe(options.recipe)
    if options.transfer and options.initial is None:
        raise CommandError("--transfer says how to start from a model. Give one with --initial.")
    initial = None if options.initial is None else read_model(options.initial)
    changes = {name: getattr(options, name) for name in _CHANGES}
    recipe = recipe.with_training(**{n: v for n, v in changes.items() if v is not None})
    cohort = read_cohort(options.cohort)
    fixed = [f"training.{name}" for name, value in changes.items() if value is not None]
    if initial is not None and not recipe.is_configured:
        # Weights fit their own network, whatever the images call for.
        recipe = dataclasses.replace(recipe, network=initial.recipe.network)
        fixed.append("network")
    with native_silence():
        proposal = configured(recipe, cohort, options.output, fixed)
    recipe = proposal.recipe
    show_reasons(proposal.reasons, console)
    from DeepTranslateLib.engine.run import train

    with training_progress(console, recipe.training.epochs) as sink, stop_signals() as stopped:
        model = train(
            recipe,
            cohort,
            options.output,
            options.device,
            sink=sink,
            should_stop=stopped,
            initial=initial,
            transfer=options.transfer,
            tensorboard=options.tensorboard,
        )
    console.say(f"\nModel: {model.path} (epoch {model.card.epoch})")
    found = model.card.metrics["validation"]
    if "mean_absolute_error" in found:
        units = f" {recipe.target.units}" if recipe.target.units else ""
        error = f"{found['mean_absolute_error']:.4g}{units}"
        console.say(f"Mean absolute error on the validation slices: {error}")
    dice = found.get("dice", {})
    rows = [[name, "-" if value is None else f"{value:.3f}"] for name, value in dice.items()]
    if rows:
        console.table(["label", ">Dice on the validation slices"], rows)
    console.result({"model": str(model.path), "card": to_json(model.card)})
    return DONE
