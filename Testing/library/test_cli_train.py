"""`deeptranslate train`: cohorts, recipes, what is refused, and what a stopped run leaves."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_samples import ROOT, fails, run, run_json
from engine_samples import labels_recipe, lps_affine, random_hu

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.jobs import read_events
from DeepTranslateLib.model import read_model
from DeepTranslateLib.recipe import write_recipe

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.fixture
def cohort(place):
    """Three subjects whose label 10 is what is above 0 HU, a recipe for it, no faults."""
    for number in range(3):
        folder = place / "cohort" / f"s{number}"
        folder.mkdir(parents=True)
        voxels = random_hu((4, 16, 16), number)
        write_image(Image(voxels, lps_affine()), folder / "image.nrrd")
        labels = Image((voxels > 0).astype(np.uint8) * 10, lps_affine())
        write_image(labels, folder / "labels.nrrd")
    write_recipe(labels_recipe(1, training={"epochs": 2}), place / "tiny.json")
    return place / "cohort"


def train(cohort, *more, recipe="tiny.json", output="run"):
    return ["train", "--recipe", recipe, "--cohort", cohort, "--output", output, *more]


def test_training_on_a_csv_with_slices_leaves_a_model_that_translates(cohort, place, capfd):
    lines = ["subject,image,labels,slices,split"]
    for number, slices, split in ((0, "0-2", "training"), (1, "1 3", "training"), (2, "", "")):
        images = f"cohort/s{number}/image.nrrd,cohort/s{number}/labels.nrrd"
        lines.append(f"s{number},{images},{slices},{split or 'validation'}")
    (place / "cohort.csv").write_text("\n".join(lines) + "\n")
    code, events = run_json(capfd, *train("cohort.csv", "--seed", "7"))
    assert code == 0
    kinds = [event["event"] for event in events]
    assert kinds.count("epoch") == 2
    started = next(event for event in events if event["event"] == "training_started")
    assert (started["slices"], started["validation_slices"]) == (5, 4)
    assert events[-1]["model"] == str(Path("run/model.dtmodel"))
    model = read_model("run/model.dtmodel")
    assert model.card.seed == model.recipe.training.seed == 7
    assert not [path for path in Path("run").rglob("*") if ".part" in path.name]
    assert run("translate", "--model", "run/model.dtmodel", "--output", "out", "a.nrrd") == 0


def test_training_on_an_nnunet_data_set(cohort, place, capfd):
    data = place / "Dataset001_Tiny"
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True)
    for number in range(3):
        source = cohort / f"s{number}"
        name = f"case_{number:03}"
        write_image(read_image(source / "image.nrrd"), data / "imagesTr" / f"{name}_0000.nii.gz")
        write_image(read_image(source / "labels.nrrd"), data / "labelsTr" / f"{name}.nii.gz")
    about = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "label 1": 10},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (data / "dataset.json").write_text(json.dumps(about))
    assert run(*train(data, "--epochs", "1")) == 0
    out = capfd.readouterr().out
    assert "held out for validation" in out
    assert "Epoch 1/1: loss " in out
    assert "Model: run/model.dtmodel (epoch 1)" in out
    assert read_model("run/model.dtmodel").recipe.training.epochs == 1


def test_recipes_and_cohorts_that_cannot_be_used(cohort, place, capfd):
    (place / "bad.json").write_text('{"name": "x", "network": {"levels": 99}}')
    (place / "cut.json").write_text('{"name": ')
    (place / "header.csv").write_text("some,thing\n")
    (place / "empty").mkdir()
    for arguments, said in [
        (train(cohort, recipe="nothing"), "no recipe 'nothing'. Give a JSON file, or one of"),
        (train(cohort, recipe="bad.json"), "$.target: this field is required"),
        (train(cohort, recipe="cut.json"), "cut.json is not valid JSON"),
        (train(cohort, recipe="labels.dtmodel"), "labels.dtmodel is a model or another archive"),
        (train("nowhere.csv"), "nowhere.csv does not exist"),
        (train("header.csv"), "unknown columns 'some', 'thing'"),
        (train("empty"), "empty"),
        (train(cohort, output="a.nrrd"), "a.nrrd: File exists. A folder is needed"),
    ]:
        assert said in fails(capfd, 3, *arguments)
    assert not (place / "run" / "model.dtmodel").exists()


def test_a_cohort_with_faults_is_shown_and_not_trained(cohort, place, capfd):
    labels = read_image(cohort / "s1" / "labels.nrrd")
    write_image(labels.cropped((0, 0, 0), (8, 8, 4)), cohort / "s1" / "labels.nrrd")
    (cohort / "s2" / "image.nrrd").write_bytes(b"")
    code = run(*train(cohort))
    err = capfd.readouterr().err
    assert code == 3
    assert "fault(s); nothing was trained" in err
    for subject in ("s1", "s2"):
        assert re.search(rf"^{subject} +error ", err, re.MULTILINE)
    assert not (place / "run" / "checkpoints").exists()
    code, events = run_json(capfd, *train(cohort))
    assert (code, events[-1]["exit_code"]) == (3, 3)


def test_a_finished_run_is_not_trained_again_and_another_not_mixed_into_it(cohort, place, capfd):
    assert run(*train(cohort)) == 0
    capfd.readouterr()
    assert run(*train(cohort)) == 0
    assert "going on after epoch 2" in capfd.readouterr().out
    assert run(*train(cohort, "--seed", "5")) == 6
    assert "Train into a new folder" in " ".join(capfd.readouterr().err.split())


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_keeps_a_checkpoint_and_the_same_command_goes_on(cohort, place):
    command = train(cohort, "--epochs", "30", "--json")
    job = subprocess.Popen(
        [sys.executable, "-m", "DeepTranslateLib", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        for line in job.stdout:
            if json.loads(line)["event"] == "epoch":
                job.send_signal(signal.SIGINT)
                break
        rest, err = job.communicate(timeout=60)
    finally:
        job.kill()
    assert job.returncode == 130, err
    assert "Traceback" not in err
    assert json.loads(rest.splitlines()[-1])["event"] == "error"
    assert not Path("run/model.dtmodel").exists()
    assert list(Path("run/checkpoints").iterdir())
    assert run(*command) == 0
    events = read_events(Path("run/events.jsonl"))
    assert [event["resumed"] for event in events if event["event"] == "training_started"] == [
        False,
        True,
    ]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == list(range(30))
