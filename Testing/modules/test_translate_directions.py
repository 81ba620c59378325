"""A model that has learnt both directions: the chooser, the outputs and what they say."""

import numpy as np
import pytest
import slicer
import translate_samples as samples

from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.model import ModelError, read_model
from DeepTranslateLib.mrml.panels.modelcard import cardText
from DeepTranslateLib.mrml.provenance import readProvenance
from DeepTranslateLib.mrml.translating import startTranslation, translate
from DeepTranslateLib.mrml.translationscript import translationScript
from DeepTranslateLib.mrml.volumes import imageFromVolume

BACK = "target-to-source"


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    with samples.modelsFolder(folder):
        yield folder


@pytest.fixture
def both(library):
    return samples.twoWayModel(library)


@pytest.fixture
def widget(panel, both):
    return panel("DeepTranslate")


def directions(widget):
    combo = widget.models.directions.comboBox
    return [combo.itemText(index) for index in range(combo.count)]


def choose(widget, text):
    combo = widget.models.directions.comboBox
    combo.currentIndex = combo.findText(text)


def isShown(widget):
    return widget.models.directions.widget.isVisibleTo(widget.parent)


def likeMR(name="MR", seed=60):
    return samples.volumeNode(name, array=-samples.voxels(seed)[0])


def unitsOf(volumeNode):
    units = volumeNode.GetVoxelValueUnits()
    return units.GetCodeMeaning() if units is not None else None


def test_the_console_translates_back_under_a_name_and_units_of_its_own(both):
    volumeNode = likeMR()
    back = translate(volumeNode, both, direction=BACK)
    assert back.output.GetName() == "MR translated to CT"
    assert unitsOf(back.output) == "Hounsfield unit"
    found = readProvenance(back.output)
    assert found["Direction"] == BACK
    assert found["Units"] == "HU"
    values = slicer.util.arrayFromVolume(back.output)
    there = translate(volumeNode, both)
    assert there.output.GetName() == "MR translated to MR"
    assert readProvenance(there.output)["Direction"] == "source-to-target"
    assert abs(slicer.util.arrayFromVolume(there.output) - values).max() > 1


def test_an_input_is_doubted_by_what_the_direction_has_learnt_from(both):
    model = read_model(both)
    assert translate(likeMR(), model, direction=BACK).doubts == ()
    raised = translate(samples.volumeNode(array=samples.voxels(50)[0] + 5000), model).doubts
    assert "not in HU" in raised[0]


def test_a_model_of_one_direction_refuses_the_other_before_anything_starts(library):
    one = samples.model("volume", library)
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(ModelError, match="source-to-target"):
        startTranslation(likeMR, one, direction=BACK)
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_outputs_of_one_direction_carry_no_direction(library):
    one = samples.model("volume", library)
    output = translate(samples.volumeNode(), one).output
    assert "Direction" not in readProvenance(output)
    assert output.GetName() == "CT translated"


def test_files_of_both_directions_lie_beside_each_other(both, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_image(imageFromVolume(likeMR()), folder / "anna.nrrd")
    for direction in (BACK, "source-to-target"):
        (done,) = translate(folder, both, direction=direction, outputFolder=folder)
        assert not done.error
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["anna.nrrd", "anna_translated.nrrd", "anna_translated_to_source.nrrd"]
    back, there = (
        read_image(folder / f"anna_translated{ending}.nrrd") for ending in ("_to_source", "")
    )
    assert abs(back.voxels - there.voxels).max() > 1


def test_the_script_of_the_way_back_says_so_and_that_of_the_way_there_does_not(both):
    model = read_model(both)
    volumeNode = likeMR()
    script = translationScript(volumeNode, model, direction=BACK)
    assert f"direction='{BACK}'" in script
    exec(script, {})
    output = slicer.util.getNode("MR translated to CT")
    assert readProvenance(output)["Direction"] == BACK
    there = translationScript(volumeNode, model, direction="source-to-target")
    assert "direction=" not in there


def test_the_chooser_is_there_for_models_of_both_directions_alone(widget, library):
    assert isShown(widget)
    assert directions(widget) == ["CT to MR", "MR to CT"]
    samples.model("labels", library)
    widget.models.refresh("tiny.dtmodel")
    assert not isShown(widget)
    assert widget.models.direction == "source-to-target"


def test_the_panel_asks_for_what_the_direction_reads(widget):
    def asked():
        form = widget.ui.volumeForm.layout()
        return form.labelForField(widget.inputs.selector(0)).text

    widget.inputs.selector(0).setCurrentNode(likeMR())
    assert asked() == "CT (HU):"
    choose(widget, "MR to CT")
    assert asked() == "MR (au):"
    assert widget.inputs.first.GetName() == "MR"


def test_apply_translates_in_the_chosen_direction(widget):
    volumeNode = likeMR()
    widget.inputs.selector(0).setCurrentNode(volumeNode)
    choose(widget, "MR to CT")
    samples.applied(widget)
    output = slicer.util.getNode("MR translated to CT")
    assert readProvenance(output)["Direction"] == BACK
    assert "HU" in widget.ui.resultLabel.text
    expected = translate(volumeNode, widget.models.model.path, direction=BACK).output
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(output), slicer.util.arrayFromVolume(expected)
    )


def test_a_batch_goes_the_chosen_way(widget):
    likeMR("first", 60)
    likeMR("second", 61)
    choose(widget, "MR to CT")
    widget.ui.tabWidget.currentIndex = 1
    samples.applied(widget)
    names = samples.nodeNames("vtkMRMLScalarVolumeNode")
    assert [name for name in names if "translated" in name] == [
        "first translated to CT",
        "second translated to CT",
    ]


def test_copy_as_python_keeps_the_direction(widget):
    widget.inputs.selector(0).setCurrentNode(likeMR())
    choose(widget, "MR to CT")
    widget.ui.copyScriptButton.click()
    assert f"direction='{BACK}'" in slicer.app.clipboard().text()


def test_the_direction_stays_when_the_library_is_read_again_and_in_the_scene(widget):
    choose(widget, "MR to CT")
    widget.models.refresh()
    assert widget.models.direction == BACK
    widget.exit()
    widget.models.directions.comboBox.currentIndex = 0
    widget.enter()
    assert widget.models.direction == BACK


def test_the_card_tells_of_both_directions(both):
    text = cardText(read_model(both))
    assert "CT (HU) to MR (au), and back" in text
    assert "3 and 3 slices, unpaired, of 4 subjects" in text
