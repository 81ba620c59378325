"""Editors of single values: a widget to show, a value to fill it with, a word when it changes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from DeepTranslateLib.mrml.panels.filedialogs import fileToOpen

OnChange = Callable[[Any], None]
_LARGEST_WHOLE = 2**31 - 1
# From here on, single steps would be too small.
_LARGE = 100


class FieldEditor:
    """An editor of one value: `widget` to show, `setValue` to fill it; tells of each change.

    Subclasses call `_changed` with the value that the user made, or with an object that no recipe
    accepts, so that the recipe's own check says what is wrong.
    """

    widget: Any

    def __init__(self, onChange: OnChange) -> None:
        self._onChange = onChange
        self._filling = False

    def setValue(self, value: Any) -> None:
        """Show a value without telling of a change."""
        self._filling = True
        try:
            self._show(value)
        finally:
            self._filling = False

    def _show(self, value: Any) -> None:
        raise NotImplementedError

    def _changed(self, value: Any) -> None:
        if not self._filling:
            self._onChange(value)


class FlagEditor(FieldEditor):
    """True or false."""

    def __init__(self, onChange: OnChange) -> None:
        super().__init__(onChange)
        self.widget = qt.QCheckBox()
        self.widget.connect("toggled(bool)", self._changed)

    def _show(self, value: Any) -> None:
        self.widget.checked = bool(value)


class ChoiceEditor(FieldEditor):
    """One of the values that a field may take; another kind of value is shown, not offered."""

    def __init__(self, onChange: OnChange, choices: Sequence[Any]) -> None:
        super().__init__(onChange)
        self._choices = list(choices)
        self.widget = qt.QComboBox()
        self.widget.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.widget.addItems([str(choice).replace("_", " ") for choice in self._choices])
        self.widget.connect("currentIndexChanged(int)", self._chosen)

    def _chosen(self, index: int) -> None:
        if 0 <= index < len(self._choices):
            self._changed(self._choices[index])

    def _show(self, value: Any) -> None:
        while self.widget.count > len(self._choices):
            self.widget.removeItem(len(self._choices))
        if value not in self._choices:
            # A weighted sum of losses is no text, and changed in the JSON.
            text = (
                _("{value} (does not fit)")
                if isinstance(value, str)
                else _("{value} (under Advanced)")
            )
            self.widget.addItem(text.format(value=_short(value)))
        known = value in self._choices
        self.widget.currentIndex = self._choices.index(value) if known else len(self._choices)

    def offer(self, choices: Sequence[Any], value: Any) -> None:
        """Offer other choices and show a value, without telling of a change."""
        if list(choices) == self._choices:
            return
        self._filling = True
        self._choices = list(choices)
        self.widget.clear()
        self.widget.addItems([str(choice).replace("_", " ") for choice in self._choices])
        self._filling = False
        self.setValue(value)


class WholeEditor(FieldEditor):
    """A whole number within its limits; large ones go in larger steps."""

    def __init__(
        self,
        onChange: OnChange,
        minimum: float | None,
        maximum: float | None,
        usual: int | None = None,
    ) -> None:
        super().__init__(onChange)
        self.widget = qt.QSpinBox()
        self.widget.minimum = int(minimum) if minimum is not None else -_LARGEST_WHOLE
        self.widget.maximum = int(maximum) if maximum is not None else _LARGEST_WHOLE
        self.widget.singleStep = 10 if usual is not None and usual >= _LARGE else 1
        self.widget.connect("valueChanged(int)", self._changed)

    def _show(self, value: Any) -> None:
        self.widget.value = int(value)


class NumberEditor(FieldEditor):
    """Any number, kept to its last digit: a spin box would round a learning rate to 0.00."""

    def __init__(self, onChange: OnChange) -> None:
        super().__init__(onChange)
        self.widget = qt.QLineEdit()
        self.widget.connect("textChanged(QString)", lambda text: self._changed(number(text)))

    def _show(self, value: Any) -> None:
        self.widget.text = numberText(value)


class TextEditor(FieldEditor):
    """A line of text."""

    def __init__(self, onChange: OnChange) -> None:
        super().__init__(onChange)
        self.widget = qt.QLineEdit()
        self.widget.connect("textChanged(QString)", self._changed)

    def _show(self, value: Any) -> None:
        self.widget.text = str(value)


class FileEditor(FieldEditor):
    """A file's path, typed or chosen.

    Args:
        onChange: Called with the path at each change.
        suffixes: Of the files to choose from.

    Attributes:
        edit: The QLineEdit of the path.
        button: Asks for a file.
        onChosen: Called with the path of a file that was chosen, after `onChange`.
    """

    def __init__(self, onChange: OnChange, suffixes: Sequence[str]) -> None:
        super().__init__(onChange)
        self.onChosen: Callable[[str], None] = lambda path: None
        self._filter = " ".join(f"*{suffix}" for suffix in suffixes)
        self.widget = qt.QWidget()
        row = qt.QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self.edit = qt.QLineEdit()
        self.edit.connect("textChanged(QString)", self._changed)
        self.button = qt.QToolButton()
        self.button.text = "..."
        self.button.toolTip = _("Choose a file")
        self.button.connect("clicked()", self._ask)
        row.addWidget(self.edit)
        row.addWidget(self.button)

    def _ask(self) -> None:
        path = fileToOpen(
            self.widget, _("File"), self.edit.text, _("Files ({names})").format(names=self._filter)
        )
        if path:
            self.edit.text = path
            self.onChosen(path)

    def _show(self, value: Any) -> None:
        self.edit.text = str(value)


class RangeEditor(FieldEditor):
    """A lower and an upper number."""

    def __init__(self, onChange: OnChange) -> None:
        super().__init__(onChange)
        self.widget = qt.QWidget()
        row = qt.QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self.low, self.high = qt.QLineEdit(), qt.QLineEdit()
        row.addWidget(self.low)
        row.addWidget(qt.QLabel(_("to")))
        row.addWidget(self.high)
        for edit in (self.low, self.high):
            edit.connect("textChanged(QString)", self._edited)

    def _edited(self, text: str) -> None:
        self._changed([number(self.low.text), number(self.high.text)])

    def _show(self, value: Any) -> None:
        self.low.text, self.high.text = numberText(value[0]), numberText(value[1])


class OptionalEditor(FieldEditor):
    """A value that may be absent: a check box says whether there is one."""

    def __init__(self, onChange: OnChange, make: Callable[[OnChange], FieldEditor]) -> None:
        super().__init__(onChange)
        self._value: Any = None
        self.editor = make(self._edited)
        self.widget = qt.QWidget()
        row = qt.QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self.check = qt.QCheckBox()
        row.addWidget(self.check)
        row.addWidget(self.editor.widget, 1)
        self.editor.widget.enabled = False
        self.check.connect("toggled(bool)", self._toggled)

    def _toggled(self, on: bool) -> None:
        self.editor.widget.enabled = on
        self._changed(self._value if on else None)

    def _edited(self, value: Any) -> None:
        self._value = value
        self._changed(value if self.check.checked else None)

    def _show(self, value: Any) -> None:
        self.check.checked = value is not None
        self.editor.widget.enabled = value is not None
        if value is not None:
            self._value = value
        if self._value is not None:
            self.editor.setValue(self._value)

    def suggest(self, value: Any) -> None:
        """Set what is offered when the box is checked for the first time."""
        self._value = value
        self.editor.setValue(value)


class WordOrNumberEditor(FieldEditor):
    """Nothing, the word "auto", or a number."""

    def __init__(self, onChange: OnChange) -> None:
        super().__init__(onChange)
        self.widget = qt.QWidget()
        row = qt.QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self.combo = qt.QComboBox()
        self.combo.addItems([_("automatic"), _("as each image"), _("fixed")])
        self.edit = qt.QLineEdit()
        self.edit.text = "1"
        self.edit.enabled = False
        row.addWidget(self.combo, 1)
        row.addWidget(self.edit)
        self.combo.connect("currentIndexChanged(int)", self._edited)
        self.edit.connect("textChanged(QString)", self._edited)

    def _edited(self, value: Any) -> None:
        fixed = self.combo.currentIndex == 2
        self.edit.enabled = fixed
        self._changed(number(self.edit.text) if fixed else ("auto", None)[self.combo.currentIndex])

    def _show(self, value: Any) -> None:
        fixed = isinstance(value, (int, float))
        self.combo.currentIndex = 2 if fixed else 1 if value is None else 0
        self.edit.enabled = fixed
        if fixed:
            self.edit.text = numberText(value)


class ListEditor(FieldEditor):
    """Several whole numbers, numbers or words, with commas between them.

    Args:
        onChange: Called with the list.
        read: Makes an element of its text.
    """

    def __init__(self, onChange: OnChange, read: Callable[[str], Any]) -> None:
        super().__init__(onChange)
        self._read = read
        self.widget = qt.QLineEdit()
        self.widget.placeholderText = _("with commas between them")
        self.widget.connect("textChanged(QString)", self._edited)

    def _edited(self, text: str) -> None:
        self._changed([self._read(part.strip()) for part in text.split(",") if part.strip()])

    def _show(self, value: Any) -> None:
        self.widget.text = ", ".join(numberText(element) for element in value)


class JsonLabel(FieldEditor):
    """What no form can edit: its JSON, and where it can be changed. It tells of no change."""

    def __init__(self, onChange: OnChange) -> None:
        super().__init__(onChange)
        self.widget = qt.QLabel()
        self.widget.wordWrap = True

    def _show(self, value: Any) -> None:
        self.widget.text = _("{value} (change it under Advanced)").format(value=_short(value))


def number(text: str) -> Any:
    """Return the number that a text is; the text itself where it is none, for the check to name."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def numberText(value: Any) -> str:
    """Return a number as short as it can be read back, such as "0.001" or "30"."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def wholeNumber(text: str) -> Any:
    """Return the whole number that a text is; the text itself where it is none."""
    try:
        return int(text)
    except ValueError:
        return text


def _short(value: Any) -> str:
    """JSON of a value, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
