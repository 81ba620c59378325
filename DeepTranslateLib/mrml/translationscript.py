"""The Python that does what the Translate panel does, for "Copy as Python"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer

from DeepTranslateLib.model import Model
from DeepTranslateLib.recipe import FORWARD

_DEFAULTS = {
    "output": None,
    "table": None,
    "device": "auto",
    "component": None,
    "closedSurface": False,
    "allFrames": True,
    "outputFolder": None,
    "direction": FORWARD,
}


def translationScript(
    volumes: Any, model: Model, *, only: Sequence[str] | None = None, **options: Any
) -> str:
    """Return a script that runs as it is, in the Python console or as `--python-script`.

    Args:
        volumes: As `translate` takes them.
        model: With which model.
        only: Names of the sources of a folder that are meant; None: all.
        **options: As `translate` takes them; defaults are left out of the script.

    Raises:
        ValueError: An option is none of `translate`.
    """
    unknown = set(options) - set(_DEFAULTS)
    if unknown:
        raise ValueError(f"Expected options of translate, found {', '.join(sorted(unknown))}.")
    arguments = [
        f"    {name}={_expression(value)},"
        for name, value in options.items()
        if value != _DEFAULTS[name]
    ]
    chosen = [f"volumes = {_expression(volumes)}"]
    if only is not None:
        folders = ", ".join(map(_expression, filter(None, [volumes, options.get("outputFolder")])))
        chosen = [
            "from DeepTranslateLib.mrml.folderitems import findSources",
            "",
            f"names = {_expression(list(only))}",
            f"volumes = [each for each in findSources({folders}) if each.name in names]",
        ]
    lines = [
        f"# {model.card.name}, applied with DeepTranslate",
        "import slicer",
        "",
        *chosen,
        'logic = slicer.util.getModuleLogic("DeepTranslate")',
        "translated = logic.translate(",
        "    volumes,",
        f"    {str(model.path)!r},",
        *arguments,
        ")",
        "for each in translated if isinstance(translated, list) else [translated]:",
        "    print(each.name, each.error or each.path or each.output.GetName())",
        "    for row in each.rows:",
        '        print(f"    {row.name}: {row.volume_ml:.1f} mL")',
    ]
    return "\n".join(lines) + "\n"


def _expression(value: Any) -> str:
    if isinstance(value, slicer.vtkMRMLNode):
        return f"slicer.util.getNode({_handle(value)!r})"
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, Mapping):
        pairs = (f"{key!r}: {_expression(content)}" for key, content in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[\n" + "".join(f"    {_expression(item)},\n" for item in value) + "]"
    return repr(value)


def _handle(node: Any) -> str:
    """The node's name where it is the only one that the name means, else its ID."""
    name = node.GetName() or ""
    same = slicer.mrmlScene.GetNodesByName(name)
    plain = not any(sign in name for sign in "*?[")
    unique = same.GetNumberOfItems() == 1 and slicer.mrmlScene.GetNodeByID(name) is None
    return name if plain and unique else node.GetID()
