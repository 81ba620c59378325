"""PanelSections: which sections of a panel are open while it works, so that nobody must scroll."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class PanelSections:
    """Folds the sections that prepare something away while it runs.

    Args:
        preparing: Collapsible sections above the one that runs.
        next: The section to go on with afterwards.
    """

    def __init__(self, preparing: Sequence[Any], next: Any) -> None:
        self._preparing = preparing
        self._next = next
        self._folded: list[Any] = []

    def fold(self) -> None:
        """Fold what is open of the preparation, and remember it."""
        for section in self._preparing:
            if not section.collapsed:
                section.collapsed = True
                self._folded.append(section)

    def giveBack(self) -> None:
        """Open again what `fold` folded, as when something is to be changed and tried again."""
        for section in self._folded:
            section.collapsed = False
        self._folded = []

    def goOn(self) -> None:
        """Open the next section; what is folded stays so, since it would push the next away."""
        self._next.collapsed = False
