"""The files of a job's folder: `job.json`, what to do, and `result.json`, written last."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.jobs.report import JobError
from DeepTranslateLib.schema import SchemaError, from_json, limits, read_json, to_json

JOB_FILE, RESULT_FILE, LOG_FILE = "job.json", "result.json", "log.txt"
VERSION = 1
DEVICES = ("auto", "cpu", "cuda", "mps")
DIRECTIONS = ("source-to-target", "target-to-source")


@dataclass(frozen=True)
class TranslateJob:
    """Apply a model to one volume.

    Like all paths of jobs, those that are relative are relative to the job's folder. `images`
    names the file or DICOM folder of each input of the recipe.

    Result:
        `output` (path), `totals` and `slices` (rows of LabelStatistics and SliceStatistics, null
        where a number is not defined; empty for volumes), `seconds`, `device`, `direction`.
    """

    model: str
    images: dict[str, str]
    output: str = limits(help="Image file to write; inside the job's folder uncompressed.")
    name: str = limits(help="Name of the volume in the rows.")
    device: str = limits("auto", choices=DEVICES)
    direction: str = limits(
        DIRECTIONS[0], choices=DIRECTIONS, help="The second where the model has both."
    )


@dataclass(frozen=True)
class TrainJob:
    """Train a recipe on a cohort; the job's folder is the run's folder.

    A recipe that is configured from a cohort is so first, as it is for a check, an estimate and a
    preview of the augmentation; the event "configured" has the `recipe` and its `reasons`.

    Result:
        `model` (path), `best_epoch` (from 1), `metrics`, `finished`: False when it was ended early
        by the finish file.
    """

    recipe: dict[str, Any]
    cohort: str
    device: str = limits("auto", choices=DEVICES)
    initial_model: str | None = limits(None, help="A .dtmodel file whose weights are the first.")
    transfer: bool = limits(False, help="Inputs or outputs may be others than that model's.")


@dataclass(frozen=True)
class CheckJob:
    """Look for faults in a cohort and split it; needs no torch.

    Result:
        `faults`: subject, kind, severity, found, advice of each; `split`: `training`,
        `validation`, `test` (subject, image, slices of each) and `note`.
    """

    recipe: dict[str, Any]
    cohort: str


@dataclass(frozen=True)
class EstimateJob:
    """Measure what a training will take, by a few real steps.

    Result:
        That of `engine.estimate.estimate`.
    """

    recipe: dict[str, Any]
    cohort: str
    device: str = limits("auto", choices=DEVICES)


@dataclass(frozen=True)
class AugmentJob:
    """Augment one slice as training does.

    Result:
        `file`: "augmented.npz" with `image` and `target` (rows, columns), `images` and `targets`
        (count, rows, columns).
    """

    recipe: dict[str, Any]
    image: str
    target: str
    slice: int | None = limits(None, minimum=0, help="None: the one with most labelled voxels.")
    seed: int = limits(0, minimum=0)
    count: int = limits(1, minimum=1, maximum=1000)


@dataclass(frozen=True)
class ExportJob:
    """Make a model of one of the saved epochs of a run.

    Result:
        `model` (path).
    """

    run: str
    epoch: int = limits(minimum=1, help="Counted from 1.")
    output: str = limits(help="A .dtmodel file.")


Job = TranslateJob | TrainJob | CheckJob | EstimateJob | AugmentJob | ExportJob
KINDS: dict[str, type[Any]] = {
    "translate": TranslateJob,
    "train": TrainJob,
    "check": CheckJob,
    "estimate": EstimateJob,
    "augment": AugmentJob,
    "export": ExportJob,
}


# How a sentence such as "The worker is ..." goes on.
DOING = {
    "translate": "translating",
    "train": "training",
    "check": "checking a cohort",
    "estimate": "estimating a training",
    "augment": "augmenting a slice",
    "export": "making a model",
}


def job_kind(job: Job) -> str:
    """The word for what a job does, such as "translate"."""
    return next(kind for kind, cls in KINDS.items() if type(job) is cls)


def write_job(folder: str | Path, job: Job) -> Path:
    """Write `job.json` into a folder, which is created where it is missing.

    Returns:
        The folder.

    Raises:
        JobError: A value of the job is not possible.
        OSError: The folder cannot be written.
    """
    folder = Path(folder)
    content = {"version": VERSION, "kind": job_kind(job), **to_json(job)}
    try:
        text = json.dumps(content, indent=2, allow_nan=False, default=os.fspath) + "\n"
        from_json(type(job), _fields(json.loads(text)))
    except (SchemaError, TypeError, ValueError) as error:
        raise JobError(f"The job cannot be written: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / JOB_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder


def read_job(folder: str | Path) -> Job:
    """Read `job.json` of a folder.

    Raises:
        JobError: There is none, or it is damaged.
    """
    path = Path(folder) / JOB_FILE
    try:
        content = read_json(path, "job")
        if not isinstance(content, Mapping):
            raise SchemaError("$", "expected an object.")
        if content.get("version") != VERSION:
            raise SchemaError(
                "$.version",
                f"expected {VERSION}, found {content.get('version')!r}; the job was written by "
                "another version of DeepTranslate.",
            )
        if content.get("kind") not in tuple(KINDS):
            known = ", ".join(KINDS)
            raise SchemaError("$.kind", f"expected one of {known}, found {content.get('kind')!r}.")
        return from_json(KINDS[content["kind"]], _fields(content))
    except OSError as error:
        raise JobError(
            f"{path} cannot be read ({error.strerror}). A job is a folder with a {JOB_FILE} in it."
        ) from error
    except SchemaError as error:
        raise JobError(f"{path} is no job that can be done: {error} Start it anew.") from error


def write_result(folder: str | Path, result: Mapping[str, Any]) -> None:
    """Write `result.json`, whole or not at all; it says that the job is done."""
    with atomic_file(Path(folder) / RESULT_FILE) as temporary:
        temporary.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_result(folder: str | Path) -> dict[str, Any] | None:
    """The result of a job; None while there is none.

    Raises:
        JobError: `result.json` was damaged after it was written.
    """
    path = Path(folder) / RESULT_FILE
    try:
        result = read_json(path, "result")
    except FileNotFoundError:
        return None
    except (SchemaError, OSError) as error:
        raise JobError(f"{path} cannot be read ({error}). Start the job anew.") from error
    if not isinstance(result, dict):
        raise JobError(f"{path} holds no result. Start the job anew.")
    return result


def _fields(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in ("version", "kind")}
