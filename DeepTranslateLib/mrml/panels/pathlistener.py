"""PathListener: what was chosen in a path edit, when it was chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

# As long as a person thinks between two letters.
_TYPING_MILLISECONDS = 700


class PathListener:
    """Hears of each path that is chosen in a ctkPathLineEdit, also that none is any more.

    Of an edit that was emptied CTK only says that its input is not valid. While somebody types, it
    tells of each letter, when "/" is already a folder with all there is below it; then this waits
    for a pause.

    Args:
        edit: A ctkPathLineEdit without name filters; with them CTK is silent about folders.
        onPath: Called with the path; "" where there is none.
    """

    def __init__(self, edit: Any, onPath: Callable[[str], None]) -> None:
        self._edit = edit
        self._onPath = onPath
        # The edit owns it, so that the one does not outlive the other.
        self._timer = qt.QTimer(edit)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_TYPING_MILLISECONDS)
        self._timer.connect("timeout()", self._tell)
        edit.connect("currentPathChanged(QString)", self._changed)
        edit.connect("validInputChanged(bool)", self._validityChanged)

    def _changed(self, path: str) -> None:
        if self._edit.comboBox().lineEdit().modified:
            self._timer.start()
        else:
            self._timer.stop()
            self._onPath(path)

    def _validityChanged(self, isValid: bool) -> None:
        if not isValid:
            self._changed("")

    def _tell(self) -> None:
        self._onPath(self._edit.currentPath)
