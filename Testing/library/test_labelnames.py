"""Names of labels are those that the cohort's files give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from DeepTranslateLib.cohort import CohortError, read_cohort
from DeepTranslateLib.cohort.labelnames import named_labels


def segmentation(path: Path, *segments: tuple[int, str, str]) -> Path:
    """A file with the header that Slicer gives a segmentation."""
    image = sitk.GetImageFromArray(np.zeros((2, 4, 4), np.uint8))
    for number, (value, name, color) in enumerate(segments):
        image.SetMetaData(f"Segment{number}_Name", name)
        image.SetMetaData(f"Segment{number}_LabelValue", str(value))
        image.SetMetaData(f"Segment{number}_Color", color)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def cohort_of(folder: Path, *subjects: tuple[tuple[int, str, str], ...]):
    for number, segments in enumerate(subjects):
        place = folder / f"s{number}"
        segmentation(place / "labels.seg.nrrd", *segments)
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 4, 4), np.int16)), place / "image.nrrd")
    return read_cohort(folder)


def test_segmentations_name_values_and_colours(tmp_path):
    red, none = "1 0 0.2", "1 0 0"
    found = named_labels(
        cohort_of(
            tmp_path,
            ((2, "spleen", red), (1, "Segment_1", none)),
            ((2, "Spleen", red), (7, "left kidney", "no colour")),
        )
    )
    assert [(label.value, label.name) for label in found] == [(2, "spleen"), (7, "left kidney")]
    assert found[0].color == (255, 0, 51)


def test_one_value_with_two_names_is_refused_with_both_files(tmp_path):
    cohort = cohort_of(tmp_path, ((1, "liver", "1 0 0"),), ((1, "spleen", "1 0 0"),))
    with pytest.raises(CohortError, match=r"1 is 'liver' in .*s0.* and 'spleen' in .*s1"):
        named_labels(cohort)


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "liver": 1, "spleen": 2, "both": [1, 2]},
        {"0": "background", "1": "liver", "2": "spleen"},
    ],
)
def test_both_forms_of_nnunets_description_name_values(tmp_path, labels):
    for part, name in (("imagesTr", "a_0000"), ("labelsTr", "a")):
        (tmp_path / part).mkdir()
        image = sitk.GetImageFromArray(np.zeros((2, 4, 4), np.uint8))
        sitk.WriteImage(image, tmp_path / part / f"{name}.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    found = named_labels(read_cohort(tmp_path))
    assert [(label.value, label.name) for label in found] == [(1, "liver"), (2, "spleen")]


def test_files_without_names_name_nothing(tmp_path):
    assert named_labels(cohort_of(tmp_path, ())) == ()
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(CohortError, match=r"dataset\.json cannot be read"):
        named_labels(read_cohort(tmp_path))
