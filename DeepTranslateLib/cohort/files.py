"""Cohorts on disk: a CSV, a folder of subject or domain folders, or an nnU-Net data set."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from DeepTranslateLib.cohort.case import DOMAINS, Case, CohortError, slices_from_text
from DeepTranslateLib.image.dicom import is_dicom_file
from DeepTranslateLib.image.files import image_name, is_image_file
from DeepTranslateLib.schema import SchemaError, read_json

# Those that DeepTranslate writes, and all that it reads.
COLUMNS = ("subject", "image", "labels", "slices", "split")
_READ_COLUMNS = (*COLUMNS, "mask", "domain")
LABEL_WORDS = ("label", "seg", "mask", "tissue", "target")
_IMAGE_NAMES = ("image", "ct", "volume")
_LABEL_NAMES = ("labels", "label", "target")
_LISTED = 5  # how many faults or names one message lists
_CSV_HINT = "or list the files in a CSV with the columns subject, image, labels (or target)"


def read_cases(path: str | Path) -> tuple[Case, ...]:
    """Return the cases that a CSV or a folder describes; images are not opened.

    Args:
        path: A CSV; a folder with one folder a subject; one with the folders `source` and
            `target`, for learning without pairs; or an nnU-Net data set (`imagesTr`).

    Raises:
        CohortError: There is nothing like this, or it does not say which files belong together.
        OSError: Something may not be opened.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "imagesTr").is_dir():
            cases = _read_nnunet(path)
        elif {entry.name for entry in _visible(path) if entry.is_dir()} == set(DOMAINS):
            cases = [case for domain in DOMAINS for case in _read_domain(path / domain)]
        else:
            cases = _read_folder(path)
    elif not path.exists():
        raise CohortError(f"{path} does not exist. Give a CSV or a folder of subjects.")
    elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
        cases = _read_csv(path)
    else:
        raise CohortError(
            f"{path} is no cohort. Give a CSV with the columns {', '.join(_READ_COLUMNS)} (target "
            "may stand for labels), a folder with one folder a subject, or an nnU-Net data set."
        )
    return tuple(cases)


def _read_csv(path: Path) -> list[Case]:
    rows = _csv_rows(path)
    names = _column_names(path, rows[0] if rows else [])
    cases = []
    for number, row in enumerate(rows[1:], start=2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if any(cells[len(names) :]):
            raise CohortError(
                f"{path}, row {number}: expected {len(names)} cells, found {len(cells)}. Put "
                "quotes round a cell that holds the separator."
            )
        # A spreadsheet may leave out empty cells at the end of a row, or add some.
        row_of = dict(zip(names, [*cells, *[""] * len(names)], strict=False))
        for column in ("subject", "image"):
            if not row_of[column]:
                raise CohortError(f"{path}, row {number}: the {column} is missing. Fill it in.")
        labels = row_of.get("labels")
        try:
            cases.append(
                Case(
                    subject=row_of["subject"],
                    image=_located(path.parent, row_of["image"]),
                    target=_located(path.parent, labels) if labels else None,
                    slices=slices_from_text(row_of["slices"]) if row_of.get("slices") else None,
                    split=row_of.get("split", "").lower() or None,
                    mask=_located(path.parent, row_of["mask"]) if row_of.get("mask") else None,
                    domain=row_of.get("domain", "").lower() or None,
                )
            )
        except CohortError as error:
            raise CohortError(f"{path}, row {number}: {error}") from error
    if not cases:
        raise CohortError(f"{path} lists no case. Add one row for each image.")
    return cases


def _csv_rows(path: Path) -> list[list[str]]:
    content = path.read_bytes()
    if b"\0" in content:
        raise CohortError(
            f"{path} is no text file, whatever its name says. Save it from the spreadsheet as "
            "'CSV UTF-8'."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # What Excel writes as plain "CSV" in western Europe; wrong names show up as missing files.
        text = content.decode("cp1252", errors="replace")
    header = text.partition("\n")[0]
    # Where the comma is the decimal sign, Excel separates cells by semicolons.
    delimiter = max(",;\t", key=header.count)
    rows: list[list[str]] = []
    try:
        rows.extend(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise CohortError(
            f"{path}, row {len(rows) + 1}: this is no CSV ({error}). Check the quotes."
        ) from error
    return rows


def _column_names(path: Path, header: Sequence[str]) -> list[str]:
    names = [name.strip().lower() for name in header]
    while names and not names[-1]:
        names.pop()
    if {"labels", "target"} <= set(names):
        raise CohortError(
            f"{path}, row 1: found both 'labels' and 'target', which are one column. Keep 'labels' "
            "where tissue is to be found, 'target' where a volume is to be made."
        )
    names = ["labels" if name == "target" else name for name in names]
    unknown = [name for name in names if name not in _READ_COLUMNS]
    missing = [name for name in COLUMNS[:2] if name not in names]
    repeated = sorted({name for name in names if names.count(name) > 1})
    faults = [("unknown", unknown), ("missing", missing), ("repeated", repeated)]
    for what, columns in faults:
        if columns:
            raise CohortError(
                f"{path}, row 1: {what} column{'s' * (len(columns) > 1)} "
                f"{', '.join(repr(name) for name in columns[:_LISTED])}. The columns are "
                f"{', '.join(COLUMNS[:3])} and, where needed, {', '.join(_READ_COLUMNS[3:])}; "
                "'target' may stand for 'labels'; denoising and a cohort with the column domain "
                "need neither."
            )
    return names


def _located(folder: Path, text: str) -> Path:
    path = folder / text
    if "\\" in text and not path.exists():
        # A CSV made on Windows, read on a cluster.
        return folder / text.replace("\\", "/")
    return path


def _read_folder(folder: Path) -> list[Case]:
    subjects = [entry for entry in _visible(folder) if entry.is_dir()]
    if not subjects:
        raise CohortError(
            f"{folder} holds no folders; found {_names(_visible(folder))}. Make one folder a "
            f"subject with its image and its labels or target, {_CSV_HINT}."
        )
    cases, faults = [], []
    for subject in subjects:
        images, labels = _candidates(subject)
        image = _only(images, _IMAGE_NAMES)
        target = _only(labels, _LABEL_NAMES)
        if image is None or (labels and target is None):
            faults.append(
                f"{subject.name}: images {_names(images)}; labels {_names(labels)}"
                if images or labels
                else f"{subject.name}: {_names(_visible(subject))}, none of them an image"
            )
        else:
            cases.append(Case(subject.name, image, target))
    if faults:
        more = f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise CohortError(
            f"In {folder}, expected one image and one label map in each subject's folder. Found "
            f"in {'; in '.join(faults[:_LISTED])}{more}. Name the image 'image' and the label map "
            f"'labels', or take away what is not meant, {_CSV_HINT}."
        )
    return cases


def _read_domain(folder: Path) -> list[Case]:
    """Each image file or DICOM folder in it, of the subject that it is named after."""
    cases, others = [], []
    for entry in _visible(folder):
        if _holds_dicom(entry) if entry.is_dir() else is_image_file(entry):
            cases.append(Case(image_name(entry), entry, None, domain=folder.name))
        elif entry.is_dir():
            others.append(entry)
    loose = [entry for entry in _visible(folder) if entry.is_file() and is_dicom_file(entry)]
    if not cases or others or loose:
        found = _names(others or loose or _visible(folder))
        raise CohortError(
            f"In {folder}, expected image files and folders of DICOM files, each named after its "
            f"subject; found {found}. Give each DICOM series a folder of its own, or list the "
            "files in a CSV with the columns subject, image, domain."
        )
    return cases


def _candidates(subject: Path) -> tuple[list[Path], list[Path]]:
    """Images and label maps in a subject's folder; a DICOM folder counts as one image."""
    images: list[Path] = []
    labels: list[Path] = []
    loose_dicom = False
    for entry in _visible(subject):
        if entry.is_dir():
            usable = _holds_dicom(entry)
        else:
            dicom = is_dicom_file(entry)
            loose_dicom |= dicom
            usable = not dicom and is_image_file(entry)
        if usable:
            is_label = any(word in image_name(entry).lower() for word in LABEL_WORDS)
            (labels if is_label else images).append(entry)
    if loose_dicom:
        images.append(subject)
    return images, labels


def _holds_dicom(folder: Path) -> bool:
    return any(
        path.is_file() and not path.name.startswith(".") and is_dicom_file(path)
        for path in folder.rglob("*")
    )


def _only(candidates: list[Path], names: Sequence[str]) -> Path | None:
    if len(candidates) > 1:
        # "labels.seg.nrrd" is called "labels".
        candidates = [
            path for path in candidates if image_name(path).lower().split(".")[0] in names
        ]
    return candidates[0] if len(candidates) == 1 else None


def _read_nnunet(folder: Path) -> list[Case]:
    ending = _file_ending(folder / "dataset.json")
    channels: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in _visible(folder / "imagesTr"):
        if not path.name.endswith(ending):
            continue
        match = re.fullmatch(r"(.+)_(\d{4})", path.name[: -len(ending)])
        if match is None:
            raise CohortError(
                f"{path} does not follow nnU-Net's naming, NAME_0000{ending}. Rename it, "
                f"{_CSV_HINT}."
            )
        channels[match[1]][match[2]] = path
    if not channels:
        raise CohortError(
            f"{folder / 'imagesTr'} holds no file NAME_0000{ending}; found "
            f"{_names(_visible(folder / 'imagesTr'))}. The suffix is that of 'file_ending' in "
            "dataset.json."
        )
    cases = []
    for name, images in sorted(channels.items()):
        if set(images) != {"0000"}:
            raise CohortError(
                f"{folder / 'imagesTr'} holds the channels {', '.join(sorted(images))} of {name}. "
                "A recipe has one input: keep the channel to learn from, named "
                f"{name}_0000{ending}, {_CSV_HINT}."
            )
        labels = folder / "labelsTr" / f"{name}{ending}"
        cases.append(Case(name, images["0000"], labels if labels.exists() else None))
    return cases


def _file_ending(path: Path) -> str:
    if not path.is_file():
        return ".nii.gz"  # nnU-Net 1 knew no other
    try:
        content = read_json(path, "the data set's description")
    except SchemaError as error:
        raise CohortError(f"{path} cannot be read ({error}). Repair it.") from error
    ending = content.get("file_ending", ".nii.gz") if isinstance(content, dict) else None
    if not isinstance(ending, str) or not ending.startswith("."):
        raise CohortError(f"{path} must say 'file_ending' as a suffix such as '.nii.gz'.")
    return ending


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__"))]


def _names(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    return (", ".join(path.name for path in paths[:_LISTED]) + more) or "nothing"
