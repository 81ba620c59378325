"""The training loop: killed or stopped anywhere it ends in the same weights; and it learns."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_samples import STILL, blobs, labels_recipe, lps_affine, volume_recipe
from torch import Tensor

from DeepTranslateLib.cohort import Case, Selection
from DeepTranslateLib.engine import augmentedslices
from DeepTranslateLib.engine.augmentation import Change, apply_changes
from DeepTranslateLib.engine.checkpoint import CheckpointError
from DeepTranslateLib.engine.dataset import SliceSet
from DeepTranslateLib.engine.methods.supervised import Supervised
from DeepTranslateLib.engine.metrics import mean_of_known
from DeepTranslateLib.engine.networks import build_network
from DeepTranslateLib.engine.training import Trainer, TrainingError
from DeepTranslateLib.engine.translation import channels_of
from DeepTranslateLib.image import Image
from DeepTranslateLib.jobs import Events, Stopped
from DeepTranslateLib.recipe import Recipe

CPU = torch.device("cpu")
Weights = dict[str, Tensor]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a power cut would notice, and there are hundreds of checkpoints here.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Killed(BaseException):
    """Ends a run at once, as nothing in it may catch this."""


def case_of(voxels: np.ndarray, target: np.ndarray, subject: str = "s") -> Case:
    return Case(subject, Image(voxels, lps_affine()), Image(target, lps_affine()))


class Run:
    """Trains on small data in memory, again and again in the same folder if wanted."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe = recipe
        self.folder = folder
        self.training = [Selection(case_of(*self.pair(1)), None)]
        self.validation = [Selection(case_of(*self.pair(2)), (0, 1, 3))]
        self.events: list[dict[str, Any]] = []

    def pair(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        voxels, labels = blobs(seed)
        return (voxels, labels) if self.recipe.target.kind == "labels" else (voxels, voxels // 2)

    def trainer(
        self, should_stop: Callable[[], bool] = lambda: False, checkpoint_seconds: float = 1e9
    ) -> Trainer:
        return Trainer(
            self.recipe,
            SliceSet(self.training, self.recipe, self.folder / "cache"),
            SliceSet(self.validation, self.recipe, self.folder / "cache2"),
            self.folder,
            CPU,
            Events(sink=self.events.append),
            should_stop,
            checkpoint_seconds,
        )

    def to_the_end(self) -> Weights:
        return self.trainer().run()

    def of(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event]


def after(steps: int, action: Callable[[], bool]) -> Callable[[], bool]:
    """A `should_stop` that acts after some steps."""
    count = iter(range(1, 10**6))
    return lambda: action() if next(count) == steps else False


def kill() -> bool:
    raise Killed


def equal(first: Weights, second: Weights) -> bool:
    return list(first) == list(second) and all(
        torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


def results_of(run: Run) -> list[Any]:
    """Losses and Dice of the last epoch, which follow from its last weights, not the best ones."""
    last = run.of("epoch")[-1]
    return [last[key] for key in ("loss", "validation_loss", "validation_dice", "best_epoch")]


# Three epochs of four slices each.
RECIPES = {
    "plain": labels_recipe(2),
    "everything": labels_recipe(
        2,
        network={"levels": 3, "deep_supervision": True, "norm": "group"},
        method={"loss": "dice_binary_cross_entropy"},
        optimizer={"schedule": "poly", "gradient_clip": 0.1},
        training={"batch_size": 2, "ema": 0.8, "monitor": "dice"},
    ),
    "batch norm": labels_recipe(
        2, network={"norm": "batch"}, training={"batch_size": 3, "ema": 0.5}
    ),
    "volume": volume_recipe(training={"batch_size": 2}),
}
STEPS = {"plain": 12, "everything": 6, "batch norm": 6, "volume": 6}


@pytest.fixture(params=RECIPES)
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param


def test_stopped_after_any_step_a_run_goes_on_to_the_same_weights(
    tmp_path: Path, name: str
) -> None:
    straight = Run(RECIPES[name], tmp_path / "straight")
    expected = straight.to_the_end()
    for step in range(1, STEPS[name] + 1):
        run = Run(RECIPES[name], tmp_path / str(step))
        with pytest.raises(Stopped):
            run.trainer(after(step, lambda: True)).run()
        assert equal(run.to_the_end(), expected), f"stopped after step {step}"
        assert run.of("training_started")[1]["resumed"]
        assert results_of(run) == results_of(straight)


def test_killed_after_any_step_a_run_goes_on_to_the_same_weights(tmp_path: Path, name: str) -> None:
    straight = Run(RECIPES[name], tmp_path / "straight")
    expected = straight.to_the_end()
    for step in range(1, STEPS[name] + 1):
        # The checkpoint is as old as the step before.
        run = Run(RECIPES[name], tmp_path / str(step))
        with pytest.raises(Killed):
            run.trainer(after(step, kill), checkpoint_seconds=0).run()
        assert equal(run.to_the_end(), expected), f"killed after step {step}"
        assert results_of(run) == results_of(straight)


def test_stopped_after_every_single_step_a_run_ends_in_the_same_weights(
    tmp_path: Path, name: str
) -> None:
    expected = Run(RECIPES[name], tmp_path / "straight").to_the_end()
    run = Run(RECIPES[name], tmp_path / "chain")
    for _ in range(STEPS[name]):
        with pytest.raises(Stopped):
            run.trainer(after(1, lambda: True)).run()
    assert equal(run.to_the_end(), expected)
    assert [event["epoch"] for event in run.of("epoch")] == [0, 1, 2]


def test_checkpoints_and_who_listens_do_not_change_the_weights(tmp_path: Path) -> None:
    expected = Run(RECIPES["plain"], tmp_path / "rare").to_the_end()
    often = Run(RECIPES["plain"], tmp_path / "often")
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - the run must not depend on it
    assert equal(often.trainer(checkpoint_seconds=0).run(), expected)


def test_a_run_leaves_two_checkpoints_and_nothing_else(tmp_path: Path) -> None:
    Run(RECIPES["plain"], tmp_path).trainer(checkpoint_seconds=0).run()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best.safetensors",
        "last.safetensors",
    ]


def test_another_seed_gives_other_weights_and_the_same_seed_the_same(tmp_path: Path) -> None:
    def weights(seed: int, folder: str) -> Weights:
        return Run(labels_recipe(2, training={"seed": seed}), tmp_path / folder).to_the_end()

    first = weights(1, "a")
    assert equal(weights(1, "b"), first)
    other = weights(2, "c")
    assert all(not torch.equal(first[name], other[name]) for name in first)


# ---- what a checkpoint is good for


@pytest.mark.parametrize("what", ["recipe", "seed", "training", "validation"])
def test_a_checkpoint_of_another_run_is_refused_and_left_as_it_is(
    tmp_path: Path, what: str
) -> None:
    run = Run(RECIPES["plain"], tmp_path)
    with pytest.raises(Stopped):
        run.trainer(after(5, lambda: True)).run()
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    if what == "recipe":
        run.recipe = labels_recipe(2, optimizer={"learning_rate": 0.02})
    elif what == "seed":
        run.recipe = run.recipe.with_training(seed=1)
    else:
        voxels, labels = blobs(1 if what == "training" else 2)
        labels[0, 0, 0] = 20 - labels[0, 0, 0]
        selection = getattr(run, what)[0]
        setattr(run, what, [Selection(case_of(voxels, labels), selection.slices)])
    with pytest.raises(TrainingError, match="new folder"):
        run.to_the_end()
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before


def test_a_finished_run_may_be_given_more_epochs(tmp_path: Path) -> None:
    straight = Run(labels_recipe(2, training={"epochs": 4}), tmp_path / "straight")
    expected = straight.to_the_end()
    run = Run(labels_recipe(2, training={"epochs": 1}), tmp_path / "run")
    run.to_the_end()
    run.recipe = straight.recipe
    assert equal(run.to_the_end(), expected)
    assert [event["epoch"] for event in run.of("epoch")] == [0, 1, 2, 3]


def test_a_finished_run_started_again_gives_the_same_and_trains_nothing(tmp_path: Path) -> None:
    run = Run(RECIPES["everything"], tmp_path)
    expected = run.to_the_end()
    assert equal(run.to_the_end(), expected)
    assert len(run.of("epoch")) == 3


def test_a_damaged_checkpoint_is_refused_rather_than_trained_over(tmp_path: Path) -> None:
    run = Run(RECIPES["plain"], tmp_path)
    run.to_the_end()
    path = tmp_path / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    damaged = path.read_bytes()
    with pytest.raises(CheckpointError):
        run.to_the_end()
    assert path.read_bytes() == damaged


def test_the_time_spent_adds_up_over_interruptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    run = Run(RECIPES["plain"], tmp_path)
    with pytest.raises(Stopped):
        run.trainer(after(5, lambda: True)).run()
    run.to_the_end()
    seconds = [event["seconds"] for event in run.of("epoch")]
    assert seconds == sorted(seconds)
    assert seconds[1] > seconds[0] + 5


# ---- which weights are kept


def validation_by_hand(run: Run, weights: Weights) -> tuple[float, float]:
    """Mean loss of slices, and mean Dice, of weights on the validation slices as they are."""
    network = build_network(run.recipe)
    network.load_state_dict(weights)
    network.eval()
    case, slices = run.validation[0].case, run.validation[0].slices
    losses, found, truth = [], [], []
    for number in slices or ():
        hu = torch.from_numpy(case.read_image().voxels[number].astype(np.float32))
        with torch.no_grad():
            logits = network(((hu + 1000) / 2000).clamp(0, 1)[None, None])[0]
        labels = torch.from_numpy(case.read_target().voxels[number].astype(np.int64))
        planes = torch.stack([labels == 10, labels == 20])[None].float()
        losses.append(float(F.binary_cross_entropy_with_logits(logits, planes)))
        found.append(channels_of(logits)[0])
        truth.append(labels // 10)
    mine, theirs = torch.stack(found), torch.stack(truth)
    dice = [
        2 * int(((mine == n) & (theirs == n)).sum()) / int((mine == n).sum() + (theirs == n).sum())
        for n in (1, 2)
    ]
    return float(np.mean(losses)), float(np.mean(dice))


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("ema", [None, 0.7])
@pytest.mark.parametrize("monitor", ["loss", "dice"])
def test_the_weights_of_the_best_validation_are_kept(
    tmp_path: Path, monitor: str, ema: float | None, norm: str
) -> None:
    training = {"epochs": 12, "monitor": monitor, "ema": ema}
    recipe = labels_recipe(
        2,
        network={"norm": norm, "channels": 8},
        method={"loss": "binary_cross_entropy"},
        optimizer={"learning_rate": 0.05},
        training=training,
        augmentation=STILL,
    )
    run = Run(recipe, tmp_path)
    weights = run.to_the_end()
    epochs = run.of("epoch")
    losses = [event["validation_loss"] for event in epochs]
    dice = [
        mean_of_known([v for v in event["validation_dice"].values() if v is not None])
        for event in epochs
    ]
    assert min(len(set(losses)), len(set(dice))) > 5
    loss_of_kept, dice_of_kept = validation_by_hand(run, weights)
    best = epochs[-1]["best_epoch"]
    if monitor == "loss":
        assert best == int(np.argmin(losses))
    else:
        assert best == int(np.argmax(dice))
    assert loss_of_kept == pytest.approx(losses[best], rel=1e-5)
    assert dice_of_kept == pytest.approx(dice[best])
    # The history shows the best so far at each epoch.
    values = losses if monitor == "loss" else [-value for value in dice]
    assert [event["best_epoch"] for event in epochs] == [
        int(np.argmin(values[: n + 1])) for n in range(len(values))
    ]


@pytest.mark.parametrize("ema", [None, 0.7])
def test_later_epochs_that_validate_worse_or_the_same_do_not_replace_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float | None
) -> None:
    weights, best = [], []
    for losses in ([3.0, 1.0], [3.0, 1.0, 2.0, 1.0]):
        # One for each of the three validation slices.
        each = iter([loss for loss in losses for _ in range(3)])
        monkeypatch.setattr(
            Supervised, "validation_loss", lambda *_, each=each: torch.tensor(next(each))
        )
        recipe = labels_recipe(2, training={"epochs": len(losses), "ema": ema})
        run = Run(recipe, tmp_path / str(len(losses)))
        weights.append(run.to_the_end())
        best.append([event["best_epoch"] for event in run.of("epoch")])
    assert best == [[0, 1], [0, 1, 1, 1]]
    assert equal(*weights)


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_once_validation_has_not_improved_for_the_patience(
    tmp_path: Path, patience: int
) -> None:
    recipe = labels_recipe(
        2,
        training={"epochs": 60, "patience": patience},
        optimizer={"learning_rate": 0.1},
    )
    run = Run(recipe, tmp_path)
    run.to_the_end()
    losses = [event["validation_loss"] for event in run.of("epoch")]
    assert len(losses) < 60
    assert len(losses) - 1 - int(np.argmin(losses)) == patience
    # And no earlier.
    for end in range(1, len(losses)):
        assert end - 1 - int(np.argmin(losses[:end])) < patience


@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_loss_that_is_no_longer_a_number_ends_the_run_and_says_what_to_do(
    tmp_path: Path, where: str
) -> None:
    run = Run(volume_recipe(preprocessing={"window": None}), tmp_path)
    voxels = np.full((2, 8, 8), 1e30, np.float32)
    setattr(run, where, [Selection(case_of(voxels, voxels), None)])
    with pytest.raises(TrainingError, match=r"[Ll]ower the learning rate"):
        run.to_the_end()
    assert not run.of("epoch")


# ---- the step's surroundings


class Steps:
    """What Adam was given: rates and gradients' norms before, weights after each step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rates: list[float] = []
        self.norms: list[float] = []
        self.weights: list[list[Tensor]] = []
        step = torch.optim.Adam.step

        def watched(adam: torch.optim.Adam, *arguments: Any, **options: Any) -> Any:
            parameters = adam.param_groups[0]["params"]
            self.rates.append(adam.param_groups[0]["lr"])
            self.norms.append(math.sqrt(sum(float((p.grad**2).sum()) for p in parameters)))
            result = step(adam, *arguments, **options)
            self.weights.append([p.detach().clone() for p in parameters])
            return result

        monkeypatch.setattr(torch.optim.Adam, "step", watched)


def test_the_poly_schedule_lowers_the_rate_from_epoch_to_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    optimizer = {"schedule": "poly", "learning_rate": 0.02}
    Run(labels_recipe(2, optimizer=optimizer), tmp_path).to_the_end()
    expected = [0.02 * (1 - epoch / 3) ** 0.9 for epoch in range(3) for _ in range(4)]
    assert steps.rates == pytest.approx(expected)


def test_a_constant_rate_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    Run(labels_recipe(2), tmp_path).to_the_end()
    assert steps.rates == [0.01] * 12


def test_gradients_are_clipped_to_their_largest_norm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, clipped = Steps(monkeypatch), Steps(monkeypatch)
    Run(labels_recipe(2), tmp_path / "free").to_the_end()
    limit = float(np.median(free.norms))
    del clipped.norms[:]
    Run(labels_recipe(2, optimizer={"gradient_clip": limit}), tmp_path / "clipped").to_the_end()
    assert max(clipped.norms) <= limit * (1 + 1e-4)
    assert max(clipped.norms) == pytest.approx(limit, rel=1e-4)
    # Until the first one is clipped, nothing differs.
    assert clipped.norms[0] == pytest.approx(min(free.norms[0], limit), rel=1e-4)


def test_the_moving_average_starts_at_the_first_weights_and_forgets_by_its_decay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    recipe = labels_recipe(2, training={"epochs": 1, "ema": 0.75})
    weights = Run(recipe, tmp_path).to_the_end()
    average = steps.weights[0]
    for later in steps.weights[1:]:
        average = [0.75 * old + 0.25 * new for old, new in zip(average, later, strict=True)]
    for found, expected in zip(weights.values(), average, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_moving_average_that_forgets_at_once_is_none(tmp_path: Path) -> None:
    plain = Run(labels_recipe(2), tmp_path / "plain").to_the_end()
    average = Run(labels_recipe(2, training={"ema": 0.0}), tmp_path / "ema").to_the_end()
    assert equal(plain, average)


def test_events_tell_the_start_and_each_epoch(tmp_path: Path) -> None:
    run = Run(labels_recipe(2, training={"batch_size": 3}), tmp_path)
    run.to_the_end()
    (start,) = run.of("training_started")
    assert (start["epoch"], start["epochs"], start["resumed"]) == (0, 3, False)
    assert (start["slices"], start["validation_slices"], start["device"]) == (4, 3, "cpu")
    assert [event["epoch"] for event in run.of("epoch")] == [0, 1, 2]
    assert set(run.of("epoch")[0]["validation_dice"]) == {"label 1", "label 2"}
    assert all(event["loss"] > 0 for event in run.of("epoch"))


def test_an_epochs_loss_is_the_mean_of_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every step is reported when the clock runs a second a look.
    clock = iter(range(10**6))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    run = Run(labels_recipe(2, training={"batch_size": 3}), tmp_path)
    run.to_the_end()
    for epoch in run.of("epoch"):
        steps = [event for event in run.of("step") if event["epoch"] == epoch["epoch"]]
        assert [(event["step"], event["steps"]) for event in steps] == [(1, 2), (2, 2)]
        assert epoch["loss"] == pytest.approx(np.mean([event["loss"] for event in steps]))


def test_every_step_finds_the_network_ready_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Validation between the epochs puts it into its other mode.
    modes: list[bool] = []
    step = Supervised.training_step

    def watched(method: Supervised, *arguments: Any) -> Any:
        modes.append(method.networks["network"].training)
        return step(method, *arguments)

    monkeypatch.setattr(Supervised, "training_step", watched)
    Run(RECIPES["plain"], tmp_path).to_the_end()
    assert modes == [True] * 12


# ---- what may and what may not teach


def test_slices_that_are_not_labelled_have_no_influence(tmp_path: Path) -> None:
    weights = []
    for folder, changed in (("a", False), ("b", True)):
        run = Run(RECIPES["plain"], tmp_path / folder)
        voxels, labels = blobs(1)
        if changed:
            voxels[1], labels[1] = 900, 10
        run.training = [Selection(case_of(voxels, labels), (0, 2, 3))]
        weights.append(run.to_the_end())
    assert equal(*weights)


def test_what_is_seen_in_a_slice_that_is_ignored_has_no_influence(tmp_path: Path) -> None:
    weights = []
    for folder, hu in (("a", -300), ("b", 700)):
        # Without augmentation, which would bring in counted background from beside the slice.
        labels = [{"value": 10, "name": "a"}, {"value": 20, "name": "b"}]
        target = {"kind": "labels", "labels": labels, "ignore": 99}
        run = Run(labels_recipe(2, target=target, augmentation=STILL), tmp_path / folder)
        voxels, marked = blobs(1)
        voxels[1], marked[1] = hu, 99
        run.training = [Selection(case_of(voxels, marked), None)]
        weights.append(run.to_the_end())
    assert equal(*weights)


def test_a_counted_pixel_has_influence(tmp_path: Path) -> None:
    # The other side of the two tests above: they could not fail if nothing had any.
    first = Run(RECIPES["plain"], tmp_path / "a")
    second = Run(RECIPES["plain"], tmp_path / "b")
    voxels, labels = blobs(1)
    labels[0, 8, 8] = 10 if labels[0, 8, 8] != 10 else 20
    second.training = [Selection(case_of(voxels, labels), None)]
    assert not equal(first.to_the_end(), second.to_the_end())


def test_validation_slices_do_not_teach(tmp_path: Path) -> None:
    weights = []
    for folder, seed in (("a", 2), ("b", 3)):
        # One epoch: validation cannot choose.
        run = Run(labels_recipe(2, training={"epochs": 1}), tmp_path / folder)
        run.validation = [Selection(case_of(*blobs(seed)), None)]
        weights.append(run.to_the_end())
    assert equal(*weights)


def test_augmentation_changes_what_is_learnt(tmp_path: Path) -> None:
    still = Run(labels_recipe(2, augmentation=STILL), tmp_path / "still").to_the_end()
    moved = Run(labels_recipe(2), tmp_path / "moved").to_the_end()
    assert not equal(still, moved)


def test_every_slice_of_every_step_and_epoch_is_changed_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Change] = []

    def watched(*arguments: Any) -> Any:
        seen.extend(arguments[3])
        return apply_changes(*arguments)

    monkeypatch.setattr(augmentedslices, "apply_changes", watched)
    Run(RECIPES["volume"], tmp_path).to_the_end()
    assert len(seen) == 12
    assert len({change.homography.tobytes() for change in seen}) == 12
    assert len({change.noise_seed for change in seen}) == 12


# ---- it learns


def test_it_learns_to_mark_what_is_bright_and_what_is_dark(tmp_path: Path) -> None:
    recipe = labels_recipe(
        2,
        network={"channels": 8, "norm": "group"},
        method={"loss": "dice_binary_cross_entropy"},
        optimizer={"learning_rate": 0.02},
        training={"epochs": 30, "batch_size": 2},
        augmentation={"noise_sd": 0.02, "perspective": 10, "rotation": 20},
    )
    run = Run(recipe, tmp_path)
    run.training = [Selection(case_of(*blobs(1, slices=8)), None)]
    _, dice = validation_by_hand(run, run.to_the_end())
    assert dice > 0.9


def test_it_learns_a_volume_that_is_half_of_its_input(tmp_path: Path) -> None:
    # Air stays at -1000, which is what augmentation shows beside a slice.
    def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
        voxels, _ = blobs(seed, slices=8)
        return voxels, (voxels - 1000) // 2

    recipe = volume_recipe(
        network={"channels": 8},
        optimizer={"learning_rate": 0.01, "schedule": "poly"},
        training={"epochs": 30, "seed": 1},
        augmentation={**STILL, "flip_left_right": 0.5, "rotation": 20},
    )
    run = Run(recipe, tmp_path)
    run.training = [Selection(case_of(*pair(1)), None)]
    run.validation = [Selection(case_of(*pair(2)), None)]
    network = build_network(recipe)
    network.load_state_dict(run.to_the_end())
    voxels, halves = pair(7)
    with torch.no_grad():
        seen = torch.from_numpy((voxels[:, None].astype(np.float32) + 1000) / 2000).clamp(0, 1)
        found = network.eval()(seen)[0][:, 0].numpy() * 2000 - 1000
    assert np.abs(found - halves).mean() < 0.5 * np.abs(halves - halves.mean()).mean()
    assert np.corrcoef(found.ravel(), halves.ravel())[0, 1] > 0.9
