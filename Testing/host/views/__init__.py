"""The view area: real MRML view nodes and logics, drawn offscreen when a picture is asked."""

from .layout import LayoutManager

__all__ = ["LayoutManager"]
