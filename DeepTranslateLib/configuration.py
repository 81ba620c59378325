"""A recipe that is configured from a cohort: what it leaves open is chosen before it is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from DeepTranslateLib.cohort import Cohort, CohortError
from DeepTranslateLib.cohort.check import check_cohort, faults_table
from DeepTranslateLib.cohort.fingerprint import Fingerprint
from DeepTranslateLib.cohort.labelnames import named_labels
from DeepTranslateLib.cohort.measurement import foreground_medians, measure_cohort
from DeepTranslateLib.image import ImageError
from DeepTranslateLib.proposal import Proposal, propose_recipe, reasons_path, write_reasons
from DeepTranslateLib.proposal_reasons import Reason, Reasons
from DeepTranslateLib.recipe import CHANGEABLE, Recipe, read_recipe, recipe_from_json
from DeepTranslateLib.runfolder import RECIPE_FILE, RunError
from DeepTranslateLib.schema import SchemaError, from_json, read_json


def configured(
    recipe: Recipe,
    cohort: Cohort,
    folder: str | Path | None = None,
    fixed: Collection[str] = (),
) -> Proposal:
    """A recipe that says everything, with a reason for each choice that was made for it.

    One that is written out comes back as it is, without reasons. One that is configured from a
    cohort is proposed from the cases that are not named "test". In a run folder the reasons are
    written, to lie beside the recipe that the training writes; where a training lies, which is
    going on, its recipe is the answer.

    Args:
        recipe: Written out, or to be configured.
        cohort: To measure.
        folder: Of the run; None: nothing is read or written.
        fixed: Fields such as "training.epochs", or parts such as "network", that stay as the
            recipe has them, also where they are at their defaults.

    Raises:
        CohortError: The cohort has faults, or there is nothing to choose from.
        RecipeError: What the recipe says does not go together with what was chosen.
        RunError: The folder holds a training of another recipe.
        OSError: The folder cannot be written.
    """
    if recipe.is_configured:
        return Proposal(recipe, ())
    if folder is not None and (Path(folder) / RECIPE_FILE).is_file():
        return _going_on(recipe, Path(folder), fixed)
    proposal, found = proposal_for(cohort, recipe, fixed=fixed)
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_reasons(proposal, found, Path(folder) / RECIPE_FILE, recipe)
    return proposal


def proposal_for(
    cohort: Cohort, base: Recipe | None = None, name: str = "proposed", fixed: Collection[str] = ()
) -> tuple[Proposal, Fingerprint]:
    """Measure the cases that are not named "test" and propose a recipe; see `propose_recipe`.

    Where the images may be MR and no scale is given for them, they are read once more, for their
    medians.

    Args:
        cohort: To measure.
        base: The recipe to begin with.
        name: Of the recipe without a base.
        fixed: Fields or parts that stay as they are in the base.

    Returns:
        The proposal, and what was measured.

    Raises:
        CohortError: The cohort has no targets or faults, or there is nothing to choose from.
        ImageError: A file cannot be read, or holds voxels that are no numbers.
        RecipeError: What the recipe says does not go together with what was chosen.
        OSError: A file may not be opened.
    """
    if base is not None and base.is_denoising:
        cohort = cohort.with_clean_targets()
    found = _measured(cohort, base)
    medians = foreground_medians(cohort) if _may_differ(found, base) else ()
    named = named_labels(cohort)
    return propose_recipe(found, base, name, named=named, fixed=fixed, medians=medians), found


def with_labels_of(recipe: Recipe, cohort: Cohort) -> Recipe:
    """A recipe that is configured from a cohort, with the labels of that cohort and still open.

    So the parts of a cohort that are trained on apart all learn the same labels.

    Raises:
        CohortError: The cohort has faults, or there is no label.
    """
    if recipe.is_configured:
        return recipe
    return dataclasses.replace(recipe, target=configured(recipe, cohort).recipe.target)


def _measured(cohort: Cohort, base: Recipe | None) -> Fingerprint:
    cases = () if cohort.has_domains else cohort.learning
    if cases and all(case.target is None for case in cases):
        raise CohortError(
            f"{cohort.source} has images alone, and a recipe is proposed for images with labels or "
            "target volumes. Add labels or targets; or, where the images are clean CT and noise is "
            "to be taken from others like them, begin with the recipe ct-denoise (--recipe "
            "ct-denoise), which needs neither."
        )
    try:
        return measure_cohort(cohort)
    except (CohortError, ImageError, OSError):
        if base is None or base.is_configured:
            raise
        # All that is wrong says more than the first.
        faults = check_cohort(cohort, base)
        if not any(fault.severity == "error" for fault in faults):
            raise
        raise CohortError(
            f"The cohort has faults; nothing was measured.\n{faults_table(faults)}"
        ) from None


def _may_differ(found: Fingerprint, base: Recipe | None) -> bool:
    """Whether the images may be MR, each in its own unit, and no scale is given for them."""
    modality = "other" if base is None else base.inputs[0].modality
    if found.units == "HU" or "MR" not in (found.modality, modality):
        return False
    return base is None or base.preprocessing.standardisation == "none"


def _going_on(recipe: Recipe, folder: Path, fixed: Collection[str]) -> Proposal:
    """The recipe of a run that was configured from this one."""
    path = reasons_path(folder / RECIPE_FILE)
    try:
        content = read_json(path, "reasons")
        before = recipe_from_json(content["base"])
        reasons = tuple(from_json(Reason, item) for item in content["reasons"])
        used = read_recipe(folder / RECIPE_FILE)
    except (OSError, SchemaError, KeyError, TypeError):
        before, reasons, used = None, (), recipe
    if before is None or before.what_is_learnt != recipe.what_is_learnt:
        raise RunError(
            f"{folder} holds a training that was not configured from the recipe '{recipe.name}' "
            "as it is now. Give a new folder, or the recipe that it was begun with."
        )
    given = Reasons(recipe, fixed)
    changes: dict[str, Any] = {
        name: getattr(recipe.training, name)
        for name in CHANGEABLE
        if given.keeps(f"training.{name}")
    }
    return Proposal(used.with_training(**changes), reasons)
