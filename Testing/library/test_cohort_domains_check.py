"""Cohorts with two domains: the faults that are found in them before anything learns."""

import numpy as np
import pytest
from domain_samples import AFFINE, PAIRED, TARGET, UNPAIRED, cohort_of, ct, image, mr

from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.cohort.case import DOMAINS
from DeepTranslateLib.cohort.check import check_cohort
from DeepTranslateLib.cohort.fault import WHOLE_COHORT
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.recipe import recipe_from_json


def faults_of(cases, recipe=UNPAIRED):
    found = check_cohort(Cohort(tuple(cases), "the cohort"), recipe)
    return {(fault.kind, fault.severity, fault.subject) for fault in found}


def both_domains():
    return cohort_of(a="s", b="t").cases


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
