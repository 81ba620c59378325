"""slicer.app.coreIOManager(): reading and writing nodes through their real storage nodes."""

import os
from pathlib import Path
from typing import ClassVar

import slicer
import vtk
from PySide6 import QtCore

from .scenefiles import loadScene, saveScene


class IOManager(QtCore.QObject):
    _contractKey = "slicer.app.coreIOManager()"
    TYPES: ClassVar = [  # file type, extensions (longest first), node class
        (
            "SegmentationFile",
            (".seg.nrrd", ".seg.nhdr", ".seg.vtm", ".seg.nii.gz", ".seg.nii"),
            "vtkMRMLSegmentationNode",
        ),
        (
            "VolumeFile",
            (".nii.gz", ".nrrd", ".nhdr", ".nii", ".mha", ".mhd"),
            "vtkMRMLScalarVolumeNode",
        ),
        ("TransformFile", (".tfm", ".h5", ".txt"), "vtkMRMLTransformNode"),
        ("TableFile", (".tsv", ".csv", ".schema.tsv"), "vtkMRMLTableNode"),
        ("ModelFile", (".vtk", ".vtp", ".stl", ".ply", ".obj"), "vtkMRMLModelNode"),
        ("MarkupsFile", (".mrk.json", ".fcsv"), "vtkMRMLMarkupsNode"),
        ("SceneFile", (".mrml", ".mrb"), "vtkMRMLScene"),
    ]

    def fileType(self, filename):
        name = str(filename).lower()
        return next((t for t, exts, _ in self.TYPES if name.endswith(exts)), "")

    def fileWriterFileType(self, node, *_):
        return next((t for t, _, c in self.TYPES if node.IsA(c)), "")

    def fileWriterExtensions(self, node):
        return [f"{e.lstrip('.')} ({e})" for e in self._extensions(node)]

    def extractKnownExtension(self, filename, node):
        name = str(filename).lower()
        ordered = sorted(self._extensions(node), key=len, reverse=True)
        return next((e for e in ordered if name.endswith(e)), "")

    def _extensions(self, node):
        return next((e for _, e, c in self.TYPES if node.IsA(c)), ())

    def loadNodes(self, fileType, properties, loaded=None, messages=None):
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return loadScene(path, properties.get("clear", False))
        node = self._read(fileType, path, properties) if os.path.exists(path) else None
        if node is None:
            if messages:
                error = f"cannot read {path} as {fileType}"
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, error)
            return False
        if loaded is not None:
            loaded.AddItem(node)
        return True

    @staticmethod
    def _read(fileType, path, properties):
        scene = slicer.mrmlScene
        name = properties.get("name") or Path(path).name.split(".")[0]
        if fileType == "VolumeFile":
            options = 1 if properties.get("labelmap") else 0
            return slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options)
        kind = {
            "SegmentationFile": "vtkMRMLSegmentationNode",
            "TableFile": "vtkMRMLTableNode",
            "ModelFile": "vtkMRMLModelNode",
            "TransformFile": "vtkMRMLTransformNode",
        }.get(fileType)
        if kind is None:
            return None
        node = scene.AddNewNodeByClass(kind, name)
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        if storage is None or not storage.ReadData(node):
            scene.RemoveNode(node)
            return None
        if node.IsA("vtkMRMLDisplayableNode"):
            node.CreateDefaultDisplayNodes()
        return node

    def saveNodes(self, fileType, properties, messages=None):
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return saveScene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return bool(storage.WriteData(node))

    def saveScene(self, path, *_):
        return saveScene(str(path))

    def exportNodes(self, nodeIDs, fileNames, properties, hardenTransform, messages=None):
        for nodeID, path in zip(nodeIDs, fileNames, strict=True):
            node = slicer.mrmlScene.GetNodeByID(nodeID)
            copy = slicer.vtkMRMLScene().AddNewNodeByClass(node.GetClassName())
            copy.CopyContent(node)
            if hardenTransform and node.GetParentTransformNode():
                transform = vtk.vtkGeneralTransform()
                node.GetParentTransformNode().GetTransformToWorld(transform)
                copy.ApplyTransform(transform)
            copy.AddDefaultStorageNode(str(path))
            storage = copy.GetStorageNode()
            storage.SetFileName(str(path))
            if not storage.WriteData(copy):
                return False
        return True
