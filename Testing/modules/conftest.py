"""Module tests run in two hosts, unchanged: on Testing/host, and inside the Slicer application.

Fixtures, with the same meaning in both:

- `usersSettings` (always): the settings of this extension are those of a new user, and what they
  were afterwards.
- `cleanScene` (always): an empty scene; on the host, a slot that raised fails the test (in the
  application `--testing` does that).
- `panel`: function from a module's name to its widget, shown as when a user selects the module.
  Afterwards the module is left and its widget is made anew, so no test sees another's panel.
- `chooseFile`: function; the path it is given is the user's answer to the next file or folder
  dialog (without one: Cancel).
- `inApplication`: whether this is the application.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

# the user's own library of models is left alone, by the workers too
os.environ["DEEPTRANSLATE_MODELS"] = tempfile.mkdtemp(prefix="models-")

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


def pytest_sessionfinish():
    shutil.rmtree(os.environ["DEEPTRANSLATE_MODELS"], ignore_errors=True)
    if not IN_APPLICATION:
        gui.shutDown()


@pytest.fixture
def inApplication():
    return IN_APPLICATION


def ourSettings():
    settings = slicer.app.userSettings()
    return [key for key in settings.allKeys() if key.startswith("DeepTranslate/")]


@pytest.fixture(autouse=True)
def usersSettings():
    settings = slicer.app.userSettings()
    before = {key: settings.value(key) for key in ourSettings()}
    for key in before:
        settings.remove(key)
    yield
    for key in ourSettings():
        settings.remove(key)
    for key, value in before.items():
        settings.setValue(key, value)


@pytest.fixture(autouse=True)
def cleanScene(usersSettings):
    slicer.mrmlScene.Clear(0)
    if not IN_APPLICATION:
        pythonqt.slotErrors.clear()
    yield
    slicer.app.processEvents()
    if not IN_APPLICATION:
        assert not pythonqt.slotErrors, pythonqt.slotErrors


def renew(name):
    """Leave the module and make its widget anew, as Slicer's reload does, from the same source."""
    import qt

    slicer.util.selectModule("Data")
    widget = getattr(slicer.modules, name + "Widget")
    frame = widget.parent
    widget.cleanup()
    if hasattr(widget, "_onModuleAboutToBeUnloaded"):
        slicer.app.moduleManager().disconnect(
            "moduleAboutToBeUnloaded(QString)", widget._onModuleAboutToBeUnloaded
        )
    layout = frame.layout()
    while layout.count():
        item = layout.takeAt(0)
        if item.widget():
            item.widget().hide()
            item.widget().deleteLater()
    # At once, not when the event loop is reached again, which in the application is after the last
    # test: every panel of every test would go on following the scene.
    slicer.app.sendPostedEvents(None, qt.QEvent.DeferredDelete)
    frame.reload()
    slicer.app.processEvents()


@pytest.fixture
def panel(cleanScene):
    shown = []

    def show(name):
        slicer.util.selectModule(name)
        if name not in shown:
            shown.append(name)
        slicer.app.processEvents()
        return getattr(slicer.modules, name + "Widget")

    yield show
    for name in shown:
        renew(name)


@pytest.fixture
def trainPanel(panel, tmp_path):
    """The Train panel, empty, with folders of its own; what it runs is ended."""
    # Not above: it needs the host, or the application.
    from job_helpers import waitUntil

    settings = slicer.app.userSettings()
    settings.setValue("DeepTranslate/RunsFolder", str(tmp_path / "runs"))
    settings.setValue("DeepTranslate/ModelsFolder", str(tmp_path / "models"))
    widget = panel("DeepTranslateTrain")
    widget.builder.clear()
    widget.ui.runFolderEdit.currentPath = str(tmp_path / "run")
    yield widget
    if widget.slot.busy:
        widget.slot.cancel()
        waitUntil(lambda: not widget.slot.busy)
    settings.remove("DeepTranslate/RunsFolder")
    settings.remove("DeepTranslate/ModelsFolder")


@pytest.fixture
def chooseFile(monkeypatch):
    import qt

    answers = []
    real = qt.QFileDialog

    class Answering:
        def __getattr__(self, name):
            return getattr(real, name)

        def _one(self, *question):
            return str(answers.pop(0)) if answers else ""

        getOpenFileName = getSaveFileName = getExistingDirectory = _one

        def getOpenFileNames(self, *question):
            return tuple(filter(None, [self._one()]))

    monkeypatch.setattr(qt, "QFileDialog", Answering())
    return answers.append
