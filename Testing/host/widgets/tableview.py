"""qMRMLTableView: the values of a vtkMRMLTableNode in a Qt table."""

import slicer
import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Qt, Signal

from .base import NodeObserver, parentIn, prop, signals, widget


@widget(slicer)
@signals(mrmlSceneChanged=["mrmlSceneChanged(vtkMRMLScene*)"])
class qMRMLTableView(QtWidgets.QTableView):
    mrmlSceneChanged = Signal(object)

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._scene = self._node = self._viewNode = None
        self._observer = self._viewObserver = None
        self._cells = QtGui.QStandardItemModel(self)
        self.setModel(self._cells)

    transposed = prop(bool, False, "refresh")
    firstRowLocked = prop(bool, False)
    firstColumnLocked = prop(bool, False)

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlTableNode(self):
        return self._node

    def setMRMLTableNode(self, node):
        if self._observer:
            self._observer.stop()
        self._node = node
        self._observer = NodeObserver(self, node, "refresh") if node else None
        self.refresh()

    def mrmlTableViewNode(self):
        return self._viewNode

    def setMRMLTableViewNode(self, node):
        if self._viewObserver:
            self._viewObserver.stop()
        self._viewNode = node
        self._viewObserver = NodeObserver(self, node, "_viewed") if node else None
        self._viewed()

    def _viewed(self):
        node = self._viewNode.GetTableNode() if self._viewNode else None
        if node is not self._node:
            self.setMRMLTableNode(node)

    def refresh(self):
        table = self._node.GetTable() if self._node else None
        self._cells.clear()
        if table is None:
            return
        columns = [table.GetColumn(i) for i in range(table.GetNumberOfColumns())]
        titles = [self._title(c) for c in columns]
        rows = [
            [self._cell(column, i) for column in columns] for i in range(table.GetNumberOfRows())
        ]
        if self.transposed:
            rows = [list(r) for r in zip(*rows, strict=True)]
            self._cells.setVerticalHeaderLabels(titles)
        for entries in rows:
            self._cells.appendRow(entries)
        if not self.transposed:
            self._cells.setHorizontalHeaderLabels(titles)
        self.resizeColumnsToContents()

    def _title(self, column):
        name = column.GetName() or ""
        if self._node.GetUseColumnTitleAsColumnHeader():
            return self._node.GetColumnTitle(name) or name
        return name

    @staticmethod
    def _cell(column, index):
        value = column.GetVariantValue(index)
        item = QtGui.QStandardItem()
        item.setEditable(False)
        if column.IsA("vtkBitArray"):
            state = (Qt.CheckState.Unchecked, Qt.CheckState.Checked)[bool(value.ToInt())]
            item.setCheckState(state)
        else:
            item.setText(value.ToString())
        if isinstance(column, vtk.vtkDataArray):
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return item
