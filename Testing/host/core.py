"""Slicer-without-the-application: a scene, the application logic and the module logics,
all real (slicer-core), plus stand-ins for the few Qt-side objects slicer.util asks for
(slicer.app, slicer.app.coreIOManager(), slicer.modules.<name>.logic(), ...)."""

import importlib
import os
import sys
import tempfile
import types
import zipfile
from pathlib import Path

import slicer
import vtk

# name in slicer.modules -> (module title, logic class)
LOGICS = {
    "colors": ("Colors", "vtkSlicerColorLogic"),
    "volumes": ("Volumes", "vtkSlicerVolumesLogic"),
    "terminologies": ("Terminologies", "vtkSlicerTerminologiesModuleLogic"),
    "segmentations": ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    "subjecthierarchy": ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    "transforms": ("Transforms", "vtkSlicerTransformLogic"),
    "tables": ("Tables", "vtkSlicerTablesLogic"),
    "plots": ("Plots", "vtkSlicerPlotsLogic"),
    "texts": ("Texts", "vtkSlicerTextsLogic"),
    "models": ("Models", "vtkSlicerModelsLogic"),
    "markups": ("Markups", "vtkSlicerMarkupsLogic"),
    "cropvolume": ("CropVolume", "vtkSlicerCropVolumeLogic"),
    "volumerendering": ("VolumeRendering", "vtkSlicerVolumeRenderingLogic"),
    "sequences": ("Sequences", "vtkSlicerSequencesLogic"),
    "units": ("Units", "vtkSlicerUnitsLogic"),
    "sceneviews": ("SceneViews", "vtkSlicerSceneViewsModuleLogic"),
    "data": ("Data", "vtkSlicerDataModuleLogic"),
}


class CoreModule:
    """What slicer.modules.<name> is for a C++ module, as far as Python code uses it."""

    def __init__(self, name, logic):
        self.name, self.title, self._logic = name, name, logic

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        return None


class HostIOManager:
    """qSlicerCoreIOManager reduced to storage nodes: class of node <-> extension <-> file type."""

    TYPES = [  # file type, extensions (longest first), node class
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

    def __init__(self, app):
        self._app = app

    def fileType(self, filename):
        name = str(filename).lower()
        return next((t for t, exts, _ in self.TYPES if name.endswith(exts)), "")

    def fileWriterFileType(self, node, *_):
        return next((t for t, _, c in self.TYPES if node.IsA(c)), "")

    def loadNodes(self, fileType, properties, loaded=None, messages=None):
        scene, path = self._app.mrmlScene(), str(properties["fileName"])
        if fileType == "SceneFile":
            return self._app.loadSceneFile(path, properties.get("clear", False))
        if not os.path.exists(path):
            messages and messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"no such file: {path}")
            return False
        cls = {
            "VolumeFile": "vtkMRMLScalarVolumeNode",
            "SegmentationFile": "vtkMRMLSegmentationNode",
            "TableFile": "vtkMRMLTableNode",
            "ModelFile": "vtkMRMLModelNode",
            "TransformFile": "vtkMRMLTransformNode",
        }.get(fileType)
        name = properties.get("name") or Path(path).name.split(".")[0]
        if fileType == "VolumeFile":
            logic = slicer.modules.volumes.logic()
            options = 1 if properties.get("labelmap") else 0
            node = logic.AddArchetypeVolume(path, name, options)
        elif cls:
            node = scene.AddNewNodeByClass(cls, name)
            node.AddDefaultStorageNode(path)
            storage = node.GetStorageNode()
            if storage is None or not storage.ReadData(node):
                scene.RemoveNode(node)
                node = None
            elif node.IsA("vtkMRMLDisplayableNode"):
                node.CreateDefaultDisplayNodes()
        else:
            node = None
        if node is None:
            messages and messages.AddMessage(
                vtk.vtkCommand.ErrorEvent, f"cannot read {path} as {fileType}"
            )
            return False
        loaded is not None and loaded.AddItem(node)
        return True

    def saveNodes(self, fileType, properties, messages=None):
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return self._app.saveSceneFile(path)
        node = self._app.mrmlScene().GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return bool(storage.WriteData(node))

    def fileWriterExtensions(self, node):
        exts = next((e for _, e, c in self.TYPES if node.IsA(c)), ())
        return [f"{e.lstrip('.')} ({e})" for e in exts]

    def extractKnownExtension(self, filename, node):
        exts = next((e for _, e, c in self.TYPES if node.IsA(c)), ())
        return next(
            (e for e in sorted(exts, key=len, reverse=True) if str(filename).lower().endswith(e)),
            "",
        )

    def exportNodes(self, nodeIDs, fileNames, properties, hardenTransform, messages=None):
        for nodeID, path in zip(nodeIDs, fileNames):
            node = self._app.mrmlScene().GetNodeByID(nodeID)
            scene = slicer.vtkMRMLScene()
            copy = scene.AddNode(node) if False else scene.AddNewNodeByClass(node.GetClassName())
            copy.CopyContent(node)
            if hardenTransform and node.GetParentTransformNode():
                t = vtk.vtkGeneralTransform()
                node.GetParentTransformNode().GetTransformToWorld(t)
                copy.ApplyTransform(t)
            copy.AddDefaultStorageNode(str(path))
            storage = copy.GetStorageNode()
            storage.SetFileName(str(path))
            if not storage.WriteData(copy):
                return False
        return True


class HostApplication:
    """slicer.app. Qt-side members are added by slicerhost.gui when a GUI host is wanted."""

    applicationName, majorVersion, minorVersion = "SlicerHost", 5, 12
    revision = "0"
    isHost = True

    def __init__(self, share=None):
        self.temporaryPath = tempfile.mkdtemp(prefix="slicerhost-")
        self._scene = scene = slicer.vtkMRMLScene()
        self._logic = logic = slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(scene)
        logic.SetTemporaryPath(self.temporaryPath)
        if share:
            logic.SetShareDirectory(str(share))
        color = logic.GetColorLogic()
        color.SetMRMLScene(scene)
        color.AddDefaultColorNodes()
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        # the selection, interaction, ... singletons are added by the application logic itself
        if not scene.GetFirstNodeByClass("vtkMRMLCrosshairNode"):
            crosshair = slicer.vtkMRMLCrosshairNode()
            crosshair.SetCrosshairName("default")
            scene.AddNode(crosshair)
        # a subject hierarchy node exists as soon as someone asks for it
        self._io = HostIOManager(self)
        # MRB and remote-URI reading needs the cache manager + DataIO wiring
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        self._remote.SetMRMLScene(scene)
        self._remote.GetCacheManager().SetRemoteCacheDirectory(self.temporaryPath)
        self._dataio = slicer.vtkDataIOManagerLogic()
        self._dataio.SetMRMLApplicationLogic(logic)
        self._dataio.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        self._remote.AddDataIOToScene()

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._logic

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def translate(self, context, text):
        return text

    def testingEnabled(self):
        return True

    def processEvents(self, *_):
        pass

    def pauseRender(self):
        pass

    resumeRender = pauseRender

    def layoutManager(self):
        return None

    def saveSceneFile(self, path):
        scene = self._scene
        if path.endswith(".mrb"):
            root = os.path.join(tempfile.mkdtemp(dir=self.temporaryPath), Path(path).stem)
            os.makedirs(root)
            ok = scene.SaveSceneToSlicerDataBundleDirectory(root)
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
                for f in sorted(Path(root).rglob("*")):
                    if f.is_file():
                        z.write(f, Path(Path(root).name) / f.relative_to(root))
            return bool(ok)
        scene.SetURL(path)
        scene.SetRootDirectory(os.path.dirname(path))
        return bool(scene.Commit(path))

    def loadSceneFile(self, path, clear=False):
        scene = self._scene
        if path.endswith(".mrb"):
            root = tempfile.mkdtemp(dir=self.temporaryPath)
            with zipfile.ZipFile(path) as z:
                z.extractall(root)
            path = str(next(Path(root).rglob("*.mrml")))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())


def start(share=None):
    """Make `slicer` in this process look as it does inside the application (no GUI)."""
    if hasattr(slicer, "app"):
        return slicer.app
    app = HostApplication(share)
    for name in (
        "vtkITK",
        "vtkSegmentationCore",
        "vtkTeem",
    ):  # top-level names inside the application
        sys.modules.setdefault(name, importlib.import_module("slicer_core." + name))
    for name in ("MRMLCore", "MRMLLogic", "vtkSegmentationCore"):
        sys.modules.setdefault(name + "Python", importlib.import_module("slicer_core." + name))
    slicer.app = app
    slicer.mrmlScene = app.mrmlScene()
    slicer.modules = types.ModuleType("slicer.modules")
    slicer.moduleNames = types.ModuleType("slicer.moduleNames")
    sys.modules["slicer.modules"], sys.modules["slicer.moduleNames"] = (
        slicer.modules,
        slicer.moduleNames,
    )
    for key, (title, cls) in LOGICS.items():
        if key == "colors":
            logic = app.applicationLogic().GetColorLogic()
        else:
            logic = getattr(slicer, cls)()
            share and key == "terminologies" and logic.SetModuleShareDirectory(
                os.path.join(str(share), "terminologies")
            )
            quiet = (
                key == "terminologies" and not share
            )  # it complains when there are no terminology files
            quiet and vtk.vtkObject.GlobalWarningDisplayOff()
            logic.SetMRMLApplicationLogic(app.applicationLogic())
            logic.SetMRMLScene(app.mrmlScene())
            quiet and vtk.vtkObject.GlobalWarningDisplayOn()
        app.applicationLogic().SetModuleLogic(title, logic)
        setattr(slicer.modules, key, CoreModule(title, logic))
        setattr(slicer.moduleNames, title, title)
    return app
