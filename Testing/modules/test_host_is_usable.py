"""What the other module tests rely on; the same answers here and in the application."""

import ctk
import numpy as np
import pytest
import qt
import slicer


@pytest.fixture
def volume():
    return slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16), name="CT")


def test_the_scene_is_empty_at_the_start(cleanScene):
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode")


def test_a_panel_is_shown_and_entered(panel):
    widget = panel("DeepTranslate")
    assert widget is slicer.modules.DeepTranslateWidget
    assert widget.parent.isEntered
    assert slicer.util.getModuleWidget("DeepTranslate") is widget


def test_a_panel_is_made_anew_for_the_next_test(panel):
    first = panel("DeepTranslate")
    first.marked = True
    slicer.util.selectModule("Data")
    assert panel("DeepTranslate") is first


def test_the_next_test_has_another_panel(panel):
    assert not hasattr(panel("DeepTranslate"), "marked")


def test_the_user_s_file_can_be_chosen(chooseFile, tmp_path):
    chooseFile(tmp_path / "a.dtmodel")
    assert qt.QFileDialog.getOpenFileName(None, "Model", "") == str(tmp_path / "a.dtmodel")
    assert qt.QFileDialog.getOpenFileName(None, "Model", "") == ""


def test_an_unknown_signal_is_not_connected():
    assert qt.QPushButton().connect("clickd(bool)", print) is False


def test_an_unknown_name_is_an_error():
    button = qt.QPushButton("a")
    with pytest.raises(AttributeError):
        button.nosuch  # noqa: B018
    with pytest.raises(AttributeError):
        button.nosuch = 1
    with pytest.raises(TypeError):
        button.text()


def test_a_combo_box_without_none_takes_the_first_node_when_it_gets_the_scene(volume):
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.setMRMLScene(slicer.mrmlScene)
    assert combo.currentNode() is volume


def test_a_combo_box_with_none_takes_no_node_by_itself(volume):
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.noneEnabled = True
    combo.setMRMLScene(slicer.mrmlScene)
    assert combo.currentNode() is None


def test_settings_keep_a_value_for_the_test(tmp_path):
    settings = slicer.app.userSettings()
    settings.setValue("DeepTranslate/Test", str(tmp_path))
    assert qt.QSettings().value("DeepTranslate/Test") == str(tmp_path)
    settings.remove("DeepTranslate/Test")


def test_a_plot_view_is_there_when_the_layout_has_one():
    manager = slicer.app.layoutManager()
    before = manager.layout
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotTableView)
    assert manager.plotWidget(0).mrmlPlotViewNode().IsA("vtkMRMLPlotViewNode")
    assert manager.tableWidget(0).mrmlTableViewNode().IsA("vtkMRMLTableViewNode")
    manager.setLayout(before)


def test_a_path_has_text_for_a_value(tmp_path):
    edit = ctk.ctkPathLineEdit()
    edit.currentPath = str(tmp_path)
    assert edit.currentPath == str(tmp_path)
