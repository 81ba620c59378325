"""Networks applied to volumes: exact on the input's grid, whatever its storage; evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from engine_samples import (
    ORIENTATIONS,
    labels_recipe,
    lps_affine,
    oblique_affine,
    random_hu,
    stored_as,
    volume_recipe,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine import translation
from DeepTranslateLib.engine.body import find_body
from DeepTranslateLib.engine.device import (
    DeviceError,
    batch_that_fits,
    choose_device,
    without_denormals,
)
from DeepTranslateLib.engine.evaluation import evaluate
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.translation import Translator, channels_of
from DeepTranslateLib.image import Image
from DeepTranslateLib.model import Card, Model, ModelError, read_model, write_model
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import Recipe

CPU = torch.device("cpu")


class Bands(nn.Module):
    """Finds by HU, of a window from -1000 to 1000: the first label from -200 to 50, then the 2nd.

    Each pixel by itself, so that what it should find is known.
    """

    def forward(self, images: Tensor) -> list[Tensor]:
        hu = images * 2000 - 1000
        return [torch.cat([torch.minimum(hu + 199.5, 50.5 - hu), hu - 50.5], dim=1)]


def bands(voxels: np.ndarray) -> np.ndarray:
    """What `Bands` finds, with the label values of the recipe, 10 and 20."""
    found = np.zeros(voxels.shape, np.uint8)
    found[(voxels > -199.5) & (voxels < 50.5)] = 10
    found[voxels > 50.5] = 20
    return found


class Same(nn.Module):
    """Gives back what it sees."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


def recipe_with(plane: str = "axial", **preprocessing: object) -> Recipe:
    return labels_recipe(2, sampling={"plane": plane}, preprocessing=preprocessing)


def random_network(recipe: Recipe, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(recipe)


@settings(max_examples=60)
@given(
    st.sampled_from(ORIENTATIONS),
    st.sampled_from(["axial", "coronal", "sagittal"]),
    st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 7)),
    st.booleans(),
    st.sampled_from([np.int16, np.float32, np.float64, np.int32]),
)
def test_labels_land_on_the_pixels_they_were_found_in(
    orientation: str, plane: str, shape: tuple[int, int, int], tilted: bool, dtype: type
) -> None:
    affine = oblique_affine() if tilted else lps_affine((0.7, 1.9, 3.0))
    image = stored_as(Image(random_hu(shape).astype(dtype), affine), orientation)
    found = Translator(Bands(), recipe_with(plane), CPU).translate(image)
    assert np.array_equal(found.voxels, bands(image.voxels))
    assert found.voxels.dtype == np.uint8
    assert np.array_equal(found.affine, image.affine)


@settings(max_examples=25)
@given(
    st.sampled_from(ORIENTATIONS),
    st.sampled_from(["axial", "coronal", "sagittal"]),
    st.sampled_from([None, 1.1]),
)
def test_the_same_patient_in_another_file_gets_the_same_labels(
    orientation: str, plane: str, spacing: float | None
) -> None:
    # A real network, which sees neighbours and would notice a flip.
    recipe = recipe_with(plane, spacing=spacing)
    translator = Translator(random_network(recipe), recipe, CPU)
    image = Image(random_hu((5, 9, 8)), oblique_affine((0.8, 0.9, 2.0)))
    expected = translator.translate(image).oriented("RAS")
    assert len(np.unique(expected.voxels)) > 1
    found = translator.translate(stored_as(image, orientation)).oriented("RAS")
    assert np.array_equal(found.voxels, expected.voxels)
    assert found.same_grid(expected)


def test_the_plane_changes_what_a_network_sees() -> None:
    image = Image(random_hu((8, 8, 8)), lps_affine())
    results = []
    for plane in ("axial", "coronal", "sagittal"):
        recipe = recipe_with(plane)
        results.append(Translator(random_network(recipe), recipe, CPU).translate(image).voxels)
    assert not np.array_equal(results[0], results[1])
    assert not np.array_equal(results[1], results[2])


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "SLA"])
def test_a_volume_comes_back_in_the_units_of_its_target(orientation: str) -> None:
    image = stored_as(Image(random_hu((3, 7, 5)), oblique_affine()), orientation)
    same = Translator(Same(), volume_recipe(), CPU).translate(image)
    assert same.voxels.dtype == np.float32
    assert same.voxels == pytest.approx(image.voxels, abs=1e-3)
    assert np.array_equal(same.affine, image.affine)
    # Of a window from -1000 to 1000 and a target from 20 to 60.
    recipe = volume_recipe(target={"kind": "volume", "range": [20, 60]})
    scaled = Translator(Same(), recipe, CPU).translate(image)
    assert scaled.voxels == pytest.approx(40 + image.voxels / 50.0, abs=1e-4)


def test_volumes_may_leave_the_range_of_their_target() -> None:
    class Bright(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            return [torch.full_like(images, 1.5)]

    found = Translator(Bright(), volume_recipe(), CPU).translate(
        Image(random_hu((1, 3, 3)), lps_affine())
    )
    assert found.voxels == pytest.approx(2000)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 3.0), (0.8, 1.4, 3.0), (2.5, 2.5, 3.0)])
@pytest.mark.parametrize("orientation", ["LPS", "RAI"])
def test_labels_found_at_another_pixel_size_stay_in_their_place(
    spacing: tuple[float, float, float], orientation: str
) -> None:
    affine = lps_affine(spacing)
    rows, columns = np.indices((64, 64))
    x, y = columns * spacing[0], rows * spacing[1]
    middle = (26.3 * spacing[0], 35.1 * spacing[1])
    disc = np.hypot(x - middle[0], y - middle[1]) < 15 * min(spacing[:2])
    voxels = np.where(disc, 500, -1000)[None].repeat(2, axis=0).astype(np.int16)
    recipe = recipe_with(spacing=1.7, spacing_tolerance=0.0)
    image = stored_as(Image(voxels, affine), orientation)
    found = Translator(Bands(), recipe, CPU).translate(image).oriented("LPS").voxels[0] > 0
    dice = 2 * (found & disc).sum() / (found.sum() + disc.sum())
    assert dice > 0.93
    for axis in (x, y):
        # Half a pixel of the wrong convention would be 0.4 mm or more.
        assert axis[found].mean() == pytest.approx(axis[disc].mean(), abs=0.15)


@pytest.mark.parametrize("batch", [2, 3, 100])
def test_batches_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    recipe = recipe_with()
    translator = Translator(random_network(recipe), recipe, CPU)
    image = Image(random_hu((7, 12, 9)), lps_affine())
    alone = translator.translate(image)
    monkeypatch.setattr(translation, "batch_that_fits", lambda *arguments: batch)
    together = translator.translate(image)
    assert (alone.voxels == together.voxels).mean() > 0.999


def test_when_memory_runs_out_smaller_batches_do_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    class Hungry(Bands):
        def forward(self, images: Tensor) -> list[Tensor]:
            tried.append(len(images))
            if len(images) > 2:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(images)

    monkeypatch.setattr(translation, "batch_that_fits", lambda *arguments: 8)
    image = Image(random_hu((11, 4, 4)), lps_affine())
    found = Translator(Hungry(), recipe_with(), CPU).translate(image)
    assert np.array_equal(found.voxels, bands(image.voxels))
    assert tried == [8, 4, 2, 2, 2, 2, 2, 1]


def test_when_not_even_one_slice_fits_the_error_is_passed_on() -> None:
    class Greedy(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            raise torch.OutOfMemoryError("out of memory")

    image = Image(random_hu((1, 4, 4)), lps_affine())
    with pytest.raises(torch.OutOfMemoryError):
        Translator(Greedy(), recipe_with(), CPU).translate(image)


@pytest.mark.parametrize("crop", [False, True])
def test_the_input_is_not_modified(crop: bool) -> None:
    phantom = torso(0, slices=2, size=(48, 48), spacing=(10, 10, 8))
    before = phantom.image.voxels.copy()
    Translator(Bands(), recipe_with(body_crop=crop), CPU).translate(phantom.image)
    assert np.array_equal(phantom.image.voxels, before)


def test_progress_counts_every_slice_up_to_the_last() -> None:
    seen: list[tuple[int, int]] = []
    Translator(Bands(), recipe_with(), CPU).translate(
        Image(random_hu((5, 3, 3)), lps_affine()), lambda *counts: seen.append(counts)
    )
    assert seen == [(n, 5) for n in range(1, 6)]


def test_translating_does_not_train() -> None:
    recipe = labels_recipe(2, network={"norm": "batch", "deep_supervision": True, "levels": 3})
    network = random_network(recipe).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    translator = Translator(network, recipe, CPU)
    image = Image(random_hu((2, 9, 9)), lps_affine())
    first, second = translator.translate(image), translator.translate(image)
    assert np.array_equal(first.voxels, second.voxels)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# ---- body crop


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "ASL"])
@pytest.mark.parametrize("adiposity", [0.0, 1.0])
def test_with_the_body_crop_labels_in_the_body_are_exactly_those_without(
    orientation: str, adiposity: float
) -> None:
    phantom = torso(4, adiposity, slices=3, size=(80, 80), spacing=(6, 6, 8))
    image = stored_as(phantom.image, orientation)
    body = stored_as(phantom.labels, orientation).voxels > 0
    whole = Translator(Bands(), recipe_with(), CPU).translate(image).voxels
    cropped = Translator(Bands(), recipe_with(body_crop=True), CPU).translate(image).voxels
    assert np.array_equal(whole, bands(image.voxels))
    assert np.array_equal(cropped[body], whole[body])
    assert set(np.unique(cropped[cropped != whole])) <= {0}


def test_outside_the_body_there_is_background_or_the_lowest_value() -> None:
    phantom = torso(4, slices=3, size=(64, 64), spacing=(8, 8, 8))
    body = find_body(phantom.image.voxels, (8, 8, 8), 20)
    inside = np.zeros(phantom.image.shape, bool)
    top, bottom, left, right = body.box
    inside[:, top:bottom, left:right] = body.inside(range(3))
    assert not inside.all()
    labels = Translator(Bands(), recipe_with(body_crop=True), CPU).translate(phantom.image)
    assert np.array_equal(labels.voxels, np.where(inside, bands(phantom.image.voxels), 0))
    recipe = volume_recipe(preprocessing={"body_crop": True})
    volume = Translator(Same(), recipe, CPU).translate(phantom.image)
    clipped = np.clip(phantom.image.voxels, -1000, 1000)
    assert volume.voxels == pytest.approx(np.where(inside, clipped, -1000), abs=1e-3)


# ---- logits to channels


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_pixel_gets_its_likeliest_label_if_likelier_than_not(seed: int, labels: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 1, (2, labels, 3, 4)).astype(np.float32)
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    found = channels_of(torch.from_numpy(logits)).numpy()
    assert found.dtype == np.uint8
    for n, row, column in np.ndindex(2, 3, 4):
        chances = probability[n, :, row, column]
        expected = int(chances.argmax()) + 1 if chances.max() > 0.5 else 0
        assert found[n, row, column] == expected


def test_up_to_254_labels_fit() -> None:
    logits = torch.full((1, 254, 1, 1), -1.0)
    logits[0, 253] = 1
    assert channels_of(logits).item() == 254


# ---- models


def model_of(folder: Path, network: nn.Module, recipe: Recipe) -> Model:
    """The network in a model file, read again."""
    card = Card("test", "2026-01-31T12:00:00+00:00", "0", epoch=1, seed=0)
    weights = save({name: value.contiguous() for name, value in network.state_dict().items()})
    return read_model(write_model(folder / "m.dtmodel", recipe, card, weights))


@pytest.mark.parametrize("norm", ["none", "group", "batch"])
def test_a_model_file_translates_as_the_network_it_was_written_from(
    tmp_path: Path, norm: str
) -> None:
    recipe = labels_recipe(2, network={"norm": norm, "deep_supervision": True, "levels": 3})
    network = random_network(recipe, seed=3)
    image = Image(random_hu((2, 13, 10)), lps_affine())
    expected = Translator(network, recipe, CPU).translate(image)
    found = Translator.from_model(model_of(tmp_path, network, recipe), CPU).translate(image)
    assert len(np.unique(expected.voxels)) > 1
    assert np.array_equal(found.voxels, expected.voxels)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    wider = labels_recipe(2, network={"channels": 4})
    model = model_of(tmp_path, random_network(wider), labels_recipe(2))
    with pytest.raises(ModelError, match="do not fit"):
        Translator.from_model(model, CPU)


# ---- evaluation


def dice_by_sets(found: np.ndarray, truth: np.ndarray, value: int, counted: np.ndarray) -> float:
    mine, theirs = (found == value) & counted, (truth == value) & counted
    return 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum())


@pytest.mark.parametrize("orientation", ["LPS", "RAI", "SLA"])
@pytest.mark.parametrize("slices", [None, (0, 2)])
def test_evaluation_is_the_dice_of_the_translation_on_the_references_own_grid(
    orientation: str, slices: tuple[int, ...] | None
) -> None:
    rng = np.random.default_rng(6)
    voxels = random_hu((4, 20, 22))
    truth = np.where(rng.random(voxels.shape) < 0.7, bands(voxels), 10).astype(np.uint8)
    truth[:, 5, :] = 99
    target = {"kind": "labels", "ignore": 99}
    target["labels"] = [{"value": 10, "name": "a"}, {"value": 20, "name": "b"}]
    recipe = labels_recipe(2, target=target, preprocessing={"spacing": 1.3})
    affine = lps_affine((1.0, 1.0, 4.0))
    image = stored_as(Image(voxels, affine), orientation)
    labels = stored_as(Image(truth, affine), orientation)
    translator = Translator(Bands(), recipe, CPU)
    found = translator.translate(image).voxels
    counted = labels.voxels != 99
    if slices is not None:
        axis = 2 - next(n for n, letter in enumerate(orientation) if letter in "SI")
        chosen = np.zeros(found.shape[axis], bool)
        chosen[list(slices)] = True
        counted &= chosen.reshape([-1 if n == axis else 1 for n in range(3)])
    result = evaluate(translator, [Selection(Case("s", image, labels), slices)])
    assert result["dice"] == {
        "a": pytest.approx(dice_by_sets(found, labels.voxels, 10, counted)),
        "b": pytest.approx(dice_by_sets(found, labels.voxels, 20, counted)),
    }
    assert 0.1 < result["dice"]["a"] < 0.99


def test_evaluation_pools_cases_and_says_none_for_a_label_that_is_nowhere() -> None:
    voxels = np.full((1, 2, 4), -50, np.int16)
    voxels[0, 0, 0] = -900
    image = Image(voxels, lps_affine())
    truths = [np.full((1, 2, 4), 10, np.uint8), np.zeros((1, 2, 4), np.uint8)]
    selections = [
        Selection(Case(str(n), image, Image(truth, lps_affine())), None)
        for n, truth in enumerate(truths)
    ]
    result = evaluate(Translator(Bands(), recipe_with(), CPU), selections)
    # 7 found and all right of 8, then 7 found of none.
    assert result == {"dice": {"label 1": pytest.approx(2 * 7 / (7 + 8 + 7)), "label 2": None}}


def test_evaluation_of_a_volume_is_its_mean_absolute_error() -> None:
    voxels = random_hu((3, 5, 6))
    image = stored_as(Image(voxels, oblique_affine()), "RAI")
    target = stored_as(Image(voxels + np.float32(3), oblique_affine()), "RAI")
    result = evaluate(
        Translator(Same(), volume_recipe(), CPU), [Selection(Case("s", image, target), (1, 2))]
    )
    assert result["mean_absolute_error"] == pytest.approx(3, abs=1e-3)


# ---- device


def test_the_cpu_is_always_there_and_an_unknown_device_is_refused_with_what_there_is() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(DeviceError, match=r"'abacus'.*finds only: cpu"):
        choose_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"'cuda'"):
        choose_device("cuda")


def test_numbers_too_small_for_a_normal_float_are_flushed_while_computing_and_only_then() -> None:
    with without_denormals():
        assert float(torch.tensor(1e-39) * 1) == 0
    assert float(torch.tensor(1e-39) * 1) != 0


def test_a_cpu_takes_one_slice_at_a_time() -> None:
    assert batch_that_fits(recipe_with(), (16, 16), CPU) == 1


@pytest.mark.parametrize(("free", "expected"), [(10**12, 32), (1, 1)])
def test_a_gpu_takes_what_fits_between_1_and_32(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**12))
    assert batch_that_fits(recipe_with(), (512, 512), torch.device("cuda")) == expected
