"""The command `propose`: a recipe for a cohort, with the reason of each choice."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from DeepTranslateLib.cli.console import Console, native_silence
from DeepTranslateLib.cli.failures import DONE, CommandError
from DeepTranslateLib.schema import to_json

if TYPE_CHECKING:
    from DeepTranslateLib.proposal_reasons import Reason

_DESCRIPTION = """Measure a cohort and write a recipe for it, and why each field is as it is in
RECIPE.reasons.json beside it. Both are there to be read and changed. No file is overwritten. See
docs/validation.md."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.description = _DESCRIPTION
    parser.add_argument("--cohort", type=Path, required=True, metavar="FOLDER_OR_CSV")
    parser.add_argument("--output", type=Path, required=True, metavar="RECIPE.json")
    parser.add_argument(
        "--recipe",
        metavar="NAME_OR_FILE",
        help="to begin with: its labels, method and what is not measured",
    )


def show_reasons(reasons: Sequence[Reason], console: Console) -> None:
    """Show choices as a table, where there are any."""
    if reasons:
        console.table(
            ["field", "value", "reason"],
            [[r.field, json.dumps(r.value), r.reason] for r in reasons],
        )


def propose_for_cohort(options: argparse.Namespace, console: Console) -> int:
    """Measure the cohort, write recipe and reasons, show these."""
    from DeepTranslateLib.cohort import read_cohort
    from DeepTranslateLib.configuration import proposal_for
    from DeepTranslateLib.proposal import reasons_path, write_proposal
    from DeepTranslateLib.recipe import read_recipe

    path: Path = options.output
    if path.suffix.lower() != ".json":
        raise CommandError(f"A recipe is a .json file; --output is {path}.")
    for file in (path, reasons_path(path)):
        if file.exists():
            raise CommandError(f"{file} exists and is not overwritten. Give another --output.")
    base = None if options.recipe is None else read_recipe(options.recipe)
    cohort = read_cohort(options.cohort)
    with native_silence():
        proposal, found = proposal_for(cohort, base, path.stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = write_proposal(proposal, found, path)
    show_reasons(proposal.reasons, console)
    console.say(f"\nRecipe: {path}\nReasons: {beside}")
    console.result(
        {
            "recipe_file": str(path),
            "reasons_file": str(beside),
            "recipe": to_json(proposal.recipe),
            "reasons": to_json(proposal.reasons),
            "fingerprint": to_json(found),
        }
    )
    return DONE
