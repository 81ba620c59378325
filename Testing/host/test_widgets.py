"""The stand-ins do what the widgets they stand for do."""

import ctk
import numpy as np
import pytest
import qt
import slicer
import vtk


@pytest.fixture
def volume():
    return slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="CT")


@pytest.fixture
def segmentation():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Labels")
    for name in ("fat", "lean"):
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


def heardFrom(widget, signature):
    heard = []
    assert widget.connect(signature, lambda *a: heard.append(a[0] if len(a) == 1 else a))
    return heard


@pytest.mark.parametrize("make", [ctk.ctkCollapsibleButton, ctk.ctkCollapsibleGroupBox])
def test_a_collapsed_container_hides_its_contents_and_only_those_come_back(make):
    window = qt.QWidget()
    outer = qt.QVBoxLayout(window)
    box = make()
    outer.addWidget(box)
    inner = qt.QVBoxLayout(box)
    shown, hidden = qt.QLabel("a"), qt.QLabel("b")
    inner.addWidget(shown)
    inner.addWidget(hidden)
    hidden.hide()
    window.show()
    box.collapsed = True
    assert not shown.visible
    box.collapsed = False
    assert shown.visible
    assert not hidden.visible


def test_a_collapsible_button_tells_when_it_is_collapsed():
    button = ctk.ctkCollapsibleButton()
    heard = heardFrom(button, "contentsCollapsed(bool)")
    button.collapsed = True
    button.click()
    assert heard == [True, False]


def test_a_slider_keeps_its_limits():
    slider = ctk.ctkSliderWidget()
    slider.minimum, slider.maximum = -1, 2
    heard = heardFrom(slider, "valueChanged(double)")
    slider.value = 7
    assert slider.value == 2
    assert heard == [2.0]


def test_a_range_does_not_end_before_it_begins():
    box = ctk.ctkRangeWidget()
    box.setValues(10, 20)
    box.minimumValue = 50
    assert (box.minimumValue, box.maximumValue) == (50, 50)


def test_a_path_is_kept_in_its_history(tmp_path):
    first, second = ctk.ctkPathLineEdit(), ctk.ctkPathLineEdit()
    first.settingKey = "HostTest/path"
    first.currentPath = str(tmp_path)
    first.addCurrentPathToHistory()
    second.settingKey = "HostTest/path"
    assert second.currentPath == str(tmp_path)
    qt.QSettings().remove("ctkPathLineEdit/HostTest")


def test_a_path_that_is_browsed_to_is_in_no_history(tmp_path):
    from Testing.host import dialogs

    edit = ctk.ctkPathLineEdit()
    edit.settingKey = "HostTest/path"
    edit.currentPath = "before"
    dialogs.answer("file", tmp_path)
    edit.browse()
    again = ctk.ctkPathLineEdit()
    again.currentPath = "mine"
    again.settingKey = "HostTest/path"
    assert again.currentPath == "mine"
    assert again.comboBox().count == 0


def test_a_node_selector_tells_its_node_again_when_its_row_moves():
    first, second = (
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in "ab"
    )
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.noneEnabled = True
    combo.setMRMLScene(slicer.mrmlScene)
    combo.setCurrentNode(second)
    heard = heardFrom(combo, "currentNodeChanged(vtkMRMLNode*)")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "c")
    assert heard == []
    slicer.mrmlScene.RemoveNode(first)
    assert heard == [second]


def test_a_path_is_chosen_in_a_dialog(tmp_path):
    from Testing.host import dialogs

    edit, button = ctk.ctkPathLineEdit(), ctk.ctkDirectoryButton()
    for widget, name in ((edit, "currentPath"), (button, "directory")):
        dialogs.answer("file", tmp_path)
        widget.browse()
        assert getattr(widget, name) == str(tmp_path)
        widget.browse()  # cancelled
        assert getattr(widget, name) == str(tmp_path)


def test_a_colour_button_tells_its_colour():
    button = ctk.ctkColorPickerButton()
    heard = heardFrom(button, "colorChanged(QColor)")
    button.color = qt.QColor(255, 0, 0)
    assert [c.name() for c in heard] == ["#ff0000"]


def test_dialogs_never_wait():
    from Testing.host import dialogs

    box = qt.QMessageBox()
    box.text = "Sure?"
    box.setStandardButtons(qt.QMessageBox.Yes | qt.QMessageBox.No)
    assert box.exec_() == qt.QMessageBox.No
    dialogs.answer("button", qt.QMessageBox.Yes)
    assert box.exec_() == qt.QMessageBox.Yes
    assert qt.QDialog().exec_() == 0
    assert [kind for kind, _, _ in dialogs.shown] == ["button", "button", "dialog"]


def test_a_node_selector_shows_only_fitting_nodes(volume, segmentation):
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLVolumeNode"]
    combo.addAttribute("vtkMRMLVolumeNode", "Kind", "x")
    combo.setMRMLScene(slicer.mrmlScene)
    assert combo.nodeCount() == 0
    volume.SetAttribute("Kind", "x")
    combo.addAttribute("vtkMRMLVolumeNode", "Kind", "x")
    assert combo.nodeCount() == 1


def test_a_node_selector_tells_names_and_nodes(volume):
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes, combo.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    combo.setMRMLScene(slicer.mrmlScene)
    nodes = heardFrom(combo, "currentNodeChanged(vtkMRMLNode*)")
    flags = heardFrom(combo, "currentNodeChanged(bool)")
    names = heardFrom(combo, "currentNodeRenamed(QString)")
    combo.setCurrentNode(volume)
    volume.SetName("MR")
    combo.setCurrentNode(None)
    assert nodes == [volume, None]
    assert flags == [True, False]
    assert names == ["MR"]


def test_nodes_can_be_checked(volume):
    combo = slicer.qMRMLCheckableNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.setMRMLScene(slicer.mrmlScene)
    heard = heardFrom(combo, "checkedNodesChanged()")
    combo.setCheckState(volume, qt.Qt.Checked)
    assert combo.checkedNodes() == [volume]
    combo.uncheck(volume)
    assert combo.noneChecked()
    assert len(heard) == 2


def test_segments_are_selected_and_followed(segmentation):
    selector = slicer.qMRMLSegmentSelectorWidget()
    selector.setMRMLScene(slicer.mrmlScene)
    selector.setCurrentNode(segmentation)
    assert selector.segmentIDs() == ("fat", "lean")
    heard = heardFrom(selector, "currentSegmentChanged(QString)")
    selector.setCurrentSegmentID("lean")
    segmentation.GetSegmentation().RemoveSegment("lean")
    assert heard == ["lean", "fat"]


def test_a_table_of_segments_follows_the_node(segmentation):
    view = slicer.qMRMLSegmentsTableView()
    view.setSegmentationNode(segmentation)
    segmentation.GetSegmentation().AddEmptySegment("bone", "bone")
    assert view.segmentCount == 3
    view.setSelectedSegmentIDs(["lean", "bone"])
    assert view.selectedSegmentIDs() == ("lean", "bone")


def test_the_hierarchy_is_shown_as_it_is(volume, segmentation):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    tree = slicer.qMRMLSubjectHierarchyTreeView()
    tree.setMRMLScene(slicer.mrmlScene)
    tree.setCurrentNode(volume)
    assert tree.currentNode() is volume
    assert tree.currentItem() == hierarchy.GetItemByDataNode(volume)
    tree.nodeTypes = ["vtkMRMLSegmentationNode"]
    assert tree.displayedItemCount() == 2  # the study is a folder


def test_a_table_view_shows_the_node_s_values():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    numbers = vtk.vtkDoubleArray()
    numbers.SetName("volume")
    numbers.InsertNextValue(1.5)
    node.AddColumn(numbers)
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(node)
    assert view.model().index(0, 0).data() == "1.5"
    assert view.model().headerData(0, qt.Qt.Horizontal) == "volume"
    numbers.SetValue(0, 2.5)
    numbers.Modified()
    node.Modified()
    assert view.model().index(0, 0).data() == "2.5"


def test_a_ui_file_becomes_these_widgets(tmp_path):
    form = tmp_path / "form.ui"
    form.write_text(
        """<?xml version="1.0"?><ui version="4.0"><class>F</class>
        <widget class="qMRMLWidget" name="F"><layout class="QVBoxLayout">
        <item><widget class="qMRMLNodeComboBox" name="selector">
          <property name="noneEnabled"><bool>true</bool></property></widget></item>
        <item><widget class="QCheckBox" name="box"><property name="SlicerParameterName"
          stdset="0"><string>on</string></property></widget></item>
        </layout></widget><connections><connection><sender>F</sender>
        <signal>mrmlSceneChanged(vtkMRMLScene*)</signal><receiver>selector</receiver>
        <slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""
    )
    widget = slicer.util.loadUI(str(form))
    ui = slicer.util.childWidgetVariables(widget)
    widget.setMRMLScene(slicer.mrmlScene)
    assert ui.selector.mrmlScene() is slicer.mrmlScene
    assert ui.selector.noneEnabled
    assert ui.box.SlicerParameterName == "on"
    assert slicer.util.findChild(widget, "box") is ui.box


def test_a_node_that_is_not_there_yet_is_selected_when_it_comes():
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes, combo.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    combo.setMRMLScene(slicer.mrmlScene)
    combo.setCurrentNodeID("vtkMRMLScalarVolumeNode1")
    assert combo.currentNode() is None
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert combo.currentNode() is node
