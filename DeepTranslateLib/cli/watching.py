"""What a person sees of a running training, and how it is asked to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from DeepTranslateLib.cli.console import Console


@contextmanager
def training_progress(console: Console, epochs: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A listener that shows a training's events."""

    def show(record: dict[str, Any]) -> None:
        console.event(record)
        kind = record["event"]
        if kind == "split" and record["note"]:
            console.say(record["note"])
        elif kind == "started_from_model":
            anew = f"; anew: {', '.join(record['fresh'])}" if record["fresh"] else ""
            console.say(f"Starting from the model '{record['name']}'{anew}.")
        elif kind == "warning":
            console.warn(warning_text(record))
        elif kind == "training_started":
            going_on = f", going on after epoch {record['epoch']}" if record["resumed"] else ""
            console.say(
                f"{_stage(record)}Training on {record['slices']} slices, validating on "
                f"{record['validation_slices']}, on {record['device']}{going_on}."
            )
        elif kind == "step":
            console.advance_to(record["epoch"] + record["step"] / record["steps"])
        elif kind == "epoch":
            known = [v for v in record["validation_dice"].values() if v is not None]
            score = f", Dice {sum(known) / len(known):.3f}" if known else ""
            error = record["validation_metrics"].get("mae")
            if error is not None:
                score = f", MAE {error:.4g}"
            best = record["best_epoch"] + 1
            validation = f"validation {record['validation_loss']:.4f}{score}, best {best}"
            number = record["epoch"] + 1
            console.advance_to(number, validation)
            if not console.shows_bar:  # as in the log file of a cluster
                console.say(f"Epoch {number}/{epochs}: loss {record['loss']:.4f}, {validation}")

    with console.progress("Epochs", epochs):
        yield show


def warning_text(record: Mapping[str, Any]) -> str:
    """What a training's event `warning` says, with the subject before it where it is about one.

    Args:
        record: The event, with its `message`; `subject` is empty where it is about the training.
    """
    subject = record.get("subject", "")
    return f"{subject}: {record['message']}" if subject else str(record["message"])


def _stage(record: dict[str, Any]) -> str:
    """Which training of a recipe with stages it is, to put before what is said of it."""
    if "stage" not in record:
        return ""
    fold = f", fold {record['fold']} of {record['folds']}" if "fold" in record else ""
    return f"Stage {record['stage']} of {record['stages']}{fold}: "


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM become an answer to `should_stop`; a second one ends at once."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        os.write(2, b"\nStopping at the next step; Ctrl-C again stops at once.\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
