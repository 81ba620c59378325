"""Cross-validation: who is held out, what is measured, how it goes on, the baseline by hand."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from engine_samples import blobs_cohort, labels_recipe, lps_affine, oblique_affine, volume_recipe

from DeepTranslateLib.cohort import Cohort, CohortError, cohort_from_lists
from DeepTranslateLib.cohort.folds import subject_folds, with_fewer_slices
from DeepTranslateLib.engine.baseline import BINS, IntensityBaseline
from DeepTranslateLib.engine.comparison import friedman, holm, median_range, repeated_anova
from DeepTranslateLib.engine.crossvalidation import cross_validate
from DeepTranslateLib.engine.crossvalidation_comparison import (
    ComparedError,
    compare,
    compare_several,
    read_results,
    refuse_other_folds,
)
from DeepTranslateLib.engine.crossvalidation_tables import case_rows, write_tables
from DeepTranslateLib.engine.device import choose_device
from DeepTranslateLib.engine.foldprocesses import FoldError, in_processes
from DeepTranslateLib.engine.foldrun import HELD_OUT_FILE
from DeepTranslateLib.engine.heldout import compared_slices, translated_slices
from DeepTranslateLib.engine.training import TrainingError
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.jobs import Stopped
from DeepTranslateLib.model import read_model
from DeepTranslateLib.recipe import RecipeError, recipe_from_json
from DeepTranslateLib.runfolder import RunError
from DeepTranslateLib.schema import to_json

RECIPE = labels_recipe(2, training={"epochs": 1, "validation_fraction": 0.3})


def many_images(counts: dict[str, int], slices: int = 5) -> Cohort:
    """Several images of each subject, with a label on the first slices but two."""
    names = [name for name, count in counts.items() for _ in range(count)]
    rng = np.random.default_rng(1)
    images, targets = [], []
    for _ in names:
        images.append(Image(rng.integers(-900, 900, (slices, 6, 6)).astype(np.int16), lps_affine()))
        labels = np.zeros((slices, 6, 6), np.uint8)
        labels[: slices - 2, 2:4, 2:4] = 10
        targets.append(Image(labels, lps_affine()))
    return cohort_from_lists(images, targets, names)


def test_nothing_of_a_subject_with_one_image_named_test_is_in_a_fold():
    cohort = many_images({"a": 2, "b": 1, "c": 1, "d": 1})
    cases = (dataclasses.replace(cohort.cases[0], split="test"), *cohort.cases[1:])
    for fold in subject_folds(Cohort(cases, "named"), 3):
        assert "a" not in {case.subject for case in (*fold.learning.cases, *fold.testing)}


@pytest.mark.parametrize("folds", [2, 3, 4])
def test_each_subject_is_held_out_once_with_all_its_images_and_never_learnt_from(folds):
    cohort = many_images({"a": 3, "b": 1, "c": 2, "d": 1})
    divided = subject_folds(cohort, folds, seed=3)
    assert sorted(s for fold in divided for s in fold.held_out) == ["a", "b", "c", "d"]
    sizes = [len(fold.held_out) for fold in divided]
    assert max(sizes) - min(sizes) <= 1
    for fold in divided:
        assert {case.subject for case in fold.testing} == set(fold.held_out)
        assert not set(fold.learning.subjects) & set(fold.held_out)
        assert len(fold.testing) + len(fold.learning.cases) == 7


def test_folds_depend_on_subjects_and_seed_not_on_the_order_of_rows():
    cohort = many_images(dict.fromkeys("abcdefgh", 1))
    turned = Cohort(cohort.cases[::-1], "turned")
    parts = [[f.held_out for f in subject_folds(c, 3, seed=5)] for c in (cohort, turned)]
    assert parts[0] == parts[1]
    assert len({str([f.held_out for f in subject_folds(cohort, 3, seed=s)]) for s in range(9)}) > 3


def test_more_folds_than_subjects_are_refused_and_the_named_test_is_left_out():
    cohort = many_images({"a": 1, "b": 1, "c": 1})
    with pytest.raises(CohortError, match=r"4 folds are impossible.*3 subjects.*2 to 3 folds"):
        subject_folds(cohort, 4)
    cases = [dataclasses.replace(c, split="test" if c.subject == "c" else "validation")
             for c in cohort.cases]  # fmt: skip
    with pytest.raises(CohortError, match=r"besides those named test \(c\)"):
        subject_folds(Cohort(tuple(cases), "x"), 3)
    for fold in subject_folds(Cohort(tuple(cases), "x"), 2):
        assert {case.subject for case in (*fold.testing, *fold.learning.cases)} <= {"a", "b"}
        assert {case.split for case in fold.learning.cases} == {None}


def slices_of(cohort: Cohort) -> set[tuple[str, str, int]]:
    return {(c.subject, str(id(c.image)), i) for c in cohort.cases for i in c.slices or ()}


def test_fewer_slices_are_nested_shared_among_subjects_and_spread_along_each_volume():
    cohort = many_images({"a": 2, "b": 1, "c": 1}, slices=12)
    sets = {n: slices_of(with_fewer_slices(cohort, n, RECIPE, 7)) for n in (3, 6, 24, 40, 48)}
    for small, large in itertools.pairwise(sets.values()):
        assert small < large
    for count, chosen in sets.items():
        assert len(chosen) == count
    for count in (3, 6, 24):
        per_subject = [sum(s == name for s, _, _ in sets[count]) for name in "abc"]
        assert max(per_subject) - min(per_subject) <= 1
    # Ten slices of each volume show something; the two empty ones at the end come last.
    assert all(index < 10 for _, _, index in sets[40])
    (b,) = [c for c in with_fewer_slices(cohort, 9, RECIPE, 7).cases if c.subject == "b"]
    assert b.slices is not None
    assert len(b.slices) == 3
    assert min(np.diff(sorted(b.slices))) >= 2
    others = {str(slices_of(with_fewer_slices(cohort, 3, RECIPE, s))) for s in range(6)}
    assert len(others) > 1


@pytest.mark.parametrize("count", [1, 21])
def test_impossible_numbers_of_slices_are_refused(count):
    with pytest.raises(CohortError, match=r"has 20 to learn from here. Give a number from 2 to 20"):
        with_fewer_slices(many_images({"a": 2, "b": 2}), count, RECIPE)


def test_the_baseline_gives_each_intensity_its_most_frequent_label():
    rng = np.random.default_rng(4)
    affine = oblique_affine()
    voxels = rng.integers(-1000, 1000, (6, 9, 8)).astype(np.int16)
    truth = np.select([voxels > 300, voxels < -200], [10, 11], 20).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.2] = 0
    truth[2, 3:5] = 99
    content = labels_recipe(2, target={"ignore": 99})
    first = dataclasses.replace(content.target.labels[0], also=(11,))
    target = dataclasses.replace(content.target, labels=(first, content.target.labels[1]))
    recipe = dataclasses.replace(content, target=target)
    cohort = cohort_from_lists([Image(voxels, affine)], [Image(truth, affine)], ["a"])
    baseline = IntensityBaseline(recipe, cohort.cases, [[1, 2, 4]])
    output = baseline.translate(Image(voxels, affine), [0, 2, 5])["intensity"]

    votes: dict[int, list[int]] = {}
    for k in (1, 2, 4):
        for value, label in zip(voxels[k].ravel(), truth[k].ravel(), strict=True):
            if label != 99:
                place = min(int((int(value) + 1000) / 2000 * BINS), BINS - 1)
                votes.setdefault(place, []).append(10 if label == 11 else int(label))
    for k in (0, 2, 5):
        for (j, i), value in np.ndenumerate(voxels[k]):
            place = min(int((int(value) + 1000) / 2000 * BINS), BINS - 1)
            seen = votes.get(place)
            if seen is not None:
                best = max(sorted(set(seen)), key=seen.count)
                assert seen.count(output.voxels[k, j, i]) == seen.count(best)
    assert not output.voxels[[1, 3, 4]].any()
    assert set(np.unique(output.voxels)) <= {0, 10, 20}


def test_the_baseline_of_volumes_is_the_mean_and_the_median_of_each_intensity():
    rng = np.random.default_rng(5)
    voxels = (rng.integers(0, 4, (3, 20, 20)) * 400 - 800).astype(np.int16)
    noise = rng.exponential(120, voxels.shape)
    truth = (-voxels * 0.7 + noise).astype(np.float32)
    recipe = volume_recipe()
    cohort = cohort_from_lists([Image(voxels, lps_affine())], [Image(truth, lps_affine())], ["a"])
    outputs = IntensityBaseline(recipe, cohort.cases, [[0, 1]]).translate(
        Image(voxels, lps_affine()), [2]
    )
    for value in np.unique(voxels):
        learnt, here = truth[:2][voxels[:2] == value], voxels[2] == value
        mean, median = (outputs[f"intensity, {n}"].voxels[2][here] for n in ("mean", "median"))
        np.testing.assert_allclose(mean, learnt.mean(), atol=0.1)
        np.testing.assert_allclose(median, np.median(learnt), atol=2000 / 1024)
    assert (outputs["intensity, mean"].voxels[:2] == -1000).all()


def test_only_labelled_slices_count():
    reference = np.zeros((4, 6, 6), np.uint8)
    reference[:, :3], reference[1, 4] = 10, 20
    output = np.zeros_like(reference)
    output[1], output[3] = reference[1], 20
    output[1, 0] = 0
    affine = oblique_affine()
    rows = compared_slices(Image(output, affine), Image(reference, affine), labels_recipe(2), [1])
    assert [row["label"] for row in rows] == ["label 1", "label 2"]
    assert [row["dice"] for row in rows] == [pytest.approx(2 * 12 / 30), 1]
    ct = np.zeros((4, 16, 16), np.float32)
    wrong = ct.copy()
    wrong[1], wrong[2] = 50, 999
    (row,) = compared_slices(Image(wrong, affine), Image(ct, affine), volume_recipe(), [0, 1])
    assert (row["mae"], row["label"]) == (25, "")
    assert row["psnr"] == pytest.approx(20 * np.log10(2000 / np.sqrt(50**2 / 2)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """Three subjects left out one at a time, with two numbers of slices."""
    folder = tmp_path_factory.mktemp("finished")
    rows = cross_validate(RECIPE, blobs_cohort(), 3, folder, slices=[6, 4], device="cpu")
    return folder, rows


def test_a_model_never_sees_the_subjects_it_is_measured_on(finished):
    folder, rows = finished
    runs = sorted(folder.glob("slices_*/seed_0/fold_*"))
    assert len(runs) == 6
    for run in runs:
        cohort = json.loads((run / "cohort.json").read_text())
        learnt = {row["subject"] for part in ("training", "validation") for row in cohort[part]}
        measured = {r["subject"] for r in json.loads((run / HELD_OUT_FILE).read_text())["rows"]}
        assert len(measured) == 1
        assert not learnt & measured
        labelled = sum(len(row["slices"]) for p in ("training", "validation") for row in cohort[p])
        assert f"slices_{labelled}" == run.parts[-3]
    folds = {(r["slices_learnt"], r["fold"]): r["subject"] for r in rows}
    assert all(folds[6, fold] == folds[4, fold] for fold in (1, 2, 3))


def test_held_out_rows_are_what_the_model_of_the_fold_makes(finished):
    folder, rows = finished
    case = blobs_cohort().cases[1]
    (fold,) = {r["fold"] for r in rows if r["subject"] == case.subject}
    model = read_model(folder / f"slices_6/seed_0/fold_{fold}/model.dtmodel")
    output = Translator.from_model(model, choose_device("cpu")).translate(case.read_image())
    for row in rows:
        chosen = (row["slices_learnt"], row["fold"], row["method"]) == (6, fold, "network")
        if chosen:
            mine, theirs = (x.voxels == row["value"] for x in (output, case.read_target()))
            total = mine.sum() + theirs.sum()
            assert row["dice"] == pytest.approx(2 * (mine & theirs).sum() / total)
            assert row["slices"] == 4
    some = translated_slices(
        Translator.from_model(model, choose_device("cpu")), case.read_image(), [2]
    )
    assert (some.voxels[2] == output.voxels[2]).all()
    assert not some.voxels[[0, 1, 3]].any()


def test_the_baseline_stands_beside_the_network_in_every_fold(finished):
    _, rows = finished
    keys = [(r["slices_learnt"], r["fold"], r["subject"], r["label"]) for r in rows]
    for key in set(keys):
        methods = [r["method"] for r, k in zip(rows, keys, strict=True) if k == key]
        assert methods == ["network", "intensity"]
    # The squares differ from the rest by far more than the noise, but where they overlap.
    assert np.median([r["dice"] for r in rows if r["method"] == "intensity"]) > 0.8


def test_finished_folds_are_not_repeated_and_seeds_are_added(finished):
    folder, rows = finished
    before = {path: path.stat().st_mtime_ns for path in folder.glob("slices_*/**/*.*")}
    again = cross_validate(
        RECIPE, blobs_cohort(), 3, folder, slices=[6], seeds=[0, 1], device="cpu"
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [r for r in again if r["seed"] == 0] == [r for r in rows if r["slices_learnt"] == 6]
    assert {r["seed"] for r in again} == {0, 1}


def test_another_cohort_recipe_or_division_is_refused(finished):
    folder, _ = finished
    changed = blobs_cohort()
    target = changed.cases[0].read_target()
    voxels = target.voxels.copy()
    voxels[0, 0, 0] = 20
    cases = (dataclasses.replace(changed.cases[0], target=target.with_voxels(voxels)),)
    other = Cohort((*cases, *changed.cases[1:]), "other")
    with pytest.raises(TrainingError, match=r"another images, labels or masks\. Give a new folder"):
        cross_validate(RECIPE, other, 3, folder, device="cpu")
    with pytest.raises(TrainingError, match="another division into folds"):
        cross_validate(RECIPE, blobs_cohort(), 2, folder, device="cpu")
    with pytest.raises(TrainingError, match="another recipe"):
        cross_validate(RECIPE.with_training(epochs=2), blobs_cohort(), 3, folder, device="cpu")


def test_faults_and_impossible_numbers_are_found_before_anything_is_trained(tmp_path):
    bad = blobs_cohort()
    cases = (dataclasses.replace(bad.cases[0], slices=(0, 44)), *bad.cases[1:])
    with pytest.raises(CohortError, match="Slices 44 are not in the volume"):
        cross_validate(RECIPE, Cohort(cases, "bad"), 3, tmp_path / "x", device="cpu")
    with pytest.raises(CohortError, match="9 labelled slices are impossible"):
        cross_validate(RECIPE, blobs_cohort(), 3, tmp_path / "x", slices=[9], device="cpu")
    assert not (tmp_path / "x").exists()


def test_a_folder_with_other_files_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "scan.nrrd").write_bytes(b"")
    (tmp_path / "notes").mkdir()
    with pytest.raises(RunError, match=r"new or empty one, or one with plan\.json.*found notes, "
                       r"scan\.nrrd\. Nothing was written\. Give a new folder"):  # fmt: skip
        cross_validate(RECIPE, blobs_cohort(), 3, tmp_path, device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "scan.nrrd"]


def test_a_folder_with_hidden_files_alone_is_as_good_as_empty(tmp_path):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".plan.json.0123456789ab.part").write_bytes(b"{")
    with pytest.raises(Stopped):
        cross_validate(RECIPE, blobs_cohort(), 3, tmp_path, device="cpu", should_stop=lambda: True)
    assert (tmp_path / "plan.json").is_file()


def test_a_recipe_that_freezes_a_part_is_refused(tmp_path):
    recipe = RECIPE.with_training(frozen="encoder")
    with pytest.raises(RecipeError, match="starts from no model") as caught:
        cross_validate(recipe, blobs_cohort(), 3, tmp_path / "x", device="cpu")
    assert caught.value.path == "$.training.frozen"
    assert not (tmp_path / "x").exists()


def die_in_the_second_fold(folder: str) -> None:
    def sink(record: dict) -> None:
        if record["run"]["fold"] == 2 and record["event"] in ("epoch", "measuring"):
            os.kill(os.getpid(), 9)

    cross_validate(RECIPE, blobs_cohort(), 3, folder, device="cpu", sink=sink)


def plain(rows: list[dict]) -> str:
    return json.dumps(rows, sort_keys=True)


def test_after_a_kill_the_same_call_goes_on_to_the_same_numbers(tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=die_in_the_second_fold, args=(str(tmp_path / "killed"),)
    )
    process.start()
    process.join()
    assert process.exitcode == -9
    held_out = sorted((tmp_path / "killed").glob("**/held_out.json"))
    assert [path.parent.name for path in held_out] == ["fold_1"]
    stamp = held_out[0].stat().st_mtime_ns
    rows = cross_validate(RECIPE, blobs_cohort(), 3, tmp_path / "killed", device="cpu")
    assert held_out[0].stat().st_mtime_ns == stamp
    whole = cross_validate(RECIPE, blobs_cohort(), 3, tmp_path / "whole", device="cpu")
    assert plain(rows) == plain(whole)


def test_stopped_and_parallel_folds_end_in_the_same_numbers(tmp_path):
    with pytest.raises(Stopped):
        cross_validate(
            RECIPE, blobs_cohort(), 3, tmp_path / "x", device="cpu", should_stop=lambda: True
        )
    events: list[dict] = []
    rows = cross_validate(
        RECIPE, blobs_cohort(), 3, tmp_path / "x", device="cpu", jobs=2, sink=events.append
    )
    assert {e["run"]["fold"] for e in events if e["event"] == "measured"} == {1, 2, 3}
    one = cross_validate(RECIPE, blobs_cohort(), 3, tmp_path / "y", device="cpu")
    for a, b in zip(rows, one, strict=True):
        assert (a["subject"], a["method"], a["fold"]) == (b["subject"], b["method"], b["fold"])
        if a["method"] == "intensity":
            assert plain([a]) == plain([b])


def die_beside_others(folder: str) -> None:
    def sink(record: dict) -> None:
        pids = [str(child.pid) for child in multiprocessing.active_children()]
        if record["event"] == "epoch" and len(pids) == 2:
            Path(folder, "pids.txt").write_text(" ".join(pids))
            os.kill(os.getpid(), 9)

    recipe = RECIPE.with_training(epochs=5000)
    cross_validate(recipe, blobs_cohort(), 3, folder, device="cpu", jobs=2, sink=sink)


def test_when_the_first_process_is_killed_the_others_end_by_themselves(tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=die_beside_others, args=(str(tmp_path),)
    )
    process.start()
    process.join()
    left = [int(pid) for pid in (tmp_path / "pids.txt").read_text().split()]
    assert len(left) == 2
    until = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in left) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(psutil.pid_exists(pid) for pid in left)


def test_clean_images_are_made_noisy_for_network_and_baseline_alike(tmp_path):
    cases = tuple(dataclasses.replace(case, target=None) for case in blobs_cohort().cases)
    content = to_json(volume_recipe(training={"epochs": 1}))
    recipe = recipe_from_json({**content, "noise": {"kind": "gaussian", "level": 200}})
    rows = cross_validate(recipe, Cohort(cases, "clean"), 3, tmp_path, seeds=[0, 1], device="cpu")
    assert len(rows) == 3 * 2 * 3
    baseline = [row for row in rows if row["method"] == "intensity, mean"]
    # Nothing would be wrong with clean inputs; the best guess is nearer than the noise itself.
    assert all(30 < row["rmse"] < 200 for row in baseline)
    by_seed = [[r["rmse"] for r in baseline if r["seed"] == seed] for seed in (0, 1)]
    assert by_seed[0] == by_seed[1]
    assert not list(tmp_path.glob("**/cache"))


def fail(job: str, sink: object, should_stop: object) -> None:
    if job == "killed":
        os._exit(7)
    raise CohortError(f"{job} is wrong")


def test_what_fails_in_a_process_is_raised_here():
    with pytest.raises(CohortError, match="this is wrong"):
        in_processes(fail, ["this"], 1, None, lambda: False)
    with pytest.raises(FoldError, match=r"exit code 7.*goes on"):
        in_processes(fail, ["killed", "never begun"], 1, None, lambda: False)


def test_tables_hold_each_case_and_the_median_and_range_of_all(finished, tmp_path):
    _, rows = finished
    content = write_tables(tmp_path, RECIPE, rows)
    with open(tmp_path / "cases.csv", encoding="utf-8") as stream:
        cases = list(csv.DictReader(stream))
    assert len(cases) == len(rows) == 2 * 3 * 2 * 2
    chosen = [
        r["dice"]
        for r in rows
        if (r["slices_learnt"], r["method"], r["label"]) == (6, "intensity", "label 2")
    ]
    (summary,) = [
        r
        for r in content["summary"]
        if (r["slices_learnt"], r["method"], r["label"]) == (6, "intensity", "label 2")
    ]
    assert (summary["cases"], summary["dice"]) == (3, np.median(chosen))
    assert (summary["dice_lowest"], summary["dice_highest"]) == (min(chosen), max(chosen))
    page = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert f"| 6 | label 2 | intensity | 3 | {median_range(chosen)} |" in page
    assert len((tmp_path / "folds.csv").read_text().splitlines()) == 1 + 2 * 3 * 2 * 2

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads((tmp_path / "cross_validation.json").read_text(), parse_constant=refuse)
    read = read_results(tmp_path)
    assert plain(read) == plain(case_rows(rows, "labels"))


METRICS_OF = {
    "labels": ("dice", "sensitivity", "specificity", "fractional_area_difference",
               "hausdorff95_mm", "average_surface_distance_mm", "surface_dice"),
    "volume": ("mae", "mse", "rmse", "psnr", "ssim", "ms_ssim"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["labels", "volume"])
def test_every_metric_of_a_case_is_in_all_tables(kind, tmp_path):
    pytest.importorskip("scipy.stats")
    names = METRICS_OF[kind]
    rows = [
        {"slices_learnt": None, "seed": 0, "fold": n, "subject": f"s{n}", "image": "x",
         "method": "network", "label": "fat" if kind == "labels" else "",
         **{name: n + place / 10 for place, name in enumerate(names)}}
        for n in range(4)
    ]  # fmt: skip
    recipe = RECIPE if kind == "labels" else volume_recipe()
    other = [{**row, **{name: row[name] + 1 for name in names}} for row in rows]
    content = write_tables(tmp_path, recipe, rows, compare(rows, other, ("a", "b")))
    assert [row["metric"] for row in content["comparison"]] == list(names)
    for place, name in enumerate(names):
        assert content["summary"][0][name] == pytest.approx(1.5 + place / 10)
        assert content["folds"][2][f"{name}_highest"] == pytest.approx(2 + place / 10)
    for file in ("summary", "folds", "cases"):
        with open(tmp_path / f"{file}.csv", encoding="utf-8") as stream:
            assert set(names) <= set(next(csv.reader(stream)))
    page = (tmp_path / "summary.md").read_text(encoding="utf-8")
    titles = ("surface Dice (2 mm)", "ASSD (mm)") if kind == "labels" else ("MSE", "MS-SSIM")
    for title in titles:
        assert page.count(f"| {title} |") == 2


def made_up(shift: float, seeds: int = 2) -> list[dict]:
    rng = np.random.default_rng(3)
    names = ("dice", "sensitivity", "specificity", "fractional_area_difference",
             "hausdorff95_mm", "average_surface_distance_mm", "surface_dice")  # fmt: skip
    return [
        {"slices_learnt": None, "seed": seed, "fold": n, "subject": f"s{n}", "image": "x",
         "method": "network", "label": label, **{m: rng.random() + shift * n for m in names}}
        for n in range(8) for label in ("fat", "lean") for seed in range(seeds)
    ]  # fmt: skip


def test_two_cross_validations_are_compared_by_subject_after_wilcoxon_and_holm():
    stats = pytest.importorskip("scipy.stats")
    a, b = made_up(0.0), made_up(0.1)
    found = compare(a, b, ("a", "b"))
    assert len(found) == 2 * 7
    pair = [row for row in found if row["metric"] == "dice"]
    p_values = []
    for row in pair:
        means = [
            [np.mean([r["dice"] for r in rows if (r["subject"], r["label"]) == (f"s{n}",
             row["label"])]) for n in range(8)]
            for rows in (a, b)
        ]  # fmt: skip
        assert row["subjects"] == 8
        assert row["p"] == pytest.approx(stats.wilcoxon(np.subtract(*means)).pvalue)
        assert row["first_median"] == pytest.approx(np.median(means[0]))
        p_values.append(row["p"])
    least, most = sorted(pair, key=lambda row: row["p"])
    assert least["corrected_p"] == pytest.approx(min(1, 2 * min(p_values)))
    assert most["corrected_p"] == pytest.approx(max(2 * min(p_values), *p_values))


def test_three_cross_validations_are_tested_all_at_once_and_in_pairs():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(8)
    several = [made_up(shift) for shift in (0.0, 0.1, 0.4)]
    for row in itertools.chain(*several):
        row["dice"] += rng.random()
    # A label that was missed has no finite distance: its subject is left out of all columns.
    several[1][0]["hausdorff95_mm"] = np.inf
    pairs, overall = compare_several(several, ("a", "b", "c"))
    assert len(pairs) == 3 * len(overall) == 3 * 2 * 7
    for metric in ("dice", "surface_dice", "hausdorff95_mm"):
        tests = {"friedman": [], "anova": [], "pairs": []}
        for label in ("fat", "lean"):
            (row,) = [r for r in overall if (r["label"], r["metric"]) == (label, metric)]
            left_out = {"s0"} if (label, metric) == ("fat", "hausdorff95_mm") else set()
            subjects = [f"s{n}" for n in range(8) if f"s{n}" not in left_out]
            table = {
                name: [
                    np.mean([r[metric] for r in rows if (r["subject"], r["label"]) == (s, label)])
                    for s in subjects
                ]
                for name, rows in zip("abc", several, strict=True)
            }
            assert (row["subjects"], row["compared"]) == (len(subjects), ["a", "b", "c"])
            assert row["medians"] == pytest.approx([np.median(column) for column in table.values()])
            assert row["friedman"]["statistic"] == pytest.approx(friedman(table).statistic)
            assert row["anova"]["statistic"] == pytest.approx(repeated_anova(table).statistic)
            assert row["friedman"]["degrees"] == [2]
            assert row["anova"]["degrees"] == [2, 2 * (len(subjects) - 1)]
            assert row["friedman"]["p"] == pytest.approx(friedman(table).p)
            assert row["anova"]["p"] == pytest.approx(repeated_anova(table).p)
            for test in ("friedman", "anova"):
                tests[test].append(row[test])
            for first, second in itertools.combinations("abc", 2):
                (pair,) = [r for r in pairs if (r["label"], r["metric"], r["first"], r["second"])
                           == (label, metric, first, second)]  # fmt: skip
                wanted = stats.wilcoxon(np.subtract(table[first], table[second])).pvalue
                assert pair["p"] == pytest.approx(wanted)
                assert pair["subjects"] == len(subjects)
                tests["pairs"].append(pair)
        # Each kind of test is corrected for both labels, the pairs for all six.
        for rows in tests.values():
            corrected = [row["corrected_p"] for row in rows]
            assert corrected == pytest.approx(holm([row["p"] for row in rows]))


def test_the_tables_hold_the_tests_of_three_and_say_nothing_of_them_for_two(finished, tmp_path):
    pytest.importorskip("scipy.stats")
    _, rows = finished
    mine = case_rows(rows, "labels")
    shifted = [[{**r, "dice": r["dice"] - n * 0.1} for r in mine] for n in (1, 2)]
    two = compare(mine, shifted[0], ("a", "b"))
    for name in ("two", "three"):
        (tmp_path / name).mkdir()
    content = write_tables(tmp_path / "two", RECIPE, rows, two)
    assert "overall_comparison" not in content
    page = (tmp_path / "two" / "summary.md").read_text(encoding="utf-8")
    assert "| slices | label | metric | subjects | a | b | p | p after Holm |" in page
    assert "ANOVA" not in page
    names = ("a", "b", "c")
    write_tables(tmp_path / "three", RECIPE, rows, *compare_several([mine, *shifted], names))
    content = json.loads((tmp_path / "three" / "cross_validation.json").read_text("utf-8"))
    assert {(r["first"], r["second"]) for r in content["comparison"]} == {
        ("a", "b"), ("a", "c"), ("b", "c")
    }  # fmt: skip
    row = next(r for r in content["overall_comparison"] if r["metric"] == "dice")
    # All subjects in the same order: k (n - 1) is the largest chi-squared there is.
    assert row["friedman"]["statistic"] == pytest.approx(3 * 2)
    page = (tmp_path / "three" / "summary.md").read_text(encoding="utf-8")
    assert (
        "| subjects | a | b | c | Friedman's chi2 (df) | p | p after Holm | ANOVA's F (df) |"
        in (page)
    )
    assert "| first | second | median of first | median of second | p | p after Holm |" in page
    assert "| 6 (2) |" in page


def test_other_subjects_and_other_folds_are_named(tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"folds": [["a", "b"], ["c", "d"]]}))
    refuse_other_folds([["d", "c"], ["a", "b"]], tmp_path)
    with pytest.raises(ComparedError, match=r"other subjects: expected 3 \(a, b, x\), found 4 "
                       r"\(a, b, c, d\); it lacks x and has also c, d"):  # fmt: skip
        refuse_other_folds([["a", "b"], ["x"]], tmp_path)
    with pytest.raises(ComparedError, match=r"other folds: expected 2 \(a, c; b, d\); found 2 "
                       r"\(a, b; c, d\)\. .*same --folds"):  # fmt: skip
        refuse_other_folds([["a", "c"], ["b", "d"]], tmp_path)
    plan.unlink()
    with pytest.raises(ComparedError, match=r"plan\.json.*cannot be read.*Give the whole folder"):
        refuse_other_folds([["a"]], tmp_path)


def test_what_cannot_be_compared_is_refused(tmp_path):
    pytest.importorskip("scipy.stats")
    stranger = [{**row, "subject": f"other {row['subject']}"} for row in made_up(0)]
    with pytest.raises(ComparedError, match="fewer than two subjects"):
        compare(made_up(0), stranger, ("a", "b"))
    with pytest.raises(ComparedError, match=r"'a', 'b' and 'c' share fewer than two subjects"):
        compare_several([made_up(0), made_up(1), stranger], ("a", "b", "c"))
    with pytest.raises(ComparedError, match="no finished cross-validation"):
        read_results(tmp_path)
