"""The images of a folder: files and DICOM series, and where their outputs go."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from DeepTranslateLib.image import ImageError
from DeepTranslateLib.image.dicom import Series, is_dicom_file, list_series
from DeepTranslateLib.image.files import image_name, is_image_file
from DeepTranslateLib.model import Model
from DeepTranslateLib.mrml.translationitems import FileItem
from DeepTranslateLib.recipe import BACKWARD

# What a translation adds to the name of its input.
_ENDINGS = ("_labels", "_translated", "_translated_to_source")


@dataclass(frozen=True)
class FileSource:
    """An image on disk.

    Attributes:
        source: A file, a folder with one DICOM series, or one of several series in a folder.
        name: Name of its rows and outputs, different for each source of a folder.
        detail: What it is, in a few words.
        isVolume: False for a DICOM series of a single image, such as a localizer.
    """

    source: Path | Series
    name: str
    detail: str
    isVolume: bool = True


def findSources(folder: str | Path, outputFolder: str | Path | None = None) -> list[FileSource]:
    """Return the images in a folder and its sub-folders.

    Args:
        folder: A folder with NRRD, NIfTI, MetaImage or DICOM files.
        outputFolder: A folder inside it that is not searched.

    Raises:
        ImageError: There is no such folder, it holds no image, or a DICOM header is broken.
        OSError: A file may not be opened.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"There is no folder {folder}. Choose a folder with images.")
    skipped = Path(outputFolder).resolve() if outputFolder else None
    if skipped == folder.resolve():
        skipped = None
    found = [*_files(folder, skipped), *_series(folder)]
    if not found:
        raise ImageError(
            f"The folder {folder} holds no images: expected NRRD, NIfTI or MetaImage files, or "
            "DICOM series."
        )
    often = Counter(each.name for each in found)
    named, taken = [], Counter[str]()
    for each in found:
        name = each.name
        if often[name] > 1 and isinstance(each.source, Path):
            name = f"{each.source.parent.name}_{name}"
        taken[name] += 1
        named.append(replace(each, name=name if taken[name] == 1 else f"{name} {taken[name]}"))
    return named


def fileSource(path: str | Path) -> FileSource:
    """Return one file, or one folder with a DICOM series, as a source.

    Raises:
        ValueError: There is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"There is no file {path}. Give an image file or a DICOM folder.")
    return FileSource(path, image_name(path.absolute()), "")


def fileItems(sources: Sequence[FileSource], model: Model, outputFolder: Path) -> list[FileItem]:
    """Return an item for each source, with an output file that does not exist yet.

    Args:
        sources: What to translate.
        model: With which model.
        outputFolder: Where the outputs go; created when it does not exist.

    Raises:
        OSError: The folder cannot be made.
    """
    outputFolder.mkdir(parents=True, exist_ok=True)
    labels, translated, toSource = _ENDINGS
    ending = labels if model.recipe.target.kind == "labels" else translated
    if model.direction == BACKWARD:
        ending = toSource
    taken: set[Path] = set()
    items = []
    for each in sources:
        output = freeFile(outputFolder / f"{each.name}{ending}.nrrd", taken)
        taken.add(output)
        items.append(FileItem(each.source, each.name, model, output))
    return items


def freeFile(path: Path, taken: set[Path] | None = None) -> Path:
    """Return the path, with a number if there is such a file already."""
    free, number = path, 2
    while free.exists() or (taken and free in taken):
        free, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
    return free


def _files(folder: Path, skipped: Path | None) -> list[FileSource]:
    paths = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or (skipped and skipped in path.resolve().parents):
            continue
        if is_image_file(path) and not is_dicom_file(path):
            paths.append(path)
    places = {path.parent / image_name(path) for path in paths}
    found = []
    for path in paths:
        name = image_name(path)
        # The labels of an image in the same folder are what was made of it.
        base = next((name[: -len(e)] for e in _ENDINGS if name.endswith(e)), None)
        if base is None or path.parent / base not in places:
            detail = str(path.relative_to(folder))
            found.append(FileSource(path, name, detail))
    return found


def _series(folder: Path) -> list[FileSource]:
    series = [each for each in list_series(folder) if each.frames > 0]
    found = []
    for each in series:
        name = re.sub(r"[^\w .()+-]+", " ", each.description).strip(" .")
        if not name:
            name = f"series {each.number}" if each.number is not None else each.uid
        parents = {file.parent for file in each.files}
        source: Path | Series = each
        if len(parents) == 1:
            (parent,) = parents
            others = (file for other in series if other is not each for file in other.files)
            if not any(parent in file.parents for file in others):
                source = parent
        detail = f"{each.modality} DICOM, {each.frames} images"
        found.append(FileSource(source, name, detail, isVolume=each.frames > 1))
    return found
