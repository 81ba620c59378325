"""slicer.parameterNodeWrapper: what a module relies on."""

import enum
import pathlib
from typing import Annotated, Optional, Union

import ctk
import pytest
import qt
import slicer
from slicer import vtkMRMLModelNode, vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import (
    Choice,
    Decimals,
    Default,
    FloatRange,
    Maximum,
    Minimum,
    Validator,
    WithinRange,
    parameterNodeWrapper,
    parameterPack,
)


class Side(enum.Enum):
    ABOVE = "above"
    BELOW = "below"

    def label(self):
        return self.value.title()


class Even(Validator):
    def validate(self, value):
        if value % 2:
            raise ValueError("odd")


@parameterPack
class Point:
    x: Annotated[float, WithinRange(0, 10)]
    y: Annotated[float, Default(2.0)]


@parameterPack
class Box:
    low: Point
    high: Point = Point(1, 1)


@parameterNodeWrapper
class Parameters:
    count: int
    share: Annotated[float, WithinRange(0, 1)] = 0.5
    even: Annotated[int, Even()]
    text: str = "a"
    on: bool
    side: Side = Side.BELOW
    path: pathlib.Path
    mode: Annotated[str, Choice(["fast", "good"])]
    names: list[str]
    volumes: list[vtkMRMLScalarVolumeNode]
    pair: tuple[int, str]
    ages: dict[str, int]
    maybe: Optional[int]  # noqa: UP045 - as modules for older Pythons say it
    volume: vtkMRMLScalarVolumeNode
    either: Union[vtkMRMLScalarVolumeNode, vtkMRMLModelNode, None]  # noqa: UP007
    box: Box
    limits: Annotated[FloatRange, Default(FloatRange(1, 5))]


@pytest.fixture
def node():
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


@pytest.fixture
def parameters(node):
    return Parameters(node)


def test_defaults(parameters):
    p = parameters
    assert (p.count, p.share, p.even, p.text, p.on) == (0, 0.5, 0, "a", False)
    assert (p.side, p.path, p.mode) == (Side.BELOW, pathlib.Path(), "fast")
    assert (p.names, p.pair, p.ages, p.maybe) == ([], (0, ""), {}, None)
    assert p.volume is None
    assert p.volumes == []
    assert (p.box.low.x, p.box.low.y, p.box.high) == (0, 2, Point(1, 1))
    assert p.limits == FloatRange(1, 5)
    assert p.default("text").value == "a"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", -3),
        ("share", 1),
        ("text", "é\n'\""),
        ("on", True),
        ("side", Side.ABOVE),
        ("path", pathlib.Path("/a b/c")),
        ("mode", "good"),
        ("names", ["a", "", "b c"]),
        ("pair", (4, "x")),
        ("ages", {"anna": 3, "bert": 5}),
        ("maybe", 7),
        ("maybe", None),
        ("limits", FloatRange(-1, 1)),
        ("box", Box(Point(1, 2), Point(3, 4))),
    ],
)
def test_values_come_back_and_are_in_the_scene(parameters, node, name, value):
    setattr(parameters, name, value)
    assert getattr(parameters, name) == value
    assert getattr(Parameters(node), name) == value


def test_nodes_come_back(parameters, node):
    volumes = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode") for _ in "ab"]
    parameters.volume, parameters.volumes, parameters.either = volumes[0], volumes, volumes[1]
    again = Parameters(node)
    assert again.volume is volumes[0]
    assert list(again.volumes) == volumes
    assert again.either is volumes[1]
    slicer.mrmlScene.RemoveNode(volumes[0])
    assert parameters.volume is None


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("count", "3", TypeError),
        ("count", 2.5, TypeError),
        ("count", None, ValueError),
        ("share", 2, ValueError),
        ("even", 3, ValueError),
        ("mode", "slow", ValueError),
        ("text", None, ValueError),
        ("side", "above", TypeError),
        ("path", "/a", TypeError),
        ("names", ["a", 1], TypeError),
        ("pair", (1, 2), TypeError),
        ("box", Point(), TypeError),
    ],
)
def test_wrong_values_are_refused_and_change_nothing(parameters, name, value, error):
    before = getattr(parameters, name)
    with pytest.raises(error):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_a_node_of_another_class_is_refused(parameters):
    with pytest.raises(TypeError):
        parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")


def test_lists_and_dictionaries_write_through(parameters, node):
    parameters.names.append("a")
    parameters.names += ["b"]
    parameters.ages["anna"] = 4
    assert Parameters(node).names == ["a", "b"]
    assert Parameters(node).ages == {"anna": 4}


def test_packs_write_through_piece_by_piece(parameters, node):
    parameters.box.low.x = 4
    parameters.setValue("box.high.y", 5.0)
    again = Parameters(node)
    assert (again.box.low.x, again.getValue("box.high.y")) == (4, 5)
    with pytest.raises(ValueError, match="range"):
        parameters.box.low.x = 11


def test_what_is_in_memory_follows_the_node(parameters, node):
    Parameters(node).text = "elsewhere"
    assert parameters.text == "elsewhere"
    assert parameters.isCached("text")
    assert not parameters.isCached("volume")


def test_packs_are_made_like_dataclasses():
    assert Point(3) == Point(x=3)
    assert repr(Point(1, 2)) == "Point(x=1.0, y=2.0)"
    with pytest.raises(ValueError, match="range"):
        Point(-1)
    with pytest.raises(ValueError, match="unknown"):
        Point(z=1)


def test_only_what_the_application_forwards_is_forwarded(parameters):
    for name in ("GetID", "SetParameter", "nosuch"):
        assert not hasattr(parameters, name)
    with pytest.raises(AttributeError):
        parameters.nosuch = 1
    with pytest.raises(ValueError, match="Cannot find a param"):
        parameters.dataType("nosuch")


WIDGETS = [
    ("on", qt.QCheckBox, "checked", True),
    ("count", qt.QSpinBox, "value", 4),
    ("share", qt.QDoubleSpinBox, "value", 0.25),
    ("share", ctk.ctkSliderWidget, "value", 0.25),
    ("share", ctk.ctkDoubleSpinBox, "value", 0.25),
    ("text", qt.QLineEdit, "text", "b"),
    ("text", qt.QTextEdit, "plainText", "b"),
    ("path", ctk.ctkPathLineEdit, "currentPath", "/tmp"),
    ("path", ctk.ctkDirectoryButton, "directory", "/tmp"),
    ("mode", qt.QComboBox, "currentText", "good"),
    ("side", ctk.ctkComboBox, "currentText", "Above"),
]


@pytest.mark.parametrize(("name", "make", "shown", "value"), WIDGETS)
def test_widgets_and_parameters_follow_each_other(parameters, name, make, shown, value):
    widget = make()
    tag = parameters.connectParametersToGui({name: widget})
    first = getattr(parameters, name), getattr(widget, shown)
    setattr(widget, shown, value)
    assert getattr(widget, shown) == value
    second = getattr(parameters, name)
    assert second != first[0]
    setattr(parameters, name, first[0])
    assert getattr(widget, shown) == first[1]
    parameters.disconnectGui(tag)
    setattr(widget, shown, value)
    assert getattr(parameters, name) == first[0]


def test_widgets_of_a_form_are_found_by_their_property(parameters):
    form = qt.QWidget()
    spin = qt.QDoubleSpinBox(form)
    spin.setProperty("SlicerParameterName", "box.high.y")
    parameters.connectGui(form)
    spin.value = 7.5
    assert parameters.box.high.y == 7.5
    parameters.box.high.y = 3.0
    assert spin.value == 3


def test_a_node_selector_follows(parameters):
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes, combo.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    combo.setMRMLScene(slicer.mrmlScene)
    parameters.connectParametersToGui({"volume": combo})
    parameters.volume = volume
    assert combo.currentNode() is volume
    combo.setCurrentNode(None)
    assert parameters.volume is None


def test_limits_reach_the_widget():
    @parameterNodeWrapper
    class Limited:
        few: Annotated[int, Minimum(2), Maximum(5)] = 3
        much: Annotated[float, WithinRange(0, 1), Decimals(4)] = 0.5

    p = Limited(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    spin, slider = qt.QSpinBox(), ctk.ctkSliderWidget()
    p.connectParametersToGui({"few": spin, "much": slider})
    assert (spin.minimum, spin.maximum) == (2, 5)
    assert (slider.maximum, slider.decimals) == (1, 4)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("text", qt.QComboBox),  # without Choice
        ("count", qt.QDoubleSpinBox),
        ("count", qt.QSlider),  # without limits
        ("on", ctk.ctkCollapsibleButton),
        ("text", qt.QPlainTextEdit),
        ("on", qt.QToolButton),
    ],
)
def test_a_pair_that_the_application_does_not_know_is_refused(parameters, name, make):
    with pytest.raises(RuntimeError):
        parameters.connectParametersToGui({name: make()})
