"""What a recipe says of learning: its loss or losses, and the targets of coarse outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_samples import labels_recipe, volume_recipe
from torch import Tensor

from DeepTranslateLib.engine import losses
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.methods.deep_supervision import levels_of
from DeepTranslateLib.engine.methods.supervised import Supervised
from DeepTranslateLib.recipe import LABEL_LOSSES, VOLUME_LOSSES, Recipe

CPU = torch.device("cpu")


def batch_of(size: tuple[int, ...], labels: int = 1, seed: int = 0) -> Batch:
    torch.manual_seed(seed)
    targets = (torch.rand(2, labels, *size) > 0.5).float()
    return Batch(torch.rand(2, 1, *size), targets, (torch.rand(2, 1, *size) > 0.2).float())


def loss_of(recipe: Recipe, batch: Batch) -> tuple[float, Tensor]:
    """The loss of a step on a fresh network, and that network's finest output."""
    torch.manual_seed(0)
    method = Supervised(recipe, CPU)
    network = method.networks["network"].train()
    loss = method.training_step(batch, lambda name, loss: loss.backward())["loss"]
    return float(loss), network(batch.images)[0].detach()


def test_recipes_know_the_losses_that_there_are() -> None:
    assert LABEL_LOSSES == losses.LABEL_LOSSES
    assert VOLUME_LOSSES == losses.VOLUME_LOSSES


@pytest.mark.parametrize("name", [*LABEL_LOSSES, *VOLUME_LOSSES[:-1]])
def test_a_loss_by_name_is_what_a_step_comes_to_and_teaches(name: str) -> None:
    if name in LABEL_LOSSES:
        recipe, batch = labels_recipe(2, method={"loss": name}), batch_of((12, 12), 2)
    else:
        recipe, batch = volume_recipe(method={"loss": name}), batch_of((12, 12))
    value, output = loss_of(recipe, batch)
    expected = losses.build_loss(name)(output, batch.targets, batch.mask)
    assert value == pytest.approx(float(expected), rel=1e-5)


def test_a_list_of_losses_is_their_weighted_sum() -> None:
    terms: list[dict[str, Any]] = [
        {"name": "mae"},
        {"name": "gradient_difference", "weight": 0.5},
        {"name": "total_variation", "weight": 0.125},
    ]
    batch = batch_of((12, 12))
    value, output = loss_of(volume_recipe(method={"loss": terms}), batch)
    parts = [losses.build_loss(t["name"])(output, batch.targets, batch.mask) for t in terms]
    assert value == pytest.approx(float(parts[0] + 0.5 * parts[1] + 0.125 * parts[2]), rel=1e-5)


def test_a_list_of_one_loss_of_weight_1_is_that_loss() -> None:
    batch = batch_of((8, 8), 2)
    one = loss_of(labels_recipe(2, method={"loss": [{"name": "dice"}]}), batch)[0]
    assert one == pytest.approx(loss_of(labels_recipe(2, method={"loss": "dice"}), batch)[0])


# ---- coarse targets: 8 x 8 pixels, of outputs at 8, 4 and 2


def outputs_for(batch: Batch) -> list[Tensor]:
    torch.manual_seed(1)
    labels = batch.targets.shape[1]
    return [torch.randn(2, labels, size, size) for size in (8, 4, 2)]


def test_averaged_targets_weigh_half_as_much_at_each_level() -> None:
    batch = batch_of((8, 8))
    levels = levels_of(outputs_for(batch), batch, "averaged")
    assert [level.weight for level in levels] == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert torch.equal(levels[0].targets, batch.targets)
    coarse = levels[1]
    for row in range(4):
        for column in range(4):
            here = (0, 0, slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
            counted = float(batch.mask[here].sum())
            assert float(coarse.mask[0, 0, row, column]) == pytest.approx(counted / 4)
            if counted:
                mean = float((batch.targets[here] * batch.mask[here]).sum()) / counted
                assert float(coarse.targets[0, 0, row, column]) == pytest.approx(mean)


def test_nearest_targets_are_pixels_and_the_coarsest_output_has_no_weight() -> None:
    batch = batch_of((8, 8), 2)
    outputs = outputs_for(batch)
    levels = levels_of(outputs, batch, "nearest")
    assert [level.weight for level in levels] == pytest.approx([2 / 3, 1 / 3])
    assert torch.equal(levels[1].targets, batch.targets[:, :, 1::2, 1::2])
    assert torch.equal(levels[1].mask, batch.mask[:, :, 1::2, 1::2])
    assert levels[1].output is outputs[1]


def test_full_size_targets_are_held_against_the_enlarged_output_of_a_quarter() -> None:
    batch = batch_of((8, 8), 2)
    outputs = outputs_for(batch)
    finest, quarter = levels_of(outputs, batch, "full_size")
    assert finest.weight == quarter.weight == 0.5
    assert finest.output is outputs[0]
    assert torch.equal(quarter.output, outputs[2].repeat_interleave(4, 2).repeat_interleave(4, 3))
    assert torch.equal(quarter.targets, batch.targets)
    assert torch.equal(quarter.mask, batch.mask)


@pytest.mark.parametrize("kind", ["averaged", "nearest", "full_size"])
def test_a_single_output_is_held_to_the_target_alone(kind: str) -> None:
    batch = batch_of((8, 8))
    (level,) = levels_of(outputs_for(batch)[:1], batch, kind)
    assert level.weight == 1
    assert level.targets is batch.targets


@pytest.mark.parametrize("kind", ["averaged", "nearest", "full_size"])
@pytest.mark.parametrize("name", ["unet", "dynunet"])
def test_every_kind_trains_on_images_of_odd_sizes(name: str, kind: str) -> None:
    recipe = labels_recipe(
        2,
        network={"name": name, "levels": 4, "deep_supervision": True},
        method={"coarse_targets": kind, "loss": "dice_cross_entropy"},
    )
    value, _ = loss_of(recipe, batch_of((37, 21), 2))
    assert 0 < value < 10


@pytest.mark.parametrize("kind", ["averaged", "nearest", "full_size"])
def test_coarse_targets_of_volumes_have_three_dimensions(kind: str) -> None:
    batch = batch_of((8, 12, 16))
    outputs = [torch.randn(2, 1, 8 // n, 12 // n, 16 // n) for n in (1, 2, 4)]
    for level in levels_of(outputs, batch, kind):
        assert level.output.shape == level.targets.shape
        assert level.mask.shape[2:] == level.targets.shape[2:]


# ---- moving averages


def test_a_moving_average_leaves_counters_and_indices_as_they_are() -> None:
    # 0.9 n + 0.1 n is below n for many n, and would be rounded down to another index.
    learner = Learner(labels_recipe(1, training={"ema": 0.9}), CPU)
    numbers = torch.arange(2000)
    network = learner._method.networks["network"]
    for each in (network, learner.translator):
        each.register_buffer("numbers", numbers.clone())
    for _ in range(3):
        learner._update("network", network(torch.rand(1, 1, 8, 8))[0].mean())
    assert torch.equal(learner.translator.get_buffer("numbers"), numbers)
