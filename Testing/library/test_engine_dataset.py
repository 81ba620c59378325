"""Labelled slices of a cohort as the network sees them, in memory and in files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_samples import (
    labels_recipe,
    lps_affine,
    oblique_affine,
    random_hu,
    stored_as,
    volume_recipe,
)

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine import dataset
from DeepTranslateLib.engine.dataset import LabelledSlice, SliceSet, as_batch, collate
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe

RECIPE = labels_recipe(2)


def random_case(
    seed: int = 0, shape: tuple[int, int, int] = (4, 5, 6), orientation: str = "LPS"
) -> Case:
    labels = np.random.default_rng(seed).choice([0, 10, 20], shape).astype(np.uint8)
    image = Image(random_hu(shape, seed), lps_affine())
    return Case(
        f"subject {seed}",
        stored_as(image, orientation),
        stored_as(Image(labels, lps_affine()), orientation),
    )


def volume_case(seed: int = 0) -> Case:
    image = Image(random_hu((3, 4, 5), seed), lps_affine())
    return Case(f"subject {seed}", image, image.with_voxels(image.voxels // 2))


def test_the_chosen_slices_are_those_at_the_stored_indices(tmp_path: Path) -> None:
    # Stored from head to foot, so that index 0 is the last of the stack.
    case = random_case(orientation="LPI")
    pieces = SliceSet([Selection(case, (0, 3))], RECIPE, tmp_path).slices
    voxels, labels = case.read_image().voxels, case.read_target().voxels
    assert len(pieces) == 2
    for piece, stored in zip(pieces, (0, 3), strict=True):
        assert piece.image[0].numpy() == pytest.approx((voxels[stored] + 1000) / 2000, abs=1e-6)
        assert np.array_equal(piece.target.numpy() * 10, labels[stored])
        assert piece.target.dtype == torch.uint8
        assert piece.size == piece.full_size == (5, 6)


def test_without_a_choice_every_slice_of_the_plane_is_taken(tmp_path: Path) -> None:
    for plane, expected in (("axial", 4), ("coronal", 5), ("sagittal", 6)):
        recipe = labels_recipe(2, sampling={"plane": plane})
        assert len(SliceSet([Selection(random_case(), None)], recipe, tmp_path)) == expected


def test_a_slice_has_foreground_if_a_pixel_carries_a_label_that_counts() -> None:
    image = torch.zeros(1, 2, 2)

    def has(*channels: int) -> bool:
        target = torch.tensor(channels, dtype=torch.uint8).reshape(2, 2)
        return LabelledSlice(image, target, (2, 2)).has_foreground

    assert not has(0, 0, 0, 0)
    assert not has(255, 0, 255, 0)
    assert has(255, 0, 0, 3)
    assert LabelledSlice(image, torch.zeros(1, 2, 2), (2, 2)).has_foreground


@pytest.mark.parametrize("where", ["image", "label", "order", "selection"])
def test_the_digest_changes_with_any_pixel_the_order_and_the_choice(
    tmp_path: Path, where: str
) -> None:
    def digest(*selections: Selection) -> str:
        return SliceSet(selections, RECIPE, tmp_path).digest

    first, second = Selection(random_case(0), (0, 1)), Selection(random_case(1), (2,))
    before = digest(first, second)
    assert digest(first, second) == before
    if where == "order":
        assert digest(second, first) != before
        return
    if where == "selection":
        assert digest(Selection(first.case, (0, 2)), second) != before
        return
    image, target = first.case.read_image(), first.case.read_target()
    changed = (image if where == "image" else target).voxels.copy()
    changed[1, 3, 2] = 20 if changed[1, 3, 2] != 20 else 10
    images = (image.with_voxels(changed), target) if where == "image" else (image, None)
    case = Case("subject 0", images[0], images[1] or target.with_voxels(changed))
    assert digest(Selection(case, (0, 1)), second) != before


def test_slices_that_were_not_chosen_do_not_change_the_digest(tmp_path: Path) -> None:
    case = random_case()
    voxels = case.read_image().voxels.copy()
    voxels[2] = 77
    other = Case(case.subject, case.read_image().with_voxels(voxels), case.target)
    first, second = (SliceSet([Selection(c, (0, 1))], RECIPE, tmp_path) for c in (case, other))
    assert first.digest == second.digest


def test_the_fingerprint_says_number_spacing_and_intensities(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(-1000, 1000, 401)[:400], (400, 1))[None].astype(np.float32)
    cases = []
    for n, spacing in enumerate([(0.8, 0.9, 4.0), (1.5, 0.7, 5.0)]):
        affine = oblique_affine(spacing)
        image = stored_as(Image(ramp, affine), "SLA")
        labels = stored_as(Image(np.zeros(ramp.shape, np.uint8), affine), "SLA")
        cases.append(Selection(Case(str(n), image, labels), None))
    fingerprint = SliceSet(cases, RECIPE, tmp_path).fingerprint()
    assert fingerprint["slices"] == 2
    assert fingerprint["spacing_min"] == pytest.approx([0.8, 0.7, 4.0])
    assert fingerprint["spacing_max"] == pytest.approx([1.5, 0.9, 5.0])
    percentiles = fingerprint["intensity_percentiles"]
    for level, value in percentiles.items():
        assert value == pytest.approx(-1000 + 20 * float(level), abs=15)


def test_the_fingerprint_says_field_of_view_and_histogram(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    voxels = rng.normal(0, 100, (2, 100, 80)).round().astype(np.int16)
    voxels[:, :20] = -3024
    labels = np.zeros(voxels.shape, np.uint8)
    selections = []
    for n, spacing in enumerate([(0.8, 0.9, 4.0), (1.5, 0.7, 5.0)]):
        image = stored_as(Image(voxels, oblique_affine(spacing)), "SLA")
        target = stored_as(Image(labels, oblique_affine(spacing)), "SLA")
        selections.append(Selection(Case(str(n), image, target), None))
    fingerprint = SliceSet(selections, RECIPE, tmp_path).fingerprint()
    # Rows, then columns.
    assert fingerprint["field_of_view_min"] == pytest.approx([70, 64])
    assert fingerprint["field_of_view_max"] == pytest.approx([90, 120])
    histogram = fingerprint["intensity_histogram"]
    # What pads a CT outside the scanner's field is not in it: 1 % of a normal lies beyond 2.6 SD.
    assert histogram["low"] == pytest.approx(-2.6 * 110, rel=0.15)
    assert histogram["high"] == pytest.approx(2.6 * 110, rel=0.15)
    assert len(histogram["shares"]) == 64
    assert sum(histogram["shares"]) == pytest.approx(1, abs=1e-3)
    assert fingerprint["intensity_percentiles"]["0.5"] == -3024
    assert len(json.dumps(fingerprint)) < 2000


def test_every_slice_knows_where_it_is_from(tmp_path: Path) -> None:
    first, second = random_case(0, orientation="LPI"), random_case(1)
    pieces = SliceSet([Selection(first, (3, 0)), Selection(second, None)], RECIPE, tmp_path)
    assert pieces.sources == [(first, 3), (first, 0), *((second, n) for n in range(4))]
    for piece, (case, stored) in zip(pieces.slices, pieces.sources, strict=True):
        voxels = case.read_image().voxels[stored]
        assert piece.image[0].numpy() == pytest.approx((voxels + 1000) / 2000, abs=1e-6)
        assert piece.content == np.count_nonzero(case.read_target().voxels[stored])


def selections_of(recipe: Recipe) -> list[Selection]:
    make = volume_case if recipe.target.kind == "volume" else random_case
    return [Selection(make(seed), None) for seed in range(3)]


@pytest.mark.parametrize("recipe", [RECIPE, volume_recipe()], ids=["labels", "volume"])
@pytest.mark.parametrize("limit", [0, 700])
def test_slices_in_files_are_the_same_as_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, limit: int
) -> None:
    held = SliceSet(selections_of(recipe), recipe, tmp_path / "unused")
    assert not (tmp_path / "unused").exists()
    monkeypatch.setattr(dataset, "MEMORY_LIMIT", limit)
    paged = SliceSet(selections_of(recipe), recipe, tmp_path / "cache")
    assert any((tmp_path / "cache").iterdir())
    assert len(paged) == len(held)
    assert paged.digest == held.digest
    for mine, theirs in zip(paged.slices, held.slices, strict=True):
        assert torch.equal(mine.image, theirs.image)
        assert torch.equal(mine.target, theirs.target)
        assert mine.target.dtype == theirs.target.dtype


def test_slices_of_different_sizes_share_a_batch_in_its_corner() -> None:
    pieces = [
        LabelledSlice(torch.full((1, *size), 0.5), torch.full(size, 2).byte(), (9, 9))
        for size in ((2, 4), (3, 1))
    ]
    images, targets = collate(pieces)
    assert images.shape == (2, 1, 3, 4)
    assert targets.shape == (2, 3, 4)
    assert targets[0].tolist() == [[2, 2, 2, 2], [2, 2, 2, 2], [0, 0, 0, 0]]
    assert targets[1].tolist() == [[2, 0, 0, 0]] * 3
    assert torch.equal(images[:, 0] * 4, targets.float())
    volumes = [LabelledSlice(piece.image, piece.image + 1, (9, 9)) for piece in pieces]
    images, targets = collate(volumes)
    assert targets.shape == (2, 1, 3, 4)
    assert targets[1, 0].tolist() == [[1.5, 0, 0, 0]] * 3


def test_a_batch_has_a_plane_for_each_label_and_a_mask_without_ignored_pixels() -> None:
    channels = torch.tensor([[[0, 1], [2, 255]]], dtype=torch.uint8)
    batch = as_batch(torch.rand(1, 1, 2, 2), channels, RECIPE)
    assert batch.targets.tolist() == [[[[0, 1], [0, 0]], [[0, 0], [1, 0]]]]
    assert batch.mask.tolist() == [[[[1, 1], [1, 0]]]]
    assert batch.targets.dtype == batch.mask.dtype == torch.float32
    volume = torch.rand(1, 1, 2, 2)
    batch = as_batch(torch.rand(1, 1, 2, 2), volume, volume_recipe())
    assert torch.equal(batch.targets, volume)
    assert batch.mask.tolist() == [[[[1, 1], [1, 1]]]]
