"""Networks of adversarial translation, against their published layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from engine_samples import labels_recipe, volume_recipe
from network_samples import count, kernels, seeded, seen, transparent
from safetensors.torch import load, save
from torch import nn

from DeepTranslateLib.engine.centralhalf import central_half
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.networks.context_fcn import ContextFCN
from DeepTranslateLib.engine.networks.residual import Residual
from DeepTranslateLib.engine.networks.residualblock import Bounded
from DeepTranslateLib.engine.networks.resnet import ResNetGenerator
from DeepTranslateLib.engine.networks.unit import UnitTranslator, build_pair
from DeepTranslateLib.recipe import Recipe, RecipeError

LAST = {"monitor": "last"}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet": {"levels": 3, "channels": 4, "norm": "instance", "blocks": [2]},
    "unit": {"levels": 3, "channels": 4, "norm": "instance", "blocks": [1]},
    "context_fcn": {"levels": 5, "channels": 2, "norm": "batch", "dimension": 3},
}


def recipe_of(name: str, patch: Sequence[int] = (16, 16, 16), **network: Any) -> Recipe:
    parts: dict[str, Any] = {"network": {"name": name, **NETWORKS[name], **network}}
    if parts["network"].get("dimension") == 3:
        parts["sampling"] = {"patch": list(patch)}
    if name == "unit":
        parts.update(method={"name": "unit", "loss": "mae"}, training=LAST)
        parts["adversarial"] = {"discriminator_layers": 1}
    return volume_recipe(**parts)


# ---- all of them, from recipes


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("name", ["resnet", "unit"])
def test_any_size_comes_back_within_0_and_1_and_every_weight_learns(
    name: str, dimension: int
) -> None:
    network = seeded(build_network, recipe_of(name, dimension=dimension)).train()
    for size in [(1, 1, 1), (5, 13, 9)]:
        images = torch.rand(2, 1, *size[:dimension])
        (output,) = network(images)
        assert output.shape == images.shape
        assert output.min() >= 0
        assert output.max() <= 1
    output.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_makes_the_same_weights_and_a_file_brings_them_back(name: str) -> None:
    recipe = recipe_of(name)
    first, second = seeded(build_network, recipe), seeded(build_network, recipe)
    other = build_network(recipe)
    images = torch.rand(1, 1, *[16] * recipe.network.dimension)
    assert torch.equal(first.eval()(images)[0], second.eval()(images)[0])
    assert not torch.equal(first(images)[0], other.eval()(images)[0])
    other.load_state_dict(load(save(first.state_dict())))
    assert torch.equal(first(images)[0], other(images)[0])


@pytest.mark.parametrize("norm", ["none", "group", "instance", "batch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_fresh_networks_tell_images_apart_with_any_norm(name: str, norm: str) -> None:
    network = seeded(build_network, recipe_of(name, norm=norm)).train()
    dimension = 3 if name == "context_fcn" else 2
    images = torch.rand(2, 1, *[16] * dimension)
    (output,) = network(images)
    # Neither dead nor, for the bounded ones, stuck at the ends of the tanh.
    assert output.std() > 1e-4
    assert output.detach().mean().abs() < 2
    if name != "context_fcn":
        assert output.min() > 0.001
        assert output.max() < 0.999
    kinds = {"group": "GroupNorm", "instance": "InstanceNorm", "batch": "BatchNorm"}
    present = {kind for m in network.modules() for kind in kinds.values() if kind in str(type(m))}
    assert present == ({kinds[norm]} if norm != "none" else set())


@pytest.mark.parametrize(
    ("name", "network", "field"),
    [
        ("resnet", {"levels": 6}, "levels"),
        ("unit", {"levels": 6}, "levels"),
        ("context_fcn", {"levels": 4}, "levels"),
        ("resnet", {"blocks": [1, 1, 1]}, "blocks"),
        ("unit", {"blocks": []}, "blocks"),
        ("context_fcn", {"blocks": [1]}, "blocks"),
        ("context_fcn", {"dimension": 2}, "dimension"),
        ("resnet", {"deep_supervision": True}, "deep_supervision"),
        ("unit", {"residual": True}, "residual"),
    ],
)
def test_sizes_that_a_network_cannot_have_are_refused(
    name: str, network: dict[str, Any], field: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_of(name, **network)
    assert caught.value.path == f"$.network.{field}"


def test_a_patch_is_no_single_voxel_of_a_network_that_never_halves() -> None:
    assert recipe_of("context_fcn", patch=(16, 16, 16)).network.halvings == 0
    with pytest.raises(RecipeError, match="single voxel"):
        recipe_of("resnet", patch=(16, 16, 16), levels=5, dimension=3)


# ---- the ResNet generator


# Convolutions of c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-3: inputs, outputs, side.
RESNET_9 = [
    (3, 64, 7),
    (64, 128, 3),
    (128, 256, 3),
    *[(256, 256, 3)] * 18,
    (256, 128, 3),
    (128, 64, 3),
    (64, 3, 7),
]


def test_resnet_9_has_the_weights_of_the_published_table() -> None:
    network = ResNetGenerator(2, 3, 3, channels=64, levels=3, norm="instance")
    table = sum(i * o * side**2 for i, o, side in RESNET_9)
    assert kernels(network) == table
    # The 11.378 million that are commonly named count a bias for each filter.
    assert table + sum(o for _, o, _ in RESNET_9) == 11_378_179
    # Here each filter but the last three has a scale and a shift.
    assert count(network) == table + sum(2 * o for _, o, _ in RESNET_9[:-1]) + 3


def test_the_recipe_chooses_channels_levels_and_blocks_of_a_resnet() -> None:
    network = build_network(recipe_of("resnet", channels=4, levels=2, blocks=[1], norm="none"))
    layers = [(1, 4, 49), (4, 8, 9), (8, 8, 9), (8, 8, 9), (8, 4, 9), (4, 1, 49)]
    assert count(network) == sum(i * o * k + o for i, o, k in layers)
    volume = build_network(recipe_of("resnet", channels=4, levels=2, blocks=[1], dimension=3))
    layers = [(1, 4, 343), (4, 8, 27), (8, 8, 27), (8, 8, 27), (8, 4, 27), (4, 1, 343)]
    assert kernels(volume) == sum(i * o * k for i, o, k in layers)
    plain = build_network(recipe_of("resnet", channels=2, blocks=None))
    assert kernels(plain) == 98 + 72 + 288 + 9 * 1152 + 288 + 72 + 98


def resnet_reach(at: int, levels: int, blocks: int) -> tuple[int, int]:
    """Counted from the output back to the image."""
    low, high = at - 3, at + 3
    for _ in range(levels - 1):
        # Pixel o of a doubled image is made of pixels i with o = 2 i - 1, 2 i or 2 i + 1.
        low, high = math.ceil((low - 1) / 2), math.floor((high + 1) / 2)
    low, high = low - 2 * blocks, high + 2 * blocks
    for _ in range(levels - 1):
        low, high = 2 * low - 1, 2 * high + 1
    return low - 3, high + 3


@pytest.mark.parametrize(("levels", "blocks", "at"), [(2, 1, 32), (3, 1, 40), (3, 2, 45)])
def test_a_resnet_sees_as_far_as_its_layers_reach(levels: int, blocks: int, at: int) -> None:
    network = ResNetGenerator(2, 1, 1, 2, levels, "none", blocks, bounded=False)
    transparent(network)
    assert seen(lambda image: network(image)[0], 96, at) == resnet_reach(at, levels, blocks)


def test_nine_blocks_see_about_as_far_as_the_discriminator_judges_twice() -> None:
    low, high = resnet_reach(128, levels=3, blocks=9)
    assert 2 * 70 < high - low + 1 < 3 * 70


def test_the_encoder_sees_images_mirrored_at_their_borders_and_not_dark() -> None:
    # An image of one value has features of one value only where nothing else is seen around it.
    network = seeded(ResNetGenerator, 2, 1, 1, 4, 3, "none", 2).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    latent, halved = network.encode(torch.full((1, 1, 16, 16), 0.7), [network.encoder_layers, 3])
    for features in (latent, halved):
        assert features.abs().max() > 1
        torch.testing.assert_close(features, features[..., :1, :1].expand_as(features))


def test_features_of_the_encoder_are_those_of_its_layers_in_the_order_asked_for() -> None:
    network = seeded(ResNetGenerator, 2, 1, 1, 4, 3, "instance", 3).eval()
    image = torch.rand(2, 1, 13, 16)
    assert network.encoder_layers == 6
    latent, pixels, first = network.encode(image, [6, 0, 1])
    assert torch.equal(pixels[:, :, :13], image)
    assert pixels.shape == (2, 1, 16, 16)
    assert not pixels[:, :, 13:].any()
    assert first.shape == (2, 4, 16, 16)
    assert [tuple(f.shape[1:]) for f in network.encode(image, [2, 3, 4, 6])] == [
        (8, 8, 8),
        *[(16, 4, 4)] * 3,
    ]
    # c7s1 by hand: mirror, convolve, norm, ReLU.
    convolution, norm = network.encoder[0][0], network.encoder[0][1]
    mirrored = nn.functional.pad(pixels, (3, 3, 3, 3), mode="reflect")
    by_hand = nn.functional.conv2d(mirrored, convolution.weight)
    torch.testing.assert_close(first, norm(by_hand).relu(), atol=1e-6, rtol=1e-5)
    assert torch.equal(network.decode(latent, (13, 16)), network(image)[0])
    for layer in (-1, 7):
        with pytest.raises(ValueError, match=f"from 0 to 6, found {layer}"):
            network.encode(image, [layer])


def test_nothing_beyond_the_layers_asked_for_is_computed() -> None:
    network = ResNetGenerator(2, 1, 1, 2, 3, "instance", 3)
    (features,) = network.encode(torch.rand(1, 1, 8, 8), [2])
    features.sum().backward()
    learnt = [all(p.grad is not None for p in stage.parameters()) for stage in network.encoder]
    assert learnt == [True, True, False, False, False, False]


def test_a_difference_has_either_sign_and_logits_have_no_bounds() -> None:
    network = build_network(recipe_of("resnet", residual=True))
    assert isinstance(network, Residual)
    labels = build_network(labels_recipe(2, network={"name": "resnet", **NETWORKS["resnet"]}))
    for inner in (network.network, labels):
        assert isinstance(inner, ResNetGenerator)
        with torch.no_grad():
            inner.decoder[-2].weight.mul_(100)
        (output,) = inner(torch.rand(1, 1, 16, 16))
        assert output.min() < -1
        assert output.max() > 1


# ---- UNIT


def test_both_directions_of_unit_share_the_very_same_weights_and_nothing_else() -> None:
    forward, backward = seeded(build_pair, recipe_of("unit"))
    of_forward = {id(p) for p in forward.parameters()}
    of_backward = {id(p) for p in backward.parameters()}
    shared = {id(p) for part in ("encoder", "decoder") for p in shared_part(forward, part)}
    assert of_forward & of_backward == shared
    with torch.no_grad():
        next(shared_part(forward, "encoder")).fill_(3)
    assert (next(shared_part(backward, "encoder")) == 3).all()


def shared_part(translator: UnitTranslator, part: str) -> Any:
    return getattr(translator, f"shared_{part}").parameters()


def test_a_step_of_one_direction_moves_the_other_by_what_they_share() -> None:
    forward, backward = seeded(build_pair, recipe_of("unit", norm="none"))
    image = torch.rand(1, 1, 8, 8)
    before = backward(image)[0].detach()
    optimizer = torch.optim.SGD(forward.parameters(), lr=1.0)
    forward(image)[0].mean().backward()
    optimizer.step()
    assert not torch.equal(backward(image)[0], before)


def test_a_model_of_one_direction_takes_the_weights_of_the_pair() -> None:
    recipe = recipe_of("unit")
    _, backward = seeded(build_pair, recipe)
    alone = build_network(recipe)
    alone.load_state_dict(load(save(backward.state_dict())))
    image = torch.rand(1, 1, 9, 14)
    assert torch.equal(alone.eval()(image)[0], backward.eval()(image)[0])


def test_unit_has_the_weights_of_the_papers_table() -> None:
    recipe = recipe_of("unit", channels=64, blocks=None)
    forward, backward = build_pair(recipe)
    block = 2 * 9 * 256 * 256
    encoder = 49 * 64 + 9 * 64 * 128 + 9 * 128 * 256 + 3 * block
    decoder = 3 * block + 9 * 256 * 128 + 9 * 128 * 64 + 64
    assert kernels(forward.encoder) == kernels(backward.encoder) == encoder
    assert kernels(forward.decoder) == kernels(backward.decoder) == decoder
    assert kernels(forward.shared_encoder) == kernels(forward.shared_decoder) == block
    # A scale and a shift for each filter in blocks, elsewhere a bias.
    others = 8 * 2 * 2 * 256 + (64 + 128 + 256) + (128 + 64 + 1)
    assert count(forward) == encoder + decoder + 2 * block + others
    slopes = [m for m in forward.modules() if isinstance(m, nn.LeakyReLU)]
    assert len(slopes) == 3 + 2


def test_the_way_through_the_latent_is_the_translation_and_keeps_odd_sizes() -> None:
    forward, backward = seeded(build_pair, recipe_of("unit"))
    image = torch.rand(2, 1, 13, 18)
    latent = forward.encode(image)
    assert latent.shape == (2, 16, 4, 5)
    assert torch.equal(forward.decode(latent, (13, 18)), forward(image)[0])
    rebuilt = backward.decode(latent, image.shape[2:])
    assert rebuilt.shape == image.shape
    assert not torch.equal(rebuilt, forward(image)[0])


# ---- Nie's network


def test_the_context_fcn_has_the_published_filters() -> None:
    network = ContextFCN(2, 1, channels=32, norm="batch")
    filters = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv3d)]
    assert filters == [32, 32, 32, 64, 64, 64, 32, 32, 1]
    sides = [27] * 6 + [1] * 3
    inputs = [2, *filters[:-1]]
    table = sum(i * o * side for i, o, side in zip(inputs, filters, sides, strict=True))
    assert kernels(network) == table
    assert count(network) == table + 2 * sum(filters[:-1]) + 1
    after = [type(m) for m in network.layers]
    assert after == [nn.Conv3d, nn.BatchNorm3d, nn.ReLU] * 8 + [nn.Conv3d]


def test_the_context_fcn_sees_8_voxels_to_each_side() -> None:
    network = transparent(ContextFCN(1, 1, channels=1, norm="none"))
    assert seen(lambda image: network(image)[0], 20, 9, dimension=3) == (1, 17)


def test_without_padding_32_voxels_become_the_central_16() -> None:
    network = seeded(ContextFCN, 1, 1, channels=2, norm="batch")
    network(torch.rand(2, 1, 12, 12, 12))  # so that the norms' statistics are not 0 and 1
    network.eval()
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.inference_mode():
        (whole,) = network(image)
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                module.padding = (0, 0, 0)
        (unpadded,) = network(image)
    assert unpadded.shape == (1, 1, 16, 16, 16)
    torch.testing.assert_close(central_half(whole), unpadded, atol=1e-6, rtol=1e-5)


def test_the_central_half_is_the_middle_of_each_axis() -> None:
    patch = torch.arange(4 * 6 * 9).reshape(1, 1, 4, 6, 9)
    assert torch.equal(central_half(patch), patch[:, :, 1:3, 1:4, 2:6])


def test_central_halves_join_to_what_the_whole_volume_gives() -> None:
    network = seeded(ContextFCN, 1, 1, channels=2, norm="batch").eval()
    volume = torch.rand(1, 1, 32, 32, 48)
    with torch.inference_mode():
        (whole,) = network(volume)
        halves = [central_half(network(volume[..., at : at + 32])[0]) for at in (0, 16)]
    joined = torch.cat(halves, dim=-1)
    torch.testing.assert_close(joined, whole[..., 8:24, 8:24, 8:40], atol=1e-6, rtol=1e-5)


def test_a_context_fcn_learns_a_difference_where_the_recipe_says_so() -> None:
    network = build_network(recipe_of("context_fcn", residual=True)).eval()
    assert isinstance(network, Residual)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    image = torch.rand(1, 1, 6, 7, 8)
    assert torch.equal(network(image)[0], image)


def test_the_last_layer_keeps_what_half_precision_would_round_away() -> None:
    values = torch.linspace(-3, 3, 400).bfloat16()
    images = Bounded()(values)
    assert images.dtype == torch.float32
    exact = (values.double().tanh() + 1) / 2
    assert float((images - exact).abs().max()) < 1e-6
    # Of bf16 itself neighbours in the brighter half are 1/256 apart.
    assert float((exact.bfloat16() - exact).abs().max()) > 1e-3
