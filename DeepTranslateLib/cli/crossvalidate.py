"""The command `cross-validate`: each subject is held out once and measured."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DeepTranslateLib.cli.argument_types import whole_number
from DeepTranslateLib.cli.console import Console
from DeepTranslateLib.cli.failures import DONE, CommandError
from DeepTranslateLib.cli.watching import warning_text

if TYPE_CHECKING:
    from DeepTranslateLib.cohort import Cohort
    from DeepTranslateLib.recipe import Recipe

_Rows = list[dict[str, Any]]

_DESCRIPTION = """Train on all subjects but those of a fold and measure these, for each fold.

Every subject is held out once, with all its images; leave one out by giving as many folds as there
are subjects. The table has a trivial baseline beside the network: each pixel by its intensity
alone. With --slices it has rows for each number of labelled slices to learn from (training and
validation together), nested subsets spread over the subjects, with the same held-out subjects.

Given again, the command goes on where it ended; finished folds are not repeated, and more --seeds
or --slices are added to what is there. See docs/validation.md."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "--recipe", required=True, metavar="NAME_OR_FILE", help="built-in, or a JSON file"
    )
    parser.add_argument("--cohort", type=Path, required=True, metavar="FOLDER_OR_CSV")
    parser.add_argument("--folds", type=whole_number(2), required=True, metavar="K", help="from 2")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--seeds", type=_list_from(0), metavar="N,N,...", help="default: the recipe's"
    )
    parser.add_argument(
        "--slices",
        type=_list_from(2),
        metavar="N,N,...",
        help="labelled slices to learn from, such as 165,84,42,17,10,5; default: all",
    )
    parser.add_argument("--epochs", type=whole_number(1), metavar="N", help="default: the recipe's")
    parser.add_argument(
        "--jobs", type=whole_number(1), default=1, metavar="N", help="folds at a time; default: 1"
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write curves and pictures for TensorBoard"
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="of other cross-validations of the cohort, for tests of the differences",
    )


def cross_validate_cohort(options: argparse.Namespace, console: Console) -> int:
    """Train and measure all folds, write the tables, show the summary."""
    from DeepTranslateLib.cli.watching import stop_signals
    from DeepTranslateLib.cohort import read_cohort
    from DeepTranslateLib.recipe import read_recipe

    recipe = read_recipe(options.recipe)
    if options.epochs is not None:
        recipe = recipe.with_training(epochs=options.epochs)
    cohort = read_cohort(options.cohort)
    from DeepTranslateLib.engine import crossvalidation_tables as tables
    from DeepTranslateLib.engine.crossvalidation import cross_validate
    from DeepTranslateLib.engine.crossvalidation_comparison import ComparedError
    from DeepTranslateLib.engine.jsonnumbers import json_numbers

    # Before hours of training, not after.
    others = _read_others(options, recipe, cohort)
    runs = options.folds * len(options.seeds or (0,)) * len(options.slices or (0,))
    fixed = () if options.epochs is None else ("training.epochs",)
    with _progress(console, runs) as sink, stop_signals() as stopped:
        rows = cross_validate(
            recipe,
            cohort,
            options.folds,
            options.output,
            seeds=options.seeds,
            slices=options.slices,
            device=options.device,
            jobs=options.jobs,
            sink=sink,
            should_stop=stopped,
            fixed=fixed,
            tensorboard=options.tensorboard,
        )
    mine = tables.case_rows(rows, recipe.target.kind)
    try:
        compared, overall = _compared(options, mine, others, console)
    except ComparedError:
        tables.write_tables(options.output, recipe, rows, [], [])  # what was measured is kept
        raise
    content = tables.write_tables(options.output, recipe, rows, compared, overall)
    head, cells = tables.summary_cells(content["summary"], recipe.target.kind)
    console.table(head, cells)
    console.say("\nMedian (lowest to highest) over cases.")
    if overall:
        _show_several(console, compared, overall)
    else:
        _show_comparison(console, compared)
    console.say(f"\nTables: {options.output / tables.SUMMARY_FILE}, cases.csv, folds.csv")
    console.result(
        {
            "output": str(options.output),
            "kind": recipe.target.kind,
            "summary": json_numbers(content["summary"]),
            "comparison": json_numbers(compared),
            **({"overall_comparison": json_numbers(overall)} if overall else {}),
        }
    )
    return DONE


def _read_others(options: argparse.Namespace, recipe: Recipe, cohort: Cohort) -> list[_Rows]:
    """The cases of the cross-validations to compare with; refuses what cannot be compared."""
    from DeepTranslateLib.cohort.folds import subject_folds
    from DeepTranslateLib.engine.crossvalidation_comparison import (
        made_by,
        read_results,
        refuse_other_folds,
    )

    folders = options.compare
    places = [folder.resolve() for folder in folders]
    for number, folder in enumerate(folders):
        if places[number] in places[:number]:
            raise CommandError(f"--compare names the folder {folder} twice. Give each folder once.")
        if len(folders) > 1 and places[number] == options.output.resolve():
            raise CommandError(
                f"--compare names the folder {folder}, which is --output and is compared with the "
                "others in any case. Leave it out."
            )
    found = [read_results(folder) for folder in folders]
    for folder, rows in zip(folders, found, strict=True):
        kind = made_by(rows)
        if kind != recipe.target.kind:
            raise CommandError(
                f"{folder} is a cross-validation of another kind of target: expected "
                f"{recipe.target.kind}, which the recipe '{recipe.name}' makes, found {kind}. "
                "Compare some that make the same."
            )
    if len(folders) > 1:
        folds = subject_folds(cohort, options.folds, recipe.training.seed)
        for folder in folders:
            refuse_other_folds([fold.held_out for fold in folds], folder)
    return found


def _compared(
    options: argparse.Namespace, mine: _Rows, others: list[_Rows], console: Console
) -> tuple[_Rows, _Rows]:
    """The comparisons in pairs, and of three or more at once; none where SciPy is not there."""
    from DeepTranslateLib.engine.comparison import ComparisonError
    from DeepTranslateLib.engine.crossvalidation_comparison import compare, compare_several

    names = [str(folder) for folder in (options.output, *options.compare)]
    try:
        if len(others) > 1:
            return compare_several([mine, *others], names)
        if others:
            return compare(mine, others[0], (names[0], names[1])), []
    except ComparisonError as error:
        console.warn(str(error))
    return [], []


@contextmanager
def _progress(console: Console, runs: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A listener that shows how far all trainings are."""
    done: dict[tuple[Any, ...], float] = {}

    def show(record: dict[str, Any]) -> None:
        console.event(record)
        run, kind = record["run"], record["event"]
        key = (run["slices"], run["seed"], run["fold"])
        slices = "" if run["slices"] is None else f"{run['slices']} slices, "
        name = f"{slices}seed {run['seed']}, fold {run['fold']}"
        if kind == "warning":
            console.warn(warning_text(record))
        elif kind == "configured":
            console.say(f"{name}: the recipe was chosen from what this fold learns from")
        elif kind == "epoch":
            # Of a recipe with stages a fold is several trainings.
            before, trainings = record.get("training", 1) - 1, record.get("trainings", 1)
            done[key] = (before + (record["epoch"] + 1) / record["epochs"]) / trainings
        elif kind == "measured":
            done[key] = 1.0
            console.say(f"{name}: measured {', '.join(record['subjects'])}")
        console.advance_to(sum(done.values()), name)

    with console.progress("Folds", runs):
        yield show


def _show_comparison(console: Console, compared: _Rows) -> None:
    from DeepTranslateLib.engine import crossvalidation_tables as tables

    if not compared:
        return
    console.say(f"\n{compared[0]['first']} beside {compared[0]['second']}, by subject:")
    columns = ["slices", "label", "metric", ">subjects", ">first", ">second", ">p", ">after Holm"]
    console.table(columns, tables.pair_cells(compared))


def _show_several(console: Console, compared: _Rows, overall: _Rows) -> None:
    from DeepTranslateLib.engine import crossvalidation_tables as tables

    names = overall[0]["compared"]
    console.say(f"\n{', '.join(names[:-1])} and {names[-1]}, by subject, all at once:")
    about, tested = ["slices", "label", "metric", ">subjects"], [">p", ">after Holm"]
    columns = [*(f">{name}" for name in names), ">Friedman (df)", *tested, ">ANOVA (df)", *tested]
    console.table([*about, *columns], tables.overall_cells(overall))
    console.say("\nIn pairs:")
    columns = ["first", "second", ">its median", ">its median", *tested]
    console.table([*about, *columns], tables.pair_cells(compared, named=True))


def _list_from(minimum: int) -> Callable[[str], tuple[int, ...]]:
    def numbers(text: str) -> tuple[int, ...]:
        try:
            values = tuple(int(piece) for piece in text.split(","))
        except ValueError:
            values = ()
        if not values or min(values) < minimum:
            raise argparse.ArgumentTypeError(
                f"expected whole numbers from {minimum}, with commas between, found '{text}'"
            )
        return tuple(dict.fromkeys(values))

    return numbers
