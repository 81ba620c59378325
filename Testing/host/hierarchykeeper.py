"""An item in the subject hierarchy for each data node, as the application keeps it."""

import slicer
import vtk

SHOWN = (
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLTransformNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode",
    "vtkMRMLSequenceNode",
    "vtkMRMLSequenceBrowserNode",
)


class HierarchyKeeper:
    def __init__(self, scene):
        self.scene = scene
        added, removed = self._added, self._removed

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onAdded(caller, event, node):
            added(node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onRemoved(caller, event, node):
            removed(node)

        scene.AddObserver(scene.NodeAddedEvent, onAdded)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, onRemoved)
        scene.AddObserver(scene.EndImportEvent, lambda *_: self._imported())
        scene.AddObserver(scene.EndRestoreEvent, lambda *_: self._imported())

    def _hierarchy(self):
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    def _isShown(self, node):
        return not node.GetHideFromEditors() and any(node.IsA(kind) for kind in SHOWN)

    def _added(self, node):
        if self.scene.IsImporting() or self.scene.IsClosing() or not self._isShown(node):
            return
        hierarchy = self._hierarchy()
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def _removed(self, node):
        if self.scene.IsClosing() or not self._isShown(node):
            return
        hierarchy = self._hierarchy()
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)

    def _imported(self):
        for index in range(self.scene.GetNumberOfNodes()):
            node = self.scene.GetNthNode(index)
            if node is not None:
                self._added(node)
