"""CTK's buttons, collapsible containers and message box."""

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from ..pythonqt import ctk
from .base import calls, parentIn, prop, signals, textIn, widget

MAXIMUM = 16777215  # Qt's QWIDGETSIZE_MAX


class _Folding:
    """Hides the contents of a collapsed container, and only shows again what it has hidden."""

    def _fold(self, collapsed, height):
        children = [c for c in self.children() if isinstance(c, QtWidgets.QWidget)]
        if collapsed:
            self._folded = [c for c in children if not c.isHidden()]
            for child in self._folded:
                child.hide()
        else:
            for child in self._folded:
                child.show()
            self._folded = []
        self.maximumHeight = height if collapsed else MAXIMUM
        self.updateGeometry()

    def childEvent(self, event):
        super().childEvent(event)
        if event.added() and self.collapsed and isinstance(event.child(), QtWidgets.QWidget):
            QtCore.QTimer.singleShot(0, self._foldLate)

    def _foldLate(self):
        if self.collapsed:
            for child in self.children():
                if isinstance(child, QtWidgets.QWidget) and not child.isHidden():
                    self._folded.append(child)
                    child.hide()

    def showEvent(self, event):
        self._foldLate()  # children made after `collapsed` was set (from the .ui file)
        super().showEvent(event)


@widget(ctk)
@signals(contentsCollapsed=["contentsCollapsed(bool)"])
class ctkCollapsibleButton(_Folding, QtWidgets.QAbstractButton):
    contentsCollapsed = Signal(bool)
    HEADER = 24

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._folded = []
        self.text = textIn(args)
        self.checkable = True
        self.checked = True
        self.setContentsMargins(0, self.HEADER, 0, 0)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Preferred)
        self.toggled.connect(calls(self, "_toggledTo"))

    collapsed = Property(
        bool, lambda self: not self.checked, lambda self, v: setattr(self, "checked", not v)
    )
    collapsedHeight = prop(int, 0)
    flat = prop(bool, False)
    contentsFrameShape = prop(int, 0)
    contentsFrameShadow = prop(int, 16)
    contentsLineWidth = prop(int, 1)

    def _toggledTo(self, expanded):
        self._fold(not expanded, self.HEADER + self.collapsedHeight)
        self.contentsCollapsed.emit(not expanded)

    def sizeHint(self):
        layout = self.layout()
        inner = QtCore.QSize(0, self.HEADER)
        if layout is not None and not self.collapsed:
            inner = layout.totalSizeHint()
        return QtCore.QSize(max(inner.width(), 120), max(inner.height(), self.HEADER))

    def hitButton(self, pos):
        return pos.y() < self.HEADER

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self.HEADER)
        style = self.style()
        style.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option, painter, self)
        _drawArrow(painter, QtCore.QRect(7, 0, 12, self.HEADER), not self.collapsed)
        rectangle = QtCore.QRect(24, 0, self.width - 30, self.HEADER)
        painter.setPen(self.palette.color(QtGui.QPalette.ColorRole.ButtonText))
        painter.drawText(rectangle, Qt.AlignmentFlag.AlignVCenter, self.text)
        painter.end()


def _drawArrow(painter, rectangle, down):
    center = rectangle.center()
    x, y = center.x(), center.y()
    points = [(-4, -2), (4, -2), (0, 3)] if down else [(-2, -4), (-2, 4), (3, 0)]
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor(70, 70, 70))
    painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(x + a, y + b) for a, b in points]))


@widget(ctk)
class ctkCollapsibleGroupBox(_Folding, QtWidgets.QGroupBox):
    HEADER = 22

    def __init__(self, *args):
        super().__init__(textIn(args), parentIn(args))
        self._folded = []
        self.checkable = True
        self.checked = True
        self.toggled.connect(calls(self, "_toggledTo"))

    collapsed = Property(
        bool, lambda self: not self.checked, lambda self, v: setattr(self, "checked", not v)
    )
    collapsedHeight = prop(int, 0)

    def _toggledTo(self, expanded):
        self._fold(not expanded, self.HEADER + self.collapsedHeight)

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        check = QtWidgets.QStyle.SubControl.SC_GroupBoxCheckBox
        style = self.style()
        control = QtWidgets.QStyle.ComplexControl.CC_GroupBox
        place = style.subControlRect(control, option, check, self)
        option.subControls &= ~check
        style.drawComplexControl(control, option, painter, self)
        _drawArrow(painter, place, not self.collapsed)
        painter.end()


@widget(ctk)
class ctkPushButton(QtWidgets.QPushButton):
    buttonTextAlignment = prop(Qt.AlignmentFlag, Qt.AlignmentFlag.AlignCenter)
    iconAlignment = prop(Qt.AlignmentFlag, Qt.AlignmentFlag.AlignLeft)
    elideMode = prop(Qt.TextElideMode, Qt.TextElideMode.ElideNone)


@widget(ctk)
@signals(
    checkBoxToggled=["checkBoxToggled(bool)"],
    checkStateChanged=["checkStateChanged(Qt::CheckState)"],
)
class ctkCheckablePushButton(ctkPushButton):
    """The real one has a check box inside the button; here the button itself is checkable."""

    checkBoxToggled = Signal(bool)
    checkStateChanged = Signal(object)

    def __init__(self, *args):
        super().__init__(*args)
        self.toggled.connect(self.checkBoxToggled)
        self.toggled.connect(calls(self, "_tellState"))

    checkBoxControlsButton = prop(bool, True)
    checkBoxControlsButtonToggleState = prop(bool, True)
    checkBoxUserCheckable = prop(bool, False)

    def _state(self):
        return Qt.CheckState.Checked if self.checked else Qt.CheckState.Unchecked

    def _tellState(self):
        self.checkStateChanged.emit(self.checkState)

    def _setState(self, value):
        self.checkable = True
        self.checked = value not in (Qt.CheckState.Unchecked, 0, False)

    checkState = Property(Qt.CheckState, _state, _setState)


@widget(ctk)
class ctkMenuButton(QtWidgets.QPushButton):
    pass


@widget(ctk)
class ctkCheckBox(QtWidgets.QCheckBox):
    pass


@widget(ctk)
class ctkExpandButton(QtWidgets.QToolButton):
    mirrorOnExpand = prop(bool, False)
    orientation = prop(Qt.Orientation, Qt.Orientation.Horizontal)

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self.checkable = True
        self.text = "\u00bb"


@widget(ctk)
@signals(colorChanged=["colorChanged(QColor)"], colorNameChanged=["colorNameChanged(QString)"])
class ctkColorPickerButton(QtWidgets.QPushButton):
    colorChanged = Signal(QtGui.QColor)
    colorNameChanged = Signal(str)

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._color = QtGui.QColor(0, 0, 0)
        self._name = ""
        self.text = textIn(args)
        self.checkable = True  # as the original
        self._draw()

    def _put(self, value):
        if value != self._color:
            self._color = QtGui.QColor(value)
            self._draw()
            self.colorChanged.emit(self._color)

    def _putName(self, value):
        if value != self._name:
            self._name = value
            self._draw()
            self.colorNameChanged.emit(value)

    def _draw(self):
        picture = QtGui.QPixmap(14, 14)
        picture.fill(self._color)
        self.icon = QtGui.QIcon(picture)
        if self.displayColorName:
            self.text = self._name or self._color.name()

    color = Property(QtGui.QColor, lambda self: self._color, _put)
    colorName = Property(str, lambda self: self._name, _putName)
    displayColorName = prop(bool, True, "_shown")

    def _shown(self):
        self.text = ""
        self._draw()

    def changeColor(self):
        from ..dialogs import chosenColor

        color = chosenColor(self._color)
        if color.isValid():
            self.color = color


@widget(ctk)
class ctkMessageBox(QtWidgets.QMessageBox):
    dontShowAgain = prop(bool, False)
    dontShowAgainVisible = prop(bool, False)
    dontShowAgainSettingsKey = prop(str, "")
