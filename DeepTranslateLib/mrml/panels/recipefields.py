"""Which editor a recipe's field has: made from the dataclass fields that hold the values."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from DeepTranslateLib.mrml.panels.fieldeditors import (
    ChoiceEditor,
    FieldEditor,
    FileEditor,
    FlagEditor,
    JsonLabel,
    ListEditor,
    NumberEditor,
    OnChange,
    OptionalEditor,
    RangeEditor,
    TextEditor,
    WholeEditor,
    WordOrNumberEditor,
    number,
    wholeNumber,
)

_ELEMENTS: dict[Any, Callable[[str], Any]] = {int: wholeNumber, float: number, str: str}


def titleOf(name: str) -> str:
    """Return a field's name as a person reads it: "batch_size" is "Batch size"."""
    text = name.replace("_", " ")
    text = text.removesuffix(" sd") + " SD" if text.endswith(" sd") else text
    return text if text.isupper() else text[:1].upper() + text[1:]


def editorFor(field: dataclasses.Field[Any], hint: Any, onChange: OnChange) -> FieldEditor | None:
    """Make the editor of a dataclass field; None where there is but one choice.

    A type that no editor is for is shown, and can be changed in the JSON.

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
    if _isFixed(field):
        return None
    make = _maker(field, kinds[0])
    if make is None or (len(kinds) > 1 and not field.metadata.get("choices")):
        return JsonLabel(onChange)
    if len(kinds) == len(options):
        return make(onChange)
    editor = OptionalEditor(onChange, make)
    editor.suggest(_suggestion(field, kinds[0]))
    return editor


def _maker(field: dataclasses.Field[Any], kind: Any) -> Callable[[OnChange], FieldEditor] | None:
    limits = field.metadata
    choices = limits.get("choices")
    if choices:
        return lambda changed: ChoiceEditor(changed, choices)
    if kind is bool:
        return FlagEditor
    if kind is int:
        usual = field.default if isinstance(field.default, int) else None
        return lambda changed: WholeEditor(
            changed, limits.get("minimum"), limits.get("maximum"), usual
        )
    if kind is float:
        return NumberEditor
    if kind is str and limits.get("suffixes"):
        return lambda changed: FileEditor(changed, limits["suffixes"])
    if kind is str:
        return TextEditor
    if typing.get_origin(kind) is tuple and typing.get_args(kind) == (float, float):
        return RangeEditor
    elements = set(typing.get_args(kind) if typing.get_origin(kind) is tuple else ())
    elements.discard(Ellipsis)
    if len(elements) == 1 and elements <= set(_ELEMENTS):
        (element,) = elements
        return lambda changed: ListEditor(changed, _ELEMENTS[element])
    return None


def _isFixed(field: dataclasses.Field[Any]) -> bool:
    """Tell whether there is but one value to choose."""
    choices = field.metadata.get("choices")
    return choices is not None and len(choices) == 1


def _suggestion(field: dataclasses.Field[Any], kind: Any) -> Any:
    """A value to begin with where the default is "none": the middle of what is usual."""
    usual = {
        "patience": 60,
        "ema": 0.99,
        "gradient_clip": 1.0,
        "keep_every": 10,
        "preview_every": 10,
        "ignore": 255,
        "patch": [32, 128, 128],
        "level": 0.3,
        "discriminator_rate": 1e-4,
        "layers": [0, 2, 3, 4, 8],
    }
    if field.name in usual:
        return usual[field.name]
    if typing.get_origin(kind) is tuple:
        return [-300.0, 300.0] if typing.get_args(kind) == (float, float) else []
    return field.metadata.get("minimum") or 1


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
