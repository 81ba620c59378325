"""Images of two kinds: who comes beside whom in an epoch, and how each kind is prepared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adversarial_samples import CPU, image, recipe_of
from engine_samples import lps_affine

from DeepTranslateLib.cohort import Case, CohortError, Selection
from DeepTranslateLib.engine import learner
from DeepTranslateLib.engine.augmentedslices import augmented_images, augmented_slices
from DeepTranslateLib.engine.patches import augmented_patch_images, augmented_patches
from DeepTranslateLib.engine.unpairedset import UnpairedSet, training_set
from DeepTranslateLib.engine.unpairedvalidation import UnpairedValidation
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import BACKWARD, Recipe, in_direction, recipe_from_json
from DeepTranslateLib.schema import to_json


def constant(values: list[float], side: int = 8) -> Image:
    """One slice for each value, but for two pixels, so that it shows something in any window."""
    voxels = np.broadcast_to(np.array(values, np.float32)[:, None, None], (len(values), side, side))
    voxels = voxels.copy()
    voxels[:, 0, 1], voxels[:, 0, 2] = -3000, 3000
    return Image(voxels, lps_affine())


def selections(sources: int, targets: int) -> list[Selection]:
    """Slices that are told from each other by their values, 1 HU apart."""
    sides = (("source", sources), ("target", targets))
    return [
        Selection(
            Case(domain, constant([float(n) for n in range(count)]), None, domain=domain), None
        )
        for domain, count in sides
    ]


def set_of(folder: Path, sources: int, targets: int, **parts: Any) -> UnpairedSet:
    return UnpairedSet(selections(sources, targets), recipe_of("cyclegan", **parts), folder)


def numbers(unpaired: UnpairedSet, epoch: int) -> list[tuple[int, int]]:
    """The numbers of the slices of each pair."""
    # 1 HU of windows of 2000 and 1500 HU that begin at -1000.
    return [
        (
            round(float(pair.source.image.median()) * 2000 - 1000),
            round(float(pair.target.image.median()) * 1500 - 1000),
        )
        for pair in unpaired.epoch(epoch)
    ]


@pytest.mark.parametrize(("sources", "targets"), [(7, 3), (3, 7), (5, 5), (1, 4), (8, 4)])
def test_an_epoch_has_the_longer_side_once_and_the_shorter_evenly(
    tmp_path: Path, sources: int, targets: int
) -> None:
    unpaired = set_of(tmp_path, sources, targets)
    for epoch in range(4):
        sides = list(zip(*numbers(unpaired, epoch), strict=True))
        for side, count in zip(sides, (sources, targets), strict=True):
            assert len(side) == max(sources, targets)
            times = Counter(side)
            assert set(times) == set(range(count))
            assert max(times.values()) - min(times.values()) <= 1
            assert max(times.values()) == -(-max(sources, targets) // count)


def test_each_time_the_shorter_side_comes_round_it_is_in_another_order(tmp_path: Path) -> None:
    found = [target for _, target in numbers(set_of(tmp_path, 24, 6), 0)]
    rounds = {tuple(found[first : first + 6]) for first in range(0, 24, 6)}
    assert all(sorted(each) == list(range(6)) for each in rounds)
    assert len(rounds) > 1


def test_an_epoch_is_a_function_of_seed_and_epoch_alone(tmp_path: Path) -> None:
    first, second = set_of(tmp_path / "a", 9, 4), set_of(tmp_path / "b", 9, 4)
    late = numbers(first, 5)
    assert [numbers(first, epoch) for epoch in (0, 3)] == [
        numbers(second, epoch) for epoch in (0, 3)
    ]
    assert numbers(second, 5) == late
    other = set_of(tmp_path / "c", 9, 4, training={"seed": 1})
    assert numbers(other, 5) != late


def test_epochs_put_other_images_side_by_side(tmp_path: Path) -> None:
    unpaired = set_of(tmp_path, 6, 6)
    partners = [dict(numbers(unpaired, epoch)) for epoch in range(8)]
    assert len({tuple(sorted(each.items())) for each in partners}) == 8
    # Over the epochs a source slice meets several targets.
    assert len({each[0] for each in partners}) > 2


def test_both_sides_are_not_shuffled_alike(tmp_path: Path) -> None:
    unpaired = set_of(tmp_path, 6, 6)
    for epoch in range(5):
        assert any(source != target for source, target in numbers(unpaired, epoch))


def test_sides_do_not_depend_on_each_others_length(tmp_path: Path) -> None:
    long, short = set_of(tmp_path / "a", 6, 3), set_of(tmp_path / "b", 6, 5)
    assert [pair[0] for pair in numbers(long, 2)] == [pair[0] for pair in numbers(short, 2)]


def test_the_target_is_prepared_by_the_recipe_turned_round(tmp_path: Path) -> None:
    recipe = recipe_of(
        "cyclegan",
        preprocessing={"window": [-100, 300]},
        target={"kind": "volume", "units": "HU", "range": [0, 50]},
    )
    given = [
        Selection(Case("s", constant([-500, 0, 100, 900]), None, domain="source"), None),
        Selection(Case("t", constant([-500, 0, 10, 900]), None, domain="target"), None),
    ]
    unpaired = UnpairedSet(given, recipe, tmp_path)
    seen = [(float(p.image.median()), float(p.target.median())) for p in unpaired.pieces]
    sources, targets = (sorted(each) for each in zip(*seen, strict=True))
    assert sources == pytest.approx([0, 0.25, 0.5, 1])
    assert targets == pytest.approx([0, 0, 0.2, 1])
    turned = in_direction(recipe, BACKWARD)
    assert unpaired.backward.preprocessing == turned.preprocessing
    assert unpaired.backward.inputs == turned.inputs


def test_standard_scales_are_those_of_each_side(tmp_path: Path) -> None:
    """MR at twice the values is the same picture on a standard scale; CT has a window instead."""
    recipe = recipe_of(
        "cyclegan",
        target={
            "kind": "volume",
            "units": "",
            "modality": "MR",
            "range": [0, 1],
            "standardisation": "percentiles",
        },
    )
    brain = image(3, slices=3, side=32)
    raised = brain.with_voxels(brain.voxels + 1000)

    def seen(factor: float) -> list[torch.Tensor]:
        mr = raised.with_voxels((raised.voxels * factor).astype(np.float32))
        given = [
            Selection(Case("s", brain, None, domain="source"), None),
            Selection(Case("t", mr, None, domain="target"), None),
        ]
        unpaired = UnpairedSet(given, recipe, tmp_path)
        return [torch.cat([p.image, p.target]) for p in unpaired.pieces]

    for once, twice in zip(seen(1), seen(2), strict=True):
        torch.testing.assert_close(once, twice, atol=1e-4, rtol=0)
        assert float(once[1].max()) > 0.5


@pytest.mark.parametrize(
    ("sources", "targets", "wanted"),
    [(5, 2, [0, 0, 0, 1, 1]), (2, 6, [0, 3]), (3, 8, [0, 2, 5]), (3, 3, [0, 1, 2])],
)
def test_each_source_piece_is_validated_once_beside_targets_from_all_over(
    tmp_path: Path, sources: int, targets: int, wanted: list[int]
) -> None:
    unpaired = set_of(tmp_path, sources, targets)
    pieces = unpaired.pieces
    found = [round(float(p.image.median()) * 2000 - 1000) for p in pieces]
    assert found == list(range(sources))
    assert [round(float(p.target.median()) * 1500 - 1000) for p in pieces] == wanted
    assert {p.weight for p in pieces} == {1.0}


def test_a_set_counts_and_measures_both_sides(tmp_path: Path) -> None:
    unpaired = set_of(tmp_path, 5, 2)
    assert len(unpaired) == 7
    print_of = unpaired.fingerprint()
    assert (print_of["slices"], print_of["target"]["slices"]) == (5, 2)
    assert print_of["intensity_percentiles"]["50"] == pytest.approx(2, abs=0.01)
    assert print_of["target"]["intensity_percentiles"]["50"] == pytest.approx(0.5, abs=0.01)
    assert len(unpaired.contents) == len(unpaired.sources) == 5
    assert {case.domain for case, _ in unpaired.sources} == {"source"}
    # Each slice is held once: 64 values of 4 bytes.
    assert unpaired.size_in_bytes == 7 * 64 * 4


def test_a_change_of_either_side_changes_the_digest(tmp_path: Path) -> None:
    def digest(source: float, target: float) -> str:
        given = [
            Selection(Case(domain, constant([value]), None, domain=domain), None)
            for domain, value in (("source", source), ("target", target))
        ]
        return UnpairedSet(given, recipe_of("cut"), tmp_path).digest

    digests = [digest(1, 2), digest(1, 3), digest(3, 2), digest(2, 1)]
    assert len(set(digests)) == 4
    assert digest(1, 2) == digests[0]


def volumetric(**sampling: Any) -> Recipe:
    return recipe_of(
        "cyclegan", network={"dimension": 3}, sampling={"patch": [8, 8, 8], **sampling}
    )


def test_patches_of_both_kinds_are_drawn_for_an_epoch(tmp_path: Path) -> None:
    given = [
        Selection(Case("s", image(1, slices=16), None, domain="source"), None),
        Selection(Case("t", image(2, slices=8), None, domain="target"), None),
    ]
    unpaired = training_set(given, volumetric(), tmp_path)
    # 2 x 2 x 2 patches cover the one, half as many the other.
    assert len(unpaired.epoch(0)) == len(unpaired.pieces) == 8
    piece: Any = unpaired.pieces[0]
    assert piece.image.shape == piece.target.shape == (1, 8, 8, 8)
    more = training_set(given, volumetric(patches_per_epoch=20), tmp_path)
    assert len(more.epoch(0)) == 20


@pytest.mark.parametrize("in_3d", [False, True])
def test_images_alone_are_changed_as_beside_their_targets(tmp_path: Path, in_3d: bool) -> None:
    augmentation = {"elastic_probability": 1.0, "noise_probability": 1.0, "translation": 5}
    recipe = volumetric() if in_3d else recipe_of("cyclegan")
    content = {**to_json(recipe), "augmentation": augmentation}
    recipe = recipe_from_json(content)
    # Of two sizes, so that one is padded.
    cases = [
        Case(
            f"{domain}{n}",
            image(n, slices=30 if in_3d else 2, side=40 + 8 * n),
            None,
            domain=domain,
        )
        for domain in ("source", "target")
        for n in range(2)
    ]
    unpaired = UnpairedSet([Selection(case, None) for case in cases], recipe, tmp_path)
    drawn = [pair.source for pair in unpaired.epoch(0)][:4]
    beside, alone = (np.random.default_rng(5) for _ in range(2))
    cpu = torch.device("cpu")
    if in_3d:
        wanted, _ = augmented_patches(drawn, recipe, beside, cpu)
        found = augmented_patch_images(drawn, recipe, alone, cpu)
    else:
        wanted, _ = augmented_slices(drawn, recipe, beside, cpu)
        found = augmented_images(drawn, recipe, alone, cpu)
    assert found.std() > 0.01
    assert torch.equal(found, wanted)
    assert beside.random() == alone.random()


def test_slices_of_one_value_teach_nothing(tmp_path: Path) -> None:
    shown = constant([10.0, 20.0, 30.0])
    voxels = shown.voxels.copy()
    voxels[1] = -1000  # air beyond the scan

    def set_with(source: np.ndarray) -> UnpairedSet:
        images = {"source": shown.with_voxels(source), "target": constant([5.0, 6.0])}
        cases = [Case(domain, each, None, domain=domain) for domain, each in images.items()]
        given = [Selection(case, None) for case in cases]
        return UnpairedSet(given, recipe_of("cyclegan"), tmp_path)

    unpaired = set_with(voxels)
    assert [stored for _, stored in unpaired.sources] == [0, 2]
    assert {source for source, _ in numbers(unpaired, 0)} == {10, 30}
    with pytest.raises(CohortError, match=r"Each slice of the source has one value"):
        set_with(np.full_like(voxels, -2000))


def test_only_unpaired_recipes_have_such_sets(tmp_path: Path) -> None:
    pair = Case("s", image(1), image(2))
    paired = training_set([Selection(pair, None)], recipe_of("pix2pix"), tmp_path)
    assert not isinstance(paired, UnpairedSet)


def test_a_validation_of_patches_counts_each_voxel_once_and_nothing_beyond_a_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = {"network": {"dimension": 3}, "sampling": {"patch": [8, 8, 8]}}
    chosen = recipe_of("cyclegan", **three)
    # Fewer slices than a patch has, and rows and columns for one and a half.
    images = [image(seed, slices=5, side=12) for seed in (0, 1)]
    unpaired = UnpairedSet(
        [
            Selection(Case(domain, each, None, domain=domain), None)
            for domain, each in zip(("source", "target"), images, strict=True)
        ],
        chosen,
        tmp_path,
    )
    counted: dict[str, list[torch.Tensor]] = {"source": [], "target": []}

    class Heard(UnpairedValidation):
        def add(self, source: Any, translated: Any, cycled: Any, target: Any, **masks: Any) -> None:
            for name, seen in (("source", source), ("target", target)):
                counted[name].append(seen[masks[f"{name}_mask"] > 0])
            super().add(source, translated, cycled, target, **masks)

    monkeypatch.setattr(learner, "UnpairedValidation", Heard)
    _, metrics = learner.Learner(chosen, CPU).validate(unpaired.pieces)
    for name, each, window in zip(counted, images, ((-1000, 1000), (-1000, 500)), strict=True):
        low, high = window
        expected = ((torch.tensor(each.voxels) - low) / (high - low)).clamp(0, 1)
        assert torch.allclose(
            torch.cat(counted[name]).sort().values, expected.flatten().sort().values
        )
    assert np.isfinite(metrics.values()["self_ssim"])
