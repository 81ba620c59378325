"""How a value of each kind is kept in a vtkMRMLScriptedModuleNode, and what it is without one."""

import ast
import enum
import pathlib
import types
import typing

import slicer

from .annotations import Choice, IsInstance, NotNone, Validator, split
from .observed import ObservedDict, ObservedList


class Kind:
    cached = True
    validators = ()

    def check(self, value):
        """The value as it is stored; raises what the validators raise."""
        for validator in self.validators:
            validator.validate(value)
        return value

    def isStored(self, node, key):
        return key in node.GetParameterNames()

    def remove(self, node, key):
        node.UnsetParameter(key)


class Plain(Kind):
    """int, float, str, bool, enumerations and paths: one text."""

    def __init__(self, base):
        self.base = base
        self.isPath = issubclass(base, pathlib.PurePath)
        self.isEnum = issubclass(base, enum.Enum)
        accepted = (float, int) if base is float else base
        self.validators = (NotNone(), IsInstance(accepted))

    def natural(self):
        return next(iter(self.base)) if self.isEnum else self.base()

    def check(self, value):
        super().check(value)
        return float(value) if self.base is float else value

    def write(self, node, key, value):
        if self.isEnum:
            text = value.name
        elif self.isPath or self.base is str:
            text = str(value)
        else:
            text = repr(value)
        node.SetParameter(key, text)

    def read(self, node, key, changed):
        text = node.GetParameter(key)
        if self.isEnum:
            return self.base[text]
        if self.isPath or self.base is str:
            return self.base(text)
        return self.base(ast.literal_eval(text))


class Node(Kind):
    """A node, as a node reference."""

    cached = False

    def __init__(self, classes):
        self.validators = (IsInstance(tuple(classes)),)

    def natural(self):
        return None

    def isStored(self, node, key):
        return node.GetNodeReferenceID(key) is not None

    def write(self, node, key, value):
        node.SetNodeReferenceID(key, value.GetID() if value is not None else None)

    def read(self, node, key, changed):
        return node.GetNodeReference(key)

    def remove(self, node, key):
        node.RemoveNodeReferenceIDs(key)


class Validated(Kind):
    """Another kind under the validators of an annotation."""

    def __init__(self, inner, validators):
        self.inner, self.validators, self.cached = inner, validators, inner.cached
        for name in ("write", "read", "isStored", "remove"):
            setattr(self, name, getattr(inner, name))

    def natural(self):
        value = self.inner.natural()
        try:
            self.check(value)
        except (ValueError, TypeError):
            choice = next((v for v in self.validators if isinstance(v, Choice)), None)
            low = [v.minimum for v in self.validators if hasattr(v, "minimum")]
            if choice is not None:
                return next(iter(choice.choices))
            if low:
                return self.inner.check(low[0])
            raise
        return value

    def check(self, value):
        value = self.inner.check(value)
        return super().check(value)


class Several(Kind):
    """Parts stored under "key.0", "key.1", ..., their number under "key.len"."""

    def __init__(self, parts):
        self.cached = all(part.cached for part in parts)

    def isStored(self, node, key):
        return f"{key}.len" in node.GetParameterNames()

    def _writeParts(self, node, key, parts):
        for old in range(self._count(node, key)):
            node.UnsetParameter(f"{key}.{old}")
        node.SetParameter(f"{key}.len", str(len(parts)))
        for i, (kind, value) in enumerate(parts):
            kind.write(node, f"{key}.{i}", value)

    @staticmethod
    def _count(node, key):
        return int(node.GetParameter(f"{key}.len") or 0)

    def remove(self, node, key):
        node.UnsetParameter(f"{key}.len")


class ListOf(Several):
    def __init__(self, element):
        super().__init__([element])
        self.element = element
        self.validators = (NotNone(), IsInstance(list))

    def natural(self):
        return []

    def check(self, value):
        super().check(value)
        return [self.element.check(v) for v in value]

    def write(self, node, key, value):
        self._writeParts(node, key, [(self.element, v) for v in value])

    def read(self, node, key, changed):
        values = [
            self.element.read(node, f"{key}.{i}", changed) for i in range(self._count(node, key))
        ]
        return ObservedList(values, changed)


class TupleOf(Several):
    def __init__(self, parts):
        super().__init__(parts)
        self.parts = parts
        self.validators = (NotNone(), IsInstance(tuple))

    def natural(self):
        return tuple(part.natural() for part in self.parts)

    def check(self, value):
        super().check(value)
        if len(value) != len(self.parts):
            raise ValueError(f"Tuple must have {len(self.parts)} values, has {len(value)}")
        return tuple(part.check(v) for part, v in zip(self.parts, value, strict=True))

    def write(self, node, key, value):
        self._writeParts(node, key, list(zip(self.parts, value, strict=True)))

    def read(self, node, key, changed):
        return tuple(part.read(node, f"{key}.{i}", changed) for i, part in enumerate(self.parts))


class DictOf(Several):
    def __init__(self, name, value):
        super().__init__([name, value])
        self.name, self.value = name, value
        self.validators = (NotNone(), IsInstance(dict))

    def natural(self):
        return {}

    def check(self, value):
        super().check(value)
        return {self.name.check(k): self.value.check(v) for k, v in value.items()}

    def write(self, node, key, value):
        parts = [p for k, v in value.items() for p in ((self.name, k), (self.value, v))]
        self._writeParts(node, key, parts)

    def read(self, node, key, changed):
        values = {}
        for i in range(0, self._count(node, key), 2):
            name = self.name.read(node, f"{key}.{i}", changed)
            values[name] = self.value.read(node, f"{key}.{i + 1}", changed)
        return ObservedDict(values, changed)


class OneOf(Kind):
    """A union: which of the types it is stands under "key.type"."""

    def __init__(self, options, optional):
        self.options, self.optional = options, optional
        self.cached = all(o.cached for o in options)

    def natural(self):
        return None if self.optional else self.options[0].natural()

    def _optionFor(self, value):
        for i, option in enumerate(self.options):
            try:
                return i, option.check(value)
            except (TypeError, ValueError):
                continue
        raise TypeError(f"Value fits none of the types of the union: {value!r}")

    def check(self, value):
        return None if value is None and self.optional else self._optionFor(value)[1]

    def isStored(self, node, key):
        return f"{key}.type" in node.GetParameterNames()

    def write(self, node, key, value):
        if value is None:
            node.SetParameter(f"{key}.type", "None")
            return
        index, value = self._optionFor(value)
        node.SetParameter(f"{key}.type", str(index))
        self.options[index].write(node, key, value)

    def read(self, node, key, changed):
        index = node.GetParameter(f"{key}.type")
        return None if index in ("", "None") else self.options[int(index)].read(node, key, changed)


def isNode(kind):
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def kindOf(annotation):
    """(kind, annotations that are no validators) of a type hint; TypeError for an unknown one."""
    plain, notes = split(annotation)
    kind = _kindOfPlain(plain)
    validators = [n for n in notes if isinstance(n, Validator)]
    rest = [n for n in notes if not isinstance(n, Validator)]
    return (Validated(kind, validators) if validators else kind), rest


def _kindOfPlain(plain):
    from .packs import PackKind, isParameterPack

    origin, arguments = typing.get_origin(plain), typing.get_args(plain)
    if origin in (typing.Union, types.UnionType):
        options = [a for a in arguments if a is not type(None)]
        optional = len(options) < len(arguments)
        if all(map(isNode, options)):
            return Node(options)
        return OneOf([kindOf(o)[0] for o in options], optional)
    if origin is list:
        return ListOf(kindOf(arguments[0])[0])
    if origin is tuple:
        return TupleOf([kindOf(a)[0] for a in arguments])
    if origin is dict:
        return DictOf(*(kindOf(a)[0] for a in arguments))
    if isNode(plain):
        return Node([plain])
    if isParameterPack(plain):
        return PackKind(plain)
    known = (int, float, str, bool)
    if isinstance(plain, type) and (
        plain in known or issubclass(plain, (enum.Enum, pathlib.PurePath))
    ):
        return Plain(plain)
    raise TypeError(f"Unable to create serializer for {plain}")
