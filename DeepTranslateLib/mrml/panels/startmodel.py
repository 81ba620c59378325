"""StartModel: the model that a training begins with, or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from DeepTranslateLib.model import SUFFIX, Model, ModelError, read_model
from DeepTranslateLib.mrml.modellibrary import libraryModels
from DeepTranslateLib.mrml.panels.filedialogs import fileToOpen


class StartModel:
    """Fills a combo box with "nothing", the library's models, and a choice of a file.

    Args:
        combo: The combo box.
        onChange: Called with the Model, or None, when the user chose.
    """

    def __init__(self, combo: Any, onChange: Callable[[Model | None], None]) -> None:
        self.combo = combo
        self._onChange = onChange
        self._filling = False
        self._paths: list[str] = [""]
        self.model: Model | None = None
        combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.refresh()
        combo.connect("currentIndexChanged(int)", self._chosen)

    @property
    def path(self) -> str:
        """Path of the model file; empty for none."""
        return str(self.model.path) if self.model is not None else ""

    def refresh(self, path: str | None = None) -> None:
        """Look for models again, and choose one without telling of it.

        Args:
            path: The file to choose, "" for none; None keeps what is chosen. One that cannot be
                read any more is none.
        """
        wanted = self.path if path is None else path
        try:
            self.model = read_model(wanted) if wanted else None
        except ModelError:
            self.model = None
        found = [content for _path, content in libraryModels() if isinstance(content, Model)]
        if self.model is not None and str(self.model.path) not in [str(m.path) for m in found]:
            found.append(self.model)
        self._paths = ["", *[str(model.path) for model in found]]
        self._filling = True
        self.combo.clear()
        self.combo.addItem(_("nothing"))
        for model in found:
            self.combo.addItem(f"{model.card.name} ({model.path.stem})")
        self.combo.addItem(_("a model file..."))
        self.combo.currentIndex = self._paths.index(self.path)
        self._filling = False

    def choose(self, path: str | Path) -> None:
        """Choose a model file as the user would; "" for none."""
        self.refresh(str(path))
        self._onChange(self.model)

    def _chosen(self, index: int) -> None:
        if self._filling or index < 0:
            return
        if index < len(self._paths):
            self.choose(self._paths[index])
            return
        path = fileToOpen(self.combo, _("Model to start from"), "", f"DeepTranslate (*{SUFFIX})")
        self.choose(path or self.path)
