"""Outputs overlap their input in the world, whatever transforms it is under."""

import mrml_samples as samples
import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from DeepTranslateLib.image import Image, ImageError
from DeepTranslateLib.mrml.resampling import resampledThrough
from DeepTranslateLib.mrml.segmentations import (
    labelMapFromNode,
    labelMapFromSegmentation,
    segmentationFromLabels,
)
from DeepTranslateLib.mrml.transforms import gridImage, warpedGrid
from DeepTranslateLib.mrml.volumes import VolumeError, imageFromVolume, volumeFromImage, worldGrid

SPACING = (2.0, 2.5, 3.0)
LINEAR = {
    "none": lambda: None,
    "translation": lambda: samples.addLinear(
        [[1, 0, 0, 5], [0, 1, 0, -7], [0, 0, 1, 11], [0, 0, 0, 1]]
    ),
    "oblique": lambda: samples.addLinear(samples.obliqueMatrix()),
    "sheared": lambda: samples.addLinear(samples.shearedMatrix()),
    "scaled": lambda: samples.addLinear(np.diag([1.3, 0.8, 1.1, 1])),
    "mirrored": lambda: samples.addLinear(np.diag([-1.0, 1, 1, 1])),
    "nested": lambda: samples.addLinear(
        samples.obliqueMatrix(), samples.addLinear(samples.shearedMatrix())
    ),
}
WARPED = {
    "grid": samples.addGrid,
    "inverse grid": lambda: samples.addGrid("FromParent"),
    "B-spline": samples.addBSpline,
    "inverse B-spline": lambda: samples.addBSpline("ToParent"),
    "thin plate": samples.addThinPlate,
    "inverse thin plate": lambda: samples.addThinPlate("FromParent"),
    "linear over grid": lambda: samples.addGrid(parent=samples.addLinear(samples.obliqueMatrix())),
    "grid over linear": lambda: samples.addLinear(samples.obliqueMatrix(), samples.addGrid()),
    "thin plate over B-spline": lambda: samples.addBSpline(parent=samples.addThinPlate()),
}


def addInput(transform, flip=False):
    """A volume of 0 with an asymmetric shape of 1000, placed under a transform."""
    values = np.where(samples.lShape(), 1000, 0).astype(np.int16)
    node = samples.volumeOf(values, samples.obliqueAffine(SPACING, flip=flip))
    if transform is not None:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def localAffine(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def shapeInWorld(node):
    """Where the shape's voxels are in the world, each point mapped by itself, and its volume."""
    affine = localAffine(node)
    points = samples.centres(samples.lShape(), affine)
    mapped = samples.toWorld(node, points)
    # The volume that each voxel has in the world: small steps along each axis.
    step = 0.1
    edges = [
        (samples.toWorld(node, points + step * axis) - mapped) / step for axis in affine[:3, :3].T
    ]
    volumes = np.abs(np.linalg.det(np.stack(edges, axis=-1)))
    return mapped, volumes


def surfaceInWorld(segmentation, identifier):
    """Points of a segment's closed surface, carried to the world."""
    surface = vtk.vtkPolyData()
    segmentation.GetClosedSurfaceRepresentation(identifier, surface)
    return samples.toWorld(segmentation, vtk_to_numpy(surface.GetPoints().GetData()))


@pytest.mark.parametrize("flip", [False, True], ids=["right-handed", "left-handed"])
@pytest.mark.parametrize("name", LINEAR)
def test_under_linear_transforms_input_and_outputs_coincide(name, flip):
    node = addInput(LINEAR[name](), flip)
    image = imageFromVolume(node)
    found = samples.centres(image.voxels == 1000, image.affine)
    truth, _ = shapeInWorld(node)
    np.testing.assert_allclose(found, truth, atol=1e-6)

    labels = image.with_voxels((image.voxels == 1000).astype(np.uint8) * 3)
    segmentation = segmentationFromLabels(labels, samples.LABELS, "out", node, closedSurface=True)
    assert segmentation.GetTransformNodeID() == node.GetTransformNodeID()
    # Slicer's own reading of the segment, on the input's voxels.
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "body_wall", node)
    assert (mask.astype(bool) == samples.lShape()).all()
    # Surfaces run half a voxel outside the centres; smoothing would take the corners away.
    segmentation.RemoveClosedSurfaceRepresentation()
    segmentation.GetSegmentation().SetConversionParameter("Smoothing factor", "0")
    segmentation.CreateClosedSurfaceRepresentation()
    surface = image.ijk(surfaceInWorld(segmentation, "body_wall"))
    ijk = np.argwhere(samples.lShape())[:, ::-1]
    np.testing.assert_allclose(surface.min(axis=0), ijk.min(axis=0) - 0.5, atol=0.01)
    np.testing.assert_allclose(surface.max(axis=0), ijk.max(axis=0) + 0.5, atol=0.01)

    output = volumeFromImage(image, "out", node)
    assert (slicer.util.arrayFromVolume(output) == slicer.util.arrayFromVolume(node)).all()
    np.testing.assert_allclose(localAffine(output), localAffine(node), atol=1e-12)


@pytest.mark.parametrize("name", WARPED)
def test_inputs_are_taken_in_world_space_under_non_linear_transforms(name):
    node = addInput(WARPED[name]())
    image = imageFromVolume(node)
    assert not image.is_sheared
    points, volumes = shapeInWorld(node)
    truth = np.average(points, axis=0, weights=volumes)
    everywhere = samples.centres(np.ones(image.shape, bool), image.affine)
    found = np.average(everywhere, axis=0, weights=image.voxels.ravel())
    np.testing.assert_allclose(found, truth, atol=0.1)
    volume = image.voxels.sum(dtype=float) / 1000 * image.voxel_volume_mm3
    assert volume == pytest.approx(volumes.sum(), rel=0.01)
    # Every voxel of the shape that has its like on all sides is found where it is in the world.
    inner = samples.lShape()
    for axis, by in ((0, 1), (0, -1), (1, 1), (1, -1), (2, 1), (2, -1)):
        inner &= np.roll(samples.lShape(), by, axis)
    ijk = image.ijk(samples.toWorld(node, samples.centres(inner, localAffine(node))))
    i, j, k = np.rint(ijk).astype(int).T
    assert (image.voxels[k, j, i] >= 500).all()


@pytest.mark.parametrize("name", WARPED)
def test_outputs_return_under_non_linear_transforms_to_within_half_a_voxel(name):
    node = addInput(WARPED[name]())
    image = imageFromVolume(node)
    labels = image.with_voxels((image.voxels >= 500).astype(np.uint8) * 3)
    segmentation = segmentationFromLabels(labels, samples.LABELS, "out", node)
    assert segmentation.GetTransformNodeID() == node.GetTransformNodeID()
    layer = segmentation.GetBinaryLabelmapInternalRepresentation("body_wall")
    found = vtk_to_numpy(layer.GetPointData().GetScalars()).reshape(layer.GetDimensions()[::-1])
    truth = samples.lShape()
    apart = samples.centres(found == 3, localAffine(node)).mean(axis=0) - samples.centres(
        truth, localAffine(node)
    ).mean(axis=0)
    assert np.linalg.norm(apart / SPACING) < 0.5
    # Voxels that differ touch the shape's border: none is a whole voxel off.
    near, core = truth.copy(), truth.copy()
    for axis in range(3):
        for by in (1, -1):
            near |= np.roll(truth, by, axis)
            core &= np.roll(truth, by, axis)
    assert not (found == 3)[~near].any()
    assert (found == 3)[core].all()

    output = volumeFromImage(image, "out", node)
    assert output.GetTransformNodeID() == node.GetTransformNodeID()
    np.testing.assert_allclose(localAffine(output), localAffine(node), atol=1e-12)
    returned = slicer.util.arrayFromVolume(output)
    assert returned.shape == truth.shape
    assert returned[core].min() >= 500


@pytest.mark.parametrize("name", WARPED)
def test_labels_under_non_linear_transforms_are_those_of_the_volume(name):
    node = addInput(WARPED[name]())
    image = imageFromVolume(node)
    values = samples.lShape().astype(np.uint8) * 5
    labelNode = slicer.util.addVolumeFromArray(
        values, ijkToRAS=localAffine(node), nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    labelNode.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    fromNode = labelMapFromNode(labelNode)
    assert fromNode.same_grid(image)
    assert set(np.unique(fromNode.voxels)) == {0, 5}
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labelNode, segmentation)
    identifier = segmentation.GetSegmentation().GetNthSegmentID(0)
    fromSegment, overlaps = labelMapFromSegmentation(segmentation, node, {identifier: 5})
    assert overlaps == []
    assert fromSegment.same_grid(image)
    assert (fromSegment.voxels == fromNode.voxels).mean() > 0.9999
    # Nearest and linear interpolation part at the border only.
    agreement = (fromSegment.voxels == 5) == (image.voxels >= 500)
    assert (~agreement).sum() < 0.25 * (fromSegment.voxels == 5).sum()


def test_segments_elsewhere_are_brought_to_the_volume_through_the_world():
    volume = addInput(samples.addLinear(samples.obliqueMatrix()))
    image = imageFromVolume(volume)
    # A finer segmentation, in the world, of a box: the half of the volume in front of a plane.
    finer = worldGrid(volume).resampled([1.0, 1.0, 1.0], "nearest")
    ras = np.moveaxis(np.indices(finer.shape), 0, -1)[..., ::-1] @ finer.affine[:3, :3].T
    ras += finer.affine[:3, 3]
    normal = np.array([1.0, 2.0, 0.5])
    level = float(np.median(ras @ normal))
    half = Image((ras @ normal > level).astype(np.uint8) * 3, finer.affine)
    segmentation = segmentationFromLabels(half, samples.LABELS, "half", None)
    labels, _ = labelMapFromSegmentation(segmentation, volume, {"body_wall": 1})
    assert labels.same_grid(image)
    ras = np.moveaxis(np.indices(image.shape), 0, -1)[..., ::-1] @ image.affine[:3, :3].T
    distance = ((ras + image.affine[:3, 3]) @ normal - level) / np.linalg.norm(normal)
    # Beyond the reach of a fine voxel's half diagonal, every voxel is on its side of the plane.
    reach = np.sqrt(3) / 2
    assert (labels.voxels[distance > reach] == 1).all()
    assert (labels.voxels[distance < -reach] == 0).all()


def test_surfaces_under_a_transform_fill_the_voxels_inside_them():
    volume = addInput(samples.addLinear(samples.obliqueMatrix()))
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(30, 20, 60)
    sphere.SetRadius(15)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetSourceRepresentationToClosedSurface()
    transform = samples.addLinear(samples.shearedMatrix())
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    identifier = segmentation.AddSegmentFromClosedSurfaceRepresentation(
        sphere.GetOutput(), "ball", [1, 0, 0]
    )
    labels, _ = labelMapFromSegmentation(segmentation, volume, {identifier: 4})
    ras = samples.centres(np.ones(labels.shape, bool), labels.affine)
    inverse = np.linalg.inv(samples.shearedMatrix())
    radius = np.linalg.norm(ras @ inverse[:3, :3].T + inverse[:3, 3] - (30, 20, 60), axis=1)
    found = labels.voxels.ravel() == 4
    assert found[radius < 15 - max(SPACING)].all()
    assert not found[radius > 15 + max(SPACING)].any()
    expected = (radius < 15).sum()
    assert found.sum() == pytest.approx(expected, rel=0.05)
    assert not segmentation.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_axial_slices_stay_axial_where_a_warp_also_turns_the_patient():
    turned = np.eye(4)
    turned[:3, :3] = samples.rotation((1, 0, 0), 90)
    warp = samples.addGrid(parent=samples.addLinear(turned))
    node = samples.volumeOf(np.zeros((12, 20, 30), np.int16), np.diag([2.0, 2.0, 5.0, 1.0]))
    node.SetAndObserveTransformNodeID(warp.GetID())
    image = imageFromVolume(node)
    # The thick axis, which was superior, now points to the back.
    assert np.argmax(image.spacing) == 2
    assert image.orientation[2] in "AP"
    np.testing.assert_allclose(image.spacing, (2, 2, 5), rtol=0.1)


def test_an_identity_gives_the_grid_back():
    grid = gridImage((5, 6, 7), samples.obliqueAffine(flip=True))
    same = warpedGrid(grid, vtk.vtkGeneralTransform())
    assert same.same_grid(grid, tolerance=1e-9)


def test_a_warp_grows_the_grid_so_that_nothing_is_cut_off():
    node = addInput(samples.addThinPlate())
    image = imageFromVolume(node)
    shape = samples.lShape().shape
    corners = np.array([(i, j, k) for k in (0, 23) for j in (0, 29) for i in (0, 35)], float)
    affine = localAffine(node)
    mapped = samples.toWorld(node, corners @ affine[:3, :3].T + affine[:3, 3])
    ijk = image.ijk(mapped)
    assert (ijk > -0.5).all()
    assert (ijk < np.array(image.shape[::-1]) - 0.5).all()
    assert np.prod(image.shape) < 3 * np.prod(shape)


def test_what_lies_outside_a_warped_volume_is_its_background():
    values = np.full((10, 12, 14), -1000, np.int16)
    values[4:6, 5:7, 6:8] = 300
    node = samples.volumeOf(values, np.diag([3.0, 3, 3, 1]))
    node.SetAndObserveTransformNodeID(samples.addThinPlate().GetID())
    image = imageFromVolume(node)
    assert image.voxels.dtype == np.int16
    assert image.voxels.min() == -1000
    assert image.voxels[0, 0, 0] == -1000


def test_a_transform_that_tears_a_volume_apart_is_refused_in_words():
    node = addInput(samples.addLinear(np.diag([1.0, 1, 1, 1]), samples.addGrid()))
    folded = samples.addLinear(np.diag([1.0, 1, 1e-7, 1]), samples.addGrid())
    node.SetAndObserveTransformNodeID(folded.GetID())
    with pytest.raises(VolumeError, match=r"'CT' cannot be used\. The transform"):
        imageFromVolume(node)
    assert issubclass(VolumeError, ImageError)


def test_resampling_equals_that_of_simpleitk():
    import SimpleITK

    random = np.random.default_rng(0)
    image = Image(random.normal(size=(9, 10, 11)).astype(np.float32), samples.obliqueAffine())
    grid = gridImage((8, 9, 7), samples.obliqueAffine((1.5, 2.0, 2.5), (-15, 18, 43)))
    identity = vtk.vtkGeneralTransform()
    for interpolation, code in (
        ("linear", SimpleITK.sitkLinear),
        ("nearest", SimpleITK.sitkNearestNeighbor),
    ):
        mine = resampledThrough(image, grid, identity, interpolation, -5.0)
        byMatrix = resampledThrough(image, grid, np.eye(4), interpolation, -5.0)
        assert np.abs(byMatrix.voxels - mine.voxels).max() < 1e-4
        other = SimpleITK.Resample(
            image.to_sitk(), grid.to_sitk(), SimpleITK.Transform(), code, -5.0
        )
        theirs = SimpleITK.GetArrayFromImage(other)
        inside = (mine.voxels != -5) & (theirs != -5)
        assert inside.mean() > 0.5
        np.testing.assert_allclose(mine.voxels[inside], theirs[inside], atol=1e-4)
        assert ((mine.voxels == -5) == (theirs == -5)).mean() > 0.98


@pytest.mark.parametrize("name", WARPED)
def test_every_voxel_of_a_fine_volume_comes_from_where_the_transform_says(name):
    # Each voxel's value is its own index along one axis: values tell where they came from.
    shape = (30, 40, 50)
    node = samples.volumeOf(np.zeros(shape, np.float32), samples.obliqueAffine((0.9, 1.0, 1.6)))
    node.SetAndObserveTransformNodeID(WARPED[name]().GetID())
    random = np.random.default_rng(7)
    for axis in range(3):
        slicer.util.arrayFromVolume(node)[:] = np.indices(shape)[2 - axis]
        slicer.util.arrayFromVolumeModified(node)
        image = imageFromVolume(node)
        ijk = np.stack([random.integers(0, n, 200) for n in image.shape[::-1]], axis=1)
        local, out = [], [0.0, 0.0, 0.0]
        for point in image.ras(ijk):
            node.TransformPointFromWorld(point.tolist(), out)
            local.append(tuple(out))
        source = Image(np.zeros(shape), localAffine(node)).ijk(local)
        size = np.array(shape[::-1])
        inside = ((source > 0) & (source < size - 1)).all(axis=1)
        assert inside.sum() > 50
        found = image.voxels[tuple(ijk[inside].T[::-1])]
        np.testing.assert_allclose(found, source[inside, axis], atol=0.15)
