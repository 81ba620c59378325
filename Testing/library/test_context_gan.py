"""Nie's GAN of 3D patches: the central half learns, is validated on and tiles the volume."""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_samples import STILL, lps_affine, random_hu, volume_recipe
from torch import Tensor, nn

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine.centralhalf import Core, central_half
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.methods import Batch, build_method
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.patches import augmented_patches, tiles
from DeepTranslateLib.engine.sampling import random_state
from DeepTranslateLib.engine.stitching import Stitcher, Windows
from DeepTranslateLib.engine.translation import Translator
from DeepTranslateLib.engine.volumeset import VolumeSet
from DeepTranslateLib.engine.volumestack import volume_stack
from DeepTranslateLib.image import Image
from DeepTranslateLib.recipe import Recipe, RecipeError

CPU = torch.device("cpu")
SIZES = [(16, 16, 16), (20, 17, 31), (5, 40, 9), (9, 8, 7)]


def recipe_of(**parts: dict[str, Any]) -> Recipe:
    """Patches of 16 voxels, of which 8 count; the network of the paper, two channels wide."""
    return volume_recipe(
        network={
            "name": "context_fcn",
            "dimension": 3,
            "channels": 2,
            "levels": 5,
            "norm": "batch",
            **parts.pop("network", {}),
        },
        method={
            "name": "context_gan",
            "loss": [{"name": "mse"}, {"name": "gradient_difference", "weight": 0.5}],
            **parts.pop("method", {}),
        },
        sampling={"patch": [16, 16, 16], **parts.pop("sampling", {})},
        augmentation={**STILL, "probability": 0, **parts.pop("augmentation", {})},
        **parts,
    )


def batch_of(count: int = 2, seed: int = 0, mask: float = 1.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images, targets = (torch.rand(count, 1, 16, 16, 16, generator=generator) for _ in range(2))
    return Batch(images, targets, torch.full_like(images, mask))


def middle(images: Tensor) -> Tensor:
    return images[:, :, 4:12, 4:12, 4:12]


class Same(nn.Module):
    """A network that changes nothing in the middle, and whose border is worthless."""

    def forward(self, images: Tensor) -> list[Tensor]:
        output = torch.full_like(images, 1e6)
        middle(output)[...] = middle(images)
        return [output]


# ---- the step


def test_the_loss_is_the_papers_sum_over_the_central_half() -> None:
    recipe = recipe_of(adversarial={"objective": "bce", "weight": 0.3}, method={"auto_context": 0})
    torch.manual_seed(0)
    method: Any = build_method(recipe, CPU)
    batch = batch_of()
    generator = copy.deepcopy(method.networks["network"])
    critic = copy.deepcopy(method.networks["critic"])
    found = method.training_step(batch, lambda name, loss: None)
    output, target = middle(generator(batch.images)[0]), middle(batch.targets)
    squares = ((output - target) ** 2).mean()
    steps = sum(
        ((output.diff(dim=axis).abs() - target.diff(dim=axis).abs()) ** 2).mean()
        for axis in (2, 3, 4)
    )
    fooled = F.softplus(-critic(output)).mean()  # -log sigmoid
    assert found["pairs"].item() == pytest.approx((squares + 0.5 * steps).item(), rel=1e-5)
    assert found["adversarial"].item() == pytest.approx(0.3 * fooled.item(), rel=1e-5)
    total = squares + 0.5 * steps + 0.3 * fooled
    assert found["loss"].item() == pytest.approx(total.item(), rel=1e-5)
    # Judged after the generator was: truth as 1, output as 0.
    judged = (F.softplus(-critic(target)).mean() + F.softplus(critic(output)).mean()) / 2
    assert found["discriminator"].item() == pytest.approx(judged.item(), rel=1e-4)


def test_outer_voxels_of_the_output_have_no_gradient() -> None:
    method: Any = build_method(recipe_of(), CPU)
    outputs: list[Tensor] = []

    class Watched(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.inner = network

        def forward(self, images: Tensor) -> list[Tensor]:
            (output,) = self.inner(images)
            output.retain_grad()
            outputs.append(output)
            return [output]

    method.networks["network"] = Watched(method.networks["network"])
    batch = batch_of()
    gradients: list[Tensor] = []

    def update(name: str, loss: Tensor) -> None:
        if name == "generator":
            loss.backward(retain_graph=True)
            gradients.append(outputs[0].grad)  # type: ignore[arg-type]

    method.training_step(batch, update)
    (gradient,) = gradients
    assert (middle(gradient) != 0).float().mean() > 0.9
    middle(gradient)[...] = 0
    assert not gradient.any()


def test_targets_that_a_mask_leaves_out_or_outside_of_the_central_half_move_nothing() -> None:
    recipe = recipe_of()
    torch.manual_seed(0)
    method: Any = build_method(recipe, CPU)
    batch = batch_of()
    masked = batch.mask.clone()
    masked[:, :, :, :8] = 0
    masked[:, :, :4] = 1  # outside of the central half
    other = torch.rand_like(batch.targets)
    middle(other)[:, :, :, 4:] = middle(batch.targets)[:, :, :, 4:]
    losses = [
        copy.deepcopy(method).training_step(
            Batch(batch.images, targets, masked), lambda name, loss: None
        )
        for targets in (batch.targets, other)
    ]
    for name in ("pairs", "adversarial", "discriminator"):
        assert losses[0][name] == losses[1][name]


def test_validation_counts_the_central_half_alone() -> None:
    method: Any = build_method(recipe_of(method={"loss": "mse"}), CPU)
    batch = batch_of()
    output = batch.targets.clone()
    output[:, :, :4] = 7
    assert method.validation_loss(output, batch) == 0
    middle(output)[...] += 0.5
    assert method.validation_loss(output, batch).item() == pytest.approx(0.25)


# ---- patches


def volumes_of(recipe: Recipe, size: tuple[int, int, int], folder: Path) -> VolumeSet:
    image, target = (Image(random_hu(size, seed), lps_affine()) for seed in (0, 1))
    return VolumeSet([Selection(Case("s", image, target), None)], recipe, folder)


@pytest.mark.parametrize("size", SIZES)
def test_central_halves_of_validation_count_each_voxel_once(
    tmp_path: Path, size: tuple[int, int, int]
) -> None:
    (volume,) = volumes_of(recipe_of(), size, tmp_path).volumes
    counted = torch.zeros(size)
    for tile in tiles(volume, (16, 16, 16), Core.half((16, 16, 16))):
        assert tile.image.shape == (1, 16, 16, 16)
        weights = tile.target[1]
        outside = weights.clone()
        outside[4:12, 4:12, 4:12] = 0
        assert not outside.any()
        assert weights.sum() == tile.weight
        for place in (weights > 0).nonzero().tolist():
            counted[tuple(n + first for n, first in zip(place, tile.start, strict=True))] += 1
    assert torch.equal(counted, torch.ones(size))


def test_every_voxel_of_a_volume_can_teach_up_to_its_border(tmp_path: Path) -> None:
    recipe = recipe_of(sampling={"foreground_share": 0, "patches_per_epoch": 400})
    volumes = volumes_of(recipe, (12, 17, 10), tmp_path)
    taught = torch.zeros(12, 17, 10)
    (volume,) = volumes.volumes
    for number, draw in enumerate(volumes.epoch(0)):
        start = draw.start(Core.of(recipe).size, random_state(0, 0, number))
        taught[tuple(slice(first, first + 8) for first in start)] += 1
    assert (taught > 0).all()
    # What is drawn to be central lies in the middle of the patch that the network sees.
    images, targets = augmented_patches(volumes.epoch(0)[:1], recipe, random_state(0, 0, 0), CPU)
    start = volumes.epoch(0)[0].start((8, 8, 8), random_state(0, 0, 0))
    here = tuple(slice(first, first + 8) for first in start)
    assert torch.allclose(middle(images)[0, 0], volume.image[0][here], atol=1e-5)
    assert torch.allclose(middle(targets)[0, 0], volume.target[0][here], atol=1e-5)


# ---- stitching


@pytest.mark.parametrize(("size", "overlap"), list(product(SIZES, (0.0, 0.3))))
def test_central_halves_give_back_a_volume_that_they_leave_as_it_is(
    size: tuple[int, int, int], overlap: float
) -> None:
    image = Image(random_hu(size), lps_affine())
    recipe = recipe_of(sampling={"overlap": overlap})
    found = Translator(Same(), recipe, CPU).translate(image)
    assert found.voxels == pytest.approx(image.voxels, abs=1e-2)


@torch.inference_mode()
def test_patches_join_to_what_the_network_makes_of_the_whole_volume() -> None:
    recipe = recipe_of(sampling={"patch": [32, 32, 32], "overlap": 0.0})
    network = build_network(recipe)
    network(torch.rand(2, 1, 12, 12, 12))  # so that the norms' statistics are not 0 and 1
    network.eval()
    image = Image(random_hu((35, 33, 40)), lps_affine())
    found = Translator(network, recipe, CPU).translate(image).voxels
    volume = volume_stack(image, recipe).prepared(0, 35)
    # Zero padding is what lies around the volume here, so only its outer 8 voxels differ.
    whole = network(volume[None])[0][0, 0].numpy() * 2000 - 1000
    inside = np.s_[8:-8, 8:-8, 8:-8]
    assert found[inside] == pytest.approx(whole[inside], abs=0.05)
    assert whole[inside].std() > 1
    # There, they see as much air as they reach for.
    air = F.pad(volume[None], [8] * 6)
    around = network(air)[0][0, 0, 8:-8, 8:-8, 8:-8].numpy() * 2000 - 1000
    assert found == pytest.approx(around, abs=0.05)


def test_some_slices_need_no_more_than_the_patches_around_them() -> None:
    read: list[int] = []
    volume = torch.rand(1, 60, 16, 16, generator=torch.Generator().manual_seed(0))

    def note(first: int, last: int) -> Tensor:
        read.extend(range(first, last))
        return volume[:, first:last]

    windows = Windows((60, 16, 16), (16, 16, 16), 0.0, Core.half((16, 16, 16)))
    stitcher = Stitcher(windows, lambda patches: Same()(patches)[0], 1)
    for wanted in ([0], [30], [3, 59], list(range(60))):
        read.clear()
        found = {index: values.clone() for index, values in stitcher.slices(note, wanted, (0, 16))}
        assert list(found) == wanted
        assert read == stitcher.slices_read(wanted)
        assert all(torch.allclose(found[n], volume[:, n], atol=1e-6) for n in wanted)
    assert stitcher.slices_read([30]) == list(range(20, 36))


# ---- recipes and training


def test_it_learns_and_needs_volumes_in_3d(tmp_path: Path) -> None:
    recipe = recipe_of(network={"residual": True})
    volumes = volumes_of(recipe, (12, 16, 20), tmp_path)
    learner = Learner(recipe, CPU)
    before = learner.weights()
    learner.begin_epoch(0)
    found = learner.step(volumes.epoch(0)[:2], random_state(0, 0, 0))
    assert all(np.isfinite(value) for value in found.values())
    assert any(not torch.equal(before[name], after) for name, after in learner.weights().items())
    with pytest.raises(RecipeError, match="patch"):
        volume_recipe(method={"name": "context_gan", "loss": "mse"})


def test_the_central_half_of_odd_sizes_is_as_long_as_the_discriminator_expects() -> None:
    for length in range(4, 40):
        assert central_half(torch.zeros(1, 1, length, 16, 16)).shape[2] == length // 2
