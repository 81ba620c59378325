"""The U-Net: its size counted by hand, any image size, its reach, what it returns."""

import itertools

import pytest
import torch
from engine_samples import labels_recipe, volume_recipe
from hypothesis import example, given, settings
from hypothesis import strategies as st

from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.networks.unet import UNet


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# (inputs, outputs, kernel side) of the convolutions of a five-level U-Net from 1 channel to 3:
# two in each level, decoder inputs are skip + coarser features, a 1 x 1 head.
FIVE_LEVELS = [
    *[(1, 16, 3), (16, 16, 3), (16, 32, 3), (32, 32, 3), (32, 64, 3), (64, 64, 3)],
    *[(64, 128, 3), (128, 128, 3), (128, 256, 3), (256, 256, 3)],
    *[(128 + 256, 128, 3), (128, 128, 3), (64 + 128, 64, 3), (64, 64, 3)],
    *[(32 + 64, 32, 3), (32, 32, 3), (16 + 32, 16, 3), (16, 16, 3), (16, 3, 1)],
]


def test_five_levels_of_16_channels_have_the_parameters_of_the_layer_table() -> None:
    expected = sum(i * o * side**2 + o for i, o, side in FIVE_LEVELS)
    assert count(UNet(1, 3, levels=5, channels=16)) == expected


@pytest.mark.parametrize("norm", ["group", "instance", "batch"])
def test_a_norm_replaces_each_bias_by_a_scale_and_a_shift(norm: str) -> None:
    expected = sum(i * o * side**2 + (2 * o if side == 3 else o) for i, o, side in FIVE_LEVELS)
    assert count(UNet(1, 3, levels=5, channels=16, norm=norm)) == expected


def test_deep_supervision_adds_a_head_for_each_coarser_decoder_level() -> None:
    plain = UNet(1, 3, levels=5, channels=16)
    deep = UNet(1, 3, levels=5, channels=16, deep_supervision=True)
    assert count(deep) - count(plain) == sum(width * 3 + 3 for width in (32, 64, 128))


@settings(max_examples=25)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(2, 4), st.integers(1, 3), st.integers(1, 3)
)
@example(1, 1, 5, 1, 3)
@example(100, 75, 5, 1, 3)
@example(33, 1, 5, 2, 1)
def test_the_output_is_as_large_as_the_image_whatever_its_size(
    height: int, width: int, levels: int, inputs: int, outputs: int
) -> None:
    network = UNet(inputs, outputs, levels=levels, channels=2).eval()
    (output,) = network(torch.rand(2, inputs, height, width))
    assert output.shape == (2, outputs, height, width)
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("norm", ["group", "instance", "batch"])
def test_every_norm_takes_odd_sizes_in_training_and_in_use(norm: str) -> None:
    network = UNet(1, 2, levels=3, channels=4, norm=norm)
    image = torch.rand(2, 1, 17, 13)
    for mode in (True, False):
        assert network.train(mode)(image)[0].shape == (2, 2, 17, 13)


@pytest.mark.parametrize("norm", ["none", "group", "instance"])
def test_the_result_of_a_slice_does_not_depend_on_its_batch(norm: str) -> None:
    torch.manual_seed(0)
    network = UNet(1, 2, levels=3, channels=4, norm=norm).eval()
    images = torch.rand(3, 1, 12, 15)
    together = network(images)[0]
    alone = torch.cat([network(image[None])[0] for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("norm", ["group", "instance", "batch"])
def test_a_norm_makes_the_first_features_indifferent_to_the_images_gain(norm: str) -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 1, 16, 16)

    def changes_with_gain(network: UNet) -> float:
        # Large values, so that the norm's own epsilon does not matter.
        with torch.no_grad():
            once, thrice = network.train()(100 * image)[0], network(300 * image)[0]
        return float((once - thrice).abs().max() / once.abs().max())

    assert changes_with_gain(UNet(1, 1, levels=2, channels=4, norm=norm)) < 1e-2
    assert changes_with_gain(UNet(1, 1, levels=2, channels=4, norm="none")) > 1


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_deep_supervision_gives_an_output_a_decoder_level_in_training_and_one_in_use(
    levels: int,
) -> None:
    network = UNet(1, 3, levels=levels, channels=2, deep_supervision=True)
    image = torch.rand(1, 1, 37, 20)
    sizes = [(37, 20)]
    for _ in range(levels - 2):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    outputs = network.train()(image)
    assert [tuple(output.shape) for output in outputs] == [(1, 3, *size) for size in sizes]
    (in_use,) = network.eval()(image)
    assert torch.equal(in_use, outputs[0])
    assert len(UNet(1, 3, levels=levels, channels=2).train()(image)) == 1


def test_every_output_of_deep_supervision_teaches_its_own_head() -> None:
    network = UNet(1, 1, levels=4, channels=2, deep_supervision=True).train()
    image = torch.rand(1, 1, 16, 16)
    for place in range(3):
        network.zero_grad(set_to_none=True)
        network(image)[place].sum().backward()
        taught = [head.weight.grad is not None for head in network.heads]
        assert taught == [place == other for other in range(3)]


def influence(levels: int, size: int, at: int) -> torch.Tensor:
    """Which pixels of the (size,) middle row and column matter to output pixel (at, at)."""
    torch.manual_seed(1)
    network = UNet(1, 1, levels=levels, channels=4).eval().double()
    # Positive weights let every path through ReLU and no two paths cancel.
    for parameter in network.parameters():
        parameter.data.abs_()
    image = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    network(image)[0][0, 0, at, at].backward()
    assert image.grad is not None
    return image.grad[0, 0] != 0


def test_an_output_pixel_sees_far_and_no_farther_than_its_levels_reach() -> None:
    # Two levels, counted by hand from output pixel 32: two convolutions in the decoder reach
    # 30..34; those pixels come from coarse pixels 15..17; two coarse convolutions reach 13..19;
    # each pools 2 pixels, 26..39; two convolutions in the encoder reach 24..41. Max pooling picks
    # one pixel of each window, which may cost a pixel at the rim.
    seen = influence(levels=2, size=64, at=32)
    rows = torch.nonzero(seen.any(dim=1)).flatten()
    assert 24 <= int(rows.min()) <= 25
    assert 40 <= int(rows.max()) <= 41
    # Five levels see a 128 x 128 image from border to border.
    seen = influence(levels=5, size=128, at=64)
    for edge in (seen[:4], seen[-4:], seen[:, :4], seen[:, -4:]):
        assert edge.any()


def test_a_shift_by_the_coarsest_pixel_shifts_the_output() -> None:
    torch.manual_seed(0)
    network = UNet(1, 1, levels=3, channels=4).eval()
    blob = torch.rand(1, 1, 8, 8)
    first, second = torch.zeros(1, 1, 96, 96), torch.zeros(1, 1, 96, 96)
    first[..., 40:48, 36:44] = blob
    second[..., 44:52, 40:48] = blob
    moved = network(second)[0][..., 44:60, 40:56]
    torch.testing.assert_close(moved, network(first)[0][..., 40:56, 36:52], atol=1e-5, rtol=1e-4)


def test_fresh_weights_keep_the_signals_size_through_the_encoder() -> None:
    # He initialisation: the mean square of what enters a convolution after ReLU survives.
    torch.manual_seed(0)
    features = torch.randn(1, 16, 64, 64)
    network = UNet(16, 1, levels=4, channels=32)
    sizes = []
    for block in network.encoder:
        features = block(features).detach()
        sizes.append(float((features**2).mean()))
    assert all(0.2 < after / before < 5 for before, after in itertools.pairwise(sizes))


def test_the_recipe_chooses_channels_levels_norm_and_outputs() -> None:
    recipe = labels_recipe(
        3, network={"levels": 3, "channels": 4, "norm": "group", "deep_supervision": True}
    )
    network = build_network(recipe).train()
    outputs = network(torch.rand(1, 1, 9, 9))
    assert [tuple(output.shape) for output in outputs] == [(1, 3, 9, 9), (1, 3, 5, 5)]
    assert count(network) == count(UNet(1, 3, 3, 4, "group", deep_supervision=True))
    assert any(isinstance(module, torch.nn.GroupNorm) for module in network.modules())
    (volume,) = build_network(volume_recipe())(torch.rand(1, 1, 9, 9))
    assert volume.shape == (1, 1, 9, 9)


# ---- three dimensions


def test_in_three_dimensions_the_same_layers_have_kernels_of_27() -> None:
    expected = sum(i * o * side**3 + o for i, o, side in FIVE_LEVELS)
    assert count(UNet(1, 3, levels=5, channels=16, dimension=3)) == expected


@pytest.mark.parametrize("norm", ["none", "group", "instance", "batch"])
def test_a_volume_of_any_size_has_an_output_of_its_size_and_coarse_ones(norm: str) -> None:
    network = UNet(2, 3, 3, 4, norm, deep_supervision=True, dimension=3).train()
    shapes = [tuple(output.shape) for output in network(torch.rand(2, 2, 5, 17, 8))]
    assert shapes == [(2, 3, 5, 17, 8), (2, 3, 3, 9, 4)]


def test_a_volume_of_equal_slices_is_seen_as_each_of_them_by_flat_kernels() -> None:
    # Kernels that look at the middle slice alone make the network of volumes that of slices,
    # but for its pooling, which halves the number of slices.
    torch.manual_seed(0)
    flat, deep = UNet(1, 2, 3, 4), UNet(1, 2, 3, 4, dimension=3)
    weights = flat.state_dict()
    for name, kernel in deep.state_dict().items():
        if kernel.ndim == 5:
            kernel.zero_()
            kernel[:, :, kernel.shape[2] // 2] = weights[name]
        else:
            kernel.copy_(weights[name])
    image = torch.rand(1, 1, 13, 10)
    volume = image[:, :, None].expand(1, 1, 6, 13, 10)
    (expected,), (output,) = flat.eval()(image), deep.eval()(volume)
    torch.testing.assert_close(output, expected[:, :, None].expand_as(output), atol=1e-5, rtol=1e-4)
