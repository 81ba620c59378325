"""CTK's combo boxes and text widgets."""

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from ..pythonqt import ctk
from .base import calls, parentIn, prop, signals, textIn, widget


@widget(ctk)
class ctkComboBox(QtWidgets.QComboBox):
    defaultText = prop(str, "")
    defaultIcon = prop(QtGui.QIcon, QtGui.QIcon())
    forceDefault = prop(bool, False)
    elideMode = prop(Qt.TextElideMode, Qt.TextElideMode.ElideNone)

    def _userData(self):
        data = self.currentData
        return "" if data is None else str(data)

    def _select(self, text):
        self.setCurrentIndex(self.findData(text))

    currentUserDataAsString = Property(str, _userData, _select)


@widget(ctk)
@signals(
    checkedIndexesChanged=["checkedIndexesChanged()"],
    returnRelease=["returnRelease()"],
)
class ctkCheckableComboBox(QtWidgets.QComboBox):
    checkedIndexesChanged = Signal()
    returnRelease = Signal()

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self.model().dataChanged.connect(calls(self, "_tell"))

    def _tell(self):
        self.checkedIndexesChanged.emit()

    def checkableModel(self):
        return self.model()

    def _items(self):
        return [self.model().index(i, 0) for i in range(self.count)]

    def checkState(self, index):
        state = self.model().data(index, Qt.ItemDataRole.CheckStateRole)
        return Qt.CheckState.Unchecked if state is None else Qt.CheckState(state)

    def setCheckState(self, index, state):
        self.model().setData(index, state, Qt.ItemDataRole.CheckStateRole)

    def checkedIndexes(self):
        return [i for i in self._items() if self.checkState(i) == Qt.CheckState.Checked]

    def allChecked(self):
        return len(self.checkedIndexes()) == self.count

    def noneChecked(self):
        return not self.checkedIndexes()


@widget(ctk)
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._teaser = None
        self.verticalScrollBarPolicy = Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        self.document.contentsChanged.connect(calls(self, "updateGeometry"))
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Fixed)

    collapsed = prop(bool, True, "_collapse")
    showDetailsText = prop(str, "Show details...")
    hideDetailsText = prop(str, "Hide details.")
    disableMouseScroll = prop(bool, True)

    def setCollapsibleText(self, text):
        self._teaser = text
        self._collapse()

    setCollapsibleHtml = setCollapsibleText
    setCollapsiblePlainText = setCollapsibleText

    def _collapse(self):
        if self._teaser is None:
            return
        if self.collapsed:
            first = self._teaser.partition("<br>")[0].partition("\n")[0]
            self.setHtml(f'{first} <a href="#">{self.showDetailsText}</a>')
        else:
            self.setHtml(f'{self._teaser} <a href="#">{self.hideDetailsText}</a>')

    def sizeHint(self):
        width = self.viewport().width
        document = self.document.clone()
        document.textWidth = max(width, 100)
        height = round(document.size.height()) + 2 * self.frameWidth
        return QtCore.QSize(super().sizeHint().width(), height)

    minimumSizeHint = sizeHint

    def resizeEvent(self, event):
        super().resizeEvent(event)
        if event.oldSize().width() != event.size().width():
            self.updateGeometry()


@widget(ctk)
class ctkSearchBox(QtWidgets.QLineEdit):
    def __init__(self, *args):
        super().__init__(parentIn(args))
        self.placeholderText = textIn(args) or "Search..."
        self.clearButtonEnabled = True

    showSearchIcon = prop(bool, False)


@widget(ctk)
class ctkExpandableWidget(QtWidgets.QFrame):
    orientations = prop(Qt.Orientation, Qt.Orientation.Vertical)
    sizeGripInside = prop(bool, True)
