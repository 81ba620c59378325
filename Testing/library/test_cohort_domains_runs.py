"""Cohorts with two domains: what cross-validation, estimate and command line make of them."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from domain_samples import UNPAIRED, cohort_of, ct, mr

from DeepTranslateLib.cli import main
from DeepTranslateLib.cli.failures import BAD_INPUT
from DeepTranslateLib.cohort import Case, Cohort, split_cohort
from DeepTranslateLib.cohort.case import DOMAINS, CohortError
from DeepTranslateLib.engine import estimate, foldrun
from DeepTranslateLib.engine.crossvalidation import cross_validate
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.schema import to_json


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
