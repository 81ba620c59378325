"""A tiny model trained by the real worker, and volumes that it can read."""

import contextlib
import functools
import importlib.metadata
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import slicer

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.model import read_model, write_model
from DeepTranslateLib.mrml.modellibrary import FOLDER_SETTING, setModelsFolder
from DeepTranslateLib.mrml.training import train
from DeepTranslateLib.recipe import recipe_from_json

SIZE = 24
BRIGHT, DARK = 7, 3


def needTorch():
    """Skip a test where the worker's Python, which is the application's, has no torch."""
    for package in ("torch", "monai", "safetensors"):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"the worker's Python has no {package}; install it with the panel's banner")


def voxels(seed, slices=5, size=SIZE):
    """Noise with a bright square and a dark one in each slice (K, J, I), int16, and its labels."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 20, (slices, size, size))
    labels = np.zeros(image.shape, np.uint8)
    for k in range(slices):
        for value, intensity, rows in ((BRIGHT, 400, (2, 10)), (DARK, -400, (13, 21))):
            row, column = rng.integers(*rows) - 1, rng.integers(1, size - 8)
            place = (k, slice(row, row + 5), slice(column, column + 7))
            image[place] += intensity
            labels[place] = value
    return image.round().astype(np.int16), labels


def affine():
    """LPS directions, pixels of 2 mm, slices of 5 mm, somewhere in the room."""
    matrix = np.diag([-2.0, -2.0, 5.0, 1.0])
    matrix[:3, 3] = (30, -12, 100)
    return matrix


def volumeNode(name="CT", seed=50, array=None):
    """A volume of the kind that the model was trained on."""
    array = voxels(seed)[0] if array is None else array
    vector = array.ndim == 4
    kind = "vtkMRMLVectorVolumeNode" if vector else "vtkMRMLScalarVolumeNode"
    node = slicer.util.addVolumeFromArray(array, name=name, nodeClassName=kind)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine()))
    return node


@functools.lru_cache
def _folder():
    # It is removed at the end of Python, or of this.
    return tempfile.TemporaryDirectory(prefix="translate-tests-")


@functools.lru_cache
def _model(kind):
    folder = Path(_folder().name) / kind
    for seed in range(3):
        image, labels = voxels(seed)
        subject = folder / "cohort" / f"subject{seed}"
        subject.mkdir(parents=True)
        write_image(Image(image, affine()), subject / "image.nrrd")
        target = labels if kind == "labels" else -image
        write_image(Image(target, affine()), subject / "labels.nrrd")
    if kind == "labels":
        target = {
            "kind": "labels",
            "labels": [
                {"value": DARK, "name": "dark", "color": [10, 20, 200]},
                {"value": BRIGHT, "name": "bright", "color": [250, 200, 0]},
            ],
        }
    else:
        target = {"kind": "volume", "units": "au", "range": [-1000, 1000]}
    recipe = recipe_from_json(
        {
            "name": "tiny",
            "title": f"Tiny {kind}",
            "inputs": [{"name": "image", "modality": "CT", "units": "HU"}],
            "target": target,
            "preprocessing": {"window": [-500, 500], "spacing": None},
            "network": {"levels": 2, "channels": 8},
            "method": {"loss": "binary_cross_entropy" if kind == "labels" else "mse"},
            "optimizer": {"learning_rate": 0.005},
            "augmentation": {"probability": 0},
            "training": {"epochs": 30},
        }
    )
    return train(recipe, folder / "cohort", folder / "run", device="cpu")


@functools.lru_cache
def _twoWayModel():
    folder = Path(_folder().name) / "twoway"
    for domain, sign, seeds in (("source", 1, (0, 1)), ("target", -1, (2, 3))):
        (folder / "cohort" / domain).mkdir(parents=True)
        for seed in seeds:
            path = folder / "cohort" / domain / f"subject{seed}.nrrd"
            write_image(Image(sign * voxels(seed, slices=2)[0], affine()), path)
    recipe = recipe_from_json(
        {
            "name": "twoway",
            "title": "Both directions",
            "inputs": [{"name": "image", "modality": "CT", "units": "HU"}],
            "target": {"kind": "volume", "modality": "MR", "units": "au", "range": [-600, 600]},
            "preprocessing": {"window": [-500, 500], "spacing": None},
            "network": {"name": "resnet", "levels": 2, "channels": 2, "norm": "instance"},
            "method": {"name": "cyclegan", "loss": "mae"},
            "adversarial": {"discriminator_channels": 2, "discriminator_layers": 1},
            "augmentation": {"probability": 0},
            "training": {"epochs": 1, "monitor": "last"},
        }
    )
    return train(recipe, folder / "cohort", folder / "run", device="cpu")


def twoWayModel(folder, name="twoway"):
    """A model file that turns CT into MR and back, trained for one epoch."""
    needTorch()
    source = read_model(_twoWayModel())
    path = Path(folder) / f"{name}.dtmodel"
    return write_model(path, source.recipe, source.card, source.weights())


def model(kind="labels", folder=None, name="tiny", preview=None):
    """A model file in a folder, trained once for all tests.

    Args:
        kind: "labels" or "volume".
        folder: Where it is put.
        name: Name of the file.
        preview: A PNG picture.
    """
    needTorch()
    source = read_model(_model(kind))
    path = Path(folder) / f"{name}.dtmodel"
    return write_model(path, source.recipe, source.card, source.weights(), preview)


def segmentVoxels(segmentationNode, referenceNode):
    """Label map (K, J, I) of a segmentation on a volume's grid, by Slicer's own export."""
    segmentation = segmentationNode.GetSegmentation()
    found = np.zeros(slicer.util.arrayFromVolume(referenceNode).shape[:3], np.uint8)
    for name, value in (("dark", DARK), ("bright", BRIGHT)):
        segmentId = segmentation.GetSegmentIdBySegmentName(name)
        array = slicer.util.arrayFromSegmentBinaryLabelmap(
            segmentationNode, segmentId, referenceNode
        )
        found[array > 0] = value
    return found


def waitFor(condition, seconds=60):
    """Keep the application alive until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        slicer.app.processEvents()
        time.sleep(0.01)


def applied(widget, seconds=60):
    """Click Apply in the Translate panel and wait for its end."""
    assert widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip
    widget.ui.applyButton.click()
    waitFor(lambda: widget.monitor.translation is None, seconds)


def errorDialogs():
    """The error dialogs that are shown."""
    return [
        each
        for each in slicer.app.topLevelWidgets()
        if each.objectName == "DeepTranslateErrorDialog" and each.visible
    ]


def closedErrorMessage():
    """What the one error dialog says; it is closed."""
    (dialog,) = errorDialogs()
    label = slicer.util.findChild(dialog, "messageLabel")
    message = label.text
    slicer.util.findChild(dialog, "closeButton").click()
    slicer.app.processEvents()
    return message


def nodeNames(className):
    """Names of the nodes of a class that the user sees."""
    return [
        node.GetName()
        for node in slicer.util.getNodesByClass(className)
        if not node.GetHideFromEditors()
    ]


def oblique(degrees=(20, -35, 50), shift=(40, -10, 25)):
    """A rotation about all axes and a shift, as a 4 x 4 matrix."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        first, second = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(4)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    matrix[:3, 3] = shift
    return matrix


@contextlib.contextmanager
def modelsFolder(folder):
    """Let the library be another folder; the user's settings are as before afterwards."""
    settings = slicer.app.userSettings()
    before = settings.value(FOLDER_SETTING, "") or ""
    setModelsFolder(folder)
    try:
        yield Path(folder)
    finally:
        setModelsFolder(before)
