"""DICOM: the series of a folder, and one of them read as an image.

pydicom reads the headers, which decide the geometry and the rescaling; pixels are decoded last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DeepTranslateLib.image.dicom_geometry import (
    NO_IMAGES,
    frames_of,
    number,
    number_of_frames,
    stacked,
)
from DeepTranslateLib.image.dicom_pixels import values_of
from DeepTranslateLib.image.reading import quiet_readers, sentence
from DeepTranslateLib.image.volume import Image, ImageError

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# What is read of every file to list the series.
_LISTED = (
    "SeriesInstanceUID",
    "SeriesDescription",
    "SeriesNumber",
    "Modality",
    "SOPClassUID",
    "Rows",
    "NumberOfFrames",
)


@dataclass(frozen=True)
class Series:
    """One DICOM series of a folder.

    Args:
        uid: Series Instance UID.
        description: Series Description, empty where the header has none.
        modality: "CT", "MR", "RTSTRUCT", ...
        number: Series Number, or None.
        files: Its files, sorted by path.
        frames: Number of images (slices or frames) in them; 0 for objects that are no images.
    """

    uid: str
    description: str
    modality: str
    number: int | None
    files: tuple[Path, ...]
    frames: int


def is_dicom_file(path: str | Path) -> bool:
    """Tell by its first bytes, or failing these by its suffix, whether a file is DICOM.

    Raises:
        OSError: The file cannot be opened.
    """
    path = Path(path)
    with open(path, "rb") as stream:
        if stream.read(132)[128:] == b"DICM":
            return True
    return path.suffix.lower() in DICOM_SUFFIXES


def list_series(folder: str | Path) -> list[Series]:
    """Return the DICOM series in a folder and its sub-folders, by series number.

    Files that are not DICOM are passed over; only headers are read.

    Raises:
        ImageError: There is no such folder, or a DICOM file's header is broken.
    """
    return [series for series, _ in _scanned(_dicom_files(Path(folder)))]


def read_series(source: str | Path | Series, series_uid: str | None = None) -> Image:
    """Return one DICOM series as an image.

    Slices are ordered by their positions along the slice normal. Slope and intercept are applied
    once: int16 or, where the values need it, int32 comes back where both are whole numbers,
    float32 otherwise.

    Args:
        source: A folder, a single DICOM file, or one of `list_series`.
        series_uid: Which of several series in the folder; not needed where there is but one.

    Raises:
        ImageError: There is no series or more than one, or it is not one evenly spaced,
            untilted, single-channel volume.
        OSError: A file cannot be opened.
    """
    if isinstance(source, Series):
        files: list[Path] = list(source.files)
    elif Path(source).is_file():
        files = [Path(source)]
    else:
        files = _dicom_files(Path(source))
    _, headers = _chosen(_scanned(files), str(getattr(source, "uid", source)), series_uid)
    with quiet_readers():
        frames = []
        for path, header in headers:
            with _reading_header(path):
                frames.extend(frames_of(path, header))
        frames, affine = stacked(frames)
        return Image(values_of(frames), affine)


def _dicom_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ImageError(f"{folder} does not exist. Check the path.")
    files = []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
            continue
        if is_dicom_file(path):
            files.append(path)
    return files


def _scanned(files: list[Path]) -> list[tuple[Series, list[tuple[Path, Any]]]]:
    """Return each series with its files and their headers, by series number."""
    groups: dict[str, list[tuple[Path, Any]]] = {}
    for path in files:
        header = _header(path)
        groups.setdefault(str(header.get("SeriesInstanceUID") or ""), []).append((path, header))
    found = []
    for uid, headers in groups.items():
        first = headers[0][1]
        series = Series(
            uid=uid,
            description=str(first.get("SeriesDescription") or ""),
            modality=str(first.get("Modality") or ""),
            number=number(first.get("SeriesNumber"), int),
            files=tuple(path for path, _ in headers),
            frames=sum(number_of_frames(header) for _, header in headers),
        )
        found.append((series, headers))
    return sorted(found, key=lambda entry: (entry[0].number or 0, entry[0].uid))


@contextmanager
def _reading_header(path: Path) -> Iterator[None]:
    """Name the file whose header is broken; broken values show when they are first asked for."""
    try:
        yield
    except (ImageError, OSError):
        raise
    except Exception as error:  # pydicom raises many types on broken files
        raise ImageError(
            f"{path} has a broken or truncated DICOM header ({sentence(error)}). Copy or export "
            "it again."
        ) from error


def _header(path: Path) -> Any:
    import pydicom

    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty. Copy or export it again.")
    with _reading_header(path), quiet_readers():
        # Files without the preamble exist; force reads them, the check below tells others.
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        # Anonymised files may have an empty Series UID; one without any ends before it.
        known = "SeriesInstanceUID" in header or "Rows" in header
        for keyword in _LISTED:
            header.get(keyword)
    if not known:
        raise ImageError(
            f"{path} is no DICOM file or its header is cut off (no Series Instance UID). Copy or "
            "export it again, or remove it from the folder."
        )
    return header


def _chosen(
    found: list[tuple[Series, list[tuple[Path, Any]]]], source: str, uid: str | None
) -> tuple[Series, list[tuple[Path, Any]]]:
    if not found:
        raise ImageError(
            f"There are no DICOM files in {source}. Give the folder that holds them, or the "
            "image file itself for other formats."
        )
    images = [entry for entry in found if entry[0].frames]
    if not images:
        series, headers = found[0]
        what = NO_IMAGES.get(series.modality)
        kind = getattr(headers[0][1].get("SOPClassUID"), "name", "") or series.modality
        raise ImageError(
            f"{source} holds no image but {kind or 'an object of unknown kind'}"
            + (f", {what}." if what else ", without pixel data. Give an image series.")
        )
    if uid is not None:
        images = [entry for entry in images if entry[0].uid == uid]
    if len(images) == 1:
        return images[0]
    listing = "; ".join(
        f'{series.uid} "{series.description}" {series.modality}, {series.frames} slices in '
        f"{series.files[0].parent}"
        for series, _ in found
        if series.frames
    )
    problem = "several DICOM series" if uid is None else f"no series {uid}"
    raise ImageError(
        f"{source} holds {problem}: {listing}. Choose one by its UID (series=UID in Python, "
        "--series UID on the command line), or give the sub-folder that holds only one."
    )
