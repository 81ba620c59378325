"""Translating from the panel and from the console: one way for both, without a dialog.

`startTranslation` checks what it was given, starts and returns at once; `translate` does the same
and waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from DeepTranslateLib.jobs import EventSink
from DeepTranslateLib.model import Model
from DeepTranslateLib.mrml.folderitems import (
    FileSource,
    fileItems,
    fileSource,
    findSources,
    freeFile,
)
from DeepTranslateLib.mrml.modellibrary import findModel
from DeepTranslateLib.mrml.sequences import isSequence
from DeepTranslateLib.mrml.translationitems import Item, SequenceItem, Translated, VolumeItem
from DeepTranslateLib.mrml.translationrun import DONE, Translation
from DeepTranslateLib.mrml.volumes import VolumeError, componentCount
from DeepTranslateLib.statistics import write_statistics

DEVICES = ("auto", "cpu", "cuda", "mps")
TABLE_FILE = "tissue_volumes.csv"


def startTranslation(
    volumes: Any,
    model: Model | str | Path,
    *,
    output: Any = None,
    table: Any = None,
    device: str = "auto",
    component: int | None = None,
    closedSurface: bool = False,
    allFrames: bool = True,
    outputFolder: str | Path | None = None,
    direction: str | None = None,
    onEvent: EventSink | None = None,
    onItem: Callable[[int, str, Translated | None], None] | None = None,
    onFinished: Callable[[list[Translated]], None] | None = None,
) -> Translation:
    """Start a translation and return at once; see `translate` for the arguments.

    Args:
        volumes: As in `translate`.
        model: As in `translate`.
        output: As in `translate`.
        table: As in `translate`.
        device: As in `translate`.
        component: As in `translate`.
        closedSurface: As in `translate`.
        allFrames: As in `translate`.
        outputFolder: As in `translate`.
        direction: As in `translate`.
        onEvent: As in `translate`.
        onItem: Called with the index of an item and "running", "done", "failed" or "cancelled",
            and with its outcome once there is one.
        onFinished: Called with all outcomes in the end, also after a cancel.

    Raises:
        ValueError: As `translate`, before anything has started.
    """
    found = findModel(model)
    found = found.in_direction(direction or found.direction)
    if device not in DEVICES:
        raise ValueError(f"Expected a device of {', '.join(DEVICES)}, found {device!r}.")
    items = _items(volumes, found, output, component, closedSurface, allFrames, outputFolder)
    if table is not None:
        _expectClass(table, "vtkMRMLTableNode", "table")
    if output is not None and isMany(volumes):
        raise ValueError("One output node cannot hold the outputs of several inputs.")
    single = items[0].name if len(items) == 1 else None
    if single is not None:
        tableName = _("{name} statistics").format(name=single)
    else:
        tableName = _("{model} statistics").format(model=found.card.name)

    tableFile = freeFile(Path(outputFolder) / TABLE_FILE) if outputFolder is not None else None

    def itemChanged(index: int, state: str, outcome: Translated | None) -> None:
        if state == DONE and tableFile is not None:
            _writeTable(translation.outcomes, tableFile)
        if onItem is not None:
            onItem(index, state, outcome)

    translation = Translation(
        items,
        found,
        device=device,
        tableName=tableName,
        tableNode=table,
        onEvent=onEvent,
        onItem=itemChanged,
        onFinished=onFinished,
    )
    translation.start()
    return translation


def translate(volumes: Any, model: Model | str | Path, **options: Any) -> Any:
    """Translate and wait; the application stays alive meanwhile. No dialog ever appears.

    Args:
        volumes: A volume node; a dictionary of the model's input names and volume nodes; a
            sequence, sequence browser or proxy volume, of which every frame is translated; an
            image file; a list of these; or a folder of image files and DICOM series.
        model: Path of a model file, name of a model in the library, or what `read_model` returns.
        **options: `output`: segmentation or volume node that receives the output of one volume,
            by default a new one. `table`: table node that receives the statistics, by default a
            new one. `device`: "auto" (default), "cpu", "cuda" or "mps". `component`: which
            component of volumes that have several. `closedSurface`: show segmentations in 3D.
            `allFrames`: False translates a proxy volume as it is now. `outputFolder`: where the
            outputs of files go. `direction`: "source-to-target" (default) or, where the model
            has both, "target-to-source". `onEvent`: called with each event of the worker.

    Returns:
        Translated of a single volume, sequence or file; of a list or folder a list of them, in
        which one that failed has an `error` and no output.

    Raises:
        ValueError: Something cannot be translated; the message says what was expected.
        ModelError: The model has no such direction.
        JobError: The worker failed on a single volume.
        Stopped: It was cancelled.
    """
    outcomes = startTranslation(volumes, model, **options).wait()
    if isMany(volumes):
        return outcomes
    (outcome,) = outcomes
    if outcome.cause is not None:
        raise outcome.cause
    return outcome


def isMany(volumes: Any) -> bool:
    """Tell whether `translate` answers with a list."""
    if isinstance(volumes, (str, Path)):
        return Path(volumes).is_dir()
    return isinstance(volumes, Sequence)


def _items(
    volumes: Any,
    model: Model,
    output: Any,
    component: int | None,
    closedSurface: bool,
    allFrames: bool,
    outputFolder: str | Path | None,
) -> list[Item]:
    sources: list[Any]
    if isinstance(volumes, (str, Path)):
        isFolder = Path(volumes).is_dir()
        sources = findSources(volumes, outputFolder) if isFolder else [fileSource(volumes)]
    elif isinstance(volumes, Sequence):
        sources = [fileSource(v) if isinstance(v, (str, Path)) else v for v in volumes]
        if not sources:
            raise ValueError("Expected at least one volume, found an empty list.")
    else:
        sources = [volumes]
    many = isMany(volumes)
    files = [source for source in sources if isinstance(source, FileSource)]
    if files and outputFolder is None:
        raise ValueError("Expected an outputFolder: the outputs of files are files.")
    if files and len(model.recipe.inputs) > 1:
        raise ValueError(
            f"The model needs {len(model.recipe.inputs)} volumes at a time, which a folder does "
            "not say. Load them, and give a dictionary for each subject."
        )
    ready = iter(fileItems(files, model, Path(outputFolder)) if outputFolder is not None else ())
    items: list[Item] = []
    for source in sources:
        if isinstance(source, FileSource):
            items.append(next(ready))
            continue
        played = _isNode(source) and isSequence(source)
        if played and (allFrames or not source.IsA("vtkMRMLVolumeNode")):
            if output is not None:
                raise ValueError("The outputs of a sequence are a new sequence; give none.")
            items.append(SequenceItem(source, model, component, closedSurface))
            continue
        nodes = _named(source, model)
        if not many:  # of many, the one that is broken fails alone
            for volumeNode in nodes.values():
                _checkVolume(volumeNode, component)
        if output is not None:
            _checkOutput(output, model, nodes)
        items.append(VolumeItem(nodes, model, component, output, closedSurface))
    return items


def _named(source: Any, model: Model) -> dict[str, Any]:
    """The volumes of one case by name of the model's input."""
    names = [each.name for each in model.recipe.inputs]
    if not isinstance(source, Mapping):
        if len(names) > 1:
            raise ValueError(
                f"The model needs {len(names)} volumes. Give a dictionary with {', '.join(names)}."
            )
        source = {names[0]: source}
    if set(source) != set(names):
        raise ValueError(
            f"Expected volumes for {', '.join(names)}, found {', '.join(map(str, source))}."
        )
    for name, volumeNode in source.items():
        if not _isNode(volumeNode) or not volumeNode.IsA("vtkMRMLScalarVolumeNode"):
            found = volumeNode.GetClassName() if _isNode(volumeNode) else repr(volumeNode)
            raise ValueError(f"Expected a volume node for '{name}', found {found}.")
    return {name: source[name] for name in names}


def _isNode(value: Any) -> bool:
    return isinstance(value, slicer.vtkMRMLNode)


def _checkVolume(volumeNode: Any, component: int | None) -> None:
    name = volumeNode.GetName()
    image = volumeNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise VolumeError(
            f"'{name}' has no image data: nothing was loaded into it, or loading failed. Load the "
            "image again, or choose another volume."
        )
    count = componentCount(volumeNode)
    if component is not None and not 0 <= component < count:
        raise ValueError(f"'{name}' has the components 0 to {count - 1}, found {component}.")


def _checkOutput(output: Any, model: Model, nodes: Mapping[str, Any]) -> None:
    labels = model.recipe.target.kind == "labels"
    _expectClass(
        output, "vtkMRMLSegmentationNode" if labels else "vtkMRMLScalarVolumeNode", "output"
    )
    if any(output is volumeNode for volumeNode in nodes.values()):
        raise ValueError(
            f"The output would overwrite the input '{output.GetName()}'. Choose another output, "
            "or none for a new one."
        )


def _expectClass(node: Any, className: str, what: str) -> None:
    if not _isNode(node) or not node.IsA(className):
        found = node.GetClassName() if _isNode(node) else repr(node)
        raise ValueError(f"Expected a {className} as {what}, found {found}.")
    if node.GetScene() is not slicer.mrmlScene:
        raise ValueError(f"The {what} '{node.GetName()}' is not in the scene. Add it first.")


def _writeTable(outcomes: Sequence[Translated], tableFile: Path) -> None:
    rows = [row for outcome in outcomes if outcome.path is not None for row in outcome.rows]
    if rows:
        write_statistics(tableFile, rows)
