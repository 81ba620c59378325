"""Training runs in processes of their own that end abruptly at a chosen moment."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_samples import blobs_cohort, labels_recipe

from DeepTranslateLib.recipe import Recipe


@dataclass(frozen=True)
class Moment:
    """When a run dies: at the n-th occasion of something, counted from 1.

    Attributes:
        what: "step" (done, not yet saved), "before" or "after" a file is put in place, "half" (a
            file is half written), or "event".
        name: Of the file or event.
        number: Which occasion.
    """

    what: str
    name: str
    number: int


def recipe() -> Recipe:
    """Three epochs of four steps with everything that has a state."""
    return labels_recipe(
        2,
        network={"norm": "batch", "deep_supervision": True, "levels": 3},
        optimizer={"schedule": "poly", "gradient_clip": 0.5},
        training={"epochs": 3, "batch_size": 2, "ema": 0.7, "validation_fraction": 0.3},
    )


def train(folder: str, moment: Moment | None, checkpoint_seconds: float = 0.0) -> None:
    """Train, and die at the moment."""
    import torch
    from safetensors.torch import save_file

    from DeepTranslateLib.engine import checkpoint, run

    torch.set_num_threads(1)
    seen: Counter[tuple[str, str]] = Counter()

    def reached(what: str, name: str) -> bool:
        seen[what, name] += 1
        return moment is not None and moment == Moment(what, name, seen[what, name])

    def die_if(what: str, name: str) -> None:
        if reached(what, name):
            os.kill(os.getpid(), 9)

    def replace(source: Path, target: Path, into_place: Any = os.replace) -> None:
        die_if("before", Path(target).name)
        into_place(source, target)
        die_if("after", Path(target).name)

    def save(tensors: Any, path: Path, metadata: Any) -> None:
        save_file(tensors, path, metadata=metadata)
        if reached("half", "checkpoint"):
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), 9)

    def should_stop() -> bool:
        die_if("step", "")
        return False

    os.fsync = lambda descriptor: None  # only a power cut would notice
    os.replace = replace  # type: ignore[assignment]
    checkpoint.save_file = save
    run.train(
        recipe(),
        blobs_cohort(),
        folder,
        device="cpu",
        sink=lambda event: die_if("event", event["event"]),
        should_stop=should_stop,
        checkpoint_seconds=checkpoint_seconds,
    )
