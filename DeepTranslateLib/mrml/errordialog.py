"""The dialog that says what went wrong and what to do, with a report that can be copied."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

_ICON_PIXELS = 32
_REPORT_SIZE = (640, 320)

# Python must hold what is shown: nothing else does.
_shown: list[ErrorDialog] = []


class ErrorDialog:
    """A dialog that does not wait: the application goes on, and so do tests and scripts.

    Args:
        title: What failed, in a few words.
        message: What happened and what to do, as `JobError` and the library's errors say it.
        report: For somebody else: versions, job, traceback, log. "" where there is none.
        parent: Widget to lie over; None: the main window.
    """

    def __init__(self, title: str, message: str, report: str, parent: Any = None) -> None:
        self.report = report or f"{title}\n\n{message}\n"
        self.dialog = qt.QDialog(parent if parent is not None else slicer.util.mainWindow())
        self.dialog.objectName = "DeepTranslateErrorDialog"
        self.dialog.windowTitle = title
        self.dialog.setModal(False)
        layout = qt.QVBoxLayout(self.dialog)
        row = qt.QHBoxLayout()
        layout.addLayout(row)
        icon = qt.QLabel()
        style = slicer.app.style()
        icon.setPixmap(style.standardIcon(qt.QStyle.SP_MessageBoxWarning).pixmap(_ICON_PIXELS))
        icon.setAlignment(qt.Qt.AlignTop)
        row.addWidget(icon)
        self.messageLabel = qt.QLabel(message)
        self.messageLabel.objectName = "messageLabel"
        self.messageLabel.wordWrap = True
        # A path or a name in it is no mark-up.
        self.messageLabel.textFormat = qt.Qt.PlainText
        self.messageLabel.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
        self.messageLabel.setMinimumWidth(_REPORT_SIZE[0] - 2 * _ICON_PIXELS)
        row.addWidget(self.messageLabel, 1)
        self.reportEdit = qt.QPlainTextEdit()
        self.reportEdit.objectName = "reportEdit"
        self.reportEdit.readOnly = True
        self.reportEdit.plainText = self.report
        self.reportEdit.setMinimumSize(*_REPORT_SIZE)
        self.reportEdit.visible = False
        layout.addWidget(self.reportEdit, 1)
        self._addButtons(layout)
        self.dialog.connect("finished(int)", self._onFinished)

    def _addButtons(self, layout: Any) -> None:
        row = qt.QHBoxLayout()
        layout.addLayout(row)
        self.detailsButton = qt.QPushButton(_("Show details"))
        self.detailsButton.objectName = "detailsButton"
        self.detailsButton.checkable = True
        self.detailsButton.connect("toggled(bool)", self._onDetails)
        self.copyButton = qt.QPushButton(_("Copy report"))
        self.copyButton.objectName = "copyButton"
        self.copyButton.toolTip = _(
            "Copies versions, settings and the log, to be sent with a question. It names files; it "
            "holds no images."
        )
        self.copyButton.connect("clicked()", self._onCopy)
        self.closeButton = qt.QPushButton(_("Close"))
        self.closeButton.objectName = "closeButton"
        self.closeButton.default = True
        self.closeButton.connect("clicked()", self.dialog.accept)
        row.addWidget(self.detailsButton)
        row.addStretch(1)
        row.addWidget(self.copyButton)
        row.addWidget(self.closeButton)

    def _onDetails(self, isShown: bool) -> None:
        self.reportEdit.visible = isShown
        self.detailsButton.text = _("Hide details") if isShown else _("Show details")
        self.dialog.adjustSize()

    def _onCopy(self) -> None:
        slicer.app.clipboard().setText(self.report)
        self.copyButton.text = _("Copied")

    def _onFinished(self, result: int) -> None:
        if self in _shown:
            _shown.remove(self)
            self.dialog.deleteLater()


def showError(title: str, message: str, report: str, parent: Any = None) -> ErrorDialog:
    """Show what went wrong, and return at once.

    Args:
        title: What failed, in a few words.
        message: What happened and what to do.
        report: For "Copy report" and "Show details"; "" where there is none.
        parent: Widget to lie over; None: the main window.
    """
    shown = ErrorDialog(title, message, report, parent)
    _shown.append(shown)
    shown.dialog.show()
    return shown
