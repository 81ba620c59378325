"""What may stand in Annotated[type, ...]: validators, the default, and words for the widgets."""

import abc
import dataclasses
import typing


class Validator(abc.ABC):
    @abc.abstractmethod
    def validate(self, value):
        """Raise ValueError (or TypeError) for a value that may not be."""


class NotNone(Validator):
    def validate(self, value):
        if value is None:
            raise ValueError("Value must not be None")


class IsInstance(Validator):
    def __init__(self, classtype):
        self.classtype = classtype

    def validate(self, value):
        if value is not None and not isinstance(value, self.classtype):
            found = type(value).__name__
            raise TypeError(f"Value must be of type {self.classtype}, not {found}: {value!r}")


class WithinRange(Validator):
    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            limits = f"[{self.minimum}, {self.maximum}]"
            raise ValueError(f"Value must be within range {limits}, is {value}")


class Minimum(Validator):
    def __init__(self, minimum):
        self.minimum = minimum

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


class Maximum(Validator):
    def __init__(self, maximum):
        self.maximum = maximum

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


class Choice(Validator):
    def __init__(self, choices):
        self.choices = choices

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, is {value}")


class Exclude(Validator):
    def __init__(self, excludedValues):
        self.excludedValues = excludedValues

    def validate(self, value):
        if value in self.excludedValues:
            raise ValueError(f"Value must be none of {self.excludedValues}, is {value}")


class RangeBounds(Validator):
    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if not (self.minimum <= value.minimum and value.maximum <= self.maximum):
            limits = f"[{self.minimum}, {self.maximum}]"
            raise ValueError(f"Range must be within {limits}, is {value}")


@dataclasses.dataclass
class Default:
    value: typing.Any


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


@dataclasses.dataclass
class Label:
    value: str


def split(annotation):
    """(type, [annotations]) of a type that may be Annotated."""
    if typing.get_origin(annotation) is typing.Annotated:
        plain, *notes = typing.get_args(annotation)
        return plain, notes
    return annotation, []


def first(notes, kind):
    return next((n for n in notes if isinstance(n, kind)), None)
