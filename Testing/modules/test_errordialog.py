"""The error dialog: what happened, what to do, and a report that can be copied."""

import pytest
import qt
import slicer

from DeepTranslateLib.mrml import errordialog
from DeepTranslateLib.mrml.errordialog import showError

MESSAGE = "There is no folder <b>/data/größe</b>. Choose another one."
REPORT = "Versions\nDeepTranslate 0.1.0\n\nTraceback ...\nValueError: größe"


@pytest.fixture
def shown():
    dialog = showError("The training failed", MESSAGE, REPORT)
    yield dialog
    dialog.dialog.close()
    slicer.app.processEvents()


def test_it_is_shown_and_does_not_wait(shown):
    assert shown.dialog.visible
    assert not shown.dialog.modal
    assert shown.dialog.windowTitle == "The training failed"


def test_the_message_is_read_as_it_is_and_not_as_mark_up(shown):
    assert shown.messageLabel.text == MESSAGE
    assert shown.messageLabel.textFormat == qt.Qt.PlainText


def test_the_report_is_shown_on_request(shown):
    assert not shown.reportEdit.visible
    shown.detailsButton.click()
    assert shown.reportEdit.visible
    assert shown.reportEdit.plainText == REPORT
    shown.detailsButton.click()
    assert not shown.reportEdit.visible


def test_the_report_can_be_copied_whole(shown):
    slicer.app.clipboard().setText("before")
    shown.copyButton.click()
    assert slicer.app.clipboard().text() == REPORT


def test_without_a_report_what_was_said_is_copied():
    dialog = showError("The training failed", MESSAGE, "")
    dialog.copyButton.click()
    assert slicer.app.clipboard().text() == f"The training failed\n\n{MESSAGE}\n"
    dialog.closeButton.click()


@pytest.mark.parametrize("end", ["button", "window"])
def test_a_closed_dialog_is_forgotten(end):
    before = len(errordialog._shown)
    dialog = showError("The training failed", MESSAGE, REPORT)
    assert len(errordialog._shown) == before + 1
    if end == "button":
        dialog.closeButton.click()
    else:
        dialog.dialog.reject()
    assert not dialog.dialog.visible
    assert len(errordialog._shown) == before
    slicer.app.processEvents()
