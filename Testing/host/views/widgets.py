"""The widgets of the view area: one for each kind of view node, with a bar above it."""

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt

from ..widgets.base import widget
from ..widgets.qmrml import qMRMLWidget
from ..widgets.tableview import qMRMLTableView
from .canvases import qMRMLPlotView, qMRMLSliceView, qMRMLThreeDView


class _Bar(QtWidgets.QFrame):
    """The coloured bar above a view, with its letter and, for a slice, its offset."""

    def __init__(self, node):
        super().__init__()
        self._node = node
        self.setFixedHeight(20)

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtGui.QColor(240, 240, 240))
        color = QtGui.QColor(120, 120, 160)
        if hasattr(self._node, "GetLayoutColor"):
            color = QtGui.QColor.fromRgbF(*self._node.GetLayoutColor())
        letter = QtCore.QRect(0, 0, 26, self.height)
        painter.fillRect(letter, color)
        painter.setPen(QtGui.QColor(20, 20, 20))
        painter.drawText(letter, Qt.AlignmentFlag.AlignCenter, self._node.GetLayoutLabel() or "")
        painter.drawText(
            self.rect.adjusted(34, 0, -8, 0),
            Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight,
            self._shown(),
        )
        painter.end()

    def _shown(self):
        node = self._node
        if node.IsA("vtkMRMLSliceNode"):
            return f"{node.GetOrientation()}   {node.GetSliceOffset():.1f} mm"
        if node.IsA("vtkMRMLTableViewNode") and node.GetTableNode():
            return node.GetTableNode().GetName()
        if node.IsA("vtkMRMLPlotViewNode") and node.GetPlotChartNode():
            return node.GetPlotChartNode().GetName()
        return ""


class _ViewWidget(qMRMLWidget):
    """A view under its bar; `renderNow` draws it."""

    def __init__(self, node, view):
        super().__init__()
        self._node, self._view = node, view
        self.setMRMLScene(slicer.mrmlScene)
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(0)
        box.addWidget(_Bar(node))
        box.addWidget(view, 1)

    def renderNow(self):
        if hasattr(self._view, "renderNow"):
            self._view.renderNow()

    def mrmlAbstractViewNode(self):
        return self._node

    def viewWidget(self):
        return self._view

    viewLabel = Property(
        str,
        lambda self: self._node.GetLayoutLabel() or "",
        lambda self, v: self._node.SetLayoutLabel(v),
    )


@widget(slicer)
class qMRMLSliceWidget(_ViewWidget):
    def __init__(self, node):
        application = slicer.app.applicationLogic()
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(slicer.mrmlScene)
        application.GetSliceLogics().AddItem(logic)
        logic.SetSliceNode(node)
        view = qMRMLSliceView(node, logic)
        super().__init__(node, view)
        self._logic = logic

    def sliceLogic(self):
        return self._logic

    logic = sliceLogic

    def mrmlSliceNode(self):
        return self._node

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def sliceView(self):
        return self._view

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()

    def setSliceOrientation(self, orientation):
        self._node.SetOrientation(orientation)

    sliceOrientation = Property(
        str,
        lambda self: self._node.GetOrientation(),
        lambda self, v: self._node.SetOrientation(v),
    )
    sliceViewName = Property(str, lambda self: self._node.GetLayoutName())


@widget(slicer)
class qMRMLThreeDWidget(_ViewWidget):
    def __init__(self, node):
        application = slicer.app.applicationLogic()
        logic = slicer.vtkMRMLViewLogic()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(slicer.mrmlScene)
        application.GetViewLogics().AddItem(logic)
        super().__init__(node, qMRMLThreeDView(node))
        self._logic = logic

    def viewLogic(self):
        return self._logic

    logic = viewLogic

    def mrmlViewNode(self):
        return self._node

    def threeDView(self):
        return self._view


@widget(slicer)
class qMRMLTableWidget(_ViewWidget):
    def __init__(self, node):
        view = qMRMLTableView()
        view.setMRMLScene(slicer.mrmlScene)
        view.setMRMLTableViewNode(node)
        super().__init__(node, view)

    def tableView(self):
        return self._view

    def mrmlTableViewNode(self):
        return self._node


class qMRMLPlotWidget(_ViewWidget):
    _offered = ("plotView", "mrmlPlotViewNode", "mrmlAbstractViewNode", "viewWidget", "viewLabel")

    def __init__(self, node):
        view = qMRMLPlotView()
        view.setMRMLScene(slicer.mrmlScene)
        view.setMRMLPlotViewNode(node)
        super().__init__(node, view)

    def plotView(self):
        return self._view

    def mrmlPlotViewNode(self):
        return self._node


CLASSES = {
    "vtkMRMLSliceNode": qMRMLSliceWidget,
    "vtkMRMLViewNode": qMRMLThreeDWidget,
    "vtkMRMLTableViewNode": qMRMLTableWidget,
    "vtkMRMLPlotViewNode": qMRMLPlotWidget,
}
