"""Each built-in recipe has a page whose values are those of its file and whose commands exist."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from DeepTranslateLib.cli import parser
from DeepTranslateLib.recipe import builtin_recipes, read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "recipes"
NAMES = sorted(builtin_recipes())
COMMANDS = [
    (page.name, line.strip())
    for page in sorted(FOLDER.glob("*.md"))
    for line in page.read_text(encoding="utf-8").splitlines()
    if line.startswith("    deeptranslate ")
]


def page(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_has_a_page_that_the_index_names(name):
    assert page(name).startswith(f"# {name}\n")
    assert f"[{name}]({name}.md)" in page("README")
    assert read_recipe(name).name == name
    assert re.search(rf"deeptranslate train .*--recipe {name}\b", page(name))
    for heading in ("## The cohort", "## Running it", "## Choices"):
        assert heading in page(name)


def test_every_page_is_of_a_recipe():
    assert sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "README") == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_values_on_the_page_are_those_of_the_recipe(name):
    content = to_json(read_recipe(name))
    rows = re.findall(r"^\| `([a-z_.]+)` \| `(.+?)` \| .+ \|$", page(name), re.MULTILINE)
    assert len(rows) >= 2
    for field, text in rows:
        value = content
        for part in field.split("."):
            value = value[part]
        assert json.loads(text) == value, field


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_what_a_page_asks_to_save_as_a_recipe_is_one(path):
    for text in re.findall(r"```json\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        assert recipe_from_json(json.loads(text)).is_configured


@pytest.mark.parametrize(("where", "line"), COMMANDS)
def test_every_command_on_the_pages_can_be_given(where, line):
    _command, *arguments = shlex.split(line)
    try:
        options = parser().parse_args(arguments)
    except SystemExit:
        pytest.fail(f"{where}: {line}")
    assert isinstance(options, argparse.Namespace)
    recipe = getattr(options, "recipe", None)
    if recipe is not None and not str(recipe).endswith(".json"):
        assert recipe in NAMES
