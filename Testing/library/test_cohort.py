"""Cohorts: how they are read from disk and from lists, and how they are split."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.cohort import Cohort, cohort_from_lists, read_cohort, split_cohort
from DeepTranslateLib.cohort.case import (
    Case,
    CohortError,
    slices_from_text,
    slices_to_text,
    stack_axis,
)
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image


def volume(shape=(10, 4, 5), code="LPS"):
    return Image(np.zeros(shape, np.int16), np.diag([-1.0, -1.0, 3.0, 1.0])).oriented(code)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * 128 + b"DICM" if path.suffix == ".dcm" else b"")
    return folder


def write_csv(folder, text, encoding="utf-8"):
    path = folder / "cohort.csv"
    path.write_bytes(text.encode(encoding))
    return path


def refused(path):
    with pytest.raises(CohortError) as caught:
        read_cohort(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def relative(cohort, folder):
    return [
        (
            case.subject,
            case.image.relative_to(folder).as_posix(),
            case.target and case.target.relative_to(folder).as_posix(),
        )
        for case in cohort.cases
    ]


# --- a CSV


def test_a_csv_lists_images_labels_slices_and_splits(tmp_path):
    path = write_csv(
        tmp_path,
        "subject,image,labels,slices,split\n"
        "001,a/ct.nrrd,a/labels.nrrd,3;9;17-19,Training\n"
        "\n"
        "002,/elsewhere/ct.nrrd,,,test\n",
    )
    first, second = read_cohort(path).cases
    assert first == Case(
        "001",
        tmp_path / "a" / "ct.nrrd",
        tmp_path / "a" / "labels.nrrd",
        (3, 9, 17, 18, 19),
        "training",
    )
    assert second == Case("002", Path("/elsewhere/ct.nrrd"), None, None, "test")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_excel_writes_in_europe_is_read(tmp_path, encoding, end):
    lines = ["Subject;Image;Target;Slices", 'Émile;é.nrrd;l.nrrd;"3;9"', ";;;"]
    (case,) = read_cohort(write_csv(tmp_path, end.join(lines), encoding)).cases
    assert (case.subject, case.image.name, case.target.name) == ("Émile", "é.nrrd", "l.nrrd")
    assert case.slices == (3, 9)


def test_empty_cells_at_the_end_of_a_row_may_be_left_out_or_added(tmp_path):
    path = write_csv(tmp_path, "subject,image,labels,slices,split\na,i.nrrd\nb,j.nrrd,l,,,,\n")
    assert [case.split for case in read_cohort(path).cases] == [None, None]


@pytest.mark.skipif(os.name == "nt", reason="backslashes separate folders there")
def test_a_csv_made_on_windows_is_read_on_a_cluster(tmp_path):
    path = write_csv(tmp_path, "subject,image,labels\na,sub\\i.nrrd,sub\\l.nrrd\n")
    assert relative(read_cohort(path), tmp_path) == [("a", "sub/i.nrrd", "sub/l.nrrd")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["row 1", "'subject', 'image'", "subject, image, labels"]),
        ("subject,image,labels\n", ["lists no case"]),
        ("subject,labels\na,l\n", ["missing column 'image'"]),
        ("subject,image,labels,age,sex\n", ["'age', 'sex'", "subject, image, labels", "slices"]),
        ("subject,image,labels,target\n", ["both 'labels' and 'target'", "one column"]),
        ("subject,image,mask,mask\n", ["repeated column 'mask'"]),
        ("subject,image,labels,\n,i.nrrd,l.nrrd\n", ["row 2", "subject is missing"]),
        ("subject,image,labels\na,i,l\n\nb,,l\n", ["row 4", "image is missing"]),
        ("subject,image,labels\na,i,l,3,4\n", ["row 2", "expected 3 cells, found 5"]),
        ("subject,image,labels,slices\na,i,l,three\n", ["row 2", "'three'", "3-9"]),
        ("subject,image,labels,slices\na,i,l,9-3\n", ["row 2", "'9-3'"]),
        ("subject,image,labels,split\na,i,l,train\n", ["row 2", "'train'", "training, validation"]),
        ('subject,image,labels\na,"i"x,l\n', ["row 2", "quotes"]),
        ('subject,image,labels\na,"i,l\n', ["row 2", "quotes"]),
        ("PK\3\4\0\0", ["no text file", "CSV UTF-8"]),
    ],
)
def test_a_csv_that_makes_no_sense_is_refused_with_its_row(tmp_path, text, says):
    message = refused(write_csv(tmp_path, text))
    assert "cohort.csv" in message
    for part in says:
        assert part in message


@settings(max_examples=150)
@given(st.binary(max_size=80) | st.text('subject,image,labels;"\n\r\t 0-9', max_size=80))
def test_any_csv_is_a_cohort_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(
        content if isinstance(content, bytes) else b"subject,image,labels\n" + content.encode()
    )
    try:
        assert read_cohort(path).cases
    except CohortError as error:
        assert "any.csv" in str(error)  # noqa: PT017 - either outcome is right


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=30))
def test_slices_are_written_as_they_are_read(slices):
    assert slices_from_text(slices_to_text(slices)) == tuple(sorted(set(slices)))


@pytest.mark.parametrize(
    "text", ["3;9;17", "3, 9, 17", "3 9 17", "3;9;17-17", "3 ;9; 17", "3;9;17;"]
)
def test_slices_may_be_separated_as_people_do(text):
    assert slices_from_text(text) == (3, 9, 17)


def test_ranges_include_both_ends_and_bear_spaces_and_dashes():
    assert slices_from_text("3 - 5; 8–9") == (3, 4, 5, 8, 9)


@pytest.mark.parametrize("text", ["", "-1", "3-", "1.5", "0-99999999", "999999", "٣", ";"])
def test_what_is_no_list_of_slices_is_refused(text):
    with pytest.raises(CohortError, match="slice"):
        slices_from_text(text)


# --- a folder of subject folders


def test_a_folder_of_subject_folders_is_read(tmp_path):
    touch(tmp_path, "anna/image.nrrd", "anna/labels.nrrd", "notes.txt")
    touch(tmp_path, "bert/scan.nii.gz", "bert/scan_Segmentation.nii.gz", "bert/report.pdf")
    touch(tmp_path, "carl/ct.mha", "carl/dose.mha", "carl/muscle_mask.mha", "carl/labels.seg.nrrd")
    touch(tmp_path, "dora/dicom/1.dcm", "dora/dicom/2.dcm", "dora/tissue.nrrd")
    touch(tmp_path, "emil/1.dcm", "emil/2.dcm", "emil/labels.nrrd", "emil/.hidden.nrrd")
    touch(tmp_path, "fritz/volume.mhd", "fritz/volume.raw")
    touch(tmp_path, ".cache/image.nrrd", "__MACOSX/image.nrrd")
    assert relative(read_cohort(tmp_path), tmp_path) == [
        ("anna", "anna/image.nrrd", "anna/labels.nrrd"),
        ("bert", "bert/scan.nii.gz", "bert/scan_Segmentation.nii.gz"),
        ("carl", "carl/ct.mha", "carl/labels.seg.nrrd"),
        ("dora", "dora/dicom", "dora/tissue.nrrd"),
        ("emil", "emil", "emil/labels.nrrd"),
        ("fritz", "fritz/volume.mhd", None),
    ]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            ["a/t1.nrrd", "a/t2.nrrd", "a/labels.nrrd"],
            ["a: images t1.nrrd, t2.nrrd", "labels.nrrd"],
        ),
        (["a/ct.nrrd", "a/fat_mask.nrrd", "a/lean_mask.nrrd"], ["fat_mask.nrrd, lean_mask.nrrd"]),
        (["a/labels.nrrd"], ["images nothing; labels labels.nrrd"]),
        (["a/report.pdf"], ["a: report.pdf, none of them an image"]),
        (["a/1.dcm", "a/ct2/1.dcm"], ["images ct2, a"]),
        (["scan.nrrd", "labels.nrrd"], ["holds no folders", "labels.nrrd, scan.nrrd"]),
        ([f"{n}/report.pdf" for n in range(9)], ["and 4 more"]),
    ],
)
def test_an_ambiguous_folder_is_refused_with_what_was_found(tmp_path, files, says):
    message = refused(touch(tmp_path, *files))
    assert "CSV" in message
    for part in says:
        assert part in message


# --- an nnU-Net data set


def nnunet(folder, *names, **description):
    touch(folder, "imagesTr/.keep", *names)
    if description:
        (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def test_an_nnunet_data_set_is_read_and_its_test_images_are_left_alone(tmp_path):
    nnunet(tmp_path, "imagesTr/p_02_0000.nii.gz", "imagesTr/p_01_0000.nii.gz")
    touch(tmp_path, "labelsTr/p_01.nii.gz", "imagesTs/p_03_0000.nii.gz")
    assert relative(read_cohort(tmp_path), tmp_path) == [
        ("p_01", "imagesTr/p_01_0000.nii.gz", "labelsTr/p_01.nii.gz"),
        ("p_02", "imagesTr/p_02_0000.nii.gz", None),
    ]


def test_the_file_ending_of_an_nnunet_data_set_is_followed(tmp_path):
    nnunet(tmp_path, "imagesTr/a_0000.nrrd", "imagesTr/a_0000.json", file_ending=".nrrd")
    touch(tmp_path, "labelsTr/a.nrrd")
    assert relative(read_cohort(tmp_path), tmp_path) == [
        ("a", "imagesTr/a_0000.nrrd", "labelsTr/a.nrrd")
    ]


@pytest.mark.parametrize(
    ("names", "description", "says"),
    [
        (["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"], {}, "one input"),
        (["imagesTr/a_0001.nii.gz"], {}, "one input"),
        (["imagesTr/a.nii.gz"], {}, "naming"),
        (["imagesTr/a_0000.nrrd"], {}, "a_0000.nrrd"),
        ([], {}, "found nothing"),
        (["imagesTr/a_0000.nii.gz"], {"file_ending": 3}, "file_ending"),
    ],
)
def test_an_nnunet_data_set_that_cannot_be_used_is_refused(tmp_path, names, description, says):
    assert says in refused(nnunet(tmp_path, *names, **description))


def test_a_broken_nnunet_description_is_refused(tmp_path):
    nnunet(tmp_path, "imagesTr/a_0000.nii.gz")
    (tmp_path / "dataset.json").write_text("{")
    assert "line 1" in refused(tmp_path)


def test_what_is_no_cohort_is_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "nothing")
    assert "CSV" in refused(touch(tmp_path, "scan.nrrd") / "scan.nrrd")


# --- lists in Python


def test_lists_make_a_cohort_of_files_and_images_in_memory():
    cohort = cohort_from_lists(
        ["a/ct.nrrd", volume()], [Path("a/l.nrrd"), None], ["x", "y"], [range(3), None]
    )
    assert cohort.subjects == ("x", "y")
    assert cohort.cases[0].slices == (0, 1, 2)
    assert cohort.cases[0].image == Path("a/ct.nrrd")
    assert cohort.cases[0].name == "ct"
    assert cohort.cases[1].name == "y"
    assert cohort.cases[1].read_image().shape == (10, 4, 5)
    with pytest.raises(CohortError, match="no labels"):
        cohort.cases[1].read_target()


def test_subjects_are_named_after_files_and_stay_apart_when_names_repeat():
    def subjects(*paths):
        return [case.subject for case in cohort_from_lists(paths, None).cases]

    assert subjects("a/x.nii.gz", "b/y.nrrd") == ["x", "y"]
    assert subjects("a/ct.nrrd", "b/ct.nrrd") == ["a/ct", "b/ct"]
    assert subjects(volume(), volume()) == ["image 1", "image 2"]


def test_lists_that_do_not_fit_are_refused():
    with pytest.raises(CohortError, match="2 images and 1 targets"):
        cohort_from_lists(["a", "b"], ["l"])
    with pytest.raises(CohortError, match="no case"):
        cohort_from_lists([], [])


@pytest.mark.parametrize(
    "fields",
    [{"subject": " "}, {"split": "train"}, {"slices": ()}, {"slices": (1.5,)}],
)
def test_a_case_that_makes_no_sense_is_refused(fields):
    with pytest.raises(CohortError):
        Case(**{"subject": "a", "image": Path("i"), "target": None, **fields})


def test_a_case_reads_its_files(tmp_path):
    path = write_image(volume((3, 4, 5)), tmp_path / "i.nrrd")
    assert Case("a", path, path).read_target().shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("code", "axes"),
    [("LPS", (0, 1, 2)), ("SPL", (2, 1, 0)), ("PIR", (1, 2, 0)), ("RAI", (0, 1, 2))],
)
def test_slices_are_counted_along_the_stored_axis_of_the_plane(code, axes):
    image = volume(code=code)
    planes = ("axial", "coronal", "sagittal")
    assert tuple(stack_axis(image, plane) for plane in planes) == axes


# --- splits


def cases(*subjects, slices=(1, 2), splits=None):
    parts = splits or [None] * len(subjects)
    return [
        Case(subject, Path(f"{index}.nrrd"), None, slices, part)
        for index, (subject, part) in enumerate(zip(subjects, parts, strict=True))
    ]


def people(selections):
    return {selection.case.subject for selection in selections}


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=16).filter(
        lambda subjects: len(set(subjects)) > 2
    ),
    st.floats(0.01, 0.9),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_no_subject_is_on_both_sides_and_the_order_of_files_does_not_matter(
    subjects, fraction, seed, random
):
    listed = cases(*subjects)
    split = split_cohort(Cohort(listed, "x"), fraction, seed)
    assert not people(split.training) & people(split.validation)
    assert len(split.training) + len(split.validation) == len(listed)
    held, total = len(people(split.validation)), len(set(subjects))
    assert 1 <= held < total
    assert abs(held - fraction * total) <= 1
    random.shuffle(listed)
    assert split_cohort(Cohort(listed, "x"), fraction, seed) == split


def test_the_seed_decides_who_is_held_out():
    cohort = Cohort(cases(*"abcdefgh"), "x")
    drawn = {tuple(people(split_cohort(cohort, 0.2, seed).validation)) for seed in range(40)}
    assert len(drawn) > 10
    assert {name for pair in drawn for name in pair} == set("abcdefgh")


def test_named_splits_are_kept():
    parts = ["training", "validation", "test", None, None]
    split = split_cohort(Cohort(cases(*"abcde", splits=parts), "list.csv"))
    assert people(split.training) == {"a", "d", "e"}
    assert people(split.validation) == {"b"}
    assert people(split.test) == {"c"}
    assert "list.csv" in split.note


def test_a_subject_follows_its_named_case():
    split = split_cohort(Cohort(cases(*"aabcd", splits=["test", None, None, None, None]), "x"))
    assert people(split.test) == {"a"}
    assert len(split.test) == 2


@pytest.mark.parametrize("seed", range(5))
def test_test_cases_never_train_and_named_training_is_drawn_last(seed):
    parts = ["test", "training", "training", "training", None]
    split = split_cohort(Cohort(cases(*"abcde", splits=parts), "x"), 0.4, seed)
    assert people(split.validation) == {"e"}
    assert people(split.test) == {"a"}
    everyone = ["test", *["training"] * 4]
    split = split_cohort(Cohort(cases(*"abcde", splits=everyone), "x"), 0.4, seed)
    assert len(people(split.validation)) == 2
    assert people(split.test) == {"a"}


def test_a_subject_named_in_two_parts_is_refused():
    with pytest.raises(CohortError, match="both training and validation"):
        split_cohort(Cohort(cases("a", "a", "b", splits=["training", "validation", None]), "x"))


@given(
    st.lists(
        st.lists(st.integers(0, 60), min_size=1, max_size=40, unique=True), min_size=1, max_size=2
    ).filter(lambda slices: sum(map(len, slices)) > 1),
    st.floats(0.01, 0.9),
)
def test_with_few_subjects_every_labelled_slice_is_on_one_side(slices, fraction):
    listed = [Case(str(n), volume(), None, tuple(chosen)) for n, chosen in enumerate(slices)]
    split = split_cohort(Cohort(listed, "x"), fraction)
    pairs = [
        [(s.case.subject, index) for s in part for index in s.slices]
        for part in (split.training, split.validation)
    ]
    training, validation = pairs
    assert not set(training) & set(validation)
    assert sorted(training + validation) == sorted(
        (str(n), index) for n, chosen in enumerate(slices) for index in chosen
    )
    assert training
    assert validation
    assert abs(len(validation) - fraction * len(training + validation)) <= 1
    assert f"{len(validation)} of {len(training + validation)}" in split.note


def test_held_out_slices_are_spread_and_not_at_the_ends():
    split = split_cohort(Cohort([Case("a", volume(), None, tuple(range(17)))], "x"))
    (held,) = split.validation
    gaps = np.diff(held.slices)
    assert len(held.slices) == 3
    assert held.slices[0] > 0
    assert held.slices[-1] < 16
    assert gaps.max() - gaps.min() <= 1
    assert "only 1 subject " in split.note


@pytest.mark.parametrize(("plane", "count"), [("axial", 10), ("coronal", 4), ("sagittal", 5)])
@pytest.mark.parametrize("code", ["LPS", "SRA"])
def test_where_all_slices_are_labelled_they_are_counted_in_the_plane(plane, count, code):
    split = split_cohort(Cohort([Case("a", volume(code=code), None)], "x"), plane=plane)
    found = {index for part in (split.training, split.validation) for index in part[0].slices}
    assert found == set(range(count))


def test_subjects_for_the_test_do_not_count_as_ones_to_learn_from():
    parts = ["test", "test", None, None]
    split = split_cohort(Cohort(cases(*"abcd", splits=parts, slices=(1, 2, 3, 4, 5)), "x"))
    assert "2 subjects" in split.note
    assert people(split.training) == {"c", "d"}
    assert people(split.test) == {"a", "b"}


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        (cases("a", slices=(4,)), "only one labelled slice"),
        (cases("a", slices=(4, 4)), "only one labelled slice"),
        (cases("a", "b", splits=["test", "test"]), "no labelled slices"),
        (cases("a", "b", splits=["test", "validation"]), "no case to train on"),
    ],
)
def test_nothing_to_learn_from_is_refused(listed, says):
    with pytest.raises(CohortError, match=says):
        split_cohort(Cohort(listed, "x"))


@pytest.mark.parametrize("fraction", [0, 1, -1, float("nan")])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(CohortError, match="between 0 and 1"):
        split_cohort(Cohort(cases(*"abc"), "x"), fraction)
