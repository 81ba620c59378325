"""Losses against their formulas in numpy, what masks leave out, and the supervised step."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_samples import labels_recipe, volume_recipe
from torch import Tensor

from DeepTranslateLib.engine.losses import LossError, build_loss, masked_mean
from DeepTranslateLib.engine.methods import Batch
from DeepTranslateLib.engine.methods.supervised import Supervised

NAMES = ["binary_cross_entropy", "dice_binary_cross_entropy", "mse", "mae"]
SHAPE = (2, 3, 5, 4)


def sample(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, targets of 0 and 1, and a mask that leaves out about a third."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, SHAPE)).float()
    target = torch.from_numpy(rng.integers(0, 2, SHAPE)).float()
    mask = torch.from_numpy(rng.random((2, 1, 5, 4)) > 0.33).float()
    return logits, target, mask


def cross_entropy(logits: Tensor, target: Tensor, counted: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    t = target.double().numpy()
    terms = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    return float(terms[counted].mean())


def soft_dice(logits: Tensor, target: Tensor, counted: np.ndarray) -> float:
    """Dice loss of each label pooled over the batch, averaged over labels."""
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    t = target.double().numpy()
    losses = []
    for label in range(p.shape[1]):
        inside = counted[:, label]
        mine, theirs = p[:, label][inside], t[:, label][inside]
        losses.append(1 - 2 * (mine * theirs).sum() / (mine.sum() + theirs.sum()))
    return float(np.mean(losses))


def counted_of(mask: Tensor) -> np.ndarray:
    return np.broadcast_to(mask.numpy() > 0, SHAPE)


def test_cross_entropy_is_the_mean_over_counted_pixels_and_labels() -> None:
    logits, target, mask = sample()
    loss = build_loss("binary_cross_entropy")(logits, target, mask)
    assert loss.shape == ()
    assert float(loss) == pytest.approx(cross_entropy(logits, target, counted_of(mask)), rel=1e-5)


def test_cross_entropy_of_an_undecided_pixel_is_the_logarithm_of_two() -> None:
    target = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    loss = build_loss("binary_cross_entropy")(
        torch.zeros_like(target), target, torch.ones(1, 1, 1, 2)
    )
    assert float(loss) == pytest.approx(np.log(2), rel=1e-6)


def test_cross_entropy_without_a_mask_is_that_of_torch() -> None:
    logits, target, _ = sample()
    loss = build_loss("binary_cross_entropy")(logits, target, torch.ones(2, 1, 5, 4))
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, target))


def test_cross_entropy_stays_finite_for_extreme_logits() -> None:
    logits = torch.tensor([-1e4, 1e4]).reshape(1, 1, 1, 2)
    target = 1 - (logits > 0).float()
    assert float(build_loss("binary_cross_entropy")(logits, target, torch.ones(1, 1, 1, 2))) == 1e4


def test_dice_cross_entropy_is_the_sum_of_both() -> None:
    logits, target, mask = sample()
    counted = counted_of(mask)
    expected = soft_dice(logits, target, counted) + cross_entropy(logits, target, counted)
    loss = build_loss("dice_binary_cross_entropy")(logits, target, mask)
    # The smoothing terms of 1e-5 remain.
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_dice_cross_entropy_without_a_mask_is_the_sum_of_monais_and_torchs() -> None:
    import monai.losses

    logits, target, _ = sample()
    expected = monai.losses.DiceLoss(sigmoid=True, batch=True)(logits, target)
    expected = expected + F.binary_cross_entropy_with_logits(logits, target)
    loss = build_loss("dice_binary_cross_entropy")(logits, target, torch.ones(2, 1, 5, 4))
    torch.testing.assert_close(loss, expected)


def test_dice_cross_entropy_of_a_perfect_confident_prediction_is_nearly_zero() -> None:
    _, target, mask = sample()
    loss = build_loss("dice_binary_cross_entropy")(60 * (target - 0.5), target, mask)
    assert float(loss) < 1e-5


@pytest.mark.parametrize(("name", "power"), [("mse", 2), ("mae", 1)])
def test_intensity_losses_are_means_of_powers_of_the_difference(name: str, power: int) -> None:
    values, target, mask = sample()
    difference = np.abs(values.double().numpy() - target.double().numpy()) ** power
    expected = difference[counted_of(mask)].mean()
    assert float(build_loss(name)(values, target, mask)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_ignored_pixels_have_no_gradient_and_counted_ones_have(name: str) -> None:
    logits, target, mask = sample()
    logits.requires_grad_()
    build_loss(name)(logits, target, mask).backward()
    assert logits.grad is not None
    counted = torch.from_numpy(counted_of(mask).copy())
    assert torch.count_nonzero(logits.grad[~counted]) == 0
    assert torch.count_nonzero(logits.grad[counted]) == counted.sum()


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_ignored_pixels_does_not_change_the_loss(name: str) -> None:
    logits, target, mask = sample()
    loss = build_loss(name)(logits, target, mask)
    other_logits = torch.where(mask > 0, logits, 37.0)
    other_target = torch.where(mask > 0, target, 1 - target)
    torch.testing.assert_close(build_loss(name)(other_logits, other_target, mask), loss)


@pytest.mark.parametrize("name", NAMES)
def test_a_slice_that_is_ignored_altogether_gives_a_finite_loss_and_no_gradient(name: str) -> None:
    logits, target, _ = sample()
    logits.requires_grad_()
    loss = build_loss(name)(logits, target, torch.zeros(2, 1, 5, 4))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.count_nonzero(logits.grad) == 0


@pytest.mark.parametrize("name", ["binary_cross_entropy", "mse", "mae"])
def test_a_mask_between_0_and_1_weighs_pixels(name: str) -> None:
    logits, target, _ = sample()
    whole, empty = torch.ones(2, 1, 5, 4), torch.zeros(2, 1, 5, 4)
    first, second = empty.clone(), empty.clone()
    first[0], second[1] = 1, 1
    loss = build_loss(name)
    apart = [float(loss(logits, target, mask)) for mask in (first, second)]
    weighed = float(loss(logits, target, 0.25 * first + 0.75 * second))
    assert weighed == pytest.approx(0.25 * apart[0] + 0.75 * apart[1], rel=1e-5)
    assert float(loss(logits, target, whole)) == pytest.approx(np.mean(apart), rel=1e-5)


def test_masked_mean_divides_by_what_counts() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 100.0]]).reshape(1, 1, 2, 2)
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]]).reshape(1, 1, 2, 2)
    assert float(masked_mean(values, mask)) == 3


def test_an_unknown_loss_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LossError, match=r"no loss 'hinge'.*binary_cross_entropy.*ms_ssim"):
        build_loss("hinge")


def batch_of(labels: int, size: tuple[int, int], seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    channels = torch.from_numpy(rng.integers(0, labels + 1, (2, 1, *size)))
    planes = (channels == torch.arange(1, labels + 1)[None, :, None, None]).float()
    mask = torch.from_numpy(rng.random((2, 1, *size)) > 0.3).float()
    return Batch(torch.from_numpy(rng.random((2, 1, *size))).float(), planes, mask)


def step(method: Supervised, batch: Batch) -> float:
    """One training step whose update only differentiates."""

    def update(name: str, loss: Tensor) -> None:
        assert name == "network"
        loss.backward()

    losses = method.training_step(batch, update)
    assert not losses["loss"].requires_grad
    return float(losses["loss"])


def test_the_supervised_step_is_the_gradient_of_the_loss_of_the_output() -> None:
    recipe, batch = labels_recipe(2), batch_of(2, (8, 6))
    torch.manual_seed(0)
    method = Supervised(recipe, torch.device("cpu"))
    network = method.networks["network"].train()
    loss = build_loss("binary_cross_entropy")(network(batch.images)[0], batch.targets, batch.mask)
    expected = torch.autograd.grad(loss, list(network.parameters()))
    assert step(method, batch) == pytest.approx(loss.item(), rel=1e-6)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)


def test_deep_supervision_weighs_levels_by_halves_that_add_up_to_one() -> None:
    recipe = labels_recipe(2, network={"levels": 4, "deep_supervision": True})
    torch.manual_seed(0)
    method = Supervised(recipe, torch.device("cpu"))
    batch = batch_of(2, (16, 8))
    network = method.networks["network"].train()
    losses = []
    for level, output in enumerate(network(batch.images)):
        # Means over blocks of 2, 4 ... pixels, ignored ones left out, written with reshape.
        side = 2**level
        blocks = (2, -1, 16 // side, side, 8 // side, side)
        counted = (batch.mask.reshape(blocks)).sum(dim=(3, 5))
        total = (batch.targets * batch.mask).reshape(blocks).sum(dim=(3, 5))
        target = total / counted.clamp_min(1)
        loss = build_loss("binary_cross_entropy")(output, target, counted / side**2)
        losses.append(loss.item())
    expected = np.average(losses, weights=[4, 2, 1])
    assert step(method, batch) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("deep", [False, True])
def test_labels_of_ignored_pixels_do_not_change_the_supervised_gradient(deep: bool) -> None:
    recipe = labels_recipe(2, network={"levels": 3, "deep_supervision": deep})
    batch = batch_of(2, (12, 9))
    gradients = []
    for targets in (batch.targets, torch.where(batch.mask > 0, batch.targets, 1.0)):
        torch.manual_seed(0)
        method = Supervised(recipe, torch.device("cpu"))
        method.networks["network"].train()
        step(method, Batch(batch.images, targets, batch.mask))
        gradients.append([p.grad.clone() for p in method.networks["network"].parameters()])
    for first, second in zip(*gradients, strict=True):
        assert torch.equal(first, second)


def test_validation_looks_at_the_finest_output_alone() -> None:
    method = Supervised(volume_recipe(), torch.device("cpu"))
    batch = Batch(torch.rand(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.25), torch.ones(1, 1, 4, 4))
    assert float(method.validation_loss(torch.full((1, 1, 4, 4), 0.75), batch)) == 0.25


def test_the_optimizer_is_adam_with_the_recipes_rate() -> None:
    method = Supervised(labels_recipe(optimizer={"learning_rate": 0.03}), torch.device("cpu"))
    before = [parameter.detach().clone() for parameter in method.networks["network"].parameters()]
    step(method, batch_of(1, (8, 8)))
    method.optimizers["network"].step()
    # Kingma & Ba 2015: the first step of Adam is the rate times the sign of the gradient.
    for old, parameter in zip(before, method.networks["network"].parameters(), strict=True):
        assert parameter.grad is not None
        clear = parameter.grad.abs() > 1e-5
        moved = (parameter.detach() - old)[clear]
        torch.testing.assert_close(
            moved, -0.03 * parameter.grad[clear].sign(), atol=1e-4, rtol=1e-2
        )
