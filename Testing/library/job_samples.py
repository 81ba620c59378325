"""Jobs for tests: small cohorts and models on disk, and what the process table says."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from engine_samples import blobs, labels_recipe, lps_affine

from DeepTranslateLib.image import Image
from DeepTranslateLib.image.files import write_image
from DeepTranslateLib.jobs import TrainJob, TranslateJob
from DeepTranslateLib.recipe import Recipe
from DeepTranslateLib.schema import to_json

# More epochs than any test waits for.
ENDLESS = 100_000


def recipe(**training: Any) -> Recipe:
    """Two labels, a tiny network."""
    return labels_recipe(2, training={"validation_fraction": 0.3, **training})


def write_cohort(folder: Path, subjects: int = 3) -> Path:
    """Subject folders with the slices of `blobs`."""
    for number in range(subjects):
        subject = folder / f"subject{number}"
        subject.mkdir(parents=True)
        voxels, labels = blobs(number)
        write_image(Image(voxels, lps_affine()), subject / "image.nrrd")
        write_image(Image(labels, lps_affine()), subject / "labels.nrrd")
    return folder


def write_untrained_model(path: Path, seed: int = 0, **network: Any) -> Path:
    """A model whose weights are random, for tests that only apply it."""
    import torch
    from safetensors.torch import save

    from DeepTranslateLib.engine.networks import build_network
    from DeepTranslateLib.model import Card, write_model

    made = labels_recipe(2, network=network)
    torch.manual_seed(seed)
    weights = {
        name: torch.randn_like(value).contiguous()
        for name, value in build_network(made).state_dict().items()
    }
    card = Card("untrained", "2026-01-31T12:00:00+00:00", "0", epoch=1, seed=seed)
    return write_model(path, made, card, save(weights))


def write_volume(path: Path, slices: int, size: int) -> Path:
    """A volume of noise, int16 HU."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (slices, size, size)).astype(np.int16)
    return write_image(Image(voxels, lps_affine()), path, compressed=False)


def translate_job(model: Path, image: Path, output: str = "output.nrrd") -> TranslateJob:
    return TranslateJob(str(model), {"image": str(image)}, output, "volume", device="cpu")


def train_job(cohort: Path, **training: Any) -> TrainJob:
    return TrainJob(to_json(recipe(**training)), str(cohort), device="cpu")


def living(session: int) -> list[psutil.Process]:
    """What runs of a session of processes; one that waits to be collected does not."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def seconds_until_gone(session: int, patience: float) -> float:
    """How long until nothing of a session runs; fails the test where that takes too long."""
    began = time.monotonic()
    while left := living(session):
        assert time.monotonic() - began < patience, f"still running: {left}"
        time.sleep(0.01)
    return time.monotonic() - began
