"""What can be translated, each as an item of one row: a volume, a sequence, a file, a DICOM series.

An item is a series of parts that each go through the model on their own (the frames of a
sequence; of all others there is one). It hands each part to the worker as files in a job's folder,
takes what the worker made of it, and in the end puts the outcome into the scene.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.familiarity import doubts
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.dicom import Series, read_series
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.model import Model
from DeepTranslateLib.mrml.hierarchy import placeBeside
from DeepTranslateLib.mrml.provenance import recordProvenance
from DeepTranslateLib.mrml.segmentations import segmentationFromLabels
from DeepTranslateLib.mrml.sequences import sequenceFrames, sequenceOf
from DeepTranslateLib.mrml.volumes import VolumeError, imageFromVolume, setUnits, volumeFromImage
from DeepTranslateLib.recipe import BACKWARD, Recipe, names_of_sides
from DeepTranslateLib.statistics import LabelStatistics

OUTPUT_FILE = "output.nrrd"


@dataclass
class Translated:
    """What became of one volume, sequence or file.

    Attributes:
        name: The input's name.
        output: Segmentation or volume node, for a sequence the sequence of them; None for files.
        table: Table node with the volumes and intensities of the labels; None where the model
            makes no labels.
        path: The file that was written, for inputs that are files.
        error: Why there is no output; empty where there is one.
        rows: The rows of the table that belong to this input.
        doubts: Why the input does not look like what the model was trained on.
        seconds: Time that the worker took.
        device: What it computed on.
        cause: The exception behind `error`.
    """

    name: str
    output: Any = None
    table: Any = None
    path: Path | None = None
    error: str = ""
    rows: tuple[LabelStatistics, ...] = ()
    doubts: tuple[str, ...] = ()
    seconds: float = 0.0
    device: str = ""
    cause: BaseException | None = field(default=None, compare=False, repr=False)


class Part(Protocol):
    """One volume on its way through the worker."""

    name: str

    def write(self, folder: Path) -> dict[str, str]:
        """Write the inputs into a job's folder; returns name of input to file or folder."""

    def output(self, folder: Path) -> str:
        """File that the worker writes."""

    def take(self, folder: Path, result: Mapping[str, Any]) -> None:
        """Keep what the worker made."""


class Item(Protocol):
    """One row: what the user calls a volume."""

    name: str

    def parts(self) -> Iterator[Part]:
        """What goes through the worker, one after the other."""

    def outcome(self) -> Translated:
        """Put what all parts came to into the scene."""

    def placeTable(self, tableNode: Any) -> None:
        """Put the table of this item alone beside what it was made of."""

    def discard(self) -> None:
        """Take out of the scene again what a part made, because another part failed."""


class VolumeItem:
    """A volume node, or one for each of the model's inputs; an item of one part.

    Args:
        volumeNodes: Name of the recipe's input to volume node.
        model: The model that they go through.
        component: Which component of volumes that have several.
        outputNode: Node that receives the output, or None for a new one.
        closedSurface: Show segmentations in 3D.
        name: What rows call it; by default the first volume's name.
    """

    def __init__(
        self,
        volumeNodes: Mapping[str, Any],
        model: Model,
        component: int | None = None,
        outputNode: Any = None,
        closedSurface: bool = False,
        name: str = "",
    ) -> None:
        self.volumeNodes = dict(volumeNodes)
        self.name = name or self.first.GetName()
        self._model = model
        self._component = component
        self._outputNode = outputNode
        self._closedSurface = closedSurface
        self.result = Translated(self.name)

    @property
    def first(self) -> Any:
        """The volume node that outputs lie on."""
        return next(iter(self.volumeNodes.values()))

    def parts(self) -> Iterator[Part]:
        """Itself."""
        yield self

    def write(self, folder: Path) -> dict[str, str]:
        """Write each volume, as it lies in the world."""
        files = {}
        for number, (name, volumeNode) in enumerate(self.volumeNodes.items(), start=1):
            image = imageFromVolume(volumeNode, self._component)
            if image.is_sheared:
                raise VolumeError(
                    f"'{volumeNode.GetName()}' is sheared, by its own axes or by its transform, so "
                    "its slices are no rectangles. Harden the transform and resample the volume "
                    "(module Resample Scalar/Vector/DWI Volume), and translate the result."
                )
            if number == 1:
                found = doubts(image, self._model)
                self.result.doubts = tuple(doubt.message for doubt in found)
            path = folder / f"input{number}.nrrd"
            # The worker reads it at once, on the same machine: compressing takes longer.
            files[name] = str(write_image(image, path, compressed=False))
        return files

    def output(self, folder: Path) -> str:
        """File in the job's folder."""
        return OUTPUT_FILE

    def take(self, folder: Path, result: Mapping[str, Any]) -> None:
        """Make the output node."""
        if self.first.GetScene() is None:
            raise VolumeError(f"'{self.name}' was deleted while it was translated.")
        image = read_image(folder / OUTPUT_FILE)
        _keep(self.result, result)
        self.result.output = self._node(image)

    def outcome(self) -> Translated:
        """The output, beside its input."""
        placeBeside([self.result.output], self.first)
        return self.result

    def placeTable(self, tableNode: Any) -> None:
        """Put it beside the first volume."""
        placeBeside([tableNode], self.first)

    def discard(self) -> None:
        """Remove the output, unless the user chose its node."""
        output, self.result.output = self.result.output, None
        if output is not None and output is not self._outputNode:
            slicer.mrmlScene.RemoveNode(output)

    def _node(self, image: Image) -> Any:
        recipe = self._model.recipe
        outputNode = self._outputNode
        if outputNode is not None and outputNode.GetScene() is None:
            outputNode = None  # deleted meanwhile
        synthetic = recipe.target.kind == "volume"
        name = outputName(self.name, self._model)
        if synthetic:
            node = volumeFromImage(image, name, self.first, outputNode, shownRange(recipe))
            setUnits(node, recipe.target.units)
        else:
            labels = recipe.target.labels
            node = segmentationFromLabels(
                image, labels, name, self.first, outputNode, self._closedSurface
            )
        recordProvenance(node, self._model, self.volumeNodes.values(), synthetic)
        return node


class SequenceItem:
    """Every frame of a sequence; the outputs are a sequence that is browsed with the input's.

    Args:
        sequenceNode: A sequence, a sequence browser or a proxy volume.
        model: The model that the frames go through.
        component: Which component of volumes that have several.
        closedSurface: Show segmentations in 3D.
    """

    def __init__(
        self,
        sequenceNode: Any,
        model: Model,
        component: int | None = None,
        closedSurface: bool = False,
    ) -> None:
        self.name = sequenceNode.GetName()
        self._node = sequenceNode
        self._model = model
        self._component = component
        self._closedSurface = closedSurface
        self._frames: list[VolumeItem] = []

    def parts(self) -> Iterator[Part]:
        """The frames."""
        inputName = self._model.recipe.inputs[0].name
        for value, volumeNode in sequenceFrames(self._node):
            frame = VolumeItem(
                {inputName: volumeNode},
                self._model,
                self._component,
                closedSurface=self._closedSurface,
                name=f"{self.name} {value}",
            )
            self._frames.append(frame)
            yield frame
            # All lie at one place until they are one sequence.
            display = frame.result.output.GetDisplayNode()
            if display is not None:
                display.SetVisibility(False)

    def outcome(self) -> Translated:
        """A sequence of the outputs."""
        done = [frame.result for frame in self._frames]
        name = outputName(self.name, self._model)
        sequence = sequenceOf([each.output for each in done], self._node, name)
        synthetic = self._model.recipe.target.kind == "volume"
        recordProvenance(sequence, self._model, [self._node], synthetic)
        placeBeside([sequence], self._node)
        return Translated(
            self.name,
            output=sequence,
            rows=tuple(row for each in done for row in each.rows),
            doubts=tuple(dict.fromkeys(doubt for each in done for doubt in each.doubts)),
            seconds=sum(each.seconds for each in done),
            device=done[-1].device,
        )

    def placeTable(self, tableNode: Any) -> None:
        """Put it beside the sequence or the volume that plays it."""
        placeBeside([tableNode], self._node)

    def discard(self) -> None:
        """Remove the outputs of all frames."""
        for frame in self._frames:
            frame.discard()


class FileItem:
    """An image file or DICOM series on disk; the output is a file. An item of one part.

    Args:
        source: File, DICOM folder, or one of several series in a folder.
        name: What rows call it.
        model: The model that it goes through.
        output: File to write; it does not exist yet.
    """

    def __init__(self, source: Path | Series, name: str, model: Model, output: Path) -> None:
        self.name = name
        self._source = source
        self._model = model
        self.result = Translated(name, path=output)

    def parts(self) -> Iterator[Part]:
        """Itself."""
        yield self

    def write(self, folder: Path) -> dict[str, str]:
        """Leave the file to the worker; of several series in a folder it knows nothing."""
        name = self._model.recipe.inputs[0].name
        if isinstance(self._source, Series):
            image = read_series(self._source)
            return {name: str(write_image(image, folder / "input1.nrrd", compressed=False))}
        return {name: str(self._source)}

    def output(self, folder: Path) -> str:
        """File in the user's folder; the worker writes it whole or not at all."""
        return str(self.result.path)

    def take(self, folder: Path, result: Mapping[str, Any]) -> None:
        """Keep the rows."""
        _keep(self.result, result)

    def outcome(self) -> Translated:
        """What was written."""
        return self.result

    def placeTable(self, tableNode: Any) -> None:
        """Leave it where it is: a file has no place in the scene."""

    def discard(self) -> None:
        """Nothing: the worker writes a file whole or not at all."""


def outputName(name: str, model: Model) -> str:
    """What the output of an input of this name is called."""
    if model.recipe.target.kind == "labels":
        return _("{name} tissues").format(name=name)
    if len(model.directions) > 1:
        made = names_of_sides(model.recipe)[1]
        if made == "target" and model.direction == BACKWARD:
            made = "source"
        return _("{name} translated to {made}").format(name=name, made=made)
    return _("{name} translated").format(name=name)


def shownRange(recipe: Recipe) -> tuple[float, float] | None:
    """Return the lowest and highest value shown of a volume; None: as its input is shown.

    Values without a unit are comparable only where the output is the input made better.
    """
    target = recipe.target
    better = recipe.is_denoising or recipe.network.residual
    same = target.units != "" and target.units == recipe.inputs[0].units
    return None if target.standardisation == "none" and (better or same) else target.range


def _keep(done: Translated, result: Mapping[str, Any]) -> None:
    done.rows = tuple(_row(row) for row in result["totals"])
    done.seconds = float(result["seconds"])
    done.device = str(result["device"])


def _row(content: Mapping[str, Any]) -> LabelStatistics:
    """Return a row of a result; JSON has null for what is not a number."""
    values: dict[str, Any] = {
        column.name: math.nan if content[column.name] is None else content[column.name]
        for column in fields(LabelStatistics)
    }
    return LabelStatistics(**values)
