"""Table nodes of statistics: typed columns that know their units."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import slicer
import vtk

from DeepTranslateLib.mrml.naming import freeName
from DeepTranslateLib.statistics import LabelStatistics, SliceStatistics

_ARRAYS = {
    "str": (vtk.vtkStringArray, vtk.VTK_STRING),
    "int": (vtk.vtkIntArray, vtk.VTK_INT),
    "float": (vtk.vtkDoubleArray, vtk.VTK_DOUBLE),
}
_UNITS = {"volume_ml": "mL", "position_mm": "mm", "area_cm2": "cm2"}
_INTENSITIES = ("mean", "sd", "median", "p05", "p95")
# Column: what its header says, what its tool tip says.
_TEXTS = {
    "volume": ("Image", "The measured image"),
    "slice": ("Slice", "Index of the slice as stored, from 0"),
    "position_mm": ("Position", "Where the slice lies (RAS)"),
    "label": ("Label", "Value in the label map"),
    "name": ("Name", "Name of the label"),
    "voxels": ("Voxels", "Number of voxels with the label"),
    "volume_ml": ("Volume", "Volume of the label"),
    "mean": ("Mean", "Mean intensity inside the label"),
    "sd": ("SD", "Sample standard deviation of the intensity"),
    "median": ("Median", "Median intensity"),
    "p05": ("P5", "5th percentile of the intensity"),
    "p95": ("P95", "95th percentile of the intensity"),
    "area_cm2": ("Area", "Area of the label in the slice"),
}
# Slicer writes tables without escaping, so that these would damage a saved scene.
_UNSAVABLE = str.maketrans({'"': "'", "\t": " ", "\n": " ", "\r": " "})


class TableError(ValueError):
    """A table node cannot be used: what was expected, what was found, what to do."""


def statisticsTable(
    totals: Sequence[LabelStatistics], name: str, outputNode: Any = None, unit: str = ""
) -> Any:
    """Put the statistics of labels into the scene as a table: a row for each volume and label.

    The columns are those of the CSV files, by the same names: text, whole numbers and float64
    numbers, these to six significant digits, which is what Slicer keeps of them in a saved scene.
    Undefined intensities are NaN. Quotation marks and line breaks in names become apostrophes and
    spaces. The table is locked against editing.

    Args:
        totals: Rows, of any number of volumes.
        name: Name of the new node; a given `outputNode` keeps its own.
        outputNode: An existing table whose columns are replaced.
        unit: Of the intensities, such as "HU"; empty where it is not known.

    Returns:
        The vtkMRMLTableNode.

    Raises:
        TableError: `outputNode` is no table.
    """
    return _tableNode(LabelStatistics, totals, name, outputNode, unit)


def sliceTable(
    slices: Sequence[SliceStatistics], name: str, outputNode: Any = None, unit: str = ""
) -> Any:
    """Put the statistics of slices into the scene as a table, as `statisticsTable` does."""
    return _tableNode(SliceStatistics, slices, name, outputNode, unit)


def _tableNode(kind: Any, rows: Sequence[Any], name: str, outputNode: Any, unit: str) -> Any:
    if outputNode is not None and not outputNode.IsA("vtkMRMLTableNode"):
        raise TableError(
            f"The output '{outputNode.GetName()}' is no table. Choose another output, or let a new "
            "one be made."
        )
    table = vtk.vtkTable()
    for field in dataclasses.fields(kind):
        column = _ARRAYS[str(field.type)][0]()
        column.SetName(field.name)
        for row in rows:
            column.InsertNextValue(_savable(getattr(row, field.name)))
        table.AddColumn(column)
    node = outputNode
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", freeName(name))
    with slicer.util.NodeModify(node):
        node.SetLocked(False)
        node.RemoveAllColumns()
        node.SetAndObserveTable(table)
        for field in dataclasses.fields(kind):
            node.SetColumnType(field.name, _ARRAYS[str(field.type)][1])
            unitShown = unit if field.name in _INTENSITIES else _UNITS.get(field.name, "")
            title, description = _TEXTS[field.name]
            if unitShown:
                title = f"{title} [{unitShown}]"
                node.SetColumnUnitLabel(field.name, unitShown)
            node.SetColumnTitle(field.name, title)
            node.SetColumnDescription(field.name, description)
        node.SetUseColumnTitleAsColumnHeader(True)
        node.SetLocked(True)
    return node


def _savable(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_UNSAVABLE)
    return float(f"{value:.6g}") if isinstance(value, float) else value
