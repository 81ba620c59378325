"""What a recipe of 3D patches may say, and what it may not."""

from typing import Any

import pytest

from DeepTranslateLib.recipe import Recipe, RecipeError, recipe_from_json
from DeepTranslateLib.schema import to_json


def made(**parts: dict[str, Any]) -> Recipe:
    content: dict[str, Any] = {
        "name": "patches",
        "target": {"kind": "labels", "labels": [{"value": 1, "name": "liver"}]},
        "sampling": {"patch": [16, 64, 64]},
        "network": {"dimension": 3},
    }
    return recipe_from_json({**content, **parts})


def test_a_recipe_of_patches_comes_back_from_its_json() -> None:
    recipe = made(preprocessing={"slice_spacing": "auto"})
    assert recipe.is_volumetric
    assert recipe.sampling.patch == (16, 64, 64)
    assert recipe_from_json(to_json(recipe)) == recipe


def test_slices_are_what_a_recipe_learns_from_where_it_says_nothing() -> None:
    recipe = made(sampling={}, network={})
    assert not recipe.is_volumetric
    assert recipe.sampling.patch is recipe.preprocessing.slice_spacing is None


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"network": {}}, "$.network.dimension"),
        ({"sampling": {}}, "$.network.dimension"),
        ({"sampling": {"patch": [16, 64]}}, "$.sampling.patch"),
        ({"sampling": {"patch": [16, 64, 3]}}, "$.sampling.patch[2]"),
        ({"sampling": {"patch": [16, 64, 64], "context": 1}}, "$.sampling.context"),
        ({"sampling": {"patch": [16, 64, 64], "overlap": 0.95}}, "$.sampling.overlap"),
        ({"preprocessing": {"slice_spacing": "thin"}}, "$.preprocessing.slice_spacing"),
        (
            {"sampling": {}, "network": {}, "preprocessing": {"slice_spacing": 2.0}},
            "$.preprocessing.slice_spacing",
        ),
        (
            {
                "sampling": {"patch": [8, 16, 16]},
                "network": {"dimension": 3, "levels": 5, "norm": "instance"},
            },
            "$.network.norm",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_place(
    parts: dict[str, dict[str, Any]], place: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        made(**parts)
    assert caught.value.path == place
