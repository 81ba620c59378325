"""Segments and labels: which label of a recipe a segment is, by its name or its terminology."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from DeepTranslateLib.mrml.segmentations import Segment
from DeepTranslateLib.recipe import Code, Label

LARGEST_VALUE = 254


def matchSegments(segments: Sequence[Segment], labels: Sequence[Label]) -> dict[str, int]:
    """Find which label each segment is, by its name or else by its terminology.

    Names are compared without case, spaces and punctuation. A code counts where exactly one label
    has it.

    Returns:
        Label value by segment id; segments that are no label are left out.
    """
    byName = {plainName(label.name): label.value for label in labels}
    values = {}
    for segment in segments:
        value = byName.get(plainName(segment.name))
        if value is None:
            value = _valueByCode(segment.terminology or "", labels)
        if value is not None:
            values[segment.id] = value
    return values


def labelsOf(
    segments: Sequence[Segment], known: Sequence[Label] = (), leftOut: Collection[str] = ()
) -> tuple[Label, ...]:
    """Return labels for the segments whose names are no label yet, with colours and codes.

    Args:
        segments: Of one or more segmentations; each name becomes one label.
        known: Labels whose names and values are taken.
        leftOut: Names that get no label, as `plainName` writes them.
    """
    names = {plainName(label.name) for label in known} | set(leftOut)
    taken = {value for label in known for value in (label.value, *label.also)}
    free = (value for value in range(1, LARGEST_VALUE + 1) if value not in taken)
    labels = []
    for segment in segments:
        name = plainName(segment.name)
        if name and name not in names and (value := next(free, None)) is not None:
            names.add(name)
            codes = {key: Code(**code) for key, code in codesOf(segment.terminology or "").items()}
            labels.append(
                Label(
                    value,
                    segment.name,
                    segment.color,
                    codes.get("category"),
                    codes.get("type"),
                    codes.get("region"),
                )
            )
    return tuple(labels)


def codesOf(terminology: str) -> dict[str, dict[str, str]]:
    """Return the codes in a segment's serialized terminology, as JSON of `Code`.

    Returns:
        Some of "category", "type" and "region"; nothing for a text that is no terminology.
    """
    parts = terminology.split("~")
    codes = {}
    for place, index in (("category", 1), ("type", 2), ("region", 5)):
        fields = parts[index].split("^") if index < len(parts) else []
        if len(fields) == 3 and fields[0] and fields[1]:
            codes[place] = dict(zip(("scheme", "value", "meaning"), fields, strict=True))
    return codes


def plainName(text: str) -> str:
    """Return a name as names are compared: without case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", text.casefold())


def _valueByCode(terminology: str, labels: Sequence[Label]) -> int | None:
    """Value of the only label whose type, and region where it has one, a terminology names."""
    codes = codesOf(terminology)
    fitting = []
    for label in labels:
        wanted = {"type": label.type, "region": label.region}
        if label.type is not None and all(
            code is None or _sameCode(code, codes.get(place)) for place, code in wanted.items()
        ):
            fitting.append(label.value)
    return fitting[0] if len(fitting) == 1 else None


def _sameCode(code: Code, found: Mapping[str, str] | None) -> bool:
    return found is not None and (code.scheme, code.value) == (found["scheme"], found["value"])
