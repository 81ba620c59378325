"""Row: one image to learn from, as the user sees and chooses it in the table of cases."""

from __future__ import annotations

from typing import Any

from DeepTranslateLib.cohort.case import DOMAINS, PARTS, slices_from_text


class Row:
    """One case: its texts as the user sees them, and its selectors."""

    def __init__(self) -> None:
        self.subject = ""
        self.namedByUser = False
        self.slices = ""
        self.found: tuple[int, ...] | None = None
        self.foundProblem = ""
        # What `found` was found in; the search is not repeated while it is the same.
        self.foundIn: Any = None
        self.volumeSelector: Any = None
        self.targetSelector: Any = None
        self.maskSelector: Any = None
        self.useCombo: Any = None
        self.kindCombo: Any = None
        # What selectors told last: they tell the same again when other nodes come or go.
        self.told: tuple[str, ...] = ()

    @property
    def volumeNode(self) -> Any:
        """The volume chosen, or None."""
        return self.volumeSelector.currentNode()

    @property
    def targetNode(self) -> Any:
        """The target chosen, or None."""
        return self.targetSelector.currentNode()

    @property
    def maskNode(self) -> Any:
        """The mask chosen, or None."""
        return self.maskSelector.currentNode()

    @property
    def nodeIds(self) -> tuple[str, ...]:
        """Ids of volume, target and mask; empty for none."""
        nodes = (self.volumeNode, self.targetNode, self.maskNode)
        return tuple("" if node is None else node.GetID() or "" for node in nodes)

    @property
    def split(self) -> str | None:
        """What the case is for; None: automatic."""
        return (None, *PARTS)[self.useCombo.currentIndex]

    @property
    def domain(self) -> str:
        """What the image is of where images are not paired: "source" or "target"."""
        return DOMAINS[max(0, self.kindCombo.currentIndex)]

    def chosenSlices(self) -> tuple[int, ...] | None:
        """Return the slices that the user named; None: those found.

        Raises:
            CohortError: The text is no list of slices.
        """
        return slices_from_text(self.slices) if self.slices.strip() else None
