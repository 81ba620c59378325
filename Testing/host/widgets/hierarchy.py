"""qMRML's views of the subject hierarchy."""

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt, Signal

from .base import SceneObserver, calls, parentIn, prop, signals, widget
from .ctktexts import ctkComboBox


def _children(hierarchy, item):
    ids = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, ids)
    return [ids.GetId(i) for i in range(ids.GetNumberOfIds())]


class _Hierarchical:
    """Items of the real subject hierarchy node that a widget with `nodeTypes` shows."""

    _scene = _observer = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if self._observer:
            self._observer.stop()
        self._scene = scene
        self._observer = SceneObserver(self, scene, "refresh") if scene else None
        self.refresh()

    def subjectHierarchyNode(self):
        if self._scene is None:
            return None
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _isShown(self, hierarchy, item):
        node = hierarchy.GetItemDataNode(item)
        if node is None or not self.nodeTypes:
            return node is None or not node.GetHideFromEditors()
        return any(node.IsA(t) for t in self.nodeTypes)

    def currentNode(self):
        hierarchy = self.subjectHierarchyNode()
        item = self.currentItem()
        return hierarchy.GetItemDataNode(item) if hierarchy and item else None

    def setCurrentNode(self, node):
        hierarchy = self.subjectHierarchyNode()
        self.setCurrentItem(hierarchy.GetItemByDataNode(node) if hierarchy and node else 0)


@widget(slicer)
@signals(
    currentItemChanged=["currentItemChanged(vtkIdType)"],
    currentItemsChanged=["currentItemsChanged(QList<vtkIdType>)"],
    currentNodeChanged=["currentNodeChanged(vtkMRMLNode*)"],
)
class qMRMLSubjectHierarchyTreeView(_Hierarchical, QtWidgets.QTreeView):
    """Names and nesting; selection by item ID. No drag, no context menus."""

    currentItemChanged = Signal(object)
    currentItemsChanged = Signal(object)
    currentNodeChanged = Signal(object)
    multiSelection = prop(bool, False, "_modes")
    nodeTypes = prop("QStringList", [], "refresh")

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._items = QtGui.QStandardItemModel(self)
        self.setModel(self._items)
        self.headerHidden = True
        self.selectionModel().selectionChanged.connect(calls(self, "_selected"))

    def _modes(self):
        mode = QtWidgets.QAbstractItemView.SelectionMode
        self.setSelectionMode(
            mode.ExtendedSelection if self.multiSelection else mode.SingleSelection
        )

    def refresh(self):
        self._items.clear()
        hierarchy = self.subjectHierarchyNode()
        if hierarchy is None:
            return

        def fill(item, parent):
            for child in _children(hierarchy, item):
                if not self._isShown(hierarchy, child):
                    continue
                entry = QtGui.QStandardItem(hierarchy.GetItemName(child))
                entry.setData(child, Qt.ItemDataRole.UserRole)
                entry.setEditable(False)
                parent.appendRow(entry)
                fill(child, entry)

        fill(hierarchy.GetSceneItemID(), self._items.invisibleRootItem())
        self.expandAll()

    def displayedItemCount(self):
        def count(entry):
            return sum(1 + count(entry.child(i)) for i in range(entry.rowCount()))

        return count(self._items.invisibleRootItem())

    def currentItems(self):
        return [i.data(Qt.ItemDataRole.UserRole) for i in self.selectionModel().selectedRows()]

    def currentItem(self):
        return next(iter(self.currentItems()), 0)

    def setCurrentItem(self, item):
        self.setCurrentItems([item] if item else [])

    def setCurrentItems(self, items):
        flag = QtCore.QItemSelectionModel.SelectionFlag
        self.selectionModel().clearSelection()
        flags = Qt.MatchFlag.MatchRecursive | Qt.MatchFlag.MatchExactly
        for item in items:
            first = self._items.index(0, 0)
            role = Qt.ItemDataRole.UserRole
            for index in self._items.match(first, role, item, 1, flags):
                self.selectionModel().select(index, flag.Select | flag.Rows)

    def _selected(self):
        self.currentItemChanged.emit(self.currentItem())
        self.currentItemsChanged.emit(self.currentItems())
        self.currentNodeChanged.emit(self.currentNode())


@widget(slicer)
@signals(currentItemChanged=["currentItemChanged(vtkIdType)"])
class qMRMLSubjectHierarchyComboBox(_Hierarchical, ctkComboBox):
    """The items as a flat list."""

    currentItemChanged = Signal(object)
    nodeTypes = prop("QStringList", [], "refresh")
    noneEnabled = prop(bool, False, "refresh")
    noneDisplay = prop(str, "None", "refresh")

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self.currentIndexChanged.connect(
            lambda *_: self.currentItemChanged.emit(self.currentItem())
        )

    def _chosen(self):
        self.currentItemChanged.emit(self.currentItem())

    def setNodeTypes(self, types):
        self.nodeTypes = types

    def refresh(self):
        keep = self.currentItem()
        blocked = self.blockSignals(True)
        self.clear()
        if self.noneEnabled:
            self.addItem(self.noneDisplay, 0)
        hierarchy = self.subjectHierarchyNode()

        def fill(item):
            for child in _children(hierarchy, item):
                if self._isShown(hierarchy, child):
                    self.addItem(hierarchy.GetItemName(child), child)
                    fill(child)

        if hierarchy is not None:
            fill(hierarchy.GetSceneItemID())
        self.setCurrentIndex(self.findData(keep))
        self.blockSignals(blocked)

    def currentItem(self):
        return self.currentData or 0

    def setCurrentItem(self, item):
        self.setCurrentIndex(self.findData(item))
