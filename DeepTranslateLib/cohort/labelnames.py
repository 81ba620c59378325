"""Names of labels as a cohort's files give them: Slicer's segmentations and nnU-Net data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from DeepTranslateLib.cohort.case import CohortError
from DeepTranslateLib.cohort.cases import Cohort
from DeepTranslateLib.recipe import Label
from DeepTranslateLib.schema import SchemaError, read_json

_SEGMENTATION = ".seg.nrrd"
# What Slicer calls a segment that nobody named.
_UNNAMED = re.compile(r"segment[\s_]*\d*", re.IGNORECASE)
_LARGEST_VALUE = 254


def named_labels(cohort: Cohort) -> tuple[Label, ...]:
    """Labels that the files of a cohort name, by ascending value.

    Read are the headers of segmentations (`.seg.nrrd`: `Segment0_Name`, `_LabelValue` and `_Color`)
    and the `dataset.json` of an nnU-Net data set. What they do not name is left out.

    Raises:
        CohortError: Two files give one value different names.
    """
    found: dict[int, tuple[Label, str]] = {}
    for label, place in [*_of_segmentations(cohort), *_of_data_set(Path(cohort.source))]:
        known, before = found.setdefault(label.value, (label, place))
        if known.name.casefold() != label.name.casefold():
            raise CohortError(
                f"The value {label.value} is '{known.name}' in {before} and '{label.name}' in "
                f"{place}. Export the label maps with the same value for the same structure, or "
                "give the files the same names."
            )
    return tuple(found[value][0] for value in sorted(found))


def _of_segmentations(cohort: Cohort) -> Iterator[tuple[Label, str]]:
    for case in cohort.cases:
        path = case.target
        if isinstance(path, Path) and path.name.lower().endswith(_SEGMENTATION) and path.is_file():
            yield from ((label, str(path)) for label in _segments(path))


def _segments(path: Path) -> Iterator[Label]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    texts = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    for key in sorted(texts):
        match = re.fullmatch(r"(Segment\d+)_Name", key)
        name = texts[key].strip()
        if match is None or not name or _UNNAMED.fullmatch(name):
            continue
        value = texts.get(f"{match[1]}_LabelValue", "")
        if value.isdecimal() and 1 <= int(value) <= _LARGEST_VALUE:
            yield _label(int(value), name, texts.get(f"{match[1]}_Color", ""))


def _label(value: int, name: str, color: str) -> Label:
    try:
        red, green, blue = (round(255 * min(1.0, max(0.0, float(c)))) for c in color.split())
    except ValueError:
        return Label(value, name)
    return Label(value, name, (red, green, blue))


def _of_data_set(folder: Path) -> Iterator[tuple[Label, str]]:
    path = folder / "dataset.json"
    if not path.is_file():
        return
    try:
        content = read_json(path, "the data set's description")
    except SchemaError as error:
        raise CohortError(f"{path} cannot be read ({error}). Repair it.") from error
    labels: Any = content.get("labels") if isinstance(content, dict) else None
    for key, value in labels.items() if isinstance(labels, dict) else ():
        # nnU-Net 2 writes {"liver": 1}, nnU-Net 1 {"1": "liver"}; regions are lists.
        name, number = (value, key) if isinstance(value, str) and key.isdecimal() else (key, value)
        if not (isinstance(name, str) and name.strip() and str(number).isdecimal()):
            continue
        if 1 <= int(number) <= _LARGEST_VALUE:
            yield Label(int(number), name.strip()), str(path)
