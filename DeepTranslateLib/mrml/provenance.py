"""Where a node came from, kept as its attributes in the scene and in every saved copy of it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from DeepTranslateLib import __version__
from DeepTranslateLib.model import Model

_PREFIX = "DeepTranslate."


def recordProvenance(
    outputNode: Any, model: Model, inputNodes: Iterable[Any], synthetic: bool
) -> None:
    """Write into a node what made it.

    The attributes are `DeepTranslate.Model` (its name), `.Checksum` (SHA-256 of its weights),
    `.Recipe`, `.Version` (of DeepTranslate), `.Date` (ISO 8601, with its offset from UTC),
    `.SyntheticImage` ("true" for an image that no scanner has seen), `.Units` (of such an image's
    values, where they have one), `.Direction` (of a model that translates both ways) and `.Input`
    (names of the inputs, separated by "; ").

    Args:
        outputNode: Any node; attributes of an earlier model are replaced.
        model: The model that made it.
        inputNodes: What it was made of.
        synthetic: Whether the node is an image that looks measured but was computed.
    """
    record = {
        "Model": model.card.name,
        "Checksum": model.card.weights_sha256,
        "Recipe": model.recipe.name,
        "Version": __version__,
        "Date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "SyntheticImage": "true" if synthetic else "false",
        "Input": "; ".join(node.GetName() for node in inputNodes),
    }
    for key, value in record.items():
        outputNode.SetAttribute(_PREFIX + key, value)
    units = model.recipe.target.units if synthetic else ""
    outputNode.SetAttribute(_PREFIX + "Units", units or None)
    direction = model.direction if len(model.directions) > 1 else None
    outputNode.SetAttribute(_PREFIX + "Direction", direction)


def readProvenance(node: Any) -> dict[str, str]:
    """Return what `recordProvenance` wrote, by names such as "Model"; empty for other nodes."""
    names = [name for name in node.GetAttributeNames() if name.startswith(_PREFIX)]
    return {name.removeprefix(_PREFIX): node.GetAttribute(name) for name in names}
