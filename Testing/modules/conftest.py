"""Module tests run in two hosts, unchanged: on Testing/host, and inside the Slicer application."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

try:
    import slicer

    IN_APPLICATION = type(getattr(slicer, "app", None)).__name__ == "qSlicerApplication"
except ImportError:
    IN_APPLICATION = False

if not IN_APPLICATION:
    from Testing.host import gui, pythonqt

    gui.start()
    for path in sorted((ROOT / "DeepTranslate").glob("DeepTranslate*.py")):
        gui.loadModule(path)
    import slicer

    slicer.app.startupCompleted()


@pytest.fixture
def inApplication():
    return IN_APPLICATION


@pytest.fixture(autouse=True)
def cleanScene():
    slicer.mrmlScene.Clear(0)
    if not IN_APPLICATION:
        pythonqt.slotErrors.clear()
    yield
    slicer.app.processEvents()
    if not IN_APPLICATION:
        assert not pythonqt.slotErrors, pythonqt.slotErrors


@pytest.fixture
def panel():
    """Function from a module's name to its widget, shown and entered as when a user selects it."""
    shown = []

    def show(name):
        if IN_APPLICATION:
            slicer.util.selectModule(name)
            return getattr(slicer.modules, name + "Widget")
        widget = gui.selectModule(name)
        shown.append(widget)
        return widget

    yield show
    for widget in shown:
        widget.parent.exit()
