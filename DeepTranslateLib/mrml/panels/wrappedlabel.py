"""Labels of several lines that a crowded panel does not cut."""

from __future__ import annotations

from typing import Any

_NARROW = 200


def setWrappedText(label: Any, text: str) -> None:
    """Show a text in a label that wraps its lines, as high as the text needs.

    Layouts squeeze such labels where room is short, because their least height is that of a line.

    Args:
        label: A QLabel with word wrap, laid out once, so that its width is known.
        text: The text; with an empty one the label is hidden.
    """
    label.text = text
    label.visible = bool(text)
    fitWrappedText(label)


def fitWrappedText(label: Any) -> None:
    """Give a label the height that its text needs at its width."""
    label.minimumHeight = 0
    if label.text:
        label.minimumHeight = label.heightForWidth(max(_NARROW, label.width))
