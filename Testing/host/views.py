"""Real MRML slice and 3D views, rendered offscreen, no Qt. `slicePicture(...)`, `threeDPicture(...)` -> RGB arrays."""

import os

os.environ.setdefault(
    "VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow"
)  # software Mesa through EGL, no X server
import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

DM2D = (
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
DM3D = (
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


class _View:
    def __init__(self, factory, managers, size):
        app = slicer.app.applicationLogic()
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.AddRenderer(self.renderer)
        self.window.SetSize(*size)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        factory = factory.GetInstance()
        factory.SetMRMLApplicationLogic(app)
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.Initialize(factory, self.renderer)

    def grab(self):
        self.window.Render()
        w2i = vtk.vtkWindowToImageFilter()
        w2i.SetInput(self.window)
        w2i.SetInputBufferTypeToRGB()
        w2i.ReadFrontBufferOff()
        w2i.Update()
        image = w2i.GetOutput()
        w, h, _ = image.GetDimensions()
        return (
            numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
            .reshape(h, w, 3)[::-1]
            .copy()
        )

    def close(self):
        self.group.SetMRMLDisplayableNode(None)
        self.window.Finalize()


class SliceView(_View):
    def __init__(self, name="Red", orientation="Axial", size=(400, 400)):
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory, DM2D, size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        overlay = vtk.vtkRenderer()
        overlay.GetActiveCamera().ParallelProjectionOn()
        overlay.SetLayer(1)
        self.window.SetNumberOfLayers(2)
        self.window.SetAlphaBitPlanes(1)
        self.window.AddRenderer(overlay)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self.logic.SetMRMLScene(slicer.mrmlScene)
        slicer.app.applicationLogic().GetSliceLogics().AddItem(self.logic)
        self.node = slicer.mrmlScene.GetSingletonNode(
            name, "vtkMRMLSliceNode"
        ) or self.logic.AddSliceNode(name)
        self.logic.SetSliceNode(self.node)
        self.node.SetOrientation(orientation)
        self.node.SetMappedInLayout(True)
        self.group.SetMRMLDisplayableNode(self.node)
        # the image itself: in the application ctkVTKSliceView does this
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(self.mapper)
        self.actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self.actor)

    def show(self, background=None, foreground=None, label=None, opacity=0.5, offset=None):
        composite = self.logic.GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(background.GetID() if background else None)
        composite.SetForegroundVolumeID(foreground.GetID() if foreground else None)
        composite.SetLabelVolumeID(label.GetID() if label else None)
        composite.SetForegroundOpacity(opacity if foreground else 0)
        self.logic.ResizeSliceNode(*self.window.GetSize())
        self.logic.FitSliceToBackground()
        if offset is not None:
            self.logic.SetSliceOffset(offset)
        self.logic.UpdatePipeline()
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())
        return self


class ThreeDView(_View):
    def __init__(self, name="1", size=(400, 400)):
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, DM3D, size)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self.logic.SetMRMLScene(slicer.mrmlScene)
        slicer.app.applicationLogic().GetViewLogics().AddItem(self.logic)
        self.node = slicer.mrmlScene.GetSingletonNode(
            name, "vtkMRMLViewNode"
        ) or self.logic.AddViewNode(name)
        self.node.SetMappedInLayout(True)
        self.group.SetMRMLDisplayableNode(self.node)
        self.renderer.SetBackground(0.757, 0.765, 0.910)
        self.renderer.SetBackground2(0.455, 0.471, 0.745)
        self.renderer.GradientBackgroundOn()

    def show(self, azimuth=30, elevation=20):
        self.window.Render()
        camera = self.renderer.GetActiveCamera()
        self.renderer.ResetCamera()
        camera.SetViewUp(0, 0, 1)
        f, d = camera.GetFocalPoint(), camera.GetDistance()
        camera.SetPosition(f[0], f[1] + d, f[2])  # from anterior
        camera.Azimuth(azimuth)
        camera.Elevation(elevation)
        self.renderer.ResetCamera()
        self.renderer.ResetCameraClippingRange()
        return self


def savePng(path, rgb):
    image = vtk.vtkImageData()
    h, w, _ = rgb.shape
    image.SetDimensions(w, h, 1)
    image.GetPointData().SetScalars(
        numpy_support.numpy_to_vtk(np.ascontiguousarray(rgb[::-1]).reshape(-1, 3), deep=1)
    )
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()


class LayoutManager:
    """slicer.app.layoutManager(): real slice/3D view nodes and logics; views are rendered only when grabbed."""

    SLICES = (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal"))

    class _Widget:
        def __init__(self, view):
            self.view = view

        def sliceLogic(self):
            return self.view.logic

        def mrmlSliceNode(self):
            return self.view.node

        mrmlViewNode = mrmlSliceNode

        def sliceView(self):
            return self.view

        threeDView = sliceView

        def fitSliceToBackground(self):
            self.view.logic.FitSliceToBackground()

    def __init__(self):
        self._slices, self._threeD, self.layout = {}, None, 3

    def setLayout(self, layout):
        self.layout = layout

    def sliceViewNames(self):
        return tuple(n for n, _ in self.SLICES)

    def sliceWidget(self, name):
        if name not in self._slices:
            self._slices[name] = self._Widget(SliceView(name, dict(self.SLICES)[name]))
        return self._slices[name]

    def mrmlSliceLogics(self):
        for name in self.sliceViewNames():
            self.sliceWidget(name)
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self):
        for name in self.sliceViewNames():
            self.sliceWidget(name).fitSliceToBackground()

    def threeDViewCount(self):
        return 1

    def threeDWidget(self, index=0):
        if self._threeD is None:
            self._threeD = self._Widget(ThreeDView())
        return self._threeD

    def resetThreeDViews(self):
        self.threeDWidget().view.show()

    def grab(self, size=360):
        """What the user would see: the four-up layout as one RGB array."""
        pictures = []
        for name in self.sliceViewNames():
            view = self.sliceWidget(name).view
            composite = view.logic.GetSliceCompositeNode()
            view.window.SetSize(size, size)
            view.logic.ResizeSliceNode(size, size)
            view.logic.FitSliceToBackground()
            view.logic.UpdatePipeline()
            view.mapper.SetInputConnection(view.logic.GetImageDataConnection())
            view.actor.SetVisibility(
                bool(composite.GetBackgroundVolumeID() or composite.GetForegroundVolumeID())
            )
            pictures.append(view.grab())
        threeD = self.threeDWidget().view
        threeD.window.SetSize(size, size)
        pictures.append(threeD.show().grab())
        return np.vstack(
            [np.hstack([pictures[0], pictures[3]]), np.hstack([pictures[2], pictures[1]])]
        )
