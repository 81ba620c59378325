"""ModelSelector: the models of the library, with those that cannot be used greyed out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.model import SUFFIX, Model, ModelError
from DeepTranslateLib.mrml.modellibrary import addModel, libraryModels, modelsFolder
from DeepTranslateLib.mrml.panels.directionchooser import DirectionChooser
from DeepTranslateLib.mrml.panels.filedialogs import filesToOpen
from DeepTranslateLib.mrml.panels.modelcard import ModelCard
from DeepTranslateLib.recipe import FORWARD

# QStandardItemModel keeps an item's flags there; 0 greys the item and makes it unselectable.
_FLAGS_ROLE_OFFSET = -1


class ModelSelector:
    """Combo box, "Add model file...", the card of the chosen model, or what to do without any.

    Where the model has learnt both directions there is a choice of one, too.

    Args:
        parentLayout: Layout that the widget is added to.
        onChanged: Called after the chosen model or direction has changed.
        onError: Called with the error of a file that cannot be added.
    """

    def __init__(
        self,
        parentLayout: Any,
        onChanged: Callable[[], None],
        onError: Callable[[Exception], None],
    ) -> None:
        self._onChanged = onChanged
        self._onError = onError
        self._models: list[Model | None] = []
        self._current: Model | None = None
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        row = qt.QHBoxLayout()
        column.addLayout(row)
        self.comboBox = qt.QComboBox()
        self.comboBox.objectName = "modelComboBox"
        self.comboBox.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.comboBox.minimumContentsLength = 10
        row.addWidget(self.comboBox, 1)
        self.addButton = qt.QPushButton(_("Add model file..."))
        self.addButton.objectName = "addModelButton"
        self.addButton.toolTip = _(
            "Copy a {suffix} file into the library. You can also drop files onto this panel."
        ).format(suffix=SUFFIX)
        row.addWidget(self.addButton)
        self.emptyWidget = qt.QWidget()
        empty = qt.QVBoxLayout(self.emptyWidget)
        empty.setContentsMargins(0, 0, 0, 0)
        self.emptyLabel = qt.QLabel(
            _(
                "There is no model yet. Train one from a few labelled slices, or add a model file "
                "that somebody gave you: with the button above, or by dropping it here."
            )
        )
        self.emptyLabel.wordWrap = True
        empty.addWidget(self.emptyLabel)
        self.trainButton = qt.QPushButton(_("Train a model"))
        self.trainButton.objectName = "goToTrainButton"
        empty.addWidget(self.trainButton)
        column.addWidget(self.emptyWidget)
        self.card = ModelCard(column)
        self.directions = DirectionChooser(column, onChanged)
        parentLayout.addWidget(self.widget)
        self.comboBox.connect("currentIndexChanged(int)", self._chosen)
        self.addButton.connect("clicked()", self._browse)
        self.trainButton.connect("clicked()", _goToTrain)
        self.dropFilter = _dropFilter(self.addFiles)
        self._dropTargets: list[Any] = []

    def acceptDrops(self, widget: Any) -> None:
        """Let model files be dropped onto a widget."""
        widget.acceptDrops = True
        widget.installEventFilter(self.dropFilter)
        self._dropTargets.append(widget)

    def release(self) -> None:
        """Filter no more events, as these go on while the application takes Python down."""
        for widget in self._dropTargets:
            widget.removeEventFilter(self.dropFilter)
        self._dropTargets = []

    @property
    def model(self) -> Model | None:
        """The chosen model in the chosen direction, or None."""
        return self.directions.model

    @property
    def direction(self) -> str:
        """The chosen direction, one of the recipe's `DIRECTIONS`."""
        return self.directions.direction

    @property
    def fileName(self) -> str:
        """Name of the chosen model's file in the library; empty without one."""
        return self._current.path.name if self._current is not None else ""

    def refresh(self, fileName: str | None = None, direction: str | None = None) -> None:
        """Read the library's folder again.

        Args:
            fileName: The file to choose; where it is not there, nothing is chosen, and said.
                None: the one that is chosen now, or else the first that can be used.
            direction: The one to choose; None: as it is, unless the model is another then.
        """
        wanted = self.fileName if fileName is None else fileName
        blocked = self.comboBox.blockSignals(True)
        self.comboBox.clear()
        self._models = []
        for path, content in libraryModels():
            if isinstance(content, Model):
                self._add(path.stem, content, content.card.name)
            else:
                self._add(_("{name} (not usable)").format(name=path.stem), None, str(content))
        usable = [index for index, model in enumerate(self._models) if model is not None]
        index = next((i for i in usable if self._models[i].path.name == wanted), -1)  # type: ignore[union-attr]
        if index < 0 and fileName:
            missing = _("{name} (not in the library)").format(name=Path(wanted).stem)
            reason = _("There is no {name} in {folder}. Add the file, or choose another model.")
            self._add(missing, None, reason.format(name=wanted, folder=modelsFolder()))
            index = len(self._models) - 1
        elif index < 0 and usable:
            index = usable[0]
        self.comboBox.currentIndex = index
        self.comboBox.blockSignals(blocked)
        self.emptyWidget.visible = not usable
        self.comboBox.visible = bool(self._models)
        self._choose(index, direction)

    def addFiles(self, paths: list[str]) -> None:
        """Copy model files into the library and choose the last one."""
        added = None
        for path in paths:
            try:
                added = addModel(path)
            except (ModelError, OSError) as error:
                self._onError(error)
        if added is not None:
            self.refresh(added.name)

    def _add(self, text: str, model: Model | None, toolTip: str) -> None:
        self.comboBox.addItem(text)
        index = len(self._models)
        self._models.append(model)
        self.comboBox.setItemData(index, toolTip, qt.Qt.ToolTipRole)
        if model is None:
            self.comboBox.setItemData(index, 0, int(qt.Qt.UserRole) + _FLAGS_ROLE_OFFSET)

    def _chosen(self, index: int) -> None:
        self._choose(index, None)

    def _choose(self, index: int, direction: str | None) -> None:
        model = self._models[index] if 0 <= index < len(self._models) else None
        same = model is not None and model.path.name == self.fileName
        self._current = model
        self.directions.setModel(model, direction or (self.direction if same else FORWARD))
        self.comboBox.toolTip = self.comboBox.itemData(index, qt.Qt.ToolTipRole) or ""
        self.card.setModel(model)
        self._onChanged()

    def _browse(self) -> None:
        names = filesToOpen(
            self.widget, _("Add model files"), "", _("Models (*{suffix})").format(suffix=SUFFIX)
        )
        self.addFiles(names)


def _goToTrain() -> None:
    slicer.util.selectModule("DeepTranslateTrain")


def _dropFilter(onFiles: Callable[[list[str]], None]) -> Any:
    """An event filter that takes model files dropped onto the widgets it is installed on."""

    def modelFiles(event: Any) -> list[str]:
        if not event.mimeData().hasUrls():
            return []
        paths = (url.toLocalFile() for url in event.mimeData().urls())
        return [path for path in paths if path.lower().endswith(SUFFIX)]

    class DropFilter(qt.QObject):
        def eventFilter(self, watched: Any, event: Any) -> bool:
            kind = event.type()
            if kind not in (qt.QEvent.DragEnter, qt.QEvent.DragMove, qt.QEvent.Drop):
                return False
            files = modelFiles(event)
            if not files:
                return False
            event.acceptProposedAction()
            if kind == qt.QEvent.Drop:
                onFiles(files)
            return True

    return DropFilter()
