"""The recipe form shows what means something for the recipe, and offers what it would accept."""

import json

import pytest
import slicer

from DeepTranslateLib.mrml.panels.relevantfields import _MEANINGFUL
from DeepTranslateLib.recipe import RecipeError, builtin_recipes, read_recipe, recipe_from_json
from DeepTranslateLib.recipe.learning import Method, Training
from DeepTranslateLib.schema import to_json


@pytest.fixture
def recipes(panel):
    widget = panel("DeepTranslateTrain")
    widget.builder.clear()
    for group in widget.recipes.form.groups.values():
        group.collapsed = False
    yield widget.recipes
    widget.recipes.setRecipe(read_recipe("ct-body-composition"))


def changed(name, **changes):
    content = to_json(read_recipe(name))
    for part, fields in changes.items():
        content[part].update(fields)
    return content


def show(recipes, name, **changes):
    recipes.setJsonText(json.dumps(changed(name, **changes)))
    slicer.app.processEvents()


def isShown(recipes, *place):
    return recipes.form.editors[place].widget.visible


@pytest.mark.parametrize(
    ("name", "changes", "shown", "hidden"),
    [
        (
            "ct-body-composition",
            {},
            [
                ("preprocessing", "body_crop"),
                ("preprocessing", "body_margin"),
                ("target", "ignore"),
            ],
            [
                ("target", "units"),
                ("target", "range"),
                ("sampling", "overlap"),
                ("preprocessing", "bias_correction"),
                ("network", "residual"),
                ("noise", "kind"),
                ("augmentation", "tilt"),
                ("training", "frozen_epochs"),
            ],
        ),
        (
            "ct-body-composition",
            {"augmentation": {"flip_left_right": 0, "flip_up_down": 0}},
            [("sampling", "fusion"), ("augmentation", "flip_up_down")],
            [("sampling", "mirror"), ("augmentation", "flip_slices")],
        ),
        (
            "ct-denoise",
            {},
            [
                ("noise", "level"),
                ("network", "residual"),
                ("target", "range"),
                ("optimizer", "beta1"),
            ],
            [("target", "ignore"), ("sampling", "foreground_weight"), ("target", "landmarks")],
        ),
        (
            "mr-t1-to-t2",
            {"preprocessing": {"standardisation": "histogram", "window": [0, 1]}},
            [
                ("preprocessing", "landmarks"),
                ("preprocessing", "bias_correction"),
                ("preprocessing", "body_margin"),
                ("target", "standardisation"),
            ],
            [("preprocessing", "body_crop"), ("target", "landmarks"), ("noise", "level")],
        ),
        (
            "ct-body-composition",
            {
                "network": {"dimension": 3, "norm": "instance"},
                "sampling": {"patch": [16, 32, 32]},
                "optimizer": {"name": "sgd"},
                "training": {"frozen": "encoder"},
            },
            [
                ("sampling", "overlap"),
                ("sampling", "mirror"),
                ("preprocessing", "slice_spacing"),
                ("augmentation", "tilt"),
                ("optimizer", "momentum"),
                ("training", "frozen_epochs"),
            ],
            [
                ("sampling", "context"),
                ("sampling", "fusion"),
                ("network", "blocks"),
                ("optimizer", "beta1"),
            ],
        ),
    ],
)
def test_fields_without_a_meaning_are_hidden(recipes, name, changes, shown, hidden):
    show(recipes, name, **changes)
    assert recipes.problem == ""
    assert [place for place in shown if not isShown(recipes, *place)] == []
    assert [place for place in hidden if isShown(recipes, *place)] == []


def test_a_field_that_an_error_speaks_of_is_shown(recipes):
    show(recipes, "ct-body-composition")
    editors = recipes.form.editors
    assert not isShown(recipes, "optimizer", "momentum")
    names = editors[("optimizer", "name")].widget
    names.currentIndex = names.findText("sgd")
    editors[("optimizer", "momentum")].widget.text = "0.9"
    names.currentIndex = names.findText("adam")
    assert "$.optimizer.momentum" in recipes.problemLabel.text
    assert isShown(recipes, "optimizer", "momentum")
    # It stays under the user's hands, and goes when something else is changed.
    editors[("optimizer", "momentum")].widget.text = "0"
    assert recipes.problem == ""
    assert isShown(recipes, "optimizer", "momentum")
    editors[("training", "epochs")].widget.value = 7
    assert not isShown(recipes, "optimizer", "momentum")


def test_a_recipe_of_slices_becomes_one_of_patches_in_the_form(recipes):
    show(recipes, "ct-body-composition")
    editors = recipes.form.editors
    editors[("network", "dimension")].widget.value = 3
    assert "sampling.patch" in recipes.problemLabel.text
    patch = editors[("sampling", "patch")]
    patch.check.checked = True
    patch.editor.widget.text = "8, 64, 48"
    assert recipes.problem == ""
    assert recipes.recipe().sampling.patch == (8, 64, 48)
    assert isShown(recipes, "preprocessing", "slice_spacing")


@pytest.mark.parametrize("name", sorted(builtin_recipes()))
def test_what_is_offered_is_what_the_recipe_accepts(recipes, name):
    show(recipes, name)
    for part, field, cls in (("method", "loss", Method), ("training", "monitor", Training)):
        combo = recipes.form.editors[(part, field)].widget
        offered = {combo.itemText(index).replace(" ", "_") for index in range(combo.count)}
        choices = cls.__dataclass_fields__[field].metadata["choices"]
        for choice in set(choices) - {"total_variation"}:
            try:
                recipe_from_json(changed(name, **{part: {field: choice}}))
                accepted = True
            except RecipeError:
                accepted = False
            assert (choice in offered) == accepted, choice


def test_every_field_that_may_be_hidden_is_in_the_form(recipes):
    assert set(_MEANINGFUL) <= set(recipes.form.editors)


def test_a_choice_that_does_not_fit_is_shown_as_such_and_can_be_mended(recipes):
    show(recipes, "ct-denoise")
    monitors = recipes.form.editors[("training", "monitor")].widget
    monitors.currentIndex = monitors.findText("psnr")
    assert recipes.recipe().training.monitor == "psnr"
    content = changed("ct-body-composition", training={"monitor": "psnr"})
    recipes._setContent(content)
    assert "$.training.monitor" in recipes.problemLabel.text
    combo = recipes.form.editors[("training", "monitor")].widget
    assert "does not fit" in combo.currentText
    combo.currentIndex = 0
    assert recipes.recipe().training.monitor == "loss"


def test_the_chooser_begins_with_the_recipe_that_the_tutorial_uses(recipes):
    names = ["ct-body-composition", "ct-body-composition-best", "ct-denoise"]
    shown = [recipes.combo.itemText(index) for index in range(3)]
    assert shown == [read_recipe(name).title for name in names]


def test_a_section_that_is_opened_shows_what_has_a_meaning_alone(recipes):
    show(recipes, "ct-body-composition")
    group = recipes.form.groups["Images"]
    group.collapsed = True
    show(recipes, "ct-denoise")
    assert not isShown(recipes, "preprocessing", "window")
    group.collapsed = False
    assert isShown(recipes, "preprocessing", "window")
    assert isShown(recipes, "target", "range")
    assert not isShown(recipes, "target", "ignore")
    assert not isShown(recipes, "sampling", "foreground_weight")
