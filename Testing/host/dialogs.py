"""Dialogs never block on the host: the user's answer is prepared, or it is the careful one.

    dialogs.answer("file", "/some/file.nrrd")     # the next file or folder dialog
    dialogs.answer("button", qt.QMessageBox.Yes)  # the next message box
    dialogs.answer("dialog", True)                # the next QDialog.exec: accepted
    dialogs.answer("text" / "color" / "action", ...)
    dialogs.shown                                 # what was asked, in order: (kind, title, text)

Without an answer: no file, Cancel or No, rejected, no text, no colour, no menu entry.
"""

from PySide6 import QtGui, QtWidgets

from .pythonqt import qt

shown = []
_answers = {}


def reset():
    shown.clear()
    _answers.clear()


def answer(kind, value):
    _answers.setdefault(kind, []).append(value)


def _asked(kind, title="", text="", default=None):
    shown.append((kind, title, text))
    waiting = _answers.get(kind)
    return waiting.pop(0) if waiting else default


def chosenColor(initial):
    return _asked("color", default=QtGui.QColor())


def chosenText(initial):
    return _asked("text", default="")


def _careful(buttons):
    """What closing the message box means."""
    standard = QtWidgets.QMessageBox.StandardButton
    for button in (standard.Cancel, standard.No, standard.Abort, standard.Close, standard.Ok):
        if int(buttons) & int(button):
            return button
    return standard.NoButton


def _fileDialog(many=False):
    def ask(parent=None, caption="", directory="", filter="", *rest):
        given = _asked("file", caption, directory)
        if many:
            return tuple([given] if isinstance(given, str) else given or ())
        return str(given) if given else ""

    return staticmethod(ask)


def _folderDialog(parent=None, caption="", directory="", *options):
    given = _asked("file", caption, directory)
    return str(given) if given else ""


def _messageBox(parent, title, text, buttons=None, default=None):
    standard = QtWidgets.QMessageBox.StandardButton
    buttons = standard.Ok if buttons is None else buttons
    return _asked("button", title, text, default=_careful(buttons))


def _execMessageBox(self):
    return _asked("button", self.windowTitle, self.text, default=_careful(self.standardButtons))


def _execDialog(self):
    accepted = _asked("dialog", self.windowTitle, default=False)
    (self.accept if accepted else self.reject)()
    return int(bool(accepted))


def _execFileDialog(self):
    given = _asked("file", self.windowTitle)
    if given:
        self.selectFile(str(given))
    return int(bool(given))


def _inputText(parent, title, label, *rest):
    return _asked("text", title, label, default="")


def _menu(self, *position):
    return _asked("action", self.title)


def install():
    """Patch the classes, once, after pythonqt.install()."""
    files = qt.QFileDialog
    files.getOpenFileName = files.getSaveFileName = _fileDialog()
    files.getOpenFileNames = _fileDialog(many=True)
    files.getExistingDirectory = staticmethod(_folderDialog)
    for name in ("question", "information", "warning", "critical"):
        setattr(qt.QMessageBox, name, staticmethod(_messageBox))
    for cls, run in (
        (qt.QDialog, _execDialog),
        (qt.QMessageBox, _execMessageBox),
        (qt.QFileDialog, _execFileDialog),
        (qt.QMenu, _menu),
    ):
        cls.exec = cls.exec_ = run
    for name in ("getText", "getItem", "getMultiLineText"):
        setattr(qt.QInputDialog, name, staticmethod(_inputText))
    qt.QColorDialog.getColor = staticmethod(lambda initial=None, *_: chosenColor(initial))
