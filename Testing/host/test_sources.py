"""Every Slicer and Qt name that the modules spell out is one of the application, and unscoped.

What the stand-ins refuse is found where a test goes; this looks at every line.
"""

import ast
import enum
from pathlib import Path

import ctk
import pytest
import qt
import slicer
from PySide6 import QtCore

from Testing.host import strict

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    [*(ROOT / "DeepTranslate").glob("*.py"), *(ROOT / "DeepTranslateLib" / "mrml").rglob("*.py")]
    + [p for p in (ROOT / "Testing" / "modules").glob("*.py") if p.name != "conftest.py"]
)
MODULES = {"qt": qt, "ctk": ctk}
CALLED = {
    "slicer.app.layoutManager": "slicer.app.layoutManager()",
    "slicer.app.moduleManager": "slicer.app.moduleManager()",
    "slicer.app.coreIOManager": "slicer.app.coreIOManager()",
    "slicer.app.ioManager": "slicer.app.coreIOManager()",
}


def chain(node):
    """["qt", "Qt", "AlignCenter"] of an attribute expression, or None."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if isinstance(node, ast.Call):
        called = ".".join(chain(node.func) or ())
        return [CALLED[called], *reversed(names)] if called in CALLED else None
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else None


def fault(names):
    """What is wrong with such a chain, or None."""
    first, *rest = names
    if first in strict.OBJECTS and first.endswith("()"):
        return None if not rest or rest[0] in strict.OBJECTS[first] else f"no {rest[0]}"
    if first == "slicer" and len(rest) > 1 and f"slicer.{rest[0]}" in strict.OBJECTS:
        key = f"slicer.{rest[0]}"
        return None if rest[1] in strict.OBJECTS[key] else f"{key} has no {rest[1]}"
    if first == "slicer" and rest and rest[0].startswith(("qMRML", "qSlicer")):
        return _classFault("slicer", slicer, rest)
    if first in MODULES and rest:
        return _classFault(first, MODULES[first], rest)
    return None


def _classFault(module, namespace, rest):
    if rest[0] not in strict.OBJECTS[module]:
        return f"{module} has no {rest[0]}"
    if len(rest) == 1:
        return None
    if module == "qt" and rest[0] == "Qt":
        value = getattr(QtCore.Qt, rest[1], None)
        scoped = isinstance(value, type) and issubclass(value, enum.Enum)
        return "no unscoped value of Qt" if value is None or scoped else None
    described = strict.contractOf(f"{module}.{rest[0]}")
    if described and rest[1] not in described.names:
        return f"{module}.{rest[0]} has no {rest[1]}"
    value = getattr(getattr(namespace, rest[0]), rest[1], None)
    if isinstance(value, type) and issubclass(value, enum.Enum) and len(rest) > 2:
        return f"{rest[1]}.{rest[2]} is scoped"
    return f"not in Qt 6: {rest[1]}" if value is None and module == "qt" else None


def faults(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names = chain(node)
            wrong = fault(names) if names else None
            if wrong:
                yield f"line {node.lineno}: {'.'.join(names)}: {wrong}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_are_the_application_s(path):
    assert not list(faults(ast.parse(path.read_text())))


@pytest.mark.parametrize(
    "text",
    [
        "qt.QRegularExpressions",
        "qt.Qt.AlignmentFlag.AlignCenter",
        "qt.Qt.Aligned",
        "qt.QMessageBox.StandardButton.Yes",
        "qt.QTableWidget.SingleSelections",
        "ctk.ctkSliders",
        "slicer.qMRMLNodeCombo",
        "slicer.util.arrayFromVolum",
        "slicer.app.mainWindow()",
        "slicer.app.layoutManager().plots(0)",
    ],
)
def test_a_name_that_is_none_is_found(text):
    assert list(faults(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    ["qt.Qt.AlignCenter", "qt.QMessageBox.Yes", "slicer.util.getNode", "qt.QTimer.singleShot"],
)
def test_a_name_of_the_application_is_none(text):
    assert not list(faults(ast.parse(text)))
