"""Model: a trained recipe in one file, what it was made from and how well it did.

A `.dtmodel` file is a zip archive of `recipe.json`, `card.json`, `weights.safetensors` and
perhaps `preview.png`. Reading one runs no code, and trusts no size or name in it.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.recipe import DIRECTIONS, FORWARD, Recipe, in_direction, recipe_from_json
from DeepTranslateLib.schema import SchemaError, decode_json, from_json, limits, to_json

SUFFIX = ".dtmodel"
FORMAT = "DeepTranslate model"
FORMAT_VERSION = 1
_MEGABYTE = 1 << 20
_RECIPE, _CARD, _WEIGHTS, _PREVIEW = (
    "recipe.json",
    "card.json",
    "weights.safetensors",
    "preview.png",
)
_LARGEST: dict[str, float] = {
    _RECIPE: 4 * _MEGABYTE,
    _CARD: 4 * _MEGABYTE,
    _WEIGHTS: math.inf,
    _PREVIEW: 64 * _MEGABYTE,
}
# Written uncompressed; a person may have zipped one anew. Trained weights hardly shrink.
_HIGHEST_RATIO = 100
_PNG = b"\x89PNG\r\n\x1a\n"
# The least date that a zip archive can hold: the same model makes the same file.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


class ModelError(ValueError):
    """A model cannot be read or written: what was expected, what was found, what to do."""


@dataclass(frozen=True)
class Card:
    """How a model was made and what it can do; the record beside its weights.

    Numbers in `metrics` and `cohort` that are not finite are stored as null.
    """

    name: str
    created: str = limits(help="ISO 8601 date and time, with its offset from UTC.")
    deeptranslate: str = limits(help="Version of DeepTranslate that trained it.")
    epoch: int = limits(minimum=0, help="Epoch whose weights these are, from 1.")
    seed: int = limits(minimum=0)
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    cohort: dict[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, Any] = dataclasses.field(default_factory=dict)
    licence: str = ""
    weights_sha256: str = limits("", help="Filled in when the model is written.")

    def validate(self, path: str) -> None:
        """Refuse an empty name, a date that is none and a malformed checksum."""
        if not self.name.strip():
            raise SchemaError(f"{path}.name", "expected a name, found an empty text.")
        try:
            moment = datetime.datetime.fromisoformat(self.created.replace("Z", "+00:00"))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise SchemaError(
                f"{path}.created",
                "expected a date and time with its offset, such as 2026-01-31T12:00:00+00:00, "
                f"found '{self.created:.40}'.",
            )
        if self.weights_sha256 and not re.fullmatch("[0-9a-f]{64}", self.weights_sha256):
            raise SchemaError(f"{path}.weights_sha256", "expected 64 hexadecimal digits.")


@dataclass(frozen=True)
class Model:
    """A model file whose recipe and card have been read and checked.

    Attributes:
        path: The file.
        recipe: As it was trained; of a model in the other direction, turned round.
        card: Of a model in the other direction, what it was trained on is what that one reads.
        direction: The way that recipe and card are of.
    """

    path: Path
    recipe: Recipe
    card: Card
    direction: str = FORWARD

    @property
    def directions(self) -> tuple[str, ...]:
        """The ways that it translates: from source to target, and back where it learnt that."""
        return DIRECTIONS if self.recipe.is_two_way else (FORWARD,)

    def refuse_direction(self, direction: str) -> None:
        """Refuse a way that the model does not translate.

        Raises:
            ModelError: It has no such direction.
        """
        if direction not in self.directions:
            raise ModelError(
                f"The model {self.path} translates {' and '.join(self.directions)}, not "
                f"'{direction}'. Take another model, or leave the direction out."
            )

    def in_direction(self, direction: str) -> Model:
        """The model as it translates one way: what it reads, makes and was trained on.

        Raises:
            ModelError: It has no such direction.
        """
        self.refuse_direction(direction)
        if direction == self.direction:
            return self
        if direction == FORWARD:
            return read_model(self.path)
        training = self.card.cohort.get("training")
        known = training.get("target") if isinstance(training, dict) else None
        cohort = {**self.card.cohort, "training": known if isinstance(known, dict) else {}}
        card = dataclasses.replace(self.card, cohort=cohort)
        return Model(self.path, in_direction(self.recipe, direction), card, direction)

    def weights(self) -> bytes:
        """Return the safetensors file of the weights.

        Raises:
            ModelError: The file was moved or is damaged: the checksum is that of the card.
        """
        with _opened(self.path) as members:
            content = members.read(_WEIGHTS)
        if hashlib.sha256(content).hexdigest() != self.card.weights_sha256:
            raise ModelError(
                f"The weights in {self.path} are not those that its card describes (the checksum "
                "differs). Copy the model again from where it came from."
            )
        return content

    def preview(self) -> bytes | None:
        """Return the preview picture (PNG), or None if the model has none.

        Raises:
            ModelError: The file was moved or is damaged.
        """
        with _opened(self.path) as members:
            return members.read(_PREVIEW) if _PREVIEW in members else None


def write_model(
    path: str | Path, recipe: Recipe, card: Card, weights: bytes, preview: bytes | None = None
) -> Path:
    """Write a model file, whole or not at all.

    Args:
        path: NAME.dtmodel.
        recipe: With every value that training used.
        card: Its checksum is filled in here.
        weights: A safetensors file.
        preview: A PNG picture.

    Returns:
        The path.

    Raises:
        ModelError: Another suffix, no such folder, or contents that could not be read again.
        OSError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise ModelError(f"{path} cannot be written: a model's name ends in {SUFFIX}.")
    if not path.parent.is_dir():
        raise ModelError(f"{path} cannot be written: there is no folder {path.parent}.")
    if not weights:
        raise ModelError(f"{path} was not written: there are no weights.")
    if preview is not None and not preview.startswith(_PNG):
        raise ModelError(f"{path} was not written: its preview is no PNG picture.")
    card = dataclasses.replace(card, weights_sha256=hashlib.sha256(weights).hexdigest())
    about = {"format": FORMAT, "version": FORMAT_VERSION, **_storable(to_json(card))}
    contents = {_RECIPE: _json_bytes(to_json(recipe)), _CARD: _json_bytes(about)}
    try:
        # Held to what reading asks for, so that nothing is written which cannot be read.
        _parsed(path, contents[_RECIPE], contents[_CARD])
    except ModelError as error:
        raise ModelError(f"{path} was not written. {error}") from error
    contents[_WEIGHTS] = weights
    if preview is not None:
        contents[_PREVIEW] = preview
    for name, content in contents.items():
        if len(content) > _LARGEST[name]:
            raise ModelError(
                f"{path} was not written: {name} has {len(content)} bytes, at most "
                f"{_LARGEST[name]:.0f} are allowed."
            )
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, _NO_DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return path


def read_model(path: str | Path) -> Model:
    """Read a model's recipe and card; the weights stay in the file.

    Raises:
        ModelError: It is no model, is damaged, or was made by a newer DeepTranslate.
    """
    path = Path(path)
    with _opened(path) as members:
        for name in (_RECIPE, _CARD, _WEIGHTS):
            if name not in members:
                raise ModelError(
                    f"{path} is no complete model: {name} is missing. Copy it again from where it "
                    "came from."
                )
        contents = members.read(_RECIPE), members.read(_CARD)
    recipe, card = _parsed(path, *contents)
    if not card.weights_sha256:
        raise ModelError(
            f"{path} has no checksum of its weights in its card, so they cannot be trusted. Copy "
            "it again from where it came from."
        )
    return Model(path, recipe, card)


def list_models(folder: str | Path) -> list[tuple[Path, Model | ModelError]]:
    """Return the model files in a folder by name, each with its model or what is wrong with it.

    A folder that does not exist holds no models. Sub-folders are not searched.

    Raises:
        OSError: The folder may not be opened.
    """
    folder = Path(folder)
    found: list[tuple[Path, Model | ModelError]] = []
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir(), key=lambda path: (path.name.lower(), path.name)):
        # A leading dot: a file that is being written.
        if path.suffix.lower() != SUFFIX or path.name.startswith("."):
            continue
        try:
            found.append((path, read_model(path)))
        except ModelError as error:
            found.append((path, error))
    return found


def models_folder() -> Path:
    """Return the user's folder of models; it may not exist yet.

    The environment variable DEEPTRANSLATE_MODELS names another.
    """
    chosen = os.environ.get("DEEPTRANSLATE_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "DeepTranslate" / "models"


class _Members:
    """The members of an open model file, names and sizes checked."""

    def __init__(self, archive: zipfile.ZipFile, file_size: int) -> None:
        self._archive = archive
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            name = entry.filename
            if name not in _LARGEST:
                raise ValueError(f"it holds {name[:60]!r}, which no model does")
            if name in self._entries:
                raise ValueError(f"it holds {name} twice")
            if entry.comment:
                # No program writes one; a damaged length makes one of the entries that follow.
                raise ValueError(f"the entry of {name} is broken")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{name} is compressed in an unknown way")
            if entry.compress_size > file_size:
                raise ValueError(f"{name} is said to be larger than the file")
            limit = min(_LARGEST[name], max(1, entry.compress_size) * _HIGHEST_RATIO)
            if entry.file_size > limit:
                raise ValueError(f"{name} is said to have {entry.file_size} bytes, too many")
            self._entries[name] = entry

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> bytes:
        """Return a member's bytes; zipfile reads no more than the size checked above."""
        entry = self._entries[name]
        content = self._archive.read(entry)
        if len(content) != entry.file_size:
            raise ValueError(f"{name} ends early")
        return content


@contextmanager
def _opened(path: Path) -> Iterator[_Members]:
    """Open a model file; whatever goes wrong with it becomes a ModelError."""
    if not os.path.isfile(path):  # False, not an error, for names that no system takes
        what = "is a folder, not a model" if os.path.isdir(path) else "does not exist"
        raise ModelError(f"{path} {what}. Give a {SUFFIX} file.")
    try:
        with zipfile.ZipFile(path) as archive:
            yield _Members(archive, path.stat().st_size)
    except ModelError:
        raise
    except (PermissionError, MemoryError) as error:
        raise ModelError(f"{path} cannot be opened: {error or 'not enough memory'}.") from error
    except Exception as error:  # zipfile raises a dozen types on damaged files
        raise ModelError(
            f"{path} is damaged or no DeepTranslate model ({str(error).rstrip('.')}). Copy it "
            "again from where it came from."
        ) from error


def _parsed(path: Path, recipe: bytes, card: bytes) -> tuple[Recipe, Card]:
    try:
        about = decode_json(card, _CARD)
        if not isinstance(about, dict) or about.pop("format", None) != FORMAT:
            raise ModelError(
                f"{path} is no DeepTranslate model: its card does not say so. Give a {SUFFIX} file "
                "that DeepTranslate made."
            )
        version = about.pop("version", None)
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ModelError(
                f"{path} is a model of version {version}; this DeepTranslate reads version "
                f"{FORMAT_VERSION}. Update DeepTranslate to use it."
            )
        if version != FORMAT_VERSION:
            raise SchemaError("$.version", f"expected {FORMAT_VERSION}, found {version!r}.")
        parsed_card = from_json(Card, about)
    except SchemaError as error:
        raise _unreadable(path, "card", error) from error
    try:
        return recipe_from_json(decode_json(recipe, _RECIPE)), parsed_card
    except SchemaError as error:
        raise _unreadable(path, "recipe", error) from error


def _unreadable(path: Path, what: str, error: SchemaError) -> ModelError:
    return ModelError(
        f"The {what} of the model {path} cannot be used: {str(error).rstrip('.')}. Train or copy "
        "the model again, or update DeepTranslate if a newer one made it."
    )


def _json_bytes(value: Any) -> bytes:
    try:
        return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ModelError(f"The model holds what JSON cannot: {error}.") from error


def _storable(value: Any) -> Any:
    """Return the value with numpy's numbers as Python's, and None for those not finite."""
    if isinstance(value, Mapping):
        return {str(key): _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return _storable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
