"""qMRMLNodeComboBox and its relatives: choosing nodes of the scene."""

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from .base import NodeObserver, SceneObserver, calls, parentIn, prop, row, signals, widget

NONE, ADD, RENAME, DELETE = "", "\x01add", "\x01rename", "\x01delete"

_SIGNALS = {
    "currentNodeChanged": ["currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)"],
    "currentNodeIDChanged": ["currentNodeIDChanged(QString)"],
    "currentNodeRenamed": ["currentNodeRenamed(QString)"],
    "nodeAboutToBeRemoved": ["nodeAboutToBeRemoved(vtkMRMLNode*)"],
    "nodeAdded": ["nodeAdded(vtkMRMLNode*)"],
    "nodeAddedByUser": ["nodeAddedByUser(vtkMRMLNode*)"],
    "nodeActivated": ["nodeActivated(vtkMRMLNode*)"],
}


@widget(slicer)
@signals(**_SIGNALS)
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Selects the first node when it gets the scene, unless None may be chosen; none later."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeAboutToBeRemoved = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._scene = self._observer = self._nodeObserver = None
        self._attributes = []
        self._labels = {}
        self._lastID, self._lastRow = "", -1
        self._requested = None
        self._combo = QtWidgets.QComboBox()
        self._combo.sizeAdjustPolicy = (
            QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._combo.minimumContentsLength = 12
        row(self, self._combo)
        self._combo.currentIndexChanged.connect(calls(self, "_chosen"))
        self._combo.activated.connect(calls(self, "_activated"))

    nodeTypes = prop("QStringList", [], "refresh")
    hideChildNodeTypes = prop("QStringList", [], "refresh")
    showHidden = prop(bool, False, "refresh")
    showChildNodeTypes = prop(bool, True, "refresh")
    noneEnabled = prop(bool, False, "refresh")
    addEnabled = prop(bool, True, "refresh")
    removeEnabled = prop(bool, True, "refresh")
    renameEnabled = prop(bool, False, "refresh")
    editEnabled = prop(bool, False)
    selectNodeUponCreation = prop(bool, True)
    noneDisplay = prop(str, "None", "refresh")
    baseName = prop(str, "")
    interactionNodeSingletonTag = prop(str, "")
    currentNodeID = Property(str, lambda self: self._id(), lambda self, v: self._select(v))
    currentNodeId = Property(str, lambda self: self._id(), lambda self, v: self._select(v))

    def _activated(self):
        self.nodeActivated.emit(self.currentNode())

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        if self._observer:
            self._observer.stop()
        self._scene = scene
        self._observer = SceneObserver(self, scene, "refresh") if scene else None
        self.refresh()
        if scene and not self.noneEnabled and not self._id():
            nodes = self._nodes()
            if nodes:
                self.setCurrentNode(nodes[0])

    def addAttribute(self, nodeType, name, value=None):
        self._attributes.append((nodeType, name, value))
        self.refresh()

    def removeAttribute(self, nodeType, name):
        self._attributes = [a for a in self._attributes if a[:2] != (nodeType, name)]
        self.refresh()

    def nodeTypeLabel(self, nodeType):
        return self._labels.get(nodeType, "")

    def setNodeTypeLabel(self, label, nodeType):
        self._labels[nodeType] = label
        self.refresh()

    def _accepts(self, node):
        types = list(self.nodeTypes)
        if types and not any(
            node.IsA(t) if self.showChildNodeTypes else node.GetClassName() == t for t in types
        ):
            return False
        if any(node.IsA(t) for t in self.hideChildNodeTypes):
            return False
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        return all(
            not node.IsA(t)
            or (node.GetAttribute(n) is not None if v is None else node.GetAttribute(n) == str(v))
            for t, n, v in self._attributes
        )

    def _nodes(self):
        if not self._scene:
            return []
        every = map(self._scene.GetNthNode, range(self._scene.GetNumberOfNodes()))
        return [n for n in every if self._accepts(n)]

    def nodeCount(self):
        return len(self._nodes())

    def nodeFromIndex(self, index):
        nodes = ([None] if self.noneEnabled else []) + self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def setCurrentNodeIndex(self, index):
        self.setCurrentNode(self.nodeFromIndex(index))

    def _id(self):
        data = self._combo.currentData
        return data if data and not data.startswith("\x01") else ""

    def currentNode(self):
        return self._scene.GetNodeByID(self._id()) if self._scene and self._id() else None

    def setCurrentNode(self, node):
        self._select(node if isinstance(node, str) else node.GetID() if node else "")

    def setCurrentNodeID(self, nodeID):
        self._select(nodeID)

    def _select(self, nodeID):
        # -1, nothing shown, when there is no such node; it is chosen when it comes
        index = self._combo.findData(nodeID or NONE)
        self._requested = nodeID if index < 0 else None
        blocked = self._combo.blockSignals(True)
        self._combo.currentIndex = index
        self._combo.blockSignals(blocked)
        self._notify()

    def _label(self):
        if not self.nodeTypes:
            return "node"
        kind = self.nodeTypes[0]
        if kind in self._labels:
            return self._labels[kind]
        return (self._scene.GetTagByClassName(kind) if self._scene else None) or "node"

    def refresh(self):
        keep = self._requested or self._id()
        blocked = self._combo.blockSignals(True)
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, NONE)
        for node in self._nodes():
            self._combo.addItem(node.GetName(), node.GetID())
        if self.addEnabled and self._scene:
            self._combo.addItem(f"Create new {self._label()}", ADD)
        if self.renameEnabled and keep:
            self._combo.addItem(f"Rename current {self._label()}", RENAME)
        if self.removeEnabled and keep:
            self._combo.addItem(f"Delete current {self._label()}", DELETE)
        index = self._combo.findData(keep or NONE)
        if index >= 0:
            self._requested = None
        elif keep and not self._requested:
            # the current node is gone: the last one takes its place
            nodes = self._nodes()
            index = self._combo.findData(nodes[-1].GetID() if nodes else NONE)
        self._combo.currentIndex = index
        self._combo.blockSignals(blocked)
        self._notify()

    def _chosen(self, _):
        data = self._combo.currentData
        if data == ADD:
            self.addNode()
        elif data == RENAME:
            self.renameCurrentNode()
        elif data == DELETE:
            self.removeCurrentNode()
        else:
            self._notify()

    def _notify(self):
        # As the original, which hears of its list's rows: the same node is told again when others
        # before it come or go.
        shown = self._id(), self._combo.currentIndex
        if (not shown[0] and not self._lastID) or shown == (self._lastID, self._lastRow):
            return
        self._lastID, self._lastRow = shown
        if self._nodeObserver:
            self._nodeObserver.stop()
        node = self.currentNode()
        self._nodeObserver = NodeObserver(self, node, "_modified") if node else None
        self.currentNodeIDChanged.emit(self._lastID)
        self.currentNodeChanged.emit(node)

    def _modified(self):
        node = self.currentNode()
        if node and node.GetName() != self._combo.currentText:
            self._combo.setItemText(self._combo.currentIndex, node.GetName())
            self.currentNodeRenamed.emit(node.GetName())

    def addNode(self, nodeType=None):
        kind = nodeType or self.nodeTypes[0]
        node = self._scene.AddNewNodeByClass(kind, self.baseName or "")
        for t, n, v in self._attributes:
            if node.IsA(t) and v is not None:
                node.SetAttribute(n, str(v))
        self.refresh()
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAdded.emit(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self):
        node = self._scene.GetNodeByID(self._lastID) if self._lastID else None
        if node:
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)

    def renameCurrentNode(self):
        from ..dialogs import chosenText

        node = self._scene.GetNodeByID(self._lastID) if self._lastID else None
        text = chosenText(node.GetName() if node else "")
        self.refresh()
        if node and text:
            node.SetName(text)


@widget(slicer)
@signals(checkedNodesChanged=["checkedNodesChanged()"])
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    checkedNodesChanged = Signal()

    def __init__(self, *args):
        self._checked = set()
        super().__init__(*args)

    def checkedNodes(self):
        return [n for n in self._nodes() if n.GetID() in self._checked]

    def uncheckedNodes(self):
        return [n for n in self._nodes() if n.GetID() not in self._checked]

    def allChecked(self):
        return not self.uncheckedNodes()

    def noneChecked(self):
        return not self.checkedNodes()

    def checkState(self, node):
        checked = node is not None and node.GetID() in self._checked
        return Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked

    def setCheckState(self, node, state):
        before = set(self._checked)
        if state in (Qt.CheckState.Checked, 2):
            self._checked.add(node.GetID())
        else:
            self._checked.discard(node.GetID())
        self._draw()
        if before != self._checked:
            self.checkedNodesChanged.emit()

    def check(self, node):
        self.setCheckState(node, Qt.CheckState.Checked)

    def uncheck(self, node):
        self.setCheckState(node, Qt.CheckState.Unchecked)

    def refresh(self):
        super().refresh()
        self._draw()

    def _draw(self):
        for i in range(self._combo.count):
            nodeID = self._combo.itemData(i)
            if nodeID and not nodeID.startswith("\x01"):
                state = (Qt.CheckState.Unchecked, Qt.CheckState.Checked)[nodeID in self._checked]
                self._combo.setItemData(i, state, Qt.ItemDataRole.CheckStateRole)


@widget(slicer)
class qMRMLColorTableComboBox(qMRMLNodeComboBox):
    def __init__(self, *args):
        super().__init__(*args)
        self.nodeTypes = ["vtkMRMLColorNode"]
        self.showHidden = True
        self.addEnabled = self.removeEnabled = False
