"""Stand-ins, in Python, for the CTK and qMRML widgets (import after pythonqt.install()).
Written in PythonQt style: Qt properties are attributes here too."""

import os
import weakref

import shiboken6
import slicer
import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from .pythonqt import UiLoader, ctk


def prop(kind, default, changed=None):
    """A Qt property kept in Python; `changed` is the name of a method called after a change."""

    def get(self):
        value = self.__dict__.get(key[0], default)
        return tuple(value) if kind == "QStringList" else value  # as PythonQt gives string lists

    def put(self, value):
        if get(self) != (tuple(value) if kind == "QStringList" else value):
            self.__dict__[key[0]] = value
            if changed:
                getattr(self, changed)()

    key = [f"_prop{id(get)}"]
    return Property(kind, get, put)


def signals(**kw):
    """Class decorator: which C++ signatures each Python Signal answers to in connect("...")."""

    def decorate(cls):
        merged = dict(getattr(cls, "_pySignals", {}))
        merged.update({k: set(v) for k, v in kw.items()})
        cls._pySignals = merged
        return cls

    return decorate


def _setters(cls):
    """setX methods for the Python-made properties, as C++ has them."""
    for name, value in list(vars(cls).items()):
        if isinstance(value, Property):
            setter = "set" + name[0].upper() + name[1:]
            if not hasattr(cls, setter):
                setattr(cls, setter, lambda self, v, n=name: setattr(self, n, v))
    return cls


def widget(module):
    def decorate(cls):
        _setters(cls)
        init = cls.__init__

        def __init__(self, *args, **kw):
            init(self, *args, **kw)
            if type(self) is cls:
                self.__dict__["_sealed"] = (
                    True  # from here on an unknown attribute is an error, as on a C++ object
                )

        cls.__init__ = __init__
        setattr(module, cls.__name__, cls)
        UiLoader.customWidgets.append(cls)
        return cls

    return decorate


# ---------------------------------------------------------------------------------------------------- CTK


@widget(ctk)
@signals(contentsCollapsed=["contentsCollapsed(bool)"])
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    contentsCollapsed = Signal(bool)
    HEADER = 24

    def __init__(self, *args):
        text = args[0] if args and isinstance(args[0], str) else ""
        parent = next((a for a in args if isinstance(a, QtWidgets.QWidget)), None)
        super().__init__(parent)
        self._collapsed = False
        self._hidden = []
        self.text = text
        self.checkable = True
        self.checked = True
        self.setContentsMargins(0, self.HEADER, 0, 0)
        self.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred
        )
        self.toggled.connect(lambda on: self._collapse(not on))

    def _get(self):
        return self._collapsed

    def _put(self, value):
        self.checked = not value

    collapsed = Property(bool, _get, _put)

    def _collapse(self, value):
        self._collapsed = value
        children = [c for c in self.children() if isinstance(c, QtWidgets.QWidget)]
        if value:
            self._hidden = [c for c in children if c.isHidden()]
            for c in children:
                c.hide()
        else:
            for c in children:
                if c not in self._hidden:
                    c.show()
        self.maximumHeight = self.HEADER if value else 16777215
        self.contentsCollapsed.emit(value)

    def showEvent(self, event):
        if self._collapsed:  # children made after `collapsed` was set (from the .ui file)
            for c in self.children():
                if isinstance(c, QtWidgets.QWidget):
                    c.hide()
        super().showEvent(event)

    def sizeHint(self):
        from PySide6.QtCore import QSize

        layout = self.layout()
        inner = layout.totalSizeHint() if layout and not self._collapsed else QSize(0, self.HEADER)
        return QSize(max(inner.width(), 120), max(inner.height(), self.HEADER))

    def paintEvent(self, event):
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self.HEADER)
        option.text = ("\u25b8 " if self._collapsed else "\u25be ") + self.text
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option)

    def hitButton(self, pos):
        return pos.y() < self.HEADER


@widget(ctk)
@signals(
    valueChanged=["valueChanged(double)"],
    valueIsChanging=["valueIsChanging(double)"],
    rangeChanged=["rangeChanged(double,double)"],
)
class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    rangeChanged = Signal(float, float)
    STEPS = 10000

    def __init__(self, parent=None):
        super().__init__(parent)
        self.slider = QtWidgets.QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, self.STEPS)
        self.spinBox = QtWidgets.QDoubleSpinBox()
        self.spinBox.setRange(0, 99)
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.slider, 1)
        box.addWidget(self.spinBox)
        self.spinBox.valueChanged.connect(self._changed)
        self.slider.sliderMoved.connect(self._moved)

    def _changed(self, value):
        low, high = self.spinBox.minimum, self.spinBox.maximum
        self.slider.blockSignals(True)
        self.slider.value = round((value - low) / ((high - low) or 1) * self.STEPS)
        self.slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _moved(self, step):
        low, high = self.spinBox.minimum, self.spinBox.maximum
        self.spinBox.value = low + (high - low) * step / self.STEPS
        self.valueIsChanging.emit(self.spinBox.value)

    def _forward(name):
        def put(self, value):
            setattr(self.spinBox, name, value)
            if name in ("minimum", "maximum"):
                self.rangeChanged.emit(self.spinBox.minimum, self.spinBox.maximum)

        return Property(
            int if name == "decimals" else str if name in ("suffix", "prefix") else float,
            lambda self: getattr(self.spinBox, name),
            put,
        )

    value, minimum, maximum, singleStep, decimals, suffix, prefix = map(
        _forward, ("value", "minimum", "maximum", "singleStep", "decimals", "suffix", "prefix")
    )
    pageStep = prop(float, 10.0)
    tracking = prop(bool, True)
    spinBoxVisible = prop(bool, True)

    def setRange(self, low, high):
        self.spinBox.setRange(low, high)


@widget(ctk)
class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    pass


@widget(ctk)
class ctkComboBox(QtWidgets.QComboBox):
    defaultText = prop(str, "")


@widget(ctk)
class ctkCheckBox(QtWidgets.QCheckBox):
    pass


@widget(ctk)
class ctkMenuButton(QtWidgets.QPushButton):
    pass


@widget(ctk)
class ctkMessageBox(QtWidgets.QMessageBox):
    dontShowAgainVisible = prop(bool, False)
    dontShowAgainSettingsKey = prop(str, "")


@widget(ctk)
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    collapsed = prop(bool, False)


@widget(ctk)
@signals(collapsedChanged=["collapsedChanged(bool)"])
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    def __init__(self, parent=None):
        super().__init__(parent)
        self.checkable = True
        self.checked = True

    collapsed = Property(
        bool, lambda self: not self.checked, lambda self, v: setattr(self, "checked", not v)
    )


@widget(ctk)
@signals(
    currentPathChanged=["currentPathChanged(QString)"],
    validInputChanged=["validInputChanged(bool)"],
)
class ctkPathLineEdit(QtWidgets.QWidget):
    Dirs, AllDirs, Files, Drives, Executable = 0x001, 0x400, 0x002, 0x004, 0x040
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.edit = QtWidgets.QLineEdit()
        self.button = QtWidgets.QToolButton()
        self.button.text = "..."
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.edit, 1)
        box.addWidget(self.button)
        self.edit.textChanged.connect(self.currentPathChanged)
        self.button.clicked.connect(self.browse)

    currentPath = Property(
        str, lambda self: self.edit.text, lambda self, v: setattr(self.edit, "text", str(v or ""))
    )
    filters = prop(int, 2)
    nameFilters = prop("QStringList", [])
    settingKey = prop(str, "")
    label = prop(str, "")
    showHistoryButton = prop(bool, True)
    showBrowseButton = prop(bool, True)

    def addCurrentPathToHistory(self):
        pass

    def browse(self):
        if self.filters & self.Files:
            path = QtWidgets.QFileDialog.getOpenFileName(
                self, self.label, self.currentPath, ";;".join(self.nameFilters)
            )[0]
        else:
            path = QtWidgets.QFileDialog.getExistingDirectory(self, self.label, self.currentPath)
        if path:
            self.currentPath = path


@widget(ctk)
@signals(directoryChanged=["directoryChanged(QString)"])
class ctkDirectoryButton(QtWidgets.QPushButton):
    directoryChanged = Signal(str)

    def _put(self, value):
        if value != self.text:
            self.text = os.path.abspath(str(value))
            self.directoryChanged.emit(self.text)

    directory = Property(str, lambda self: self.text or os.getcwd(), _put)


# ---------------------------------------------------------------------------------------------------- qMRML


class SceneObserver:
    """Observes the real vtkMRMLScene for a widget; never calls into a deleted one."""

    EVENTS = (
        "NodeAddedEvent",
        "NodeRemovedEvent",
        "EndBatchProcessEvent",
        "EndCloseEvent",
        "EndImportEvent",
    )

    def __init__(self, owner, scene, method):
        ref, name = weakref.ref(owner), method
        self.scene = scene

        def call(caller, event):
            target = ref()
            if target is None or not shiboken6.isValid(target):
                self.stop()
            elif not scene.IsBatchProcessing():
                getattr(target, name)()

        self.tags = [scene.AddObserver(getattr(slicer.vtkMRMLScene, e), call) for e in self.EVENTS]

    def stop(self):
        for tag in self.tags:
            self.scene.RemoveObserver(tag)
        self.tags = []


@widget(slicer)
@signals(mrmlSceneChanged=["mrmlSceneChanged(vtkMRMLScene*)"])
class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
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


@widget(slicer)
@signals(
    currentNodeChanged=["currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)"],
    currentNodeIDChanged=["currentNodeIDChanged(QString)"],
    nodeAdded=["nodeAdded(vtkMRMLNode*)"],
    nodeAddedByUser=["nodeAddedByUser(vtkMRMLNode*)"],
    nodeActivated=["nodeActivated(vtkMRMLNode*)"],
)
class qMRMLNodeComboBox(QtWidgets.QWidget):
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)
    NONE, ADD, RENAME, DELETE = "", "\x01add", "\x01rename", "\x01delete"

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = self._observer = None
        self._attributes = []
        self._lastID = None
        self.combo = QtWidgets.QComboBox()
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.combo)
        self.combo.currentIndexChanged.connect(self._chosen)
        self.combo.activated.connect(lambda *_: self.nodeActivated.emit(self.currentNode()))

    nodeTypes = prop("QStringList", [], "refresh")
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
    currentNodeID = Property(str, lambda self: self._id(), lambda self, v: self._select(v))

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if self._observer:
            self._observer.stop()
        self._scene = scene
        self._observer = SceneObserver(self, scene, "refresh") if scene else None
        self.refresh()

    def addAttribute(self, nodeType, name, value=None):
        self._attributes.append((nodeType, name, value))
        self.refresh()

    def _accepts(self, node):
        types = list(self.nodeTypes)
        if types and not any(
            node.IsA(t) if self.showChildNodeTypes else node.GetClassName() == t for t in types
        ):
            return False
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        return all(
            not node.IsA(t)
            or (node.GetAttribute(n) is not None if v is None else node.GetAttribute(n) == str(v))
            for t, n, v in self._attributes
        )

    def nodes(self):
        if not self._scene:
            return []
        return [
            n
            for n in map(self._scene.GetNthNode, range(self._scene.GetNumberOfNodes()))
            if self._accepts(n)
        ]

    def nodeCount(self):
        return len(self.nodes())

    def nodeFromIndex(self, index):
        return self.nodes()[index]

    def _id(self):
        data = self.combo.currentData
        return data if data and not data.startswith("\x01") else ""

    def currentNode(self):
        return self._scene.GetNodeByID(self._id()) if self._scene and self._id() else None

    def setCurrentNode(self, node):
        self._select(node if isinstance(node, str) else node.GetID() if node else "")

    def setCurrentNodeID(self, nodeID):
        self._select(nodeID)

    def _select(self, nodeID):
        index = self.combo.findData(nodeID or self.NONE)
        self.combo.currentIndex = index  # -1, nothing shown, when there is no such node
        self._notify()

    def refresh(self):
        keep = self._id()
        self.combo.blockSignals(True)
        self.combo.clear()
        if self.noneEnabled:
            self.combo.addItem(self.noneDisplay, self.NONE)
        for node in self.nodes():
            self.combo.addItem(node.GetName(), node.GetID())
        label = (
            self.nodeTypes[0].replace("vtkMRML", "").replace("Node", "")
            if self.nodeTypes
            else "node"
        )
        if self.addEnabled and self._scene:
            self.combo.addItem(f"Create new {label}", self.ADD)
        if self.removeEnabled and keep:
            self.combo.addItem(f"Delete current {label}", self.DELETE)
        # the real one never picks a node by itself when one is added; it does pick the last one when the current one goes
        index = self.combo.findData(keep) if keep else self.combo.findData(self.NONE)
        if keep and index < 0:
            nodes = self.nodes()
            index = self.combo.findData(nodes[-1].GetID() if nodes else self.NONE)
        self.combo.currentIndex = index
        self.combo.blockSignals(False)
        self._notify()

    def _chosen(self, _):
        data = self.combo.currentData
        if data == self.ADD:
            self.addNode()
        elif data == self.DELETE:
            self.removeCurrentNode()
        else:
            self._notify()

    def _notify(self):
        if self._id() != (self._lastID or ""):
            self._lastID = self._id()
            self.currentNodeIDChanged.emit(self._lastID)
            self.currentNodeChanged.emit(self.currentNode())

    def addNode(self, nodeType=None):
        node = self._scene.AddNewNodeByClass(nodeType or self.nodeTypes[0], self.baseName or "")
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
            self._scene.RemoveNode(node)


@widget(slicer)
class qMRMLSliderWidget(ctkSliderWidget):
    quantity = prop(str, "")

    def setMRMLScene(self, scene):
        self._scene = scene


@widget(slicer)
@signals(currentItemChanged=["currentItemChanged(vtkIdType)"])
class qMRMLSubjectHierarchyTreeView(QtWidgets.QTreeWidget):
    """Names and nesting from the real subject hierarchy node; selection by item ID. No drag, no context menus."""

    currentItemChangedID = Signal(object)
    multiSelection = prop(bool, False)
    nodeTypes = prop("QStringList", [], "refresh")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = self._observer = None
        self.headerHidden = True

    def setMRMLScene(self, scene):
        if self._observer:
            self._observer.stop()
        self._scene = scene
        self._observer = SceneObserver(self, scene, "refresh") if scene else None
        self.refresh()

    def refresh(self):
        self.clear()
        if not self._scene:
            return
        sh = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

        def fill(item, parent):
            ids = vtk.vtkIdList()
            sh.GetItemChildren(item, ids)
            for i in range(ids.GetNumberOfIds()):
                child = ids.GetId(i)
                node = sh.GetItemDataNode(child)
                if (
                    node is not None
                    and self.nodeTypes
                    and not any(node.IsA(t) for t in self.nodeTypes)
                ):
                    continue
                row = QtWidgets.QTreeWidgetItem(parent, [sh.GetItemName(child)])
                row.setData(0, Qt.ItemDataRole.UserRole, child)
                fill(child, row)

        fill(sh.GetSceneItemID(), self.invisibleRootItem())

    def currentItem(self):
        row = super().currentItem()
        return row.data(0, Qt.ItemDataRole.UserRole) if row else 0


# ---------------------------------------------------------------------------------------------------- the rest, simple forms


@widget(ctk)
class ctkCheckablePushButton(QtWidgets.QPushButton):
    """The real one has a check box inside the button; here the button itself is checkable."""

    checkBoxToggled = Signal(bool)
    _pySignals = {"checkBoxToggled": {"checkBoxToggled(bool)"}}

    def __init__(self, *args):
        super().__init__(*args)
        self.toggled.connect(self.checkBoxToggled)

    checkBoxControlsButton = prop(bool, True)
    checkBoxUserCheckable = prop(bool, False)

    def _state(self):
        return Qt.CheckState.Checked if self.checked else Qt.CheckState.Unchecked

    def _setState(self, value):
        self.checkable = True
        self.checked = value not in (Qt.CheckState.Unchecked, 0, False)

    checkState = Property(Qt.CheckState, _state, _setState)


@widget(ctk)
@signals(valueChanged=["valueChanged(double)"])
class ctkDoubleSlider(ctkSliderWidget):
    orientation = prop(int, 1)

    def __init__(self, *args):
        super().__init__(next((a for a in args if isinstance(a, QtWidgets.QWidget)), None))
        self.spinBox.hide()


@widget(ctk)
@signals(
    valuesChanged=["valuesChanged(double,double)"],
    minimumValueChanged=["minimumValueChanged(double)"],
    maximumValueChanged=["maximumValueChanged(double)"],
    rangeChanged=["rangeChanged(double,double)"],
)
class ctkRangeWidget(QtWidgets.QWidget):
    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    rangeChanged = Signal(float, float)

    def __init__(self, *args):
        super().__init__(next((a for a in args if isinstance(a, QtWidgets.QWidget)), None))
        self.low, self.high = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for spin, changed in (
            (self.low, self.minimumValueChanged),
            (self.high, self.maximumValueChanged),
        ):
            box.addWidget(spin)
            spin.valueChanged.connect(changed)
            spin.valueChanged.connect(
                lambda *_: self.valuesChanged.emit(self.low.value, self.high.value)
            )
        self.high.value = 99

    minimumValue = Property(float, lambda s: s.low.value, lambda s, v: setattr(s.low, "value", v))
    maximumValue = Property(float, lambda s: s.high.value, lambda s, v: setattr(s.high, "value", v))
    minimum = Property(float, lambda s: s.low.minimum, lambda s, v: s.setRange(v, s.low.maximum))
    maximum = Property(float, lambda s: s.low.maximum, lambda s, v: s.setRange(s.low.minimum, v))
    singleStep = Property(
        float,
        lambda s: s.low.singleStep,
        lambda s, v: [setattr(x, "singleStep", v) for x in (s.low, s.high)],
    )
    decimals = Property(
        int,
        lambda s: s.low.decimals,
        lambda s, v: [setattr(x, "decimals", v) for x in (s.low, s.high)],
    )

    def setRange(self, low, high):
        for spin in (self.low, self.high):
            spin.setRange(low, high)
        self.rangeChanged.emit(low, high)

    def setValues(self, low, high):
        self.low.value, self.high.value = low, high


@widget(ctk)
class ctkDoubleRangeSlider(ctkRangeWidget):
    positionChanged = Signal(float, float)


@widget(ctk)
@signals(colorChanged=["colorChanged(QColor)"])
class ctkColorPickerButton(QtWidgets.QPushButton):
    colorChanged = Signal(QtGui.QColor)
    _color = QtGui.QColor(0, 0, 0)

    def _put(self, value):
        if value != self._color:
            self._color = QtGui.QColor(value)
            self.colorChanged.emit(self._color)

    color = Property(QtGui.QColor, lambda self: self._color, _put)
    displayColorName = prop(bool, True)


@widget(slicer)
class qMRMLSpinBox(QtWidgets.QDoubleSpinBox):
    quantity = prop(str, "")

    def setMRMLScene(self, scene):
        self._scene = scene


@widget(slicer)
class qMRMLRangeWidget(ctkRangeWidget):
    quantity = prop(str, "")

    def setMRMLScene(self, scene):
        self._scene = scene


@widget(slicer)
class qMRMLSubjectHierarchyComboBox(qMRMLNodeComboBox):
    """Only data nodes, no folders."""
