"""The main window: the module panel at the left, the views at the right."""

import slicer
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Qt

PANEL_WIDTH = 470


class ModuleSelector(QtWidgets.QToolBar):
    """qSlicerModuleSelectorToolBar: which module's panel is shown."""

    _offered = ("selectModule", "selectedModule")

    def __init__(self, window):
        super().__init__("Module Selection", window)
        self._window, self._selected = window, ""
        self.addWidget(QtWidgets.QLabel(" Modules: "))
        self._combo = QtWidgets.QComboBox()
        self._combo.minimumWidth = 220
        self.addWidget(self._combo)
        self.movable = False

    def _get(self):
        return self._selected

    selectedModule = Property(str, _get)

    def selectModule(self, name):
        module = slicer.app.moduleManager().module(name)
        if module is None:
            return
        self._window.showPanel(module.widgetRepresentation())
        self._selected = name
        self._combo.clear()
        self._combo.addItem(getattr(module, "title", name))
        parent = module.widgetRepresentation()
        self._combo.setItemText(0, getattr(parent.module, "title", name) if parent else name)


class MainWindow(QtWidgets.QMainWindow):
    _offered = ("moduleSelector",)

    def __init__(self):
        super().__init__()
        self.objectName = "qSlicerMainWindow"
        self.windowTitle = "3D Slicer"
        self._panel = None
        self._selector = ModuleSelector(self)
        self.addToolBar(self._selector)
        self.viewArea = QtWidgets.QWidget()
        self.viewArea.objectName = "CentralWidget"
        self.setCentralWidget(self.viewArea)
        self._scroll = QtWidgets.QScrollArea()
        self._scroll.widgetResizable = True
        self._scroll.frameShape = QtWidgets.QFrame.Shape.NoFrame
        self._scroll.horizontalScrollBarPolicy = Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        self._dock = dock = QtWidgets.QDockWidget()
        dock.objectName = "PanelDockWidget"
        dock.setTitleBarWidget(QtWidgets.QWidget())
        dock.setWidget(self._scroll)
        dock.minimumWidth = PANEL_WIDTH
        self.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, dock)
        self._holder = QtWidgets.QWidget()
        QtWidgets.QVBoxLayout(self._holder).setContentsMargins(4, 4, 4, 4)
        self._scroll.setWidget(self._holder)
        self.statusBar()
        self.resize(1280, 860)

    def moduleSelector(self):
        return self._selector

    def panel(self):
        return self._panel

    def panelViewport(self):
        return self._scroll.viewport()

    def setPanelWidth(self, width):
        """Room for a panel of this width, in pixels, beside its scroll bar."""
        self._dock.setFixedWidth(width)

    def resetPanelWidth(self):
        self._dock.setMinimumWidth(PANEL_WIDTH)
        self._dock.setMaximumWidth(PANEL_WIDTH)

    def showPanel(self, panel):
        """Exit the module shown so far, put this one in its place and enter it."""
        if self._panel is not None and self._panel is not panel:
            self._panel.exit()
            self._panel.setParent(None)
        if panel is None:
            self._panel = None
            return
        if self._panel is not panel:
            self._holder.layout().addWidget(panel)
            panel.show()
        self._panel = panel
        panel.enter()


def lightPalette():
    """The light look of the application on a Linux desktop."""
    palette = QtGui.QPalette()
    role, group = QtGui.QPalette.ColorRole, QtGui.QPalette.ColorGroup
    colors = {
        role.Window: (239, 239, 239),
        role.WindowText: (30, 30, 30),
        role.Base: (255, 255, 255),
        role.AlternateBase: (247, 247, 247),
        role.Text: (20, 20, 20),
        role.Button: (239, 239, 239),
        role.ButtonText: (30, 30, 30),
        role.ToolTipBase: (255, 255, 220),
        role.ToolTipText: (20, 20, 20),
        role.PlaceholderText: (140, 140, 140),
        role.Highlight: (48, 140, 198),
        role.HighlightedText: (255, 255, 255),
        role.Link: (0, 90, 170),
        role.Light: (255, 255, 255),
        role.Midlight: (227, 227, 227),
        role.Mid: (184, 184, 184),
        role.Dark: (159, 159, 159),
        role.Shadow: (118, 118, 118),
    }
    for key, value in colors.items():
        palette.setColor(key, QtGui.QColor(*value))
    for key in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(group.Disabled, key, QtGui.QColor(160, 160, 160))
    return palette


def dress(application):
    """Fusion style, light palette, DejaVu fonts: the same picture on every machine."""
    application.setStyle("Fusion")
    application.setPalette(lightPalette())
    font = QtGui.QFont("DejaVu Sans")
    font.setPixelSize(12)
    application.setFont(font)
