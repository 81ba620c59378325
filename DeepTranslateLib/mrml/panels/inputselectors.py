"""InputSelectors: a volume selector for each image that the chosen model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.mrml.volumes import VolumeError, componentCount
from DeepTranslateLib.recipe import Input

_VOLUME_TYPES = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")


class InputSelectors:
    """Rows at the top of a form: a selector an input, and the component of volumes with several.

    Args:
        form: QFormLayout that the rows are inserted into.
        onChanged: Called after a volume or the component has changed.
    """

    def __init__(self, form: Any, onChanged: Callable[[], None]) -> None:
        self._form = form
        self._onChanged = onChanged
        self._inputs: tuple[Input, ...] = ()
        self._selectors: list[Any] = []
        self._scene: Any = None
        self.componentLabel = qt.QLabel(_("Component:"))
        self.componentSpinBox = qt.QSpinBox()
        self.componentSpinBox.objectName = "componentSpinBox"
        self.componentSpinBox.toolTip = _(
            "The volume has several values a voxel, such as the echoes of an MR or the colours of "
            "a picture. Which one is translated, counted from 0."
        )
        form.insertRow(0, self.componentLabel, self.componentSpinBox)
        self.componentSpinBox.connect("valueChanged(int)", lambda value: self._onChanged())
        self.setInputs((Input(name="volume"),))

    def setMRMLScene(self, scene: Any) -> None:
        """Choose from the volumes of a scene."""
        self._scene = scene
        for selector in self._selectors:
            selector.setMRMLScene(scene)

    def setInputs(self, inputs: Sequence[Input]) -> None:
        """Make a selector for each input; volumes chosen before stay chosen."""
        if tuple(inputs) == self._inputs:
            return
        chosen = [selector.currentNode() for selector in self._selectors]
        for _selector in self._selectors:
            self._form.removeRow(0)
        self._inputs = tuple(inputs)
        self._selectors = [self._selector(number) for number in range(len(self._inputs))]
        for number, (each, selector) in enumerate(zip(self._inputs, self._selectors, strict=True)):
            self._form.insertRow(number, _labelText(each, len(self._inputs)), selector)
        for selector, node in zip(self._selectors, chosen, strict=False):
            if node is not None and node.GetScene() is not None:
                selector.setCurrentNode(node)
        self._changed()

    @property
    def volumeNodes(self) -> dict[str, Any]:
        """Name of the input to the chosen volume node, or None where none is chosen."""
        return {
            each.name: selector.currentNode()
            for each, selector in zip(self._inputs, self._selectors, strict=True)
        }

    @property
    def first(self) -> Any:
        """The volume that outputs lie on, or None."""
        return self._selectors[0].currentNode()

    def setVolumeNode(self, number: int, volumeNode: Any) -> None:
        """Choose a volume for the input of a number, from 0."""
        if number < len(self._selectors):
            self._selectors[number].setCurrentNode(volumeNode)

    def selector(self, number: int) -> Any:
        """The combo box of the input of a number, from 0."""
        return self._selectors[number]

    @property
    def component(self) -> int | None:
        """The chosen component, or None where all volumes have one."""
        return self.componentSpinBox.value if self._mostComponents() > 1 else None

    def setComponent(self, component: int) -> None:
        """Choose a component; it is kept within those that there are."""
        self.componentSpinBox.value = component

    def refresh(self) -> None:
        """Look again at what the chosen volumes hold."""
        count = self._mostComponents()
        for widget in (self.componentLabel, self.componentSpinBox):
            widget.visible = count > 1
        if count > 1:
            self.componentSpinBox.maximum = count - 1
            self.componentSpinBox.suffix = _(" (0 to {last})").format(last=count - 1)

    def _changed(self) -> None:
        self.refresh()
        self._onChanged()

    def _mostComponents(self) -> int:
        nodes = [node for node in self.volumeNodes.values() if node is not None]
        return max(map(_components, nodes), default=1)

    def _selector(self, number: int) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.objectName = f"inputSelector{number}"
        selector.nodeTypes = _VOLUME_TYPES
        # Label maps are scalar volumes too.
        selector.showChildNodeTypes = False
        selector.noneEnabled = True
        selector.noneDisplay = _("Choose a volume")
        selector.addEnabled = False
        selector.removeEnabled = False
        selector.renameEnabled = True
        selector.toolTip = _("The volume that the model reads. It is not changed.")
        if self._scene is not None:
            selector.setMRMLScene(self._scene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self._changed())
        return selector


def _components(volumeNode: Any) -> int:
    try:
        return componentCount(volumeNode)
    except VolumeError:
        return 1  # without voxels; said where the volume is looked at


def _labelText(each: Input, count: int) -> str:
    units = f" ({each.units})" if each.units else ""
    kind = each.modality if each.modality != "other" else _("Volume")
    return f"{kind if count == 1 else each.name}{units}:"
