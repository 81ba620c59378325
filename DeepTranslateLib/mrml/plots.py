"""Curves over time, such as the losses of a training: a table, plot series and a chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk

from DeepTranslateLib.mrml.naming import freeName

# Height above the curves, as a part of theirs.
_LEGEND_ROOM = 0.35


class Curves:
    """Curves in the scene that are updated in place.

    The nodes are made with the first values, and made again should the user have removed them or
    closed the scene. A new column becomes a new curve; those there keep their colours.

    Args:
        name: Title of the chart and beginning of the nodes' names.
        yTitle: What the curves measure.
        colors: Colours of curves by their names, RGB from 0 to 255; others get one of their own.
    """

    def __init__(
        self,
        name: str,
        yTitle: str = "",
        colors: Mapping[str, tuple[int, int, int]] | None = None,
    ) -> None:
        self._name = name
        self._yTitle = yTitle
        self._colors = dict(colors or {})
        self.tableNode: Any = None
        self.chartNode: Any = None
        self.seriesNodes: dict[str, Any] = {}

    def setHistory(self, rows: Sequence[Mapping[str, float | None]], x: str = "epoch") -> None:
        """Show these values.

        Args:
            rows: A point each. Columns that are missing, None or NaN in a row are gaps in their
                curve.
            x: The column of the horizontal axis; rows without it are left out.
        """
        rows = [row for row in rows if _number(row.get(x)) is not None]
        names = list(dict.fromkeys(name for row in rows for name in row if name != x))
        self._makeNodes(x)
        table = vtk.vtkTable()
        for name in (x, *names):
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            for row in rows:
                value = _number(row.get(name))
                column.InsertNextValue(math.nan if value is None else value)
            table.AddColumn(column)
        self.tableNode.SetLocked(False)
        self.tableNode.SetAndObserveTable(table)
        for name in (x, *names):
            self.tableNode.SetColumnType(name, vtk.VTK_DOUBLE)
        self.tableNode.SetLocked(True)
        for name in list(self.seriesNodes):
            if name not in names:
                slicer.mrmlScene.RemoveNode(self.seriesNodes.pop(name))
        for name in names:
            self._makeSeries(name, x)
        self._makeRoom(rows, names)
        # Plot views draw again when the chart changes, not when its table does.
        self.chartNode.Modified()

    def show(self) -> None:
        """Show the chart in the layout, in place of the chart that was there."""
        if _isInScene(self.chartNode):
            slicer.modules.plots.logic().ShowChartInLayout(self.chartNode)

    def _makeRoom(self, rows: Sequence[Mapping[str, float | None]], names: Sequence[str]) -> None:
        """Let the axis go on above the curves: the legend lies there, and would hide them."""
        values = [_number(row.get(name)) for row in rows for name in names]
        known = [value for value in values if value is not None]
        if not known:
            return
        low, high = min(known), max(known)
        # From 0, unless all lies so far above it that nothing could be seen of the changes.
        low = low if low > 0 and high < 2 * low else min(0.0, low)
        top = high + _LEGEND_ROOM * (high - low)
        self.chartNode.SetYAxisRangeAuto(False)
        self.chartNode.SetYAxisRange(low, top if top > low else low + 1.0)

    def _makeNodes(self, x: str) -> None:
        scene = slicer.mrmlScene
        if not _isInScene(self.tableNode):
            name = freeName(f"{self._name} table")
            self.tableNode = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        if not _isInScene(self.chartNode):
            name = freeName(self._name)
            self.chartNode = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
            self.chartNode.SetTitle(self._name)
            self.chartNode.SetXAxisTitle(x)
            self.chartNode.SetYAxisTitle(self._yTitle)
            self.chartNode.SetTitleFontSize(13)
            self.chartNode.SetAxisTitleFontSize(11)
            self.chartNode.SetAxisLabelFontSize(10)
            self.chartNode.SetLegendFontSize(10)

    def _makeSeries(self, name: str, x: str) -> None:
        series: Any = self.seriesNodes.get(name)
        if not _isInScene(series):
            # The legend shows the node's name: the curve's, without a number behind it.
            series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
            series.SetPlotType(series.PlotTypeScatter)
            series.SetLineStyle(series.LineStyleSolid)
            # Markers, or a value between two gaps would not be seen.
            series.SetMarkerStyle(series.MarkerStyleCircle)
            series.SetMarkerSize(5)
            if name in self._colors:
                series.SetColor(*(part / 255 for part in self._colors[name]))
            else:
                series.SetUniqueColor()
            self.seriesNodes[name] = series
        series.SetAndObserveTableNodeID(self.tableNode.GetID())
        series.SetXColumnName(x)
        series.SetYColumnName(name)
        if not self.chartNode.HasPlotSeriesNodeID(series.GetID()):
            self.chartNode.AddAndObservePlotSeriesNodeID(series.GetID())


def _isInScene(node: Any) -> bool:
    return node is not None and node.GetScene() is slicer.mrmlScene


def _number(value: Any) -> float | None:
    """Return a finite number, or None: a chart has no place for the others.

    It has the six significant digits that Slicer keeps of it in a saved scene.
    """
    if value is None or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
