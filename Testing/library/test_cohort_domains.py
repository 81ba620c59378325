"""Cohorts with two domains: how they are read, divided and checked for learning without pairs."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.cli import main
from DeepTranslateLib.cli.failures import BAD_INPUT
from DeepTranslateLib.cohort import Case, Cohort, cohort_from_lists, read_cohort, split_cohort
from DeepTranslateLib.cohort.case import DOMAINS, CohortError
from DeepTranslateLib.cohort.check import check_cohort
from DeepTranslateLib.cohort.fault import WHOLE_COHORT
from DeepTranslateLib.cohort.folds import subject_folds, with_fewer_slices
from DeepTranslateLib.cohort.measurement import measure_cohort
from DeepTranslateLib.engine import estimate, foldrun
from DeepTranslateLib.engine.baseline import IntensityBaseline
from DeepTranslateLib.engine.crossvalidation import cross_validate
from DeepTranslateLib.engine.intensities import with_landmarks
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.recipe import recipe_from_json
from DeepTranslateLib.schema import to_json

AFFINE = np.diag([-2.0, -2.0, 5.0, 1.0])
TARGET = {"kind": "volume", "units": "HU", "range": [-1000, 1000]}


def a_recipe(method, **training):
    return recipe_from_json(
        {
            "name": method,
            "target": TARGET,
            "preprocessing": {"window": [0, 1000], "spacing": None},
            "method": {"name": method, "loss": "mae"},
            "training": training,
        }
    )


UNPAIRED = a_recipe("cyclegan", monitor="last")
PAIRED = a_recipe("supervised")


def image(seed=0, low=0.0, high=800.0, shape=(6, 8, 8)):
    return Image(np.random.default_rng(seed).uniform(low, high, shape), AFFINE)


def mr(seed):
    return image(seed)


def ct(seed):
    return image(seed + 1000, -1000.0, 500.0)


def cohort_of(**subjects):
    """Subjects by the initials of their domains, a="s", b="st", with images in memory."""
    cases = []
    for number, (subject, initials) in enumerate(subjects.items()):
        for domain, make in zip(DOMAINS, (mr, ct), strict=True):
            if domain[0] in initials:
                cases.append(Case(subject, make(number), None, domain=domain))
    return Cohort(tuple(cases), "the cohort")


def files_of(subjects):
    """The same, of files that are not there."""
    cases = [
        Case(subject, Path(domain) / f"{subject}.nrrd", None, domain=domain)
        for subject, initials in subjects.items()
        for domain in DOMAINS
        if domain[0] in initials
    ]
    return Cohort(tuple(cases), "the cohort")


def named(cohort, **parts):
    cases = [
        Case(c.subject, c.image, None, c.slices, parts.get(c.subject), domain=c.domain)
        for c in cohort.cases
    ]
    return Cohort(tuple(cases), cohort.source)


def held_in(part):
    return {(selection.case.subject, selection.case.domain) for selection in part}


def domains_in(part):
    return {selection.case.domain for selection in part}


def faults_of(cases, recipe=UNPAIRED):
    found = check_cohort(Cohort(tuple(cases), "the cohort"), recipe)
    return {(fault.kind, fault.severity, fault.subject) for fault in found}


def both_domains():
    return cohort_of(a="s", b="t").cases


# --- reading


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


# --- training and validation


@st.composite
def populations(draw, least=3):
    """Subjects of either domain or both, at least so many in each domain."""
    groups = draw(st.tuples(*[st.integers(0, 7)] * 3))
    only_source, only_target, both = groups
    only_source = max(only_source, least - both)
    only_target = max(only_target, least - both)
    initials = ["s"] * only_source + ["t"] * only_target + ["st"] * both
    names = draw(st.permutations(range(len(initials))))
    return {f"p{name:02}": own for name, own in zip(names, initials, strict=True)}


@settings(max_examples=150, deadline=None)
@given(populations(), st.sampled_from([0.05, 0.2, 0.5, 0.95]), st.integers(0, 5))
def test_training_and_validation_hold_both_domains_and_share_nobody(subjects, fraction, seed):
    cohort = files_of(subjects)
    split = split_cohort(cohort, fraction, seed)
    assert domains_in(split.training) == domains_in(split.validation) == set(DOMAINS)
    teach, judge = held_in(split.training), held_in(split.validation)
    assert not {name for name, _ in teach} & {name for name, _ in judge}
    assert teach | judge == {(case.subject, case.domain) for case in cohort.cases}
    for domain in DOMAINS:
        count = len(cohort.of_domain(domain).subjects)
        held = sum(own == domain for _, own in judge)
        assert held <= max(1, round(fraction * count))


@settings(max_examples=30, deadline=None)
@given(populations(), st.randoms())
def test_the_division_does_not_hang_on_the_order_of_cases(subjects, random):
    cohort = files_of(subjects)
    cases = list(cohort.cases)
    random.shuffle(cases)
    other = Cohort(tuple(cases), cohort.source)
    assert split_cohort(other, seed=3) == split_cohort(cohort, seed=3)
    assert subject_folds(other, 3, 3) == subject_folds(cohort, 3, 3)


def test_a_fraction_of_each_domain_is_held_out():
    subjects = {f"s{i:02}": "s" for i in range(20)} | {f"t{i:02}": "t" for i in range(10)}
    split = split_cohort(cohort_of(**subjects), 0.2)
    held = [domain for _, domain in held_in(split.validation)]
    assert (held.count("source"), held.count("target")) == (4, 2)
    assert "4 of 20 subjects of the source domain" in split.note
    assert "2 of 10 subjects of the target domain" in split.note


def test_each_seed_draws_others_and_in_the_end_everybody():
    subjects = {f"s{i}": "s" for i in range(4)} | {f"t{i}": "t" for i in range(4)} | {"b": "st"}
    cohort = files_of(subjects)
    drawn = [
        {s.case.subject for s in split_cohort(cohort, 0.25, seed).validation} for seed in range(40)
    ]
    assert set().union(*drawn) == set(subjects)


def test_those_named_training_are_held_out_only_where_a_domain_has_no_others():
    cohort = cohort_of(a="s", b="s", c="s", d="t", e="t", f="t")
    parts = {"a": "training", "b": "training", "d": "training", "e": "training", "f": "training"}
    for seed in range(10):
        held = held_in(split_cohort(named(cohort, **parts), 0.5, seed).validation)
        assert {name for name, domain in held if domain == "source"} == {"c"}
        assert any(domain == "target" for _, domain in held)


def test_named_parts_are_kept_and_tests_may_be_of_one_domain():
    cohort = cohort_of(a="s", b="s", c="t", d="t", e="s")
    split = split_cohort(named(cohort, a="validation", d="validation", e="test"))
    assert held_in(split.validation) == {("a", "source"), ("d", "target")}
    assert held_in(split.training) == {("b", "source"), ("c", "target")}
    assert held_in(split.test) == {("e", "source")}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"a": "validation"}, "no subject of the target domain validation"),
        ({"a": "validation", "b": "validation", "c": "validation"}, "every subject of the source"),
        ({"c": "test", "d": "test"}, "no case of the target domain to learn from"),
    ],
)
def test_names_that_leave_a_part_without_a_domain_are_refused(parts, words):
    cohort = cohort_of(a="s", b="s", c="t", d="t")
    with pytest.raises(CohortError, match=words):
        split_cohort(named(cohort, **parts))


def test_of_a_domain_with_few_subjects_slices_are_held_out():
    subjects = {f"s{i}": "s" for i in range(5)} | {"both": "st", "t": "t"}
    for seed in range(10):
        split = split_cohort(cohort_of(**subjects), 0.25, seed)
        drawn = {s.case.subject for s in split.validation if s.case.domain == "source"}
        assert drawn
        assert "both" not in drawn
        teach, judge = (
            {
                (s.case.subject, index)
                for s in part
                if s.case.domain == "target"
                for index in s.slices
            }
            for part in (split.training, split.validation)
        )
        assert not teach & judge
        assert teach | judge == {(name, i) for name in ("both", "t") for i in range(6)}
        assert len(judge) == 3
        assert "In the target domain: With only 2 subjects" in split.note


def test_a_domain_of_which_nothing_can_be_held_out_is_refused_by_name():
    cases = [*cohort_of(a="s", b="s", c="s").cases]
    cases.append(Case("t", ct(9), None, (2,), domain="target"))
    with pytest.raises(CohortError, match="In the target domain: There is only one labelled"):
        split_cohort(Cohort(tuple(cases), "the cohort"))


def test_where_volumes_stay_whole_one_of_two_subjects_is_held_out():
    subjects = {"a": "s", "b": "st", "c": "t", "d": "s"}
    for seed in range(10):
        split = split_cohort(files_of(subjects), 0.2, seed, whole_volumes=True)
        teach, judge = held_in(split.training), held_in(split.validation)
        assert domains_in(split.training) == domains_in(split.validation) == set(DOMAINS)
        assert not {name for name, _ in teach} & {name for name, _ in judge}
        assert all(s.slices is None for s in (*split.training, *split.validation))
    with pytest.raises(CohortError, match="one subject of the target domain"):
        split_cohort(files_of({"a": "s", "b": "s", "c": "t"}), whole_volumes=True)


def test_cases_without_a_domain_do_not_mix_with_those_that_have_one():
    cases = (*cohort_of(a="s", b="t").cases, Case("c", mr(5), ct(5)))
    with pytest.raises(CohortError, match="subject c has one without"):
        split_cohort(Cohort(cases, "the cohort"))


def test_what_a_run_notes_of_its_split_names_the_domain():
    split = split_cohort(cohort_of(a="s", b="s", c="s", d="t", e="t", f="t"))
    noted = split.to_json()["training"]
    assert {entry["subject"]: entry["domain"] for entry in noted} == dict(held_in(split.training))
    paired = Cohort((Case("a", mr(0), ct(0)), Case("b", mr(1), ct(1))), "pairs")
    assert "domain" not in split_cohort(paired).to_json()["training"][0]


# --- folds


@settings(max_examples=100, deadline=None)
@given(populations(least=2), st.data())
def test_each_fold_holds_out_both_domains_and_everybody_once(subjects, data):
    cohort = files_of(subjects)
    least = min(len(cohort.of_domain(domain).subjects) for domain in DOMAINS)
    count = data.draw(st.integers(2, least))
    folds = subject_folds(cohort, count, data.draw(st.integers(0, 3)))
    assert sorted(name for fold in folds for name in fold.held_out) == list(cohort.subjects)
    for fold in folds:
        assert {case.domain for case in fold.testing} == set(DOMAINS)
        assert {case.domain for case in fold.learning.cases} == set(DOMAINS)
        assert not set(fold.held_out) & set(fold.learning.subjects)
    for domain in DOMAINS:
        sizes = [sum(case.domain == domain for case in fold.testing) for fold in folds]
        assert max(sizes) - min(sizes) <= 1


def test_more_folds_than_a_domain_has_subjects_are_refused():
    cohort = cohort_of(a="s", b="s", c="s", d="s", e="t", f="t")
    with pytest.raises(CohortError, match=r"4 of the source domain and 2 of the target.*2 to 2"):
        subject_folds(cohort, 3)
    with pytest.raises(CohortError, match="two of each are the least"):
        subject_folds(cohort_of(a="s", b="s", c="t"), 2)


def test_slices_are_not_counted_off_and_no_recipe_is_proposed_without_pairs():
    cohort = cohort_of(a="s", b="t")
    with pytest.raises(CohortError, match="has domains"):
        with_fewer_slices(cohort, 2, UNPAIRED)
    with pytest.raises(CohortError, match="proposed for pairs only"):
        measure_cohort(cohort)


# --- the check


def test_an_unpaired_cohort_without_targets_has_no_fault():
    assert faults_of(both_domains()) == set()


@pytest.mark.parametrize("absent", DOMAINS)
def test_a_domain_without_a_case_is_an_error(absent):
    cases = [case for case in both_domains() if case.domain != absent]
    assert faults_of(cases) == {("domain_absent", "error", "all")}


def test_a_domain_that_only_tests_teaches_nothing():
    source, target = both_domains()
    tested = Case("b", target.image, None, split="test", domain="target")
    assert faults_of([source, tested]) == {("domain_absent", "error", "all")}


def test_a_case_without_a_domain_is_an_error_of_an_unpaired_recipe():
    cases = [*both_domains(), Case("c", mr(7), ct(7))]
    assert faults_of(cases) == {("domain_missing", "error", "c")}
    pairs = [Case("c", mr(7), ct(7)), Case("d", mr(8), None)]
    assert faults_of(pairs) == {("domain_missing", "error", "all")}


def test_a_case_with_a_domain_is_an_error_of_a_paired_recipe():
    assert faults_of(both_domains(), PAIRED) == {("domain_unexpected", "error", "all")}
    pair = Case("c", mr(7), ct(7))
    assert faults_of([pair], PAIRED) == set()
    assert faults_of([pair, both_domains()[1]], PAIRED) == {("domain_unexpected", "error", "b")}


def test_units_are_those_of_the_domain():
    swapped = [
        Case("a", ct(0), None, domain="source"),
        Case("b", mr(1), None, domain="target"),
    ]
    assert faults_of(swapped) == {("units", "error", "b")}
    from_ct = recipe_from_json(
        {
            "name": "back",
            "inputs": [{"units": "HU"}],
            "target": {"kind": "volume", "range": [0, 1000]},
            "preprocessing": {"window": [-1000, 1000]},
            "method": {"name": "cyclegan", "loss": "mae"},
            "training": {"monitor": "last"},
        }
    )
    assert faults_of(swapped, from_ct) == set()
    assert faults_of(both_domains(), from_ct) == {("units", "error", "a")}


def test_a_truth_beside_a_domain_is_held_against_the_other_domain():
    source, target = both_domains()
    with_truth = [
        Case("a", source.image, ct(0), domain="source"),
        Case("b", target.image, mr(1), domain="target"),
    ]
    assert faults_of(with_truth) == set()
    wrong = Case("a", source.image, mr(2), domain="source")
    assert faults_of([wrong, target]) == {("units", "error", "a")}
    smaller = Case("a", source.image, image(3, -1000, 500, (6, 8, 7)), domain="source")
    assert faults_of([smaller, target]) == {("shape_mismatch", "error", "a")}


def test_an_image_in_both_domains_is_a_warning_and_twice_in_one_an_error(tmp_path):
    everywhere = ct(3)
    write_image(everywhere, tmp_path / "ct.nrrd")
    cases = [
        Case("a", everywhere, None, domain="source"),
        Case("b", tmp_path / "ct.nrrd", None, domain="target"),
    ]
    assert faults_of(cases) == {("duplicate_in_both_domains", "warning", "b")}
    again = Case("c", tmp_path / "ct.nrrd", None, domain="target")
    assert faults_of([*cases, again]) == {
        ("duplicate_in_both_domains", "warning", "b"),
        ("duplicate_in_both_domains", "warning", "c"),
        ("duplicate_image", "error", "c"),
    }
    (source, target), twice = both_domains(), Case("c", cases[1].image, None, domain="target")
    assert faults_of([source, target, cases[1], twice]) == {("duplicate_image", "error", "c")}


def test_slices_and_masks_of_volumes_that_teach_whole_are_a_warning():
    patches = recipe_from_json(
        {
            "name": "3d",
            "target": TARGET,
            "preprocessing": {"window": [0, 1000], "spacing": 2.0, "slice_spacing": 5.0},
            "sampling": {"patch": [8, 8, 8]},
            "adversarial": {"discriminator_layers": 1},
            "network": {"name": "resnet", "dimension": 3, "levels": 3, "blocks": [1]},
            "method": {"name": "cyclegan", "loss": "mae"},
            "training": {"monitor": "last"},
        }
    )
    source, target = both_domains()
    assert faults_of([source, target], patches) == set()
    everywhere = Image(np.ones((6, 8, 8), np.uint8), AFFINE)
    cases = [
        Case("a", source.image, None, slices=(1, 2), mask=everywhere, domain="source"),
        Case("b", target.image, None, mask=everywhere, domain="target"),
        Case("c", ct(8), None, slices=(1, 2), split="test", domain="target"),
    ]
    assert faults_of(cases, patches) == {
        ("whole_volume_teaches", "warning", "a"),
        ("whole_volume_teaches", "warning", "b"),
    }
    assert faults_of(cases) == {
        ("mask_chooses_slices", "warning", "a"),
        ("mask_chooses_slices", "warning", "b"),
    }
    both = [Case("a", source.image, None, mask=everywhere, domain="source"), cases[1]]
    assert faults_of(both) == {("mask_chooses_slices", "warning", WHOLE_COHORT)}
    assert faults_of([source, target]) == set()


def test_masks_and_slices_are_checked_in_both_domains():
    source, target = both_domains()
    nowhere = Image(np.zeros((6, 8, 8), np.uint8), AFFINE)
    cases = [
        Case("a", source.image, None, mask=nowhere, domain="source"),
        Case("b", target.image, None, slices=(3, 6), domain="target"),
    ]
    assert faults_of(cases) == {
        ("empty_mask", "error", "a"),
        ("mask_chooses_slices", "warning", "a"),
        ("slices_outside", "error", "b"),
    }


# --- what else reads cohorts


def matched(source, target, cases=None):
    """What histogram matching makes of a source image."""
    cases = cases or [
        Case("a", source, None, domain="source"),
        Case("b", target, None, domain="target"),
    ]
    slices = range(source.shape[0])
    baseline = IntensityBaseline(UNPAIRED, cases, [slices] * len(cases))
    (name,) = baseline.tables
    assert name == "histogram matching"
    return baseline.translate(source, slices)[name].voxels


@pytest.mark.parametrize("curve", [lambda y: y, np.square, np.sqrt])
def test_histogram_matching_undoes_a_rising_curve_without_pairs(curve):
    rng = np.random.default_rng(4)
    share = rng.uniform(0, 1, (6, 32, 32))
    source = Image(1000 * curve(share), AFFINE)
    target = Image(rng.permutation(share.ravel()).reshape(share.shape) * 1500 - 1000, AFFINE)
    truth = share * 1500 - 1000
    # A bin of the source spans at most what the steepest curve makes of a 256th.
    assert np.abs(matched(source, target) - truth).max() < 1500 / 16 + 10
    assert np.abs(matched(source, target) - truth).mean() < 10


def test_histogram_matching_counts_what_masks_leave():
    target = image(1, -1000, 0)
    half = np.zeros(target.shape, np.uint8)
    half[..., :4] = 1
    brightened = target.voxels.copy()
    brightened[..., 4:] = 900
    cases = [
        Case("a", mr(0), None, domain="source"),
        Case("b", Image(brightened, AFFINE), None, mask=Image(half, AFFINE), domain="target"),
    ]
    assert matched(mr(0), target, cases).max() <= 0


def test_standard_scales_are_learnt_from_the_images_of_their_domain():
    recipe = recipe_from_json(
        {
            "name": "t1-to-t2",
            "target": {"kind": "volume", "range": [0, 1], "standardisation": "histogram"},
            "preprocessing": {"window": [0, 1], "standardisation": "histogram"},
            "method": {"name": "cyclegan", "loss": "mae"},
            "training": {"monitor": "last"},
        }
    )
    rng = np.random.default_rng(0)
    first, second = (
        [Image(rng.gamma(shape, 100, (6, 16, 16)), AFFINE) for _ in range(3)] for shape in (2, 9)
    )
    unpaired = [Case(f"s{i}", each, None, domain="source") for i, each in enumerate(first)]
    unpaired += [Case(f"t{i}", each, None, domain="target") for i, each in enumerate(second)]
    pairs = [Case(f"p{i}", *both) for i, both in enumerate(zip(first, second, strict=True))]
    found, expected = with_landmarks(recipe, unpaired), with_landmarks(recipe, pairs)
    assert found.preprocessing.landmarks == expected.preprocessing.landmarks
    assert found.target.landmarks == expected.target.landmarks
    assert found.target.landmarks != found.preprocessing.landmarks


def test_a_cross_validation_without_truth_is_refused_before_anything_is_trained(tmp_path):
    cohort = cohort_of(a="s", b="s", c="t", d="t")
    with pytest.raises(CohortError, match=r"2 of the cohort lack: a, b.*evaluate-unpaired"):
        cross_validate(UNPAIRED, cohort, 2, tmp_path / "new", device="cpu")
    assert not (tmp_path / "new").exists()


def test_a_cross_validation_measures_each_source_once_and_learns_from_nobody_it_measures(
    tmp_path, monkeypatch
):
    """Training and measuring are stand-ins that note what they are given."""
    learnt, measured = [], []

    def train(recipe, cohort, folder, *_, **__):
        learnt.append(cohort)
        folder.mkdir(parents=True)
        return SimpleNamespace(recipe=recipe)

    def measure(translator, baseline, cases):
        measured.append(cases)
        assert list(baseline.tables) == ["histogram matching"]
        return []

    monkeypatch.setattr(foldrun, "train", train)
    monkeypatch.setattr(foldrun, "measure_held_out", measure)
    monkeypatch.setattr(foldrun.Translator, "from_model", lambda *_: None)
    cases = [
        case
        for number, name in enumerate("abcd")
        for case in (
            Case(name, mr(number), ct(number), domain="source"),
            Case(name, ct(number + 50), None, domain="target"),
        )
    ]
    cross_validate(UNPAIRED, Cohort(tuple(cases), "the cohort"), 4, tmp_path, device="cpu")
    assert sorted(case.subject for fold in measured for case in fold) == list("abcd")
    assert all(case.domain == "source" for fold in measured for case in fold)
    for fold, cohort in zip(measured, learnt, strict=True):
        assert set(cohort.subjects) == set("abcd") - {case.subject for case in fold}
        assert len(cohort.cases) == 6


def test_an_estimate_reads_some_of_each_domain_however_little_time_there_is(monkeypatch):
    monkeypatch.setattr(estimate, "_READING_SECONDS", 0.0)
    cohort = cohort_of(a="s", b="s", c="s", d="s", e="s", f="t", g="t", h="t")
    split = split_cohort(cohort, 0.4, 1)
    sides = [estimate._Side(part, UNPAIRED, {}) for part in (split.training, split.validation)]
    estimate._read_in_turn(sides)
    for side in sides:
        assert sorted(selection.case.domain for selection in side.read) == list(DOMAINS)


def test_a_table_of_subject_image_and_domain_is_trained_on_from_the_command_line(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    rows = ["subject,image,domain"]
    for case in cohort_of(a="s", b="s", c="st", d="t", e="t").cases:
        name = f"{case.subject}_{case.domain}.nrrd"
        write_image(case.image, name)
        rows.append(f"{case.subject},{name},{case.domain}")
    Path("cohort.csv").write_text("\n".join(rows) + "\n")
    small = {
        "network": {"name": "resnet", "channels": 2, "levels": 2, "blocks": [1]},
        "adversarial": {"discriminator_channels": 2, "discriminator_layers": 1},
        "training": {"monitor": "last", "epochs": 1, "batch_size": 4},
    }
    content = {**to_json(UNPAIRED), **small}
    Path("recipe.json").write_text(json.dumps(content))
    paired = {**content, "method": {"loss": "mae"}, "training": {"epochs": 1}, "adversarial": {}}
    Path("paired.json").write_text(json.dumps(paired))
    command = ["train", "--cohort", "cohort.csv", "--device", "cpu"]
    assert main([*command, "--recipe", "recipe.json", "--output", "run"]) == 0
    parts = json.loads(Path("run/cohort.json").read_text())
    for part in ("training", "validation"):
        assert {entry["domain"] for entry in parts[part]} == set(DOMAINS)
    assert sum(len(parts[part]) for part in ("training", "validation")) == 6
    assert main([*command, "--recipe", "paired.json", "--output", "other"]) == BAD_INPUT
    assert "The images have domains" in capfd.readouterr().err
    assert main(["propose", "--cohort", "cohort.csv", "--output", "new.json"]) == BAD_INPUT
    assert "proposed for pairs only" in " ".join(capfd.readouterr().err.split())
    assert not Path("new.json").exists()
