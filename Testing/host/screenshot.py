"""Pictures of the panels and of the main window, drawn by the real widgets and the real views.

panelPicture(slicer.modules.DeepTranslateWidget, "panel.png", width=480)
windowPicture("window.png", "DeepTranslate", size=(1600, 1000))
"""

import slicer
from PySide6 import QtCore, QtGui, QtWidgets


def _settle():
    """Until layouts have found their sizes."""
    for _ in range(4):
        QtWidgets.QApplication.processEvents()
        deferred = QtCore.QEvent.Type.DeferredDelete
        QtCore.QCoreApplication.sendPostedEvents(None, int(deferred.value))


def _frameOf(widget):
    """The Qt frame of a module's Python widget; a Qt widget as it is."""
    return widget if isinstance(widget, QtWidgets.QWidget) else widget.parent


def _wholeHeight(frame, width):
    """The height at which nothing of the panel is scrolled away."""
    layout = frame.layout()
    layout.activate()
    height = layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else -1
    return max(height, frame.minimumSizeHint.height(), layout.totalSizeHint().height())


def panelPicture(widget, path, width=480, height=None):
    """Save the panel as a PNG, `width` pixels wide; whole, unless a height is given."""
    frame = _frameOf(widget)
    window = slicer.util.mainWindow()
    before = window.size
    if window.panel() is not frame and hasattr(frame, "module"):
        slicer.util.selectModule(frame.module.name)
    _settle()
    spare = window.height - window.panelViewport().height
    window.setPanelWidth(width)
    _settle()
    room = height or _wholeHeight(frame, width) + 12
    window.resize(window.width, room + spare)
    _settle()
    holder = frame.parentWidget() or frame
    picture = QtGui.QImage(width, room, QtGui.QImage.Format.Format_RGB32)
    picture.fill(window.palette.color(QtGui.QPalette.ColorRole.Window))
    painter = QtGui.QPainter(picture)
    holder.render(painter, QtCore.QPoint(0, 0))
    painter.end()
    window.resetPanelWidth()
    window.resize(before)
    _settle()
    return _save(picture, path)


def windowPicture(path, module=None, size=(1600, 1000), panelWidth=None):
    """Save the main window as a PNG: the panel at the left, the views at the right.

    Args:
        path: The PNG file to write.
        module: Name of the module to show; None for the one that is shown.
        size: Width and height in pixels.
        panelWidth: Of the module panel, in pixels.
    """
    window = slicer.util.mainWindow()
    if module:
        slicer.util.selectModule(module)
    before = window.size
    if panelWidth:
        window.setPanelWidth(panelWidth)
    window.resize(*size)
    _settle()
    slicer.app.layoutManager().renderNow()
    _settle()
    picture = window.grab().toImage()
    window.resetPanelWidth()
    window.resize(before)
    _settle()
    return _save(picture, path)


def viewsPicture(path, size=(1100, 1000)):
    """Save the view area alone as a PNG."""
    window = slicer.util.mainWindow()
    before = window.size
    spare = window.width - window.viewArea.width, window.height - window.viewArea.height
    window.resize(size[0] + spare[0], size[1] + spare[1])
    _settle()
    slicer.app.layoutManager().renderNow()
    _settle()
    picture = window.viewArea.grab().toImage()
    window.resize(before)
    _settle()
    return _save(picture, path)


def _save(picture, path):
    if not picture.save(str(path)):
        raise OSError(f"cannot write {path}")
    return path
