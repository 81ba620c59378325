"""Tables of statistics in the scene: types, units, saving."""

import dataclasses
import math

import mrml_samples as samples
import numpy as np
import pytest
import slicer
import vtk

from DeepTranslateLib.mrml.tables import TableError, sliceTable, statisticsTable
from DeepTranslateLib.mrml.volumes import imageFromVolume
from DeepTranslateLib.statistics import LabelStatistics, SliceStatistics, measure

SHAPE = (4, 5, 6)


def measured(name='CT; first, "odd"\tname', empty=True):
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16) - 50
    volume = samples.volumeOf(values, np.diag([2.0, 3.0, 4.0, 1.0]))
    image = imageFromVolume(volume)
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 1:4, 2:5] = 1
    names = {1: "fat", 2: "muscle"} if empty else {1: "fat"}
    return measure(image, image.with_voxels(labels), names, volume=name)


def cells(node):
    table = node.GetTable()
    return [
        [table.GetValueByName(row, name) for name in columns(node)]
        for row in range(table.GetNumberOfRows())
    ]


def columns(node):
    return [node.GetColumnName(index) for index in range(node.GetNumberOfColumns())]


def same(found, row):
    for value, expected in zip(found, dataclasses.astuple(row), strict=True):
        if isinstance(expected, float):
            number = value.ToDouble()
            assert number == pytest.approx(expected, rel=5e-6, nan_ok=True)
        elif isinstance(expected, int):
            assert value.ToInt() == expected
        else:
            assert value.ToString() == expected.replace('"', "'").replace("\t", " ")


@pytest.mark.parametrize(
    ("make", "kind"), [(statisticsTable, LabelStatistics), (sliceTable, SliceStatistics)]
)
def test_columns_are_those_of_the_statistics_in_their_types(make, kind):
    statistics = measured()
    rows = statistics.totals if kind is LabelStatistics else statistics.slices
    node = make(rows, "volumes")
    assert columns(node) == [field.name for field in dataclasses.fields(kind)]
    kinds = {"str": vtk.vtkStringArray, "int": vtk.vtkIntArray, "float": vtk.vtkDoubleArray}
    for field in dataclasses.fields(kind):
        column = node.GetTable().GetColumnByName(field.name)
        assert isinstance(column, kinds[field.type])
        assert column.GetDataType() == node.GetColumnType(field.name)
    assert node.GetNumberOfRows() == len(rows)
    for found, row in zip(cells(node), rows, strict=True):
        same(found, row)


def test_units_are_properties_of_the_columns():
    node = statisticsTable(measured().totals, "volumes", unit="HU")
    assert node.GetColumnUnitLabel("volume_ml") == "mL"
    for name in ("mean", "sd", "median", "p05", "p95"):
        assert node.GetColumnUnitLabel(name) == "HU"
    assert node.GetColumnUnitLabel("voxels") == ""
    assert node.GetColumnTitle("volume_ml") == "Volume [mL]"
    assert statisticsTable(measured().totals, "none").GetColumnUnitLabel("mean") == ""
    node = sliceTable(measured().slices, "slices", unit="HU")
    assert node.GetColumnUnitLabel("area_cm2") == "cm2"
    assert node.GetColumnUnitLabel("position_mm") == "mm"
    assert all(node.GetColumnDescription(name) for name in columns(node))


def test_a_table_is_locked_and_can_still_be_filled_again():
    node = statisticsTable(measured().totals, "volumes", unit="HU")
    assert node.GetLocked()
    more = [*measured("first").totals, *measured("second").totals]
    assert statisticsTable(more, "another name", node) is node
    assert node.GetName() == "volumes"
    assert node.GetNumberOfRows() == 4
    assert node.GetLocked()
    assert node.GetColumnUnitLabel("mean") == ""
    volumes = [node.GetTable().GetValueByName(row, "volume").ToString() for row in range(4)]
    assert volumes == ["first", "first", "second", "second"]


def test_a_users_own_table_gives_its_columns_up_when_it_is_chosen():
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "mine")
    column = vtk.vtkStringArray()
    column.SetName("notes")
    chosen.AddColumn(column)
    statisticsTable(measured().totals, "volumes", chosen)
    assert "notes" not in columns(chosen)
    volume = samples.volumeOf(np.zeros(SHAPE, np.int16), name="the CT")
    with pytest.raises(TableError, match="'the CT' is no table"):
        statisticsTable(measured().totals, "volumes", volume)


def test_no_rows_make_an_empty_table_with_all_columns():
    node = statisticsTable([], "volumes")
    assert node.GetNumberOfRows() == 0
    assert columns(node) == [field.name for field in dataclasses.fields(LabelStatistics)]


def test_a_saved_table_comes_back_with_types_units_and_values(tmp_path):
    rows = measured().totals
    node = statisticsTable(rows, "volumes", unit="HU")
    path = str(tmp_path / "volumes.tsv")
    assert slicer.util.saveNode(node, path, {})
    again = slicer.util.loadTable(path)
    assert columns(again) == columns(node)
    for name in columns(node):
        assert again.GetColumnType(name) == node.GetColumnType(name)
        assert again.GetColumnUnitLabel(name) == node.GetColumnUnitLabel(name)
        assert again.GetColumnTitle(name) == node.GetColumnTitle(name)
    for found, row in zip(cells(again), rows, strict=True):
        assert found[0].ToString() == "CT; first, 'odd' name"
        assert found[3].ToInt() == row.voxels
        assert found[4].ToDouble() == pytest.approx(row.volume_ml, rel=5e-6)
        assert math.isnan(found[5].ToDouble()) == math.isnan(row.mean)
