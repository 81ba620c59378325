"""What was exported is taken again exactly as long as it would be exported the same."""

import numpy as np
import pytest
import slicer
import vtk
from train_samples import addSubject, phantomOf, tinyRecipe

from DeepTranslateLib.cohort import read_cohort
from DeepTranslateLib.mrml.cohortcache import CohortCache
from DeepTranslateLib.mrml.cohorts import writeCohort
from DeepTranslateLib.mrml.pairs import Pair
from DeepTranslateLib.mrml.segmentations import segmentsOf
from DeepTranslateLib.recipe import recipe_from_json
from DeepTranslateLib.schema import to_json


@pytest.fixture
def cache():
    cache = CohortCache()
    yield cache
    cache.clear()


@pytest.fixture
def export(cache, tmp_path):
    """Exports pairs by the cache and without it, says if both are the same, returns the first."""
    count = 0

    def export(*pairs, recipe=None):
        nonlocal count
        recipe, cases = recipe or tinyRecipe(), []
        for how in ({"export": cache.export}, {}):
            count += 1
            folder = tmp_path / str(count)
            folder.mkdir()
            cases.append(read_cohort(writeCohort(pairs, recipe, folder, **how)).cases)
        for kept, fresh in zip(*cases, strict=True):
            assert (kept.subject, kept.slices) == (fresh.subject, fresh.slices)
            for first, second in (
                (kept.read_image(), fresh.read_image()),
                (kept.read_target(), fresh.read_target()),
            ):
                assert first.same_grid(second)
                assert np.array_equal(first.voxels, second.voxels)
        return cases[0]

    return export


def moved(node, shift):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAndObserveTransformNodeID(transform.GetID())
    setShift(transform, shift)
    return transform


def setShift(transform, shift):
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, shift)
    transform.SetMatrixTransformToParent(matrix)


def written(cases):
    """When the files were made: a link or a copy of kept ones says the same."""
    return [(case.image.stat().st_ino, case.image.stat().st_mtime_ns) for case in cases]


def test_unchanged_nodes_are_not_written_again(export):
    pairs = [Pair(*addSubject(seed)) for seed in range(2)]
    first = export(*pairs)
    assert written(export(*pairs)) == written(first)
    assert written(export(pairs[1])) == written(first)[1:]


def test_who_and_which_slices_may_change_without_an_export(export):
    nodes = addSubject(0)
    first = export(Pair(*nodes))
    (again,) = export(Pair(*nodes, subject="anna", slices=(0, 2)))
    assert (again.subject, again.slices) == ("anna", (0, 2))
    assert written([again]) == written(first)


def test_painted_voxels_are_exported(export):
    volume, segmentation = addSubject(0, labelled=(1, 2))
    export(Pair(volume, segmentation))
    name = segmentsOf(segmentation)[2].id
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume).copy()
    voxels[3, 10:20, 10:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, segmentation, name, volume)
    (case,) = export(Pair(volume, segmentation))
    assert case.slices == (1, 2, 3)


def test_changed_intensities_are_exported(export):
    volume, segmentation = addSubject(0)
    export(Pair(volume, segmentation))
    slicer.util.arrayFromVolume(volume)[0, 0, 0] = 321
    slicer.util.arrayFromVolumeModified(volume)
    (case,) = export(Pair(volume, segmentation))
    assert case.read_image().oriented("LPS").voxels.max() >= 321


def test_a_moved_patient_is_exported_where_the_images_are_now(export):
    volume, segmentation = addSubject(0)
    outer = moved(volume, 5.0)
    segmentation.SetAndObserveTransformNodeID(outer.GetID())
    (before,) = export(Pair(volume, segmentation))
    setShift(outer, 25.0)
    (after,) = export(Pair(volume, segmentation))
    shift = after.read_image().ras([0, 0, 0]) - before.read_image().ras([0, 0, 0])
    assert np.allclose(shift, [20, 0, 0])
    moved(outer, 100.0)
    (after,) = export(Pair(volume, segmentation))
    shift = after.read_image().ras([0, 0, 0]) - before.read_image().ras([0, 0, 0])
    assert np.allclose(shift, [120, 0, 0])


def test_other_labels_and_planes_are_exported(export):
    volume, segmentation = addSubject(0)
    ids = [segment.id for segment in segmentsOf(segmentation)]
    export(Pair(volume, segmentation, values={ids[0]: 1}))
    (case,) = export(Pair(volume, segmentation, values={ids[0]: 2}))
    assert set(np.unique(case.read_target().voxels)) == {0, 2}
    content = to_json(tinyRecipe())
    content["sampling"]["plane"] = "coronal"
    (case,) = export(Pair(volume, segmentation), recipe=recipe_from_json(content))
    assert max(case.slices) >= phantomOf(0).labels.voxels.shape[0]


def test_what_was_given_out_stays_when_the_cache_is_cleared(cache, export):
    (case,) = export(Pair(*addSubject(0)))
    cache.clear()
    assert case.read_image().voxels.shape == phantomOf(0).image.voxels.shape
