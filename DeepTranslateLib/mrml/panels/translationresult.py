"""A finished translation before the user's eyes: in the views, and as a few lines of text."""

from __future__ import annotations

import html
from typing import Any

import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.model import Model
from DeepTranslateLib.mrml.panels.jobprogress import durationText
from DeepTranslateLib.mrml.panels.modelcard import swatch
from DeepTranslateLib.mrml.provenance import readProvenance
from DeepTranslateLib.mrml.translationitems import Translated


def showInViews(outcome: Translated, inputNode: Any = None) -> None:
    """Show an output over its input, and its table beside the slices.

    Args:
        outcome: What was made.
        inputNode: The volume it was made of; None leaves the background as it is.
    """
    layoutManager = slicer.app.layoutManager()
    if layoutManager is None:  # Slicer runs without a main window
        return
    if outcome.table is not None and outcome.table.GetScene() is not None:
        showTable(outcome.table)
    if inputNode is not None and inputNode.IsA("vtkMRMLVolumeNode"):
        views = layoutManager.sliceViewNames()
        shown = {
            layoutManager.sliceWidget(view).sliceLogic().GetSliceCompositeNode()
            for view in views
            if layoutManager.sliceWidget(view) is not None
        }
        isNew = any(each.GetBackgroundVolumeID() != inputNode.GetID() for each in shown)
        # The user's zoom and place stay where the input was shown already.
        slicer.util.setSliceViewerLayers(background=inputNode, fit=isNew)
    output = outcome.output
    if output is None or output.GetScene() is None:
        return
    if output.IsA("vtkMRMLSegmentationNode"):
        # Those of other volumes that a model made would cover it.
        for other in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            if readProvenance(other):
                hide(other)
        output.CreateDefaultDisplayNodes()
        output.SetDisplayVisibility(True)
    elif output.IsA("vtkMRMLVolumeNode"):
        slicer.util.setSliceViewerLayers(foreground=output, foregroundOpacity=1.0)


def hide(node: Any) -> None:
    """Take a segmentation out of all views; anything else stays as it is."""
    if node is not None and node.IsA("vtkMRMLSegmentationNode") and node.GetDisplayNode():
        node.SetDisplayVisibility(False)


def showTable(tableNode: Any) -> None:
    """Show a table in a layout with slices, 3D and a table."""
    layoutManager = slicer.app.layoutManager()
    if layoutManager is None:
        return
    layoutManager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
    application = slicer.app.applicationLogic()
    application.GetSelectionNode().SetActiveTableID(tableNode.GetID())
    application.PropagateTableSelection()


def summaryText(outcome: Translated, model: Model) -> str:
    """What was made of one volume, as rich text."""
    made = outcome.output.GetName() if outcome.output is not None else str(outcome.path)
    onProcessor = outcome.device == "cpu"
    head = _("<b>{output}</b> is ready, after {duration} on {device}.").format(
        output=html.escape(made),
        duration=durationText(outcome.seconds),
        device=_("the processor") if onProcessor else _("the graphics card"),
    )
    if not outcome.rows:
        units = model.recipe.target.units
        inUnits = _("Its values are in {units}.").format(units=html.escape(units)) if units else ""
        return f"{head} {inUnits}".strip()
    colors = {label.name: label.color for label in model.recipe.target.labels}
    rows = "".join(
        f"<tr><td>{swatch(colors.get(row.name, (128, 128, 128)))} {html.escape(row.name)}"
        f"&nbsp;&nbsp;</td><td align='right'><b>{row.volume_ml:,.1f}</b> mL</td></tr>"
        for row in outcome.rows[:12]
    )
    return f"{head}<table>{rows}</table>"


def batchText(outcomes: list[Translated], states: list[str], seconds: float) -> str:
    """How many volumes came to what, as rich text."""
    words = {
        "done": _("{count} done"),
        "failed": _("{count} failed"),
        "cancelled": _("{count} cancelled"),
    }
    parts = [
        text.format(count=states.count(state)) for state, text in words.items() if state in states
    ]
    text = _("<b>{what}</b> in {duration}.")
    return text.format(what=", ".join(parts), duration=durationText(seconds))
