"""A training's events as TensorBoard shows them: curves of all epochs, and the preview pictures."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from DeepTranslateLib.engine.optimizers import learning_rate
from DeepTranslateLib.image.files import read_image
from DeepTranslateLib.recipe import PLANES, Recipe
from DeepTranslateLib.runfolder import TENSORBOARD_FOLDER

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Shares of a picture's values that are shown black and white.
_TAILS = (0.5, 99.5)
_OPACITY = 0.5


class MissingPackageError(RuntimeError):
    """TensorBoard is not installed; the message says what to do."""


def require_tensorboard() -> None:
    """Refuse to begin where event files cannot be written.

    Raises:
        MissingPackageError: TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingPackageError(
            "Logs for TensorBoard need the Python package tensorboard, which is not installed. "
            'Install it (pip install "tensorboard>=2.18"), or train without --tensorboard: '
            "events.jsonl holds the same numbers."
        )


class TensorBoardLog:
    """Writes what a training tells to `folder/tensorboard`, as it comes.

    Scalars over the epochs, from 1: `loss/training`, `loss/validation`, `learning rate`,
    `dice/NAME` of each label and `validation/METRIC`; a metric that has no value is left out. The
    picture `preview` has input, target and prediction of one slice side by side.

    Args:
        folder: Of the training.
        recipe: That it trains.

    Raises:
        MissingPackageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        require_tensorboard()
        self._folder = folder
        self._recipe = recipe
        self._writer: SummaryWriter | None = None

    def __call__(self, record: dict[str, Any]) -> None:
        """Write an event of the training, if it is one with something to show."""
        kind = record["event"]
        if kind == "training_started":
            # What a crash left of later epochs is hidden: they are done again.
            self._open(record["epoch"] + 1)
        elif self._writer is not None and kind == "epoch":
            self._write_epoch(self._writer, record)
        elif self._writer is not None and kind == "preview":
            self._write_preview(self._writer, record)

    def close(self) -> None:
        """Write what is left and let go of the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        place = self._folder / TENSORBOARD_FOLDER
        self._writer = SummaryWriter(str(place), purge_step=first_step)

    def _write_epoch(self, writer: SummaryWriter, record: dict[str, Any]) -> None:
        epoch = record["epoch"]
        scalars = {
            "loss/training": record["loss"],
            "loss/validation": record["validation_loss"],
            "learning rate": learning_rate(self._recipe, epoch),
            **{f"dice/{name}": value for name, value in record["validation_dice"].items()},
            **{f"validation/{name}": value for name, value in record["validation_metrics"].items()},
            # Of methods that learn from several; their sum is the loss above.
            **{f"losses/{name}": value for name, value in record.get("losses", {}).items()},
        }
        for name, value in scalars.items():
            if value is not None:
                writer.add_scalar(name, value, epoch + 1)
        writer.flush()

    def _write_preview(self, writer: SummaryWriter, record: dict[str, Any]) -> None:
        image, prediction = (self._slice(record[part]) for part in ("input", "prediction"))
        target, cycled = (
            self._slice(record[part]) if part in record else None for part in ("target", "cycled")
        )
        picture = preview_picture(image, target, prediction, self._recipe, cycled)
        writer.add_image("preview", picture, record["epoch"] + 1, dataformats="HWC")
        writer.flush()

    def _slice(self, name: str) -> npt.NDArray[np.float64]:
        image = read_image(self._folder / name).oriented(PLANES[self._recipe.sampling.plane])
        return image.voxels[len(image.voxels) // 2].astype(np.float64)


def preview_picture(
    image: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64] | None,
    prediction: npt.NDArray[np.float64],
    recipe: Recipe,
    cycled: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.uint8]:
    """What there is of input, target, prediction and what that was translated back to, in a row.

    Args:
        image: (rows, columns), in the input's units.
        target: Of the same shape: label values, or values in the target's units. None where it is
            not known.
        prediction: Likewise; it is shown as bright as the target, where that is known.
        recipe: Says what they are, and the labels' colours.
        cycled: Of the same shape, in the input's units; it is shown as bright as the input.

    Returns:
        (rows, columns of all, 3) RGB.
    """
    grey = _grey(image, image)
    made = [each for each in (target, prediction) if each is not None]
    if recipe.target.kind == "labels":
        parts = [grey, *(_coloured(grey, labels, recipe) for labels in made)]
    else:
        parts = [grey, *(_grey(values, made[0]) for values in made)]
    if cycled is not None:
        parts.append(_grey(cycled, image))
    return np.concatenate(parts, axis=1).round().astype(np.uint8)


def _grey(
    values: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Values as RGB from 0 to 255, from black to white over nearly all of the reference's."""
    low, high = np.percentile(reference, _TAILS)
    share = (values - low) / max(high - low, 1e-12)
    return np.repeat(255 * share.clip(0, 1)[..., None], 3, axis=-1)


def _coloured(
    grey: npt.NDArray[np.float64], labels: npt.NDArray[np.float64], recipe: Recipe
) -> npt.NDArray[np.float64]:
    """Labels in their colours, through which the grey picture is seen."""
    picture = grey.copy()
    for label in recipe.target.labels:
        inside = labels == label.value
        picture[inside] += _OPACITY * (np.array(label.color) - picture[inside])
    return picture
