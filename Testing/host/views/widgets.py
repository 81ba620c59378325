"""The widgets of the view area: one for each kind of view node, with a bar above it."""

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt

from ..widgets.base import parentIn, widget
from ..widgets.qmrml import qMRMLWidget
from ..widgets.tableview import qMRMLTableView
from . import chart
from .rendering import SliceRendering, ThreeDRendering, asImage


class _Canvas(QtWidgets.QWidget):
    """Shows the last picture of a view; VTK is asked for a new one by `renderNow` only."""

    background = QtGui.QColor(0, 0, 0)
    _offered = ("forceRender", "scheduleRender")

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._image = None
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Expanding)
        self.minimumHeight = 60

    def forceRender(self):
        pass

    scheduleRender = forceRender

    def pixels(self):
        return max(self.width, 16), max(self.height, 16)

    def renderNow(self):
        self._image = asImage(self.rendered(self.pixels()))
        self.update()

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        if self._image is None:
            painter.fillRect(self.rect, self.background)
        else:
            painter.drawImage(self.rect, self._image)
            self.annotate(painter)
        painter.end()

    def annotate(self, painter):
        pass


class qMRMLSliceView(_Canvas):
    _offered = (*_Canvas._offered, "mrmlSliceNode", "renderWindow")

    def __init__(self, node, logic):
        super().__init__()
        self._node, self._logic, self._rendering = node, logic, None

    def mrmlSliceNode(self):
        return self._node

    def resizeEvent(self, event):
        super().resizeEvent(event)
        self._logic.ResizeSliceNode(*self.pixels())

    def _open(self):
        if self._rendering is None:
            self._rendering = SliceRendering(self._node, self._logic, self.pixels())
        return self._rendering

    def renderWindow(self):
        return self._open().window

    def rendered(self, size):
        return self._open().picture(size)

    def annotate(self, painter):
        """The volumes' names, as Slicer's slice annotations show them."""
        composite = self._logic.GetSliceCompositeNode()
        lines = []
        for letter, kind in (("L", "Label"), ("F", "Foreground"), ("B", "Background")):
            nodeID = getattr(composite, f"Get{kind}VolumeID")()
            node = slicer.mrmlScene.GetNodeByID(nodeID) if nodeID else None
            if node is None:
                continue
            share = f" ({composite.GetForegroundOpacity():.0%})" if letter == "F" else ""
            lines.append(f"{letter}: {node.GetName()}{share}")
        font = painter.font()
        font.setPixelSize(12)
        painter.setFont(font)
        painter.setPen(QtGui.QColor(235, 235, 235))
        for i, line in enumerate(reversed(lines)):
            painter.drawText(8, self.height - 8 - 15 * i, line)


class qMRMLThreeDView(_Canvas):
    background = QtGui.QColor(154, 158, 210)
    _offered = (
        *_Canvas._offered,
        "mrmlViewNode",
        "renderWindow",
        "resetCamera",
        "resetFocalPoint",
        "rotateToViewAxis",
    )

    def __init__(self, node):
        super().__init__()
        self._node, self._rendering, self._reset = node, None, True

    def mrmlViewNode(self):
        return self._node

    def resetFocalPoint(self):
        self._reset = True

    resetCamera = resetFocalPoint

    def rotateToViewAxis(self, axis):
        self._reset = True

    def _open(self):
        if self._rendering is None:
            self._rendering = ThreeDRendering(self._node, self.pixels())
        return self._rendering

    def renderWindow(self):
        return self._open().window

    def rendered(self, size):
        rendering = self._open()
        if self._reset:
            rendering.window.SetSize(*size)
            rendering.resetCamera()
            self._reset = False
        return rendering.picture(size)


@widget(slicer)
class qMRMLPlotView(_Canvas):
    background = QtGui.QColor(255, 255, 255)

    def __init__(self, *args):
        super().__init__(*args)
        self._scene = self._viewNode = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._scene = scene

    def mrmlPlotViewNode(self):
        return self._viewNode

    def setMRMLPlotViewNode(self, node):
        self._viewNode = node

    def fitToContent(self):
        pass

    def rendered(self, size):
        return chart.picture(self._viewNode, size)


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
