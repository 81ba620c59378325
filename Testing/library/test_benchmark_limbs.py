"""The limbs without pairs: who teaches what, and what the table says."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.cohort.case import SOURCE, TARGET
from DeepTranslateLib.cohort.folds import subject_folds
from DeepTranslateLib.image import Image
from Testing.benchmarks import limbs_adversarial
from Testing.benchmarks.limbs_adversarial import METHODS, fold_of, measured, recipe_of, run_fold
from Testing.benchmarks.limbs_adversarial_table import MATCHED, REGRESSED, SUPERVISED, table
from Testing.benchmarks.mr_to_ct import STUDY
from Testing.benchmarks.records import read_records

_UNPAIRED = tuple(name for name in METHODS if recipe_of(name).is_unpaired)


def _image(values: np.ndarray) -> Image:
    return Image(values.astype(np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))


def _cases(count: int = 3, size: int = 24, shown: int = 5) -> list[Case]:
    random = np.random.default_rng(0)
    found = []
    for number in range(count):
        bright = random.integers(100, 900, (5, size, size))
        bright[:, :4] = bright[shown:] = 0
        body = np.ones((5, size, size), np.uint8)
        found.append(
            Case(
                f"limb {number}",
                _image(bright),
                _image(np.where(bright > 0, 500 - bright, -1000)),
                (0, 2, 4),
                mask=_image(body),
            )
        )
    return found


@pytest.mark.parametrize("method", _UNPAIRED)
def test_without_pairs_no_slice_teaches_beside_its_own_and_none_of_who_is_held_out(
    method: str,
) -> None:
    cases = _cases()
    for number in (1, 2, 3):
        fold = fold_of(recipe_of(method), cases, number)
        learnt = {
            domain: {
                (case.subject, index)
                for case in fold.learning.cases
                if case.domain == domain
                for index in case.slices or ()
            }
            for domain in (SOURCE, TARGET)
        }
        assert not learnt[SOURCE] & learnt[TARGET]
        assert len(learnt[SOURCE]) == 2 * 3
        assert len(learnt[TARGET]) == 2 * 2
        assert all(case.target is None for case in fold.learning.cases)
        shown = {id(case.image) for case in fold.learning.cases}
        (held_out,) = fold.testing
        assert not shown & {id(held_out.image), id(held_out.target)}
        targets = {id(case.target) for case in cases}
        of_domain = {case.domain: id(case.image) in targets for case in fold.learning.cases}
        assert of_domain == {SOURCE: False, TARGET: True}


@pytest.mark.parametrize("method", METHODS)
def test_slices_beyond_the_ends_of_the_mr_do_not_teach(method: str) -> None:
    cases = _cases(shown=3)
    recipe = recipe_of(method)
    learning = fold_of(recipe, cases, 1).learning.cases
    slices = {case.slices for case in learning if case.domain != TARGET}
    assert slices == {(0, 1, 2) if recipe.is_volumetric else (0, 2)}


@pytest.mark.parametrize("method", METHODS)
def test_folds_are_those_of_the_supervised_recipe(method: str) -> None:
    cases = _cases(4)
    divided = subject_folds(Cohort(tuple(cases), None), 4, STUDY.plan.training.seed)
    for fold in divided:
        mine = fold_of(recipe_of(method), cases, fold.number)
        assert mine.held_out == fold.held_out
        assert mine.testing == fold.testing
        assert set(fold.held_out).isdisjoint(case.subject for case in mine.learning.cases)


def test_a_perfect_translation_has_no_error_on_the_slices_that_are_measured() -> None:
    (case,) = _cases(1)
    assert isinstance(case.target, Image)
    voxels = case.target.voxels.copy()
    voxels[1::2] += 500
    assert measured(case.target.with_voxels(voxels), case)["mae"] == 0
    voxels[::2] += 7
    assert measured(case.target.with_voxels(voxels), case)["mae"] == 7


@pytest.mark.parametrize("method", ["L1", "cyclegan"])
def test_a_fold_is_trained_and_measured_once(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limbs_adversarial, "RESULTS", tmp_path / "results.jsonl")
    options = Namespace(epochs=1, output=tmp_path)
    for _ in range(2):
        run_fold(method, 0, 2, _cases(), options)
    (record,) = read_records(tmp_path / "results.jsonl")
    assert record["slices"] == 3
    assert record["epochs"] == 1
    assert record["mae"] > 0
    (written,) = tmp_path.rglob("translated.nrrd")
    assert written.is_file()


def test_the_table_compares_on_the_same_patients_by_the_last_recipe() -> None:
    def record(method: str, fold: int, mae: float, recipe: str | None = None) -> dict[str, object]:
        numbers = {"mae": mae, "psnr": 20.0, "ssim": 0.5}
        return {"method": method, "fold": fold, "seed": 0, "recipe": recipe, **numbers}

    def studied(fold: int, network: float, median: float, recipe: str) -> dict[str, object]:
        rows = [{**record("network", fold, network)}, {**record(REGRESSED, fold, median)}]
        about = {"fold": fold, "seed": 0, "epochs": 1, "variant": "recipe", "recipe": recipe}
        return {**about, "rows": rows}

    records = [
        *(record(MATCHED, fold, 250.0) for fold in (1, 2, 3)),
        record("pix2pix", 1, 999.0, "old"),
        record("pix2pix", 1, 60.0, "new"),
        record("pix2pix", 2, 30.0, "new"),
    ]
    beside = [
        studied(1, 40.0, 50.0, STUDY.digest),
        studied(2, 30.0, 60.0, STUDY.digest),
        studied(3, 1.0, 1.0, STUDY.digest),
        studied(1, 7.0, 7.0, "another"),
    ]
    lines = table(records, beside, ["pix2pix", "cut"])
    rows = {line.split(" | ")[0].lstrip("| "): line.split(" | ")[1:] for line in lines[2:]}
    assert list(rows) == [SUPERVISED, REGRESSED, MATCHED, "pix2pix"]
    assert rows["pix2pix"][0] == "2"
    assert rows["pix2pix"][2] == "45.0 (30.0 to 60.0)"
    assert rows["pix2pix"][5:8] == ["1.25", "0.85", "0.18"]
    assert rows[SUPERVISED][2] == "35.0 (30.0 to 40.0)"
    assert rows[MATCHED][2] == "250.0"
