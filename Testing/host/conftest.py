import pytest

from Testing.host import dialogs, gui, packaging, pythonqt

gui.start()
import slicer  # noqa: E402 - the host must be started first


@pytest.fixture(autouse=True)
def cleanHost():
    slicer.mrmlScene.Clear(0)
    pythonqt.slotErrors.clear()
    dialogs.reset()
    packaging.reset()
    yield
    slicer.app.processEvents()
    errors = list(pythonqt.slotErrors)
    pythonqt.slotErrors.clear()
    assert not errors


@pytest.fixture
def slotErrors():
    """What slots raised; a test that takes this looks at them itself."""
    yield pythonqt.slotErrors
    pythonqt.slotErrors.clear()
