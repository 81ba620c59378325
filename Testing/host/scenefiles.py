"""Scenes as .mrml and .mrb files, by the scene's own reader and writer."""

import os
import tempfile
import zipfile
from pathlib import Path

import slicer


def saveScene(path):
    scene = slicer.mrmlScene
    if not path.endswith(".mrb"):
        scene.SetURL(path)
        scene.SetRootDirectory(os.path.dirname(path))
        return bool(scene.Commit(path))
    root = Path(tempfile.mkdtemp(dir=slicer.app.temporaryPath)) / Path(path).stem
    root.mkdir()
    saved = scene.SaveSceneToSlicerDataBundleDirectory(str(root))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, Path(root.name) / file.relative_to(root))
    return bool(saved)


def loadScene(path, clear=False):
    scene = slicer.mrmlScene
    if path.endswith(".mrb"):
        root = tempfile.mkdtemp(dir=slicer.app.temporaryPath)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(root)
        path = str(next(Path(root).rglob("*.mrml")))
    scene.SetURL(path)
    return bool(scene.Connect() if clear else scene.Import())
