"""Small volumes, transforms and labels that the tests of the mrml room share."""

import itertools

import numpy as np
import slicer
import vtk

from DeepTranslateLib.recipe import Code, Label

TISSUE = Code("SCT", "85756007", "Tissue")
LABELS = (
    Label(3, "body wall", (200, 150, 0), TISSUE, Code("SCT", "67769002", "Subcutaneous fat")),
    Label(
        7,
        "inner fat",
        (0, 220, 40),
        TISSUE,
        Code("SCT", "55603005", "Fat"),
        Code("SCT", "22943007", "Trunk"),
    ),
    Label(9, "plain", (10, 20, 250)),
)


def obliqueAffine(spacing=(2.0, 2.5, 3.0), origin=(-20.0, 15.0, 40.0), flip=False):
    """A rotation about a slanted axis, times spacing; left-handed if flipped."""
    affine = np.eye(4)
    affine[:3, :3] = rotation((1, 2, 3), 25) @ np.diag(spacing)
    if flip:
        affine[:3, 2] *= -1
    affine[:3, 3] = origin
    return affine


def rotation(axis, degrees):
    """Rodrigues' formula."""
    x, y, z = np.array(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def lShape(shape=(24, 30, 36)):
    """A mask without any symmetry: three boxes that share a corner."""
    mask = np.zeros(shape, bool)
    mask[6:9, 8:24, 10:14] = True
    mask[6:9, 8:12, 10:28] = True
    mask[6:19, 8:12, 10:14] = True
    return mask


def volumeOf(array, affine=None, name="CT"):
    return slicer.util.addVolumeFromArray(
        array, ijkToRAS=np.eye(4) if affine is None else affine, name=name
    )


def addLinear(matrix, parent=None):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.array(matrix, float)))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def obliqueMatrix():
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((2, -1, 1), 40)
    matrix[:3, 3] = (30, -12, 8)
    return matrix


def shearedMatrix():
    matrix = np.eye(4)
    matrix[0, 1], matrix[1, 2] = 0.3, -0.2
    matrix[:3, 3] = (3, 4, 5)
    return matrix


def addGrid(direction="ToParent", parent=None):
    """Displacements of a few millimetres that vary smoothly over the volume."""
    image = vtk.vtkImageData()
    image.SetDimensions(9, 9, 9)
    image.SetOrigin(-120, -120, -60)
    image.SetSpacing(30, 30, 30)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    for i, j, k in itertools.product(range(9), repeat=3):
        x, y, z = (position * 30 for position in (i, j, k))
        vector = (5 * np.sin(y / 50), 6 * np.sin(z / 55), 4 * np.cos(x / 60))
        for component, value in enumerate(vector):
            image.SetScalarComponentFromDouble(i, j, k, component, value)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(image)
    transform.SetInterpolationModeToCubic()
    return _addTransform("vtkMRMLGridTransformNode", transform, direction, parent)


def addBSpline(direction="FromParent", parent=None):
    image = vtk.vtkImageData()
    image.SetDimensions(8, 8, 8)
    image.SetOrigin(-130, -130, -70)
    image.SetSpacing(40, 40, 40)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    random = np.random.default_rng(3).uniform(-7, 7, (8, 8, 8, 3))
    for i, j, k, component in np.ndindex(8, 8, 8, 3):
        image.SetScalarComponentFromDouble(i, j, k, component, random[i, j, k, component])
    transform = slicer.vtkOrientedBSplineTransform()
    transform.SetCoefficientData(image)
    return _addTransform("vtkMRMLBSplineTransformNode", transform, direction, parent)


def addThinPlate(direction="ToParent", parent=None):
    transform = vtk.vtkThinPlateSplineTransform()
    transform.SetBasisToR()
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    random = np.random.default_rng(5)
    for corner in itertools.product((-60, 80), (-60, 120), (0, 150)):
        before.InsertNextPoint(corner)
        after.InsertNextPoint(*(np.array(corner) + random.uniform(-8, 8, 3)))
    before.InsertNextPoint(10, 50, 75)
    after.InsertNextPoint(14, 45, 79)
    transform.SetSourceLandmarks(before)
    transform.SetTargetLandmarks(after)
    return _addTransform("vtkMRMLTransformNode", transform, direction, parent)


def _addTransform(className, transform, direction, parent):
    node = slicer.mrmlScene.AddNewNodeByClass(className)
    getattr(node, f"SetAndObserveTransform{direction}")(transform)
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def toWorld(node, points):
    """Each point (N, 3) carried to the world by itself, through every transform above the node."""
    carried = np.empty((len(points), 3))
    for index, point in enumerate(points):
        out = [0.0, 0.0, 0.0]
        node.TransformPointToWorld([float(each) for each in point], out)
        carried[index] = out
    return carried


def centres(mask, affine):
    """RAS positions (N, 3) of a mask's voxels."""
    ijk = np.argwhere(mask)[:, ::-1]
    return ijk @ affine[:3, :3].T + affine[:3, 3]
