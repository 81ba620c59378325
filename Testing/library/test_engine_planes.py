"""Three planes fused: what teaches, and the mean of what the planes make of a volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import (
    STILL,
    blobs_cohort,
    labels_recipe,
    lps_affine,
    oblique_affine,
    random_hu,
    stored_as,
    volume_recipe,
)
from safetensors.torch import load
from torch import Tensor, nn

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine import planes
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.evaluation import evaluate
from DeepTranslateLib.engine.labelvalues import IGNORE
from DeepTranslateLib.engine.memory import MemoryLimitError
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.planes import PlaneFusion, recipe_of_plane, selections_of_planes
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.image import Image
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import Recipe, RecipeError

CPU = torch.device("cpu")
ALL = ("axial", "coronal", "sagittal")


def fusing(recipe: Any = labels_recipe, *arguments: Any, **parts: dict[str, Any]) -> Recipe:
    parts["sampling"] = {"fusion": True, **parts.get("sampling", {})}
    return recipe(*arguments, **parts)


class Pointwise(nn.Module):
    """Sees one pixel and nothing around it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> list[Tensor]:
        return [torch.cat([torch.sin(7 * images + n) for n in range(self.channels)], dim=1)]


def random_network(recipe: Recipe) -> nn.Module:
    torch.manual_seed(1)
    return build_network(recipe).eval()


IMAGE = Image(random_hu((9, 14, 11)), oblique_affine((0.8, 0.9, 2.0)))


@pytest.mark.parametrize("plane", ALL)
@pytest.mark.parametrize("orientation", ["LPS", "SLA", "RAI"])
def test_planes_of_a_network_that_ignores_its_surroundings_say_the_same(
    plane: str, orientation: str
) -> None:
    image = stored_as(IMAGE, orientation)
    for recipe, channels in (
        (fusing(labels_recipe, 2, sampling={"plane": plane}), 2),
        (fusing(volume_recipe, sampling={"plane": plane}), 1),
    ):
        network = Pointwise(channels)
        single = Translator(network, recipe_of_plane(recipe, plane), CPU).translate(image)
        found = Translator(network, recipe, CPU).translate(image)
        assert found.voxels == pytest.approx(single.voxels, abs=2e-2)
        assert found.same_grid(image)
        assert len(np.unique(found.voxels)) > 1


def test_a_volume_is_the_mean_of_three_translations() -> None:
    recipe = fusing(volume_recipe, preprocessing={"spacing": 1.1, "spacing_tolerance": 0.0})
    network = random_network(recipe)
    parts = [
        Translator(network, recipe_of_plane(recipe, plane), CPU).translate(IMAGE).voxels
        for plane in ALL
    ]
    found = Translator(network, recipe, CPU).translate(IMAGE)
    assert found.voxels == pytest.approx(np.mean(parts, axis=0), abs=1e-2)
    assert np.abs(parts[0] - parts[1]).max() > 1


class Logits(nn.Module):
    """The same for every pixel, whatever it sees."""

    def __init__(self, values: list[list[float]]) -> None:
        super().__init__()
        self.by_rows = values
        self.shapes = [(4, 5), (3, 5), (3, 4)]  # axial, coronal, sagittal slices of 3 x 4 x 5

    def forward(self, images: Tensor) -> list[Tensor]:
        values = torch.tensor(self.by_rows[self.shapes.index(tuple(images.shape[2:]))])
        return [values[None, :, None, None].expand(len(images), -1, *images.shape[2:])]


def expected_label(logits: list[list[float]], exclusive: bool) -> int:
    """By the mean of probabilities, in numpy: 10 times the label, or 0."""
    values = np.array(logits)
    if exclusive:
        p = np.exp(np.column_stack([np.zeros(3), values]))
        mean = (p / p.sum(axis=1, keepdims=True)).mean(axis=0)
        return 10 * int(mean.argmax())
    mean = (1 / (1 + np.exp(-values))).mean(axis=0)
    return 10 * (1 + int(mean.argmax())) if mean.max() > 0.5 else 0


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "dice_cross_entropy"])
@pytest.mark.parametrize("seed", range(6))
def test_a_label_is_chosen_by_the_mean_of_its_probabilities(loss: str, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (3, 2)).round(2).tolist()
    recipe = fusing(labels_recipe, 2, method={"loss": loss})
    image = Image(random_hu((3, 4, 5)), lps_affine())
    found = Translator(Logits(logits), recipe, CPU).translate(image)
    expected = expected_label(logits, loss == "dice_cross_entropy")
    assert (found.voxels == expected).all()


def test_one_certain_plane_outweighs_two_that_doubt() -> None:
    logits = [[9.0], [-0.4], [-0.4]]  # probabilities 1.00, 0.40, 0.40
    recipe = fusing(labels_recipe, 1)
    image = Image(random_hu((3, 4, 5)), lps_affine())
    assert (Translator(Logits(logits), recipe, CPU).translate(image).voxels == 10).all()


def test_through_files_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "_SLICES_READ", 4)
    recipe = fusing(labels_recipe, 2)
    network = random_network(recipe)
    whole = Translator(network, recipe, CPU).translate(IMAGE)
    made = []
    plain = PlaneFusion.__init__

    def through_files(self: PlaneFusion, *arguments: Any, **named: Any) -> None:
        plain(self, *arguments, **named)
        assert not self.in_file
        self.in_file = True
        made.append(self)

    monkeypatch.setattr(PlaneFusion, "__init__", through_files)
    found = Translator(network, recipe, CPU).translate(IMAGE)
    assert made
    assert np.array_equal(found.voxels, whole.voxels)
    assert len(np.unique(whole.voxels)) > 1


def test_what_memory_does_not_hold_goes_into_a_file_and_too_little_for_that_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = fusing(labels_recipe, 2)
    image = Image(np.broadcast_to(np.int16(0), (400, 64, 64)), lps_affine())
    held = 10**9
    monkeypatch.setattr(planes, "resident_memory", lambda: held)
    kept, slices = 4 * 2 * 400 * 64 * 64 * 2, 72 * 4 * 2 * 400 * 64

    def outputs(*arguments: Any) -> Any:
        raise AssertionError("nothing is translated yet")

    def made(limit: int) -> PlaneFusion:
        return PlaneFusion(image, recipe, outputs, limit, reserved=5000)

    assert not made(held + 5000 + slices + kept).in_file
    assert made(held + 5000 + slices + kept - 1).in_file
    assert made(held + 5000 + slices).in_file
    with pytest.raises(MemoryLimitError, match="at least"):
        made(held + 4999 + slices)


def test_a_full_disk_is_found_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "memory_use", lambda device: {"total": 0})
    monkeypatch.setattr(planes.shutil, "disk_usage", lambda folder: type("", (), {"free": 10}))
    with pytest.raises(MemoryLimitError, match="TMPDIR"):
        Translator(Pointwise(2), fusing(labels_recipe, 2), CPU).translate(IMAGE)


def test_outside_of_the_body_a_plane_votes_for_none() -> None:
    phantom = torso(4, slices=6, size=(48, 48), spacing=(10, 10, 10))
    recipe = fusing(volume_recipe, preprocessing={"body_crop": True})
    network = random_network(recipe)
    parts = [
        Translator(network, recipe_of_plane(recipe, plane), CPU).translate(phantom.image).voxels
        for plane in ALL
    ]
    found = Translator(network, recipe, CPU).translate(phantom.image).voxels
    assert found == pytest.approx(np.mean(parts, axis=0), abs=1e-2)
    assert (parts[0] == -1000).any()


def test_evaluation_is_that_of_the_fused_translation_and_progress_counts_all_planes() -> None:
    recipe = fusing(labels_recipe, 2)
    image, truth = Image(random_hu((4, 6, 5)), lps_affine()), np.zeros((4, 6, 5), np.uint8)
    truth[:, 2:] = 10
    translator = Translator(random_network(recipe), recipe, CPU)
    seen: list[tuple[int, int]] = []
    found = translator.translate(image, lambda *counts: seen.append(counts)).voxels[[3, 1]]
    assert seen == [(n, 15) for n in range(1, 16)]
    result = evaluate(translator, [Selection(Case("s", image, Image(truth, lps_affine())), (3, 1))])
    mine, theirs = found == 10, truth[[3, 1]] == 10
    expected = 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum())
    assert result["dice"]["label 1"] == pytest.approx(expected)


# ---- what teaches


def test_of_every_plane_as_many_slices_teach_and_only_what_is_labelled_counts(
    tmp_path: Path,
) -> None:
    voxels = random_hu((12, 8, 10))
    labels = np.full((12, 8, 10), 10, np.uint8)
    for orientation in ("LPS", "RSA"):
        image = stored_as(Image(voxels, lps_affine()), orientation)
        target = stored_as(Image(labels, lps_affine()), orientation)
        selection = Selection(Case("s", image, target), (2, 3, 7))
        recipe = fusing(labels_recipe, 1)
        parts = selections_of_planes(selection, recipe)
        assert [each.sampling.plane for _, each in parts] == list(ALL)
        assert [len(each.slices or ()) for each, _ in parts] == [3, 3, 3]
        taught = SliceSet([selection], recipe, tmp_path, every_plane=True).slices
        assert [piece.size for piece in taught] == [(8, 10)] * 3 + [(12, 10)] * 3 + [(12, 8)] * 3
        for piece in taught[3:]:
            known = (piece.target != IGNORE).all(dim=1)
            # Upright, the head is the first row; the slices are stored from the feet.
            rows = sorted(11 - index for index in (2, 3, 7)) if orientation == "LPS" else [2, 3, 7]
            rows = rows if orientation == "LPS" else sorted(11 - index for index in rows)
            assert known.nonzero()[:, 0].tolist() == rows
            assert (piece.target[known] == 1).all()
            assert (piece.target[~known] == IGNORE).all()


def test_a_volume_of_which_all_is_known_teaches_evenly_over_each_plane(tmp_path: Path) -> None:
    image = Image(random_hu((4, 12, 8)), lps_affine())
    recipe = fusing(volume_recipe)
    parts = selections_of_planes(Selection(Case("s", image, image), None), recipe)
    assert [each.slices for each, _ in parts] == [None, (1, 4, 7, 10), (1, 3, 5, 7)]
    taught = SliceSet([Selection(Case("s", image, image), None)], recipe, tmp_path, True).slices
    assert len(taught) == 12
    for piece in taught:
        assert torch.equal(piece.image, piece.target)


def test_for_volumes_what_is_in_no_labelled_slice_has_no_weight(tmp_path: Path) -> None:
    image = Image(random_hu((6, 5, 4)), lps_affine())
    selection = Selection(Case("s", image, image), (1,))
    taught = SliceSet([selection], fusing(volume_recipe), tmp_path, every_plane=True).slices
    assert [tuple(piece.target.shape) for piece in taught] == [(2, 5, 4), (2, 6, 4), (2, 6, 5)]
    assert taught[0].target[1].all()
    for piece in taught[1:]:
        assert piece.target[1].sum(dim=1).nonzero()[:, 0].tolist() == [4]
        assert torch.equal(piece.target[0], piece.image[0] * piece.target[1])


def test_a_recipe_with_fusion_trains_and_its_model_fuses(tmp_path: Path) -> None:
    recipe = fusing(labels_recipe, 2, augmentation=STILL, training={"epochs": 1})
    cohort = blobs_cohort(2)
    events: list[dict[str, Any]] = []
    model = train(recipe, cohort, tmp_path / "run", device="cpu", sink=events.append)
    (started,) = [event for event in events if event["event"] == "training_started"]
    # Six of the eight slices teach, with as many of each other plane.
    assert (started["slices"], started["validation_slices"]) == (18, 2)
    image = cohort.cases[0].read_image()
    network = build_network(model.recipe)
    network.load_state_dict(load(model.weights()))
    recipes = [recipe_of_plane(model.recipe, plane) for plane in ALL]
    parts = [Translator(network, each, CPU).translate(image).voxels for each in recipes]
    found = Translator.from_model(model, CPU).translate(image).voxels
    agreed = (parts[0] == parts[1]) & (parts[1] == parts[2])
    assert np.array_equal(found[agreed], parts[0][agreed])


def test_patches_are_not_fused() -> None:
    with pytest.raises(RecipeError, match="fused of slices"):
        fusing(labels_recipe, 1, sampling={"patch": [8, 8, 8]}, network={"dimension": 3})
