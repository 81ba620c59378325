"""qMRML's plain widgets: containers with a scene, and CTK's numbers with units."""

import slicer
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Qt, Signal

from .base import NodeObserver, calls, parentIn, prop, signals, widget
from .ctkbuttons import ctkCollapsibleButton
from .ctkvalues import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget


@widget(slicer)
@signals(mrmlSceneChanged=["mrmlSceneChanged(vtkMRMLScene*)"])
class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@widget(slicer)
class qSlicerWidget(qMRMLWidget):
    pass


class _InScene:
    """Remembers its scene; the unit nodes in it change nothing here."""

    _scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._scene = scene


@widget(slicer)
class qMRMLSliderWidget(_InScene, ctkSliderWidget):
    quantity = prop(str, "")


@widget(slicer)
class qMRMLSpinBox(_InScene, ctkDoubleSpinBox):
    quantity = prop(str, "")


@widget(slicer)
class qMRMLRangeWidget(_InScene, ctkRangeWidget):
    quantity = prop(str, "")


@widget(slicer)
@signals(mrmlSceneChanged=["mrmlSceneChanged(vtkMRMLScene*)"])
class qMRMLCollapsibleButton(ctkCollapsibleButton):
    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene):
        self.mrmlSceneChanged.emit(scene)


@widget(slicer)
@signals(
    colorEntrySelected=["colorEntrySelected(int)"],
    colorNameSelected=["colorNameSelected(QString)"],
    colorSelected=["colorSelected(QColor)"],
    currentColorNodeChanged=["currentColorNodeChanged(vtkMRMLNode*)"],
)
class qMRMLColorPickerWidget(qMRMLWidget):
    colorEntrySelected = Signal(int)
    colorNameSelected = Signal(str)
    colorSelected = Signal(QtGui.QColor)
    currentColorNodeChanged = Signal(object)

    def __init__(self, *args):
        super().__init__(*args)
        self._node = self._observer = None
        self._list = QtWidgets.QListWidget()
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._list)
        self._list.itemActivated.connect(calls(self, "_picked"))

    def currentColorNode(self):
        return self._node

    def setCurrentColorNode(self, node):
        if node is self._node:
            return
        if self._observer:
            self._observer.stop()
        self._node = node
        self._observer = NodeObserver(self, node, "_fill") if node else None
        self._fill()
        self.currentColorNodeChanged.emit(node)

    def _color(self, entry):
        rgba = [0.0] * 4
        self._node.GetColor(entry, rgba)
        return QtGui.QColor.fromRgbF(*rgba)

    def _fill(self):
        self._list.clear()
        for entry in range(self._node.GetNumberOfColors() if self._node else 0):
            picture = QtGui.QPixmap(14, 14)
            picture.fill(self._color(entry))
            item = QtWidgets.QListWidgetItem(QtGui.QIcon(picture), self._node.GetColorName(entry))
            item.setData(Qt.ItemDataRole.UserRole, entry)
            self._list.addItem(item)

    def _picked(self, item):
        entry = item.data(Qt.ItemDataRole.UserRole)
        self.colorEntrySelected.emit(entry)
        self.colorSelected.emit(self._color(entry))
        self.colorNameSelected.emit(self._node.GetColorName(entry))
