"""What the cohort builder says below its table: what is missing, or what there is."""

from __future__ import annotations

from collections.abc import Sequence

from slicer.i18n import tr as _

from DeepTranslateLib.cohort.case import DOMAINS
from DeepTranslateLib.mrml.panels.caserow import Row
from DeepTranslateLib.mrml.panels.casetable import CaseTable
from DeepTranslateLib.recipe import Recipe, names_of_sides

_NAMED_PROBLEMS = 3


def forLabels(recipe: Recipe | None) -> bool:
    """Tell whether targets are label maps or segmentations."""
    return recipe is not None and recipe.target.kind == "labels"


def needTargets(recipe: Recipe | None) -> bool:
    """Tell whether each image needs a target; clean and unpaired images do not."""
    return recipe is None or not (recipe.is_denoising or recipe.is_unpaired)


def isUnpaired(recipe: Recipe | None) -> bool:
    """Tell whether images are of two kinds that do not belong together."""
    return recipe is not None and recipe.is_unpaired


def kindNames(recipe: Recipe) -> tuple[str, str]:
    """Return what source and target are called in the table, such as "MR (source)"."""
    source, target = names_of_sides(recipe)
    if source == "source":
        return _("source"), _("target")
    return _("{name} (source)").format(name=source), _("{name} (target)").format(name=target)


def sceneText(rows: Sequence[Row], recipe: Recipe | None) -> str:
    """Return what is wrong with the rows, else how much there is to learn from."""
    if not rows:
        return _beginningText(recipe)
    problems = [
        f"{row.subject or _('A row')}: {problem}"
        for row in rows
        if (problem := CaseTable.problem(row) or _incomplete(row, recipe))
    ]
    if problems:
        more = len(problems) - _NAMED_PROBLEMS
        further = [_("... and {n} more.").format(n=more)] if more > 0 else []
        return "\n".join([*problems[:_NAMED_PROBLEMS], *further])
    people = len({row.subject for row in rows})
    slices = sum(len(row.chosenSlices() or row.found or ()) for row in rows)
    text = str(_("{cases} images of {people} people").format(cases=len(rows), people=people))
    if isUnpaired(recipe):
        return _kindsText(rows, recipe, text)
    if not needTargets(recipe) and any(row.targetNode is None for row in rows):
        return text + _(", taken for clean: training adds the noise to them.")
    if not slices:
        return f"{text}."
    if not forLabels(recipe):
        return text + _(", {slices} slices named by you.").format(slices=slices)
    return text + _(
        ", {slices} labelled slices: those in which anything is marked. What is not marked in "
        "them is taught as background."
    ).format(slices=slices)


def nothingFoundText(recipe: Recipe | None) -> str:
    """Return why the scene gave no row."""
    if isUnpaired(recipe):
        return str(_("There is no volume in the scene. Load images of both kinds."))
    if not needTargets(recipe):
        return str(_("There is no volume in the scene. Load clean images."))
    if not forLabels(recipe):
        return str(
            _(
                "Which volume is made of which cannot be told from the scene. Click Add row for "
                "each pair and choose volume and target."
            )
        )
    return str(
        _(
            "No volume with a segmentation was recognised in the scene. Load volumes and "
            "segment some slices (Segment Editor), or add a row and choose them yourself."
        )
    )


def _kindsText(rows: Sequence[Row], recipe: Recipe | None, text: str) -> str:
    """How many images there are of each kind, or which kind has none."""
    assert recipe is not None
    names = kindNames(recipe)
    counts = [sum(row.domain == domain for row in rows) for domain in DOMAINS]
    if 0 in counts:
        name = names[counts.index(0)]
        return text + _(". None is of the kind '{name}': choose it in the column Kind.").format(
            name=name
        )
    parts = ", ".join(f"{count} {name}" for count, name in zip(counts, names, strict=True))
    return f"{text}: {parts}."


def _beginningText(recipe: Recipe | None) -> str:
    if isUnpaired(recipe):
        return str(
            _(
                "Load images of both kinds, which need not be of the same people; then click Add "
                "from scene, and say in the column Kind which is which."
            )
        )
    if not needTargets(recipe):
        return str(_("Load clean images; then click Add from scene."))
    if recipe is not None and not forLabels(recipe):
        return str(
            _(
                "Load the images and, on the same grid, what is to be made of each; then click "
                "Add row for each pair and choose both."
            )
        )
    return str(
        _(
            "Load volumes and mark some slices of each in the Segment Editor; then click Add "
            "from scene. About 17 labelled slices are a good beginning."
        )
    )


def _incomplete(row: Row, recipe: Recipe | None) -> str:
    if row.volumeNode is None:
        return str(_("choose a volume."))
    if row.targetNode is None and needTargets(recipe):
        return str(_("choose what to learn from."))
    if problem := CaseTable.nodeProblem(row, not isUnpaired(recipe)):
        return problem
    return row.foundProblem if row.found is None and forLabels(recipe) else ""
