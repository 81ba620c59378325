"""Stand-ins, in Python, for the CTK and qMRML widgets (import after pythonqt.install())."""

from . import (
    ctkbuttons,
    ctkpaths,
    ctktexts,
    ctkvalues,
    hierarchy,
    nodecombobox,
    qmrml,
    segments,
    tableview,
)

__all__ = [
    "ctkbuttons",
    "ctkpaths",
    "ctktexts",
    "ctkvalues",
    "hierarchy",
    "nodecombobox",
    "qmrml",
    "segments",
    "tableview",
]
