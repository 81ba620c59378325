"""`segment-anything-you-label` on small phantoms: is what it chooses better than thresholds?

Three subjects with 17 labelled slices of 96 x 96 pixels teach, three others are measured on nine
slices each, beside the trivial baseline that knows intensities only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.configuration import configured
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.engine.comparison import median_range
from DeepTranslateLib.engine.device import choose_device
from DeepTranslateLib.engine.heldout import measure_held_out
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import Recipe, read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

TEACHERS = {0: (0.3, range(1, 17, 3)), 1: (0.5, range(0, 16, 3)), 2: (0.7, range(2, 15, 3))}
UNSEEN = {10: (0.2, range(0, 17, 2)), 11: (0.5, range(0, 17, 2)), 12: (0.8, range(0, 17, 2))}


def main(arguments: Sequence[str] = ()) -> None:
    """Train once and print Dice, or with `--set` do so with other choices."""
    parser = argparse.ArgumentParser(prog="Testing.benchmarks.proposal", description=__doc__)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("FIELD", "JSON"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe, fixed = _base(options.epochs, options.set)
    cohort = Cohort(_cases(TEACHERS), "the phantoms")
    proposal = configured(recipe, cohort, fixed=fixed)
    for reason in proposal.reasons:
        print(f"{reason.field} = {json.dumps(reason.value)}: {reason.reason}")
    with tempfile.TemporaryDirectory() as folder:
        model = train(proposal.recipe, cohort, Path(folder) / "run", "cpu")
        slices = [case.slices or () for case in cohort.cases]
        baseline = IntensityBaseline(model.recipe, cohort.cases, slices)
        translator = Translator.from_model(model, choose_device("cpu"))
        rows = measure_held_out(translator, baseline, _cases(UNSEEN))
    for method in dict.fromkeys(row["method"] for row in rows):
        for label in dict.fromkeys(row["label"] for row in rows):
            values = [r["dice"] for r in rows if (r["method"], r["label"]) == (method, label)]
            print(f"{method}, {label}: {median_range(values)}", flush=True)


def _base(epochs: int, changes: Sequence[tuple[str, str]]) -> tuple[Recipe, list[str]]:
    content = to_json(read_recipe("segment-anything-you-label").with_training(epochs=epochs))
    for field, text in changes:
        place: Any = content
        *parts, last = field.split(".")
        for part in parts:
            place = place[part]
        place[last] = json.loads(text)
    return recipe_from_json(content), ["training.epochs", *(field for field, _ in changes)]


def _cases(subjects: dict[int, tuple[float, range]]) -> tuple[Case, ...]:
    cases = []
    for seed, (adiposity, slices) in subjects.items():
        phantom = torso(seed, adiposity, slices=17, size=(96, 96), spacing=(5.2, 5.2, 10.0))
        cases.append(Case(phantom.name, phantom.image, phantom.labels, tuple(slices)))
    return tuple(cases)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
