"""What PythonQt makes of a Python value that is assigned to a property of a C++ type."""

import numbers

from .strict import ofClass


def _text(value):
    return value if isinstance(value, str) else str(value)


def _integer(value):
    if isinstance(value, numbers.Real) or hasattr(value, "__index__"):
        return int(value)
    raise ValueError


def _double(value):
    if isinstance(value, numbers.Real):
        return float(value)
    raise ValueError


def _bool(value):
    return bool(_integer(value))


def _texts(value):
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return list(value)
    raise ValueError


_CONVERTERS = {
    "QString": _text,
    "int": _integer,
    "uint": _integer,
    "double": _double,
    "bool": _bool,
    "QStringList": _texts,
}


def convert(obj, name, value):
    """The value as the property takes it; AttributeError as the application raises it."""
    described = ofClass(type(obj))
    kind = described.properties.get(name) if described else None
    converter = _CONVERTERS.get(kind)
    if converter is None:
        return value
    try:
        return converter(value)
    except (ValueError, TypeError, OverflowError):
        raise refusal(name, kind, value) from None


def refusal(name, kind, value):
    """The error that the application raises for a value of another type."""
    return AttributeError(
        f"Property '{name}' of type '{kind}' does not accept an object of type "
        f"{type(value).__name__} ({value!r})"
    )


def kindOf(obj, name):
    described = ofClass(type(obj))
    return (described.properties.get(name) if described else None) or "another type"
