"""One step of each adversarial method, held against its paper's formula, and who learns in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from adversarial_samples import CPU, METHODS, batch, copied, model_file, pairs, recipe_of
from engine_samples import labels_recipe
from safetensors.torch import load
from torch import Tensor, nn

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.methods import Batch, build_method
from DeepTranslateLib.engine.methods.variety import Variety
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.unpairedset import ValidationPair
from DeepTranslateLib.model import read_model
from DeepTranslateLib.recipe import BACKWARD, FORWARD, Recipe


class Turns:
    """Takes the losses of a step and moves nothing: whose they are, their values and gradients."""

    def __init__(self, method: Any) -> None:
        self._method = method
        self.names: list[str] = []
        self.losses: dict[str, float] = {}
        # By whose turn it is, the networks that got a gradient.
        self.reached: dict[str, set[str]] = {}

    def __call__(self, name: str, loss: Tensor) -> None:
        networks = self._method.networks
        for network in networks.values():
            network.zero_grad(set_to_none=True)
        loss.backward()
        self.names.append(name)
        self.losses[name] = float(loss.detach())
        self.reached[name] = {
            which
            for which, network in networks.items()
            if any(p.grad is not None and bool(p.grad.any()) for p in network.parameters())
        }


def stepped(recipe: Recipe, shown: Batch, seed: int = 5) -> tuple[Any, Turns, dict[str, Tensor]]:
    """A method, its losses in its first step, and what it says of them; nothing has moved."""
    torch.manual_seed(0)
    method = build_method(recipe, CPU)
    turns = Turns(method)
    torch.manual_seed(seed)
    found = method.training_step(shown, turns)
    return method, turns, found


def draws(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def l1(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().mean()


def for_generator(logits: Tensor) -> Tensor:
    return ((logits - 1) ** 2).mean()


def for_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return (((real - 1) ** 2).mean() + (fake**2).mean()) / 2


def about(value: Tensor | float) -> Any:
    return pytest.approx(float(torch.as_tensor(value).detach()), rel=2e-5)


def test_a_true_image_of_air_alone_does_not_hide_how_alike_translations_are() -> None:
    method, _, _ = stepped(recipe_of("cyclegan"), batch())
    shown = batch(seed=5)
    ratios = [
        float(method.training_step(each, lambda name, loss: None)["variance_ratio"])
        for each in (Batch(shown.images, torch.zeros_like(shown.targets), shown.mask), shown)
    ]
    assert max(ratios) < 2


def test_diversity_is_the_variance_from_image_to_image() -> None:
    generator = torch.Generator().manual_seed(3)
    true = torch.rand(6, 1, 8, 8, generator=generator)
    made = true * 0.5 + 0.1
    # In one step of all six: each pixel's variance over the six, with half the contrast a quarter.
    assert Variety().ratios(made, true)["diversity_ratio"] == pytest.approx(0.25)
    seen, found = Variety(), {}
    for index in range(6):
        found = seen.ratios(made[index : index + 1], true[index : index + 1])
    assert found["diversity_ratio"] == pytest.approx(0.25)
    weights = 0.95 ** np.arange(5, -1, -1)
    pixels = true.numpy().reshape(6, -1).astype(float)
    other = torch.rand(6, 1, 8, 8, generator=generator)
    seen = Variety()
    for index in range(6):
        found = seen.ratios(other[index : index + 1], true[index : index + 1])

    def spread(values: Any) -> float:
        mean = np.average(values, axis=0, weights=weights)
        return float(np.average((values - mean) ** 2, axis=0, weights=weights).mean())

    expected = spread(other.numpy().reshape(6, -1).astype(float)) / spread(pixels)
    assert found["diversity_ratio"] == pytest.approx(expected)


def test_one_image_with_much_to_be_seen_for_every_input_has_no_diversity() -> None:
    generator = torch.Generator().manual_seed(4)
    seen, same = Variety(), torch.rand(1, 1, 16, 12, 9, generator=generator)
    first = seen.ratios(same, torch.rand(1, 1, 16, 12, 9, generator=generator))
    assert first["diversity_ratio"] == 1.0
    for _ in range(5):
        found = seen.ratios(same, torch.rand(1, 1, 16, 12, 9, generator=generator))
    assert found["diversity_ratio"] == pytest.approx(0, abs=1e-9)
    assert found["variance_ratio"] > 0.5


def test_what_varies_is_remembered_by_a_checkpoint() -> None:
    generator = torch.Generator().manual_seed(5)
    shown = [torch.rand(2, 2, 1, 8, 8, generator=generator) for _ in range(6)]
    straight, before, after = Variety(), Variety(), Variety()
    for made, true in shown:
        expected = straight.ratios(made, true)
    for made, true in shown[:3]:
        before.ratios(made, true)
    after.restore(before.state())
    for made, true in shown[3:]:
        found = after.ratios(made, true)
    assert found == expected


# ---- pix2pix


def masked() -> Batch:
    made = batch()
    mask = torch.ones_like(made.images)
    mask[:, :, :5] = 0
    return Batch(made.images, made.targets, mask)


def test_pix2pix_is_equation_4_of_isola_and_the_mispair_term() -> None:
    recipe = recipe_of(
        "pix2pix",
        method={"loss": [{"name": "mae", "weight": 100}]},
        adversarial={"weight": 2, "mispair_weight": 0.5},
        training={"batch_size": 2},
    )
    shown = masked()
    method, turns, found = stepped(recipe, shown)
    x, y, mask = shown.images, shown.targets, shown.mask
    critic = method.networks["critic"]
    output = method.networks["network"](x)[0]

    def judged(condition: Tensor, made: Tensor) -> Tensor:
        return critic(torch.cat([condition, made * mask], dim=1))

    pairs_apart = ((output - y).abs() * mask).sum() / mask.sum()
    fooled = for_generator(judged(x, output))
    assert turns.losses["generator"] == about(100 * pairs_apart + 2 * fooled)
    wrong = (judged(x.flip(0), y) ** 2).mean()
    told = for_discriminator(judged(x, y), judged(x, output))
    assert turns.losses["discriminator"] == about(told + 0.5 * wrong)
    assert float(found["loss"]) == turns.losses["generator"]
    assert float(found["discriminator"]) == about(told + 0.5 * wrong)
    right = (judged(x, y) > 0.5).float().mean() + (judged(x, output) < 0.5).float().mean()
    assert float(found["discriminator_accuracy"]) == about(right / 2)
    spread = (output * mask).var() / (y * mask).var()
    assert float(found["variance_ratio"]) == about(spread)


def test_pix2pix_by_wassersteins_distance_has_the_penalty_between_truth_and_output() -> None:
    recipe = recipe_of("pix2pix", adversarial={"objective": "wgan_gp", "gradient_penalty": 7})
    shown = batch()
    method, turns, _ = stepped(recipe, shown, seed=9)
    x, y = shown.images, shown.targets
    critic = method.networks["critic"]
    output = method.networks["network"](x)[0].detach()
    torch.manual_seed(9)
    share = torch.rand(2, 1, 1, 1)
    between = (share * y + (1 - share) * output).requires_grad_()
    scores = critic(torch.cat([x, between], dim=1)).mean(dim=(1, 2, 3))
    slopes = torch.stack(
        [torch.autograd.grad(one, between, retain_graph=True)[0].norm() for one in scores]
    )
    apart = critic(torch.cat([x, output], 1)).mean() - critic(torch.cat([x, y], 1)).mean()
    assert turns.losses["discriminator"] == about(apart + 7 * ((slopes - 1) ** 2).mean())
    fooled = -critic(torch.cat([x, output], 1)).mean()
    assert turns.losses["generator"] == about(10 * l1(output, y) + fooled)


# ---- CycleGAN


def test_cyclegan_is_equation_3_of_zhu_with_the_identity_of_section_5_2() -> None:
    recipe = recipe_of("cyclegan", adversarial={"weight": 3, "identity_weight": 5})
    shown = batch()
    method, turns, found = stepped(recipe, shown)
    x, y = shown.images, shown.targets
    names = ("there", "back", "critic of there", "critic of back")
    there, back, judge_y, judge_x = (method.networks[name] for name in names)
    g_x, f_y = there(x)[0], back(y)[0]
    cycle = l1(back(g_x)[0], x) + l1(there(f_y)[0], y)
    fooled = for_generator(judge_y(g_x)) + for_generator(judge_x(f_y))
    same = l1(there(y)[0], y) + l1(back(x)[0], x)
    assert turns.losses["generator"] == about(3 * fooled + 10 * cycle + 5 * same)
    told = for_discriminator(judge_y(y), judge_y(g_x)) + for_discriminator(judge_x(x), judge_x(f_y))
    assert turns.losses["discriminator"] == about(told)
    assert float(found["cycle there"] + found["cycle back"]) == about(10 * cycle)


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A U-Net whose features count, and a segmentor, both of -1000 to 1000 HU."""
    folder = tmp_path_factory.mktemp("judges")
    network = {"levels": 3, "channels": 2}
    features = labels_recipe(1, network=network)
    return {
        "features": model_file(folder, features, "features"),
        "segmentor": model_file(folder, labels_recipe(2, network=network), "segmentor"),
    }


def loaded(path: Path) -> Any:
    model = read_model(path)
    network: Any = build_network(model.recipe)
    network.load_state_dict(load(model.weights()))
    return network.eval()


def structure(judges: dict[str, Path]) -> dict[str, Any]:
    return {
        "perceptual_weight": 2,
        "latent_weight": 3,
        "air_weight": 4,
        "gradient_weight": 5,
        "shape_weight": 6,
        "features": str(judges["features"]),
        "features_sha256": file_sha256(judges["features"]),
        "features_level": 1,
        "segmentor": str(judges["segmentor"]),
        "segmentor_sha256": file_sha256(judges["segmentor"]),
    }


def edges_alike(x: Tensor, y: Tensor) -> Tensor:
    """Hiasa et al. 2018: correlations of absolute differences, averaged over images and axes."""
    found = []
    for axis in (1, 2):
        for mine, theirs in zip(x, y, strict=True):
            both = torch.stack([values.diff(dim=axis).abs().flatten() for values in (mine, theirs)])
            found.append(torch.corrcoef(both)[0, 1])
    return 1 - torch.stack(found).mean()


def test_structure_preserving_cyclegan_has_each_term_on_both_ways(judges: dict[str, Path]) -> None:
    recipe = recipe_of("cyclegan", structure=structure(judges))
    shown = batch()
    # Some of either is air.
    shown = Batch(shown.images * 0.6, shown.targets * 0.7, shown.mask)
    method, turns, found = stepped(recipe, shown)
    x, y = shown.images, shown.targets
    there, back = method.networks["there"], method.networks["back"]
    g_x, f_y = there(x)[0].detach(), back(y)[0].detach()

    network, seen = loaded(judges["features"]), []
    network.encoder[1].register_forward_hook(lambda module, given, made: seen.append(made))
    for images in (g_x, x, f_y, y):
        network(images)
    felt = [(a - b).square().mean() for a, b in zip(seen[::2], seen[1::2], strict=True)]
    assert [float(found[f"perceptual {way}"]) for way in ("there", "back")] == [
        about(2 * each) for each in felt
    ]

    def hu(images: Tensor, high: float) -> Tensor:
        return images * (high + 1000) - 1000

    x_air, g_air = (hu(x, 1000) <= -600), (hu(g_x, 500) <= -600)
    y_air, f_air = (hu(y, 500) <= -600), (hu(f_y, 1000) <= -600)
    assert 0 < x_air.float().mean() < 1
    assert 0 < y_air.float().mean() < 1
    # -600 HU are 0.2 of one window and 4/15 of the other.
    forth = ((x_air != g_air) * ((x - 0.2) - (g_x - 4 / 15)).abs()).mean()
    backwards = ((y_air != f_air) * ((y - 4 / 15) - (f_y - 0.2)).abs()).mean()
    assert float(found["air there"]) == about(4 * forth)
    assert float(found["air back"]) == about(4 * backwards)

    assert float(found["gradient there"]) == pytest.approx(
        float(5 * edges_alike(x, g_x).detach()), rel=1e-4
    )
    assert float(found["gradient back"]) == pytest.approx(
        float(5 * edges_alike(y, f_y).detach()), rel=1e-4
    )

    labeller = loaded(judges["segmentor"])

    def logits(images: Tensor, high: float) -> Tensor:
        return labeller(((hu(images, high) + 1000) / 2000).clamp(0, 1))[0]

    shape = F.binary_cross_entropy_with_logits
    assert float(found["shape there"]) == about(
        6 * shape(logits(g_x, 500), logits(x, 1000).sigmoid())
    )
    assert float(found["shape back"]) == about(
        6 * shape(logits(f_y, 1000), logits(y, 500).sigmoid())
    )

    def through(reader: Any, writer: Any, images: Tensor) -> Tensor:
        features = images
        for layer in reader.encoder:
            features = layer(features)
        return writer.decoder(features)

    assert float(found["latent there"]) == about(3 * l1(through(there, back, x), x))
    assert float(found["latent back"]) == about(3 * l1(through(back, there, y), y))

    terms = ("adversarial", "cycle", "perceptual", "air", "gradient", "shape", "latent")
    named = [float(found[f"{term} {way}"]) for term in terms for way in ("there", "back")]
    assert turns.losses["generator"] == about(sum(named))
    assert turns.reached["generator"] == {"there", "back"}


def test_pix2pix_feels_the_difference_to_the_target(judges: dict[str, Path]) -> None:
    terms = structure(judges)
    named = {name: terms[name] for name in terms if name.startswith(("features", "perceptual"))}
    shown = batch()
    method, _, found = stepped(recipe_of("pix2pix", structure=named), shown)
    network, seen = loaded(judges["features"]), []
    network.encoder[1].register_forward_hook(lambda module, given, made: seen.append(made))
    network(method.networks["network"](shown.images)[0])
    network(shown.targets)
    assert float(found["perceptual"]) == about(2 * (seen[0] - seen[1]).square().mean())


def test_what_judges_the_structure_is_never_moved_and_in_no_checkpoint(
    judges: dict[str, Path],
) -> None:
    learner = Learner(recipe_of("cyclegan", structure=structure(judges)), CPU)
    assert set(learner.state()["networks"]) == {
        "there",
        "back",
        "critic of there",
        "critic of back",
    }
    before = {name: path.read_bytes() for name, path in judges.items()}
    learner.begin_epoch(0)
    learner.step(pairs(), draws())
    assert {name: path.read_bytes() for name, path in judges.items()} == before


# ---- UNIT


def test_unit_is_equations_2_to_6_of_liu_with_noise_on_each_latent() -> None:
    recipe = recipe_of("unit", adversarial={"weight": 2, "kl_weight": 0.3})
    shown = batch()
    method, turns, found = stepped(recipe, shown, seed=4)
    x, y = shown.images, shown.targets
    there, back = method.networks["there"], method.networks["back"]
    torch.manual_seed(4)

    def encoded(way: Any, images: Tensor) -> Tensor:
        return way.shared_encoder(way.encoder(images))

    def decoded(way: Any, latent: Tensor) -> Tensor:
        return way.decoder(way.shared_decoder(latent))

    total, told = torch.zeros(()), torch.zeros(())
    # `there` reads x and writes y; `back` the other way round.
    for way, other, image, wanted in ((there, back, x, y), (back, there, y, x)):
        critic = method.networks["critic of there" if way is there else "critic of back"]
        mean = encoded(way, image)
        latent = mean + torch.randn(mean.shape)
        translated = decoded(way, latent)
        mean_again = encoded(other, translated)
        again = decoded(other, mean_again + torch.randn(mean.shape))
        kl = (mean**2).mean() / 2 + (mean_again**2).mean() / 2
        total = total + 10 * l1(decoded(other, latent), image) + 10 * l1(again, image)
        total = total + 0.3 * kl + 2 * for_generator(critic(translated))
        told = told + for_discriminator(critic(wanted), critic(translated))
    assert turns.losses["generator"] == about(total)
    assert turns.losses["discriminator"] == about(told)
    assert float(found["latent there"] + found["latent back"]) > 0


# ---- CUT


def contrast(network: Any, heads: Any, made: Tensor, image: Tensor, layers: list[int]) -> Tensor:
    """Park et al. 2020, eq. 2 and 3, place by place; 6 places, a temperature of 0.1."""
    terms = []
    places = []
    for layer in layers:
        (size,) = {network.encode(image, [layer])[0].shape[2:]}
        places.append(torch.randperm(size[0] * size[1])[:6])
    for number, layer in enumerate(layers):
        both = []
        for images in (made, image):
            features = network.encode(images, [layer])[0].flatten(2)[:, :, places[number]]
            vectors = heads[number](features.transpose(1, 2))
            both.append(vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12))
        for queries, keys in zip(*both, strict=True):
            for place, query in enumerate(queries):
                alike = torch.stack([query @ key for key in keys]) / 0.1
                terms.append(-(alike[place] - alike.logsumexp(dim=0)))
    return torch.stack(terms).mean()


def test_cut_is_equation_5_of_park_at_the_same_places() -> None:
    recipe = recipe_of(
        "cut",
        adversarial={"identity_weight": 2},
        contrast={"weight": 3, "patches": 6, "temperature": 0.1, "layers": [0, 2, 3]},
    )
    shown = batch()
    method, turns, _ = stepped(recipe, shown, seed=8)
    x, y = shown.images, shown.targets
    network, critic = method.networks["network"], method.networks["critic"]
    heads = method.networks["projection"].heads
    torch.manual_seed(8)
    output = network(x)[0]
    loss = for_generator(critic(output)) + 3 * contrast(network, heads, output, x, [0, 2, 3])
    loss = loss + 2 * contrast(network, heads, network(y)[0], y, [0, 2, 3])
    assert turns.losses["generator"] == about(loss)
    assert turns.losses["discriminator"] == about(for_discriminator(critic(y), critic(output)))
    assert turns.reached["generator"] == {"network", "projection"}


def test_fastcut_translates_no_targets_and_takes_the_published_layers() -> None:
    recipe = recipe_of(
        "cut",
        network={"levels": 3, "blocks": [9]},
        contrast={"weight": 10, "patches": 6, "temperature": 0.1},
    )
    shown = batch()
    method, turns, found = stepped(recipe, shown, seed=8)
    network, critic = method.networks["network"], method.networks["critic"]
    torch.manual_seed(8)
    output = network(shown.images)[0]
    heads = method.networks["projection"].heads
    held = contrast(network, heads, output, shown.images, [0, 2, 3, 4, 8])
    assert turns.losses["generator"] == about(for_generator(critic(output)) + 10 * held)
    assert "identity" not in found


# ---- whose turn it is


def translating(method: Any) -> set[str]:
    return {name for name in method.networks if not name.startswith("critic")}


@pytest.mark.parametrize("objective", ["lsgan", "bce", "hinge", "wgan_gp"])
@pytest.mark.parametrize("name", METHODS)
def test_neither_side_gives_the_other_a_gradient(name: str, objective: str) -> None:
    method, turns, _ = stepped(recipe_of(name, adversarial={"objective": objective}), batch())
    assert turns.reached["generator"] == translating(method)
    assert turns.reached["discriminator"] == set(method.networks) - translating(method)
    owned = [
        {id(p) for group in optimizer.param_groups for p in group["params"]}
        for optimizer in method.optimizers.values()
    ]
    every = {id(p) for network in method.networks.values() for p in network.parameters()}
    assert owned[0].isdisjoint(owned[1])
    assert owned[0] | owned[1] == every


@pytest.mark.parametrize("name", METHODS)
def test_the_discriminator_learns_in_each_fourth_step_and_alone_while_it_warms_up(
    name: str,
) -> None:
    settings = {"generator_steps": 4, "discriminator_warmup_epochs": 2}
    method: Any = build_method(recipe_of(name, adversarial=settings), CPU)
    for epoch in (0, 1):
        method.begin_epoch(epoch)
        turns = Turns(method)
        for _ in range(2):
            found = method.training_step(batch(), turns)
            assert not found["loss"].requires_grad
        assert turns.names == ["discriminator"] * 2
    method.begin_epoch(2)
    turns = Turns(method)
    for _ in range(9):
        method.training_step(batch(), turns)
    spelled = "".join(each[0] for each in turns.names)
    # Steps are counted from the first one of the training: 4, 8 and 12 are the discriminator's.
    assert spelled == "gd" + "gggg" + "d" + "gggg" + "d"


def moved(learner: Learner, step: Callable[[], Any]) -> dict[str, float]:
    """By network how far the weight went that went farthest."""

    def weights() -> dict[str, dict[str, Tensor]]:
        return {name: copied(w) for name, w in learner.state()["networks"].items()}

    before = weights()
    step()
    return {
        name: max(float((after[key] - before[name][key]).abs().max()) for key in after)
        for name, after in weights().items()
    }


def test_the_discriminator_has_its_own_rate_on_the_recipes_schedule() -> None:
    recipe = recipe_of(
        "cyclegan",
        adversarial={"discriminator_rate": 0.004},
        optimizer={"learning_rate": 0.001, "schedule": "linear", "warmup_epochs": 1},
        training={"epochs": 9},
    )
    # In the warm-up half; then all; of what is left after 7 of 8 epochs a quarter.
    for epoch, part in ((0, 0.5), (1, 1.0), (8, 0.25)):
        learner = Learner(recipe, CPU)
        learner.begin_epoch(epoch)
        far = moved(learner, lambda learner=learner: learner.step(pairs(), draws()))
        # Adam's first step is as long as the rate, whatever the gradient.
        assert far["there"] == pytest.approx(0.001 * part, rel=1e-2)
        assert far["back"] == pytest.approx(0.001 * part, rel=1e-2)
        assert far["critic of there"] == pytest.approx(0.004 * part, rel=1e-2)
        assert far["critic of back"] == pytest.approx(0.004 * part, rel=1e-2)


def test_while_it_warms_up_no_weight_of_a_generator_moves_and_then_both_do() -> None:
    recipe = recipe_of("cut", adversarial={"discriminator_warmup_epochs": 1}, training={"ema": 0.5})
    learner = Learner(recipe, CPU)
    learner.begin_epoch(0)
    far = moved(learner, lambda: learner.step(pairs(), draws()))
    assert far["network"] == far["projection"] == 0 < far["critic"]
    learner.begin_epoch(1)
    far = moved(learner, lambda: learner.step(pairs(), draws()))
    assert min(far.values()) > 0


def test_a_step_of_the_generator_alone_leaves_the_critic_as_it_is() -> None:
    learner = Learner(recipe_of("cut", adversarial={"generator_steps": 2}), CPU)
    learner.begin_epoch(0)
    learner.step(pairs(), draws())
    far = moved(learner, lambda: learner.step(pairs(), draws()))
    assert far["critic"] == 0 < far["network"]


# ---- both directions


@pytest.mark.parametrize("ema", [None, 0.5])
def test_unit_shares_its_latent_after_training_and_after_a_resume(ema: float | None) -> None:
    recipe = recipe_of("unit", training={"ema": ema})
    first = Learner(recipe, CPU)
    first.begin_epoch(0)
    first.step(pairs(), draws())
    second = Learner(recipe, CPU)
    second.restore(first.state())
    second.begin_epoch(0)
    far = moved(second, lambda: second.step(pairs(), draws(2)))
    assert min(far.values()) > 0
    for learner in (first, second):
        weights = learner.weights()
        shared = [name for name in weights if name.startswith("shared_")]
        assert shared
        for name in shared:
            assert torch.equal(weights[name], weights[f"{BACKWARD}/{name}"])
        state = learner.state()["networks"]
        assert all(torch.equal(state["there"][n], state["back"][n]) for n in shared)


@pytest.mark.parametrize("name", ["cyclegan", "unit"])
def test_of_both_directions_the_averages_translate(name: str) -> None:
    learner = Learner(recipe_of(name, training={"ema": 0.7}), CPU)
    learner.begin_epoch(0)
    expected: dict[str, dict[str, Tensor]] = {}
    for step in range(4):
        learner.step(pairs(), draws(step))
        for way, weights in learner.state()["networks"].items():
            mean = expected.setdefault(way, copied(weights))
            expected[way] = {n: 0.7 * mean[n] + 0.3 * w for n, w in copied(weights).items()}
    found = learner.weights()
    for way, prefix in (("there", ""), ("back", f"{BACKWARD}/")):
        for key, tensor in expected[way].items():
            torch.testing.assert_close(found[f"{prefix}{key}"], tensor, atol=1e-6, rtol=1e-5)
    assert list(learner.translators) == [FORWARD, BACKWARD]


@pytest.mark.parametrize("ema", [None, 0.7])
@pytest.mark.parametrize("name", ["cyclegan", "unit"])
def test_what_translates_is_what_is_validated_on_both_ways(name: str, ema: float | None) -> None:
    learner = Learner(recipe_of(name, training={"ema": ema}), CPU)
    learner.begin_epoch(0)
    for step in range(3):
        learner.step(pairs(), draws(step))
    shown = pairs()
    found, _ = learner.validate([ValidationPair(each.source, each.target) for each in shown])
    wanted = []
    with torch.inference_mode():
        for pair in shown:
            given = pair.source.image[None]
            there, back = (learner.translators[way].eval() for way in (FORWARD, BACKWARD))
            wanted.append(10 * l1(back(there(given)[0])[0], given))
    assert found == about(sum(wanted) / 2)


# ---- precision and sizes


def test_a_gradient_that_half_precision_cannot_hold_is_skipped_and_not_called_divergence() -> None:
    learner = Learner(recipe_of("cut"), CPU)
    learner._scaler = torch.amp.GradScaler("cpu", init_scale=1e38, backoff_factor=1e-30)
    learner.begin_epoch(0)
    numbers: dict[str, float] = {}

    def step() -> None:
        numbers.update(learner.step(pairs(), draws()))

    assert moved(learner, step)["network"] == 0
    assert all(map(_is_finite, numbers.values()))
    step()
    assert moved(learner, step)["network"] > 0
    assert numbers["generator_gradient"] > 0
    assert all(map(_is_finite, numbers.values()))


def _is_finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


@pytest.mark.parametrize("name", METHODS)
def test_patches_are_learnt_from_by_the_same_step(name: str) -> None:
    recipe = recipe_of(
        name,
        network={"dimension": 3},
        sampling={"patch": [8, 8, 8]},
        adversarial={"objective": "wgan_gp"},
    )
    method, turns, found = stepped(recipe, batch(2, 8, 8, 8))
    assert turns.reached["generator"] == translating(method)
    assert all(torch.isfinite(value) for value in found.values())


@pytest.mark.parametrize("name", ["cyclegan", "unit", "cut"])
@pytest.mark.parametrize("objective", ["lsgan", "wgan_gp"])
def test_images_of_both_kinds_may_differ_in_size(name: str, objective: str) -> None:
    made = batch(2, 16, 20), batch(2, 18, 14)
    shown = Batch(made[0].images, made[1].targets, torch.ones_like(made[0].images))
    _, turns, found = stepped(recipe_of(name, adversarial={"objective": objective}), shown)
    assert turns.names == ["generator", "discriminator"]
    assert all(torch.isfinite(value) for value in found.values())


def test_a_critic_learns_from_earlier_outputs_where_there_is_a_pool() -> None:
    recipe = recipe_of("cut", adversarial={"pool": 2})
    torch.manual_seed(0)
    method: Any = build_method(recipe, CPU)
    plain: Any = build_method(
        dataclasses.replace(recipe, adversarial=recipe_of("cut").adversarial), CPU
    )
    plain.networks["network"].load_state_dict(method.networks["network"].state_dict())
    plain.networks["critic"].load_state_dict(method.networks["critic"].state_dict())
    apart = []
    for seed in range(6):
        losses = []
        for each in (method, plain):
            turns = Turns(each)
            torch.manual_seed(seed)
            each.training_step(batch(seed=seed), turns)
            losses.append(turns.losses["discriminator"])
        apart.append(losses[0] != losses[1])
    # The pool fills in the first step; after that some outputs are exchanged.
    assert not apart[0]
    assert any(apart)
    assert len(method.state()["critics"]["critic"]["images"]) == 2


def test_every_network_of_a_method_is_a_module_in_its_checkpoint() -> None:
    for name in METHODS:
        method = build_method(recipe_of(name), CPU)
        assert all(isinstance(each, nn.Module) for each in method.networks.values())
        assert set(method.translators.values()) <= set(method.networks)
        assert next(iter(method.translators)) == FORWARD
