"""What every loss does alike: masks, precision, gradients, two and three dimensions, sums."""

import numpy as np
import pytest
import torch
from torch import Tensor

from DeepTranslateLib.engine.losses import (
    LABEL_LOSSES,
    VOLUME_LOSSES,
    LossError,
    build_loss,
)

SIZES = [(24, 26), (12, 13, 14)]
ALL = [*LABEL_LOSSES, *VOLUME_LOSSES]


def sample(name: str, size: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Output, target and a mask that leaves out about a third, as the loss is given them."""
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy((rng.random((2, 1, *size)) > 0.33).astype(np.float32))
    if name in LABEL_LOSSES:
        channels = torch.from_numpy(rng.integers(0, 4, (2, 1, *size)))
        numbers = torch.arange(1, 4).reshape(1, 3, *([1] * len(size)))
        logits = torch.from_numpy(rng.normal(0, 2, (2, 3, *size))).float()
        return logits, (channels == numbers).float(), mask
    output, target = (torch.from_numpy(rng.random((2, 1, *size))).float() for _ in range(2))
    return output, target, mask


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
@pytest.mark.parametrize("name", ALL)
def test_a_loss_is_a_finite_scalar_with_finite_gradients(name: str, size: tuple[int, ...]) -> None:
    output, target, mask = sample(name, size)
    output.requires_grad_()
    loss = build_loss(name)(output, target, mask)
    assert loss.shape == ()
    assert 0 < float(loss.detach()) < 10
    loss.backward()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()
    assert torch.count_nonzero(output.grad) > 0.2 * output.numel()


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
@pytest.mark.parametrize("name", ALL)
def test_ignored_pixels_neither_change_a_loss_nor_have_a_gradient(
    name: str, size: tuple[int, ...]
) -> None:
    output, target, mask = sample(name, size)
    loss = build_loss(name)(output, target, mask)
    ignored = mask == 0
    other = output.masked_fill(ignored, 37.0).requires_grad_()
    again = build_loss(name)(other, torch.where(ignored, 1 - target, target), mask)
    torch.testing.assert_close(again, loss)
    again.backward()
    assert other.grad is not None
    assert torch.count_nonzero(other.grad[ignored.expand_as(output)]) == 0


@pytest.mark.parametrize("name", ALL)
def test_where_nothing_counts_the_loss_is_0_without_a_gradient(name: str) -> None:
    output, target, mask = sample(name, (24, 26))
    output.requires_grad_()
    loss = build_loss(name)(output, target, torch.zeros_like(mask))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert output.grad is not None
    assert torch.count_nonzero(output.grad) == 0


@pytest.mark.parametrize("name", [name for name in ALL if name != "total_variation"])
def test_a_better_output_has_a_lower_loss_and_a_perfect_one_almost_none(name: str) -> None:
    output, target, mask = sample(name, (24, 26))
    perfect = 40 * (target - 0.5) if name in LABEL_LOSSES else target
    loss = build_loss(name)
    values = [
        float(loss((1 - part) * output + part * perfect, target, mask)) for part in (0, 0.3, 1)
    ]
    assert values == sorted(values, reverse=True)
    assert values[2] < 2e-3  # Charbonnier is its epsilon there


@pytest.mark.parametrize("name", ALL)
def test_under_autocast_a_loss_of_half_precision_outputs_is_computed_in_fp32(name: str) -> None:
    output, target, mask = sample(name, (24, 26))
    half = output.to(torch.bfloat16)
    expected = build_loss(name)(half.double(), target.double(), mask.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = build_loss(name)(half, target, mask)
        assert torch.is_autocast_enabled("cpu")
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(expected), rel=2e-5)


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    output, target, mask = (values.double()[..., :6, :7] for values in sample(name, (24, 26)))
    assert torch.autograd.gradcheck(
        lambda values: build_loss(name)(values, target, mask), output.requires_grad_(), atol=1e-6
    )


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_the_axes_does_not_matter(name: str) -> None:
    output, target, mask = sample(name, (12, 13, 14))
    turned = (values.permute(0, 1, 4, 2, 3) for values in (output, target, mask))
    torch.testing.assert_close(
        build_loss(name)(*turned), build_loss(name)(output, target, mask), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", ALL)
def test_images_of_a_few_pixels_have_a_finite_loss(name: str) -> None:
    output, target, _ = sample(name, (24, 26))
    small = [values[..., :1, :2].clone() for values in (output, target)]
    small[0].requires_grad_()
    loss = build_loss(name)(*small, torch.ones(2, 1, 1, 2))
    loss.backward()
    assert torch.isfinite(loss)
    assert small[0].grad is not None
    assert torch.isfinite(small[0].grad).all()


def test_a_weighted_sum_is_the_sum_of_weighted_losses() -> None:
    output, target, mask = sample("mae", (24, 26))
    parts = (("mae", 2.0), ("gradient_difference", 0.5), ("total_variation", 0.25))
    expected = sum(weight * float(build_loss(name)(output, target, mask)) for name, weight in parts)
    assert float(build_loss(parts)(output, target, mask)) == pytest.approx(expected, rel=1e-6)
    assert float(build_loss([["mae", 1]])(output, target, mask)) == pytest.approx(
        float(build_loss("mae")(output, target, mask))
    )


def test_the_gradient_of_a_weighted_sum_is_the_sum_of_gradients() -> None:
    output, target, mask = sample("mae", (24, 26))
    gradients = []
    for spec in ("mse", "ssim", (("mse", 3.0), ("ssim", 0.5))):
        given = output.clone().requires_grad_()
        build_loss(spec)(given, target, mask).backward()
        gradients.append(given.grad)
    torch.testing.assert_close(gradients[2], 3 * gradients[0] + 0.5 * gradients[1])


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_that_are_not_positive_numbers_are_refused(weight: float) -> None:
    with pytest.raises(LossError, match=r"weight of 'mae'.*positive"):
        build_loss((("mse", 1.0), ("mae", weight)))


def test_a_sum_of_nothing_and_unknown_parts_are_refused() -> None:
    with pytest.raises(LossError, match="at least one"):
        build_loss(())
    with pytest.raises(LossError, match="no loss 'nothing'"):
        build_loss((("mae", 1.0), ("nothing", 1.0)))
