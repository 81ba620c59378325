"""The benchmark without pairs: nobody sees the truth, and records become what the table says."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import wasserstein_distance

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.image import Image
from DeepTranslateLib.phantom_head import HeadTissue
from Testing.benchmarks.records import read_records
from Testing.benchmarks.unpaired import measure, run_seed
from Testing.benchmarks.unpaired_data import (
    WINDOWS,
    Scale,
    histogram_matched,
    paired_cohort,
    pooled_values,
    subjects,
    unpaired_cohort,
    untranslated,
)
from Testing.benchmarks.unpaired_recipes import LONG, PAIRS, digest, methods_of, recipe_of
from Testing.benchmarks.unpaired_segmentor import segmentor_cohort, with_segmentor
from Testing.benchmarks.unpaired_table import BASELINES, table

SMALL = Scale(training=2, test=2, reference=3, slices=4, size=(32, 32), spacing=(6, 6, 9))


@pytest.fixture(scope="module")
def drawn():
    return subjects(0, SMALL)


def test_no_subject_is_in_two_groups_and_no_two_are_alike(drawn):
    groups = (drawn.source, drawn.target, drawn.test, drawn.reference)
    assert [len(group) for group in groups] == [3, 3, 2, 3]
    phantoms = [phantom for group in groups for phantom in group]
    assert len({phantom.name for phantom in phantoms}) == len(phantoms)
    assert len({phantom.labels.voxels.tobytes() for phantom in phantoms}) == len(phantoms)


def test_the_segmentor_learns_from_the_heads_that_teach_and_from_no_pair(drawn):
    cohort = segmentor_cohort(drawn, ("t1", "ct"))
    seen = {case.image.voxels.tobytes() for case in cohort.cases}
    expected = {each.images["t1"].voxels.tobytes() for each in drawn.source}
    assert seen == expected | {each.images["ct"].voxels.tobytes() for each in drawn.target}
    for case, phantom in zip(cohort.cases, (*drawn.source, *drawn.target), strict=True):
        bone = np.isin(phantom.labels.voxels, (HeadTissue.BONE, HeadTissue.DIPLOE))
        assert np.array_equal(case.target.voxels == 3, bone)
    plain = recipe_of("cyclegan", "t1", "t2")
    assert with_segmentor(plain, drawn, ("t1", "t2"), Path("nowhere"), "cpu") is plain


def test_a_segmentor_that_is_there_stays_the_file_that_it_is(drawn, tmp_path):
    (tmp_path / "model.dtmodel").write_bytes(b"as it was trained")
    recipe = recipe_of("cyclegan, shape", "t1", "t2")
    named = with_segmentor(recipe, drawn, ("t1", "t2"), tmp_path, "cpu").structure
    assert named.segmentor == str(tmp_path / "model.dtmodel")
    assert named.segmentor_sha256 == file_sha256(tmp_path / "model.dtmodel")
    assert (tmp_path / "model.dtmodel").read_bytes() == b"as it was trained"
    assert recipe.structure.shape_weight == named.shape_weight


def test_a_recipe_that_names_its_own_segmentor_keeps_it(drawn):
    recipe = recipe_of("cyclegan, shape", "t1", "t2")
    structure = dataclasses.replace(recipe.structure, segmentor="own.dtmodel")
    own = dataclasses.replace(recipe, structure=structure)
    assert with_segmentor(own, drawn, ("t1", "t2"), Path("nowhere"), "cpu") is own


def test_what_teaches_without_pairs_holds_no_pair_and_no_truth(drawn):
    cohort = unpaired_cohort(drawn, "t1", "t2")
    assert all(case.target is None for case in cohort.cases)
    images = {domain: set() for domain in ("source", "target")}
    for case in cohort.cases:
        images[case.domain].add(case.image.voxels.tobytes())
    assert images["source"] == {each.images["t1"].voxels.tobytes() for each in drawn.source}
    assert images["target"] == {each.images["t2"].voxels.tobytes() for each in drawn.target}
    for domain in images:
        splits = [case.split for case in cohort.cases if case.domain == domain]
        assert splits == ["training", "training", "validation"]
    hidden = {each.images["t2"].voxels.tobytes() for each in (*drawn.source, *drawn.test)}
    assert not hidden & images["target"]


def test_pairs_teach_from_the_subjects_of_the_source_domain(drawn):
    cohort = paired_cohort(drawn, "t1", "ct")
    assert [case.subject for case in cohort.cases] == [each.name for each in drawn.source]
    for case, phantom in zip(cohort.cases, drawn.source, strict=True):
        assert case.domain is None
        assert case.target is phantom.images["ct"]


def test_megavolts_take_contrast_from_bone_alone_and_add_noise():
    phantom = subjects(0, SMALL).test[0]
    ct, mv = (phantom.images[name].voxels.astype(float) for name in ("ct", "mv"))
    air = ndimage.binary_erosion(ct < -900, np.ones((1, 5, 5)))
    assert mv[air].mean() == pytest.approx(-992, abs=6)  # clipped at -1024, as noise of 40 HU is
    bone = ct > 900
    assert bone.any()
    assert 0.25 * ct[bone].mean() < mv[bone].mean() < 0.65 * ct[bone].mean()
    assert np.array_equal(mv, subjects(0, SMALL).test[0].images["mv"].voxels)


def test_features_of_the_segmentor_are_those_of_the_file(drawn, tmp_path):
    (tmp_path / "model.dtmodel").write_bytes(b"as it was trained")
    recipe = recipe_of("cyclegan, Ozaki", "mv", "ct")
    named = with_segmentor(recipe, drawn, ("mv", "ct"), tmp_path, "cpu").structure
    assert named.features == str(tmp_path / "model.dtmodel")
    assert named.features_sha256 == file_sha256(tmp_path / "model.dtmodel")
    assert named.segmentor == recipe.structure.segmentor


def test_an_untranslated_window_is_stretched_to_the_targets():
    voxels = np.array([[[-5, 0, 325, 650, 900]]], np.int16)
    found = untranslated(Image(voxels, np.eye(4)), "t1", "ct").voxels
    assert found.ravel() == pytest.approx([-1000, -1000, 125, 1250, 1250])


def test_a_matched_image_has_the_values_of_the_others_in_its_own_order(drawn):
    image = drawn.test[0].images["t1"]
    pooled = pooled_values(drawn.target, "t2", body=False)
    matched = histogram_matched(image, pooled)
    before = wasserstein_distance(image.voxels.ravel(), pooled)
    after = wasserstein_distance(matched.voxels.ravel(), pooled)
    assert after < 0.05 * before
    order = image.voxels.ravel().argsort(kind="stable")
    assert (np.diff(matched.voxels.ravel()[order]) >= 0).all()


def test_a_matched_body_has_the_values_of_bodies_and_air_around_it(drawn):
    phantom = drawn.test[0]
    pooled = pooled_values(drawn.target, "ct", body=True)
    matched = histogram_matched(phantom.images["t1"], pooled, phantom.body).voxels
    inside = phantom.body.voxels > 0
    assert (matched[~inside] == pooled.min()).all()
    assert wasserstein_distance(matched[inside], pooled) < 0.05 * np.std(pooled)


def test_an_image_matched_to_itself_stays_as_it_is():
    voxels = np.random.default_rng(0).permutation(500).reshape(5, 10, 10).astype(np.int16)
    matched = histogram_matched(Image(voxels, np.eye(4)), voxels.ravel())
    assert matched.voxels == pytest.approx(voxels, abs=0.51)


@pytest.mark.parametrize(
    ("method", "pair"), [(method, pair) for pair in PAIRS for method in methods_of(*pair)]
)
def test_each_method_has_a_recipe_that_differs_in_what_the_method_needs_alone(method, pair):
    recipe = recipe_of(method, *pair)
    other = recipe_of("cyclegan" + LONG if method.endswith(LONG) else "L1", *pair)
    assert recipe.is_unpaired == (method not in ("L1", "pix2pix"))
    assert recipe.preprocessing == other.preprocessing
    assert recipe.augmentation == other.augmentation
    assert recipe.training == other.training
    assert recipe.target.range == WINDOWS[pair[1]]
    assert recipe.preprocessing.window == WINDOWS[pair[0]]


def test_a_digest_is_of_what_a_recipe_says_but_for_its_name_and_seed():
    recipes = [recipe_of(method, *pair) for pair in PAIRS for method in methods_of(*pair)]
    assert len({digest(recipe) for recipe in recipes}) == len(recipes)
    assert digest(recipe_of("L1", "t1", "t2", seed=5)) == digest(recipes[0])
    assert digest(recipe_of("L1", "t1", "t2", epochs=7)) != digest(recipes[0])


def test_the_truth_is_without_error_and_what_is_less_sharp_is_worse(drawn):
    def measured(sd):
        images = [
            each.images["t2"].with_voxels(
                ndimage.gaussian_filter(each.images["t2"].voxels.astype(np.float32), (0, sd, sd))
            )
            for each in drawn.test
        ]
        return measure(images, drawn, "t1", "t2")

    truth, soft, softer = (measured(sd) for sd in (0, 0.6, 1.2))
    assert (truth["mae"], truth["ssim"]) == (0, pytest.approx(1))
    assert 0 < soft["mae"] < softer["mae"]
    assert 1 > soft["ssim"] > softer["ssim"]
    assert truth["kid"] < soft["kid"] < softer["kid"]


def test_an_untranslated_image_keeps_its_structure_as_it_is(drawn):
    images = [untranslated(each.images["t1"], "t1", "t2") for each in drawn.test]
    measured = measure(images, drawn, "t1", "t2")
    assert measured["dig"] == pytest.approx(0, abs=0.01)
    assert measured["self_ssim"] == pytest.approx(1, abs=0.001)


def test_a_seed_is_measured_once_and_what_has_its_record_is_left_alone(tmp_path):
    results = tmp_path / "results.jsonl"
    options = argparse.Namespace(
        method=["L1"], recipe=[], epochs=1, device="cpu", output=tmp_path / "out"
    )
    run_seed(0, ("t1", "t2"), options, SMALL, results)
    records = read_records(results)
    assert [record["method"] for record in records] == [*BASELINES, "L1"]
    by_method = {record["method"]: record for record in records}
    assert by_method["truth"]["mae"] == 0
    assert by_method["L1"]["mae"] > 0
    assert by_method["L1"]["epochs"] == 1
    run_seed(0, ("t1", "t2"), options, SMALL, results)
    assert read_records(results) == records
    text = "\n".join(table(records))
    assert f"| L1 | 1 | {by_method['L1']['mae']:.1f} |" in text


def record(method, seed, **values):
    metrics = {"mae": 100, "ssim": 0.1, "kid": 0.002, "dig": 0.3, "self_ssim": 0.5, **values}
    recipe = values.get("recipe", None if method in BASELINES else "r")
    extractor = {"kid_extractor": "E"}
    return {"method": method, "pair": "t1-t2", "seed": seed, **metrics, **extractor} | {
        "recipe": recipe
    }


def test_the_table_holds_medians_and_ranges_over_seeds():
    records = [record("cut", seed, mae=mae) for seed, mae in enumerate((50, 70, 60))]
    text = "\n".join(table(records))
    assert "| cut | 3 | 60.0 (50.0 to 70.0) | 0.100 | 2.00 | 0.300 | 0.500 |" in text
    assert "KID by E." in text


def test_of_a_method_the_recipe_that_was_measured_last_counts():
    old = [record("cut", seed, mae=10, recipe="old") for seed in range(3)]
    text = "\n".join(table([*old, record("cut", 0, mae=20, recipe="new")]))
    assert "| cut | 1 | 20.0 |" in text
    assert "10.0" not in text


@pytest.mark.parametrize(
    ("values", "says"),
    [({"mae": 90, "ssim": 0.2}, "yes"), ({"mae": 90, "ssim": 0.1}, "**no**"),
     ({"mae": 101, "ssim": 0.2}, "**no**")],
)  # fmt: skip
def test_a_method_must_beat_every_image_without_a_network_in_both_metrics(values, says):
    records = [record(method, 0) for method in BASELINES[:3]]
    lines = table([*records, record("unit", 0, **values)])
    assert f"- unit: lower MAE, higher SSIM than without a network: {says}" in lines


@pytest.mark.parametrize(
    ("mae", "kid", "says"),
    [(109, 0.001, "yes"), (111, 0.001, "**no**"), (100, 0.002, "**no**")],
)
def test_a_discriminator_must_lower_kid_and_may_cost_a_tenth_of_the_error(mae, kid, says):
    lines = table([record("L1", 0), record("pix2pix", 0, mae=mae, kid=kid)])
    assert f"- pix2pix: lower KID than L1 at no more than 1.1 of its MAE: {says}" in lines


@pytest.mark.parametrize(
    ("dig", "kid", "says"),
    [(0.2, 0.002, "yes"), (0.2, 0.003, "**no**"), (0.3, 0.001, "**no**")],
)
@pytest.mark.parametrize("length", ["", LONG])
def test_holding_the_structure_must_lower_dig_and_not_cost_kid(dig, kid, says, length):
    free, held = "cyclegan" + length, "cyclegan, gradient" + length
    lines = table([record(free, 0), record(held, 0, dig=dig, kid=kid)])
    assert f"- {held}: lower DIG at no higher KID than {free}: {says}" in lines
