"""The rows of the table of cases in a scene file: texts as JSON, nodes as references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from DeepTranslateLib.cohort.case import DOMAINS, PARTS
from DeepTranslateLib.mrml.panels.caserow import Row
from DeepTranslateLib.mrml.panels.casetable import CaseTable

# References of the parameter node, each followed by the number of its row.
_ROLES = ("caseVolume", "caseTarget", "caseMask")


def saveRows(rows: Sequence[Row], parameterNode: Any) -> list[dict[str, Any]]:
    """Return the rows' texts; their nodes become references of the parameter node."""
    for role in _rolesOf(parameterNode):
        parameterNode.RemoveNodeReferenceIDs(role)
    for number, row in enumerate(rows):
        nodes = (row.volumeNode, row.targetNode, row.maskNode)
        for role, node in zip(_ROLES, nodes, strict=True):
            if node is not None:
                parameterNode.SetNodeReferenceID(f"{role}{number}", node.GetID())
    return [
        {
            "subject": row.subject if row.namedByUser else "",
            "slices": row.slices,
            "split": row.split,
            "kind": row.domain,
        }
        for row in rows
    ]


def restoreRows(cases: CaseTable, saved: Sequence[dict[str, Any]], parameterNode: Any) -> None:
    """Fill a table with what `saveRows` returned, in place of its rows."""
    cases.clear()
    for number, row in enumerate(saved):
        split, kind = row.get("split"), row.get("kind")
        volume, target, mask = (
            parameterNode.GetNodeReference(f"{role}{number}") for role in _ROLES
        )
        cases.add(
            volume,
            target,
            str(row.get("subject", "")),
            str(row.get("slices", "")),
            split if split in PARTS else None,
            mask,
            kind if kind in DOMAINS else None,
        )


def _rolesOf(parameterNode: Any) -> list[str]:
    count = parameterNode.GetNumberOfNodeReferenceRoles()
    roles = [parameterNode.GetNthNodeReferenceRole(number) for number in range(count)]
    return [role for role in roles if role.startswith(_ROLES)]
