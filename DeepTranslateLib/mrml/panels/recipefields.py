"""Editors of single values of a recipe, made from the dataclass fields that hold them."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

OnChange = Callable[[Any], None]
_LARGEST_WHOLE = 2**31 - 1


def titleOf(name: str) -> str:
    """Return a field's name as a person reads it: "batch_size" is "Batch size"."""
    text = name.replace("_", " ")
    return text if text.isupper() else text[:1].upper() + text[1:]


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
    """One of the values that a field may take."""

    def __init__(self, onChange: OnChange, choices: Sequence[str]) -> None:
        super().__init__(onChange)
        self._choices = list(choices)
        self.widget = qt.QComboBox()
        self.widget.addItems([choice.replace("_", " ") for choice in self._choices])
        self.widget.connect("currentIndexChanged(int)", self._chosen)

    def _chosen(self, index: int) -> None:
        if index >= 0:
            self._changed(self._choices[index])

    def _show(self, value: Any) -> None:
        self.widget.currentIndex = self._choices.index(value) if value in self._choices else -1


class WholeEditor(FieldEditor):
    """A whole number within its limits."""

    def __init__(self, onChange: OnChange, minimum: float | None, maximum: float | None) -> None:
        super().__init__(onChange)
        self.widget = qt.QSpinBox()
        self.widget.minimum = int(minimum) if minimum is not None else -_LARGEST_WHOLE
        self.widget.maximum = int(maximum) if maximum is not None else _LARGEST_WHOLE
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


def editorFor(field: dataclasses.Field[Any], hint: Any, onChange: OnChange) -> FieldEditor | None:
    """Make the editor of a dataclass field; None where there is nothing to choose.

    Args:
        field: With the limits that `schema.limits` gave it.
        hint: Its resolved annotation.
        onChange: Called with the JSON value that the user made.
    """
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (typing.Union, types.UnionType)
        else (hint,)
    )
    kinds = [option for option in options if option is not type(None)]
    if str in kinds and float in kinds:
        return WordOrNumberEditor(onChange)
    make = _maker(field, kinds[0])
    if make is None:
        return None
    if len(kinds) == len(options):
        return make(onChange)
    editor = OptionalEditor(onChange, make)
    editor.suggest(_suggestion(field, kinds[0]))
    return editor


def _maker(field: dataclasses.Field[Any], kind: Any) -> Callable[[OnChange], FieldEditor] | None:
    limits = field.metadata
    choices = limits.get("choices")
    if choices:
        return (lambda changed: ChoiceEditor(changed, choices)) if len(choices) > 1 else None
    if kind is bool:
        return FlagEditor
    if kind is int:
        return lambda changed: WholeEditor(changed, limits.get("minimum"), limits.get("maximum"))
    if kind is float:
        return NumberEditor
    if kind is str:
        return TextEditor
    if typing.get_origin(kind) is tuple and typing.get_args(kind) == (float, float):
        return RangeEditor
    return None


def _suggestion(field: dataclasses.Field[Any], kind: Any) -> Any:
    """A value to begin with where the default is "none": the middle of what is usual."""
    usual = {
        "patience": 60,
        "ema": 0.99,
        "gradient_clip": 1.0,
        "keep_every": 10,
        "ignore": 255,
    }
    if field.name in usual:
        return usual[field.name]
    if typing.get_origin(kind) is tuple:
        return [-300.0, 300.0]
    return field.metadata.get("minimum") or 1


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


def tipOf(field: dataclasses.Field[Any]) -> str:
    """Return what a field's tool tip says: its help, unit, and what is possible."""
    limits = field.metadata
    parts = [limits.get("help", "")]
    low, high = limits.get("minimum"), limits.get("maximum")
    unit = f" {limits['unit']}" if limits.get("unit") else ""
    if low is not None and high is not None:
        parts.append(
            _("From {low:g} to {high:g}{unit}.").format(low=float(low), high=float(high), unit=unit)
        )
    elif low is not None:
        parts.append(_("At least {low:g}{unit}.").format(low=float(low), unit=unit))
    return " ".join(part for part in parts if part)
