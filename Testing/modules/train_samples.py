"""Phantoms in the scene, and a recipe that is learnt in seconds."""

import time

import numpy as np
import slicer

from DeepTranslateLib.mrml.segmentations import segmentationFromLabels
from DeepTranslateLib.mrml.volumes import volumeFromImage
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import read_recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

STILL = {
    "perspective": 0.0,
    "rotation": 0.0,
    "translation": 0.0,
    "flip_left_right": 0.0,
    "flip_up_down": 0.0,
    "noise_fraction": 0.0,
}


def tinyRecipe(epochs=2, **training):
    """CT body composition with a network of two levels."""
    content = to_json(read_recipe("ct-body-composition"))
    content.update(name="tiny", title="Tiny")
    content["network"].update(levels=2, channels=2, deep_supervision=False)
    content["optimizer"]["learning_rate"] = 0.01
    content["augmentation"].update(STILL)
    content["training"].update(epochs=epochs, patience=None, ema=None, **training)
    return recipe_from_json(content)


def phantomOf(seed, slices=4):
    return torso(seed, slices=slices, size=(48, 40), spacing=(10, 10, 20))


def addSubject(seed, name=None, labelled=None):
    """Volume and segmentation of a phantom; only the slices in `labelled` are marked."""
    phantom = phantomOf(seed)
    name = name or f"subject{seed}"
    labels = phantom.labels
    if labelled is not None:
        voxels = np.zeros_like(labels.voxels)
        voxels[list(labelled)] = labels.voxels[list(labelled)]
        labels = labels.with_voxels(voxels)
    volumeNode = volumeFromImage(phantom.image, name)
    recipe = read_recipe("ct-body-composition")
    segmentation = segmentationFromLabels(
        labels, recipe.target.labels, f"{name} tissue", volumeNode
    )
    return volumeNode, segmentation


def addSubjects(count=3, **options):
    return [addSubject(seed, **options) for seed in range(count)]


def waitUntil(condition, seconds=120):
    """Keep the application alive until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        slicer.app.processEvents()
        time.sleep(0.01)
    slicer.app.processEvents()


def weightsOf(model):
    """Bytes of the weights of a model file."""
    from DeepTranslateLib.model import read_model

    return read_model(model).weights()
