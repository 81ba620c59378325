"""Pairs of nodes: which volume belongs to which segmentation, and whose it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from DeepTranslateLib.cohort import CohortError
from DeepTranslateLib.cohort.case import DOMAINS, PARTS, SOURCE, TARGET
from DeepTranslateLib.cohort.hounsfield import why_not_hounsfield
from DeepTranslateLib.mrml.segmentations import segmentsOf
from DeepTranslateLib.mrml.segmentlabels import labelsOf, plainName
from DeepTranslateLib.mrml.volumes import VolumeError, componentCount
from DeepTranslateLib.recipe import Label, Recipe

# Nodes with this attribute are made by a training for its user to look at, not to learn from.
PREVIEW_ATTRIBUTE = "DeepTranslate.TrainingPreview"
_MODEL_ATTRIBUTE = "DeepTranslate.Model"


@dataclass(frozen=True)
class Pair:
    """A volume in the scene and what a model shall make of it.

    Args:
        volumeNode: The image.
        targetNode: A segmentation, a label map, or, for recipes that make volumes, a volume; None
            where a denoising recipe adds the noise itself, or images are not paired.
        subject: Who it is; empty: the patient in the subject hierarchy, else the volume's name.
        values: Label value of each segment id; segments left out are background. None: as
            `matchSegments` finds them.
        slices: Labelled slices, counted as in `Case.slices`. None: those with labels; for volume
            targets all.
        split: "training", "validation", "test" or None for automatic.
        maskNode: A segmentation, label map or volume: only what lies in one of its segments, or
            where it is not 0, teaches and is measured. None: everything.
        domain: For recipes that learn without pairs, "source" or "target": what the image is of.
    """

    volumeNode: Any
    targetNode: Any = None
    subject: str = ""
    values: Mapping[str, int] | None = None
    slices: tuple[int, ...] | None = None
    split: str | None = None
    maskNode: Any = None
    domain: str | None = None


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


def pairsFromScene() -> list[Pair]:
    """Find the volumes in the scene that belong to a segmentation or a label map.

    A segmentation belongs to its reference volume; otherwise names decide ("anna" and
    "anna-segmentation"), and for label maps the same grid where only one volume has it. What a
    model or a training made is left out.
    """
    volumes = volumesInScene()
    targets = [*_nodes("vtkMRMLSegmentationNode"), *_nodes("vtkMRMLLabelMapVolumeNode")]
    pairs = []
    for target in targets:
        volume = _volumeOf(target, volumes)
        if volume is not None:
            pairs.append(Pair(volume, target, subjectOf(volume)))
    order = {volume.GetID(): number for number, volume in enumerate(volumes)}
    return sorted(pairs, key=lambda pair: order[pair.volumeNode.GetID()])


def volumesInScene() -> list[Any]:
    """Return the volumes that may be learnt from; what a model or a training made is left out."""
    return [node for node in _nodes("vtkMRMLScalarVolumeNode") if not isLabelMap(node)]


def likelyDomain(volumeNode: Any, recipe: Recipe | None) -> str:
    """Guess whether a volume is of the source or of the target of a recipe, by its values.

    Only where one of both is in HU can that be told; the source otherwise.
    """
    if recipe is None or not recipe.is_unpaired:
        return SOURCE
    inHounsfield = recipe.inputs[0].units == "HU", recipe.target.units == "HU"
    if inHounsfield[0] == inHounsfield[1] or problemOf(volumeNode):
        return SOURCE
    isHounsfield = why_not_hounsfield(slicer.util.arrayFromVolume(volumeNode)) is None
    return SOURCE if isHounsfield == inHounsfield[0] else TARGET


def labelsOfPairs(pairs: Sequence[Pair]) -> tuple[Label, ...]:
    """Return a label for each name of a segment, with the value that its pair says, if any does."""
    given: dict[int, Label] = {}
    others = []
    for pair in pairs:
        for segment in segmentsOf(pair.targetNode) if isSegmentation(pair.targetNode) else ():
            if pair.values is None:
                others.append(segment)
            elif segment.id in pair.values:
                value = pair.values[segment.id]
                given.setdefault(value, Label(value, segment.name, segment.color))
    known = tuple(given[value] for value in sorted(given))
    return (*known, *labelsOf(others, known))


def checkPairs(pairs: Sequence[Pair], recipe: Recipe | None) -> None:
    """Refuse pairs that cannot be exported, before anything is.

    Args:
        pairs: At least one.
        recipe: Says whether all need a target, and whether they have domains; None: they need one.

    Raises:
        CohortError: There is no pair, a node is missing or cannot be learnt from, a split is
            unknown, or domains are not those of the recipe.
    """
    unpaired = recipe is not None and recipe.is_unpaired
    needTargets = recipe is None or not (recipe.is_denoising or unpaired)
    if not pairs:
        raise CohortError(
            "There are no images to learn from. Add volumes with their segmentations or targets, "
            "or choose a folder or a CSV."
        )
    for number, pair in enumerate(pairs, start=1):
        name = pair.subject or (pair.volumeNode.GetName() if pair.volumeNode else f"row {number}")
        if pair.volumeNode is None:
            raise CohortError(f"{name}: no volume is chosen. Choose one or remove the row.")
        if pair.targetNode is None and needTargets:
            raise CohortError(
                f"{name}: nothing is chosen to learn from. Choose the segmentation or target of "
                f"{pair.volumeNode.GetName()}, or remove the row."
            )
        if pair.targetNode is pair.volumeNode:
            raise CohortError(f"{name}: image and target are the same volume. Choose another.")
        nodes = (pair.volumeNode, pair.targetNode, pair.maskNode)
        if problem := next(filter(None, map(problemOf, nodes)), ""):
            raise CohortError(f"{name}: {problem}")
        if pair.split is not None and pair.split not in PARTS:
            raise CohortError(
                f"{name}: the split is '{pair.split}'; possible are {', '.join(PARTS)}, or None."
            )
        _checkDomain(pair, name, unpaired)
    missing = [domain for domain in DOMAINS if all(pair.domain != domain for pair in pairs)]
    if unpaired and missing:
        raise CohortError(
            f"There is no image of the kind '{missing[0]}', and the recipe learns from images of "
            "both, source and target, which need not belong together. Add some."
        )


def _checkDomain(pair: Pair, name: str, unpaired: bool) -> None:
    if unpaired and pair.domain not in DOMAINS:
        raise CohortError(
            f"{name}: expected a domain, {' or '.join(DOMAINS)}, since the recipe learns without "
            f"pairs; found {pair.domain!r}."
        )
    if not unpaired and pair.domain is not None:
        raise CohortError(
            f"{name}: the recipe learns from pairs, and the image has the domain {pair.domain!r}. "
            "Choose a recipe that learns without pairs, or leave the domain out."
        )


def problemOf(node: Any) -> str:
    """Say why a volume cannot be learnt from and what to do; empty for other nodes and for none."""
    if node is None or isSegmentation(node):
        return ""
    try:
        count = componentCount(node)
    except VolumeError as error:
        return str(error)
    if count == 1:
        return ""
    return (
        f"{node.GetName()} has {count} components a voxel (colour, vectors or time points); "
        "training takes one. Make a volume of one of them in the module 'Vector to Scalar Volume' "
        "and choose that."
    )


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
        return max(named, key=lambda volume: len(plainName(volume.GetName())))
    if isLabelMap(target):
        alike = [volume for volume in volumes if _sameGrid(volume, target)]
        if len(alike) == 1:
            return alike[0]
    return None


def _isNamedAfter(name: str, volumeName: str) -> bool:
    name, prefix = plainName(name), plainName(volumeName)
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
