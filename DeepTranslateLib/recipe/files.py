"""Recipes as files, and those that come along."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.recipe.error import RecipeError
from DeepTranslateLib.recipe.whole import Recipe, recipe_from_json
from DeepTranslateLib.schema import SchemaError, read_json, to_json


def write_recipe(recipe: Recipe, path: str | Path) -> None:
    """Write a recipe as JSON, atomically, with every default spelled out.

    Raises:
        RecipeError: The recipe, made in Python, holds something that could not be read again.
        OSError: The file cannot be written.
    """
    recipe = recipe_from_json(to_json(recipe))
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(to_json(recipe), indent=2) + "\n", encoding="utf-8")


def builtin_recipes() -> dict[str, Path]:
    """Names of the built-in recipes, in their order, and the files they are read from."""
    beside_package = Path(__file__).resolve().parents[1]
    for folder in (beside_package.parent / "Resources" / "Recipes", beside_package / "Recipes"):
        if folder.is_dir():
            # By the names: of files, "ct-a-best.json" comes before "ct-a.json".
            return dict(sorted((path.stem, path) for path in folder.glob("*.json")))
    return {}


def read_recipe(name_or_file: str | Path) -> Recipe:
    """Read a built-in recipe by name, or a recipe file.

    Raises:
        RecipeError: There is no such recipe, or it holds something impossible.
        OSError: The file may not be opened.
    """
    known = builtin_recipes()
    path = known.get(str(name_or_file), Path(name_or_file))
    if not os.path.isfile(path):  # False, not an error, for names that no system takes
        raise RecipeError(
            "$",
            f"there is no recipe '{name_or_file}'. Give a JSON file, or one of the built-in "
            f"recipes: {', '.join(known) or 'none found'}.",
        )
    if zipfile.is_zipfile(path):
        raise RecipeError(
            "$",
            f"{path} is a model or another archive, not a recipe. Give the recipe.json of its "
            "training's folder, or take it out of the model, which is a zip file.",
        )
    try:
        return recipe_from_json(read_json(path, "recipe"))
    except RecipeError:
        raise
    except SchemaError as error:
        raise RecipeError(error.path, str(error).removeprefix(f"{error.path}: ")) from error
