"""What the application has and this host does not, in contract/notoffered.json.

Code that uses such a name fails here although it would work in the application; so nothing slips
through the other way. `python -m Testing.host.notoffered` writes the list anew.
"""

import json

from . import strict

FILE = strict.FOLDER / "notoffered.json"


def makers():
    """Key of a described class or object -> function that makes or finds one of it."""
    import ctk
    import qt
    import slicer

    layout = slicer.app.layoutManager()
    special = {
        "qt.QActionGroup": lambda: qt.QActionGroup(slicer.util.mainWindow()),
        "qt.QShortcut": lambda: qt.QShortcut(slicer.util.mainWindow()),
        "slicer.qMRMLSliceWidget": lambda: layout.sliceWidget("Red"),
        "slicer.qMRMLThreeDWidget": lambda: layout.threeDWidget(0),
        "slicer.qMRMLTableWidget": _tableWidget,
    }
    found = {
        "slicer.app": lambda: slicer.app,
        "slicer.app.layoutManager()": slicer.app.layoutManager,
        "slicer.app.moduleManager()": slicer.app.moduleManager,
        "slicer.app.coreIOManager()": slicer.app.coreIOManager,
        "slicer.util": lambda: slicer.util,
    }
    for key in strict.CLASSES:
        module, name = key.split(".")
        cls = getattr({"qt": qt, "ctk": ctk, "slicer": slicer}[module], name, None)
        if cls is not None:
            found[key] = special.get(key, cls)
    return found


def _tableWidget():
    import slicer

    layout = slicer.app.layoutManager()
    before = layout.layout
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
    widget = layout.tableWidget(0)
    layout.setLayout(before)
    return widget


def missing():
    """{"classes": not offered at all, "names": {class: names that its own entry adds}}."""
    offered = makers()
    names = {}
    for key, make in offered.items():
        example = make()
        listed = strict.CLASSES[key]["names"] if key in strict.CLASSES else strict.OBJECTS[key]
        absent = sorted(n for n in listed if not _has(example, n))
        if absent:
            names[key] = absent
    classes = sorted(key for key in strict.CLASSES if key not in offered)
    return {"classes": classes, "names": names}


def _has(example, name):
    """Whether the object, or for an enumeration's value its class, answers to the name."""
    if name[:2] == "__":
        return True
    for owner in (example, type(example)):
        try:
            getattr(owner, name)
        except (AttributeError, SystemError):  # the latter: `raise`, which PySide6 trips over
            continue
        return True
    return False


def recorded():
    return json.loads(FILE.read_text())


if __name__ == "__main__":
    from . import gui

    gui.start()
    FILE.write_text(json.dumps(missing(), indent=1) + "\n")
