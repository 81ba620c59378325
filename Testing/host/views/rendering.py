"""Offscreen render windows with Slicer's displayable managers, and pictures of them as QImage."""

import os

# software Mesa through EGL, no X server
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
import numpy as np
import slicer
import vtk
from PySide6 import QtGui
from vtk.util import numpy_support

IN_SLICES = (
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)
IN_3D = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)


def offscreenWindow(size):
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    return window


def grab(window):
    """RGB array (rows from the top) of what the window shows."""
    window.Render()
    reader = vtk.vtkWindowToImageFilter()
    reader.SetInput(window)
    reader.SetInputBufferTypeToRGB()
    reader.ReadFrontBufferOff()
    reader.Update()
    image = reader.GetOutput()
    width, height, _ = image.GetDimensions()
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return np.ascontiguousarray(values.reshape(height, width, 3)[::-1])


def asImage(rgb):
    height, width, _ = rgb.shape
    kind = QtGui.QImage.Format.Format_RGB888
    return QtGui.QImage(rgb.data, width, height, 3 * width, kind).copy()


class _Rendering:
    """A renderer with the displayable managers of a view node."""

    def __init__(self, node, factory, managers, size):
        self.renderer = vtk.vtkRenderer()
        self.window = offscreenWindow(size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        factory = factory.GetInstance()
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.prepare()
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.Initialize(factory, self.renderer)
        self.group.SetMRMLDisplayableNode(node)

    def prepare(self):
        pass

    def picture(self, size):
        self.window.SetSize(*size)
        return grab(self.window)

    def close(self):
        self.group.SetMRMLDisplayableNode(None)
        self.window.Finalize()


class SliceRendering(_Rendering):
    def __init__(self, node, logic, size):
        self.logic = logic
        super().__init__(node, slicer.vtkMRMLSliceViewDisplayableManagerFactory, IN_SLICES, size)
        # the image itself: in the application ctkVTKSliceView does this
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(self.mapper)
        self.actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self.actor)

    def prepare(self):
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        overlay = vtk.vtkRenderer()
        overlay.GetActiveCamera().ParallelProjectionOn()
        overlay.SetLayer(1)
        self.window.SetNumberOfLayers(2)
        self.window.SetAlphaBitPlanes(1)
        self.window.AddRenderer(overlay)

    def picture(self, size):
        self.logic.ResizeSliceNode(*size)
        self.logic.UpdatePipeline()
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())
        composite = self.logic.GetSliceCompositeNode()
        volumes = (
            composite.GetBackgroundVolumeID(),
            composite.GetForegroundVolumeID(),
            composite.GetLabelVolumeID(),
        )
        self.actor.SetVisibility(any(volumes))
        return super().picture(size)


class ThreeDRendering(_Rendering):
    def __init__(self, node, size):
        super().__init__(node, slicer.vtkMRMLThreeDViewDisplayableManagerFactory, IN_3D, size)

    def prepare(self):
        self.renderer.SetBackground(0.757, 0.765, 0.910)
        self.renderer.SetBackground2(0.455, 0.471, 0.745)
        self.renderer.GradientBackgroundOn()

    def resetCamera(self, azimuth=30, elevation=20):
        """From the front, a little from the left and above."""
        self.window.Render()
        camera = self.renderer.GetActiveCamera()
        self.renderer.ResetCamera()
        camera.SetViewUp(0, 0, 1)
        focus, distance = camera.GetFocalPoint(), camera.GetDistance()
        camera.SetPosition(focus[0], focus[1] + distance, focus[2])
        camera.Azimuth(azimuth)
        camera.Elevation(elevation)
        self.renderer.ResetCamera()
        self.renderer.ResetCameraClippingRange()
