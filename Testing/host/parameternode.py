"""slicer.parameterNodeWrapper by its documented interface, the part a module commonly uses:
bool, int, float, str, Path, Enum, list/tuple/dict of plain values, MRML nodes (one, Optional or a union), Annotated[...] with
WithinRange/Minimum/Maximum/Choice/Default, connectGui/disconnectGui/connectParametersToGui."""

import ast
import enum
import itertools
import pathlib
import types
import typing

import ctk
import qt
import slicer
import vtk

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Maximum",
    "Minimum",
    "SingleStep",
    "WithinRange",
    "parameterNodeWrapper",
]


class _Note:
    def __init__(self, *args):
        self.args = args

    def check(self, value):
        pass


class WithinRange(_Note):
    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def check(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within [{self.minimum}, {self.maximum}]")


class Minimum(WithinRange):
    def __init__(self, minimum):
        super().__init__(minimum, float("inf"))


class Maximum(WithinRange):
    def __init__(self, maximum):
        super().__init__(float("-inf"), maximum)


class Choice(_Note):
    def __init__(self, choices):
        self.choices = list(choices)

    def check(self, value):
        if value not in self.choices:
            raise ValueError(f"{value} is not one of {self.choices}")


class Default(_Note):
    def __init__(self, value):
        self.value = value


class Decimals(_Note):
    pass


class SingleStep(_Note):
    pass


_NOTHING = object()


def _isNode(kind):
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


class _Parameter:
    def __init__(self, name, annotation, default):
        self.name, self.notes = name, []
        if typing.get_origin(annotation) is typing.Annotated:
            annotation, *self.notes = typing.get_args(annotation)
        self.kind = annotation
        options = (
            typing.get_args(annotation)
            if typing.get_origin(annotation) in (typing.Union, types.UnionType)
            else (annotation,)
        )
        self.options = tuple(o for o in options if o is not type(None))
        self.optional = len(self.options) != len(options)
        self.isNode = all(map(_isNode, self.options))
        if not self.isNode and len(self.options) > 1:
            raise TypeError(f"{name}: a union of plain types is not supported by this host")
        self.base = typing.get_origin(self.options[0]) or self.options[0]
        note = next((n for n in self.notes if isinstance(n, Default)), None)
        self.default = (
            default if default is not _NOTHING else note.value if note else self.natural()
        )

    def natural(self):
        if self.isNode or self.optional:
            return None
        ranged = next((n for n in self.notes if isinstance(n, WithinRange)), None)
        choice = next((n for n in self.notes if isinstance(n, Choice)), None)
        if choice:
            return choice.choices[0]
        if issubclass(self.base, enum.Enum):
            return list(self.base)[0]
        value = self.base()
        return (
            value
            if not ranged or ranged.minimum <= value <= ranged.maximum
            else self.base(ranged.minimum)
        )

    def check(self, value):
        if self.isNode:
            if value is not None and not isinstance(value, self.options):
                raise TypeError(f"{self.name} must be a {self.kind}, not {type(value).__name__}")
            return value
        if value is None and self.optional:
            return value
        if self.base is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if issubclass(self.base, pathlib.PurePath) and isinstance(value, str):
            value = self.base(value)
        if not isinstance(value, self.base):
            raise TypeError(f"{self.name} must be a {self.kind}, not {type(value).__name__}")
        for note in self.notes:
            if isinstance(note, _Note):
                note.check(value)
        return value

    def write(self, node, key, value):
        value = self.check(value)
        if self.isNode:
            node.SetNodeReferenceID(key, value.GetID() if value else None)
        else:
            text = (
                value.name
                if isinstance(value, enum.Enum)
                else str(value)
                if isinstance(value, (str, pathlib.PurePath))
                else repr(value)
            )
            node.SetParameter(key, text)

    def read(self, node, key):
        if self.isNode:
            return node.GetNodeReference(key)
        text = node.GetParameter(key)
        if text == "None" and self.optional:
            return None
        if issubclass(self.base, enum.Enum):
            return self.base[text]
        if issubclass(self.base, (str, pathlib.PurePath)):
            return self.base(text)
        return ast.literal_eval(text)

    def has(self, node, key):
        return (
            bool(node.GetNodeReferenceID(key)) if self.isNode else key in node.GetParameterNames()
        )


class _Link:
    """One widget kept equal to one parameter."""

    # widget class -> (signal, read, write)
    KINDS = [
        (
            lambda: slicer.qMRMLNodeComboBox,
            "currentNodeChanged(vtkMRMLNode*)",
            lambda w: w.currentNode(),
            lambda w, v: w.setCurrentNode(v),
        ),
        (
            lambda: ctk.ctkPathLineEdit,
            "currentPathChanged(QString)",
            lambda w: w.currentPath,
            lambda w, v: setattr(w, "currentPath", str(v)),
        ),
        (
            lambda: ctk.ctkDirectoryButton,
            "directoryChanged(QString)",
            lambda w: w.directory,
            lambda w, v: setattr(w, "directory", str(v)),
        ),
        (
            lambda: ctk.ctkSliderWidget,
            "valueChanged(double)",
            lambda w: w.value,
            lambda w, v: setattr(w, "value", v),
        ),
        (
            lambda: qt.QDoubleSpinBox,
            "valueChanged(double)",
            lambda w: w.value,
            lambda w, v: setattr(w, "value", v),
        ),
        (
            lambda: (qt.QSpinBox, qt.QSlider),
            "valueChanged(int)",
            lambda w: w.value,
            lambda w, v: setattr(w, "value", v),
        ),
        (
            lambda: qt.QAbstractButton,
            "toggled(bool)",
            lambda w: w.checked,
            lambda w, v: setattr(w, "checked", v),
        ),
        (
            lambda: qt.QLineEdit,
            "textChanged(QString)",
            lambda w: w.text,
            lambda w, v: setattr(w, "text", v),
        ),
        (
            lambda: qt.QTextEdit,
            "textChanged()",
            lambda w: w.plainText,
            lambda w, v: setattr(w, "plainText", v),
        ),
        (lambda: qt.QLabel, None, None, lambda w, v: setattr(w, "text", v)),
    ]

    def __init__(self, wrapper, name, widget):
        self.wrapper, self.name, self.widget, self.parameter = (
            wrapper,
            name,
            widget,
            wrapper._parameters[name],
        )
        p = self.parameter
        if isinstance(widget, qt.QComboBox):
            values = (
                list(p.base)
                if issubclass(p.base, enum.Enum)
                else next((n.choices for n in p.notes if isinstance(n, Choice)), None)
            )
            if values and widget.count == 0:
                widget.addItems(
                    [str(v.value) if isinstance(v, enum.Enum) else str(v) for v in values]
                )
            values = values or [p.base(widget.itemText(i)) for i in range(widget.count)]
            self.signal, self.get = "currentIndexChanged(int)", lambda w: values[w.currentIndex]
            self.put = lambda w, v: setattr(
                w, "currentIndex", values.index(v) if v in values else -1
            )
        else:
            for kinds, self.signal, self.get, self.put in self.KINDS:
                if isinstance(widget, kinds()):
                    break
            else:
                raise TypeError(f"no connector between {widget.className()} and {p.kind}")
        ranged = next((n for n in p.notes if isinstance(n, WithinRange)), None)
        if ranged and hasattr(widget, "minimum"):
            for side in ("minimum", "maximum"):
                if abs(getattr(ranged, side)) != float("inf"):
                    setattr(widget, side, p.base(getattr(ranged, side)))
        self.fromNode()
        if self.signal:
            widget.connect(self.signal, self.toNode)

    def fromNode(self):
        value = getattr(self.wrapper, self.name)
        if self.get is None or self.get(self.widget) != value:
            blocked = self.widget.blockSignals(True)
            self.put(self.widget, value)
            self.widget.blockSignals(blocked)

    def toNode(self, *_):
        value = self.get(self.widget)
        value = (
            self.parameter.base(value)
            if self.parameter.base in (int, float)
            or issubclass(self.parameter.base, pathlib.PurePath)
            else value
        )
        if value != getattr(self.wrapper, self.name):
            setattr(self.wrapper, self.name, value)

    def close(self):
        if self.signal:
            self.widget.disconnect(self.signal, self.toNode)


class _Wrapper:
    def __init__(self, parameterNode, prefix=None):
        self.__dict__.update(
            parameterNode=parameterNode,
            _prefix=(prefix + "." if prefix else ""),
            _links={},
            _tags=itertools.count(),
            _observer=None,
        )
        modifying = parameterNode.StartModify()
        for name, p in self._parameters.items():
            if not p.has(parameterNode, self._prefix + name) and p.default is not None:
                p.write(parameterNode, self._prefix + name, p.default)
        parameterNode.EndModify(modifying)

    def __getattr__(self, name):
        if name in type(self)._parameters:
            return type(self)._parameters[name].read(self.parameterNode, self._prefix + name)
        if name[:1].isupper():  # AddObserver, RemoveObserver, StartModify, GetID, ...
            return getattr(self.parameterNode, name)
        raise AttributeError(name)

    def __setattr__(self, name, value):
        if name not in self._parameters:
            raise AttributeError(f"{type(self).__name__} has no parameter {name}")
        self._parameters[name].write(self.parameterNode, self._prefix + name, value)

    def default(self, name):
        return self._parameters[name].default

    def dataType(self, name):
        return self._parameters[name].kind

    def getValue(self, name):
        return getattr(self, name)

    def setValue(self, name, value):
        setattr(self, name, value)

    def connectParametersToGui(self, mapping):
        tag = next(self._tags)
        widgets = {n: (w if isinstance(w, qt.QObject) else w) for n, w in mapping.items()}
        self._links[tag] = [_Link(self, n, w) for n, w in widgets.items()]
        if self._observer is None:
            self.__dict__["_observer"] = self.parameterNode.AddObserver(
                vtk.vtkCommand.ModifiedEvent, self._update
            )
        return tag

    def connectGui(self, gui):
        mapping = {}
        for widget in (
            vars(gui).values() if not isinstance(gui, qt.QObject) else gui.findChildren(qt.QWidget)
        ):
            name = widget.property("SlicerParameterName")
            if name:
                if name not in self._parameters:
                    raise ValueError(
                        f"widget {widget.name} asks for the parameter {name}, which {type(self).__name__} has not"
                    )
                mapping[name] = widget
        return self.connectParametersToGui(mapping)

    def disconnectGui(self, tag):
        for link in self._links.pop(tag, []):
            link.close()
        if not self._links and self._observer is not None:
            self.parameterNode.RemoveObserver(self._observer)
            self.__dict__["_observer"] = None

    def _update(self, caller, event):
        for link in [l for links in self._links.values() for l in links]:
            link.fromNode()


def parameterNodeWrapper(cls):
    parameters = {
        n: _Parameter(n, a, getattr(cls, n, _NOTHING))
        for n, a in typing.get_type_hints(cls, include_extras=True).items()
    }
    body = {
        k: v
        for k, v in vars(cls).items()
        if k not in parameters and k not in ("__dict__", "__weakref__", "__annotations__")
    }
    return type(cls.__name__, (_Wrapper,), {**body, "_parameters": parameters})
