"""Names of new nodes."""

from __future__ import annotations

import slicer


def freeName(name: str) -> str:
    """Return a name that no node in the scene has: the name itself, or with a number behind it."""
    taken, number = name, 1
    while slicer.mrmlScene.GetFirstNodeByName(taken) is not None:
        taken, number = f"{name}_{number}", number + 1
    return taken
