"""Optimizers against their papers' formulas, learning rates of epochs, and runs that go on."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_samples import blobs, labels_recipe, lps_affine
from torch import Tensor, nn

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.identity import is_same_training
from DeepTranslateLib.engine.learner import Learner
from DeepTranslateLib.engine.optimizers import build_optimizer, learning_rate
from DeepTranslateLib.engine.training import Trainer
from DeepTranslateLib.image import Image
from DeepTranslateLib.jobs import Events, Stopped
from DeepTranslateLib.recipe import Optimizer, Recipe, RecipeError
from DeepTranslateLib.schema import to_json

CPU = torch.device("cpu")
RATE, DECAY, MOMENTUM = 0.1, 0.01, 0.9


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# ---- three steps on w^4 / 4, whose gradient is w^3


def after_three_steps(**fields: Any) -> float:
    weight = nn.Parameter(torch.tensor([1.5], dtype=torch.float64))
    optimizer = build_optimizer(Optimizer(learning_rate=RATE, **fields), [weight])
    for _ in range(3):
        optimizer.zero_grad()
        (weight**4 / 4).sum().backward()
        optimizer.step()
    return float(weight.detach())


def adam(decay: float = 0.0, apart: bool = False, beta1: float = 0.9) -> float:
    # Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2.
    w, m, v = 1.5, 0.0, 0.0
    for step in (1, 2, 3):
        g = w**3 + (0 if apart else decay * w)
        w -= RATE * decay * w if apart else 0
        m, v = beta1 * m + (1 - beta1) * g, 0.999 * v + 0.001 * g * g
        w -= RATE * (m / (1 - beta1**step)) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return w


def nesterov(momentum: float, decay: float = 0.0) -> float:
    # Sutskever et al. 2013, in the form that sees the gradient where the weights are.
    w, b = 1.5, 0.0
    for _ in range(3):
        g = w**3 + decay * w
        b = momentum * b + g
        w -= RATE * (g + momentum * b)
    return w


def rmsprop(momentum: float) -> float:
    # Tieleman & Hinton 2012, lecture 6.5, with an average over about 100 steps.
    w, v, b = 1.5, 0.0, 0.0
    for _ in range(3):
        g = w**3
        v = 0.99 * v + 0.01 * g * g
        b = momentum * b + g / (math.sqrt(v) + 1e-8)
        w -= RATE * b
    return w


def adagrad() -> float:
    # Duchi et al. 2011.
    w, total = 1.5, 0.0
    for _ in range(3):
        g = w**3
        total += g * g
        w -= RATE * g / (math.sqrt(total) + 1e-10)
    return w


def adadelta() -> float:
    # Zeiler 2012, algorithm 1, times a learning rate.
    w, v, moved = 1.5, 0.0, 0.0
    for _ in range(3):
        g = w**3
        v = 0.9 * v + 0.1 * g * g
        step = g * math.sqrt(moved + 1e-6) / math.sqrt(v + 1e-6)
        moved = 0.9 * moved + 0.1 * step * step
        w -= RATE * step
    return w


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "adam"}, adam()),
        ({"name": "adam", "weight_decay": DECAY}, adam(DECAY)),
        ({"name": "adamw", "weight_decay": DECAY}, adam(DECAY, apart=True)),
        ({"name": "adam", "beta1": 0.5}, adam(beta1=0.5)),
        ({"name": "adam", "beta1": 0.0}, adam(beta1=0.0)),
        ({"name": "adamw", "beta1": 0.5, "weight_decay": DECAY}, adam(DECAY, True, 0.5)),
        ({"name": "sgd"}, nesterov(0.0)),
        ({"name": "sgd", "momentum": MOMENTUM, "weight_decay": DECAY}, nesterov(MOMENTUM, DECAY)),
        ({"name": "rmsprop"}, rmsprop(0.0)),
        ({"name": "rmsprop", "momentum": MOMENTUM}, rmsprop(MOMENTUM)),
        ({"name": "adagrad"}, adagrad()),
        ({"name": "adadelta"}, adadelta()),
    ],
)
def test_an_optimizer_follows_its_formula(fields: dict[str, Any], expected: float) -> None:
    assert after_three_steps(**fields) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "own"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_without_a_word_adam_has_the_betas_of_torch(
    name: str, own: type[torch.optim.Optimizer]
) -> None:
    weights = [nn.Parameter(torch.ones(1))]
    built = build_optimizer(Optimizer(name=name), weights)
    assert type(built) is own
    assert built.defaults["betas"] == own(weights).defaults["betas"]  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["rmsprop", "sgd", "adagrad", "adadelta"])
def test_an_optimizer_without_a_mean_gradient_has_no_beta1(name: str) -> None:
    labels_recipe(1, optimizer={"name": name, "beta1": 0.9})
    with pytest.raises(RecipeError) as caught:
        labels_recipe(1, optimizer={"name": name, "beta1": 0.5})
    assert caught.value.path == "$.optimizer.beta1"


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd", "adagrad", "adadelta"])
def test_weight_decay_draws_a_weight_without_gradient_towards_0(name: str) -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    chosen = Optimizer(name=name, learning_rate=RATE, weight_decay=0.5)
    optimizer = build_optimizer(chosen, [weight])
    (weight * 0).sum().backward()
    optimizer.step()
    assert 0 < float(weight.detach()) < 1


# ---- learning rates


def rates(epochs: int, **fields: Any) -> list[float]:
    recipe = labels_recipe(
        1, optimizer={"learning_rate": 0.5, **fields}, training={"epochs": epochs}
    )
    return [learning_rate(recipe, epoch) for epoch in range(epochs)]


def test_each_schedule_has_its_values() -> None:
    assert rates(4) == [0.5] * 4
    assert rates(4, schedule="poly") == [0.5 * (1 - e / 4) ** 0.9 for e in range(4)]
    assert rates(4, schedule="cosine") == pytest.approx(
        [0.5, 0.25 + 0.25 * math.sqrt(0.5), 0.25, 0.25 - 0.25 * math.sqrt(0.5)]
    )
    assert rates(6, schedule="linear") == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.5 * 2 / 3, 0.5 / 3])


@pytest.mark.parametrize("schedule", ["constant", "poly", "cosine", "linear"])
def test_warm_up_rises_in_equal_steps_and_the_schedule_follows_from_its_start(
    schedule: str,
) -> None:
    warm = rates(10, schedule=schedule, warmup_epochs=4)
    assert warm[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert warm[4:] == rates(6, schedule=schedule)


@pytest.mark.parametrize("schedule", ["poly", "cosine", "linear"])
def test_a_falling_rate_never_rises_and_never_reaches_0(schedule: str) -> None:
    values = rates(57, schedule=schedule)
    assert all(later <= earlier for earlier, later in itertools.pairwise(values))
    assert 0 < values[-1] < 0.1 * values[0]


def test_every_epoch_learns_at_its_rate() -> None:
    recipe = labels_recipe(1, optimizer={"schedule": "linear", "warmup_epochs": 1})
    learner = Learner(recipe, CPU)
    (optimizer,) = learner._method.optimizers.values()
    for epoch in (2, 0, 1):
        learner.begin_epoch(epoch)
        (group,) = optimizer.param_groups
        assert group["lr"] == learning_rate(recipe, epoch)


# ---- going on


class Run:
    """A tiny training in memory that can be stopped after a step."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe = recipe
        self.folder = folder

    def __call__(self, stop_after: int | None = None) -> dict[str, Tensor]:
        steps = iter(range(1, 10**6))
        sets = [
            SliceSet([Selection(self.case(seed), None)], self.recipe, self.folder / "cache")
            for seed in (1, 2)
        ]
        trainer = Trainer(
            self.recipe,
            *sets,
            self.folder,
            CPU,
            Events(sink=lambda event: None),
            should_stop=lambda: next(steps) == stop_after,
            checkpoint_seconds=1e9,
        )
        return trainer.run()

    @staticmethod
    def case(seed: int) -> Case:
        voxels, labels = blobs(seed, slices=3, size=12)
        return Case("s", Image(voxels, lps_affine()), Image(labels, lps_affine()))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "adam", "schedule": "cosine", "weight_decay": DECAY, "beta1": 0.5},
        {"name": "adamw", "schedule": "linear", "weight_decay": DECAY},
        {"name": "rmsprop", "momentum": MOMENTUM, "warmup_epochs": 1},
        {"name": "sgd", "momentum": MOMENTUM, "schedule": "poly", "warmup_epochs": 1},
        {"name": "adagrad", "schedule": "cosine"},
        {"name": "adadelta", "learning_rate": 1.0},
    ],
    ids=lambda fields: fields["name"],
)
def test_stopped_after_any_step_every_optimizer_goes_on_to_the_same_weights(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    recipe = labels_recipe(2, optimizer=fields, training={"epochs": 2})
    expected = Run(recipe, tmp_path / "straight")()
    for step in range(1, 7):
        run = Run(recipe, tmp_path / str(step))
        with pytest.raises(Stopped):
            run(stop_after=step)
        weights = run()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_each_optimizer_comes_to_weights_of_its_own(tmp_path: Path) -> None:
    names = ("adam", "rmsprop", "sgd", "adagrad", "adadelta")
    found = [
        Run(labels_recipe(2, optimizer={"name": name}), tmp_path / name)()["heads.0.weight"]
        for name in names
    ]
    assert len({tuple(weights.flatten().tolist()) for weights in found}) == len(names)


# ---- checkpoints of older recipes

OLDER = (
    "Recipe(name='tiny', target=Target(kind='labels', labels=(Label(value=10, name='label 1', "
    "color=(128, 174, 128), category=None, type=None, region=None, also=()),), ignore=None, "
    "units='', range=None), version=1, title='', description='', reference='', "
    "inputs=(Input(name='image', modality='CT', units='HU'),), sampling=Sampling(plane='axial', "
    "foreground_weight=2.0), preprocessing=Preprocessing(window=(-1000.0, 1000.0), spacing=None, "
    "spacing_tolerance=0.25, body_crop=False, body_margin=20.0), network=Network(name='unet', "
    "levels=2, channels=2, norm='none', deep_supervision=False), method=Method("
    "name='supervised', loss='binary_cross_entropy'), optimizer=Optimizer(name='adam', "
    "learning_rate=0.01, schedule='constant', gradient_clip=None), augmentation=Augmentation("
    "probability=1.0, reference_size=512.0, perspective=30.0, rotation=70.0, translation=30.0, "
    "flip_left_right=0.5, flip_up_down=0.5, noise_fraction=0.3, noise_sd=0.1), training=Training("
    "epochs=1, batch_size=1, patience=None, monitor='loss', ema=None, validation_fraction=0.2, "
    "keep_every=None, seed=0))"
)


def test_a_checkpoint_from_before_optimizers_had_names_goes_on() -> None:
    recipe = labels_recipe(1)
    assert is_same_training(OLDER, recipe)
    assert is_same_training(OLDER, recipe.with_training(epochs=99, patience=5, keep_every=2))
    assert is_same_training(OLDER, recipe.with_training(preview_every=7))
    for other in (
        recipe.with_training(seed=1),
        labels_recipe(1, optimizer={"name": "sgd"}),
        labels_recipe(1, sampling={"context": 1}),
        labels_recipe(2),
    ):
        assert not is_same_training(OLDER, other)


def test_a_checkpoint_that_leaves_out_fields_has_their_defaults() -> None:
    content = to_json(labels_recipe(1))
    for part, name in (
        ("optimizer", "beta1"),
        ("optimizer", "momentum"),
        ("network", "residual"),
        ("method", "loss"),
    ):
        del content[part][name]
    assert is_same_training(content, labels_recipe(1))
    assert not is_same_training(content, labels_recipe(1, method={"loss": "dice"}))


@pytest.mark.parametrize("stored", ["", "Recipe(", "__import__('os').getcwd()", None, {}, 3])
def test_what_is_no_recipe_is_another_training(stored: Any) -> None:
    assert not is_same_training(stored, labels_recipe(1))
