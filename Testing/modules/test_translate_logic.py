"""Translating from the console: what comes back, where it lies, and what is refused."""

import sys

import numpy as np
import pytest
import slicer
import translate_samples as samples
import vtk

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.model import read_model
from DeepTranslateLib.mrml.folderitems import findSources
from DeepTranslateLib.mrml.provenance import readProvenance
from DeepTranslateLib.statistics import read_statistics

VOXEL_ML = 2 * 2 * 5 / 1000


@pytest.fixture(autouse=True)
def noDialogs(monkeypatch):
    """The logic never opens a dialog."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"a dialog: {args}")

    for name in (
        "errorDisplay",
        "warningDisplay",
        "infoDisplay",
        "messageBox",
        "confirmOkCancelDisplay",
        "confirmYesNoDisplay",
    ):
        monkeypatch.setattr(slicer.util, name, refuse)
    yield
    assert not samples.errorDialogs()


@pytest.fixture
def logic(panel):
    panel("DeepTranslate")
    return slicer.util.getModuleLogic("DeepTranslate")


@pytest.fixture
def model(tmp_path):
    return samples.model("labels", tmp_path)


@pytest.fixture
def volumeModel(tmp_path):
    return samples.model("volume", tmp_path)


def moved(node, matrix):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def rowsOf(tableNode):
    columns = {}
    for number in range(tableNode.GetNumberOfColumns()):
        name = tableNode.GetColumnName(number)
        columns[name] = [
            tableNode.GetCellText(row, number) for row in range(tableNode.GetNumberOfRows())
        ]
    return columns


def sequenceBrowser(frames, name="Cine"):
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", f"{name} sequence")
    for number, frame in enumerate(frames):
        volumeNode = samples.volumeNode(f"{name} {number}", array=frame)
        sequence.SetDataNodeAtValue(volumeNode, str(number))
        slicer.mrmlScene.RemoveNode(volumeNode)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", name)
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return sequence, browser, browser.GetProxyNode(sequence)


def test_a_volume_becomes_a_segmentation_whose_table_counts_the_same_voxels(logic, model):
    volumeNode = samples.volumeNode()
    translated = logic.translate(volumeNode, model)
    labels = samples.segmentVoxels(translated.output, volumeNode)
    truth = samples.voxels(50)[1]
    assert np.mean(labels == truth) > 0.9
    table = rowsOf(translated.table)
    assert table["name"] == ["dark", "bright"]
    for name, value, voxels in zip(
        table["name"], (samples.DARK, samples.BRIGHT), table["voxels"], strict=True
    ):
        count = int(np.sum(labels == value))
        assert count > 50, name
        assert int(voxels) == count
        row = next(row for row in translated.rows if row.name == name)
        assert row.volume_ml == pytest.approx(count * VOXEL_ML)
    assert translated.name == "CT"
    assert translated.error == ""


def test_a_volume_becomes_a_volume_on_its_grid_in_the_recipes_units(logic, volumeModel):
    volumeNode = samples.volumeNode()
    translated = logic.translate(volumeNode, volumeModel)
    output = slicer.util.arrayFromVolume(translated.output)
    assert output.shape == slicer.util.arrayFromVolume(volumeNode).shape
    truth = samples.voxels(50)[1]
    # The model was taught to negate.
    assert -500 < output[truth == samples.BRIGHT].mean() < -200
    assert 200 < output[truth == samples.DARK].mean() < 500
    matrix = vtk.vtkMatrix4x4()
    translated.output.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), samples.affine(), atol=1e-6)
    assert translated.output.GetName() == "CT translated"
    assert translated.table is None
    assert readProvenance(translated.output)["SyntheticImage"] == "true"


def test_outputs_are_named_after_the_input_and_say_what_made_them(logic, model):
    volumeNode = samples.volumeNode("Abdomen")
    translated = logic.translate(volumeNode, model)
    assert translated.output.GetName() == "Abdomen tissues"
    assert translated.table.GetName() == "Abdomen statistics"
    provenance = readProvenance(translated.output)
    assert provenance["Model"] == "Tiny labels"
    assert provenance["Checksum"] == read_model(model).card.weights_sha256
    assert provenance["Input"] == "Abdomen"
    assert provenance["SyntheticImage"] == "false"


def test_a_second_run_makes_new_nodes_and_leaves_the_first_ones(logic, model):
    volumeNode = samples.volumeNode()
    first = logic.translate(volumeNode, model)
    second = logic.translate(volumeNode, model)
    assert first.output is not second.output
    assert first.output.GetScene() is slicer.mrmlScene
    assert first.output.GetName() != second.output.GetName()
    assert first.table is not second.table


def test_outputs_lie_under_the_inputs_transform_and_on_its_voxels(logic, model):
    plain = samples.segmentVoxels(logic.translate(samples.volumeNode(), model).output,
                                  samples.volumeNode())  # fmt: skip
    volumeNode = samples.volumeNode("turned")
    # Turned by 90 degrees the slices are others; a small turn keeps them axial.
    transform = moved(volumeNode, samples.oblique((5, -6, 12)))
    translated = logic.translate(volumeNode, model)
    assert translated.output.GetTransformNodeID() == transform.GetID()
    assert volumeNode.GetTransformNodeID() == transform.GetID()
    np.testing.assert_array_equal(samples.segmentVoxels(translated.output, volumeNode), plain)


def test_outputs_go_into_the_study_of_the_input(logic, model):
    volumeNode = samples.volumeNode()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "2020")
    hierarchy.CreateItem(study, volumeNode)
    translated = logic.translate(volumeNode, model)
    item = hierarchy.GetItemByDataNode(translated.output)
    assert hierarchy.GetItemParent(item) == study
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(translated.table)) == study


def test_one_component_of_several_is_translated(logic, model):
    scalar = samples.volumeNode()
    array = slicer.util.arrayFromVolume(scalar)
    volumeNode = samples.volumeNode("RGB", array=np.stack([0 * array, array, 0 * array], -1))
    expected = samples.segmentVoxels(logic.translate(scalar, model).output, scalar)
    translated = logic.translate(volumeNode, model, component=1)
    np.testing.assert_array_equal(samples.segmentVoxels(translated.output, scalar), expected)
    with pytest.raises(ValueError, match="component"):
        logic.translate(volumeNode, model)
    with pytest.raises(ValueError, match="0 to 2"):
        logic.translate(volumeNode, model, component=3)


def test_a_chosen_output_receives_the_result(logic, model):
    volumeNode = samples.volumeNode()
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "my table")
    translated = logic.translate(volumeNode, model, output=output, table=table)
    assert translated.output is output
    assert translated.table is table
    assert output.GetName() == "mine"
    assert output.GetSegmentation().GetNumberOfSegments() == 2


def test_every_frame_of_a_sequence_is_translated(logic, model):
    frames = [samples.voxels(seed)[0] for seed in (60, 61, 62)]
    _sequence, browser, proxy = sequenceBrowser(frames)
    translated = logic.translate(proxy, model)
    output = translated.output
    assert output.IsA("vtkMRMLSequenceNode")
    assert output.GetNumberOfDataNodes() == 3
    assert [output.GetNthIndexValue(n) for n in range(3)] == ["0", "1", "2"]
    alone = samples.volumeNode("alone", array=frames[2])
    expected = samples.segmentVoxels(logic.translate(alone, model).output, alone)
    frame = samples.segmentVoxels(output.GetDataNodeAtValue("2"), alone)
    np.testing.assert_array_equal(frame, expected)
    assert browser.GetProxyNode(output) is not None
    assert len(rowsOf(translated.table)["name"]) == 6
    seen = samples.nodeNames("vtkMRMLScalarVolumeNode")
    assert sorted(seen) == sorted([proxy.GetName(), "alone"])


def test_a_single_frame_can_be_asked_for(logic, model):
    frames = [samples.voxels(seed)[0] for seed in (60, 61)]
    _sequence, _browser, proxy = sequenceBrowser(frames)
    translated = logic.translate(proxy, model, allFrames=False)
    assert translated.output.IsA("vtkMRMLSegmentationNode")


def test_of_a_list_one_failure_does_not_stop_the_others(logic, model):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    volumes = [samples.volumeNode("A", 50), empty, samples.volumeNode("B", 51)]
    translated = logic.translate(volumes, model)
    assert [each.name for each in translated] == ["A", "empty", "B"]
    assert [bool(each.error) for each in translated] == [False, True, False]
    assert "voxels" in translated[1].error
    assert translated[1].output is None
    assert translated[0].table is translated[2].table
    assert rowsOf(translated[0].table)["volume"] == ["A", "A", "B", "B"]


def test_a_folder_of_files_becomes_a_folder_of_files_and_a_table(logic, model, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "in" / "out"
    (folder / "sub").mkdir(parents=True)
    for seed, path in ((50, folder / "a.nrrd"), (51, folder / "sub" / "b.nii.gz")):
        write_image(Image(samples.voxels(seed)[0], samples.affine()), path)
    (folder / "broken.nrrd").write_text("nonsense")
    before = slicer.util.arrayFromVolume(samples.volumeNode())
    translated = logic.translate(folder, model, outputFolder=output)
    assert {each.name: bool(each.error) for each in translated} == {
        "a": False,
        "b": False,
        "broken": True,
    }
    done = next(each for each in translated if each.name == "a")
    labels = read_image(done.path)
    assert done.path.parent == output
    count = int(np.sum(labels.voxels == samples.BRIGHT))
    rows = {row.volume + row.name: row for row in read_statistics(output / "tissue_volumes.csv")}
    assert rows["abright"].voxels == count
    assert set(rows) == {"adark", "abright", "bdark", "bbright"}
    node = samples.volumeNode()
    expected = samples.segmentVoxels(logic.translate(node, model).output, node)
    np.testing.assert_array_equal(labels.voxels, expected)
    assert before.any()
    again = logic.translate(folder, model, outputFolder=output)
    assert {each.path.name for each in again if each.path} == {"a_labels_2.nrrd", "b_labels_2.nrrd"}
    np.testing.assert_array_equal(read_image(done.path).voxels, labels.voxels)


def test_sources_of_a_folder_have_names_of_their_own(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        write_image(Image(samples.voxels(1)[0], samples.affine()), tmp_path / name / "CT.nrrd")
    write_image(Image(samples.voxels(1)[1], samples.affine()), tmp_path / "x" / "CT_labels.nrrd")
    assert [each.name for each in findSources(tmp_path)] == ["x_CT", "y_CT"]


def test_a_model_is_found_by_path_by_name_and_as_it_is(logic, model):
    volumeNode = samples.volumeNode()
    with samples.modelsFolder(model.parent):
        for each in (model, str(model), "tiny", "Tiny labels", read_model(model)):
            assert logic.translate(volumeNode, each).output is not None
        with pytest.raises(ValueError, match=r"no model 'other'.*tiny"):
            logic.translate(volumeNode, "other")


def test_what_cannot_be_translated_is_refused_before_anything_starts(logic, model, tmp_path):
    volumeNode = samples.volumeNode()
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "no volume")
    before = slicer.mrmlScene.GetNumberOfNodes()
    refused = (
        (None, {}, "volume node"),
        (segmentation, {}, "vtkMRMLSegmentationNode"),
        (empty, {}, "'empty'"),
        ([], {}, "at least one"),
        ({"other": volumeNode}, {}, "image"),
        (volumeNode, {"device": "gpu"}, "device"),
        (volumeNode, {"output": volumeNode}, "vtkMRMLSegmentationNode"),
        (volumeNode, {"table": segmentation}, "table"),
        ([volumeNode], {"output": segmentation}, "several"),
        (str(tmp_path / "missing.nrrd"), {"outputFolder": tmp_path}, "no file"),
        (str(model), {}, "outputFolder"),
    )
    for volumes, options, message in refused:
        with pytest.raises(ValueError, match=message):
            logic.translate(volumes, model, **options)
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_a_sheared_volume_is_explained(logic, model):
    volumeNode = samples.volumeNode("tilted gantry")
    shear = np.eye(4)
    shear[1, 2] = 0.4
    moved(volumeNode, shear)
    with pytest.raises(ValueError, match=r"tilted gantry.*sheared.*esample"):
        logic.translate(volumeNode, model)


def test_an_input_is_never_the_output(logic, volumeModel):
    volumeNode = samples.volumeNode()
    before = slicer.util.arrayFromVolume(volumeNode).copy()
    with pytest.raises(ValueError, match="overwrite"):
        logic.translate(volumeNode, volumeModel, output=volumeNode)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volumeNode), before)


def test_a_doubt_comes_with_the_result(logic, model):
    volumeNode = samples.volumeNode(array=samples.voxels(50)[0] // 4 + 3000)
    translated = logic.translate(volumeNode, model)
    assert translated.doubts
    assert not logic.translate(samples.volumeNode("like it"), model).doubts


def test_the_application_never_imports_torch(logic, model, inApplication):
    # Other modules of the application may have loaded what they like.
    before = set(sys.modules) if inApplication else set()
    logic.translate(samples.volumeNode(), model)
    loaded = {name.split(".")[0] for name in set(sys.modules) - before}
    assert not loaded & {"torch", "monai", "pandas", "matplotlib", "safetensors"}
