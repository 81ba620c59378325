"""The inputs of a command: image files and DICOM series behind files and folders, with names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from DeepTranslateLib.cli.failures import CommandError
from DeepTranslateLib.image.dicom import is_dicom_file
from DeepTranslateLib.image.files import image_name, is_image_file

# What a translation adds to the name of its input.
ENDINGS = ("_labels", "_translated", "_translated_to_source")


@dataclass(frozen=True)
class Source:
    """An input and the name that its outputs carry."""

    path: Path
    name: str


def find_sources(inputs: Sequence[Path], output: Path | None = None) -> list[Source]:
    """Inputs behind files, DICOM folders and folders of files, each with a name of its own.

    A folder with DICOM files is one input, with image files it is all of these but those named
    like the labels or the translation of another; a folder of folders is what these hold.

    Args:
        inputs: Files and folders. A file that does not exist is left to be reported as such.
        output: A folder that is not searched.

    Raises:
        CommandError: A folder holds no images, or two inputs would write the same file.
    """
    paths: list[Path] = []
    for given in inputs:
        found = _images_in(given, output) if given.is_dir() else [given]
        if not found:
            raise CommandError(
                f"The folder {given} holds no images: expected NRRD, NIfTI or MetaImage files, or "
                "a DICOM series."
            )
        paths.extend(found)
    paths = list(dict.fromkeys(paths))
    names = [_name(path) for path in paths]
    often = Counter(names)
    names = [
        f"{path.resolve().parent.name}_{name}" if often[name] > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]
    for name, count in Counter(names).items():
        if count > 1:
            alike = [str(path) for path, other in zip(paths, names, strict=True) if other == name]
            raise CommandError(
                f"{' and '.join(alike)} would both be translated into '{name}'. Rename one, or "
                "translate them into different output folders."
            )
    return [Source(path, name) for path, name in zip(paths, names, strict=True)]


def _images_in(folder: Path, output: Path | None) -> list[Path]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [path for path in entries if path.is_file()]
    if any(is_dicom_file(path) for path in files):
        return [folder]
    images = {path: image_name(path) for path in files if is_image_file(path)}
    if images:
        made = {name + ending for name in images.values() for ending in ENDINGS}
        return [path for path, name in images.items() if name not in made]
    # The output folder of an earlier call may lie among the inputs.
    folders = [
        path
        for path in entries
        if path.is_dir() and (output is None or path.resolve() != output.resolve())
    ]
    return [path for inner in folders for path in _images_in(inner, output)]


def _name(path: Path) -> str:
    # The present folder is called "." and has no name before it is made absolute.
    return image_name(Path(os.path.abspath(path))) or "image"
