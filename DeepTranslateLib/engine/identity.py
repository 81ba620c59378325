"""Whether a checkpoint's recipe is the one that is given now."""

from __future__ import annotations

import ast
from typing import Any

from DeepTranslateLib.recipe import Recipe, RecipeError, recipe_from_json
from DeepTranslateLib.schema import to_json


def is_same_training(stored: Any, recipe: Recipe) -> bool:
    """Whether a run may go on: it may be given more epochs, and keep more of them.

    A field that the checkpoint does not know was not there when it was made, and had what is now
    its default.

    Args:
        stored: A recipe as JSON; or, as older checkpoints have it, as Python shows it.
        recipe: The recipe given now.
    """
    try:
        content = _content_of(stored) if isinstance(stored, str) else stored
        before = recipe_from_json(content)
    except (RecipeError, SyntaxError, ValueError):
        return False
    return before.what_is_learnt == recipe_from_json(to_json(recipe)).what_is_learnt


def _content_of(text: str) -> Any:
    """JSON of a text such as "Recipe(name='x', training=Training(epochs=1))"."""
    return _value(ast.parse(text, mode="eval").body)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return {str(keyword.arg): _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Tuple):
        return [_value(item) for item in node.elts]
    return ast.literal_eval(node)
