"""@parameterPack: named values that belong together, also as one parameter of a wrapper."""

import typing

from .annotations import Default, first, split
from .kinds import Kind, kindOf


class _Member:
    def __init__(self, name, annotation, given):
        self.name, self.annotation = name, annotation
        self.kind, notes = kindOf(annotation)
        note = first(notes, Default)
        self._default = given if given is not None else note

    def default(self):
        value = self._default.value if self._default else self.kind.natural()
        return self.kind.check(value)


class PackKind(Kind):
    """Each member under "key.member"."""

    def __init__(self, cls):
        self.cls = cls
        self.members = cls.allPackParameters
        self.cached = all(m.kind.cached for m in self.members.values())

    def natural(self):
        return self.cls()

    def check(self, value):
        if not isinstance(value, self.cls):
            raise TypeError(f"Value must be a {self.cls.__name__}, not {type(value).__name__}")
        return value

    def isStored(self, node, key):
        return all(m.kind.isStored(node, f"{key}.{n}") for n, m in self.members.items())

    def write(self, node, key, value):
        for name, member in self.members.items():
            member.kind.write(node, f"{key}.{name}", value._values[name])

    def read(self, node, key, changed):
        pack = self.cls.__new__(self.cls)
        values = {
            name: member.kind.read(node, f"{key}.{name}", changed)
            for name, member in self.members.items()
        }
        pack.__dict__["_values"], pack.__dict__["_changed"] = values, changed
        return pack

    def remove(self, node, key):
        for name, member in self.members.items():
            member.kind.remove(node, f"{key}.{name}")


def _values(self):
    if "_values" not in self.__dict__:
        values = {name: m.default() for name, m in self.allPackParameters.items()}
        self.__dict__["_values"] = values
    return self.__dict__["_values"]


def _property(name):
    def get(self):
        return _values(self)[name]

    def put(self, value):
        _values(self)[name] = self.allPackParameters[name].kind.check(value)
        self.__dict__.get("_changed", lambda: None)()

    return property(get, put)


def _init(self, *args, **kwargs):
    members = list(self.allPackParameters)
    if len(args) > len(members):
        raise ValueError(f"{type(self).__name__} takes {len(members)} values, got {len(args)}")
    given = dict(zip(members, args, strict=False))
    twice = set(given) & set(kwargs)
    unknown = set(kwargs) - set(members)
    if twice or unknown:
        raise ValueError(f"{type(self).__name__}: given twice or unknown: {twice | unknown}")
    _values(self)
    for name, value in {**given, **kwargs}.items():
        setattr(self, name, value)


def _equal(self, other):
    return type(self) is type(other) and _values(self) == _values(other)


def _text(self):
    inside = ", ".join(f"{n}={v!r}" for n, v in _values(self).items())
    return f"{type(self).__name__}({inside})"


def _parts(cls, name):
    top, _, rest = name.partition(".")
    if top not in cls.allPackParameters:
        raise ValueError(f"{cls.__name__} has no parameter {name}")
    return top, rest


def _getValue(self, name):
    top, rest = _parts(type(self), name)
    value = getattr(self, top)
    return value.getValue(rest) if rest else value


def _setValue(self, name, value):
    top, rest = _parts(type(self), name)
    if rest:
        getattr(self, top).setValue(rest, value)
    else:
        setattr(self, top, value)


def _dataType(cls, name):
    top, rest = _parts(cls, name)
    annotation = cls.allPackParameters[top].annotation
    return split(annotation)[0].dataType(rest) if rest else annotation


def isParameterPack(kind):
    return getattr(kind, "_is_parameterPack", False)


def membersOf(cls):
    """Name -> member of the annotated names of a class."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        name: _Member(name, hint, Default(cls.__dict__[name]) if name in cls.__dict__ else None)
        for name, hint in hints.items()
    }


def parameterPack(cls=None):
    if cls is None:
        return parameterPack
    members = membersOf(cls)
    if not members:
        raise ValueError("Unable to find any members in parameterPack")
    cls.allPackParameters = members
    cls._is_parameterPack = True
    for name in members:
        setattr(cls, name, _property(name))
    for name, method in (
        ("__init__", _init),
        ("__eq__", _equal),
        ("__repr__", _text),
        ("__str__", _text),
    ):
        if name not in cls.__dict__:
            setattr(cls, name, method)
    cls.getValue, cls.setValue = _getValue, _setValue
    cls.dataType = classmethod(_dataType)
    return cls


@parameterPack
class FloatRange:
    """Two numbers, the first not above the second."""

    _minimum: float
    _maximum: float

    def __init__(self, minimum=0.0, maximum=1.0):
        self.setRange(minimum, maximum)

    def setRange(self, minimum, maximum):
        if minimum > maximum:
            raise ValueError(f"Range must not end before it begins: [{minimum}, {maximum}]")
        _values(self).update(_minimum=float(minimum), _maximum=float(maximum))
        self.__dict__.get("_changed", lambda: None)()

    @property
    def minimum(self):
        return _values(self)["_minimum"]

    @minimum.setter
    def minimum(self, value):
        self.setRange(value, self.maximum)

    @property
    def maximum(self):
        return _values(self)["_maximum"]

    @maximum.setter
    def maximum(self, value):
        self.setRange(self.minimum, value)
