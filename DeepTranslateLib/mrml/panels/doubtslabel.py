"""DoubtsLabel: a yellow box where a volume does not look like what the model was trained on."""

from __future__ import annotations

import html
from typing import Any

import slicer

from DeepTranslateLib.familiarity import doubts
from DeepTranslateLib.model import Model
from DeepTranslateLib.mrml.panels.wrappedlabel import fitWrappedText, setWrappedText
from DeepTranslateLib.mrml.volumes import VolumeError, imageFromVolume


class DoubtsLabel:
    """Warns before anything runs, and does not stand in the way.

    Args:
        label: The QLabel that shows the warnings; hidden while there are none.
    """

    def __init__(self, label: Any) -> None:
        self._label = label
        self._shown: tuple[Any, ...] = ()
        label.visible = False

    def show(self, model: Model | None, volumeNode: Any, component: int | None) -> None:
        """Look at a volume with the eyes of a model, unless it is what was looked at last."""
        image = volumeNode.GetImageData() if volumeNode is not None else None
        shown = (model, volumeNode, image, image.GetMTime() if image else 0, component)
        if shown == self._shown:
            fitWrappedText(self._label)
            return
        self._shown = shown
        messages: list[str] = []
        if model is not None and volumeNode is not None:
            with slicer.util.WaitCursor():
                messages = _messages(model, volumeNode, component)
        lines = (f"&#9888; {html.escape(each)}" for each in messages)
        setWrappedText(self._label, "<br>".join(lines))


def _messages(model: Model, volumeNode: Any, component: int | None) -> list[str]:
    try:
        found = doubts(imageFromVolume(volumeNode, component), model)
    except VolumeError as error:
        return [str(error)]
    return [doubt.message for doubt in found]
