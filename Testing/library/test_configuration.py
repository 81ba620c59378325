"""A recipe that is configured from a cohort: what is chosen, what is kept, and where it goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_samples import lps_affine

from DeepTranslateLib import phantom
from DeepTranslateLib.cli import main
from DeepTranslateLib.cli.handlers import Handlers, JobContext
from DeepTranslateLib.cohort import Cohort, CohortError, cohort_from_lists, read_cohort
from DeepTranslateLib.cohort.measurement import measure_cohort
from DeepTranslateLib.configuration import configured, with_labels_of
from DeepTranslateLib.engine.crossvalidation import cross_validate
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.jobs import AugmentJob, CheckJob
from DeepTranslateLib.model import read_model
from DeepTranslateLib.proposal import propose_recipe
from DeepTranslateLib.recipe import Recipe, RecipeError, read_recipe, recipe_from_json
from DeepTranslateLib.runfolder import RunError
from DeepTranslateLib.schema import to_json

NAME = "segment-anything-you-label"


def opened(**parts: dict[str, Any]) -> Recipe:
    """The built-in recipe with a network that is learnt at once."""
    content = to_json(read_recipe(NAME))
    small = {"network": {"levels": 2, "channels": 2}, "training": {"epochs": 1}}
    for part, fields in {**small, **parts}.items():
        content[part].update(fields)
    return recipe_from_json(content)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Three phantoms in memory; the third alone has a label 9, and its fat is denser."""
    subjects = phantom.subjects(3, slices=3, size=(40, 40), spacing=(12.0, 12.0, 20.0))
    images = [subject.image for subject in subjects]
    labels = [subject.labels for subject in subjects]
    other = labels[2].voxels.copy()
    other[1, 18:22, 18:22] = 9
    labels[2] = labels[2].with_voxels(other)
    voxels = images[2].voxels.copy()
    voxels[np.isin(other, (1, 2))] += 60
    images[2] = images[2].with_voxels(voxels)
    return cohort_from_lists(images, labels, ["a", "b", "c"])


def test_what_is_written_out_comes_back_as_it_is(cohort, tmp_path):
    recipe = read_recipe("ct-body-composition")
    proposal = configured(recipe, cohort, tmp_path / "run")
    assert proposal.recipe is recipe
    assert proposal.reasons == ()
    assert not (tmp_path / "run").exists()
    assert with_labels_of(recipe, cohort) is recipe


def test_what_is_chosen_is_what_a_proposal_without_a_base_chooses(cohort):
    recipe = configured(read_recipe(NAME), cohort).recipe
    plain = propose_recipe(measure_cohort(cohort)).recipe
    assert recipe.is_configured
    for part in ("target", "inputs", "sampling", "preprocessing", "network", "training"):
        assert getattr(recipe, part) == getattr(plain, part), part
    assert recipe.name == NAME


def test_what_differs_from_the_defaults_is_kept_and_what_follows_from_it_follows(cohort):
    plain = configured(read_recipe(NAME), cohort).recipe
    proposal = configured(
        opened(preprocessing={"window": [-200, 222]}, training={"epochs": 7}), cohort
    )
    recipe = proposal.recipe
    assert recipe.preprocessing.window == (-200, 222)
    assert (recipe.network.levels, recipe.network.channels) == (2, 2)
    assert not recipe.network.deep_supervision  # as with two levels
    assert recipe.training.epochs == 7
    assert plain.training.epochs > 7
    # About 20 averages of what is trained in all: 7 epochs of 8 slices are 56 steps.
    assert recipe.training.ema == pytest.approx(1 - 20 / 56, abs=1e-3)
    reasons = {reason.field: reason.reason for reason in proposal.reasons}
    assert reasons["preprocessing.window"].startswith("Given")
    assert not reasons["network.deep_supervision"].startswith("Given")
    fixed = configured(read_recipe(NAME), cohort, fixed=["training.epochs", "network"]).recipe
    assert fixed.training.epochs == Recipe("x", fixed.target).training.epochs
    assert fixed.network == Recipe("x", fixed.target).network


def test_an_open_recipe_makes_no_network_and_no_training(cohort, tmp_path):
    recipe = read_recipe(NAME)
    assert not recipe.is_configured
    for use in (lambda: build_network(recipe), lambda: train(recipe, cohort, tmp_path / "run")):
        with pytest.raises(RecipeError, match="chosen from a cohort, and none was measured"):
            use()
    assert not (tmp_path / "run").exists()
    content = to_json(recipe)
    content["configure"] = "as written"
    with pytest.raises(RecipeError, match=r"target\.labels: .*needs at least one"):
        recipe_from_json(content)


def test_all_faults_are_said_not_the_first(cohort):
    cases = list(cohort.cases)
    for place in (0, 2):
        moved = Image(cases[place].read_target().voxels, lps_affine((3, 3, 3)))
        cases[place] = dataclasses.replace(cases[place], target=moved)
    with pytest.raises(CohortError) as caught:
        configured(read_recipe(NAME), Cohort(tuple(cases), "mine"))
    lines = str(caught.value).splitlines()
    # No fault of b, though the recipe names none of the values in its label map.
    assert [line.split()[0] for line in lines if line[:1] in "abc" and line[1:2] == " "] == [
        "a",
        "c",
    ]


def test_a_run_goes_on_with_the_recipe_in_its_folder(cohort, tmp_path):
    run = tmp_path / "run"
    first = configured(opened(), cohort, run)
    train(first.recipe, cohort, run, "cpu")
    content = json.loads((run / "recipe.reasons.json").read_text())
    assert [item["field"] for item in content["reasons"]] == [r.field for r in first.reasons]
    assert content["fingerprint"]["subjects"] == 3
    # Rules that would choose otherwise by now do not matter.
    used = json.loads((run / "recipe.json").read_text())
    used["preprocessing"]["window"] = [-111, 111]
    (run / "recipe.json").write_text(json.dumps(used))
    again = configured(opened(training={"epochs": 2}), cohort, run)
    assert again.recipe.preprocessing.window == (-111, 111)
    assert again.recipe.training.epochs == 2
    assert again.reasons == first.reasons


def test_a_folder_with_a_training_of_another_recipe_is_left_alone(cohort, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.json").write_text("{}")
    with pytest.raises(RunError, match="was not configured from the recipe"):
        configured(opened(), cohort, run)
    assert [path.name for path in run.iterdir()] == ["recipe.json"]
    other = tmp_path / "other"
    train(configured(opened(), cohort, other).recipe, cohort, other, "cpu")
    before = (other / "recipe.reasons.json").read_bytes()
    for changed in (opened(training={"seed": 5}), opened(network={"channels": 4})):
        with pytest.raises(RunError, match="Give a new folder"):
            configured(changed, cohort, other)
    assert (other / "recipe.reasons.json").read_bytes() == before


def test_folds_are_configured_from_those_they_learn_from_and_share_the_labels(cohort, tmp_path):
    recipe = opened(training={"epochs": 1})
    rows = cross_validate(recipe, cohort, 3, tmp_path / "cv", device="cpu")
    labels = ["label 1", "label 2", "label 3", "label 9"]
    held_out = json.loads((tmp_path / "cv" / "plan.json").read_text())["folds"]
    measured = set()
    for number, (subject,) in enumerate(held_out, start=1):
        folder = tmp_path / "cv" / "seed_0" / f"fold_{number}"
        learning = [case for case in cohort.cases if case.subject != subject]
        expected = measure_cohort(Cohort(tuple(learning), "learning"))
        measured.add(expected.label_quartiles)
        content = json.loads((folder / "recipe.reasons.json").read_text())
        assert content["fingerprint"]["label_quartiles"] == list(expected.label_quartiles)
        used = read_recipe(folder / "recipe.json")
        assert used.preprocessing.window == propose_recipe(expected).recipe.preprocessing.window
        assert [label.name for label in used.target.labels] == labels
        assert {row["label"] for row in rows if row["subject"] == subject} == set(labels)
    assert len(measured) > 1
    finished = (tmp_path / "cv" / "seed_0" / "fold_1" / "model.dtmodel").stat().st_mtime_ns
    assert cross_validate(recipe, cohort, 3, tmp_path / "cv", device="cpu") == rows
    assert (tmp_path / "cv" / "seed_0" / "fold_1" / "model.dtmodel").stat().st_mtime_ns == finished


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    for subject in phantom.subjects(3, slices=3, size=(40, 40), spacing=(12.0, 12.0, 20.0)):
        (folder / "cohort" / subject.name).mkdir(parents=True)
        write_image(subject.image, folder / "cohort" / subject.name / "image.nrrd")
        write_image(subject.labels, folder / "cohort" / subject.name / "labels.nrrd")
    return folder


def test_one_command_measures_says_trains_and_goes_on(place, capfd):
    command = ["train", "--recipe", NAME, "--cohort", place / "cohort", "--output", place / "run"]
    assert main([*map(str, command), "--epochs", "1", "--device", "cpu"]) == 0
    out, _ = capfd.readouterr()
    reasons = json.loads((place / "run" / "recipe.reasons.json").read_text())["reasons"]
    for item in reasons:
        assert item["reason"] in out
    recipe = read_recipe(place / "run" / "recipe.json")
    assert recipe.training.epochs == 1
    proposed = configured(read_recipe(NAME), read_cohort(place / "cohort")).recipe
    assert recipe.network == proposed.network
    assert recipe.preprocessing.window == proposed.preprocessing.window
    assert main([*map(str, command), "--epochs", "2", "--device", "cpu"]) == 0
    assert "going on after epoch 1" in capfd.readouterr()[0]
    assert read_model(place / "run" / "model.dtmodel").recipe.training.epochs == 2
    other = ["train", "--recipe", "ct-body-composition", *map(str, command[3:])]
    assert main([*other, "--device", "cpu"]) == 6
    assert main([*map(str, command), "--seed", "3", "--device", "cpu"]) == 3
    assert "Give a new folder" in " ".join(capfd.readouterr()[1].split())


def test_an_open_recipe_names_no_labels_to_measure_by(place, capfd):
    image, labels = (next((place / "cohort").rglob(f"{name}.nrrd")) for name in ("image", "labels"))
    table = place / "t.csv"
    command = ["statistics", "--image", image, "--labels", labels, "--output", table]
    assert main([*map(str, command), "--recipe", NAME]) == 3
    assert "none was measured yet" in " ".join(capfd.readouterr()[1].split())
    assert not table.exists()
    command = ["evaluate", "--prediction", labels, "--reference", labels, "--recipe", NAME]
    assert main([*map(str, command)]) == 3


def test_jobs_configure_a_recipe_and_tell_what_they_chose(place, tmp_path):
    recipe = to_json(opened())
    subject = next((place / "cohort").iterdir())
    preview = AugmentJob(recipe, str(subject / "image.nrrd"), str(subject / "labels.nrrd"))
    for job in (preview, CheckJob(recipe, str(place / "cohort"))):
        events: list[dict[str, Any]] = []
        result = Handlers().do(job, JobContext(tmp_path, events.append, lambda: False))
        (told,) = [event for event in events if event["event"] == "configured"]
        assert recipe_from_json(told["recipe"]).is_configured
        assert told["reasons"]
        if isinstance(job, CheckJob):
            assert result["faults"] == []
        else:
            assert (tmp_path / result["file"]).is_file()


def test_a_check_says_the_faults_that_keep_a_recipe_from_being_chosen(place, tmp_path):
    folder = tmp_path / "cohort" / "only"
    folder.mkdir(parents=True)
    subject = next((place / "cohort").iterdir())
    image = read_image(subject / "image.nrrd")
    write_image(image, folder / "image.nrrd")
    write_image(image.with_voxels(np.zeros(image.shape, np.uint8)), folder / "labels.nrrd")
    job = CheckJob(to_json(read_recipe(NAME)), str(tmp_path / "cohort"))
    context = JobContext(tmp_path, lambda event: None, lambda: False)
    assert [fault["kind"] for fault in Handlers().do(job, context)["faults"]] == ["empty_labels"]
