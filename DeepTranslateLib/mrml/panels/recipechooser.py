"""RecipeChooser: a recipe to begin with, its fields as a form and as JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from DeepTranslateLib.mrml.panels.filedialogs import fileToOpen, fileToSave
from DeepTranslateLib.mrml.panels.recipeform import Place, RecipeForm
from DeepTranslateLib.mrml.segmentlabels import labelsOf, plainName
from DeepTranslateLib.recipe import (
    Recipe,
    RecipeError,
    builtin_recipes,
    read_recipe,
    recipe_from_json,
    write_recipe,
)
from DeepTranslateLib.schema import SchemaError, decode_json, to_json


class RecipeChooser:
    """Chooser, form and JSON of one recipe.

    The JSON in `content` is the truth; form and text show it. While it holds something impossible,
    `problem` says what and where, and there is no recipe.

    Args:
        parentLayout: Layout that everything is added to.
        onChange: Called without arguments when the recipe changed, also into an impossible one.
        segments: Returns the segments at hand, for the editor of labels.
    """

    def __init__(
        self,
        parentLayout: Any,
        onChange: Callable[[], None],
        segments: Callable[[], list[Any]],
    ) -> None:
        self._onChange = onChange
        self._filling = False
        self._segments = segments
        self._taken: set[str] = set()
        self._names = list(builtin_recipes())
        self.problem = ""
        self._makeChooser(parentLayout)
        self.problemLabel = qt.QLabel()
        self.problemLabel.objectName = "recipeProblemLabel"
        self.problemLabel.wordWrap = True
        self.problemLabel.styleSheet = "color: #b00020;"
        self.problemLabel.visible = False
        parentLayout.addWidget(self.problemLabel)
        self.form = RecipeForm(parentLayout, self._fieldEdited, segments)
        self._makeText()
        self.content: dict[str, Any] = {}
        self._recipe: Recipe | None = None
        self.setRecipe(read_recipe(self._names[0]))

    def _makeChooser(self, parentLayout: Any) -> None:
        row = qt.QHBoxLayout()
        parentLayout.addLayout(row)
        self.combo = qt.QComboBox()
        self.combo.objectName = "recipeCombo"
        for name in self._names:
            self.combo.addItem(read_recipe(name).title or name)
        row.addWidget(self.combo, 1)
        self.fileButton = qt.QPushButton(_("From file..."))
        self.fileButton.objectName = "recipeFileButton"
        self.saveButton = qt.QPushButton(_("Save..."))
        self.saveButton.objectName = "recipeSaveButton"
        self.saveButton.toolTip = _("Save the recipe as a file, for another time or another place.")
        row.addWidget(self.fileButton)
        row.addWidget(self.saveButton)
        self.description = qt.QLabel()
        self.description.objectName = "recipeDescription"
        self.description.wordWrap = True
        parentLayout.addWidget(self.description)
        self.combo.connect("activated(int)", self._chosen)
        self.fileButton.connect("clicked()", self._askForFile)
        self.saveButton.connect("clicked()", self._askWhereToSave)

    def _makeText(self) -> None:
        self.advanced = ctk.ctkCollapsibleButton()
        self.advanced.text = _("Advanced: the whole recipe as JSON")
        self.advanced.objectName = "recipeAdvancedGroup"
        column = qt.QVBoxLayout(self.advanced)
        self.text = qt.QPlainTextEdit()
        self.text.objectName = "recipeText"
        self.text.setLineWrapMode(qt.QPlainTextEdit.NoWrap)
        self.text.minimumHeight = 220
        font = self.text.font
        font.setFamily("monospace")
        self.text.font = font
        column.addWidget(self.text)
        self.form.widget.layout().addWidget(self.advanced)
        self.advanced.collapsed = True
        self.text.connect("textChanged()", self._textEdited)

    def recipe(self) -> Recipe:
        """Return the recipe.

        Raises:
            RecipeError: What is shown holds something impossible.
        """
        if self._recipe is None:
            raise RecipeError("$", self.problem.removeprefix("$: "))
        return self._recipe

    def setRecipe(self, recipe: Recipe) -> None:
        """Show a recipe."""
        self._taken.clear()
        self._setContent(to_json(recipe))

    def setNetworkOf(self, other: Recipe) -> None:
        """Take the network of another recipe, and what it sees, into the one that is shown."""
        seen = {"context": other.sampling.context, "patch": to_json(other.sampling.patch)}
        sampling = {**self.content["sampling"], **seen}
        network = to_json(other.network)
        self._setContent({**self.content, "network": network, "sampling": sampling})

    def takeNewSegments(self) -> None:
        """Give a recipe that is configured from the images a label for each new segment.

        One that was taken before and is not there now was removed by the user, and stays away.
        """
        recipe = self._recipe
        if recipe is None or recipe.is_configured or recipe.target.kind != "labels":
            return
        segments = self._segments()
        labels = labelsOf(segments, recipe.target.labels, self._taken)
        self._taken.update(plainName(segment.name) for segment in segments)
        if labels:
            target = {**self.content["target"]}
            target["labels"] = to_json((*recipe.target.labels, *labels))
            self._setContent({**self.content, "target": target})

    def jsonText(self) -> str:
        """Return the recipe's JSON as it is shown, also while something in it is impossible."""
        return self.text.plainText

    def setJsonText(self, text: str) -> None:
        """Show JSON that `jsonText` returned."""
        self._filling = True
        self.text.plainText = text
        self._filling = False
        self._textEdited()

    def readFile(self, path: str | Path) -> None:
        """Show the recipe in a file; what is wrong with it is shown instead of an exception."""
        try:
            self.setRecipe(read_recipe(path))
        except (SchemaError, OSError) as error:
            self._setProblem(str(error))

    def _chosen(self, index: int) -> None:
        if index < len(self._names):
            self.setRecipe(read_recipe(self._names[index]))

    def _askForFile(self) -> None:
        path = fileToOpen(self.combo, _("Recipe"), "", _("Recipes (*.json);;All files (*)"))
        if path:
            self.readFile(path)

    def _askWhereToSave(self) -> None:
        recipe = self._recipe
        if recipe is None:
            return
        path = fileToSave(
            self.combo, _("Save recipe"), f"{recipe.name}.json", _("Recipes (*.json)")
        )
        if path:
            try:
                write_recipe(recipe, path)
            except OSError as error:
                self._setProblem(str(error))

    def _setContent(self, content: dict[str, Any]) -> None:
        self.content = content
        self._filling = True
        self.form.setContent(content)
        self._filling = False
        self._fillText()
        self._check()

    def _fieldEdited(self, place: Place, value: Any) -> None:
        if self._filling:
            return
        content = copy.deepcopy(self.content)
        parent: Any = content
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = value
        self.content = content
        self.form.adapt(content, place)
        self._fillText()
        self._check()

    def _textEdited(self) -> None:
        if self._filling:
            return
        try:
            content = decode_json(self.text.plainText.encode(), _("the text"))
            recipe = recipe_from_json(content)
        except SchemaError as error:
            self._recipe = None
            self._setProblem(str(error))
            self._onChange()
            return
        self.content = to_json(recipe)
        self._filling = True
        self.form.setContent(self.content)
        self._filling = False
        self._check()

    def _fillText(self) -> None:
        self._filling = True
        self.text.plainText = json.dumps(self.content, indent=2)
        self._filling = False

    def _check(self) -> None:
        try:
            self._recipe = recipe_from_json(self.content)
            self._setProblem("")
            self._describe(self._recipe)
        except SchemaError as error:
            self._recipe = None
            self._setProblem(str(error))
        self._onChange()

    def _describe(self, recipe: Recipe) -> None:
        self.description.text = recipe.description
        self.description.visible = bool(recipe.description)
        self.description.toolTip = recipe.reference
        index = self._names.index(recipe.name) if recipe.name in self._names else -1
        changed = index < 0 or read_recipe(self._names[index]) != recipe
        self.combo.blockSignals(True)
        while self.combo.count > len(self._names):
            self.combo.removeItem(len(self._names))
        if changed:
            title = recipe.title or recipe.name
            own = _("{title} (changed)").format(title=title) if index >= 0 else title
            self.combo.addItem(own)
            index = len(self._names)
        self.combo.currentIndex = index
        self.combo.blockSignals(False)

    def _setProblem(self, text: str) -> None:
        self.problem = text
        self.problemLabel.text = text
        self.problemLabel.visible = bool(text)
