"""Discriminators, against their published layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_samples import volume_recipe
from network_samples import count, kernels, seeded, seen, transparent
from torch import nn

from DeepTranslateLib.engine.centralhalf import central_half
from DeepTranslateLib.engine.discriminators import DiscriminatorError, build_discriminator
from DeepTranslateLib.engine.discriminators.context import ContextDiscriminator
from DeepTranslateLib.engine.discriminators.patch import PatchDiscriminator
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.recipe import RecipeError

# ---- the discriminator of patches


def test_the_70_by_70_discriminator_has_the_published_weights() -> None:
    network = PatchDiscriminator(2, 3, norm="batch")
    table = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
    weights = sum(i * o * 16 for i, o in table)
    assert kernels(network) == weights
    # The 2.76 million that are commonly named.
    assert weights + sum(o for _, o in table) == 2_764_737
    assert count(network) == weights + 64 + 2 * (128 + 256 + 512) + 1
    with_inputs = PatchDiscriminator(2, 2, norm="none")
    assert count(with_inputs) == weights - 64 * 16 + sum(o for _, o in table)
    assert kernels(PatchDiscriminator(3, 3)) == 4 * weights


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_a_logit_sees_the_published_number_of_pixels(layers: int, field: int) -> None:
    network = transparent(PatchDiscriminator(2, 1, 1, layers, norm="none"))
    size = 2**layers * 24
    middle = size // 2**layers // 2
    first, last = seen(network, size, middle)
    assert last - first + 1 == field


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("dimension", [2, 3])
def test_up_to_three_layers_it_is_monais(dimension: int, layers: int) -> None:
    from monai.networks.nets import PatchDiscriminator as MonaiPatchDiscriminator

    ours = seeded(PatchDiscriminator, dimension, 2, 4, layers, norm="batch").eval()
    theirs = MonaiPatchDiscriminator(dimension, 4, 2, num_layers_d=layers).eval()
    state = zip(theirs.state_dict(), ours.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(state))
    image = torch.rand(2, 2, *(25, 24, 27)[:dimension])
    torch.testing.assert_close(ours(image), theirs(image)[-1])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_smallest_image_has_one_logit_and_a_smaller_one_an_error(layers: int) -> None:
    network = PatchDiscriminator(2, 1, 2, layers)
    least = 3 * 2**layers
    assert network(torch.rand(1, 1, least, least)).shape == (1, 1, 1, 1)
    assert network(torch.rand(1, 1, 32, 33)).shape[2:] == (32 // 2**layers - 2,) * 2
    with pytest.raises(DiscriminatorError, match=f"at least {least} .* found 40 x {least - 1}"):
        network(torch.rand(1, 1, 40, least - 1))


def test_channels_stop_at_eight_times_the_first() -> None:
    network = PatchDiscriminator(2, 1, 2, layers=5, norm="none")
    made = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert made == [2, 4, 8, 16, 16, 16, 1]


def test_spectral_norm_bounds_each_kernels_largest_singular_value_to_1() -> None:
    network = seeded(PatchDiscriminator, 2, 1, 4, 2, norm="none", spectral=True)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for convolution in convolutions:
            # The estimate has to follow weights that a step has moved.
            convolution.parametrizations.weight.original.mul_(50).add_(0.3)
        for _ in range(30):
            network(torch.rand(1, 1, 16, 16))
    for convolution in convolutions:
        largest = torch.linalg.matrix_norm(convolution.weight.detach().flatten(1), ord=2)
        assert float(largest) == pytest.approx(1, abs=1e-2)
    free = seeded(PatchDiscriminator, 2, 1, 4, 2, norm="none")
    assert not any("parametrizations" in name for name in free.state_dict())


def test_spectral_norms_estimate_is_part_of_the_state() -> None:
    network = seeded(PatchDiscriminator, 2, 1, 2, 1, spectral=True).train()
    image = torch.rand(2, 1, 8, 8)
    network(image)
    again = PatchDiscriminator(2, 1, 2, 1, spectral=True).train()
    again.load_state_dict(network.state_dict())
    for _ in range(2):
        assert torch.equal(network(image), again(image))


# ---- the discriminator of Nie's patches


def test_the_discriminator_of_patches_has_the_published_layers() -> None:
    network = ContextDiscriminator(1)
    filters = [(1, 32), (32, 64), (64, 128), (128, 256)]
    units = [(256 * 2**3, 512), (512, 128), (128, 1)]
    weights = sum(i * o * 125 for i, o in filters) + sum(i * o for i, o in units)
    assert kernels(network) == weights
    assert count(network) == weights + 2 * (32 + 64 + 128 + 256) + 512 + 128 + 1
    pools = [m for m in network.layers if isinstance(m, nn.MaxPool3d)]
    assert len(pools) == 3
    network(torch.rand(2, 1, 16, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_patches_of_another_size_are_refused() -> None:
    network = ContextDiscriminator(1, (8, 12, 16)).eval()
    assert network(torch.rand(3, 1, 8, 12, 16)).shape == (3, 1)
    with pytest.raises(ValueError, match=r"\(8, 12, 16\) voxels, found \(16, 16, 16\)"):
        network(torch.rand(1, 1, 16, 16, 16))
    with pytest.raises(DiscriminatorError, match=r"at least 16 voxels .* found .* 8 x 7 x 8"):
        ContextDiscriminator(1, (8, 7, 8))


def test_a_single_patch_of_the_least_size_can_be_learnt_from() -> None:
    ContextDiscriminator(1, (8, 8, 15)).train()(torch.rand(1, 1, 8, 8, 15)).sum().backward()


# ---- from recipes


def test_the_recipe_chooses_the_discriminator() -> None:
    wanted = {"discriminator_channels": 3, "discriminator_layers": 2, "discriminator_norm": "batch"}
    recipe = volume_recipe(
        method={"name": "pix2pix"}, adversarial={**wanted, "spectral_norm": True}
    )
    network = build_discriminator(recipe, 2)
    made = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in made] == [(2, 3), (3, 6), (6, 12), (12, 1)]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 2
    assert all(hasattr(m, "parametrizations") for m in made)
    assert network(torch.rand(1, 2, 16, 16)).shape == (1, 1, 2, 2)


def test_with_context_gan_the_central_half_of_patches_is_judged() -> None:
    recipe = volume_recipe(
        method={"name": "context_gan"},
        network={"name": "context_fcn", "dimension": 3, "channels": 2, "levels": 5},
        sampling={"patch": [16, 24, 32]},
    )
    network = build_discriminator(recipe, 1).eval()
    patch = build_network(recipe).eval()(torch.rand(1, 1, 16, 24, 32))[0]
    assert network(central_half(patch)).shape == (1, 1)


@pytest.mark.parametrize(
    ("method", "layers", "least"), [("context_gan", 3, 16), ("pix2pix", 1, 6), ("cyclegan", 3, 24)]
)
def test_patches_that_a_discriminator_cannot_read_are_refused_before_anything_is_prepared(
    method: str, layers: int, least: int
) -> None:
    parts: dict[str, dict[str, Any]] = {
        "method": {"name": method, "loss": "mae"},
        "network": {"name": "resnet", "dimension": 3, "levels": 2, "channels": 2},
        "adversarial": {"discriminator_layers": layers},
        "training": {"monitor": "last"},
    }
    with pytest.raises(RecipeError, match=f"at least {least} voxels .*, found 40 x {least - 1} x"):
        volume_recipe(**parts, sampling={"patch": [40, least - 1, 40]})
    # What is allowed can be judged.
    recipe = volume_recipe(**parts, sampling={"patch": [least] * 3})
    judged = least // 2 if method == "context_gan" else least
    logits = build_discriminator(recipe, 1).eval()(torch.rand(1, 1, *[judged] * 3))
    assert logits.numel() == 1
