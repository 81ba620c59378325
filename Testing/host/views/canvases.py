"""What is inside a view: the picture that VTK made of it."""

import slicer
from PySide6 import QtGui, QtWidgets

from ..widgets.base import parentIn, widget
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
