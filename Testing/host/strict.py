"""Which names the real application has (contract/api.json), and who must keep to them.

Code under test sees of an object only the names that its class has in the application. The host's
own code, Qt's and Slicer's are not held to it: they make the stand-ins work.
"""

import functools
import json
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("contract")
_API = json.loads((FOLDER / "api.json").read_text())
CLASSES = _API["classes"]
OBJECTS = _API["objects"]
_OURS = (
    "Testing.host.",
    "Testing.screenshots",
    "PySide6",
    "shiboken6",
    "slicer.util",
    "slicer_core",
)
# PythonQt maps these, but does not list them.
_MAPPED = frozenset({"name", "exec_", "raise_"})
# Virtual functions of C++ that Qt itself looks up, with code under test on the stack: these alone
# cannot be refused.
VIRTUALS = frozenset(
    {
        "closeEditor",
        "commitData",
        "connectNotify",
        "currentChanged",
        "dataChanged",
        "disconnectNotify",
        "editorDestroyed",
        "horizontalScrollbarAction",
        "horizontalScrollbarValueChanged",
        "initViewItemOption",
        "itemDelegateForIndex",
        "multiData",
        "readLineInto",
        "resetInternalData",
        "rowsAboutToBeRemoved",
        "rowsInserted",
        "rowsRemoved",
        "selectionChanged",
        "skipData",
        "updateEditorData",
        "updateEditorGeometries",
        "updateGeometries",
        "verticalScrollbarAction",
        "verticalScrollbarValueChanged",
    }
)


class Contract(NamedTuple):
    names: frozenset
    properties: dict
    signals: tuple


@functools.cache
def contractOf(key):
    """Everything listed for a class ("qt.QPushButton") or an object ("slicer.app"), or None."""
    if key in OBJECTS:
        return Contract(frozenset(OBJECTS[key]) | _MAPPED, {}, ())
    if key not in CLASSES:
        return None
    names, properties, signals = set(_MAPPED), {}, []
    chain = []
    while key:
        chain.append(CLASSES[key])
        key = CLASSES[key].get("base")
    for described in reversed(chain):
        names.update(described.get("names", ()))
        properties.update(described.get("properties", {}))
        signals += described.get("signals", ())
    return Contract(frozenset(names), properties, tuple(signals))


def _isHosts(module):
    return module.startswith(_OURS) and not module.rpartition(".")[2].startswith("test_")


@functools.cache
def _ownContract(cls):
    """(contract, whether every other name is refused) of the class itself or the nearest base."""
    for base in cls.__mro__:
        key = base.__dict__.get("_contractKey")
        if key is None and base.__module__.startswith("PySide6"):
            key = "qt." + base.__name__
        found = contractOf(key) if key else None
        if found:
            return found
        if key and base.__module__.startswith("PySide6"):
            return None  # a Qt class the contract does not list: nothing is known about it
    return None


@functools.cache
def _added(cls):
    """Names that classes in front of the described one add: by tested code, or `_offered` here."""
    added = set()
    for base in cls.__mro__:
        if base.__module__.startswith("PySide6"):
            break
        if _isHosts(base.__module__):
            added.update(base.__dict__.get("_offered", ()))
            if "_contractKey" in base.__dict__ and contractOf(base.__dict__["_contractKey"]):
                break
        else:
            added.update(base.__dict__)
    return frozenset(added)


def ofClass(cls):
    """Contract of a class, or None if anything goes."""
    return _ownContract(cls)


def isListed(cls, name):
    """Whether code under test may use this name of an object of the class."""
    if name[:2] == "__" and name[-2:] == "__":
        return True
    found = _ownContract(cls)
    if found is not None:
        return name in found.names or name in VIRTUALS or name in _added(cls)
    if not _isHosts(cls.__module__):
        return True
    # a stand-in for a class that the contract does not list: what Qt has, and what it says itself
    qtBase = next(b for b in cls.__mro__ if b.__module__.startswith("PySide6"))
    return qtBase is cls or name in _added(cls) or hasattr(qtBase, name)


def isPythonSubclass(cls):
    """Whether the class was made by code under test, so that its objects take new attributes."""
    module = cls.__module__
    return not module.startswith("PySide6") and not _isHosts(module)


def callerIsTested(depth=2):
    """Whether the function `depth` frames up is code under test (or a test)."""
    try:
        module = sys._getframe(depth).f_globals.get("__name__", "")
    except ValueError:  # Qt itself, without Python below it
        return False
    return not _isHosts(module)
