"""CTK's widgets for files and folders."""

import os
import re

from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from ..pythonqt import ctk
from .base import calls, parentIn, prop, row, signals, widget


def isEnum(**values):
    """Class decorator: enumeration values as integers on the class."""

    def decorate(cls):
        for name, value in values.items():
            setattr(cls, name, value)
        return cls

    return decorate


@widget(ctk)
@signals(
    currentPathChanged=["currentPathChanged(QString)"],
    validInputChanged=["validInputChanged(bool)"],
)
@isEnum(
    Dirs=0x001,
    Files=0x002,
    Drives=0x004,
    NoSymLinks=0x008,
    AllEntries=0x007,
    Readable=0x010,
    Writable=0x020,
    Executable=0x040,
    Hidden=0x100,
    System=0x200,
    AllDirs=0x400,
    CaseSensitive=0x800,
    NoDot=0x2000,
    NoDotDot=0x4000,
    NoDotAndDotDot=0x6000,
    NoFilter=-1,
)
class ctkPathLineEdit(QtWidgets.QWidget):
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._box = QtWidgets.QComboBox()
        self._box.editable = True
        self._box.insertPolicy = QtWidgets.QComboBox.InsertPolicy.NoInsert
        policy = QtWidgets.QSizePolicy.Policy
        self._box.setSizePolicy(policy.Expanding, policy.Fixed)
        self._box.minimumContentsLength = 12
        self._box.sizeAdjustPolicy = (
            QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._browse = QtWidgets.QToolButton()
        self._browse.text = "..."
        row(self, self._box, self._browse)
        self._valid = False
        self._box.editTextChanged.connect(calls(self, "_changed"))
        self._browse.clicked.connect(calls(self, "browse"))

    def _changed(self, text):
        # As CTK: what its validator does not accept is not told, such as no path at all, and
        # folders where there are name filters.
        endings = re.findall(r"\*(\.\w+)", " ".join(self.nameFilters))
        isAcceptable = text.endswith(tuple(endings)) if endings else bool(text)
        if isAcceptable:
            self.currentPathChanged.emit(text)
        if isAcceptable != self._valid:
            self._valid = isAcceptable
            self.validInputChanged.emit(isAcceptable)

    def _put(self, value):
        if value != self._box.currentText:
            self._box.setEditText(value)

    currentPath = Property(str, lambda self: self._box.currentText, _put)
    # as the original: existing or new files and folders
    filters = prop(int, 0x001 | 0x002 | 0x400 | 0x040 | 0x010 | 0x6000)
    nameFilters = prop("QStringList", [])
    settingKey = prop(str, "", "retrieveHistory")
    label = prop(str, "")
    showHistoryButton = prop(bool, True)
    showBrowseButton = prop(bool, True, "_shown")
    minimumContentsLength = prop(int, 0)

    def _shown(self):
        self._browse.setVisible(self.showBrowseButton)

    def comboBox(self):
        return self._box

    def _historyKey(self):
        return f"ctkPathLineEdit/{self.settingKey}"

    def retrieveHistory(self):
        from ..pythonqt import qt

        kept = qt.QSettings().value(self._historyKey()) if self.settingKey else None
        kept = [kept] if isinstance(kept, str) else list(kept or ())
        path = self.currentPath or next(iter(kept), "")
        blocked = self._box.blockSignals(True)
        self._box.clear()
        self._box.addItems(kept[:5])
        self._box.currentIndex = -1
        self._box.blockSignals(blocked)
        self.currentPath = path

    def addCurrentPathToHistory(self):
        from ..pythonqt import qt

        path = self.currentPath
        if not path or not self.settingKey:
            return
        settings = qt.QSettings()
        kept = settings.value(self._historyKey())
        kept = [kept] if isinstance(kept, str) else list(kept or ())
        settings.setValue(self._historyKey(), [path, *(k for k in kept if k != path)])

    def browse(self):
        from ..pythonqt import qt

        if self.filters & self.Files:
            filters = ";;".join(self.nameFilters)
            ask = qt.QFileDialog.getOpenFileName
            if self.filters & self.Writable:
                ask = qt.QFileDialog.getSaveFileName
            path = ask(self, self.label, self.currentPath, filters)
        else:
            path = qt.QFileDialog.getExistingDirectory(self, self.label, self.currentPath)
        if path:  # which CTK does not add to the history by itself
            self.currentPath = path


@widget(ctk)
@signals(
    directoryChanged=["directoryChanged(QString)"], directorySelected=["directorySelected(QString)"]
)
class ctkDirectoryButton(QtWidgets.QWidget):
    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._directory = os.getcwd()
        self._button = QtWidgets.QPushButton()
        row(self, self._button)
        self._button.clicked.connect(calls(self, "browse"))
        self._draw()

    def _put(self, value):
        value = os.path.abspath(value)
        if value != self._directory:
            self._directory = value
            self._draw()
            self.directoryChanged.emit(value)

    def _draw(self):
        self._button.text = self.text or self._directory

    directory = Property(str, lambda self: self._directory, _put)
    text = prop(str, "", "_draw")
    caption = prop(str, "")
    icon = prop(QtGui.QIcon, QtGui.QIcon())

    def browse(self):
        from ..pythonqt import qt

        path = qt.QFileDialog.getExistingDirectory(self, self.caption, self._directory)
        if path:
            self.directory = path
            self.directorySelected.emit(self._directory)
