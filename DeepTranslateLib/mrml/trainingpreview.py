"""What a training sees and makes of one slice, as nodes that are updated in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image
from DeepTranslateLib.mrml.pairs import PREVIEW_ATTRIBUTE
from DeepTranslateLib.recipe import Recipe

_ROLES = ("input", "target", "prediction", "cycled")
# Which slice view shows what on top of the input: of pairs, and without them.
_PAIRED_VIEWS = {"Red": None, "Yellow": "target", "Green": "prediction"}
_UNPAIRED_VIEWS = {"Red": None, "Yellow": "prediction", "Green": "cycled"}


class TrainingPreview:
    """Up to three volumes in a folder "Training preview", and the slice views that show them.

    The nodes of an earlier training are taken again, so that a scene holds them once.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}
        self._views: list[tuple[Any, str, tuple[Any, ...]]] = []
        self._coverings: list[Any] = []

    def update(self, event: dict[str, Any], folder: str | Path, recipe: Recipe) -> None:
        """Show the images that a preview event names.

        Args:
            event: With the paths of input, prediction and, of pairs, target, or, without pairs,
                what the way back makes of the prediction; relative to the run's folder.
            folder: The run's folder.
            recipe: Says whether targets are labels, and their names and colours.

        Raises:
            ImageError, OSError: An image cannot be read.
        """
        forLabels = recipe.target.kind == "labels"
        self._dropOthers([role for role in _ROLES if role in event])
        for role in _ROLES:
            if role not in event:
                continue
            image = read_image(Path(folder) / event[role])
            node = self._node(role, forLabels and role != "input")
            slicer.util.updateVolumeFromArray(node, image.voxels)
            node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(image.affine))
            if forLabels and role != "input":
                self._color(node, recipe)
            else:
                self._setWindow(role, image, recipe)
        self._place()

    def show(self, plane: str) -> None:
        """Show the preview's images in the three slice views, at the preview's slice.

        What the views showed before is remembered for `hide`. Segmentations would cover the
        preview and are hidden meanwhile in slice views. Does nothing while it is shown.

        Args:
            plane: The recipe's plane.
        """
        layoutManager = slicer.app.layoutManager()
        if not self.nodes or self._views or layoutManager is None:  # None: no main window
            return
        self._coverings = [
            display
            for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode")
            if display.GetVisibility2D()
        ]
        for display in self._coverings:
            display.SetVisibility2D(False)
        bounds = [0.0] * 6
        self.nodes["input"].GetRASBounds(bounds)
        middle = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
        views = _PAIRED_VIEWS if "target" in self.nodes else _UNPAIRED_VIEWS
        for name, overlay in views.items():
            if name not in layoutManager.sliceViewNames():
                continue
            logic = layoutManager.sliceWidget(name).sliceLogic()
            composite, view = logic.GetSliceCompositeNode(), logic.GetSliceNode()
            self._views.append((composite, view.GetOrientation(), _shown(composite)))
            self._put(composite, overlay)
            view.SetOrientation(plane.capitalize())
            view.JumpSliceByOffsetting(*middle)
            logic.FitSliceToBackground()

    def hide(self) -> None:
        """Give the slice views back what they showed before."""
        for display in self._coverings:
            if display.GetScene() is slicer.mrmlScene:
                display.SetVisibility2D(True)
        self._coverings = []
        layoutManager = slicer.app.layoutManager()
        for composite, orientation, shown in self._views:
            background, foreground, label, opacity = shown
            composite.SetBackgroundVolumeID(_existing(background))
            composite.SetForegroundVolumeID(_existing(foreground))
            composite.SetLabelVolumeID(_existing(label))
            composite.SetForegroundOpacity(opacity)
            name = composite.GetLayoutName()
            if name in layoutManager.sliceViewNames():
                logic = layoutManager.sliceWidget(name).sliceLogic()
                logic.GetSliceNode().SetOrientation(orientation)
                logic.FitSliceToBackground()
        self._views = []

    def forget(self) -> None:
        """Let go of nodes and views; for a scene that is closed."""
        self.nodes, self._views, self._coverings = {}, [], []

    def remove(self) -> None:
        """Give the views back and remove the preview's nodes and folder."""
        self.hide()
        hierarchy = _hierarchy()
        folder = hierarchy.GetItemChildWithName(hierarchy.GetSceneItemID(), _folderName())
        for node in self.nodes.values():
            colors = node.GetDisplayNode().GetColorNode() if node.GetDisplayNode() else None
            slicer.mrmlScene.RemoveNode(node)
            if colors is not None and colors.GetAttribute(PREVIEW_ATTRIBUTE):
                slicer.mrmlScene.RemoveNode(colors)
        if folder and not _hasChildren(hierarchy, folder):
            hierarchy.RemoveItem(folder)
        self.nodes = {}

    def _dropOthers(self, roles: list[str]) -> None:
        """Remove what an earlier training showed, and this one has not."""
        others = [role for role in self.nodes if role not in roles]
        if others:
            self.hide()
        for role in others:
            slicer.mrmlScene.RemoveNode(self.nodes.pop(role))

    def _put(self, composite: Any, overlay: str | None) -> None:
        composite.SetBackgroundVolumeID(self.nodes["input"].GetID())
        node = self.nodes.get(overlay) if overlay else None
        isLabel = node is not None and node.IsA("vtkMRMLLabelMapVolumeNode")
        nodeID = node.GetID() if node is not None else None
        composite.SetLabelVolumeID(nodeID if isLabel else None)
        composite.SetLabelOpacity(0.5)
        composite.SetForegroundVolumeID(None if isLabel else nodeID)
        composite.SetForegroundOpacity(0.0 if isLabel or node is None else 1.0)

    def _node(self, role: str, isLabel: bool) -> Any:
        className = "vtkMRMLLabelMapVolumeNode" if isLabel else "vtkMRMLScalarVolumeNode"
        node: Any = self.nodes.get(role)
        if node is None or slicer.mrmlScene.GetNodeByID(node.GetID() or "") is not node:
            node = next(
                (
                    known
                    for known in slicer.util.getNodesByClass(className)
                    if known.GetAttribute(PREVIEW_ATTRIBUTE) == role
                ),
                None,
            )
        if node is not None and node.GetClassName() != className:
            slicer.mrmlScene.RemoveNode(node)
            node = None
        if node is None:
            names = {
                "input": _("Training preview: input"),
                "target": _("Training preview: target"),
                "prediction": _("Training preview: prediction"),
                "cycled": _("Training preview: translated back"),
            }
            node = slicer.mrmlScene.AddNewNodeByClass(className, names[role])
            node.SetAttribute(PREVIEW_ATTRIBUTE, role)
            node.CreateDefaultDisplayNodes()
        self.nodes[role] = node
        return node

    def _color(self, node: Any, recipe: Recipe) -> None:
        """Give the label map the recipe's colours; both label maps share one table."""
        name = _("Training preview: labels")
        colors = next(
            (
                known
                for known in slicer.util.getNodesByClass("vtkMRMLColorTableNode")
                if known.GetAttribute(PREVIEW_ATTRIBUTE) is not None
            ),
            None,
        )
        if colors is None:
            colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
            colors.SetAttribute(PREVIEW_ATTRIBUTE, "labels")
            colors.SetHideFromEditors(True)
            colors.SetTypeToUser()
        labels = recipe.target.labels
        count = 1 + max(label.value for label in labels)
        if colors.GetNumberOfColors() != count:
            colors.SetNumberOfColors(count)
            table = colors.GetLookupTable()
            if table is not None:
                table.SetTableRange(0, count - 1)
        for value in range(count):
            colors.SetColor(value, "", 0.0, 0.0, 0.0, 0.0)
        for label in labels:
            red, green, blue = (channel / 255 for channel in label.color)
            colors.SetColor(label.value, label.name, red, green, blue, 1.0)
        node.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())

    def _setWindow(self, role: str, image: Image, recipe: Recipe) -> None:
        standardised = recipe.preprocessing.standardisation != "none"
        # The window of a standardised image is not in the units that it is shown in.
        window = None if standardised else recipe.preprocessing.window
        likeInput = role in ("input", "cycled")
        if not likeInput and recipe.target.range is not None:
            window = None if recipe.undoes_intensities else recipe.target.range
        display = self.nodes[role].GetDisplayNode()
        if window is None:
            low, high = float(image.voxels.min()), float(image.voxels.max())
            window = (low, max(high, low + 1e-6))
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(*window)

    def _place(self) -> None:
        hierarchy = _hierarchy()
        scene = hierarchy.GetSceneItemID()
        folder = hierarchy.GetItemChildWithName(scene, _folderName())
        if not folder:
            folder = hierarchy.CreateFolderItem(scene, _folderName())
        for node in self.nodes.values():
            item = hierarchy.GetItemByDataNode(node)
            if not item:
                hierarchy.CreateItem(folder, node)
            elif hierarchy.GetItemParent(item) != folder:
                hierarchy.SetItemParent(item, folder)


def _folderName() -> str:
    return str(_("Training preview"))


def _hierarchy() -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def _hasChildren(hierarchy: Any, item: int) -> bool:
    children = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, children)
    return bool(children.GetNumberOfIds())


def _shown(composite: Any) -> tuple[Any, ...]:
    return (
        composite.GetBackgroundVolumeID(),
        composite.GetForegroundVolumeID(),
        composite.GetLabelVolumeID(),
        composite.GetForegroundOpacity(),
    )


def _existing(nodeID: str | None) -> str | None:
    return nodeID if nodeID and slicer.mrmlScene.GetNodeByID(nodeID) else None
