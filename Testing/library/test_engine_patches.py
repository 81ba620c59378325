"""Patches: where they lie, what is seen of the volume, what counts, and what an epoch is."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from augmentation_samples import assert_even, assert_share
from engine_samples import STILL, blobs, labels_recipe, lps_affine, random_hu, volume_recipe
from torch import nn

from DeepTranslateLib.cohort import Case, CohortError, Selection
from DeepTranslateLib.engine import dataset, patches
from DeepTranslateLib.engine.dataset import as_batch
from DeepTranslateLib.engine.labelledvolume import LabelledVolume
from DeepTranslateLib.engine.labelvalues import IGNORE
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.patches import PatchDraw, augmented_patches, tiles
from DeepTranslateLib.engine.stitching import Windows
from DeepTranslateLib.engine.volumeset import VolumeSet
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe

CPU = torch.device("cpu")
FLAT = {**STILL, "tilt": 0, "flip_slices": 0}


def recipe(
    patch: tuple[int, int, int] = (4, 8, 8), make: Any = labels_recipe, **parts: Any
) -> Recipe:
    labels = () if make is volume_recipe else (2,)
    return make(
        *labels,
        sampling={"patch": patch, **parts.pop("sampling", {})},
        network={"dimension": 3, "levels": 2, "channels": 2, **parts.pop("network", {})},
        **parts,
    )


def random_volume(shape: tuple[int, int, int] = (6, 12, 10), seed: int = 0) -> LabelledVolume:
    random = np.random.default_rng(seed)
    image = torch.from_numpy(random.random((1, *shape), dtype=np.float32))
    labels = torch.from_numpy(random.choice([0, 1, 2, IGNORE], shape).astype(np.uint8))
    return LabelledVolume(image, labels, shape, (1.0, 1.0, 1.0))


def values_volume(weights: bool) -> LabelledVolume:
    volume = random_volume()
    counted = (volume.target != IGNORE).float()[None]
    target = torch.cat([volume.image * counted, counted]) if weights else volume.image.clone()
    return LabelledVolume(volume.image, target, volume.size, volume.spacing)


def selection(seed: int = 0, slices: tuple[int, ...] | None = None, **case: Any) -> Selection:
    voxels, labels = blobs(seed, slices=6, size=16)
    images = [Image(each, lps_affine((1, 1, 3))) for each in (voxels, labels)]
    return Selection(Case(f"s{seed}", *images, **case), slices)


def test_a_box_that_reaches_beyond_the_volume_is_air_there_and_ignored() -> None:
    volume = random_volume()
    for start, size in (((-2, 3, 5), (5, 12, 9)), ((1, 2, 3), (2, 3, 4)), ((7, -20, 0), (2, 4, 4))):
        image, labels = volume.cut(start, size)
        wide = [(30, 30)] * 3
        here = tuple(slice(s + 30, s + 30 + n) for s, n in zip(start, size, strict=True))
        expected = np.pad(volume.image[0].numpy(), wide)[here]
        assert np.array_equal(image[0].numpy(), expected)
        padded = np.pad(volume.target.numpy(), wide, constant_values=IGNORE)
        assert np.array_equal(labels.numpy(), padded[here])
        for weights in (False, True):
            of_values = values_volume(weights)
            target = of_values.cut(start, size)[1].numpy()
            known = np.pad(volume.target.numpy() != IGNORE, wide)[here]
            inside = np.pad(np.ones(volume.size), wide)[here]
            assert np.array_equal(target[1], known if weights else inside)
            assert np.array_equal(target[0], expected * target[1])


@pytest.mark.parametrize("whole", [(6, 12, 10), (4, 8, 8), (3, 20, 5)])
def test_patches_lie_anywhere_inside_and_smaller_volumes_in_their_middle(
    whole: tuple[int, int, int],
) -> None:
    random, size = np.random.default_rng(0), (4, 8, 8)
    draw = PatchDraw(random_volume(whole), centred=False)
    starts = Counter(draw.start(size, random) for _ in range(600))
    for axis in range(3):
        free = whole[axis] - size[axis]
        possible = set(range(free + 1)) if free >= 0 else {-(-free // 2)}
        assert {start[axis] for start in starts} == possible


@pytest.mark.parametrize("whole", [(3, 5, 20), (1, 7, 8), (2, 4, 9)])
def test_small_volumes_lie_where_they_are_learnt_validated_and_translated_alike(
    whole: tuple[int, int, int],
) -> None:
    size = (4, 8, 8)
    volume, windows = random_volume(whole), Windows(whole, size, 0.0)
    random = np.random.default_rng(0)
    draws = [PatchDraw(volume, centred).start(size, random) for centred in (False, True)]
    first = next(tiles(volume, size)).start
    for axis in range(3):
        if whole[axis] < size[axis]:
            places = {start[axis] for start in (*draws, first)} | set(windows.starts(axis))
            assert len(places) == 1


def test_centred_patches_hold_each_label_as_often_whatever_its_size() -> None:
    labels = torch.zeros(6, 40, 40, dtype=torch.uint8)
    labels[1, 3, 4], labels[:, 25:, 25:] = 1, 2
    volume = LabelledVolume(torch.rand(1, 6, 40, 40), labels, (6, 40, 40), (1.0, 1.0, 1.0))
    random, size, seen = np.random.default_rng(0), (2, 6, 6), Counter[int]()
    for _ in range(400):
        _, target = volume.cut(PatchDraw(volume, centred=True).start(size, random), size)
        assert IGNORE not in target
        seen.update(set(target.unique().tolist()) - {0})
    assert sum(seen.values()) == 400
    assert_share(seen[1] / 400, 0.5, 400)


def test_a_patch_holds_a_labelled_slice_where_few_are() -> None:
    labels = torch.full((30, 8, 8), IGNORE, dtype=torch.uint8)
    labels[11] = 0
    volume = LabelledVolume(torch.rand(1, 30, 8, 8), labels, (30, 8, 8), (1.0, 1.0, 1.0))
    random = np.random.default_rng(0)
    starts = [PatchDraw(volume, centred=False).start((4, 4, 4), random)[0] for _ in range(300)]
    assert set(starts) == {8, 9, 10, 11}


@pytest.mark.parametrize("weights", [False, True])
def test_patches_of_volumes_are_centred_on_what_is_not_air_and_counts(weights: bool) -> None:
    volume = values_volume(weights)
    image = volume.image * (torch.rand(volume.image.shape) < 0.2)
    volume = LabelledVolume(image, volume.target, volume.size, volume.spacing)
    (places,) = volume.centres
    counted = volume.image[0] > 0
    if weights:
        counted &= volume.target[1] > 0
    assert sorted(map(tuple, places.tolist())) == sorted(map(tuple, counted.nonzero().tolist()))


def test_of_many_voxels_some_are_kept_from_all_over_the_label() -> None:
    labels = torch.zeros(20, 60, 60, dtype=torch.uint8)
    labels[4:14] = 1
    volume = LabelledVolume(torch.rand(1, 20, 60, 60), labels, (20, 60, 60), (1.0, 1.0, 1.0))
    (places,) = volume.centres
    assert len(np.unique(places, axis=0)) == len(places) == 10_000
    assert set(np.bincount(places[:, 0], minlength=20)[4:14]) == {1000}
    assert_even([float(place) for place in places[:, 1]], 0, 59)


@pytest.mark.parametrize("whole", [(6, 12, 10), (4, 8, 8), (3, 20, 5), (9, 17, 25)])
def test_tiles_count_every_voxel_once(whole: tuple[int, int, int]) -> None:
    volume = random_volume(whole)
    counts, total = np.zeros([n + 60 for n in whole], dtype=int), 0.0
    for tile in tiles(volume, (4, 8, 8)):
        here = tuple(slice(s + 30, s + 30 + n) for s, n in zip(tile.start, tile.size, strict=True))
        assert tile.image.shape == (1, 4, 8, 8)
        known = tile.target.numpy() != IGNORE
        assert tile.weight == known.sum()
        counts[here] += known
        total += tile.weight
    inside = counts[30:-30, 30:-30, 30:-30]
    assert np.array_equal(inside, (volume.target.numpy() != IGNORE).astype(int))
    assert total == counts.sum() == inside.sum()


@pytest.mark.parametrize("make", [labels_recipe, volume_recipe])
def test_validation_by_tiles_is_that_of_the_whole_volume(tmp_path: Path, make: Any) -> None:
    class Pointwise(nn.Module):
        """Looks at no neighbours, so that tiles change nothing."""

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [torch.cat([images * 3 - 1] * outputs, dim=1)]

    case = selection(slices=(0, 1, 4))
    if make is volume_recipe:
        case = Selection(dataclasses.replace(case.case, target=case.case.image), case.slices)
    found = []
    for patch in ((4, 5, 7), (6, 16, 16)):
        made = recipe(patch, make)
        outputs = made.output_channels
        learner = Learner(made, CPU)
        learner._method.networks["network"] = Pointwise()  # type: ignore[attr-defined]
        loss, metrics = learner.validate(VolumeSet([case], made, tmp_path).pieces)
        found.append([loss, *metrics.values().values()])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_without_augmentation_a_patch_is_the_volume_at_its_place() -> None:
    volume = random_volume()
    still = recipe(augmentation=FLAT)
    for seed in range(5):
        draw = PatchDraw(volume, centred=bool(seed % 2))
        images, targets = augmented_patches([draw, draw], still, np.random.default_rng(seed), CPU)
        random = np.random.default_rng(seed)
        start = draw.start((4, 8, 8), random)
        image, target = volume.cut(start, (4, 8, 8))
        assert torch.allclose(images[0], image, atol=1e-5)
        assert torch.equal(targets[0], target)


def test_turned_patches_have_no_empty_corners_inside_a_volume_and_are_ignored_outside() -> None:
    full = LabelledVolume(
        torch.ones(1, 40, 60, 60),
        torch.ones(40, 60, 60, dtype=torch.uint8),
        (40, 60, 60),
        (1.0, 1.0, 1.0),
    )
    turning = recipe(augmentation={**FLAT, "rotation": 180, "tilt": 90, "perspective": 30})

    @dataclasses.dataclass(frozen=True)
    class Placed(PatchDraw):
        place: tuple[int, int, int] = (18, 26, 26)

        def start(self, size: Any, random: np.random.Generator) -> tuple[int, int, int]:
            return self.place

    for seed in range(8):
        random = np.random.default_rng(seed)
        images, targets = augmented_patches([Placed(full, False)], turning, random, CPU)
        assert torch.allclose(images, torch.ones(()), atol=1e-5)
        assert (targets == 1).all()
        corner = Placed(full, False, (-2, -4, -4))
        images, targets = augmented_patches([corner], turning, random, CPU)
        assert set(targets.unique().tolist()) == {1, IGNORE}
        assert images.min() == 0


def test_reading_around_a_patch_is_reading_the_whole_volume() -> None:
    volume = random_volume((20, 30, 30))
    made = recipe(
        augmentation={"noise_fraction": 0, "elastic_probability": 1, "scale_probability": 1}
    )
    draws = [PatchDraw(volume, True), PatchDraw(random_volume((9, 30, 12), 1), False)]
    near = augmented_patches(draws, made, np.random.default_rng(5), CPU)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(patches, "reach", lambda *rest: None)
        far = augmented_patches(draws, made, np.random.default_rng(5), CPU)
    assert torch.allclose(near[0], far[0], atol=1e-4)
    assert (near[1] == far[1]).float().mean() > 0.999


def test_weights_of_values_are_those_of_what_was_interpolated() -> None:
    volume = values_volume(weights=True)
    made = recipe(make=volume_recipe, augmentation={**FLAT, "rotation": 40})
    target = torch.cat([0.25 * volume.target[1:], volume.target[1:]])
    constant = LabelledVolume(volume.image, target, volume.size, volume.spacing)
    draws = [PatchDraw(constant, False)] * 2
    images, targets = augmented_patches(draws, made, np.random.default_rng(0), CPU)
    batch = as_batch(images, targets, made)
    counts = batch.mask > 1e-3
    assert 0 < counts.float().mean() < 1
    assert torch.allclose(batch.targets[counts], torch.tensor(0.25), atol=1e-4)


def test_an_epoch_is_a_function_of_seed_and_epoch_and_has_the_share_that_is_centred(
    tmp_path: Path,
) -> None:
    made = recipe(sampling={"patches_per_epoch": 30, "foreground_share": 1 / 3})
    cases = [selection(seed) for seed in range(3)]
    volumes = VolumeSet(cases, made, tmp_path)
    first, again, second = volumes.epoch(0), volumes.epoch(0), volumes.epoch(1)
    order = [[(id(d.volume), d.centred) for d in each] for each in (first, again, second)]
    assert order[0] == order[1] != order[2]
    for epoch in range(10):
        draws = volumes.epoch(epoch)
        assert len(draws) == 30
        for batch in range(0, 30, 3):
            assert sum(draw.centred for draw in draws[batch : batch + 3]) == 1
        assert set(Counter(id(draw.volume) for draw in draws).values()) == {10}


def test_without_a_number_an_epoch_covers_the_volumes_once(tmp_path: Path) -> None:
    volumes = VolumeSet([selection(0), selection(1, (0,))], recipe((4, 16, 16)), tmp_path)
    assert len(volumes) == 7  # labelled slices
    assert len(volumes.epoch(0)) == 2 + 1
    assert sum(draw.volume is volumes.volumes[1] for draw in volumes.epoch(3)) == 1


def test_volumes_that_do_not_fit_into_memory_are_the_same_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, cases = recipe(), [selection(0), selection(1, (2, 3))]
    held = VolumeSet(cases, made, tmp_path / "unused")
    monkeypatch.setattr(dataset, "MEMORY_LIMIT", 0)
    paged = VolumeSet(cases, made, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 4
    assert not (tmp_path / "unused").exists()
    assert held.digest == paged.digest
    for mine, theirs in zip(held.volumes, paged.volumes, strict=True):
        assert torch.equal(mine.image, theirs.image)
        assert torch.equal(mine.target, theirs.target)


def test_a_mask_and_unlabelled_slices_neither_teach_nor_count(tmp_path: Path) -> None:
    mask = np.zeros((6, 16, 16), np.uint8)
    mask[:, 4:12, 4:12] = 1
    case = selection(0, (1, 2), mask=Image(mask, lps_affine((1, 1, 3))))
    volumes = VolumeSet([case], recipe(), tmp_path)
    expected = np.zeros(mask.shape, dtype=bool)
    expected[1:3, 4:12, 4:12] = True
    # Slices of this image are stored upwards, as they lie.
    assert np.array_equal(volumes.volumes[0].target.numpy() != IGNORE, expected)
    assert sum(tile.weight for tile in volumes.pieces) == expected.sum()


def test_volumes_that_teach_nothing_are_refused_by_name(tmp_path: Path) -> None:
    nothing = Image(np.zeros((6, 16, 16), np.uint8), lps_affine((1, 1, 3)))
    with pytest.raises(CohortError, match="s0"):
        VolumeSet([selection(0, mask=nothing)], recipe(), tmp_path)


def test_noise_to_be_taken_away_is_added_to_patches(tmp_path: Path) -> None:
    voxels = Image(random_hu((6, 16, 16)), lps_affine())
    made = recipe(make=volume_recipe, augmentation=FLAT, noise={"kind": "gaussian", "level": 100.0})
    volumes = VolumeSet([Selection(Case("s", voxels, voxels), None)], made, tmp_path)
    images, targets = augmented_patches(volumes.epoch(0)[:1], made, np.random.default_rng(0), CPU)
    inside = (targets[:, :1] > 0.3) & (targets[:, :1] < 0.7)
    assert (images - targets[:, :1])[inside].std() == pytest.approx(100 / 2000, rel=0.2)
