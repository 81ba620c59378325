"""Images to try things out with, in the Sample Data module: synthetic torsos, made offline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer

import DeepTranslateLib
from DeepTranslateLib.image import Image
from DeepTranslateLib.mrml.segmentations import segmentationFromLabels
from DeepTranslateLib.mrml.volumes import volumeFromImage
from DeepTranslateLib.phantom import Phantom, torso
from DeepTranslateLib.recipe import read_recipe

CATEGORY = "DeepTranslate"
LABELLED = "Torso phantoms with labels (CT, 3 subjects)"
UNLABELLED = "Torso phantom (CT)"
# Abdominal CT among Slicer's own samples.
SLICERS = ("CTLiver", "CTAAbdomenPanoramix")

# How many slices of each subject are labelled, as if by hand; and how fat the subjects are.
LABELLED_SLICES = (6, 6, 5)
_ADIPOSITY = (0.2, 0.5, 0.8)
_WINDOW = (-300.0, 300.0)
_THUMBNAIL = (
    Path(DeepTranslateLib.__file__).resolve().parents[1] / "Resources/Icons/TorsoPhantom.png"
)


def registerSampleData() -> None:
    """Add this extension's images to the Sample Data module, and those of Slicer's that fit.

    Nothing is made or downloaded before somebody asks for it. May be called again, as after a
    reload of the module.
    """
    import SampleData

    logic = SampleData.SampleDataLogic()
    slicers = [logic.sourceForSampleName(name) for name in SLICERS]
    # Sources hold functions, which a reload replaces.
    slicer.modules.sampleDataSources[CATEGORY] = []
    for name, load in ((LABELLED, loadLabelledTorsos), (UNLABELLED, loadTorso)):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            uris="",
            fileNames=f"{name}.nrrd",
            nodeNames=name,
            customDownloader=load,
            thumbnailFileName=str(_THUMBNAIL),
        )
    slicer.modules.sampleDataSources[CATEGORY].extend(filter(None, slicers))


def loadLabelledTorsos(source: Any = None) -> list[Any]:
    """Make CT volumes of three subjects and segmentations of 17 of their slices.

    Args:
        source: The sample data source that was asked for; of no importance here.

    Returns:
        Volume and segmentation node of each subject, in turn.
    """
    labels = read_recipe("ct-body-composition").target.labels
    nodes = []
    for number, (adiposity, count) in enumerate(zip(_ADIPOSITY, LABELLED_SLICES, strict=True), 1):
        phantom = torso(number, adiposity)
        volumeNode = volumeFromImage(phantom.image, f"Torso {number}", window=_WINDOW)
        name = f"Torso {number} labels"
        nodes += [
            volumeNode,
            segmentationFromLabels(_someSlices(phantom, count), labels, name, volumeNode),
        ]
    slicer.util.setSliceViewerLayers(background=nodes[0], fit=True)
    return nodes


def loadTorso(source: Any = None) -> list[Any]:
    """Make a CT volume of a subject that `loadLabelledTorsos` does not have.

    Args:
        source: The sample data source that was asked for; of no importance here.

    Returns:
        The volume node.
    """
    phantom = torso(len(_ADIPOSITY) + 1, 0.6)
    volumeNode = volumeFromImage(phantom.image, "Torso", window=_WINDOW)
    slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)
    return [volumeNode]


def _someSlices(phantom: Phantom, count: int) -> Image:
    """Return the labels of `count` slices from bottom to top; the others are empty."""
    labels = phantom.labels
    slices = len(labels.voxels)
    chosen = np.linspace(1, slices - 2, count).round().astype(int)
    voxels = np.zeros_like(labels.voxels)
    voxels[chosen] = labels.voxels[chosen]
    return replace(labels, voxels=voxels)
