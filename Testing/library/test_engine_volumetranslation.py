"""Volumes translated by patches: on the input's grid, as stitched at once, in little memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine import translation
from DeepTranslateLib.engine.evaluation import evaluate
from DeepTranslateLib.engine.heldout import translated_slices
from DeepTranslateLib.engine.memory import MemoryLimitError
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.translation import Translator, channels_of
from DeepTranslateLib.engine.volumestack import volume_stack
from DeepTranslateLib.engine.volumetranslation import VolumeTranslation
from DeepTranslateLib.image import Image
from DeepTranslateLib.phantom import torso
from DeepTranslateLib.recipe import Recipe

CPU = torch.device("cpu")
PATCH = (8, 8, 8)


def in_patches(recipe: Any = labels_recipe, *arguments: Any, **parts: dict[str, Any]) -> Recipe:
    parts["sampling"] = {"patch": list(PATCH), **parts.get("sampling", {})}
    parts["network"] = {"dimension": 3, **parts.get("network", {})}
    return recipe(*arguments, **parts)


class Same(nn.Module):
    """A network that changes nothing."""

    def forward(self, images: Tensor) -> list[Tensor]:
        assert images.shape[1:] == (1, *PATCH)
        return [images]


class Bands(nn.Module):
    """Label 10 above the middle of the window, 20 below."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [torch.cat([images - 0.5, 0.5 - images], dim=1)]


def bands(voxels: np.ndarray) -> np.ndarray:
    return np.where(voxels > 0, 10, np.where(voxels < 0, 20, 0)).astype(np.uint8)


def random_network(recipe: Recipe, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(recipe).eval()


@settings(max_examples=20)
@given(
    st.sampled_from(ORIENTATIONS),
    st.sampled_from(["axial", "coronal", "sagittal"]),
    st.tuples(st.integers(1, 19), st.integers(1, 19), st.integers(1, 19)),
    st.booleans(),
)
def test_labels_and_values_land_on_the_voxels_they_were_found_in(
    orientation: str, plane: str, shape: tuple[int, int, int], tilted: bool
) -> None:
    affine = oblique_affine() if tilted else lps_affine((0.7, 1.9, 3.0))
    image = stored_as(Image(random_hu(shape), affine), orientation)
    recipe = in_patches(labels_recipe, 2, sampling={"plane": plane})
    found = Translator(Bands(), recipe, CPU).translate(image)
    assert np.array_equal(found.voxels, bands(image.voxels))
    assert found.voxels.dtype == np.uint8
    assert np.array_equal(found.affine, image.affine)
    recipe = in_patches(volume_recipe, sampling={"plane": plane, "overlap": 0.6})
    same = Translator(Same(), recipe, CPU).translate(image)
    assert same.voxels == pytest.approx(image.voxels, abs=4e-3)  # 2e-6 of the range
    assert same.voxels.dtype == np.float32


@pytest.mark.parametrize("name", ["unet", "dynunet"])
@torch.inference_mode()
def test_labels_are_those_of_monais_inferer_on_the_whole_volume(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # The inferer computes in full precision.
    monkeypatch.setattr(translation, "autocast", lambda device: contextlib.nullcontext())
    levels = {"unet": 2, "dynunet": 3}[name]
    recipe = in_patches(labels_recipe, 2, network={"name": name, "levels": levels})
    network = random_network(recipe)
    voxels = random_hu((21, 17, 14))
    volume = torch.from_numpy(voxels.astype(np.float32) + 1000)[None, None] / 2000
    logits = SlidingWindowInferer(PATCH, 1, 0.25, mode="gaussian")(volume, lambda x: network(x)[0])
    found = Translator(network, recipe, CPU).translate(Image(voxels, lps_affine())).voxels
    expected = 10 * channels_of(logits)[0].numpy()
    certain = (logits[0, 0] - logits[0, 1]).abs().numpy() > 1e-4
    certain &= (logits[0].abs() > 1e-4).all(dim=0).numpy()
    assert certain.mean() > 0.9
    assert len(np.unique(expected)) > 1
    assert np.array_equal(found[certain], expected[certain])


RESAMPLED = {"spacing": 1.7, "slice_spacing": 4.1, "spacing_tolerance": 0.0}


@torch.inference_mode()
def test_outputs_at_another_spacing_are_brought_back_linearly() -> None:
    recipe = in_patches(volume_recipe, preprocessing=RESAMPLED)
    network = random_network(recipe)
    image = Image(random_hu((31, 24, 20)), lps_affine((1.0, 1.0, 2.0)))
    stack = volume_stack(image, recipe)
    assert stack.size == (15, 14, 12)
    stitched = SlidingWindowInferer(PATCH, 1, 0.25, mode="gaussian")(
        stack.prepared(0, 15)[None], lambda x: network(x)[0]
    )
    # The network's grid is coarser in every direction: the way back needs no antialiasing.
    restored = F.interpolate(stitched, image.shape, mode="trilinear")[0, 0] * 2000 - 1000
    found = Translator(network, recipe, CPU).translate(image)
    assert found.voxels == pytest.approx(restored.numpy(), abs=0.01)
    assert restored.std() > 1


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 2.0), (3.0, 3.0, 9.0)])
@pytest.mark.parametrize("orientation", ["LPS", "RAI", "ASL"])
def test_labels_found_at_another_spacing_stay_in_their_place(
    spacing: tuple[float, float, float], orientation: str
) -> None:
    shape = (40, 48, 48)
    middle = np.array([17.3, 26.2, 21.9])
    places = np.indices(shape).reshape(3, -1) - middle[:, None]
    ball = (np.hypot(places[0] / 0.6, np.hypot(*places[1:])) < 13).reshape(shape)
    image = Image(np.where(ball, 1000, -1000).astype(np.int16), lps_affine(spacing))
    recipe = in_patches(labels_recipe, 2, preprocessing=RESAMPLED)
    stored = stored_as(image, orientation)
    found = Translator(Bands(), recipe, CPU).translate(stored).oriented("LPS").voxels == 10
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.92
    for axis, centre in enumerate(np.argwhere(found).mean(axis=0)):
        # Half a voxel of the wrong convention would be 0.4 voxels or more.
        assert centre == pytest.approx(np.argwhere(ball).mean(axis=0)[axis], abs=0.15)


def test_outside_the_body_there_is_background() -> None:
    phantom = torso(4, slices=6, size=(64, 64), spacing=(8, 8, 8))
    recipe = in_patches(labels_recipe, 2, preprocessing={"body_crop": True})
    found = Translator(Bands(), recipe, CPU).translate(phantom.image).voxels
    body = phantom.labels.voxels > 0
    assert np.array_equal(found[body], bands(phantom.image.voxels)[body])
    assert set(np.unique(found[found != bands(phantom.image.voxels)])) <= {0}


@pytest.mark.parametrize("free", [0, 10_000, 30_000])
@pytest.mark.parametrize("preprocessing", [{}, RESAMPLED])
def test_in_bands_of_rows_the_result_is_the_same(
    monkeypatch: pytest.MonkeyPatch, preprocessing: dict[str, Any], free: int
) -> None:
    recipe = in_patches(volume_recipe, preprocessing=preprocessing)
    translator = Translator(random_network(recipe), recipe, CPU)
    image = Image(random_hu((12, 40, 23)), lps_affine((1.0, 1.0, 2.0)))
    whole = translator.translate(image).voxels
    divided = []

    def bands_of(self: VolumeTranslation, *limits: Any) -> float:
        divided.append(self)
        return free

    monkeypatch.setattr(VolumeTranslation, "_free", bands_of)
    found = translator.translate(image).voxels
    assert np.array_equal(found, whole)
    assert len(divided[0].bands) > 1
    assert len(divided[0].bands) == 40 or free > 0


def test_a_limit_that_no_slab_fits_into_is_refused_with_what_is_needed() -> None:
    recipe = in_patches(volume_recipe)
    translator = Translator(random_network(recipe), recipe, CPU, memory_limit=2**20)
    image = Image(random_hu((9, 9, 9)), lps_affine())
    with pytest.raises(MemoryLimitError, match=r"at least \d\.\d\d GB .* limit is 0\.00 GB"):
        translator.translate(image)


def test_a_limit_that_is_high_enough_changes_nothing() -> None:
    recipe = in_patches(volume_recipe)
    network = random_network(recipe)
    image = Image(random_hu((9, 13, 11)), lps_affine())
    free = Translator(network, recipe, CPU).translate(image)
    limited = Translator(network, recipe, CPU, memory_limit=2**40).translate(image)
    assert np.array_equal(free.voxels, limited.voxels)


PEAKS = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np
from engine_samples import labels_recipe, lps_affine
from DeepTranslateLib.engine.memory import MemoryPeak
from DeepTranslateLib.engine.volumestack import volume_stack
from DeepTranslateLib.engine.volumetranslation import VolumeTranslation
from DeepTranslateLib.image import Image

recipe = labels_recipe(
    3, sampling={{"patch": [16, 192, 192], "overlap": 0.0}}, network={{"dimension": 3}}
)

def peak(slices, free):
    # Takes no memory itself.
    image = Image(np.broadcast_to(np.int16(40), (slices, 384, 384)), lps_affine())
    VolumeTranslation._free = lambda *arguments: free
    translation = VolumeTranslation(
        volume_stack(image, recipe), recipe, [lambda x: x.expand(-1, 3, -1, -1, -1)], 1, None, 0
    )
    with MemoryPeak() as memory:
        for _ in translation.pieces(range(slices), lambda done, total: None):
            pass
    return memory.bytes, len(translation.bands)

peak(16, 12e6)  # what is loaded and set up once
for case in ((48, 12e6), (48, 1e9), (240, 1e9)):
    print(*peak(*case))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs the allocator of Linux")
def test_memory_stays_below_the_limit_and_does_not_grow_with_the_number_of_slices() -> None:
    code = PEAKS.format(folder=str(Path(__file__).parent))
    # What is freed is given back at once.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "100000"}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, env=environment
    )
    rows = [[int(word) for word in line.split()] for line in answer.stdout.splitlines()]
    (limited, bands_of_limited), (few, bands_of_few), (many, _) = rows
    assert bands_of_limited > 1
    assert bands_of_few == 1
    # Slices and windows as they are read, (24 + 6) * 384 * 384 * 4 + 3 * 16 * 192 * 192 * 4 bytes
    # = 25 MB, are not divided into bands.
    assert limited < 12e6 + 25e6 + 8e6
    # The slab of all rows is 16 * 384 * 384 * (3 + 1) * 4 bytes = 38 MB.
    assert 38e6 < few < 38e6 + 25e6 + 15e6
    # All slices at once would take 192 * 384 * 384 * (3 + 1) * 4 bytes = 453 MB more.
    assert many < few + 15e6


def test_some_slices_are_translated_as_they_are_among_all() -> None:
    recipe = in_patches(labels_recipe, 2, preprocessing=RESAMPLED)
    translator = Translator(random_network(recipe), recipe, CPU)
    for orientation in ("LPS", "RAI"):
        image = stored_as(Image(random_hu((31, 20, 17)), lps_affine((1.0, 1.0, 2.0))), orientation)
        whole = translator.translate(image)
        some = translated_slices(translator, image, [20, 3, 4])
        assert np.array_equal(some.voxels[[20, 3, 4]], whole.voxels[[20, 3, 4]])
        others = np.setdiff1d(np.arange(31), [20, 3, 4])
        assert not some.voxels[others].any()
        assert whole.voxels[others].any()


def test_evaluation_is_that_of_the_translation() -> None:
    rng = np.random.default_rng(6)
    voxels = random_hu((12, 13, 14))
    truth = np.where(rng.random(voxels.shape) < 0.7, bands(voxels), 10).astype(np.uint8)
    image, labels = Image(voxels, lps_affine()), Image(truth, lps_affine())
    recipe = in_patches(labels_recipe, 2)
    translator = Translator(random_network(recipe), recipe, CPU)
    found = translator.translate(image).voxels
    result = evaluate(translator, [Selection(Case("s", image, labels), (2, 9))])
    for value, name in ((10, "label 1"), (20, "label 2")):
        mine, theirs = found[[2, 9]] == value, truth[[2, 9]] == value
        expected = 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum())
        assert result["dice"][name] == pytest.approx(expected)


def test_progress_counts_windows_up_to_the_last() -> None:
    seen: list[tuple[int, int]] = []
    Translator(Bands(), in_patches(labels_recipe, 2), CPU).translate(
        Image(random_hu((12, 9, 8)), lps_affine()), lambda *counts: seen.append(counts)
    )
    # Windows of 8 at 0 and 4, at 0 and 1, and at 0.
    assert seen == [(n, 4) for n in range(1, 5)]


def test_values_are_computed_in_full_precision_where_labels_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        translation, "autocast", lambda device: torch.autocast("cpu", dtype=torch.bfloat16)
    )
    seen = []

    class Convolved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv3d(1, 1, 1)

        def forward(self, images: Tensor) -> list[Tensor]:
            output = self.layer(images)
            seen.append(output.dtype)
            return [output]

    image = Image(random_hu((8, 8, 8)), lps_affine())
    for recipe in (in_patches(labels_recipe, 1), in_patches(volume_recipe)):
        Translator(Convolved(), recipe, CPU).translate(image)
    assert seen == [torch.bfloat16, torch.float32]


def test_the_plan_of_bands_covers_every_row_once() -> None:
    recipe = in_patches(volume_recipe, preprocessing=RESAMPLED)
    image = Image(random_hu((9, 41, 11)), lps_affine((1.0, 1.0, 2.0)))
    stack = volume_stack(image, recipe)
    for free in (3e4, 5e4, 1e5, 1e9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(VolumeTranslation, "_free", lambda *arguments: free)  # noqa: B023
            found = VolumeTranslation(stack, recipe, [lambda x: x], 1, None, 0)
        rows = [row for first, last in found.bands for row in range(first, last)]
        assert rows == list(range(41))
        most = max(last - first for first, last in found.bands)
        assert found._bytes_of(most) <= free or most == 1
