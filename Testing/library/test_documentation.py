"""The documentation names what there is."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from DeepTranslateLib import recipe
from DeepTranslateLib.cli import parser
from DeepTranslateLib.recipe import recipe_from_json
from DeepTranslateLib.recipe.methods import is_read

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("Testing/**/*.md")])


def test_every_field_of_a_recipe_is_documented_with_its_possible_values():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    parts = [value for value in vars(recipe).values() if dataclasses.is_dataclass(value)]
    assert len(parts) > 10
    for part in parts:
        for field in dataclasses.fields(part):
            (row, *_) = re.findall(rf"^\| `{field.name}` .*$", page, re.MULTILINE) or [""]
            assert row, f"{part.__name__}.{field.name} is not in docs/recipes.md"
    for choice in dataclasses.fields(recipe.Method)[1].metadata["choices"]:
        assert f"`{choice}`" in page


def test_the_smallest_recipe_of_the_documentation_is_a_recipe():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert recipe_from_json(json.loads(example)).target.labels[0].name == "liver"


def test_the_table_of_adversarial_methods_says_which_fields_each_reads():
    page = (ROOT / "docs" / "adversarial.md").read_text(encoding="utf-8")
    (head,) = re.findall(r"^\| field \| (`pix2pix`.*) \|$", page, re.MULTILINE)
    methods = [cell.strip("` ") for cell in head.split("|")]
    said = {}
    for names, cells in re.findall(
        r"^\| (`(?:method|adversarial|structure|contrast)\.[a-z_0-9`, .]+) \|(.*)\|$",
        page,
        re.MULTILINE,
    ):
        first, *others = (name.strip("` ") for name in names.split(","))
        part = first.split(".")[0]
        for name in (first, *(f"{part}{other}" for other in others)):
            said[name] = [{"yes": True, "-": False}[cell.strip()] for cell in cells.split("|")]
    parts = {"adversarial": recipe.Adversarial, "structure": recipe.Structure}
    parts["contrast"] = recipe.Contrast
    wanted = [f"{name}.{f.name}" for name, cls in parts.items() for f in dataclasses.fields(cls)]
    assert sorted(said) == sorted([*wanted, "method.loss", "method.auto_context"])
    for name, row in said.items():
        assert row == [is_read(method, *name.split(".")) for method in methods], name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_to_files_that_exist(page: Path):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (commands,) = [a for a in parser()._actions if a.dest == "command"]
    assert commands.choices
    for name in commands.choices:
        assert re.search(rf"`(deeptranslate )?{name}\b", readme), name
