"""Cohorts with two domains: how they are read, from a CSV, from folders and from lists."""

import pytest
from domain_samples import cohort_of, ct, mr

from DeepTranslateLib.cohort import Case, cohort_from_lists, read_cohort
from DeepTranslateLib.cohort.case import DOMAINS, CohortError
from DeepTranslateLib.image.files import write_image


def test_a_csv_of_subject_image_and_domain_is_an_unpaired_cohort(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text("subject,image,domain\na,a.nrrd,source\nb,b.nrrd,Target\n")
    cohort = read_cohort(path)
    assert cohort.cases == (
        Case("a", tmp_path / "a.nrrd", None, domain="source"),
        Case("b", tmp_path / "b.nrrd", None, domain="target"),
    )
    assert cohort.has_domains


def test_the_other_columns_of_a_csv_work_beside_a_domain(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text(
        "domain;mask;subject;split;image;slices;labels\n"
        "source;m.nrrd;a;test;a.nrrd;1-3;truth.nrrd\n"
    )
    (case,) = read_cohort(path).cases
    assert case == Case(
        "a",
        tmp_path / "a.nrrd",
        tmp_path / "truth.nrrd",
        (1, 2, 3),
        "test",
        tmp_path / "m.nrrd",
        "source",
    )


def test_a_domain_that_does_not_exist_is_refused_with_its_row(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text("subject,image,domain\na,a.nrrd,source\nb,b.nrrd,CT\n")
    with pytest.raises(CohortError, match=r"row 3: .*'ct'; possible are source and target"):
        read_cohort(path)


def test_a_csv_without_the_column_has_no_domains(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text("subject,image,labels\na,a.nrrd,b.nrrd\n")
    cohort = read_cohort(path)
    assert not cohort.has_domains
    assert cohort.cases[0].domain is None


def test_a_folder_with_source_and_target_names_subjects_after_their_files(tmp_path):
    for name in ("source/anna.nrrd", "target/anna.mha", "target/target_2.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(mr(0), tmp_path / name)
    (tmp_path / "source" / "notes.txt").write_text("who is who")
    dicom = tmp_path / "source" / "carl" / "series" / "1"
    dicom.parent.mkdir(parents=True)
    dicom.write_bytes(b"\0" * 128 + b"DICM")
    cases = read_cohort(tmp_path).cases
    assert cases == (
        Case("anna", tmp_path / "source" / "anna.nrrd", None, domain="source"),
        Case("carl", tmp_path / "source" / "carl", None, domain="source"),
        Case("anna", tmp_path / "target" / "anna.mha", None, domain="target"),
        Case("target_2", tmp_path / "target" / "target_2.nii.gz", None, domain="target"),
    )


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["target/b.nrrd"], ["source", "nothing"]),
        (["source/a.nrrd", "target/b/image.nrrd", "target/c.nrrd"], ["target", "found b"]),
        (["source/1.dcm", "source/a.nrrd", "target/b.nrrd"], ["source", "1.dcm", "of its own"]),
    ],
)
def test_a_folder_of_domains_that_leaves_a_doubt_is_refused(tmp_path, files, words):
    for domain in DOMAINS:
        (tmp_path / domain).mkdir()
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(CohortError) as caught:
        read_cohort(tmp_path)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_subjects_beside_source_and_target_make_it_a_folder_of_subjects(tmp_path):
    for subject in ("anna", "source", "target"):
        (tmp_path / subject).mkdir()
        for name in ("image.nrrd", "labels.nrrd"):
            (tmp_path / subject / name).write_bytes(b"")
    cohort = read_cohort(tmp_path)
    assert cohort.subjects == ("anna", "source", "target")
    assert not cohort.has_domains


def test_lists_take_domains(tmp_path):
    cohort = cohort_from_lists([mr(0), ct(1)], None, ["a", "b"], domains=["source", "target"])
    assert [case.domain for case in cohort.cases] == ["source", "target"]
    with pytest.raises(CohortError, match="2 images and 1 domains"):
        cohort_from_lists([mr(0), ct(1)], None, domains=["source"])
    with pytest.raises(CohortError, match="'MR'; possible are source and target"):
        cohort_from_lists([mr(0), ct(1)], None, domains=["source", "MR"])


def test_the_cases_of_one_domain_are_a_cohort():
    cohort = cohort_of(a="st", b="t")
    assert [case.subject for case in cohort.of_domain("target").cases] == ["a", "b"]
    assert cohort.of_domain("source").cases == cohort.cases[:1]
    with pytest.raises(CohortError, match="no case of the source domain"):
        cohort_of(b="t").of_domain("source")
    with pytest.raises(CohortError, match="no domain 'ct'"):
        cohort.of_domain("ct")
