"""Coded terms of labels (SNOMED CT) as Slicer's segments keep them."""

from __future__ import annotations

import slicer

from DeepTranslateLib.recipe import Code, Label

# The lists that Slicer ships; their names are kept with each entry, loaded or not.
_CATEGORIES = "Segmentation category and type - 3D Slicer General Anatomy list"
_REGIONS = "Anatomic codes - DICOM master list"


def terminologyOf(label: Label) -> str:
    """Return a label's category, type and region as a segment's terminology entry.

    The text is that of Slicer's terminology logic: context, category, type, modifier, anatomic
    context, region and its modifier, separated by `~`, with the parts of a code separated by `^`.
    Codes that the label does not have are empty.
    """
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(
        _CATEGORIES,
        *_parts(label.category),
        *_parts(label.type),
        *_parts(None),
        _REGIONS,
        *_parts(label.region),
        *_parts(None),
    )


def _parts(code: Code | None) -> tuple[str, str, str]:
    """Return value, scheme and meaning without the characters that separate them."""
    if code is None:
        return "", "", ""
    plain = str.maketrans("~^|", "   ")
    return code.value.translate(plain), code.scheme.translate(plain), code.meaning.translate(plain)
