"""Cohorts with two domains: how they are divided, into parts and into folds."""

import pytest
from domain_samples import UNPAIRED, cohort_of, ct, files_of, mr
from hypothesis import given, settings
from hypothesis import strategies as st

from DeepTranslateLib.cohort import Case, Cohort, split_cohort
from DeepTranslateLib.cohort.case import DOMAINS, CohortError
from DeepTranslateLib.cohort.folds import subject_folds, with_fewer_slices
from DeepTranslateLib.cohort.measurement import measure_cohort


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
        ({"a": "validation"}, "no subject of the target domain for validation"),
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
