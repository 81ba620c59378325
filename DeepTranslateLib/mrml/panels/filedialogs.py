"""Which file the user wants: Qt's dialogs, whatever the binding makes of their answer.

PythonQt answers with the names alone, other bindings with the filter, too.
"""

from __future__ import annotations

from typing import Any

import qt


def fileToOpen(parent: Any, title: str, start: str, names: str) -> str:
    """Ask for a file that is there; "" where none was chosen.

    Args:
        parent: Widget that the dialog belongs to.
        title: Of the dialog.
        start: Folder or file that is shown first; "" for the last one.
        names: Qt's filter, such as "Recipes (*.json)".
    """
    return _name(qt.QFileDialog.getOpenFileName(parent, title, start, names))


def filesToOpen(parent: Any, title: str, start: str, names: str) -> list[str]:
    """Ask for files that are there, as `fileToOpen` for one."""
    found = qt.QFileDialog.getOpenFileNames(parent, title, start, names)
    return list(found[0] if found and not isinstance(found[0], str) else found)


def fileToSave(parent: Any, title: str, start: str, names: str) -> str:
    """Ask where to save; Qt has asked whether a file that is there may go. Else `fileToOpen`."""
    return _name(qt.QFileDialog.getSaveFileName(parent, title, start, names))


def _name(answer: Any) -> str:
    return str(answer if isinstance(answer, str) else answer[0])
