"""The user's library of models: one folder, from which every panel takes its models."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

import slicer

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.model import (
    SUFFIX,
    Model,
    ModelError,
    list_models,
    models_folder,
    read_model,
)

FOLDER_SETTING = "DeepTranslate/ModelsFolder"


def modelsFolder() -> Path:
    """Folder of the library: the one in the settings, else the default; it may not exist yet."""
    chosen = slicer.app.userSettings().value(FOLDER_SETTING, "")
    return Path(chosen) if chosen else models_folder()


def setModelsFolder(folder: str | Path) -> None:
    """Keep another folder in the settings; an empty text brings back the default."""
    slicer.app.userSettings().setValue(FOLDER_SETTING, str(folder) if str(folder) else "")


def libraryModels() -> list[tuple[Path, Model | ModelError]]:
    """The library's model files by name, each with its model or what is wrong with it.

    A folder that may not be opened holds no models.
    """
    try:
        return list_models(modelsFolder())
    except OSError:
        return []


def findModel(model: Model | str | Path) -> Model:
    """Find the model that a caller means.

    Args:
        model: A model, the path of a model file, or the name of a model in the library: that of
            its file, with or without suffix, or that on its card.

    Raises:
        ValueError: There is no such model, or several carry the name.
        ModelError: The file is there and is no usable model.
    """
    if isinstance(model, Model):
        return model
    if not isinstance(model, (str, Path)) or not str(model).strip():
        raise ValueError(
            "Expected a model: the path of a .dtmodel file, the name of a model in the library, or "
            f"what read_model returns; found {model!r}."
        )
    path = Path(model).expanduser()
    if path.is_file() or path.is_absolute():
        return read_model(path)
    found = libraryModels()
    for file, content in found:
        if str(model).lower() in (file.name.lower(), file.stem.lower()):
            if isinstance(content, ModelError):
                raise content
            return content
    usable = [content for _, content in found if isinstance(content, Model)]
    named = [content for content in usable if content.card.name.lower() == str(model).lower()]
    if len(named) == 1:
        return named[0]
    if named:
        files = ", ".join(content.path.name for content in named)
        raise ValueError(f"Several models are called '{model}': {files}. Give the file's name.")
    known = ", ".join(content.path.stem for content in usable) or "none"
    raise ValueError(
        f"There is no model '{model}'. Give the path of a {SUFFIX} file or one of those in "
        f"{modelsFolder()}: {known}."
    )


def addModel(path: str | Path) -> Path:
    """Copy a model file into the library, whole or not at all.

    Args:
        path: A model file.

    Returns:
        The file in the library. A file of the same name with other contents stays as it is; the
        new one gets a number. One that is there already is not copied again.

    Raises:
        ModelError: The file is no usable model.
        OSError: The library's folder may not be written to.
    """
    path = read_model(path).path
    folder = modelsFolder()
    folder.mkdir(parents=True, exist_ok=True)
    target, number = folder / path.name, 2
    while target.exists():
        if filecmp.cmp(path, target, shallow=False):
            return target
        target, number = folder / f"{path.stem} {number}{path.suffix}", number + 1
    with atomic_file(target) as temporary:
        shutil.copyfile(path, temporary)
    return target
