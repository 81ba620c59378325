"""The MRML side of the host: the scene, the application logic and the module logics, all real."""

import importlib
import os
import sys
import types

import slicer
import vtk

from .hierarchykeeper import HierarchyKeeper
from .modules import CoreModule

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


def nameModules():
    """Top-level module names that Slicer's libraries have inside the application."""
    for name in ("vtkITK", "vtkSegmentationCore", "vtkTeem"):
        sys.modules.setdefault(name, importlib.import_module("slicer_core." + name))
    for name in ("MRMLCore", "MRMLLogic", "vtkSegmentationCore"):
        sys.modules.setdefault(name + "Python", importlib.import_module("slicer_core." + name))


class SceneWorld:
    """Scene and application logic with what the application puts there before any module."""

    def __init__(self, temporaryPath, share):
        self.scene = scene = slicer.vtkMRMLScene()
        self.logic = logic = slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(scene)
        logic.SetTemporaryPath(temporaryPath)
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
        # reading MRB files and remote URIs needs the cache manager and the data IO
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        self._remote.SetMRMLScene(scene)
        self._remote.GetCacheManager().SetRemoteCacheDirectory(temporaryPath)
        self._data = slicer.vtkDataIOManagerLogic()
        self._data.SetMRMLApplicationLogic(logic)
        self._data.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        self._remote.AddDataIOToScene()
        self._keeper = HierarchyKeeper(scene)


def addModules(manager, world, share):
    """slicer.modules with the C++ modules' real logics."""
    slicer.modules = types.ModuleType("slicer.modules")
    slicer.moduleNames = types.ModuleType("slicer.moduleNames")
    sys.modules["slicer.modules"] = slicer.modules
    sys.modules["slicer.moduleNames"] = slicer.moduleNames
    slicer.modules.sampleDataSources = {}
    for key, (title, kind) in LOGICS.items():
        logic = world.logic.GetColorLogic() if key == "colors" else _logic(key, kind, world, share)
        world.logic.SetModuleLogic(title, logic)
        module = CoreModule(title, logic)
        setattr(slicer.modules, key, module)
        setattr(slicer.moduleNames, title, title)
        manager.add(module)


def _logic(key, kind, world, share):
    logic = getattr(slicer, kind)()
    isTerminologies = key == "terminologies"
    if isTerminologies and share:
        logic.SetModuleShareDirectory(os.path.join(str(share), "terminologies"))
    quiet = isTerminologies and not share  # it complains when there are no terminology files
    if quiet:
        vtk.vtkObject.GlobalWarningDisplayOff()
    logic.SetMRMLApplicationLogic(world.logic)
    logic.SetMRMLScene(world.scene)
    if quiet:
        vtk.vtkObject.GlobalWarningDisplayOn()
    return logic
