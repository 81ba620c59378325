"""slicer.app, its managers, modules, layouts and pictures."""

import subprocess

import numpy as np
import pytest
import qt
import slicer
import vtk
from PySide6 import QtGui

from Testing.host import modules, packaging, sampledata, screenshot

MODULE = """
import slicer
from slicer.ScriptedLoadableModule import *


class HostSample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Host Sample"


class HostSampleWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        import qt

        ScriptedLoadableModuleWidget.setup(self)
        self.logic, self.seen = HostSampleLogic(), []
        self.layout.addWidget(qt.QLabel("sample"))

    def enter(self):
        self.seen.append("enter")

    def exit(self):
        self.seen.append("exit")

    def cleanup(self):
        self.seen.append("cleanup")


class HostSampleLogic(ScriptedLoadableModuleLogic):
    pass
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("module") / "HostSample.py"
    path.write_text(MODULE)
    return modules.loadModule(path)


def test_a_module_is_entered_left_and_unloaded(sample):
    slicer.util.selectModule("HostSample")
    widget = slicer.modules.HostSampleWidget
    assert slicer.util.getModuleWidget("HostSample") is widget
    assert slicer.util.getModuleLogic("HostSample") is widget.logic
    assert slicer.util.selectedModule() == "HostSample"
    slicer.util.selectModule("Data")
    assert widget.seen == ["enter", "exit"]
    slicer.app.moduleManager().moduleAboutToBeUnloaded("HostSample")
    assert widget.seen[-1] == "cleanup"


def test_a_reloaded_module_has_a_new_widget(sample):
    slicer.util.selectModule("HostSample")
    before = slicer.modules.HostSampleWidget
    slicer.util.reloadScriptedModule("HostSample")
    after = slicer.modules.HostSampleWidget
    assert after is not before
    assert before.seen[-1] == "cleanup"
    assert after.seen == ["enter"]


def test_an_unknown_module_is_an_error():
    with pytest.raises(RuntimeError, match="Could not find module"):
        slicer.util.getModule("NoSuchModule")


def test_the_application_tells_when_it_quits():
    heard = []
    slicer.app.connect("aboutToQuit()", lambda: heard.append("quit"))
    slicer.app.aboutToQuit()
    assert heard == ["quit"]
    assert slicer.app.connect("aboutToQuits()", print) is False


def test_settings_are_apart_from_the_user_s():
    assert qt.QSettings().fileName().startswith(slicer.app.temporaryPath)
    assert slicer.app.userSettings().fileName() == qt.QSettings().fileName()


def test_layouts_have_their_views():
    layout = slicer.app.layoutManager()
    heard = []
    layout.connect("layoutChanged(int)", heard.append)
    arrangement = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotTableView
    layout.setLayout(arrangement)
    assert layout.layout == arrangement
    assert heard == [arrangement]
    assert (layout.plotViewCount, layout.tableViewCount) == (1, 1)
    assert layout.sliceWidget("Red").sliceLogic().GetSliceNode().GetLayoutName() == "Red"
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert layout.plotWidget(0) is None
    assert layout.threeDViewCount == 1


@pytest.fixture
def ball():
    z, y, x = np.mgrid[:20, :40, :40]
    inside = (x - 20) ** 2 + (y - 20) ** 2 + (2 * (z - 10)) ** 2 < 150
    volume = slicer.util.addVolumeFromArray(np.where(inside, 100, 0).astype(np.int16), name="ball")
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(100, 50)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball", [1, 0, 0])
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        inside.astype(np.uint8), segmentation, "ball", volume
    )
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return volume


def pixels(path):
    image = QtGui.QImage(str(path)).convertToFormat(QtGui.QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1)
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def test_pictures_show_the_volume_under_its_segments(ball, tmp_path):
    rgb = pixels(screenshot.viewsPicture(tmp_path / "views.png", (600, 500)))
    assert rgb.shape == (500, 600, 3)
    red = (rgb[..., 0] > rgb[..., 1] + 60) & (rgb[..., 0] > rgb[..., 2] + 60)
    third = rgb.shape[1] // 2
    assert red[30:250, : third - 30].mean() > 0.05
    bare = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
    bare.SetDisplayVisibility(False)
    rgb = pixels(screenshot.viewsPicture(tmp_path / "bare.png", (600, 500)))
    white = (rgb[30:230, : third - 30] > 240).all(axis=2)
    assert white.mean() > 0.05


def test_pictures_show_tables_and_curves(tmp_path):
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "history")
    for name in ("epoch", "loss"):
        column = vtk.vtkDoubleArray()
        column.SetName(name)
        for i in range(10):
            column.InsertNextValue(i)
        table.AddColumn(column)
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "loss")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("epoch")
    series.SetYColumnName("loss")
    series.SetPlotType(series.PlotTypeScatter)
    series.SetColor(0, 0.6, 0)
    series.SetLineWidth(4)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "chart")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    layout = slicer.app.layoutManager()
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotTableView)
    layout.plotWidget(0).mrmlPlotViewNode().SetPlotChartNodeID(chart.GetID())
    layout.tableWidget(0).mrmlTableViewNode().SetTableNodeID(table.GetID())
    assert layout.tableWidget(0).tableView().mrmlTableNode() is table
    rgb = pixels(screenshot.viewsPicture(tmp_path / "curve.png", (800, 700)))
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    green = (rgb[..., 1] > rgb[..., 0] + 80) & (rgb[..., 1] > rgb[..., 2] + 80)
    plotted = green[:330, 420:]
    rows, columns = plotted.nonzero()
    assert len(rows) > 200
    assert np.corrcoef(rows, columns)[0, 1] < -0.9  # a straight line that rises


def test_panel_pictures_are_as_wide_as_asked_and_whole(sample, tmp_path):
    slicer.util.selectModule("HostSample")
    panel = slicer.modules.HostSampleWidget
    for i in range(60):
        panel.layout.addWidget(qt.QLabel(f"row {i}"))
    image = QtGui.QImage(str(screenshot.panelPicture(panel, tmp_path / "panel.png", 400)))
    assert image.width() == 400
    assert image.height() > 60 * 14
    whole = QtGui.QImage(str(screenshot.windowPicture(tmp_path / "w.png", size=(900, 600))))
    assert (whole.width(), whole.height()) == (900, 600)


def test_pip_is_recorded_not_run(tmp_path):
    limits = tmp_path / "limits.txt"
    limits.write_text("numpy==2.0\n")
    asked = {"constraints": str(limits), "requester": "T", "skip_in_testing": False}
    slicer.packaging.pip_ensure("no-such-package>=2", **asked)
    (call,) = packaging.pipCalls
    assert call["requirements"] == ["no-such-package>=2"]
    assert call["constraints"] == "numpy==2.0\n"
    assert slicer.packaging.pip_check("no-such-package>=2")


def test_pip_fails_and_users_decline_when_told():
    packaging.pipFails("ERROR: disk full")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        slicer.util.pip_install("no-such-package")
    assert failed.value.output == "ERROR: disk full"
    packaging.userDeclines()
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("no-such-package", skip_in_testing=False)


def test_installing_is_skipped_while_testing():
    assert slicer.packaging.pip_ensure("no-such-package") is None
    assert not packaging.pipCalls


def test_sample_data_is_registered_and_not_downloaded():
    import SampleData

    logic = SampleData.SampleDataLogic
    logic.registerCustomSampleDataSource(
        category="Host", sampleName="S", uris="http://nowhere", fileNames="s.nrrd", nodeNames="S"
    )
    assert slicer.modules.sampleDataSources["Host"][0].sampleName == "S"
    with pytest.raises(RuntimeError, match="not in a test"):
        SampleData.downloadSamples("S")
    del slicer.modules.sampleDataSources["Host"]
    assert sampledata.SampleDataLogic is logic
