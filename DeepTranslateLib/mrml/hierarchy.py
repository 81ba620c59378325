"""Where outputs lie in the subject hierarchy: beside what they were made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import slicer


def placeBeside(outputNodes: Iterable[Any], inputNode: Any) -> None:
    """Put nodes into the folder, study or patient that holds another node.

    Nodes that already lie in one, because the user put them there, stay in theirs. A parent
    transform does not matter: it moves a node in space, not in the hierarchy.

    Args:
        outputNodes: In the scene; None among them are passed over.
        inputNode: The node whose place is taken.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    root = hierarchy.GetSceneItemID()
    nowhere = hierarchy.GetInvalidItemID()
    inputItem = hierarchy.GetItemByDataNode(inputNode)
    parent = hierarchy.GetItemParent(inputItem) if inputItem != nowhere else root
    if parent == nowhere:
        parent = root
    for node in outputNodes:
        if node is None:
            continue
        item = hierarchy.GetItemByDataNode(node)
        if item == nowhere:
            hierarchy.CreateItem(parent, node)
        elif hierarchy.GetItemParent(item) in (root, nowhere):
            hierarchy.SetItemParent(item, parent)
