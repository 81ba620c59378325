"""A vtkMRMLPlotChartNode as a vtkChartXY, drawn offscreen."""

import vtk

from .rendering import grab, offscreenWindow

_LINES = {
    "none": vtk.vtkPen.NO_PEN,
    "solid": vtk.vtkPen.SOLID_LINE,
    "dash": vtk.vtkPen.DASH_LINE,
    "dot": vtk.vtkPen.DOT_LINE,
    "dash-dot": vtk.vtkPen.DASH_DOT_LINE,
    "dash-dot-dot": vtk.vtkPen.DASH_DOT_DOT_LINE,
}
_MARKERS = {
    "none": vtk.vtkPlotPoints.NONE,
    "cross": vtk.vtkPlotPoints.CROSS,
    "plus": vtk.vtkPlotPoints.PLUS,
    "square": vtk.vtkPlotPoints.SQUARE,
    "circle": vtk.vtkPlotPoints.CIRCLE,
    "diamond": vtk.vtkPlotPoints.DIAMOND,
}


def _numbers(column, count):
    """A column as VTK can plot it: numbers as they are, anything else as its index."""
    if isinstance(column, vtk.vtkDataArray):
        return column
    indices = vtk.vtkDoubleArray()
    indices.SetName(column.GetName() if column is not None else "index")
    for i in range(count):
        indices.InsertNextValue(i)
    return indices


def _addSeries(chart, series):
    node = series.GetTableNode()
    table = node.GetTable() if node else None
    y = table.GetColumnByName(series.GetYColumnName() or "") if table else None
    if not isinstance(y, vtk.vtkDataArray) or not y.GetNumberOfTuples():
        return
    x = _numbers(table.GetColumnByName(series.GetXColumnName() or ""), y.GetNumberOfTuples())
    drawn = vtk.vtkTable()
    named = []
    for name, column in (("x", x), ("y", y)):
        copy = column.NewInstance()
        copy.DeepCopy(column)
        copy.SetName(name)
        named.append(copy)
        drawn.AddColumn(copy)
    kind = series.GetPlotType()
    isBar = kind in (series.PlotTypeBar, series.PlotTypeScatterBar)
    plot = chart.AddPlot(vtk.vtkChart.BAR if isBar else vtk.vtkChart.LINE)
    if kind in (series.PlotTypeLine, series.PlotTypeBar):
        plot.SetUseIndexForXSeries(True)
    plot.SetInputData(drawn, "x", "y")
    red, green, blue = (round(255 * v) for v in series.GetColor())
    plot.SetColor(red, green, blue, round(255 * series.GetOpacity()))
    plot.SetLabel(series.GetName() or "")
    plot.SetWidth(series.GetLineWidth())
    if not isBar:
        line = series.GetLineStyleAsString(series.GetLineStyle())
        plot.GetPen().SetLineType(_LINES.get(line, vtk.vtkPen.SOLID_LINE))
        marker = series.GetMarkerStyleAsString(series.GetMarkerStyle())
        plot.SetMarkerStyle(_MARKERS.get(marker, vtk.vtkPlotPoints.NONE))
        plot.SetMarkerSize(series.GetMarkerSize())


def _axis(axis, title, titled, isAuto, limits, logarithmic, sizes):
    titleSize, labelSize = sizes
    axis.SetTitle(title if titled and title else "")
    axis.GetTitleProperties().SetFontSize(titleSize)
    axis.GetTitleProperties().BoldOff()
    axis.GetLabelProperties().SetFontSize(labelSize)
    axis.SetLogScale(bool(logarithmic))
    if not isAuto:
        axis.SetBehavior(vtk.vtkAxis.FIXED)
        axis.SetRange(*limits)


def buildChart(node):
    """vtkChartXY of a vtkMRMLPlotChartNode."""
    chart = vtk.vtkChartXY()
    for i in range(node.GetNumberOfPlotSeriesNodes()):
        series = node.GetNthPlotSeriesNode(i)
        if series is not None:
            _addSeries(chart, series)
    titled = node.GetTitleVisibility() and node.GetTitle()
    chart.SetTitle(node.GetTitle() if titled else "")
    chart.GetTitleProperties().SetFontSize(node.GetTitleFontSize())
    chart.SetShowLegend(bool(node.GetLegendVisibility()))
    chart.GetLegend().SetLabelSize(node.GetLegendFontSize())
    sizes = node.GetAxisTitleFontSize(), node.GetAxisLabelFontSize()
    for place, name in ((vtk.vtkAxis.BOTTOM, "X"), (vtk.vtkAxis.LEFT, "Y")):
        _axis(
            chart.GetAxis(place),
            getattr(node, f"Get{name}AxisTitle")(),
            getattr(node, f"Get{name}AxisTitleVisibility")(),
            getattr(node, f"Get{name}AxisRangeAuto")(),
            getattr(node, f"Get{name}AxisRange")(),
            getattr(node, f"Get{name}AxisLogScale")(),
            sizes,
        )
        chart.GetAxis(place).SetGridVisible(bool(node.GetGridVisibility()))
    return chart


def picture(viewNode, size):
    """RGB array of what a plot view shows; white without a chart."""
    view = vtk.vtkContextView()
    window = offscreenWindow(size)
    view.SetRenderWindow(window)
    view.GetRenderer().SetBackground(1, 1, 1)
    node = viewNode.GetPlotChartNode() if viewNode else None
    if node is not None:
        view.GetScene().AddItem(buildChart(node))
    rgb = grab(window)
    window.Finalize()
    return rgb
