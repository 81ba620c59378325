"""A recipe turned round: what is read and what is made change places."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from DeepTranslateLib.recipe import (
    BACKWARD,
    FORWARD,
    Recipe,
    RecipeError,
    builtin_recipes,
    in_direction,
    read_recipe,
    recipe_from_json,
)
from DeepTranslateLib.schema import to_json

MARKS = [float(10 * n) for n in range(11)]


def mr_to_ct(**parts: dict[str, Any]) -> Recipe:
    """Each field that has a side has a value of its own."""
    content: dict[str, Any] = {
        "target": {"kind": "volume", "units": "HU", "modality": "CT", "range": [-1000, 2000]},
        "preprocessing": {
            "window": [-5, 120],
            "standardisation": "histogram",
            "landmarks": MARKS,
            "spacing": 1.5,
        },
        "network": {"name": "resnet", "levels": 3},
        "method": {"name": "cyclegan", "loss": "mae"},
        "training": {"monitor": "last"},
    }
    for part, fields in parts.items():
        content[part] = {**content.get(part, {}), **fields}
    content["inputs"] = [{"name": "T1", "modality": "MR", "units": ""}]
    return recipe_from_json({"name": "turned", **content})


def ct_to_mr(**preprocessing: Any) -> Recipe:
    return recipe_from_json(
        {
            "name": "turned",
            "inputs": [{"name": "CT", "modality": "CT", "units": "HU"}],
            "target": {
                "kind": "volume",
                "modality": "MR",
                "range": [-1, 2],
                "standardisation": "percentiles",
            },
            "preprocessing": {"window": [-100, 200], **preprocessing},
            "network": {"name": "resnet", "levels": 3},
            "method": {"name": "cyclegan", "loss": "mae"},
            "training": {"monitor": "last"},
        }
    )


def test_backward_the_target_is_read_and_the_input_is_made() -> None:
    turned = in_direction(mr_to_ct(), BACKWARD)
    (read,) = turned.inputs
    assert (read.modality, read.units) == ("CT", "HU")
    assert turned.preprocessing.window == (-1000, 2000)
    assert (turned.preprocessing.standardisation, turned.preprocessing.landmarks) == ("none", None)
    made = turned.target
    assert (made.kind, made.modality, made.units, made.range) == ("volume", "MR", "", (-5, 120))
    assert (made.standardisation, made.landmarks) == ("histogram", tuple(MARKS))
    # The rest has no side.
    kept = ("sampling", "network", "method", "adversarial", "optimizer", "augmentation", "training")
    assert all(getattr(turned, part) == getattr(mr_to_ct(), part) for part in kept)
    assert turned.preprocessing.spacing == 1.5


def test_forward_it_is_the_recipe_itself() -> None:
    assert (
        in_direction(mr_to_ct(), FORWARD) is mr_to_ct()
        or in_direction(mr_to_ct(), FORWARD) == mr_to_ct()
    )


@pytest.mark.parametrize(
    "recipe", [mr_to_ct(), ct_to_mr(), mr_to_ct(preprocessing={"mask": "body"})]
)
def test_turned_twice_a_recipe_is_what_it_was(recipe: Recipe) -> None:
    assert in_direction(in_direction(recipe, BACKWARD), BACKWARD) == recipe


def test_turned_twice_only_what_is_documented_is_lost() -> None:
    def twice(recipe: Recipe) -> Recipe:
        return in_direction(in_direction(recipe, BACKWARD), BACKWARD)

    def with_preprocessing(recipe: Recipe, **changes: Any) -> Recipe:
        return dataclasses.replace(
            recipe, preprocessing=dataclasses.replace(recipe.preprocessing, **changes)
        )

    corrected = mr_to_ct(preprocessing={"bias_correction": True})
    assert not in_direction(corrected, BACKWARD).preprocessing.bias_correction
    assert twice(corrected) == with_preprocessing(corrected, bias_correction=False)
    brain = mr_to_ct(preprocessing={"mask": "brain"})
    assert in_direction(brain, BACKWARD).preprocessing.mask == "body"
    assert twice(brain) == with_preprocessing(brain, mask="body")
    cropped = ct_to_mr(body_crop=True)
    turned = in_direction(cropped, BACKWARD).preprocessing
    assert (turned.body_crop, turned.mask) == (False, "body")
    assert twice(cropped) == with_preprocessing(cropped, body_crop=False, mask="body")


def test_between_two_ct_the_crop_to_the_body_stays() -> None:
    recipe = recipe_from_json(
        {
            "name": "ct",
            "inputs": [{"name": "image", "modality": "CT", "units": "HU"}],
            "target": {"kind": "volume", "units": "HU", "modality": "CT", "range": [-900, 900]},
            "preprocessing": {"window": [-1000, 1000], "body_crop": True},
            "method": {"name": "cyclegan", "loss": "mae"},
            "training": {"monitor": "last"},
        }
    )
    turned = in_direction(recipe, BACKWARD)
    assert turned.preprocessing.body_crop
    assert turned.preprocessing.mask == "none"
    assert in_direction(turned, BACKWARD) == recipe


def unpaired() -> list[str]:
    named = {name: read_recipe(path) for name, path in builtin_recipes().items()}
    return [name for name, recipe in named.items() if recipe.is_unpaired]


@pytest.mark.parametrize("name", unpaired())
def test_built_in_recipes_are_valid_both_ways(name: str) -> None:
    recipe = read_recipe(builtin_recipes()[name])
    turned = in_direction(recipe, BACKWARD)
    assert recipe_from_json(to_json(turned)) == turned


@pytest.mark.parametrize(
    "recipe",
    [
        mr_to_ct(preprocessing={"mask": "brain", "bias_correction": True}),
        mr_to_ct(preprocessing={"mask": "body"}),
        ct_to_mr(body_crop=True),
        ct_to_mr(mask="body"),
    ],
)
def test_a_turned_recipe_is_a_valid_one(recipe: Recipe) -> None:
    turned = in_direction(recipe, BACKWARD)
    assert recipe_from_json(to_json(turned)) == turned


def test_other_directions_and_recipes_without_a_way_back_are_refused() -> None:
    with pytest.raises(RecipeError, match="source-to-target or target-to-source, found 'back'"):
        in_direction(mr_to_ct(), "back")
    labels = recipe_from_json(
        {"name": "labels", "target": {"kind": "labels", "labels": [{"value": 1, "name": "fat"}]}}
    )
    unbounded = recipe_from_json(
        {
            "name": "unbounded",
            "target": {"kind": "volume", "range": [0, 1]},
            "method": {"loss": "mae"},
        }
    )
    for recipe in (labels, unbounded):
        with pytest.raises(RecipeError, match="no images of the input's kind"):
            in_direction(recipe, BACKWARD)
        assert in_direction(recipe, FORWARD) == recipe
