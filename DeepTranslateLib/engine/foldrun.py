"""One training of a cross-validation: a fold is learnt from, and those it held out are measured."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cohort import Case, Cohort, Selection
from DeepTranslateLib.cohort.case import TARGET, labelled_slices
from DeepTranslateLib.cohort.folds import Fold, with_fewer_slices
from DeepTranslateLib.configuration import configured
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.engine.device import choose_device
from DeepTranslateLib.engine.heldout import measure_held_out
from DeepTranslateLib.engine.jsonnumbers import json_numbers
from DeepTranslateLib.engine.noisy_inputs import noisy_selections
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.jobs import EventSink
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.schema import to_json

HELD_OUT_FILE = "held_out.json"


@dataclass(frozen=True)
class FoldRun:
    """One training of a cross-validation, and the measurement of those it never saw.

    Attributes:
        recipe: With the run's seed.
        fold: Who is held out.
        slices: Labelled slices to learn from, training and validation together; None: all.
        folder: Of the training.
        device: "auto", "cpu", "cuda" or "mps".
        noise_seed: Of the noise that clean images of held-out subjects receive.
        fixed: Fields that a recipe which is configured from a cohort keeps, as `configured` takes
            them.
        tensorboard: Whether curves and pictures are written for TensorBoard.
    """

    recipe: Recipe
    fold: Fold
    slices: int | None
    folder: Path
    device: str
    noise_seed: int
    fixed: tuple[str, ...] = ()
    tensorboard: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / HELD_OUT_FILE).is_file()

    @property
    def about(self) -> dict[str, Any]:
        """What tells this run from the others: `slices`, `seed` and `fold`."""
        seed = self.recipe.training.seed
        return {"slices": self.slices, "seed": seed, "fold": self.fold.number}


def run_fold(
    run: FoldRun,
    sink: EventSink | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train one fold, or go on with it, and measure those it held out."""

    def pass_on(record: dict[str, Any]) -> None:
        if sink is not None:
            sink({**record, "run": run.about})

    run, learning = _learning(run, pass_on)
    model = train(
        run.recipe,
        learning,
        run.folder,
        run.device,
        pass_on,
        should_stop,
        tensorboard=run.tensorboard,
    )
    pass_on({"event": "measuring", "subjects": list(run.fold.held_out)})
    cache = run.folder / "cache"
    try:
        learnt = _selections(learning.cases, run, cache / "learning")
        # Without pairs, it is images of the source that are translated.
        testing = [case for case in run.fold.testing if case.domain != TARGET]
        tested = _selections(testing, run, cache / "testing")
        baseline = IntensityBaseline(
            model.recipe,
            [selection.case for selection in learnt],
            [labelled_slices(s.case, model.recipe.sampling.plane) for s in learnt],
        )
        translator = Translator.from_model(model, choose_device(run.device))
        rows = measure_held_out(translator, baseline, [selection.case for selection in tested])
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    with atomic_file(run.folder / HELD_OUT_FILE) as temporary:
        temporary.write_text(
            json.dumps({"rows": json_numbers(rows)}, indent=1, allow_nan=False) + "\n",
            encoding="utf-8",
        )
    pass_on({"event": "measured", "subjects": list(run.fold.held_out)})


def _learning(run: FoldRun, sink: EventSink) -> tuple[FoldRun, Cohort]:
    """The run with a recipe that says everything, and what it learns from."""
    recipe, fixed, learning = run.recipe, run.fixed, run.fold.learning
    if run.slices is not None:
        # Slices are counted in the plane that all of them suggest.
        chosen = configured(recipe, learning, fixed=fixed).recipe
        recipe = dataclasses.replace(recipe, sampling=chosen.sampling)
        fixed = (*fixed, "sampling")
        learning = with_fewer_slices(learning, run.slices, chosen, recipe.training.seed)
    if recipe.is_configured:
        return run, learning
    proposal = configured(recipe, learning, run.folder, fixed)
    sink({"event": "configured", "reasons": to_json(proposal.reasons)})
    return dataclasses.replace(run, recipe=proposal.recipe), learning


def read_rows(run: FoldRun) -> list[dict[str, Any]]:
    """What a fold's `held_out.json` holds, with the run that it is of."""
    content = json.loads((run.folder / HELD_OUT_FILE).read_text(encoding="utf-8"))
    names = {"slices": "slices_learnt", "seed": "seed", "fold": "fold"}
    about = {names[key]: value for key, value in run.about.items()}
    return [{**about, **row} for row in content["rows"]]


def _selections(cases: Sequence[Case], run: FoldRun, folder: Path) -> tuple[Selection, ...]:
    """The cases, with noise where the recipe gives it to clean images."""
    recipe = run.recipe.with_training(seed=run.noise_seed)
    return noisy_selections([Selection(case, case.slices) for case in cases], recipe, folder)
