"""Losses of adversarial methods against their formulas, worked out by hand or looped in numpy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from DeepTranslateLib.engine.losses import LossError
from DeepTranslateLib.engine.losses.adversarial import (
    OBJECTIVES,
    accuracy,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    mispair_loss,
)
from DeepTranslateLib.engine.losses.air import air, threshold_in
from DeepTranslateLib.engine.losses.contrastive import (
    PatchProjection,
    at,
    contrastive_loss,
    patch_nce,
    sampled_places,
)
from DeepTranslateLib.engine.losses.gradient_consistency import gradient_consistency
from DeepTranslateLib.engine.losses.latent import autoencoding, kl_divergence, sampled_latent
from DeepTranslateLib.engine.losses.perceptual import perceptual
from DeepTranslateLib.engine.losses.shape_consistency import shape_consistency


def logits(*values: float) -> Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def softplus(value: float) -> float:
    return math.log(1 + math.exp(value))


REAL, FAKE = logits(2.0, 0.5), logits(-1.0, 3.0)
# By hand: of D for REAL and FAKE, and of G for FAKE.
BY_HAND = {
    "lsgan": (((1 + 0.25) / 2 + (1 + 9) / 2) / 2, (4 + 4) / 2),
    "bce": (
        ((softplus(-2) + softplus(-0.5)) / 2 + (softplus(-1) + softplus(3)) / 2) / 2,
        (softplus(1) + softplus(-3)) / 2,
    ),
    "hinge": ((0 + 0.5) / 2 + (0 + 4) / 2, -1.0),
    "wgan_gp": (1.0 - 1.25, -1.0),
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_objective_is_what_it_is_by_hand(objective: str) -> None:
    of_discriminator, of_generator = BY_HAND[objective]
    loss = discriminator_loss(objective, REAL, FAKE)
    assert loss.shape == ()
    assert float(loss) == pytest.approx(of_discriminator, rel=1e-6)
    assert float(generator_loss(objective, FAKE)) == pytest.approx(of_generator, rel=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_of_each_objective_are_right(objective: str) -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(2, 2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y: discriminator_loss(objective, x, y), (real, fake))
    assert torch.autograd.gradcheck(lambda y: generator_loss(objective, y), (fake,))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_discriminator_and_generator_pull_the_same_logit_apart(objective: str) -> None:
    fake = torch.zeros(1, 1, 2, 2, requires_grad=True)
    (down,) = torch.autograd.grad(discriminator_loss(objective, REAL, fake), fake)
    (up,) = torch.autograd.grad(generator_loss(objective, fake), fake)
    assert (up < 0).all()
    if objective == "lsgan":  # 0 is what D wants there already
        assert (down == 0).all()
    else:
        assert (down > 0).all()


def test_cross_entropy_of_the_generator_does_not_saturate_where_the_discriminator_is_sure() -> None:
    fake = torch.full((1, 1, 1, 1), -30.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(generator_loss("bce", fake), fake)
    assert float(gradient) == pytest.approx(-1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_wrong_pair_is_judged_like_a_translated_image(objective: str) -> None:
    share = 0.5 if objective in ("lsgan", "bce") else 1
    more = discriminator_loss(objective, REAL, FAKE) - discriminator_loss(objective, REAL, REAL)
    expected = share * (mispair_loss(objective, FAKE) - mispair_loss(objective, REAL))
    torch.testing.assert_close(more, expected)
    assert float(mispair_loss(objective, logits(-1.0))) < float(mispair_loss(objective, FAKE))


def test_jittered_labels_lie_inside_and_are_one_for_all_patches_of_an_image() -> None:
    torch.manual_seed(3)
    images, jitter = 400, 0.3
    zero = torch.zeros(images, 1, 2, 2, requires_grad=True)
    one = torch.ones(images, 1, 2, 2, requires_grad=True)
    # The slope of (D - label)^2 / 2, averaged, tells the labels.
    of_real, of_fake = torch.autograd.grad(
        discriminator_loss("lsgan", one, zero, jitter), (one, zero)
    )
    labels = {"real": 1 - of_real * one.numel(), "fake": -of_fake * zero.numel()}
    for label in labels.values():
        assert torch.equal(label, label[:, :, :1, :1].expand_as(label))
    real, fake = labels["real"][:, 0, 0, 0], labels["fake"][:, 0, 0, 0]
    assert 1 - jitter <= real.min() < 1 - jitter + 0.02
    assert 1 - 0.02 < real.max() <= 1 + 1e-6
    assert -1e-6 <= fake.min() < 0.02
    assert jitter - 0.02 < fake.max() <= jitter
    assert abs(np.corrcoef(real, fake)[0, 1]) < 0.2


def test_jitter_is_drawn_from_torchs_generator_and_without_it_nothing_is() -> None:
    torch.manual_seed(5)
    first = discriminator_loss("bce", REAL, FAKE, 0.2)
    torch.manual_seed(5)
    assert torch.equal(discriminator_loss("bce", REAL, FAKE, 0.2), first)
    assert not torch.equal(discriminator_loss("bce", REAL, FAKE, 0.2), first)
    before = torch.get_rng_state()
    discriminator_loss("bce", REAL, FAKE)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("objective", ["hinge", "wgan_gp"])
def test_labels_that_are_not_there_cannot_jitter(objective: str) -> None:
    with pytest.raises(LossError, match=f"'{objective}' has no labels"):
        discriminator_loss(objective, REAL, FAKE, 0.1)


def test_an_unknown_objective_is_refused_with_the_known_ones() -> None:
    for call in (
        lambda: discriminator_loss("gan", REAL, FAKE),
        lambda: generator_loss("gan", FAKE),
        lambda: accuracy(REAL, FAKE, "gan"),
    ):
        with pytest.raises(LossError, match=r"no objective 'gan'.*lsgan, bce, hinge, wgan_gp"):
            call()


def test_the_penalty_of_a_linear_critic_is_that_of_its_slope() -> None:
    weight = torch.tensor([3.0, 4.0]).reshape(1, 1, 1, 2)
    real, fake = torch.randn(2, 3, 1, 1, 2)
    penalty = gradient_penalty(lambda z: (z * weight).sum(dim=3, keepdim=True), real, fake)
    assert float(penalty) == pytest.approx((5 - 1) ** 2, rel=1e-5)
    # Of a map of two patches, of slope 3 and 4, the mean of both has the slope (1.5, 2).
    assert float(gradient_penalty(lambda z: z * weight, real, fake)) == pytest.approx(
        (2.5 - 1) ** 2, rel=1e-5
    )


def test_the_penalty_is_taken_between_each_true_image_and_its_translated_one() -> None:
    real, fake = torch.zeros(2000, 1, 1, 1), torch.full((2000, 1, 1, 1), 2.0)
    seen: list[Tensor] = []

    def critic(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return images**2 / 2  # of slope z

    torch.manual_seed(0)
    penalty = gradient_penalty(critic, real, fake)
    (between,) = seen
    assert 0 <= between.min() < 0.01
    assert 1.99 < between.max() <= 2
    # E[(z - 1)^2] of z uniform in 0..2 is 1/3.
    assert float(penalty.detach()) == pytest.approx(1 / 3, abs=0.03)
    torch.manual_seed(1)
    wide = torch.cat([between, between])
    gradient_penalty(critic, wide[:2].expand(2, 1, 4, 4), wide[1:3].expand(2, 1, 4, 4))
    assert torch.equal(seen[1], seen[1][:, :, :1, :1].expand_as(seen[1]))


def test_the_penalty_teaches_the_critic_and_neither_images_nor_their_maker() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(2, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))
    condition = torch.randn(2, 1, 8, 8)
    real, fake = torch.randn(2, 2, 1, 8, 8).requires_grad_()
    penalty = gradient_penalty(lambda z: critic(torch.cat([condition, z], dim=1)), real, fake)
    gradients = torch.autograd.grad(penalty, [*critic.parameters(), real, fake], allow_unused=True)
    # A bias does not change the slope but through the kinks of ReLU; images have no gradient.
    assert gradients[0] is not None
    assert gradients[2] is not None
    assert gradients[0].abs().sum() > 0
    assert gradients[-2:] == (None, None)


def test_the_penalty_of_a_flat_critic_is_one_and_its_gradient_is_a_number() -> None:
    scale = torch.zeros((), requires_grad=True)
    penalty = gradient_penalty(lambda z: z * scale, *torch.randn(2, 2, 1, 4, 4))
    (gradient,) = torch.autograd.grad(penalty, scale)
    assert penalty.item() == 1
    assert torch.isfinite(gradient)


def test_the_penalty_of_images_that_do_not_belong_together_is_refused() -> None:
    with pytest.raises(LossError, match=r"\(2, 1, 4, 4\) and \(1, 1, 4, 4\)"):
        gradient_penalty(lambda z: z, torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4))


def test_accuracy_is_the_share_that_is_told_right() -> None:
    real, fake = logits(0.6, 0.4, 2.0, 0.9), logits(0.1, 0.7, -1.0, -3.0)
    assert accuracy(real, fake, "lsgan") == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert accuracy(real, fake, "bce") == pytest.approx((4 / 4 + 2 / 4) / 2)
    assert accuracy(real, fake, "hinge") == accuracy(real, fake, "bce")
    for shift in (0.0, 100.0):  # a critic's level means nothing; between the means is 0.0875
        assert accuracy(real + shift, fake + shift, "wgan_gp") == pytest.approx((4 + 2) / 8)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_accuracy_of_a_discriminator_that_does_not_tell_is_a_half(objective: str) -> None:
    same = torch.randn(2, 1, 5, 5)
    assert accuracy(same, same, objective) == pytest.approx(0.5)
    flat = torch.full((2, 1, 5, 5), 0.5 if objective == "lsgan" else 0.0)
    assert accuracy(flat, flat, objective) == 0.5


def test_accuracy_counts_both_kinds_the_same_whatever_their_number() -> None:
    real, fake = (
        torch.ones(1, 1, 1, 1),
        torch.cat([torch.ones(9, 1, 1, 1), -torch.ones(1, 1, 1, 1)]),
    )
    assert accuracy(real, fake, "hinge") == pytest.approx((1 + 0.1) / 2)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.normal(size=shape)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_patch_contrast_is_its_formula_within_each_image() -> None:
    rng = np.random.default_rng(0)
    v, k, t = unit(rng, 2, 5, 3), unit(rng, 2, 5, 3), 0.07
    terms = []
    for image in range(2):
        for place in range(5):
            of = [math.exp(v[image, place] @ k[image, n] / t) for n in range(5)]
            terms.append(-math.log(of[place] / sum(of)))
    loss = patch_nce(torch.from_numpy(v), torch.from_numpy(k), t)
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-9)


def test_patch_contrast_is_the_logarithm_of_the_places_where_all_are_alike() -> None:
    same = torch.ones(1, 6, 1)
    assert float(patch_nce(same, same)) == pytest.approx(math.log(6), rel=1e-6)


def test_patch_contrast_is_least_for_the_right_places_and_does_not_ask_in_which_order() -> None:
    keys = torch.eye(4)[None]
    right = patch_nce(keys, keys)
    assert float(right) < 1e-5
    assert float(patch_nce(keys.roll(1, dims=1), keys)) == pytest.approx(1 / 0.07, rel=1e-4)
    queries = torch.from_numpy(unit(np.random.default_rng(1), 1, 4, 4)).float()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        patch_nce(queries[:, order], keys[:, order]), patch_nce(queries, keys)
    )


def test_patch_contrast_pulls_the_output_alone() -> None:
    queries, keys = (
        torch.from_numpy(unit(np.random.default_rng(n), 1, 3, 4)).requires_grad_() for n in (0, 1)
    )
    assert torch.autograd.gradcheck(lambda q: patch_nce(q, keys.detach(), 0.5), (queries,))
    patch_nce(queries, keys).backward()
    assert queries.grad is not None
    assert keys.grad is None


@pytest.mark.parametrize("size", [(4, 6), (3, 4, 5)])
def test_places_are_drawn_once_each_and_mean_the_same_in_flat_and_whole_maps(
    size: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    places = sampled_places(size, 10)
    assert len(set(places.tolist())) == 10
    assert len(sampled_places(size, 1000)) == math.prod(size)
    assert not torch.equal(sampled_places(size, 10), places)
    torch.manual_seed(0)
    assert torch.equal(sampled_places(size, 10), places)
    features = torch.randn(2, 3, *size)
    values = at(features, places)
    assert values.shape == (2, 10, 3)
    for n, place in enumerate(places.tolist()):
        where = np.unravel_index(place, size)
        assert torch.equal(values[1, n], features[(1, slice(None), *where)])


def test_projections_have_two_layers_and_length_one() -> None:
    torch.manual_seed(0)
    projection = PatchProjection([2, 5], width=8)
    by_hand = (2 * 8 + 8 + 8 * 8 + 8) + (5 * 8 + 8 + 8 * 8 + 8)
    assert sum(each.numel() for each in projection.parameters()) == by_hand
    samples = [torch.randn(3, 7, 2), torch.randn(3, 4, 5)]
    vectors = projection(samples)
    assert [tuple(each.shape) for each in vectors] == [(3, 7, 8), (3, 4, 8)]
    for each in vectors:
        torch.testing.assert_close(each.norm(dim=-1), torch.ones(each.shape[:2]))
    first = projection.heads[0]
    by_formula = first[2](first[0](samples[0]).relu())
    torch.testing.assert_close(vectors[0], by_formula / by_formula.norm(dim=-1, keepdim=True))


def test_contrast_of_layers_is_the_mean_over_layers_at_the_same_places() -> None:
    torch.manual_seed(0)
    projection = PatchProjection([2, 3], width=4)
    sizes = [(2, 6, 6), (3, 3, 3)]
    output, source = ([torch.randn(2, *size) for size in sizes] for _ in range(2))
    for features in output:
        features.requires_grad_()
    torch.manual_seed(1)
    loss = contrastive_loss(projection, output, source, patches=5, temperature=0.2)
    torch.manual_seed(1)
    places = [sampled_places((6, 6), 5), sampled_places((3, 3), 5)]
    vectors = [
        projection([at(f, p) for f, p in zip(features, places, strict=True)])
        for features in (output, source)
    ]
    expected = [patch_nce(q, k, 0.2) for q, k in zip(*vectors, strict=True)]
    torch.testing.assert_close(loss, (expected[0] + expected[1]) / 2)
    loss.backward()
    assert all(f.grad is not None and f.grad.abs().sum() > 0 for f in output)
    assert all(p.grad is not None for p in projection.parameters())


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])


@pytest.mark.parametrize("shape", [(2, 1, 6, 7), (2, 1, 4, 5, 6)])
def test_gradient_consistency_is_the_correlation_of_steps(shape: tuple[int, ...]) -> None:
    x, y = images(*shape), images(*shape, seed=1)
    terms = []
    for image in range(2):
        of_axes = [
            correlation(
                np.abs(np.diff(x[image, 0].numpy(), axis=axis)),
                np.abs(np.diff(y[image, 0].numpy(), axis=axis)),
            )
            for axis in range(len(shape) - 2)
        ]
        terms.append(1 - np.mean(of_axes))
    loss = gradient_consistency(x, y, torch.ones_like(x))
    assert float(loss) == pytest.approx(np.mean(terms), abs=1e-5)


def test_gradient_consistency_does_not_ask_for_contrast_or_its_sign() -> None:
    x, everywhere = images(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    for other in (x, 0.3 * x + 0.5, 1 - x):
        assert float(gradient_consistency(x, other, everywhere)) == pytest.approx(0, abs=1e-4)
    moved = gradient_consistency(x, x.roll(2, dims=3), everywhere)
    assert float(moved) > 0.5


def test_gradient_consistency_leaves_out_what_does_not_count() -> None:
    x, y, mask = images(1, 1, 8, 8), images(1, 1, 8, 8, seed=1), torch.zeros(1, 1, 8, 8)
    mask[..., 2:7] = 1
    cut = gradient_consistency(x[..., 2:7], y[..., 2:7], torch.ones(1, 1, 8, 5))
    changed = torch.where(mask > 0, y, 5.0)
    torch.testing.assert_close(gradient_consistency(x, changed, mask).double(), cut.double())


def test_gradient_consistency_has_the_gradient_of_its_value_and_a_finite_one_where_flat() -> None:
    x = images(2, 1, 4, 4)
    y = images(2, 1, 4, 4, seed=1).requires_grad_()
    everywhere = torch.ones(2, 1, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: gradient_consistency(x, v, everywhere), (y,))
    flat = torch.full((2, 1, 4, 4), 0.5, requires_grad=True)
    loss = gradient_consistency(x.float(), flat, everywhere.float())
    loss.backward()
    assert loss.item() == pytest.approx(1)
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_air_counts_pixels_that_are_air_in_one_image_alone() -> None:
    source = torch.tensor([0.1, 0.1, 0.5, 0.5, 0.25, 0.5]).reshape(1, 1, 1, 6)
    output = torch.tensor([0.0, 0.6, 0.1, 0.9, 0.35, 0.25]).reshape(1, 1, 1, 6)
    everywhere = torch.ones(1, 1, 1, 6)
    # What is at the threshold is air: the last two differ, too.
    expected = (0 + 0.5 + 0.4 + 0 + 0.1 + 0.25) / 6
    assert float(air(source, output, everywhere, 0.25, 0.25)) == pytest.approx(expected, rel=1e-5)
    mask = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 0.0]).reshape(1, 1, 1, 6)
    loss = float(air(source, output, mask, 0.25, 0.25))
    assert loss == pytest.approx((0.5 + 0.1) / 4, rel=1e-5)


def test_air_of_the_same_hu_is_no_loss_in_two_windows() -> None:
    hu = torch.linspace(-1000, 400, 29).reshape(1, 1, 1, 29)
    windows = (-1000.0, 1000.0), (-800.0, 400.0)
    scaled = [((hu - low) / (high - low)).clamp(0, 1) for low, high in windows]
    thresholds = [threshold_in(window) for window in windows]
    assert thresholds == pytest.approx([0.2, 200 / 1200])
    assert float(air(scaled[0], scaled[1], torch.ones_like(hu), *thresholds)) == 0
    assert float(air(scaled[0], scaled[1] + 0.05, torch.ones_like(hu), *thresholds)) > 0


def test_air_drives_pixels_to_the_side_where_the_source_is_and_no_others() -> None:
    source = torch.tensor([0.1, 0.5, 0.1, 0.5]).reshape(1, 1, 1, 4)
    output = torch.tensor([0.3, 0.1, 0.0, 0.9]).reshape(1, 1, 1, 4).requires_grad_()
    air(source, output, torch.ones(1, 1, 1, 4), 0.2, 0.2).backward()
    assert output.grad is not None
    assert output.grad.flatten().tolist() == pytest.approx([0.25, -0.25, 0, 0])


def test_air_that_is_clipped_to_a_window_that_begins_with_tissue_is_air() -> None:
    assert threshold_in((-600.0, 400.0)) == 0
    clipped = torch.zeros(1, 1, 1, 2)
    tissue = torch.full((1, 1, 1, 2), 0.5)
    assert float(air(clipped, tissue, torch.ones(1, 1, 1, 2), 0, 0)) == 0.5
    for window in ((-500.0, 500.0), (-2000.0, -600.0)):
        with pytest.raises(LossError, match=r"below -600 HU, and the window is .* to .* HU"):
            threshold_in(window)


def test_perceptual_loss_is_the_mean_square_of_differences_of_features() -> None:
    weight = torch.tensor([[1.0, -2.0], [0.0, 3.0]])

    def features(image: Tensor) -> Tensor:
        return (image.reshape(-1, 2) @ weight).reshape(1, 1, 1, -1)

    output = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2).requires_grad_()
    reference = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2).requires_grad_()
    # (1, -1) @ weight = (1, -5)
    loss = perceptual(features, output, reference)
    assert loss.item() == pytest.approx((1 + 25) / 2)
    loss.backward()
    assert output.grad is not None
    # d/dx of mean(d^2) is weight @ d for two features.
    assert output.grad.flatten().tolist() == [1 + 10, -15]
    assert reference.grad is None


def test_autoencoding_is_the_absolute_difference_to_what_the_latent_gives_back() -> None:
    image = torch.tensor([0.2, 0.4, 0.9]).reshape(1, 1, 1, 3)
    mask = torch.tensor([1.0, 1.0, 0.0]).reshape(1, 1, 1, 3)
    used: list[str] = []

    def encode(values: Tensor) -> Tensor:
        used.append("encode")
        return values * 2

    def decode(latent: Tensor) -> Tensor:
        used.append("decode")
        return latent / 4

    assert float(autoencoding(encode, decode, image, mask)) == pytest.approx((0.1 + 0.2) / 2)
    assert used == ["encode", "decode"]
    assert float(autoencoding(encode, lambda z: z / 2, image, mask)) == pytest.approx(0)


def test_the_divergence_is_that_of_two_gaussians_of_the_same_width() -> None:
    mean = torch.tensor([0.0, 1.0, -2.0, 0.5]).reshape(1, 4, 1, 1)
    unit_normal = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, torch.ones_like(mean)), unit_normal
    ).mean()
    torch.testing.assert_close(kl_divergence(mean), expected)


def test_a_draw_of_the_latent_lies_around_its_mean_with_width_one() -> None:
    torch.manual_seed(0)
    mean = torch.full((1, 1, 100, 100), 3.0, requires_grad=True)
    draw = sampled_latent(mean)
    assert draw.mean().item() == pytest.approx(3, abs=0.05)
    assert draw.std().item() == pytest.approx(1, abs=0.05)
    (slope,) = torch.autograd.grad(draw.sum(), mean)
    assert (slope == 1).all()


def test_shape_consistency_is_cross_entropy_with_the_background_as_a_class() -> None:
    found = torch.tensor([[1.0, -1.0], [0.5, 2.0]]).T.reshape(1, 2, 1, 2)  # of two pixels
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.3]]).T.reshape(1, 2, 1, 2)
    terms = []
    for (a, b), (s, t) in (((1.0, -1.0), (1.0, 0.0)), ((0.5, 2.0), (0.0, 0.3))):
        total = math.log(1 + math.exp(a) + math.exp(b))
        terms.append(-((1 - s - t) * (0 - total) + s * (a - total) + t * (b - total)))
    mask = torch.ones(1, 1, 1, 2)
    loss = shape_consistency(found, labels, mask, exclusive=True)
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-6)
    one = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    loss = shape_consistency(found, labels, one, exclusive=False)
    assert float(loss) == pytest.approx((softplus(-1) + softplus(-1)) / 2, rel=1e-6)


def test_shape_consistency_moves_the_output_to_the_labels_and_not_the_labels() -> None:
    found = torch.zeros(1, 1, 1, 2, requires_grad=True)
    labels = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2).requires_grad_()
    shape_consistency(found, labels, torch.ones(1, 1, 1, 2), exclusive=False).backward()
    assert found.grad is not None
    assert found.grad.flatten().tolist() == pytest.approx([-0.25, 0.25])
    assert labels.grad is None


HALF = torch.tensor([[0.1, 0.7]]).reshape(1, 1, 1, 2)
MASK = torch.ones(1, 1, 1, 2)
IN_HALF_PRECISION: dict[str, Callable[[Tensor], Tensor]] = {
    "discriminator": lambda x: discriminator_loss("bce", x, x),
    "generator": lambda x: generator_loss("lsgan", x),
    "mispair": lambda x: mispair_loss("hinge", x),
    "air": lambda x: air(x, 1 - x, MASK, 0.2, 0.2),
    "gradient consistency": lambda x: gradient_consistency(x, 1 - x, MASK),
    "kl": kl_divergence,
    "patch_nce": lambda x: patch_nce(x.reshape(1, 2, 1), x.reshape(1, 2, 1)),
    "perceptual": lambda x: perceptual(lambda v: v.bfloat16(), x, 1 - x),
    "shape": lambda x: shape_consistency(x, 1 - x, MASK, exclusive=True),
}


@pytest.mark.parametrize("name", IN_HALF_PRECISION)
def test_losses_are_computed_in_full_precision(name: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = IN_HALF_PRECISION[name](HALF.bfloat16())
    assert loss.dtype == torch.float32
