"""The Python that does what the panel does, for "Copy as Python"."""

from __future__ import annotations

import pprint
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer

from DeepTranslateLib.mrml.pairs import Pair
from DeepTranslateLib.recipe import Recipe, builtin_recipes, read_recipe
from DeepTranslateLib.schema import to_json


def trainingScript(
    recipe: Recipe,
    cohort: str | Path | Sequence[Pair],
    folder: str | Path,
    device: str = "auto",
    initialModel: str | Path | None = None,
    transfer: bool = False,
) -> str:
    """Return a script for Slicer's Python console that trains as the panel does.

    Args:
        recipe: What to train.
        cohort: A CSV or folder, or pairs of nodes, which the script finds in the scene.
        folder: A run folder that does not exist yet.
        device: Where to compute.
        initialModel: A model file to begin with.
        transfer: To another task than that model's.
    """
    recipeImport, recipeText = _recipeText(recipe)
    lines = ["import slicer"]
    if not isinstance(cohort, (str, Path)):
        lines.append("from DeepTranslateLib.mrml.cohorts import Pair")
    lines += [recipeImport, "", 'logic = slicer.util.getModuleLogic("DeepTranslateTrain")']
    lines += [f"recipe = {recipeText}", f"cohort = {_cohortText(cohort)}", "model = logic.train("]
    lines += ["    recipe,", "    cohort,", f"    {str(folder)!r},", f"    device={device!r},"]
    if initialModel:
        lines.append(f"    initialModel={str(initialModel)!r},")
        lines += ["    transfer=True,"] if transfer else []
    lines += ["    onEvent=print,", ")", "print(model)"]
    return "\n".join(lines) + "\n"


def _recipeText(recipe: Recipe) -> tuple[str, str]:
    for name in builtin_recipes():
        if read_recipe(name) == recipe:
            return "from DeepTranslateLib.recipe import read_recipe", f"read_recipe({name!r})"
    content = pprint.pformat(to_json(recipe), width=96, sort_dicts=False)
    text = f"recipe_from_json(\n    {_indented(content, 4)}\n)"
    return "from DeepTranslateLib.recipe import recipe_from_json", text


def _cohortText(cohort: str | Path | Sequence[Pair]) -> str:
    if isinstance(cohort, (str, Path)):
        return repr(str(cohort))
    lines = ["["]
    for pair in cohort:
        values = None if pair.values is None else dict(pair.values)
        lines += [
            "    Pair(",
            f"        {_nodeText(pair.volumeNode)},",
            f"        {_nodeText(pair.targetNode)},",
            f"        subject={pair.subject!r},",
            f"        values={values!r},",
            f"        slices={pair.slices!r},",
            f"        split={pair.split!r},",
            *([f"        maskNode={_nodeText(pair.maskNode)},"] if pair.maskNode else []),
            *([f"        domain={pair.domain!r},"] if pair.domain else []),
            "    ),",
        ]
    return "\n".join([*lines, "]"])


def _nodeText(node: Any) -> str:
    """Find the node by its name where no other has it, since ids change between scenes."""
    if node is None:
        return "None"
    same = slicer.mrmlScene.GetNodesByName(node.GetName()).GetNumberOfItems()
    if same == 1:
        return f"slicer.mrmlScene.GetFirstNodeByName({node.GetName()!r})"
    return f"slicer.mrmlScene.GetNodeByID({node.GetID()!r})"


def _indented(text: str, spaces: int) -> str:
    return text.replace("\n", "\n" + " " * spaces)
