"""The folder of a prepared cohort: a folder a case, a cohort CSV, a report; it can be gone on with.

FOLDER/preparation.json     what is done to each case
FOLDER/cases/NAME/          image, target, mask (.nrrd), transforms (.tfm); case.json, last
FOLDER/cohort.csv           the prepared cases
FOLDER/report.csv           how well images agreed before and after their registration
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cohort import Case
from DeepTranslateLib.cohort.case import slices_to_text
from DeepTranslateLib.engine.preparation import PreparationError, Prepared, summary
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.image.transform import write_transform
from DeepTranslateLib.schema import SchemaError, read_json

COHORT_FILE, REPORT_FILE = "cohort.csv", "report.csv"
_OPTIONS_FILE, _CASE_FILE = "preparation.json", "case.json"
_MEASURES = ("information", "overlap", "coverage")
_PARTS = ("image", "target", "mask")
_TRANSFORMS = ("transform", "target_transform")


class PreparedFolder:
    """A folder that cases are prepared into.

    Args:
        path: Missing, empty, or a folder that was begun with the same options.
        cases: All cases, so that each has a name of its own.
        options: What is done to each, as plain JSON.

    Raises:
        PreparationError: The folder holds something else, was begun with other options, or holds
            a source of a case.
        OSError: It may not be written to.
    """

    def __init__(self, path: Path, cases: Sequence[Case], options: dict[str, Any]) -> None:
        self.path = path
        self._names = _names(cases)
        _refuse_sources_inside(path, cases)
        stored = path / _OPTIONS_FILE
        if stored.is_file():
            before = _read(stored)
            changed = sorted(k for k in {*before, *options} if before.get(k) != options.get(k))
            if changed:
                raise PreparationError(
                    f"{path} was prepared with another choice of {', '.join(changed)}. Give the "
                    "same options as then, or another --output."
                )
            return
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise PreparationError(
                f"{path} holds something else and is left alone. Give a folder that is new, empty "
                "or begun by this command as --output."
            )
        path.mkdir(parents=True, exist_ok=True)
        _write_json(stored, options)

    def name(self, case: Case) -> str:
        """The name of a case's folder."""
        return self._names[id(case)]

    def done(self, case: Case) -> dict[str, Any] | None:
        """What was written of a case; None where nothing was, or its sources have changed."""
        path = self._folder(case) / _CASE_FILE
        if not path.is_file():
            return None
        record = _read(path)
        if not isinstance(record, dict) or not {"files", "sources"} <= record.keys():
            return None
        whole = all((self.path / file).is_file() for file in record["files"].values())
        if not whole or record["sources"] != _sources(case):
            return None
        return {**record, **_said_of(case)}

    def write(self, case: Case, prepared: Prepared, labels: bool) -> dict[str, Any]:
        """Write a prepared case, its record last; return the record."""
        folder = self._folder(case)
        folder.mkdir(parents=True, exist_ok=True)
        images = {part: folder / f"{part}.nrrd" for part in _PARTS}
        transforms = {part: folder / f"{part}.tfm" for part in _TRANSFORMS}
        for path in (folder / _CASE_FILE, *images.values(), *transforms.values()):
            # Of a preparation that was stopped, or of sources that have changed since.
            path.unlink(missing_ok=True)
        files = {}
        for part, path in (*images.items(), *transforms.items()):
            value = getattr(prepared, part)
            if value is not None:
                write_image(value, path) if part in images else write_transform(value, path)
                files[part] = path.relative_to(self.path).as_posix()
        record = {
            "case": self.name(case),
            **_said_of(case),
            "labels": labels,
            "files": files,
            "sources": _sources(case),
            **summary(prepared),
        }
        _write_json(folder / _CASE_FILE, record)
        return record

    def finish(self, records: Sequence[dict[str, Any]]) -> tuple[Path, Path]:
        """Write the cohort and the report of the cases that are done; return their paths."""
        kind = "labels" if all(r["labels"] or "target" not in r["files"] for r in records) else None
        columns = ["subject", "image", kind or "target", "slices", "split"]
        masked = any("mask" in record["files"] for record in records)
        of_domains = any(record["domain"] for record in records)
        more = [name for name, given in (("mask", masked), ("domain", of_domains)) if given]
        rows = []
        for record in records:
            files = record["files"]
            row = [record["subject"], files["image"], files.get("target", "")]
            row += [record["slices"] or "", record["split"] or ""]
            last = {"mask": files.get("mask", ""), "domain": record["domain"] or ""}
            rows.append([*row, *(last[name] for name in more)])
        cohort, report = self.path / COHORT_FILE, self.path / REPORT_FILE
        _write_csv(cohort, [*columns, *more], rows)
        _write_csv(report, *_report(records))
        return cohort, report

    def _folder(self, case: Case) -> Path:
        return self.path / "cases" / self.name(case)


def _report(records: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    names = [f"{measure}_{when}" for measure in _MEASURES for when in ("before", "after")]
    rows = []
    for record in records:
        measured = [
            "" if record[when] is None else f"{record[when][measure]:.4f}"
            for measure in _MEASURES
            for when in ("before", "after")
        ]
        registered = {None: "", True: "yes", False: "not kept"}[record["registered"]]
        masked = "" if record["masked"] is None else f"{record['masked']:.4f}"
        first = [record["subject"], record["case"], registered, record["start"] or ""]
        rows.append([*first, *measured, masked, " ".join(record["notes"])])
    return ["subject", "case", "registered", "start", *names, "masked", "notes"], rows


def _names(cases: Sequence[Case]) -> dict[int, str]:
    subjects = [case.subject for case in cases]
    names: dict[int, str] = {}
    for case in cases:
        several = subjects.count(case.subject) > 1
        wanted = f"{case.subject}-{case.name}" if several else case.subject
        wanted = re.sub(r"[^\w.-]+", "_", wanted).strip(".") or "case"
        name, number = wanted, 1
        # Folders whose names differ in case alone are one folder on some systems.
        while name.lower() in {taken.lower() for taken in names.values()}:
            number += 1
            name = f"{wanted}-{number}"
        names[id(case)] = name
    return names


def _refuse_sources_inside(path: Path, cases: Sequence[Case]) -> None:
    for case in cases:
        for part in _PARTS:
            source = getattr(case, part)
            if isinstance(source, Path) and path.resolve() in source.resolve().parents:
                raise PreparationError(
                    f"{source} lies in {path}, where the prepared cases would be written. Give "
                    "another folder as --output."
                )


def _said_of(case: Case) -> dict[str, Any]:
    """What the cohort says of a case beside its files, and may say anew."""
    return {
        "subject": case.subject,
        "slices": None if case.slices is None else slices_to_text(case.slices),
        "split": case.split,
        "domain": case.domain,
    }


def _sources(case: Case) -> dict[str, Any]:
    return {part: fingerprint(getattr(case, part)) for part in _PARTS}


def fingerprint(source: Path | Image | None) -> str | None:
    """What changes when a source does: of files name, size and time, of an image its voxels."""
    if source is None:
        return None
    if isinstance(source, Image):
        content = source.voxels.tobytes() + source.affine.tobytes()
        return hashlib.sha256(content).hexdigest()
    files = sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
    lines = [str(source.resolve())]
    for file in files:
        if file.exists():
            state = file.stat()
            lines.append(f"{file.name} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read(path: Path) -> Any:
    try:
        return read_json(path, "the record of a preparation")
    except SchemaError as error:
        raise PreparationError(
            f"{path} cannot be read ({error}). Remove the folder and prepare again."
        ) from error


def _write_json(path: Path, content: Any) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with (
        atomic_file(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
