"""Typed JSON: frozen dataclasses to and from JSON, with the path of whatever is wrong.

Used for recipes, model cards and cohort files. A dataclass says what is possible with its
annotations and with `limits` on its fields; `from_json` refuses unknown fields, wrong types and
impossible values, and names the place as a JSON path such as `$.network.levels`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class SchemaError(ValueError):
    """A value in a JSON document is missing, unknown or impossible.

    Attributes:
        path: JSON path of the fault, such as `$.target.labels[2].value`.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


def limits(
    default: Any = dataclasses.MISSING,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[Any] | None = None,
    unit: str = "",
    suffixes: Sequence[str] = (),
    help: str = "",
) -> Any:
    """A dataclass field with the values it may take.

    Args:
        default: The documented default; without one the field is required.
        minimum: Smallest value allowed, inclusive; for a tuple, of each element.
        maximum: Largest value allowed, inclusive; for a tuple, of each element.
        choices: All values allowed.
        unit: Unit of the value, for forms and help texts.
        suffixes: Of the file whose name the value is, such as ".json".
        help: One sentence for the person who edits it.
    """
    metadata = {
        "minimum": minimum,
        "maximum": maximum,
        "choices": tuple(choices) if choices is not None else None,
        "unit": unit,
        "suffixes": tuple(suffixes),
        "help": help,
    }
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def from_json(cls: type[T], value: Any, path: str = "$") -> T:
    """Build a dataclass from decoded JSON.

    Args:
        cls: A dataclass type.
        value: What `json.loads` returned.
        path: JSON path of `value`, for error messages.

    Raises:
        SchemaError: A field is unknown, missing, of the wrong type or outside its limits.
    """
    if not isinstance(value, Mapping):
        raise SchemaError(path, f"expected an object, found {_describe(value)}.")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            name = _short(str(key))
            near = difflib.get_close_matches(name, fields, n=1)
            advice = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(fields)}."
            raise SchemaError(f"{path}.{name}", f"unknown field. {advice}")
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _convert(hints[name], value[name], f"{path}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SchemaError(f"{path}.{name}", "this field is required and is missing.")
    built = cls(**arguments)
    check(built, path)
    return built


def check(value: Any, path: str = "$") -> None:
    """Hold a dataclass, and those inside it, to their limits and their own `validate(path)`.

    Raises:
        SchemaError: With the JSON path of the first fault.
    """
    for field in dataclasses.fields(value):
        place = f"{path}.{field.name}"
        content = getattr(value, field.name)
        if field.metadata:
            _check_limits(content, field.metadata, place)
        items = content if isinstance(content, tuple) else (content,)
        for index, item in enumerate(items):
            if dataclasses.is_dataclass(item):
                check(item, f"{place}[{index}]" if isinstance(content, tuple) else place)
    validate = getattr(value, "validate", None)
    if validate is not None:
        validate(path)


def to_json(value: Any) -> Any:
    """Plain JSON values (dict, list, str, int, float, bool, None) of a dataclass."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def read_json(path: str | Path, what: str) -> Any:
    """Decode a JSON file; `what` names it in the error ("recipe", "model card").

    Raises:
        SchemaError: The file is not JSON; the message gives line and column.
        OSError: The file cannot be read.
    """
    return decode_json(Path(path).read_bytes(), f"{what} {path}")


def decode_json(content: bytes, what: str) -> Any:
    """Decode JSON bytes, refusing what Python accepts and others do not (NaN, repeated keys).

    Args:
        content: UTF-8 text, with or without a byte order mark.
        what: Names it in the error.

    Raises:
        SchemaError: It is no such JSON, or nested or long beyond what can be read.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key, value in pairs:
            if key in fields:
                raise SchemaError("$", f"the field '{_short(key)}' stands twice in {what}.")
            fields[key] = value
        return fields

    def no_constant(name: str) -> Any:
        raise SchemaError("$", f"{name} is not a JSON number ({what}).")

    def finite(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            raise SchemaError("$", f"the number {_short(text)} is too large ({what}).")
        return number

    try:
        return json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=unique,
            parse_constant=no_constant,
            parse_float=finite,
        )
    except RecursionError:
        raise SchemaError("$", f"{what} is nested too deeply.") from None
    except UnicodeDecodeError as error:
        raise SchemaError("$", f"{what} is not UTF-8 text ({error.reason}).") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise SchemaError("$", f"{what} is not valid JSON: {error.msg} at {place}.") from error
    except SchemaError:
        raise
    except ValueError as error:  # Python's limit on the digits of whole numbers
        raise SchemaError("$", f"{what} holds a number with too many digits.") from error


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(typing.get_args(hint), value, path)
    if origin is tuple:
        return _convert_tuple(typing.get_args(hint), value, path)
    if origin is dict:
        return _convert_mapping(typing.get_args(hint)[1], value, path)
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), value, path)
    if hint is Any:
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise SchemaError(path, f"expected a finite number, found {_short(str(value))}.")
        return number
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    raise SchemaError(path, f"expected {names.get(hint, hint)}, found {_describe(value)}.")


def _convert_union(options: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    faults = []
    for option in options:
        try:
            return _convert(option, value, path)
        except SchemaError as error:
            faults.append(error)
    # The fault that lies deepest comes from the alternative that was meant.
    raise max(faults, key=lambda fault: len(fault.path))


def _convert_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise SchemaError(path, f"expected a list, found {_describe(value)}.")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise SchemaError(path, f"expected {len(arguments)} values, found {len(value)}.")
    return tuple(
        _convert(hint, item, f"{path}[{index}]")
        for index, (hint, item) in enumerate(zip(arguments, value, strict=True))
    )


def _convert_mapping(hint: Any, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise SchemaError(path, f"expected an object, found {_describe(value)}.")
    return {
        str(key): _convert(hint, item, f"{path}.{_short(str(key))}") for key, item in value.items()
    }


def _check_limits(value: Any, metadata: Mapping[str, Any], path: str) -> None:
    items = value if isinstance(value, tuple) else (value,)
    for index, item in enumerate(items):
        place = f"{path}[{index}]" if isinstance(value, tuple) else path
        if item is None or dataclasses.is_dataclass(item):
            continue
        choices = metadata.get("choices")
        if choices is not None and item not in choices:
            known = ", ".join(str(choice) for choice in choices)
            raise SchemaError(place, f"'{_short(str(item))}' is not possible. Possible: {known}.")
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
            if minimum is not None and item < minimum:
                raise SchemaError(place, f"expected at least {minimum:g}, found {_number(item)}.")
            if maximum is not None and item > maximum:
                raise SchemaError(place, f"expected at most {maximum:g}, found {_number(item)}.")


def _describe(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{_short(value)}'"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return f"the number {_number(value)}"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else _short(str(value))


def _short(text: str) -> str:
    """A text from a file, cut to what a message can bear."""
    return text if len(text) <= 80 else f"{text[:77]}..."
