"""MONAI's networks: their sizes counted by hand, any image size, what they return."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from engine_samples import labels_recipe
from safetensors.torch import load, save
from torch import nn

from DeepTranslateLib.engine.networks import NetworkError, build_network
from DeepTranslateLib.recipe import Recipe

# Small ones of each; Swin UNETR cannot be smaller.
SIZES = {
    "dynunet": {"levels": 3, "channels": 4, "norm": "instance"},
    "basicunet": {"levels": 5, "channels": 4, "norm": "batch"},
    "segresnet": {"levels": 3, "channels": 4, "norm": "group", "blocks": [1, 1, 1]},
    "swinunetr": {"levels": 5, "channels": 12, "norm": "instance"},
    "restormer": {"levels": 3, "channels": 4, "blocks": [1, 1, 1]},
}
HALVINGS = {"dynunet": 2, "basicunet": 4, "segresnet": 2, "swinunetr": 5, "restormer": 2}


def made(name: str, dimension: int = 2, labels: int = 3, **more: object) -> nn.Module:
    if name in ("swinunetr", "restormer"):
        pytest.importorskip("einops")
    recipe = labels_recipe(labels, network={"name": name, **SIZES[name], **more})
    torch.manual_seed(0)
    return build_network(of_dimension(recipe, dimension))


def of_dimension(recipe: Recipe, dimension: int) -> Recipe:
    return dataclasses.replace(
        recipe, network=dataclasses.replace(recipe.network, dimension=dimension)
    )


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("size", [(1, 1), (37, 20), (33, 64)])
@pytest.mark.parametrize("name", SIZES)
def test_the_output_is_as_large_as_the_image_and_every_weight_learns(
    name: str, size: tuple[int, int]
) -> None:
    network = made(name).train()
    (output,) = network(torch.rand(2, 1, *size))
    assert output.shape == (2, 3, *size)
    output.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", SIZES)
def test_volumes_of_any_size_are_read_in_three_dimensions(name: str) -> None:
    network = made(name, dimension=3).eval()
    with torch.inference_mode():
        (output,) = network(torch.rand(1, 1, 5, 9, 12))
    assert output.shape == (1, 3, 5, 9, 12)


@pytest.mark.parametrize("name", SIZES)
def test_air_beyond_an_image_is_what_a_network_sees_there_anyway(name: str) -> None:
    network = made(name).eval()
    image = torch.rand(1, 1, 37, 20)
    multiple = 2 ** HALVINGS[name]
    whole = [max(2, -(-length // multiple)) * multiple for length in image.shape[2:]]
    padded = F.pad(image, (0, whole[1] - 20, 0, whole[0] - 37))
    with torch.inference_mode():
        (output,), (framed,) = network(image), network(padded)
    torch.testing.assert_close(output, framed[:, :, :37, :20], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("norm", ["none", "group", "instance", "batch"])
@pytest.mark.parametrize("name", ["dynunet", "basicunet", "segresnet"])
def test_the_recipe_chooses_the_norm(name: str, norm: str) -> None:
    kinds = {"group": nn.GroupNorm, "instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}
    modules = list(made(name, norm=norm).modules())
    for other, kind in kinds.items():
        assert any(isinstance(module, kind) for module in modules) == (other == norm)


@pytest.mark.parametrize("name", SIZES)
def test_weights_come_back_from_a_file_and_each_is_in_it_once(name: str) -> None:
    network = made(name)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    learnt = sum(value.numel() for value in state.values() if value.is_floating_point())
    buffers = sum(b.numel() for b in network.buffers() if b.is_floating_point())
    assert learnt == count(network) + buffers
    network.load_state_dict(load(save(state)))


# ---- layer tables: a convolution has inputs * outputs * kernel weights


def test_segresnet_has_the_parameters_of_myronenkos_table() -> None:
    # Initial convolution, 1, 2, 2, 4 residual blocks, strided convolutions between; decoder:
    # 1 x 1 convolution, linear up-sampling, one block; norm and 1 x 1 convolution with bias.
    def block(width: int) -> int:
        return 2 * (width * width * 27 + 2 * width)

    widths = [16, 32, 64, 128]
    expected = 4 * 16 * 27 + sum(
        blocks * block(w) for w, blocks in zip(widths, (1, 2, 2, 4), strict=True)
    )
    expected += sum(a * b * 27 for a, b in itertools.pairwise(widths))
    expected += sum(a * b + block(a) for a, b in itertools.pairwise(widths))
    expected += 2 * 16 + 16 * 3 + 3
    recipe = labels_recipe(
        3, network={"name": "segresnet", "levels": 4, "channels": 16, "norm": "group"}
    )
    network = build_network(of_dimension(recipe, 3))
    # Four MR contrasts in the paper, one input here.
    assert count(network) == expected - 3 * 16 * 27


def test_basicunet_has_the_parameters_of_its_layers() -> None:
    def two(inputs: int, outputs: int) -> int:
        return sum(i * outputs * 9 + 3 * outputs for i in (inputs, outputs))

    def up(inputs: int, half: int) -> int:
        return inputs * half * 4 + half

    c = 8
    down = two(1, c) + two(c, c) + two(c, 2 * c) + two(2 * c, 4 * c) + two(4 * c, 8 * c)
    climb = up(8 * c, 4 * c) + two(8 * c, 4 * c) + up(4 * c, 2 * c) + two(4 * c, 2 * c)
    climb += up(2 * c, c) + two(2 * c, c) + up(c, c) + two(2 * c, c)
    network = made("basicunet", channels=c, norm="instance")
    assert count(network) == down + climb + c * 3 + 3


def dynunet_parameters(widths: list[int], labels: int) -> int:
    def two(inputs: int, outputs: int) -> int:
        return sum(i * outputs * 9 + 2 * outputs for i in (inputs, outputs))

    down = two(1, widths[0]) + sum(two(a, b) for a, b in itertools.pairwise(widths))
    up = sum(b * a * 4 + two(2 * a, a) for a, b in itertools.pairwise(widths))
    return down + up + widths[0] * labels + labels


def test_dynunet_has_the_parameters_of_nnunets_layers_and_its_limit_of_channels() -> None:
    assert count(made("dynunet", levels=4, channels=8)) == dynunet_parameters([8, 16, 32, 64], 3)
    wide = made("dynunet", levels=3, channels=256)
    assert count(wide) == dynunet_parameters([256, 512, 512], 3)


def restormer_parameters(dim: int, blocks: tuple[int, ...], channels: int, labels: int) -> int:
    def block(d: int, heads: int) -> int:
        hidden = int(d * 2.66)
        attention = d * 3 * d + 3 * d * 9 + d * d + heads
        feed = d * 2 * hidden + 2 * hidden * 9 + hidden * d
        return attention + feed + 2 * 2 * d

    dims = [dim * 2**level for level in range(len(blocks))]
    heads = [2**level for level in range(len(blocks))]
    total = channels * dim * 9
    total += sum(n * block(d, h) for n, d, h in zip(blocks, dims, heads, strict=True))
    total += sum(9 * d * d // 2 for d in dims[:-1])  # down: half the channels, shuffled
    total += sum(9 * d * 2 * d for d in dims[1:])  # up: twice the channels, shuffled
    total += sum(2 * d * d for d in dims[1:-1])  # 1 x 1 after each skip but the finest
    # The finest decoder level keeps the skip's channels, and so does the refinement.
    decoder = [2 * dims[0], *dims[1:-1]]
    total += sum(n * block(d, h) for n, d, h in zip(blocks, decoder, heads, strict=False))
    return total + 4 * block(2 * dim, 1) + 2 * dim * labels * 9


def test_restormer_has_the_parameters_of_zamirs_layers() -> None:
    expected = restormer_parameters(8, (1, 2, 1), channels=1, labels=3)
    assert count(made("restormer", channels=8, blocks=[1, 2, 1])) == expected


# ---- deep supervision


def test_dynunets_coarse_outputs_are_those_that_monai_enlarges() -> None:
    from monai.networks.nets import DynUNet

    network = made("dynunet", levels=4, deep_supervision=True).train()
    torch.manual_seed(0)
    theirs = DynUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=3,
        kernel_size=[3] * 4,
        strides=[1, 2, 2, 2],
        upsample_kernel_size=[2] * 3,
        filters=[4, 8, 16, 32],
        deep_supervision=True,
        deep_supr_num=2,
    ).train()
    image = torch.rand(2, 1, 32, 16)
    outputs, expected = network(image), theirs(image).unbind(dim=1)
    assert [tuple(output.shape[2:]) for output in outputs] == [(32, 16), (16, 8), (8, 4)]
    for output, enlarged in zip(outputs, expected, strict=True):
        assert torch.equal(F.interpolate(output, size=(32, 16)), enlarged)
    assert len(network.eval()(image)) == 1


def test_dynunets_coarse_outputs_cover_images_of_odd_sizes() -> None:
    network = made("dynunet", levels=4, deep_supervision=True).train()
    shapes = [tuple(output.shape[2:]) for output in network(torch.rand(1, 1, 37, 21))]
    assert shapes == [(37, 21), (19, 11), (10, 6)]


# ---- what is not there


def test_without_einops_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("swinunetr", "restormer"):
        recipe = labels_recipe(1, network={"name": name, **SIZES[name]})
        with pytest.raises(NetworkError, match="einops") as caught:
            build_network(recipe)
        assert name in str(caught.value)


def test_monai_is_loaded_only_for_its_networks() -> None:
    code = (
        "import sys\n"
        "from DeepTranslateLib.engine.networks import build_network\n"
        "from DeepTranslateLib.recipe import read_recipe\n"
        "build_network(read_recipe('ct-body-composition'))\n"
        "sys.exit('monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
