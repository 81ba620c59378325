"""AugmentationPreview: one slice with its labels, as it is and as training will change it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import qt
import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.mrml.cohortcache import CohortCache
from DeepTranslateLib.mrml.pairs import Pair
from DeepTranslateLib.mrml.panels.jobprogress import JobProgress
from DeepTranslateLib.mrml.panels.jobslot import JobSlot
from DeepTranslateLib.mrml.panels.trainingtexts import exportingText
from DeepTranslateLib.mrml.trainingaids import startAugmentation
from DeepTranslateLib.recipe import Label, Recipe

_WIDTH = 200
# Typing a number is over when nothing has come for so long.
_PAUSE_MILLISECONDS = 600
_OPACITY = 0.45


class AugmentationPreview:
    """A button and two pictures: before and after. Once shown, they follow the recipe.

    Args:
        parentLayout: Form layout that everything is added to.
        slot: Runs the job.
        inputs: Returns recipe and cohort; raises ValueError where one cannot be used.
        cache: Keeps the images that are exported.
    """

    def __init__(
        self,
        parentLayout: Any,
        slot: JobSlot,
        inputs: Callable[[], tuple[Recipe, str | list[Pair]]],
        cache: CohortCache,
    ) -> None:
        self._cache = cache
        self._slot = slot
        self._inputs = inputs
        self._seed = 0
        self._recipe: Recipe | None = None
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        parentLayout.addRow(self.widget)
        self.button = qt.QPushButton(_("Preview augmentation"))
        self.button.objectName = "previewAugmentationButton"
        self.button.toolTip = _(
            "Show a slice of the first image as it is and as training changes it; click again for "
            "another change. The pictures follow what you change in the recipe."
        )
        column.addWidget(self.button)
        self.progress = JobProgress(column, slot.cancel)
        self.message = qt.QLabel()
        self.message.objectName = "augmentationMessage"
        self.message.wordWrap = True
        self.message.visible = False
        column.addWidget(self.message)
        self._frame = qt.QWidget()
        grid = qt.QGridLayout(self._frame)
        grid.setContentsMargins(0, 0, 0, 0)
        self.pictures = []
        for place, caption in enumerate((_("as it is"), _("as training may see it"))):
            picture = qt.QLabel()
            picture.objectName = ("beforePicture", "afterPicture")[place]
            picture.setAlignment(qt.Qt.AlignCenter)
            label = qt.QLabel(caption)
            label.setAlignment(qt.Qt.AlignCenter)
            grid.addWidget(picture, 0, place)
            grid.addWidget(label, 1, place)
            self.pictures.append(picture)
        self._frame.visible = False
        column.addWidget(self._frame)
        self.button.connect("clicked()", self.run)
        self._isShown = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MILLISECONDS)
        self._timer.connect("timeout()", self._showAgain)

    def run(self) -> None:
        """Show another change of a slice."""
        self._seed += 1
        self._start()

    def follow(self) -> None:
        """Show the same draw again, as the recipe that was just changed makes it."""
        if self._isShown:
            self._timer.start()

    def _showAgain(self) -> None:
        if self._slot.busy:
            self._timer.start()
            return
        try:
            recipe, _cohort = self._inputs()
        except (ValueError, OSError):  # the panel says what is wrong, until it is mended
            return
        if recipe != self._recipe:
            self._start()

    def _start(self) -> None:
        self.progress.start(_("Changing a slice"))
        self.message.visible = False

        def start(**callbacks: Any) -> Any:
            self._recipe, cohort = self._inputs()
            return startAugmentation(
                self._recipe, cohort, self._seed, cache=self._cache, **callbacks
            )

        self._slot.begin(
            start,
            self._say,
            onFinished=self._show,
            onEvent=self._hear,
            onEnded=self.progress.finish,
        )

    def clear(self) -> None:
        """Forget the pictures."""
        self._timer.stop()
        self._isShown = False
        self._frame.visible = False
        self.message.visible = False

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "exporting":
            self.progress.update(exportingText(event), event["done"], event["total"])

    def _say(self, text: str) -> None:
        self.message.text = text
        self.message.visible = True

    def _show(self, result: dict[str, Any]) -> None:
        recipe = self._recipe
        assert recipe is not None
        with np.load(Path(result["folder"]) / result["file"], allow_pickle=False) as arrays:
            image, target = arrays["image"], arrays["target"]
            changed, changedTarget = arrays["images"][0], arrays["targets"][0]
        window = recipe.preprocessing.window or (float(image.min()), float(image.max()))
        labels = recipe.target.labels
        for picture, (slice_, marks) in zip(
            self.pictures, ((image, target), (changed, changedTarget)), strict=True
        ):
            pixmap = pixmapOf(colored(slice_, marks, window, labels))
            picture.setPixmap(pixmap)
            picture.setMinimumSize(pixmap.size())
        self._frame.visible = self._isShown = True


def colored(
    image: npt.NDArray[Any],
    target: npt.NDArray[Any],
    window: tuple[float, float],
    labels: Sequence[Label],
) -> npt.NDArray[np.uint8]:
    """Return a slice in grey with its labels on top.

    Args:
        image: (rows, columns) intensities.
        target: (rows, columns) label values; ignored where there are no labels.
        window: Intensities shown black and white.
        labels: With the colours.

    Returns:
        (rows, columns, 3) colours.
    """
    low, high = window
    grey = np.clip((image.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=2)
    for label in labels:
        here = np.isin(target, (label.value, *label.also))
        picture[here] = (1 - _OPACITY) * picture[here] + _OPACITY * np.array(label.color)
    return picture.round().astype(np.uint8)


def pixmapOf(picture: npt.NDArray[np.uint8]) -> Any:
    """Return a QPixmap of (rows, columns, 3) colours, scaled to the panel."""
    rows, columns, _channels = picture.shape
    # By a file, since not every Qt binding makes an image of memory that Python owns; by a new
    # one each time, since Qt remembers pictures by their names.
    handle, path = tempfile.mkstemp(suffix=".ppm", dir=slicer.app.temporaryPath)
    with open(handle, "wb") as file:
        file.write(b"P6 %d %d 255\n" % (columns, rows) + picture.tobytes())
    pixmap = qt.QPixmap(path)
    os.unlink(path)
    return pixmap.scaled(_WIDTH, _WIDTH, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation)
