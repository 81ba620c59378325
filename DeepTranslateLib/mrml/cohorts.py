"""Cohorts of nodes: which volume belongs to which segmentation, and their export to a run folder.

What is exported is complete: a training goes on from its folder without the scene it came from.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cohort import CohortError
from DeepTranslateLib.cohort.case import PARTS, slices_to_text
from DeepTranslateLib.cohort.files import COLUMNS
from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.mrml.segmentations import (
    Segment,
    labelledSlices,
    labelMapFromNode,
    labelMapFromSegmentation,
    segmentsOf,
)
from DeepTranslateLib.mrml.volumes import imageFromVolume
from DeepTranslateLib.recipe import Code, Label, Recipe

COHORT_NAME = "cohort.csv"
# Nodes with this attribute are made by a training for its user to look at, not to learn from.
PREVIEW_ATTRIBUTE = "DeepTranslate.TrainingPreview"
_MODEL_ATTRIBUTE = "DeepTranslate.Model"

EventSink = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Pair:
    """A volume in the scene and what a model shall make of it.

    Args:
        volumeNode: The image.
        targetNode: A segmentation, a label map, or, for recipes that make volumes, a volume.
        subject: Who it is; empty: the patient in the subject hierarchy, else the volume's name.
        values: Label value of each segment id; segments left out are background. None: as
            `matchSegments` finds them.
        slices: Labelled slices, counted as in `Case.slices`. None: those with labels; for volume
            targets all.
        split: "training", "validation", "test" or None for automatic.
    """

    volumeNode: Any
    targetNode: Any
    subject: str = ""
    values: Mapping[str, int] | None = None
    slices: tuple[int, ...] | None = None
    split: str | None = None


def isSegmentation(node: Any) -> bool:
    """Tell whether a node is a segmentation."""
    return node is not None and node.IsA("vtkMRMLSegmentationNode")


def isLabelMap(node: Any) -> bool:
    """Tell whether a node is a label map volume."""
    return node is not None and node.IsA("vtkMRMLLabelMapVolumeNode")


def subjectOf(volumeNode: Any) -> str:
    """Return whose volume this is: the patient in the subject hierarchy, else the volume's name."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    patient = hierarchy.GetItemAncestorAtLevel(item, "Patient") if item else 0
    return (hierarchy.GetItemName(patient) if patient else "") or volumeNode.GetName()


def matchSegments(segments: Sequence[Segment], labels: Sequence[Label]) -> dict[str, int]:
    """Find which label each segment is, by its name or else by its terminology.

    Names are compared without case, spaces and punctuation. A code counts where exactly one label
    has it.

    Returns:
        Label value by segment id; segments that are no label are left out.
    """
    byName = {_plain(label.name): label.value for label in labels}
    values = {}
    for segment in segments:
        value = byName.get(_plain(segment.name))
        if value is None:
            value = _valueByCode(segment.terminology or "", labels)
        if value is not None:
            values[segment.id] = value
    return values


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


def pairsFromScene() -> list[Pair]:
    """Find the volumes in the scene that belong to a segmentation or a label map.

    A segmentation belongs to its reference volume; otherwise names decide ("anna" and
    "anna-segmentation"), and for label maps the same grid where only one volume has it. What a
    model or a training made is left out.
    """
    volumes = [node for node in _nodes("vtkMRMLScalarVolumeNode") if not isLabelMap(node)]
    targets = [*_nodes("vtkMRMLSegmentationNode"), *_nodes("vtkMRMLLabelMapVolumeNode")]
    pairs = []
    for target in targets:
        volume = _volumeOf(target, volumes)
        if volume is not None:
            pairs.append(Pair(volume, target, subjectOf(volume)))
    order = {volume.GetID(): number for number, volume in enumerate(volumes)}
    return sorted(pairs, key=lambda pair: order[pair.volumeNode.GetID()])


def targetImage(pair: Pair, recipe: Recipe) -> tuple[Image, list[Any]]:
    """Return what the model shall make of a pair's volume, and which segments overlap in it.

    Raises:
        CohortError: The target is no segmentation, label map or volume as the recipe needs it, or
            none of its segments is a label of the recipe.
        ImageError: A node has no voxels or cannot be brought to its place.
    """
    target = pair.targetNode
    if recipe.target.kind == "volume":
        if isSegmentation(target) or isLabelMap(target):
            raise CohortError(
                f"'{recipe.title or recipe.name}' makes volumes; {target.GetName()} holds labels. "
                "Choose a volume as the target, or another recipe."
            )
        return imageFromVolume(target), []
    if isLabelMap(target):
        return labelMapFromNode(target), []
    if not isSegmentation(target):
        raise CohortError(
            f"'{recipe.title or recipe.name}' learns labels; {target.GetName()} is a volume. "
            "Choose a segmentation or a label map as the target, or another recipe."
        )
    segments = segmentsOf(target)
    values = pair.values
    if values is None:
        values = matchSegments(segments, recipe.target.labels)
    if not values:
        names = ", ".join(segment.name for segment in segments) or "none"
        wanted = ", ".join(label.name for label in recipe.target.labels)
        raise CohortError(
            f"No segment of {target.GetName()} is a label of the recipe. Its segments: {names}. "
            f"The recipe's labels: {wanted}. Say which is which in the table of segments, or "
            "rename the segments."
        )
    return labelMapFromSegmentation(target, pair.volumeNode, values)


def foundSlices(pair: Pair, recipe: Recipe) -> tuple[int, ...]:
    """Return the slices of a pair that hold labels, along the recipe's plane.

    Raises:
        CohortError, ImageError: As `targetImage`.
    """
    return labelledSlices(targetImage(pair, recipe)[0], recipe.sampling.plane)


def writeCohort(
    pairs: Iterable[Pair], recipe: Recipe, folder: str | Path, onEvent: EventSink | None = None
) -> Path:
    """Export pairs of nodes to `folder/images` and `folder/cohort.csv`, in the patient's space.

    Args:
        pairs: At least one.
        recipe: Says which labels there are and in which plane slices are counted.
        folder: An existing folder.
        onEvent: Called with `{"event": "exporting", "done", "total", "subject"}` before each pair
            and `{"event": "warning", "subject", "message"}` where segments overlap.

    Returns:
        The CSV; what is in it is what `read_cohort` reads.

    Raises:
        CohortError: Pairs are incomplete or hold nothing to learn; all of them are listed.
        OSError: The folder cannot be written to.
    """
    pairs = list(pairs)
    checkPairs(pairs)
    emit = onEvent or (lambda event: None)
    folder = Path(folder)
    images = folder / "images"
    images.mkdir(exist_ok=True)
    rows, problems = [], []
    for number, pair in enumerate(pairs, start=1):
        subject = pair.subject.strip() or subjectOf(pair.volumeNode)
        emit({"event": "exporting", "done": number - 1, "total": len(pairs), "subject": subject})
        try:
            target, overlaps = targetImage(pair, recipe)
            slices = _slicesOf(pair, target, recipe)
            for overlap in overlaps:
                emit({"event": "warning", "subject": subject, "message": overlapText(overlap)})
            stem = f"{number:03d}_{re.sub(r'[^A-Za-z0-9-]+', '_', subject)[:40]}"
            # Compressing a CT takes longer than reading it; labels are compressed in no time.
            write_image(imageFromVolume(pair.volumeNode), images / f"{stem}.nrrd", compressed=False)
            write_image(target, images / f"{stem}_target.nrrd")
        except (CohortError, ImageError) as error:
            problems.append(f"{subject}: {error}")
            continue
        rows.append(
            {
                "subject": subject,
                "image": f"images/{stem}.nrrd",
                "labels": f"images/{stem}_target.nrrd",
                "slices": slices_to_text(slices) if slices is not None else "",
                "split": pair.split or "",
            }
        )
    if problems:
        raise CohortError("\n".join(problems))
    emit({"event": "exporting", "done": len(pairs), "total": len(pairs), "subject": ""})
    path = folder / COHORT_NAME
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def checkPairs(pairs: Sequence[Pair]) -> None:
    """Refuse pairs that cannot be exported, before anything is.

    Raises:
        CohortError: There is no pair, a node is missing, or a split is unknown.
    """
    if not pairs:
        raise CohortError(
            "There are no images to learn from. Add volumes with their segmentations, or choose a "
            "folder or a CSV."
        )
    for number, pair in enumerate(pairs, start=1):
        name = pair.subject or (pair.volumeNode.GetName() if pair.volumeNode else f"row {number}")
        if pair.volumeNode is None:
            raise CohortError(f"{name}: no volume is chosen. Choose one or remove the row.")
        if pair.targetNode is None:
            raise CohortError(
                f"{name}: nothing is chosen to learn from. Choose the segmentation of "
                f"{pair.volumeNode.GetName()}, or remove the row."
            )
        if pair.targetNode is pair.volumeNode:
            raise CohortError(f"{name}: image and target are the same volume. Choose another.")
        if pair.split is not None and pair.split not in PARTS:
            raise CohortError(
                f"{name}: the split is '{pair.split}'; possible are {', '.join(PARTS)}, or None."
            )


def overlapText(overlap: Any) -> str:
    """Say in a sentence which segments overlap and which of them counts."""
    return (
        f"The segments {overlap.first} and {overlap.second} overlap in {overlap.voxels} voxels; "
        f"{overlap.second} counts there."
    )


def _slicesOf(pair: Pair, target: Image, recipe: Recipe) -> tuple[int, ...] | None:
    if pair.slices is not None:
        if not pair.slices:
            raise CohortError("The list of labelled slices is empty.")
        return pair.slices
    if recipe.target.kind == "volume":
        return None
    slices = labelledSlices(target, recipe.sampling.plane)
    if not slices:
        raise CohortError(
            f"{pair.targetNode.GetName()} marks no voxel of {pair.volumeNode.GetName()}. Check "
            "that the two belong together and that segments are assigned to labels."
        )
    return slices


def _nodes(className: str) -> list[Any]:
    nodes = slicer.util.getNodesByClass(className)
    return [
        node
        for node in nodes
        if not node.GetHideFromEditors()
        and node.GetAttribute(PREVIEW_ATTRIBUTE) is None
        and node.GetAttribute(_MODEL_ATTRIBUTE) is None
    ]


def _volumeOf(target: Any, volumes: Sequence[Any]) -> Any:
    if isSegmentation(target):
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        reference = target.GetNodeReference(role)
        if reference is not None and any(reference is volume for volume in volumes):
            return reference
    named = [volume for volume in volumes if _isNamedAfter(target.GetName(), volume.GetName())]
    if named:
        return max(named, key=lambda volume: len(_plain(volume.GetName())))
    if isLabelMap(target):
        alike = [volume for volume in volumes if _sameGrid(volume, target)]
        if len(alike) == 1:
            return alike[0]
    return None


def _isNamedAfter(name: str, volumeName: str) -> bool:
    name, prefix = _plain(name), _plain(volumeName)
    # "case1" is not the beginning of "case10-segmentation".
    return bool(prefix) and re.match(re.escape(prefix) + r"(?!(?<=\d)\d)", name) is not None


def _sameGrid(first: Any, second: Any) -> bool:
    if first.GetImageData() is None or second.GetImageData() is None:
        return False
    if first.GetImageData().GetDimensions() != second.GetImageData().GetDimensions():
        return False
    if first.GetParentTransformNode() is not second.GetParentTransformNode():
        return False
    return bool(np.allclose(_affine(first), _affine(second), atol=1e-3))


def _affine(volumeNode: Any) -> Any:
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _plain(text: str) -> str:
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
