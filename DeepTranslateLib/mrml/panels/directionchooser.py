"""DirectionChooser: which way a model translates that has learnt both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from DeepTranslateLib.model import Model
from DeepTranslateLib.recipe import DIRECTIONS, FORWARD, Recipe, names_of_sides


class DirectionChooser:
    """A combo box with both ways; hidden for a model that has one.

    Args:
        parentLayout: Layout that the widget is added to.
        onChanged: Called after the user has chosen another way.
    """

    def __init__(self, parentLayout: Any, onChanged: Callable[[], None]) -> None:
        self._onChanged = onChanged
        self._ways: dict[str, Model] = {}
        self._filling = False
        self.widget = qt.QWidget()
        row = qt.QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(qt.QLabel(_("Direction:")))
        self.comboBox = qt.QComboBox()
        self.comboBox.objectName = "directionComboBox"
        self.comboBox.toolTip = _("The model has learnt both ways. Which one is meant now.")
        row.addWidget(self.comboBox, 1)
        self.widget.visible = False
        parentLayout.addWidget(self.widget)
        self.comboBox.connect("currentIndexChanged(int)", self._chosen)

    @property
    def model(self) -> Model | None:
        """The model in the chosen direction, or None without a model."""
        return self._ways.get(self.direction)

    @property
    def direction(self) -> str:
        """One of the recipe's `DIRECTIONS`."""
        return DIRECTIONS[max(0, self.comboBox.currentIndex)]

    def setModel(self, model: Model | None, direction: str = FORWARD) -> None:
        """Offer the ways of a model.

        Args:
            model: As it was read from its file.
            direction: The one to choose; one that the model has not is the first.
        """
        ways = () if model is None else model.directions
        self._ways = {} if model is None else {each: model.in_direction(each) for each in ways}
        self._filling = True
        self.comboBox.clear()
        if model is not None:
            for each in ways:
                self.comboBox.addItem(directionText(model.recipe, each))
            self.comboBox.currentIndex = ways.index(direction) if direction in ways else 0
        self._filling = False
        self.widget.visible = len(ways) > 1

    def _chosen(self, index: int) -> None:
        if not self._filling:
            self._onChanged()


def sideTexts(recipe: Recipe) -> tuple[str, str]:
    """What a recipe reads and what it makes, as a person calls them."""
    words = {"source": _("source"), "target": _("target")}
    source, target = names_of_sides(recipe)
    return words.get(source, source), words.get(target, target)


def directionText(recipe: Recipe, direction: str = FORWARD) -> str:
    """A way as a person calls it, such as "MR to CT".

    Args:
        recipe: As it was trained.
        direction: Of it.
    """
    first, last = sideTexts(recipe)
    if direction != FORWARD:
        first, last = last, first
    return _("{first} to {last}").format(first=first, last=last)
