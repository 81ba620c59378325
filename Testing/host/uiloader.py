"""QUiLoader that knows the Slicer and CTK widgets and makes a .ui file's connections in Python."""

import os
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import ClassVar

from PySide6 import QtCore, QtUiTools

from .signals import connectSignal

state = threading.local()  # `loading`: QUiLoader is at work in this thread


class UiLoader(QtUiTools.QUiLoader):
    customWidgets: ClassVar[list] = []

    def __init__(self, parent=None):
        super().__init__(parent)
        for cls in self.customWidgets:
            self.registerCustomWidget(cls)

    def load(self, device, parent=None):
        if isinstance(device, (str, os.PathLike)):
            data = Path(device).read_bytes()
        else:
            data = bytes(device.readAll())
        root = ET.fromstring(data)
        unknown = {e.get("class") for e in root.iter("widget")} - set(self.availableWidgets())
        if unknown:
            raise RuntimeError(f"no stand-in for the widget classes {sorted(unknown)}")
        connections = root.find("connections")
        wires = []
        if connections is not None:
            wires = [{c.tag: c.text for c in e} for e in connections]
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        state.loading = True
        try:
            widget = super().load(buffer, parent)
        finally:
            state.loading = False
        if widget is None:
            raise RuntimeError(self.errorString())
        for wire in wires:
            self._connect(widget, wire)
        return widget

    @staticmethod
    def _connect(widget, wire):
        def find(name):
            if name == widget.objectName:
                return widget
            return widget.findChild(QtCore.QObject, name)

        sender, receiver = find(wire["sender"]), find(wire["receiver"])
        slot = getattr(receiver, wire["slot"].partition("(")[0])
        if not connectSignal(sender, wire["signal"], slot):
            raise RuntimeError(
                f"{wire['sender']} ({type(sender).__name__}) has no signal {wire['signal']}"
            )
