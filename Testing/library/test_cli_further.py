"""Training further from the command line, and models of any epoch that was kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_samples import blobs, labels_recipe, lps_affine, volume_recipe
from safetensors.torch import load

from DeepTranslateLib.cli import main
from DeepTranslateLib.engine.checkpoint import load_state
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.model import read_model
from DeepTranslateLib.recipe import write_recipe
from DeepTranslateLib.runfolder import kept_checkpoint, read_run


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cohort of three with one label, and recipes with one and with two."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        voxels, labels = blobs(seed)
        folder = tmp_path / "cohort" / f"s{seed}"
        folder.mkdir(parents=True)
        write_image(Image(voxels, lps_affine()), folder / "image.nrrd")
        write_image(Image(np.where(labels == 20, 0, labels), lps_affine()), folder / "labels.nrrd")
    for labels in (1, 2):
        recipe = labels_recipe(labels, training={"epochs": 3, "validation_fraction": 0.3})
        write_recipe(recipe, tmp_path / f"{labels}.json")
    return tmp_path


def train(recipe: str, output: str, *options: object) -> int:
    return run("train", "--recipe", recipe, "--cohort", "cohort", "--output", output,
               "--device", "cpu", *options)  # fmt: skip


def results(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_any_kept_epoch_becomes_a_model_and_the_best_where_none_is_named(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train("1.json", "run", "--keep-every", 2) == 0
    state = read_run("run")
    assert state.recipe.training.keep_every == 2
    assert set(state.saved_epochs) == {2, state.best_epoch}
    capfd.readouterr()
    assert run("export", "--run", "run", "--epoch", 2, "--output", "new/two.dtmodel", "--json") == 0
    (result,) = results(capfd)
    assert (result["epoch"], result["saved_epochs"]) == (2, list(state.saved_epochs))
    weights = load(read_model(place / "new" / "two.dtmodel").weights())
    kept = load_state(place / "run" / kept_checkpoint(2))["weights"]
    assert all(np.array_equal(weights[name], kept[name]) for name in kept)
    assert run("export", "--run", "run", "--output", "best.dtmodel") == 0
    assert read_model("best.dtmodel").weights() == read_model("run/model.dtmodel").weights()


def test_previews_after_every_so_many_epochs_are_asked_for_of_a_run_that_goes_on(
    place: Path,
) -> None:
    assert train("1.json", "run") == 0
    assert train("1.json", "run", "--epochs", 7, "--preview-every", 5) == 0
    assert read_run("run").recipe.training.preview_every == 5
    shown = sorted(path.name for path in (place / "run" / "previews").glob("epoch_*"))
    # The first part's first and last, then the 5th and the last.
    assert shown == [f"epoch_{epoch:04d}.nrrd" for epoch in (1, 3, 5, 7)]


def test_export_refuses_what_was_not_kept_and_overwrites_nothing(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train("1.json", "run") == 0
    Path("here.dtmodel").write_bytes(b"mine")
    capfd.readouterr()
    assert run("export", "--run", "run", "--output", "here.dtmodel") == 3
    assert "is there already" in capfd.readouterr().err
    assert Path("here.dtmodel").read_bytes() == b"mine"
    assert run("export", "--run", "run", "--epoch", 44, "--output", "x.dtmodel") == 3
    assert "The weights of epoch 44 are not in run" in " ".join(capfd.readouterr().err.split())
    assert run("export", "--run", "cohort", "--output", "x.dtmodel") == 3
    assert "holds no training" in capfd.readouterr().err
    assert not Path("x.dtmodel").exists()


def test_a_training_starts_from_a_model_or_from_what_of_it_fits(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train("1.json", "first", "--epochs", 1) == 0
    model = place / "first" / "model.dtmodel"
    assert train("1.json", "second", "--epochs", 1, "--initial", model) == 0
    origin = read_model("second/model.dtmodel").card.cohort["initial_model"]
    assert origin["weights_sha256"] == read_model(model).card.weights_sha256
    capfd.readouterr()
    assert train("2.json", "third", "--initial", model) == 6
    said = " ".join(capfd.readouterr().err.split())
    assert "number of target.labels is 1 in the model and 2" in said
    assert not Path("third").exists()
    assert train("2.json", "third", "--initial", model, "--transfer") == 0
    assert "Starting from the model 'tiny'; anew: heads.0." in capfd.readouterr().out
    assert train("1.json", "fourth", "--transfer") == 3
    assert "Give one with --initial" in " ".join(capfd.readouterr().err.split())


def test_a_training_of_volumes_tells_its_absolute_errors(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [f"s{n},cohort/s{n}/image.nrrd,cohort/s{n}/image.nrrd" for n in range(3)]
    Path("volumes.csv").write_text("\n".join(["subject,image,target", *rows]) + "\n")
    training = {"epochs": 2, "validation_fraction": 0.3}
    write_recipe(volume_recipe(training=training), place / "volume.json")
    arguments = ["--recipe", "volume.json", "--cohort", "volumes.csv", "--output", "run"]
    assert run("train", *arguments, "--device", "cpu") == 0
    told = capfd.readouterr().out
    history = read_run("run").history
    for number, row in enumerate(history, start=1):
        error = row["validation_metrics"]["mae"]
        assert f"Epoch {number}/2: loss" in told
        assert f", MAE {error:.4g}, best" in told
    card = read_model(place / "run" / "model.dtmodel").card
    error = card.metrics["validation"]["mean_absolute_error"]
    assert f"Mean absolute error on the validation slices: {error:.4g}" in told
