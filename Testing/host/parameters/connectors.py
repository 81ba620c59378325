"""Which widget can show which type, and how. Another pair is an error, as in the application."""

import abc
import enum
import logging
import pathlib

import ctk
import qt
import slicer

from .annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange, first, split
from .kinds import isNode
from .packs import FloatRange

_connectors = []


class GuiConnector(abc.ABC):
    """One widget that shows one value."""

    def __init__(self):
        self._callback = None

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget, datatype):
        """Whether this connector is the one for the pair."""

    @abc.abstractmethod
    def _connect(self):
        """Have `changed` called when the user changes the widget."""

    @abc.abstractmethod
    def _disconnect(self):
        """End that."""

    @abc.abstractmethod
    def widget(self):
        """The widget."""

    @abc.abstractmethod
    def read(self):
        """The value that the widget shows."""

    @abc.abstractmethod
    def write(self, value):
        """Show the value."""

    def onChanged(self, callback):
        self._callback = callback
        if callback is None:
            self._disconnect()
        else:
            self._connect()

    def changed(self, *_):
        if self._callback:
            self._callback()


def parameterNodeGuiConnector(cls=None):
    if cls is None:
        return parameterNodeGuiConnector
    if not issubclass(cls, GuiConnector):
        raise TypeError("Must be a GuiConnector subclass")
    _connectors.append(cls)
    return cls


def createGuiConnector(widget, datatype):
    for connector in _connectors:
        if connector.canRepresent(widget, datatype):
            return connector.create(widget, datatype)
    raise RuntimeError(
        f"Unable to create GUI connector from datatype {datatype} to widget type {type(widget)}"
    )


class _Connector(GuiConnector):
    """`widgets` show `kinds` as the property `value`, and tell so by `signal`."""

    widgets, kinds = (), ()
    signal, value = "", ""

    @classmethod
    def canRepresent(cls, widget, datatype):
        plain = split(datatype)[0]
        return type(widget) in cls.widgets and cls._isKind(plain)

    @classmethod
    def _isKind(cls, plain):
        return plain in cls.kinds

    @classmethod
    def create(cls, widget, datatype):
        return cls(widget, *split(datatype))

    def __init__(self, widget, plain, notes):
        super().__init__()
        self._widget, self._plain = widget, plain
        self.prepare(notes)

    def prepare(self, notes):
        """Bring the widget in line with the annotations."""

    def _connect(self):
        self._widget.connect(self.signal, self.changed)

    def _disconnect(self):
        self._widget.disconnect(self.signal, self.changed)

    def widget(self):
        return self._widget

    def read(self):
        return getattr(self._widget, self.value)

    def write(self, value):
        setattr(self._widget, self.value, value)


@parameterNodeGuiConnector
class _CheckBox(_Connector):
    widgets, kinds = (qt.QCheckBox, ctk.ctkCheckBox), (bool,)
    signal, value = "stateChanged(int)", "checked"


@parameterNodeGuiConnector
class _PushButton(_Connector):
    widgets, kinds = (qt.QPushButton,), (bool,)
    signal, value = "toggled(bool)", "checked"

    def prepare(self, notes):
        if not self._widget.checkable:
            logging.warning("Making push button checkable for conversion to bool")
            self._widget.checkable = True


def _limits(notes):
    within = first(notes, WithinRange)
    if within:
        return within.minimum, within.maximum
    low, high = first(notes, Minimum), first(notes, Maximum)
    return (low.minimum if low else None), (high.maximum if high else None)


class _Number(_Connector):
    bounded, unbounded = (), (-float("inf"), float("inf"))

    def prepare(self, notes):
        for kind, name in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            note = first(notes, kind)
            if note is not None:
                setattr(self._widget, name, note.value)
        low, high = _limits(notes)
        if isinstance(self._widget, self.bounded) and None in (low, high):
            raise RuntimeError(
                f"Cannot have a connection to {type(self._widget).__name__} of an unbounded number"
            )
        self._widget.minimum = self.unbounded[0] if low is None else low
        self._widget.maximum = self.unbounded[1] if high is None else high


@parameterNodeGuiConnector
class _Integer(_Number):
    widgets, kinds = (qt.QSlider, qt.QSpinBox), (int,)
    signal, value = "valueChanged(int)", "value"
    bounded, unbounded = (qt.QSlider,), (-(2**31), 2**31 - 1)


@parameterNodeGuiConnector
class _Float(_Number):
    widgets = (qt.QDoubleSpinBox, ctk.ctkSliderWidget, ctk.ctkDoubleSlider, ctk.ctkDoubleSpinBox)
    kinds = (float,)
    signal, value = "valueChanged(double)", "value"
    bounded = (ctk.ctkSliderWidget, ctk.ctkDoubleSlider)


@parameterNodeGuiConnector
class _Range(_Connector):
    widgets, kinds = (ctk.ctkRangeWidget, ctk.ctkDoubleRangeSlider), (FloatRange,)
    signal = "valuesChanged(double,double)"

    def read(self):
        return FloatRange(self._widget.minimumValue, self._widget.maximumValue)

    def write(self, value):
        self._widget.setValues(value.minimum, value.maximum)


class _Combo(_Connector):
    """A combo box that is filled with the values, and is never without one of them."""

    widgets = (qt.QComboBox, ctk.ctkComboBox)
    signal = "currentIndexChanged(int)"

    def prepare(self, notes):
        self._values = self.values(notes)
        self._widget.clear()
        for value in self._values:
            self._widget.addItem(self.label(value))

    def label(self, value):
        return str(value)

    def read(self):
        return self._values[self._widget.currentIndex]

    def write(self, value):
        if value not in self._values:
            raise ValueError(f"Unable to find value {value} in choices {self._values}")
        self._widget.currentIndex = self._values.index(value)


@parameterNodeGuiConnector
class _ComboOfChoices(_Combo):
    kinds = (int, float, str, bool)

    def values(self, notes):
        choice = first(notes, Choice)
        if choice is None:
            raise RuntimeError("A combo box requires the Choice annotation to be used.")
        return list(choice.choices)


@parameterNodeGuiConnector
class _ComboOfEnum(_Combo):
    @classmethod
    def _isKind(cls, plain):
        return isinstance(plain, type) and issubclass(plain, enum.Enum)

    def values(self, notes):
        return list(self._plain)

    def label(self, value):
        return value.label() if hasattr(value, "label") else value.name


@parameterNodeGuiConnector
class _LineEdit(_Connector):
    widgets, kinds = (qt.QLineEdit,), (str,)
    signal, value = "textChanged(QString)", "text"


@parameterNodeGuiConnector
class _TextEdit(_Connector):
    widgets, kinds = (qt.QTextEdit,), (str,)
    signal, value = "textChanged()", "plainText"

    def write(self, value):
        if value != self._widget.plainText:
            self._widget.plainText = value


@parameterNodeGuiConnector
class _Label(_Connector):
    widgets, kinds = (qt.QLabel,), (str,)
    value = "text"

    def _connect(self):
        pass

    _disconnect = _connect


class _Path(_Connector):
    @classmethod
    def _isKind(cls, plain):
        return isinstance(plain, type) and issubclass(plain, pathlib.PurePath)

    def read(self):
        return self._plain(super().read())

    def write(self, value):
        super().write(str(value))


@parameterNodeGuiConnector
class _PathLineEdit(_Path):
    widgets = (ctk.ctkPathLineEdit,)
    signal, value = "currentPathChanged(QString)", "currentPath"


@parameterNodeGuiConnector
class _DirectoryButton(_Path):
    widgets = (ctk.ctkDirectoryButton,)
    signal, value = "directoryChanged(QString)", "directory"


@parameterNodeGuiConnector
class _NodeSelector(_Connector):
    widgets = (slicer.qMRMLNodeComboBox, slicer.qMRMLSubjectHierarchyTreeView)
    signal = "currentNodeChanged(vtkMRMLNode*)"

    @classmethod
    def _isKind(cls, plain):
        options = [a for a in getattr(plain, "__args__", (plain,)) if a is not type(None)]
        return bool(options) and all(map(isNode, options))

    def read(self):
        return self._widget.currentNode()

    def write(self, value):
        self._widget.setCurrentNode(value)
