"""A segmentor of heads in either contrast, as a user would train one: what shapes are held to.

It learns from the labels of the heads that teach, T1 of some and the other contrast of others, so
that it is no judge who knows a pair. The heads that are measured it never saw.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from DeepTranslateLib.checksum import file_sha256
from DeepTranslateLib.cohort import Case, Cohort
from DeepTranslateLib.engine.run import train
from DeepTranslateLib.image import Image
from DeepTranslateLib.phantom_head import HeadTissue as Tissue
from DeepTranslateLib.recipe import Recipe, recipe_from_json
from DeepTranslateLib.runfolder import MODEL_FILE
from Testing.benchmarks.unpaired_data import WINDOWS, Subjects, splits

#: Tissues that a person would label; blood and calcification are too rare to learn.
LABELS: dict[str, tuple[Tissue, ...]] = {
    "fat": (Tissue.FAT,),
    "skin and muscle": (Tissue.SKIN, Tissue.MUSCLE),
    "bone": (Tissue.BONE, Tissue.DIPLOE),
    "CSF": (Tissue.CSF,),
    "grey matter": (Tissue.GREY, Tissue.DEEP_GREY),
    "white matter": (Tissue.WHITE,),
    "lesions and oedema": (Tissue.LESION, Tissue.OEDEMA),
}
#: What stands in a recipe until the segmentor is trained.
TO_BE_TRAINED = {"segmentor": "segmentor.dtmodel", "segmentor_sha256": "0" * 64}
#: The same where its features are what is compared.
FEATURES_TO_BE_TRAINED = {"features": "segmentor.dtmodel", "features_sha256": "0" * 64}


def with_segmentor(
    recipe: Recipe, drawn: Subjects, pair: tuple[str, str], folder: Path, device: str
) -> Recipe:
    """The recipe with a segmentor of its two contrasts, which is trained if it is not there.

    It judges labels, or its features are compared, or both, as the recipe has it.

    Args:
        recipe: That names one to be trained; another comes back as it is.
        drawn: Who teaches.
        pair: Source and target contrast.
        folder: Of the segmentor's training.
        device: Where it learns.
    """
    uses = [
        use
        for use in ("segmentor", "features")
        if getattr(recipe.structure, use) == TO_BE_TRAINED["segmentor"]
    ]
    if not uses:
        return recipe
    path = folder / MODEL_FILE
    # One that is there stays the file that it is: another has another checksum.
    if not path.is_file():
        train(_recipe(pair, recipe.training.seed), segmentor_cohort(drawn, pair), folder, device)
    named = {}
    for use in uses:
        named |= {use: str(path), f"{use}_sha256": file_sha256(path)}
    return dataclasses.replace(recipe, structure=dataclasses.replace(recipe.structure, **named))


def _recipe(pair: tuple[str, str], seed: int) -> Recipe:
    lowest, highest = zip(*(WINDOWS[contrast] for contrast in pair), strict=True)
    labels = [{"value": value, "name": name} for value, name in enumerate(LABELS, start=1)]
    return recipe_from_json(
        {
            "name": "segmentor of heads",
            "inputs": [{"name": "image", "modality": "MR"}],
            "target": {"kind": "labels", "labels": labels},
            "preprocessing": {"spacing": None, "window": [min(lowest), max(highest)]},
            "network": {"name": "unet", "levels": 4, "channels": 12, "norm": "instance"},
            "method": {"loss": "dice_cross_entropy"},
            "optimizer": {"learning_rate": 0.002, "schedule": "cosine"},
            "augmentation": {
                "rotation": 10,
                "perspective": 0,
                "translation": 20,
                "flip_up_down": 0,
            },
            "training": {"epochs": 12, "batch_size": 4, "monitor": "dice", "seed": seed},
        }
    )


def segmentor_cohort(drawn: Subjects, pair: tuple[str, str]) -> Cohort:
    """One contrast of the heads of the source domain, the other of those of the target domain."""
    cases = []
    for contrast, phantoms in zip(pair, (drawn.source, drawn.target), strict=True):
        for phantom, split in zip(phantoms, splits(phantoms), strict=True):
            labels = _labels(phantom.labels)
            cases.append(Case(phantom.name, phantom.images[contrast], labels, split=split))
    return Cohort(tuple(cases), f"heads, {' or '.join(pair)} with labels")


def _labels(tissues: Image) -> Image:
    found = np.zeros_like(tissues.voxels)
    for value, group in enumerate(LABELS.values(), start=1):
        found[np.isin(tissues.voxels, group)] = value
    return tissues.with_voxels(found)
