"""qMRML's widgets that show the segments of a segmentation."""

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from .base import NodeObserver, calls, prop, signals, widget
from .nodecombobox import qMRMLNodeComboBox
from .qmrml import qMRMLWidget

EVENTS = ("ModifiedEvent",)


def _segmentsOf(node):
    segmentation = node.GetSegmentation() if node else None
    if segmentation is None:
        return []
    ids = [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())]
    return [(i, segmentation.GetSegment(i)) for i in ids]


class _Watch:
    """Observes a segmentation node and what is in it."""

    def __init__(self, owner, node, method):
        self.observers = [NodeObserver(owner, node, method)]
        segmentation = node.GetSegmentation()
        if segmentation:
            kinds = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")
            events = [getattr(slicer.vtkSegmentation, k) for k in kinds]
            self.observers.append(NodeObserver(owner, segmentation, method, events))

    def stop(self):
        for observer in self.observers:
            observer.stop()


@widget(slicer)
@signals(
    currentNodeChanged=["currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)"],
    currentSegmentChanged=["currentSegmentChanged(QString)"],
    segmentSelectionChanged=["segmentSelectionChanged(QStringList)"],
)
class qMRMLSegmentSelectorWidget(qMRMLWidget):
    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)
    segmentSelectionChanged = Signal("QStringList")

    def __init__(self, *args):
        super().__init__(*args)
        self._watch = None
        self._lastID = ""
        self._selected = []
        self._nodeCombo = qMRMLNodeComboBox()
        self._nodeCombo.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodeCombo.addEnabled = self._nodeCombo.removeEnabled = False
        self._segmentCombo = QtWidgets.QComboBox()
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._nodeCombo)
        box.addWidget(self._segmentCombo)
        self._nodeCombo.currentNodeChanged.connect(calls(self, "_nodeChosen"))
        self._segmentCombo.currentIndexChanged.connect(calls(self, "_notify"))

    noneEnabled = prop(bool, False, "_fill")
    editEnabled = prop(bool, False)
    multiSelection = prop(bool, False)
    selectNodeUponCreation = prop(bool, True)
    segmentationNodeSelectorVisible = prop(bool, True, "_shown")
    horizontalLayout = prop(bool, False, "_turn")

    def _shown(self):
        self._nodeCombo.setVisible(self.segmentationNodeSelectorVisible)

    def _turn(self):
        direction = QtWidgets.QBoxLayout.Direction
        self.layout().setDirection(
            direction.LeftToRight if self.horizontalLayout else direction.TopToBottom
        )

    def setMRMLScene(self, scene):
        super().setMRMLScene(scene)
        self._nodeCombo.setMRMLScene(scene)

    def currentNode(self):
        return self._nodeCombo.currentNode()

    def currentNodeID(self):
        return self._nodeCombo.currentNodeID

    def setCurrentNode(self, node):
        self._nodeCombo.setCurrentNode(node)

    def setCurrentNodeID(self, nodeID):
        self._nodeCombo.setCurrentNodeID(nodeID)

    def _nodeChosen(self, node):
        if self._watch:
            self._watch.stop()
        self._watch = _Watch(self, node, "_fill") if node else None
        self._fill()
        self.currentNodeChanged.emit(node)

    def _fill(self):
        keep = self.currentSegmentID()
        blocked = self._segmentCombo.blockSignals(True)
        self._segmentCombo.clear()
        if self.noneEnabled:
            self._segmentCombo.addItem("None", "")
        for segmentID, segment in _segmentsOf(self.currentNode()):
            self._segmentCombo.addItem(segment.GetName(), segmentID)
        index = self._segmentCombo.findData(keep)
        self._segmentCombo.currentIndex = index if index >= 0 else 0
        self._segmentCombo.blockSignals(blocked)
        self._notify()

    def _notify(self):
        if self.currentSegmentID() != self._lastID:
            self._lastID = self.currentSegmentID()
            self.currentSegmentChanged.emit(self._lastID)

    def segmentIDs(self):
        return tuple(i for i, _ in _segmentsOf(self.currentNode()))

    def currentSegmentID(self):
        return self._segmentCombo.currentData or ""

    def setCurrentSegmentID(self, segmentID):
        self._segmentCombo.currentIndex = self._segmentCombo.findData(segmentID)

    def selectedSegmentIDs(self):
        known = self.segmentIDs()
        return tuple(i for i in self._selected if i in known)

    def setSelectedSegmentIDs(self, ids):
        self._selected = list(ids)
        self.segmentSelectionChanged.emit(list(self.selectedSegmentIDs()))


@widget(slicer)
@signals(selectionChanged=["selectionChanged(QItemSelection,QItemSelection)"])
class qMRMLSegmentsTableView(qMRMLWidget):
    selectionChanged = Signal(QtCore.QItemSelection, QtCore.QItemSelection)
    COLUMNS = ("", "", "Opacity", "Name")

    def __init__(self, *args):
        super().__init__(*args)
        self._node = self._watch = None
        self._table = QtWidgets.QTableWidget(0, len(self.COLUMNS))
        self._table.setHorizontalHeaderLabels(self.COLUMNS)
        self._table.selectionBehavior = QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows
        self._table.verticalHeader().hide()
        self._table.horizontalHeader().stretchLastSection = True
        for column, width in enumerate((26, 26, 60)):
            self._table.setColumnWidth(column, width)
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._table)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)

    readOnly = prop(bool, False)
    filterBarVisible = prop(bool, False)
    visibilityColumnVisible = prop(bool, True, "_columns")
    colorColumnVisible = prop(bool, True, "_columns")
    opacityColumnVisible = prop(bool, False, "_columns")
    headerVisible = prop(bool, True, "_columns")
    segmentCount = Property(int, lambda self: self._table.rowCount)
    selectionMode = Property(
        int,
        lambda self: int(self._table.selectionMode.value),
        lambda self, v: self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(v)),
    )

    def _columns(self):
        shown = (self.visibilityColumnVisible, self.colorColumnVisible, self.opacityColumnVisible)
        for column, visible in enumerate(shown):
            self._table.setColumnHidden(column, not visible)
        self._table.horizontalHeader().setVisible(self.headerVisible)

    def segmentationNode(self):
        return self._node

    def setSegmentationNode(self, node):
        if self._watch:
            self._watch.stop()
        self._node = node
        self._watch = _Watch(self, node, "_fill") if node else None
        self._fill()

    def _fill(self):
        segments = _segmentsOf(self._node)
        self._table.setRowCount(len(segments))
        for i, (segmentID, segment) in enumerate(segments):
            picture = QtGui.QPixmap(14, 14)
            picture.fill(QtGui.QColor.fromRgbF(*segment.GetColor()))
            color = QtWidgets.QTableWidgetItem(QtGui.QIcon(picture), "")
            visibility = QtWidgets.QTableWidgetItem("\u25c9")
            name = QtWidgets.QTableWidgetItem(segment.GetName())
            name.setData(Qt.ItemDataRole.UserRole, segmentID)
            for column, item in enumerate(
                (visibility, color, QtWidgets.QTableWidgetItem("1.00"), name)
            ):
                self._table.setItem(i, column, item)
        self._columns()

    def segmentIDForRow(self, index):
        item = self._table.item(index, 3)
        return item.data(Qt.ItemDataRole.UserRole) if item else ""

    def rowForSegmentID(self, segmentID):
        ids = [self.segmentIDForRow(i) for i in range(self._table.rowCount)]
        return ids.index(segmentID) if segmentID in ids else -1

    def displayedSegmentIDs(self):
        return tuple(self.segmentIDForRow(i) for i in range(self._table.rowCount))

    def selectedSegmentIDs(self):
        rows = sorted({i.row() for i in self._table.selectionModel().selectedRows()})
        return tuple(self.segmentIDForRow(i) for i in rows)

    def setSelectedSegmentIDs(self, ids):
        self._table.clearSelection()
        model = self._table.model()
        flag = QtCore.QItemSelectionModel.SelectionFlag
        for segmentID in ids:
            index = model.index(self.rowForSegmentID(segmentID), 0)
            self._table.selectionModel().select(index, flag.Select | flag.Rows)

    def clearSelectedSegments(self):
        self._table.clearSelection()
