"""The files of a job's folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from DeepTranslateLib.jobs import (
    AugmentJob,
    CheckJob,
    EstimateJob,
    ExportJob,
    Job,
    JobError,
    TrainJob,
    TranslateJob,
    read_job,
    read_result,
    write_job,
    write_result,
)

RECIPE = {"name": "tiny", "target": {"kind": "labels"}}
JOBS = [
    TranslateJob("m.dtmodel", {"image": "größe 1.nrrd"}, "out.nrrd", "CT ü", "cpu"),
    TrainJob(RECIPE, "cohort.csv", initial_model="old.dtmodel"),
    CheckJob(RECIPE, "cohort"),
    EstimateJob(RECIPE, "cohort", "cuda"),
    AugmentJob(RECIPE, "i.nrrd", "t.nrrd", 3, 7, 2),
    ExportJob("run", 4, "m.dtmodel"),
]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: type(job).__name__)
def test_a_job_comes_back_from_its_folder_as_it_was_written(tmp_path: Path, job: Job) -> None:
    assert write_job(tmp_path / "new" / "folder", job) == tmp_path / "new" / "folder"
    assert read_job(tmp_path / "new" / "folder") == job


def test_paths_may_be_given_as_paths(tmp_path: Path) -> None:
    job = TranslateJob(Path("/m.dtmodel"), {"image": Path("/i.nrrd")}, Path("o.nrrd"), "n")  # type: ignore[arg-type,dict-item]
    found = read_job(write_job(tmp_path, job))
    assert found == TranslateJob("/m.dtmodel", {"image": "/i.nrrd"}, "o.nrrd", "n")


@pytest.mark.parametrize(
    ("job", "place"),
    [
        (TranslateJob("m", {}, "o", "n", device="tpu"), "$.device"),
        (ExportJob("run", 0, "m"), "$.epoch"),
        (AugmentJob(RECIPE, "i", "t", -1), "$.slice"),
        (CheckJob(RECIPE, 5), "$.cohort"),  # type: ignore[arg-type]
        (CheckJob({"rate": float("nan")}, "c"), "nan"),
    ],
)
def test_an_impossible_job_is_refused_before_anything_is_written(
    tmp_path: Path, job: Job, place: str
) -> None:
    with pytest.raises(JobError) as caught:
        write_job(tmp_path / "job", job)
    assert place in str(caught.value)
    assert not (tmp_path / "job").exists()


DAMAGE: dict[str, Any] = {
    "cut off": '{"version": 1, "kind": "check", "rec',
    "not an object": "[1]",
    "of another version": json.dumps({"version": 2, "kind": "check"}),
    "of an unknown kind": json.dumps({"version": 1, "kind": "cook"}),
    "of a kind that is no text": json.dumps({"version": 1, "kind": ["check"]}),
    "without a field": json.dumps({"version": 1, "kind": "check", "recipe": {}}),
    "with an unknown field": json.dumps(
        {"version": 1, "kind": "check", "recipe": {}, "cohort": "c", "colour": "red"}
    ),
    "not a text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_job_is_refused_by_name(tmp_path: Path, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / "job.json").write_bytes(data)
    with pytest.raises(JobError, match=r"job\.json"):
        read_job(tmp_path)


def test_a_folder_without_a_job_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"is a folder with a job\.json in it"):
        read_job(tmp_path / "missing")


def test_there_is_no_result_before_it_is_written(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    write_result(tmp_path, {"model": "m", "seconds": 1.5})
    assert read_result(tmp_path) == {"model": "m", "seconds": 1.5}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_result_that_cannot_be_written_leaves_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_result(tmp_path, {"mean": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_result_is_an_error_and_not_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(JobError, match=r"result\.json"):
        read_result(tmp_path)
