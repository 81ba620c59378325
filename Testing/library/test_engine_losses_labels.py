"""Losses of labels against their formulas in numpy, hand-made cases and MONAI."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_engine_losses_shared import sample
from torch import Tensor

from DeepTranslateLib.engine.losses import build_loss
from DeepTranslateLib.engine.losses.focal import focal
from DeepTranslateLib.engine.losses.tversky import tversky
from DeepTranslateLib.engine.translation import channels_of

SIZES = [(9, 8), (5, 6, 7)]


def everywhere(values: Tensor) -> Tensor:
    return torch.ones_like(values[:, :1])


def pixel(*values: float) -> Tensor:
    """One pixel with these channels."""
    return torch.tensor(values).reshape(1, len(values), 1, 1)


def softmax_with_background(logits: Tensor) -> np.ndarray:
    terms = np.exp(logits.double().numpy())
    background = np.ones_like(terms[:, :1])
    return np.concatenate([background, terms], 1) / (1 + terms.sum(1, keepdims=True))


def hand_cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> float:
    p = softmax_with_background(logits)
    total = 0.0
    for place in np.ndindex(*mask[:, 0].shape):
        image, *rest = place
        t = target[(image, slice(None), *rest)].double().numpy()
        t = np.concatenate([[1 - t.sum()], t])
        total -= float(mask[(image, 0, *rest)]) * (t @ np.log(p[(image, slice(None), *rest)]))
    return total / float(mask.sum())


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
@pytest.mark.parametrize("name", ["cross_entropy", "sparse_cross_entropy"])
def test_cross_entropy_is_the_mean_of_the_classs_negative_log_probability(
    name: str, size: tuple[int, ...]
) -> None:
    logits, target, mask = sample(name, size)
    loss = build_loss(name)(logits, target, mask)
    assert float(loss) == pytest.approx(hand_cross_entropy(logits, target, mask), rel=1e-5)


def test_cross_entropy_is_torchs_with_a_background_channel_of_zeros() -> None:
    logits, target, _ = sample("cross_entropy", (9, 8))
    channels = target.argmax(1) + (target.sum(1) > 0) * 1
    with_background = F.pad(logits, (0, 0, 0, 0, 1, 0))
    numbers = torch.where(target.sum(1) > 0, channels, 0)
    expected = F.cross_entropy(with_background, numbers)
    for name in ("cross_entropy", "sparse_cross_entropy"):
        torch.testing.assert_close(build_loss(name)(logits, target, everywhere(logits)), expected)
    sparse = build_loss("sparse_cross_entropy")(logits, numbers[:, None], everywhere(logits))
    torch.testing.assert_close(sparse, expected)


def test_cross_entropy_of_parts_weighs_the_classes_by_them() -> None:
    p = [1 / (1 + math.e + math.e**2), *(math.e**n / (1 + math.e + math.e**2) for n in (1, 2))]
    expected = -(0.5 * math.log(p[0]) + 0.2 * math.log(p[1]) + 0.3 * math.log(p[2]))
    loss = build_loss("cross_entropy")(pixel(1.0, 2.0), pixel(0.2, 0.3), pixel(1.0))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_sparse_cross_entropy_of_parts_takes_the_largest() -> None:
    loss = build_loss("sparse_cross_entropy")
    whole = 1 + math.e + math.e**2
    for parts, number in (((0.2, 0.3), 0), ((0.4, 0.25), 1), ((0.1, 0.8), 2)):
        value = loss(pixel(1.0, 2.0), pixel(*parts), pixel(1.0))
        assert float(value) == pytest.approx(math.log(whole) - number, rel=1e-6)
        given = loss(pixel(1.0, 2.0), pixel(float(number)), pixel(1.0))
        assert float(given) == pytest.approx(float(value))


def test_the_likeliest_class_under_cross_entropy_is_the_one_that_translation_chooses() -> None:
    logits, _, _ = sample("cross_entropy", (9, 8))
    likeliest = softmax_with_background(logits).argmax(1)
    assert np.array_equal(channels_of(logits).numpy(), likeliest)


def test_cross_entropy_learns_to_tell_the_background_from_labels() -> None:
    logits = torch.zeros(1, 2, 3, 1, requires_grad=True)
    target = torch.tensor([[0.0, 1, 0], [0, 0, 1]]).reshape(1, 2, 3, 1)
    optimizer = torch.optim.SGD([logits], lr=3.0)
    for _ in range(60):
        optimizer.zero_grad()
        build_loss("cross_entropy")(logits, target, everywhere(logits)).backward()
        optimizer.step()
    assert channels_of(logits.detach())[0, :, 0].tolist() == [0, 1, 2]


def hand_dice(p: np.ndarray, target: Tensor, mask: Tensor) -> float:
    w, t = mask.double().numpy(), target.double().numpy()
    losses = []
    for label in range(p.shape[1]):
        mine, theirs, weight = p[:, label], t[:, label], w[:, 0]
        both = (weight * mine * theirs).sum()
        losses.append(1 - 2 * both / ((weight * mine).sum() + (weight * theirs).sum()))
    return float(np.mean(losses))


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_dice_losses_are_the_formula(size: tuple[int, ...]) -> None:
    logits, target, mask = sample("dice", size)
    mask = mask * torch.linspace(0.1, 1, size[-1])
    sigmoid = 1 / (1 + np.exp(-logits.double().numpy()))
    expected = hand_dice(sigmoid, target, mask)
    assert float(build_loss("dice")(logits, target, mask)) == pytest.approx(expected, abs=1e-6)
    exclusive = hand_dice(softmax_with_background(logits)[:, 1:], target, mask)
    exclusive += hand_cross_entropy(logits, target, mask)
    value = float(build_loss("dice_cross_entropy")(logits, target, mask))
    assert value == pytest.approx(exclusive, rel=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_dice_without_a_mask_is_monais(size: tuple[int, ...]) -> None:
    import monai.losses

    logits, target, _ = sample("dice", size)
    expected = monai.losses.DiceLoss(sigmoid=True, batch=True)(logits, target)
    torch.testing.assert_close(build_loss("dice")(logits, target, everywhere(logits)), expected)


@pytest.mark.parametrize("name", ["dice", "tversky"])
def test_a_perfect_prediction_is_perfect_under_a_mask_of_fractions(name: str) -> None:
    _, target, mask = sample(name, (9, 8))
    loss = build_loss(name)(60 * (target - 0.5), target, 0.3 * mask)
    assert float(loss) == pytest.approx(0, abs=1e-5)


def test_a_label_that_is_nowhere_and_not_found_costs_nothing() -> None:
    logits, target = torch.full((1, 1, 4, 4), -60.0), torch.zeros(1, 1, 4, 4)
    for name in ("dice", "tversky"):
        assert float(build_loss(name)(logits, target, everywhere(logits))) == pytest.approx(0)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_focal_loss_is_monais(size: tuple[int, ...]) -> None:
    import monai.losses

    logits, target, _ = sample("focal", size)
    for gamma, alpha in ((2.0, 0.25), (0.5, 0.6)):
        expected = monai.losses.FocalLoss(gamma=gamma, alpha=alpha)(logits, target)
        loss = focal(logits, target, everywhere(logits), gamma=gamma, alpha=alpha)
        torch.testing.assert_close(loss, expected)


def test_focal_loss_of_one_pixel_is_equation_5() -> None:
    # p = 0.9: Lin et al. 2017 say such a pixel counts 100 times less than in cross-entropy.
    logit = pixel(math.log(9))
    for t, weight, probability in ((1.0, 0.25, 0.9), (0.0, 0.75, 0.1)):
        expected = -weight * (1 - probability) ** 2 * math.log(probability)
        assert float(focal(logit, pixel(t), pixel(1.0))) == pytest.approx(expected, rel=1e-5)
    easy = float(focal(logit, pixel(1.0), pixel(1.0))) / 0.25
    cross_entropy = float(build_loss("binary_cross_entropy")(logit, pixel(1.0), pixel(1.0)))
    assert cross_entropy / easy == pytest.approx(100, rel=1e-4)


def test_focal_loss_without_focus_is_half_the_cross_entropy() -> None:
    logits, target, mask = sample("focal", (9, 8))
    expected = 0.5 * build_loss("binary_cross_entropy")(logits, target, mask)
    torch.testing.assert_close(focal(logits, target, mask, gamma=0, alpha=0.5), expected)


def test_focal_loss_of_extreme_logits_is_finite() -> None:
    logits = torch.tensor([-1e4, 1e4, -1e4, 1e4]).reshape(1, 1, 2, 2).requires_grad_()
    target = torch.tensor([0.0, 1, 1, 0]).reshape(1, 1, 2, 2)
    loss = focal(logits, target, everywhere(logits))
    loss.backward()
    assert float(loss.detach()) == pytest.approx((0.25 * 1e4 + 0.75 * 1e4) / 4)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_tversky_loss_is_monais(size: tuple[int, ...]) -> None:
    import monai.losses

    logits, target, _ = sample("tversky", size)
    theirs = monai.losses.TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7, batch=True)
    expected = theirs(logits, target)
    torch.testing.assert_close(build_loss("tversky")(logits, target, everywhere(logits)), expected)


def test_tversky_loss_with_equal_prices_is_dice() -> None:
    logits, target, mask = sample("tversky", (9, 8))
    loss = tversky(logits, target, mask, false_positives=0.5, false_negatives=0.5)
    torch.testing.assert_close(loss, build_loss("dice")(logits, target, mask))


def test_tversky_loss_counts_errors_at_their_price() -> None:
    # Three right, one too much, two missed, all of them certain.
    logits = 60 * torch.tensor([1.0, 1, 1, 1, -1, -1, -1, -1]).reshape(1, 1, 2, 4)
    target = torch.tensor([1.0, 1, 1, 0, 1, 1, 0, 0]).reshape(1, 1, 2, 4)
    loss = build_loss("tversky")(logits, target, everywhere(logits))
    assert float(loss) == pytest.approx(1 - 3 / (3 + 0.3 * 1 + 0.7 * 2), abs=1e-5)
