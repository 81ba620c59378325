"""Curves in the scene: gaps, updating in place, removal by the user."""

import math

import pytest
import slicer

from DeepTranslateLib.mrml.plots import Curves


def nodeCount():
    return slicer.mrmlScene.GetNumberOfNodes()


def column(curves, name):
    array = curves.tableNode.GetTable().GetColumnByName(name)
    return [array.GetValue(row) for row in range(array.GetNumberOfValues())]


def history(epochs):
    rows = [{"epoch": n, "loss": 1 / n, "validation loss": 2 / n} for n in range(1, epochs + 1)]
    for row in rows[::2]:
        row["validation loss"] = None
    return rows


def test_each_column_is_a_curve_over_the_epochs():
    curves = Curves("Training of liver", "loss")
    curves.setHistory(history(4))
    assert column(curves, "epoch") == [1, 2, 3, 4]
    assert column(curves, "loss") == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4], rel=5e-6)
    assert list(curves.seriesNodes) == ["loss", "validation loss"]
    assert curves.chartNode.GetNumberOfPlotSeriesNodes() == 2
    assert curves.chartNode.GetTitle() == "Training of liver"
    assert curves.chartNode.GetXAxisTitle() == "epoch"
    assert curves.chartNode.GetYAxisTitle() == "loss"
    for name, series in curves.seriesNodes.items():
        assert series.GetTableNode() is curves.tableNode
        assert (series.GetXColumnName(), series.GetYColumnName()) == ("epoch", name)


def test_missing_values_are_gaps():
    curves = Curves("gaps")
    curves.setHistory(
        [
            {"epoch": 1, "loss": 1.0},
            {"epoch": 2, "loss": math.nan, "dice": 0.5},
            {"epoch": 3, "loss": math.inf, "dice": None},
            {"epoch": None, "loss": 7.0},
        ]
    )
    assert column(curves, "epoch") == [1, 2, 3]
    assert column(curves, "loss")[0] == 1
    assert all(math.isnan(value) for value in column(curves, "loss")[1:])
    assert math.isnan(column(curves, "dice")[0])
    assert column(curves, "dice")[1] == 0.5


def test_later_values_update_the_same_nodes():
    curves = Curves("Training")
    curves.setHistory(history(2))
    nodes, colours = nodeCount(), [s.GetColor() for s in curves.seriesNodes.values()]
    chart, table = curves.chartNode, curves.tableNode
    for epochs in range(3, 30):
        curves.setHistory(history(epochs))
    assert nodeCount() == nodes
    assert curves.chartNode is chart
    assert curves.tableNode is table
    assert column(curves, "epoch") == list(range(1, 30))
    assert [s.GetColor() for s in curves.seriesNodes.values()] == colours
    assert len(set(colours)) == 2


def test_a_new_column_becomes_a_new_curve_and_one_that_is_gone_ends():
    curves = Curves("Training")
    curves.setHistory([{"epoch": 1, "loss": 1.0}])
    curves.setHistory([{"epoch": 1, "loss": 1.0, "dice": 0.5}])
    assert curves.chartNode.GetNumberOfPlotSeriesNodes() == 2
    curves.setHistory([{"epoch": 1, "dice": 0.5}])
    assert list(curves.seriesNodes) == ["dice"]
    assert curves.chartNode.GetNumberOfPlotSeriesNodes() == 1


def test_curves_come_back_after_the_user_removed_them():
    curves = Curves("Training")
    curves.setHistory(history(3))
    slicer.mrmlScene.RemoveNode(curves.seriesNodes["loss"])
    slicer.mrmlScene.RemoveNode(curves.tableNode)
    curves.setHistory(history(4))
    assert curves.seriesNodes["loss"].GetTableNode() is curves.tableNode
    slicer.mrmlScene.Clear(0)
    curves.show()
    curves.setHistory(history(5))
    assert curves.chartNode.GetScene() is slicer.mrmlScene
    assert curves.chartNode.GetNumberOfPlotSeriesNodes() == 2
    assert column(curves, "epoch") == [1, 2, 3, 4, 5]


def test_no_values_make_an_empty_chart_and_two_trainings_two_charts():
    first, second = Curves("Training"), Curves("Training")
    first.setHistory([])
    second.setHistory(history(2))
    assert first.chartNode.GetNumberOfPlotSeriesNodes() == 0
    assert first.chartNode is not second.chartNode
    assert first.chartNode.GetName() != second.chartNode.GetName()


def test_the_chart_is_shown_in_the_layout():
    curves = Curves("Training")
    curves.show()
    curves.setHistory(history(3))
    curves.show()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == curves.chartNode.GetID()


def test_a_curve_that_has_a_colour_keeps_it():
    curves = Curves("Training", colors={"Dice liver": (10, 200, 30)})
    curves.setHistory([{"epoch": 1, "loss": 1.0, "Dice liver": 0.5}])
    assert curves.seriesNodes["Dice liver"].GetColor() == pytest.approx(
        (10 / 255, 200 / 255, 30 / 255)
    )
    assert curves.seriesNodes["loss"].GetColor() != curves.seriesNodes["Dice liver"].GetColor()


def test_the_legend_has_room_above_the_curves():
    curves = Curves("Training")
    curves.setHistory([{"epoch": 1, "loss": 4.0}, {"epoch": 2, "loss": None, "change": -1.0}])
    low, high = curves.chartNode.GetYAxisRange()
    assert low == -1
    assert 5 < high < 7
    curves.setHistory([{"epoch": 1, "loss": 0.0}])
    low, high = curves.chartNode.GetYAxisRange()
    assert low == 0 < high
