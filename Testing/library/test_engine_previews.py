"""Previews of a training: the right slice, in its place, and nothing else changed by them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import blobs, blobs_cohort, labels_recipe, lps_affine, stored_as, volume_recipe

from DeepTranslateLib.cohort import Case, Cohort, Selection, cohort_from_lists
from DeepTranslateLib.engine import previews
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.planes import recipe_of_plane
from DeepTranslateLib.engine.preprocessing import slice_stack
from DeepTranslateLib.engine.previews import Previews
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.engine.volumeset import prepared_set
from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import read_image
from DeepTranslateLib.jobs import Events
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import FORWARD, Recipe, recipe_from_json
from DeepTranslateLib.schema import to_json

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a power cut would notice.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Watched:
    """Previews of one case, and the events they emit."""

    def __init__(self, case: Case, recipe: Recipe, folder: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self.folder = folder
        self.recipe = recipe
        torch.manual_seed(0)
        self.network = build_network(recipe)
        validation = prepared_set([Selection(case, None)], recipe, folder / "cache")
        events = Events(sink=self.events.append)
        self._previews = Previews(folder, recipe, validation, CPU, events)

    def __call__(self, epoch: int, last: bool = False) -> None:
        self._previews({FORWARD: self.network}, epoch, last)

    def image(self, name: str) -> Image:
        return read_image(self.folder / "previews" / f"{name}.nrrd")


def case_of(orientation: str, recipe: Recipe) -> Case:
    voxels, labels = blobs(1, slices=6)
    labels[2] = 20  # the slice with most to see
    labels[2, 0, 0] = 99
    affine = lps_affine((0.9, 0.7, 3.0))
    target = Image(labels, affine) if recipe.target.labels else Image(voxels // 2, affine)
    return Case("s", stored_as(Image(voxels, affine), orientation), stored_as(target, orientation))


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "SLA"])
def test_a_preview_is_what_translating_the_whole_volume_shows_there(
    tmp_path: Path, orientation: str
) -> None:
    target = {"ignore": 99}
    recipe = labels_recipe(2, target={**to_json(labels_recipe(2).target), **target})
    case = case_of(orientation, recipe)
    watched = Watched(case, recipe, tmp_path)
    watched(0)
    whole = Translator(watched.network, recipe, CPU).translate(case.read_image())
    axial = {"input": case.read_image(), "target": case.read_target(), "epoch_0001": whole}
    for name, image in axial.items():
        shown = watched.image(name).oriented("LPS")
        upright = image.oriented("LPS")
        assert shown.same_grid(upright.cropped((0, 0, 2), (16, 16, 3))), name
        assert np.array_equal(shown.voxels[0], upright.voxels[2]), name
    (event,) = watched.events
    names = {"input": "input", "target": "target", "prediction": "epoch_0001"}
    assert event["event"] == "preview"
    assert event["epoch"] == 0
    assert {key: event[key] for key in names} == {
        key: f"previews/{name}.nrrd" for key, name in names.items()
    }


def test_a_preview_of_a_coronal_volume_recipe_is_in_its_units(tmp_path: Path) -> None:
    recipe = volume_recipe(sampling={"plane": "coronal"})
    voxels = np.random.default_rng(0).integers(-900, 900, (5, 7, 6)).astype(np.int16)
    voxels[:, 4] *= 0
    voxels[::2, 3] = -1000
    voxels[1::2, 3] = 999
    image = Image(voxels, lps_affine((1, 2, 3)))
    watched = Watched(Case("s", image, image), recipe, tmp_path)
    watched(0)
    # Row 3, where the values spread most.
    assert np.array_equal(watched.image("target").oriented("LPS").voxels, voxels[:, 3:4])
    whole = Translator(watched.network, recipe, CPU).translate(image)
    assert np.array_equal(watched.image("epoch_0001").oriented("LPS").voxels, whole.voxels[:, 3:4])


@pytest.mark.parametrize("orientation", ["LPS", "RAI"])
def test_a_preview_of_patches_is_what_translating_the_whole_volume_shows_there(
    tmp_path: Path, orientation: str
) -> None:
    recipe = labels_recipe(
        2,
        sampling={"patch": [4, 8, 8]},
        network={"dimension": 3},
        preprocessing={"slice_spacing": 2.1, "spacing_tolerance": 0.0},
    )
    case = case_of(orientation, recipe)
    watched = Watched(case, recipe, tmp_path)
    watched(0)
    whole = Translator(watched.network, recipe, CPU).translate(case.read_image()).oriented("LPS")
    assert len(np.unique(whole.voxels[2])) > 1
    shown = watched.image("epoch_0001").oriented("LPS")
    assert np.array_equal(shown.voxels[0], whole.voxels[2])
    assert shown.same_grid(whole.cropped((0, 0, 2), (16, 16, 3)))


def test_with_fused_planes_a_preview_is_that_of_the_recipes_own(tmp_path: Path) -> None:
    recipe = labels_recipe(2, sampling={"fusion": True})
    case = case_of("LPS", recipe)
    watched = Watched(case, recipe, tmp_path)
    watched(0)
    own = recipe_of_plane(recipe, "axial")
    alone = Translator(watched.network, own, CPU).translate(case.read_image())
    assert np.array_equal(watched.image("epoch_0001").voxels[0], alone.voxels[2])


def test_the_body_is_that_of_the_whole_volume(tmp_path: Path) -> None:
    phantom = torso(1, slices=6, size=(96, 96), spacing=(5.2, 5.2, 8.0))
    recipe = recipe_from_json(
        {
            **to_json(labels_recipe(1)),
            "preprocessing": {"window": [-300, 300], "spacing": 6, "body_crop": True},
        }
    )
    labels = phantom.labels.with_voxels((phantom.labels.voxels == 1).astype(np.uint8) * 10)
    watched = Watched(Case("s", phantom.image, labels), recipe, tmp_path)
    watched(0)
    shown = watched.image("epoch_0001")
    whole = Translator(watched.network, recipe, CPU).translate(phantom.image)
    index = round(float(phantom.image.ijk(shown.ras((0, 0, 0)))[2]))
    assert np.array_equal(shown.voxels[0], whole.voxels[index])
    assert np.array_equal(watched.image("input").voxels[0], phantom.image.voxels[index])


def test_a_slice_alone_is_prepared_as_it_is_in_its_volume() -> None:
    image = torso(2, slices=9, size=(64, 64), spacing=(7.0, 7.0, 1.5)).image
    recipe = recipe_from_json(
        {
            **to_json(labels_recipe(1)),
            "preprocessing": {"window": [-300, 300], "spacing": 9, "body_crop": True},
        }
    )
    stack = slice_stack(image, recipe)
    for index in range(9):
        alone = stack.alone(index)
        assert len(alone) == 1
        assert torch.equal(alone.images([0]), stack.images([index]))
        assert np.array_equal(alone.body.inside([0]), stack.body.inside([index]))


def test_previews_come_first_last_and_at_most_every_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    watched = Watched(case_of("LPS", labels_recipe(2)), labels_recipe(2), tmp_path)
    for epoch, after in enumerate((0.0, 4.9, 0.2, 1.0, 4.1)):
        now[0] += after
        watched(epoch)
    watched(5, last=True)
    assert [event["epoch"] for event in watched.events] == [0, 2, 4, 5]


def test_slow_previews_take_a_small_part_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    translate = Translator.translate_stack

    def slow(*arguments: Any) -> Any:
        now[0] += 2.0
        return translate(*arguments)

    monkeypatch.setattr(Translator, "translate_stack", slow)
    watched = Watched(case_of("LPS", labels_recipe(2)), labels_recipe(2), tmp_path)
    for epoch in range(1000):
        watched(epoch)
        now[0] += 1.0
    assert 2.0 * len(watched.events) < 0.03 * now[0]
    assert len(watched.events) > 5


def test_only_the_last_predictions_are_kept(tmp_path: Path) -> None:
    watched = Watched(case_of("LPS", labels_recipe(2)), labels_recipe(2), tmp_path)
    (tmp_path / "previews").mkdir()
    for epoch in (*range(25), 10_000):
        watched(epoch, last=True)
    names = sorted(path.name for path in (tmp_path / "previews").iterdir())
    kept = [*range(7, 26), 10_001]
    assert len(kept) == previews.KEPT
    expected = [f"epoch_{epoch:04d}.nrrd" for epoch in kept]
    assert names == sorted([*expected, "input.nrrd", "target.nrrd"])


def test_previews_that_were_asked_for_come_by_number_and_are_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    recipe = labels_recipe(2, training={"preview_every": 3})
    watched = Watched(case_of("LPS", recipe), recipe, tmp_path)
    for epoch in range(77):
        watched(epoch, last=epoch == 76)
        now[0] += 0.01 if epoch < 40 else 1e6
    # The first, the 3rd, 6th and so on, and the last, the 77th.
    due = [1, *range(3, 77, 3), 77]
    assert [event["epoch"] + 1 for event in watched.events] == due
    kept = sorted(path.name for path in (tmp_path / "previews").glob("epoch_*"))
    assert kept == [f"epoch_{epoch:04d}.nrrd" for epoch in due]
    assert len(kept) > previews.KEPT


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_watching_does_not_change_what_is_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, norm: str
) -> None:
    recipe = labels_recipe(
        2, network={"norm": norm}, training={"epochs": 3, "validation_fraction": 0.3, "ema": 0.7}
    )
    monkeypatch.setattr(previews, "_SECONDS", 0.0)
    monkeypatch.setattr(previews, "_SHARE", 1e9)
    heard: list[dict[str, Any]] = []
    watched = train(recipe, blobs_cohort(), tmp_path / "a", device="cpu", sink=heard.append)
    assert [event["epoch"] for event in heard if event["event"] == "preview"] == [0, 1, 2]
    monkeypatch.setattr(Previews, "__call__", lambda *arguments: None)
    alone = train(recipe, blobs_cohort(), tmp_path / "b", device="cpu")
    assert watched.weights() == alone.weights()
    assert not (tmp_path / "b" / "previews").exists()


def test_a_run_shows_its_first_and_its_last_epoch(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    recipe = labels_recipe(2, training={"epochs": 3, "validation_fraction": 0.3})
    train(recipe, blobs_cohort(), tmp_path, device="cpu", sink=heard.append)
    shown = [event for event in heard if event["event"] == "preview"]
    assert [event["epoch"] for event in shown] == [0, 2]
    for event in shown:
        for name in ("input", "target", "prediction"):
            assert read_image(tmp_path / event[name]).shape == (1, 16, 16)


def test_a_tilted_image_that_no_file_can_hold_is_trained_without_previews(tmp_path: Path) -> None:
    affine = lps_affine()
    affine[0, 1] = 0.3
    pairs = [blobs(seed) for seed in range(3)]
    cohort: Cohort = cohort_from_lists(
        [Image(voxels, affine) for voxels, _ in pairs],
        [Image(labels, affine) for _, labels in pairs],
    )
    heard: list[dict[str, Any]] = []
    recipe = labels_recipe(2, training={"epochs": 1, "validation_fraction": 0.3})
    train(recipe, cohort, tmp_path, device="cpu", sink=heard.append)
    assert heard[-1]["event"] == "finished"
    assert not any(event["event"] == "preview" for event in heard)
