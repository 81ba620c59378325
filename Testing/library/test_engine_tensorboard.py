"""Logs for TensorBoard, read back as TensorBoard reads them."""

from __future__ import annotations

import importlib.util
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_samples import blobs, blobs_cohort, labels_recipe, lps_affine, volume_recipe
from PIL import Image as Picture
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from DeepTranslateLib.cli import main
from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.engine.crossvalidation import cross_validate
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.tensorboard import MissingPackageError, TensorBoardLog, preview_picture
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image, write_image
from DeepTranslateLib.jobs import Stopped, read_events
from DeepTranslateLib.recipe import Recipe, write_recipe
from DeepTranslateLib.runfolder import read_run


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a power cut would notice.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def tiny(**training: Any) -> Recipe:
    training = {"epochs": 4, "validation_fraction": 0.3, **training}
    return labels_recipe(2, training=training, optimizer={"schedule": "linear"})


def logged(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(
        str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0}
    )
    return accumulator.Reload()


def curve(log: EventAccumulator, name: str) -> dict[int, float]:
    points = log.Scalars(name)
    assert len({point.step for point in points}) == len(points), "a step is there twice"
    return {point.step: point.value for point in points}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(tiny(), blobs_cohort(), folder, "cpu", tensorboard=True)
    return folder


def assert_curves_are_the_history(folder: Path) -> None:
    log, history = logged(folder), read_run(folder).history
    expected: dict[str, dict[int, float]] = {}
    for row in history:
        values = {
            "loss/training": row["loss"],
            "loss/validation": row["validation_loss"],
            **{f"dice/{name}": value for name, value in row["validation_dice"].items()},
            **{f"validation/{name}": value for name, value in row["validation_metrics"].items()},
            **{f"losses/{name}": value for name, value in row.get("losses", {}).items()},
        }
        for name, value in values.items():
            if value is not None:
                expected.setdefault(name, {})[row["epoch"] + 1] = value
    assert set(log.Tags()["scalars"]) == {*expected, "learning rate"}
    for name, points in expected.items():
        assert curve(log, name) == pytest.approx(points, rel=1e-6), name


def test_curves_hold_each_epochs_losses_and_metrics(run: Path) -> None:
    assert_curves_are_the_history(run)
    assert len(curve(logged(run), "loss/training")) == 4


def test_the_learning_rate_is_that_of_each_epoch(run: Path) -> None:
    # Linear: constant in the first half, then down in a line.
    expected = {1: 0.01, 2: 0.01, 3: 0.01, 4: 0.005}
    assert curve(logged(run), "learning rate") == pytest.approx(expected)


def test_pictures_are_of_the_previews_epochs_and_show_them(run: Path) -> None:
    previews = [e for e in read_events(run / "events.jsonl") if e["event"] == "preview"]
    pictures = logged(run).Images("preview")
    assert [p.step for p in pictures] == [e["epoch"] + 1 for e in previews]
    shown = np.asarray(Picture.open(io.BytesIO(pictures[-1].encoded_image_string)))
    assert shown.shape == (16, 48, 3)
    # What is not labelled is grey, and the same in the target as in the input.
    grey, target = shown[:, :16].astype(int), shown[:, 16:32].astype(int)
    assert (grey == grey[..., :1]).all()
    labelled = (grey != target).any(axis=-1)
    assert 20 < labelled.sum() < 80


def test_without_pairs_there_are_all_losses_and_pictures_of_the_way_back(tmp_path: Path) -> None:
    recipe = volume_recipe(
        network={"name": "resnet", "levels": 2, "channels": 2, "blocks": [1]},
        method={"name": "cyclegan", "loss": "mae"},
        adversarial={"discriminator_channels": 2, "discriminator_layers": 1},
        training={"epochs": 2, "monitor": "last"},
    )
    cases = tuple(
        Case(f"{domain} {n}", Image(blobs(n)[0], lps_affine()), None, domain=domain)
        for domain in ("source", "target")
        for n in range(2)
    )
    train(recipe, Cohort(cases, "blobs"), tmp_path, "cpu", tensorboard=True)
    assert_curves_are_the_history(tmp_path)
    log = logged(tmp_path)
    assert {"losses/cycle there", "losses/discriminator_accuracy"} <= set(log.Tags()["scalars"])
    (*_, picture) = log.Images("preview")
    shown = np.asarray(Picture.open(io.BytesIO(picture.encoded_image_string)))
    assert shown.shape == (16, 48, 3)
    (*_, event) = [e for e in read_events(tmp_path / "events.jsonl") if e["event"] == "preview"]
    image, cycled = (read_image(tmp_path / event[part]).voxels[0] for part in ("input", "cycled"))
    # As bright as the input is, whose darkest and brightest are black and white.
    low, high = np.percentile(image, (0.5, 99.5))
    expected = 255 * ((cycled - low) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(shown[:, 32:, 0], expected, atol=1)


def test_a_training_that_was_killed_and_goes_on_has_each_epoch_once(tmp_path: Path) -> None:
    # Nothing is saved after the first checkpoint, so that later epochs are done twice.
    epochs = []

    def die(event: dict[str, Any]) -> None:
        epochs.append(event["event"] == "epoch")
        if sum(epochs) == 3:
            raise KeyboardInterrupt

    options = {"device": "cpu", "tensorboard": True, "checkpoint_seconds": 1e6}
    answers = iter([False] * 6 + [True])
    with pytest.raises(Stopped):
        train(tiny(), blobs_cohort(), tmp_path, should_stop=lambda: next(answers), **options)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), blobs_cohort(), tmp_path, sink=die, **options)
    train(tiny(), blobs_cohort(), tmp_path, **options)
    begun = [e for e in read_events(tmp_path / "events.jsonl") if e["event"] == "epoch"]
    assert len(begun) > 4
    assert_curves_are_the_history(tmp_path)


def test_values_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, tiny())
    log({"event": "training_started", "epoch": 0})
    for epoch, dice in ((0, None), (1, 0.5)):
        losses = {"epoch": epoch, "loss": 1.0, "validation_loss": 2.0}
        metrics = {"validation_dice": {"fat": dice}, "validation_metrics": {"psnr": None}}
        log({"event": "epoch", **losses, **metrics})
    log.close()
    found = logged(tmp_path)
    assert curve(found, "dice/fat") == {2: 0.5}
    assert curve(found, "loss/validation") == {1: 2.0, 2: 2.0}
    assert "validation/psnr" not in found.Tags()["scalars"]


def test_labels_are_seen_in_their_colours_and_volumes_as_bright_as_the_target() -> None:
    recipe = labels_recipe(2)
    image = np.linspace(0, 100, 64).reshape(8, 8)
    labels = np.zeros((8, 8))
    labels[2, 3], labels[4, 5] = 10, 20
    picture = preview_picture(image, labels, np.zeros((8, 8)), recipe).astype(float)
    low, high = np.percentile(image, [0.5, 99.5])
    grey = 255 * ((image - low) / (high - low)).clip(0, 1)
    for column, label in ((3, 0), (5, 1)):
        place = (2 if label == 0 else 4, column)
        expected = (grey[place] + np.array(recipe.target.labels[label].color)) / 2
        assert picture[place[0], 8 + column] == pytest.approx(expected, abs=1)
    assert picture[:, 16:, 0] == pytest.approx(grey, abs=1)
    values = preview_picture(image, image * 3, image * 6, volume_recipe()).astype(float)
    assert values[:, 8:16, 0] == pytest.approx(grey, abs=1)
    bright = 255 * ((2 * image - low) / (high - low)).clip(0, 1)
    assert values[:, 16:, 0] == pytest.approx(bright, abs=1)


def test_each_fold_has_a_log_of_its_own(tmp_path: Path) -> None:
    cross_validate(tiny(epochs=1), blobs_cohort(), 3, tmp_path, device="cpu", tensorboard=True)
    for fold in (1, 2, 3):
        assert_curves_are_the_history(tmp_path / "seed_0" / f"fold_{fold}")


def test_nothing_is_written_unless_it_is_asked_for(tmp_path: Path) -> None:
    train(tiny(epochs=1), blobs_cohort(), tmp_path, "cpu")
    assert not (tmp_path / "tensorboard").exists()


def test_without_the_package_nothing_begins_and_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "tensorboard" else found(n, *a)
    )
    with pytest.raises(MissingPackageError, match=r'pip install "tensorboard>='):
        train(tiny(), blobs_cohort(), tmp_path / "run", "cpu", tensorboard=True)
    with pytest.raises(MissingPackageError, match=r"events\.jsonl holds the same"):
        cross_validate(tiny(), blobs_cohort(), 3, tmp_path / "cv", device="cpu", tensorboard=True)
    assert not list(tmp_path.iterdir())


def test_both_commands_write_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        voxels, labels = blobs(seed)
        (tmp_path / "cohort" / f"s{seed}").mkdir(parents=True)
        for name, content in (("image", voxels), ("labels", labels)):
            path = tmp_path / "cohort" / f"s{seed}" / f"{name}.nrrd"
            write_image(Image(content, lps_affine()), path)
    write_recipe(tiny(epochs=1), tmp_path / "tiny.json")
    given = ["--recipe", "tiny.json", "--cohort", "cohort", "--device", "cpu", "--tensorboard"]
    assert main(["train", *given, "--output", "run", "--json"]) == 0
    assert main(["cross-validate", *given, "--folds", "2", "--output", "cv", "--json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["event"] for line in lines].count("result") == 2
    for folder in ("run", "cv/seed_0/fold_1", "cv/seed_0/fold_2"):
        assert_curves_are_the_history(tmp_path / folder)
