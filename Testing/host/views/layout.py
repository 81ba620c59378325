"""slicer.app.layoutManager(): the real layout logic decides which views there are and where."""

import xml.etree.ElementTree as ET

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from ..widgets.base import NodeObserver, signals
from .widgets import CLASSES


@signals(layoutChanged=["layoutChanged(int)"])
class LayoutManager(QtCore.QObject):
    _contractKey = "slicer.app.layoutManager()"
    layoutChanged = Signal(int)

    def __init__(self, viewport):
        super().__init__()
        self._viewport = viewport
        box = QtWidgets.QVBoxLayout(viewport)
        box.setContentsMargins(0, 0, 0, 0)
        self._widgets = {}  # node ID -> widget
        self._arrangement = None
        self._area = None
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(slicer.mrmlScene)
        node = self._logic.GetLayoutNode()
        self._observer = NodeObserver(self, node, "_changed")
        node.SetViewArrangement(node.SlicerLayoutFourUpView)
        self._changed()

    # which views

    def layoutLogic(self):
        return self._logic

    def mrmlScene(self):
        return slicer.mrmlScene

    def setLayout(self, layout):
        self._logic.GetLayoutNode().SetViewArrangement(int(layout))

    layout = Property(int, lambda self: self._logic.GetLayoutNode().GetViewArrangement(), setLayout)

    def _shown(self, className):
        nodes = self._logic.GetViewNodes()
        nodes = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
        return [self._widgetOf(n) for n in nodes if n.GetClassName() == className]

    def _widgetOf(self, node):
        nodeID = node.GetID()
        if nodeID not in self._widgets:
            self._widgets[nodeID] = CLASSES[node.GetClassName()](node)
        return self._widgets[nodeID]

    def _created(self, className):
        return [w for w in self._widgets.values() if w.mrmlAbstractViewNode().IsA(className)]

    def _nth(self, className, index):
        widgets = self._shown(className)
        return widgets[index] if 0 <= index < len(widgets) else None

    def sliceViewNames(self):
        widgets = self._created("vtkMRMLSliceNode")
        return tuple(w.mrmlSliceNode().GetLayoutName() for w in widgets)

    def sliceWidget(self, name):
        for found in self._created("vtkMRMLSliceNode"):
            if found.mrmlSliceNode().GetLayoutName() == name:
                return found
        return None

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    def mrmlViewLogics(self):
        return slicer.app.applicationLogic().GetViewLogics()

    threeDViewCount = Property(int, lambda self: len(self._shown("vtkMRMLViewNode")))
    tableViewCount = Property(int, lambda self: len(self._shown("vtkMRMLTableViewNode")))
    plotViewCount = Property(int, lambda self: len(self._shown("vtkMRMLPlotViewNode")))

    def threeDWidget(self, index):
        return self._nth("vtkMRMLViewNode", index)

    def tableWidget(self, index):
        return self._nth("vtkMRMLTableViewNode", index)

    def plotWidget(self, index):
        return self._nth("vtkMRMLPlotViewNode", index)

    def viewWidget(self, node):
        return self._widgets.get(node.GetID())

    def viewport(self):
        return self._viewport

    # what is done with them

    def resetSliceViews(self):
        for name in self.sliceViewNames():
            self.sliceWidget(name).fitSliceToBackground()

    def resetThreeDViews(self):
        for found in self._shown("vtkMRMLViewNode"):
            found.threeDView().resetFocalPoint()

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass

    def setRenderPaused(self, paused):
        pass

    def renderNow(self):
        """New pictures of all views in the layout."""
        for className in CLASSES:
            for found in self._shown(className):
                found.renderNow()

    # where they are

    def _changed(self):
        node = self._logic.GetLayoutNode()
        description = node.GetCurrentLayoutDescription()
        if description == self._arrangement or not description:
            return
        self._arrangement = description
        for found in self._widgets.values():
            found.setParent(None)
        if self._area is not None:
            self._area.deleteLater()
        self._area = self._build(ET.fromstring(description))
        self._viewport.layout().addWidget(self._area)
        self._map()
        self.layoutChanged.emit(node.GetViewArrangement())

    def _map(self):
        for className in CLASSES:
            shown = self._shown(className)
            for found in self._created(className):
                found.mrmlAbstractViewNode().SetMappedInLayout(found in shown)

    def _build(self, element):
        """A <layout> or a <view> of the layout description as widgets."""
        if element.tag == "view":
            tag = element.get("singletontag")
            node = slicer.mrmlScene.GetSingletonNode(tag, element.get("class"))
            if node is None:
                return QtWidgets.QWidget()
            found = self._widgetOf(node)
            found.show()
            return found
        items = [item for item in element if item.tag == "item"]
        parts = [(self._build(part), item) for item in items for part in item]
        kind = element.get("type", "horizontal")
        if kind == "tab":
            tabs = QtWidgets.QTabWidget()
            for part, item in parts:
                tabs.addTab(part, item.get("name", ""))
            return tabs
        vertical = kind == "vertical"
        area = QtWidgets.QSplitter(
            Qt.Orientation.Vertical if vertical else Qt.Orientation.Horizontal
        )
        area.handleWidth = 3
        for part, _ in parts:
            area.addWidget(part)
        sizes = [int(item.get("splitSize", 0)) or 500 for _, item in parts]
        area.setSizes(sizes)
        for i, size in enumerate(sizes):
            area.setStretchFactor(i, size)
        return area
